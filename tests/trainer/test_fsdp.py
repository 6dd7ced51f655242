"""Weights in pieces (FSDP2), in two processes on the CPU: parts of a model, adapters, single rows, every family, text beside pictures."""

import io
import json

import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from mimicit.media.picture import measure  # noqa: E402
from mimicit.schema import Instruction  # noqa: E402
from mimicit.store import Store  # noqa: E402
from trainer.train import train  # noqa: E402

from .conftest import SMALL  # noqa: E402
from .processes import logged, one, together  # noqa: E402

torch.set_num_threads(1)

FSDP = "run.strategy=fsdp2"
SHORT = ["run.steps=6", "run.batch_size=2", "run.micro_batch_size=1", "run.save_every=100"]
"""A picture for one process and a text for the other, in every step."""
TEXT = ["model.text.tie_word_embeddings=true", "optim.weight_decay=0.1"]
TUNE = ["optim.lr=5e-3", "optim.warmup_steps=0", "data.max_tokens=128", "run.save_every=100"]
TUNE += ["run.steps=6", "run.batch_size=4", "run.micro_batch_size=1"]
HALF = 0.02
"""In 16 bits: a sum in another order rounds to another number, and AdamW's first steps are as long for the smallest gradient as for any."""
RUNS = {
    "otter": ("otter_tiny", [*SMALL, *SHORT]),
    "packed": ("otter_tiny", [*SMALL, *SHORT, "data.max_tokens=128", "data.max_row_tokens=128", "run.micro_batch_size=2"]),
    "fuyu": ("fuyu_tiny", [*SHORT, "model.hidden_size=48", "model.intermediate_size=64", "model.num_hidden_layers=2"]),
    "idefics": ("idefics_tiny", [*SHORT, "model.text.hidden_size=48", "model.text.intermediate_size=64", "model.text.num_hidden_layers=2"]),
    "checkpointed": ("otter_tiny", [*SMALL, *SHORT, "run.gradient_checkpointing=true"]),
    "lora": ("otter_tune", [*TUNE, "lora.r=2", "lora.dropout=0.0", "trainable.parts=perceiver,gates"]),
    "half": ("otter_tune", [*TUNE, "lora.r=2", "lora.dropout=0.0", "trainable.parts=perceiver,gates", "run.frozen=bf16", "run.precision=bf16"]),
    "rows": ("otter_tune", [*TUNE, "trainable.parts=perceiver,gates,new_tokens"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def talks(tmp_path_factory):
    """Records with and without a picture."""
    store = Store.open(tmp_path_factory.mktemp("talks") / "dataset", create=True)
    pictures, records = [], []
    for name, colour in {
        "red": (220, 30, 30),
        "green": (20, 160, 60),
        "blue": (30, 60, 210),
    }.items():
        png = io.BytesIO()
        Image.new("RGB", (24, 20), colour).save(png, format="PNG")
        pictures.append(measure(png.getvalue(), id=f"LA_IMG_{name}", name=f"{name}.png"))
        said = [
            ("Which one is it?", f"It is {name}.", (f"LA_IMG_{name}",)),
            ("Say so.", f"{name}", ()),
        ]
        records += [
            Instruction(id=f"LA_INS_{name}_{nth:02d}", task="talk", instruction=asked, answer=answer, image_ids=shown)
            for nth, (asked, answer, shown) in enumerate(said)
        ]  # fmt: skip
    store.add_images(pictures)
    store.add(records)
    return store.path


@pytest.fixture(scope="module")
def both(talks, tmp_path_factory):
    """The runs of RUNS, by one process and by two."""
    folder = tmp_path_factory.mktemp("fsdp")
    start = folder / "start"
    train(recipe="otter_tiny", dataset=talks, out=start, overrides=[*SMALL, *TEXT, "run.steps=2"])
    runs = {
        name: (recipe, [*changes, *([f"model.start={start / 'model'}"] if recipe == "otter_tune" else [])])
        for name, (recipe, changes) in RUNS.items()
    }  # fmt: skip
    for name, (recipe, changes) in runs.items():
        train(recipe=recipe, dataset=talks, out=folder / "one" / name, overrides=changes)
    together(
        2,
        folder / "two",
        [
            one(talks, folder / "two" / name, *changes, FSDP, recipe=recipe)
            for name, (recipe, changes) in runs.items()
        ],
    )
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_pieces_learn_what_the_whole_learns(both, name):
    whole, pieces = (logged(both / number / name) for number in ("one", "two"))

    assert [step["loss"] for step in pieces] == pytest.approx(
        [step["loss"] for step in whole], abs=HALF if name == "half" else 3e-5
    )
    assert [step["grad_norm"] for step in pieces] == pytest.approx(
        [step["grad_norm"] for step in whole], rel=HALF if name == "half" else 2e-3
    )
    for count in ("taught", "tokens", "pictures"):
        assert [step[count] for step in pieces] == [step[count] for step in whole]


@pytest.mark.parametrize("name", RUNS)
def test_the_saved_models_are_the_same(both, name):
    whole, pieces = (load_file(both / number / name / "model" / "model.safetensors") for number in ("one", "two"))  # fmt: skip

    assert whole.keys() == pieces.keys()
    if name == "half":
        start = load_file(both / "start" / "model" / "model.safetensors")
        moved = sum(float((whole[weight] - start[weight]).square().sum()) for weight in whole)
        apart = sum(float((whole[weight] - pieces[weight]).square().sum()) for weight in whole)
        assert moved > 0
        assert apart < 0.01 * moved  # a tenth of the way, as a length
        return
    for weight, values in whole.items():
        torch.testing.assert_close(pieces[weight], values, atol=2e-4, rtol=0, msg=weight)


def test_only_the_rows_of_new_tokens_change_in_tied_embeddings(both):
    before = load_file(both / "start" / "model" / "model.safetensors")
    after = load_file(both / "two" / "rows" / "model" / "model.safetensors")
    config = json.loads((both / "two" / "rows" / "model" / "config.json").read_text())
    new = [config[f"{name}_token_id"] for name in ("image", "answer", "endofchunk")]
    (name,) = [name for name in before if name.endswith("embed_tokens.weight")]

    assert not any("lm_head" in name for name in after)
    changed = (before[name] != after[name]).any(dim=1).nonzero().flatten().tolist()
    assert changed
    assert set(changed) <= set(new)
    layers = [name for name in before if ".decoder_layer." in name]
    assert layers
    assert all(torch.equal(before[name], after[name]) for name in layers)


def test_adapters_learned_in_pieces_are_merged_and_saved_for_peft(both):
    before = load_file(both / "start" / "model" / "model.safetensors")
    after = load_file(both / "two" / "lora" / "model" / "model.safetensors")
    adapters = [load_file(both / number / "lora" / "adapters" / "adapter_model.safetensors") for number in ("one", "two")]  # fmt: skip

    assert before.keys() == after.keys()
    assert any(
        not torch.equal(before[name], after[name]) for name in before if "q_proj" in name and "decoder_layer" in name
    )  # fmt: skip
    assert adapters[0].keys() == adapters[1].keys()
    for name, values in adapters[0].items():
        torch.testing.assert_close(adapters[1][name], values, atol=2e-4, rtol=0, msg=name)
