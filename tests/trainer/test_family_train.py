"""`syphus train` for the families beside Otter, from a dataset to answers."""

import io
import logging

import pytest

torch = pytest.importorskip("torch")

from mimicit.errors import RecipeError  # noqa: E402
from tests.trainer.stopping import StopAfter  # noqa: E402
from trainer.chat import answer  # noqa: E402
from trainer.loading import load  # noqa: E402
from trainer.report import Progress  # noqa: E402
from trainer.train import train  # noqa: E402

from .conftest import COLOURS  # noqa: E402
from .family_lessons import SETTINGS  # noqa: E402
from .runs import losses  # noqa: E402

torch.set_num_threads(1)
NEW = ("flamingo", "fuyu", "idefics")
kinds = pytest.mark.parametrize("kind", NEW)
MODELS = {"flamingo": "Otter", "fuyu": "Fuyu", "idefics": "Idefics"}


def run(kind, dataset, out, *overrides, progress=None, **options):
    return train(
        recipe=f"{kind}_tiny",
        dataset=dataset,
        out=out,
        overrides=[*SETTINGS[kind], *overrides],
        progress=progress or Progress(io.StringIO()),
        **options,
    )


def weights(out):
    model, _ = load(out, device="cpu")
    return model.state_dict()


@pytest.fixture(scope="module", params=NEW)
def trained(request, dataset, tmp_path_factory):
    """Train until the squares are known by heart."""
    out = tmp_path_factory.mktemp("runs") / request.param
    result = run(request.param, dataset, out, "run.steps=200", "run.stop_below=0.02")
    return request.param, out, result


def test_the_loss_falls_and_answers_are_right(trained, square):
    kind, out, result = trained
    model, _ = load(out, device="cpu")

    assert type(model).__name__ == MODELS[kind]
    assert result.last_loss < result.first_loss / 20
    assert result.steps < 200
    for colour in COLOURS:
        assert answer(out, square(colour), "What colour is it?") == f"It is {colour}."
    assert answer(out, square("red"), "And its shape?") == "A square."


def test_a_finished_run_is_started_from(trained, dataset, tmp_path, square):
    _, out, result = trained
    again = train(
        recipe="otter_tune",
        dataset=dataset,
        out=tmp_path / "again",
        overrides=[
            f"model.start={out}",
            "trainable.parts=language,embeddings",
            "data.max_tokens=200",
            "data.max_row_tokens=256",
            *("run.steps=3", "run.batch_size=4", "run.precision=no", "optim.lr=1e-4"),
        ],
        progress=Progress(io.StringIO()),
    )

    assert again.first_loss < 3 * result.last_loss + 0.1
    assert answer(tmp_path / "again", square("blue"), "What colour is it?") == "It is blue."


@kinds
def test_a_stopped_run_goes_on_as_if_it_had_not_been(kind, dataset, tmp_path):
    settings = ("lora.r=2", "trainable.parts=embeddings", "data.max_row_tokens=512")
    if kind == "fuyu":
        settings += ("data.sides=16,24,32",)
    run(kind, dataset, tmp_path / "whole", *settings)
    for step in (3, 5):
        with pytest.raises(KeyboardInterrupt):
            run(kind, dataset, tmp_path / "parts", *settings, progress=StopAfter(step))
    run(kind, dataset, tmp_path / "parts", *settings, resume=True)

    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@kinds
def test_how_a_step_is_cut_does_not_change_what_is_learned(kind, dataset, tmp_path):
    run(kind, dataset, tmp_path / "whole", "run.steps=4")
    whole = losses(tmp_path / "whole")
    for name, settings in {
        "ones": ["run.micro_batch_size=1"],
        "twos": ["run.micro_batch_size=2"],
        "packed": ["data.max_row_tokens=512"],
        "checkpointing": ["run.gradient_checkpointing=true"],
    }.items():
        run(kind, dataset, tmp_path / name, "run.steps=4", *settings)
        assert losses(tmp_path / name) == pytest.approx(whole, abs=2e-5)


@kinds
def test_half_precision_learns(kind, dataset, tmp_path):
    settings = ("run.gradient_checkpointing=true", "data.max_row_tokens=512")
    run(kind, dataset, tmp_path / "full", "run.steps=1", *settings)
    run(kind, dataset, tmp_path / "half", "run.steps=20", "run.precision=bf16", *settings)

    [full], half = losses(tmp_path / "full"), losses(tmp_path / "half")
    assert half[0] != full
    assert half[0] == pytest.approx(full, rel=0.02)
    assert half[-1] < half[0] / 2


def test_sides_are_drawn_for_fuyu_and_refused_elsewhere(dataset, tmp_path):
    with pytest.raises(RecipeError, match=r"data\.sides .*'idefics'; leave it out"):
        run("idefics", dataset, tmp_path / "no", "data.sides=16,32")
    run("fuyu", dataset, tmp_path / "fixed", "run.steps=2")
    run("fuyu", dataset, tmp_path / "drawn", "run.steps=2", "data.sides=16,64")

    assert losses(tmp_path / "drawn") != losses(tmp_path / "fixed")


def test_transformers_does_not_talk_of_words_that_it_does_not_know(dataset, tmp_path):
    """Idefics' additional words lie beyond `vocab_size`, which transformers takes for a mistake."""
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.Logger.warning_once.cache_clear()
    logging.getLogger("transformers").addHandler(handler)
    try:
        run("idefics", dataset, tmp_path / "run", "run.steps=1")
    finally:
        logging.getLogger("transformers").removeHandler(handler)

    assert said == []
