"""A dataset of coloured squares, and a model that learns them in seconds."""

import io
import os
import tempfile

import pytest

import trainer  # noqa: F401 - before torch: it tells OpenMP's threads not to spin

_MODULES = tempfile.TemporaryDirectory()
os.environ["HF_MODULES_CACHE"] = _MODULES.name
"""Where transformers keeps the code of saved models: one folder for all tests, as it is read once, and not the user's."""

COLOURS = {"red": (220, 30, 30), "green": (20, 160, 60), "blue": (30, 60, 210), "white": (250,) * 3}

SMALL = (
    "model.vocab_size=300",
    "model.vision.image_size=16",
    "model.vision.patch_size=8",
    "model.vision.hidden_size=32",
    "model.vision.intermediate_size=32",
    "model.vision.num_hidden_layers=1",
    "model.perceiver.depth=1",
    "model.perceiver.num_latents=4",
    "model.text.hidden_size=48",
    "model.text.intermediate_size=64",
    "model.text.num_hidden_layers=2",
    "data.max_row_tokens=0",
    "optim.lr=5e-3",
    "optim.warmup_steps=2",
    "run.steps=8",
    "run.batch_size=4",
    "run.micro_batch_size=4",
)
"""Overrides that make the recipe otter_tiny take milliseconds a step, padded: tests that pack say so."""


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Seven records: two questions on three colours, one on the fourth."""
    from PIL import Image

    from mimicit.media.picture import measure
    from mimicit.schema import Instruction
    from mimicit.store import Store

    store = Store.open(tmp_path_factory.mktemp("squares") / "dataset", create=True)
    pictures, records = [], []
    for name, colour in COLOURS.items():
        png = io.BytesIO()
        Image.new("RGB", (24, 20), colour).save(png, format="PNG")
        pictures.append(measure(png.getvalue(), id=f"LA_IMG_{name}", name=f"{name}.png"))
        pairs = [("What colour is it?", f"It is {name}."), ("And its shape?", "A square.")]
        records += [
            Instruction(
                id=f"LA_INS_{name}_{nth:02d}",
                task="squares",
                instruction=question,
                answer=answer,
                image_ids=(f"LA_IMG_{name}",),
            )
            for nth, (question, answer) in enumerate(pairs)
        ]
    store.add_images(pictures)
    store.add(records[:-1])
    return store.path


@pytest.fixture
def square(tmp_path):
    """Make a picture file of one colour."""
    from PIL import Image

    def make(name):
        path = tmp_path / f"{name}.png"
        Image.new("RGB", (24, 20), COLOURS[name]).save(path)
        return path

    return make
