"""DeepSpeed's ZeRO learns what one process learns. Needs the package deepspeed and a C++ compiler, and takes minutes the first time."""

import math
import shutil
import sys
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from trainer import zero  # noqa: E402
from trainer.errors import TrainingError  # noqa: E402
from trainer.train import train  # noqa: E402

from .conftest import SMALL  # noqa: E402
from .processes import logged, losses, one, together  # noqa: E402

torch.set_num_threads(1)

STAGES = [1, 2, 3]
STEPS = [*SMALL, "run.steps=8", "run.micro_batch_size=1"]


@pytest.mark.parametrize("stage", STAGES)
def test_settings_are_those_of_the_recipe(stage):
    """No DeepSpeed is needed for that: weights in float32, clipping as the recipe says, autocast where it wants 16 bits."""
    found = zero.settings(stage, "bf16", 0.5)

    assert found["zero_optimization"]["stage"] == stage
    assert found["gradient_clipping"] == 0.5
    assert found["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}
    assert not {"bf16", "fp16"} & found.keys()
    assert zero.settings(stage, "no", 1.0)["torch_autocast"]["enabled"] is False


def test_a_deepspeed_that_spoils_weights_in_silence_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepspeed", SimpleNamespace(__version__="0.19.4"))
    with pytest.raises(TrainingError, match=r"DeepSpeed 0\.19\.4 may spoil .* pip install"):
        zero.import_deepspeed()


@pytest.fixture(scope="module")
def both(dataset, tmp_path_factory):
    pytest.importorskip("deepspeed")
    folder = tmp_path_factory.mktemp("zero")
    train(recipe="otter_tiny", dataset=dataset, out=folder / "single", overrides=STEPS)
    runs = []
    for stage in STAGES:
        to, way = folder / f"zero{stage}", f"run.strategy=zero{stage}"
        runs += [
            one(dataset, to / "halves", *STEPS, way, stop=3, copy=to / "cut"),
            one(dataset, to / "halves", *STEPS, way),
            one(
                dataset,
                to / "spoilt",
                *STEPS,
                "run.micro_batch_size=2",
                "run.steps=4",
                way,
                spoil=[2, 3],
            ),
        ]
    together(2, folder / "zero", runs, environment={"DS_ACCELERATOR": "cpu"})
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_learn_what_one_learns_and_resume(both, stage):
    ours, theirs = logged(both / "single"), logged(both / f"zero{stage}" / "halves")

    assert [step["loss"] for step in theirs] == pytest.approx([step["loss"] for step in ours], abs=3e-5)  # fmt: skip
    assert [step["grad_norm"] for step in theirs] == pytest.approx(
        [step["grad_norm"] for step in ours], rel=2e-3
    )


@pytest.mark.parametrize("stage", STAGES)
def test_one_process_without_deepspeed_goes_on(dataset, both, tmp_path, stage):
    shutil.copytree(both / f"zero{stage}" / "cut", tmp_path / "cut", symlinks=True)

    train(recipe="otter_tiny", dataset=dataset, out=tmp_path / "cut", overrides=STEPS, resume=True)

    assert losses(tmp_path / "cut") == pytest.approx(losses(both / "single"), abs=3e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_a_gradient_that_is_not_finite_moves_no_weight(both, stage):
    from trainer.models.otter import Otter

    out = both / f"zero{stage}" / "spoilt"

    assert [step["step"] for step in logged(out) if step["grad_norm"] is None] == [2, 3]
    assert all(math.isfinite(loss) for loss in losses(out))
    assert (out / "said.txt").read_text().count("no weight moved; its records: LA_INS_") == 2
    weights = Otter.from_pretrained(out / "model").state_dict().values()
    assert all(bool(weight.isfinite().all()) for weight in weights)


@pytest.mark.parametrize("stage", STAGES)
def test_the_model_is_saved_as_by_one_process(both, stage):
    from trainer.models.otter import Otter

    ours, theirs = (
        Otter.from_pretrained(both / where / "model").state_dict()
        for where in ("single", f"zero{stage}/halves")
    )

    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(theirs[name], weight, atol=3e-4, rtol=0, msg=name)
