"""Figures go to trackers, once for each step, and no tracker can stop a run."""

import io
import json
import sys
import types

import pytest

torch = pytest.importorskip("torch")

from mimicit.errors import MissingExtraError  # noqa: E402
from trainer import trackers  # noqa: E402
from trainer.config import Report  # noqa: E402
from trainer.report import Progress, StepLog  # noqa: E402
from trainer.trackers import TRACKERS, Trackers, need  # noqa: E402
from trainer.train import train  # noqa: E402

from .conftest import SMALL  # noqa: E402

torch.set_num_threads(1)

old_names = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's own


def entry(step, **values):
    return StepLog(
        step, 1.0 / step, 0.1, 0.2, taught=3, tokens=40, seconds=0.5, waited=0.0, **values
    )


def opened(to, folder, *, start=0, told=0, say=pytest.fail):
    folder.mkdir(exist_ok=True)
    return Trackers(Report(to=to), folder, {"run": {"steps": 9}}, start=start, told=told, say=say)


def scalars(folder, name):
    """Read event files back as TensorBoard does: what a restart takes again is forgotten."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return [(one.step, pytest.approx(one.value)) for one in found.Scalars(name)]


class PowerCut(BaseException):
    pass


class Dying(Progress):
    def __init__(self, at=None):
        super().__init__(io.StringIO())
        self.at = at

    def step(self, entry, *, steps):
        super().step(entry, steps=steps)
        if entry.step == self.at:
            raise PowerCut


@old_names
def test_tensorboard_has_each_step_of_a_resumed_run_once(dataset, tmp_path):
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"
    settings = [
        *SMALL, "run.save_every=2", "report.to=tensorboard", "evaluate.where=id LIKE '%white%'", "evaluate.every=2",
        "evaluate.answers=0",
    ]  # fmt: skip

    def run(at=None):
        train(recipe="otter_tiny", dataset=dataset, out=out, overrides=settings, progress=Dying(at))

    with pytest.raises(PowerCut):
        run(at=5)
    run()

    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == list(range(1, 9))
    assert scalars(out / "tensorboard", "train/loss") == [(row["step"], row["loss"]) for row in log]
    assert scalars(out / "tensorboard", "speed/tokens_per_second")[-1] == (
        8,
        log[-1]["tokens_per_second"],
    )
    looks = [json.loads(line) for line in (out / "held_out.jsonl").read_text().splitlines()]
    assert scalars(out / "tensorboard", "held_out/loss") == [
        (row["step"], row["loss"]) for row in looks
    ]
    assert [row["step"] for row in looks] == [2, 4, 6, 8]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_done(
    dataset, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(trackers, "find_spec", lambda asked: None if asked == name else True)
    with pytest.raises(MissingExtraError, match=rf'{name}.*pip install "mimicit\[report\]"'):
        train(
            recipe="otter_tiny",
            dataset=dataset,
            out=tmp_path / "run",
            overrides=[*SMALL, f"report.to={name}"],
        )
    assert not (tmp_path / "run").exists()
    need(())


class Failing:
    def __init__(self, run):
        self.steps = []

    def log(self, step, values):
        if step == 2:
            raise ConnectionError("the network is away\nand a trace")
        self.steps.append(step)

    def close(self, *, is_finished):
        raise AssertionError("it is not asked again")


def test_a_tracker_that_fails_costs_one_sentence_and_the_others_go_on(tmp_path, monkeypatch):
    kept = []

    class Working(Failing):
        def log(self, step, values):
            kept.append(step)

        def close(self, *, is_finished):
            kept.append(is_finished)

    monkeypatch.setitem(TRACKERS, "wandb", Failing)
    monkeypatch.setitem(TRACKERS, "trackio", Working)
    told = []
    with opened(("wandb", "trackio"), tmp_path / "run", say=told.append) as tracking:
        for step in (1, 2, 3):
            tracking.step(entry(step))
        tracking.held_out(3, 0.5, {})
        tracking.finish()

    assert told == ["wandb gets no more figures (the network is away); log.jsonl has all of them"]
    assert kept == [1, 2, 3, 3, True]


def test_a_run_ends_as_without_a_tracker_that_cannot_even_begin(dataset, tmp_path, monkeypatch):
    def broken(run):
        raise RuntimeError("no key")

    monkeypatch.setattr(trackers, "find_spec", lambda name: True)
    monkeypatch.setitem(TRACKERS, "wandb", broken)
    told = io.StringIO()
    result = train(
        recipe="otter_tiny", dataset=dataset, out=tmp_path / "run", progress=Progress(told),
        overrides=[*SMALL, "run.steps=2", "report.to=wandb"],
    )  # fmt: skip
    assert result.steps == 2
    assert told.getvalue().count("wandb gets no more figures (no key)") == 1


@pytest.fixture
def service(monkeypatch):
    """Stand-ins for wandb and trackio: `init` gives a run, which takes `log` and `finish`, as those of wandb 0.31 and trackio 0.43."""
    begun = []

    class Run:
        def __init__(self, **given):
            self.given, self.logged, self.ended = given, [], None
            begun.append(self)
            sys.stdout.write("chatter")

        def log(self, values, step):
            self.logged.append((step, values["train/loss"]))

        def finish(self, exit_code=None):
            self.ended = exit_code

    wandb, trackio = types.ModuleType("wandb"), types.ModuleType("trackio")
    wandb.Settings = lambda **given: given
    wandb.init = lambda **given: Run(**given)
    trackio.init = lambda project, **given: Run(project=project, **given)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    return begun


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_resumed_run_goes_on_in_the_same_place_without_a_step_twice(
    tmp_path, service, name, capsys
):
    folder = tmp_path / "demo"
    with pytest.raises(PowerCut), opened((name,), folder) as tracking:  # noqa: PT012
        for step in (1, 2, 3, 4, 5):
            tracking.step(entry(step))
        raise PowerCut
    with opened((name,), folder, start=3, told=5) as tracking:
        for step in (4, 5, 6):
            tracking.step(entry(step))
        tracking.finish()

    first, second = service
    assert [step for run in service for step, _ in run.logged] == [1, 2, 3, 4, 5, 6]
    for key in ("id", "name", "project"):
        assert first.given.get(key) == second.given.get(key)
    assert first.given["project"] == "syphus"
    assert second.given["resume"] == "allow"
    assert first.given["config"] == {"run": {"steps": 9}}
    if name == "wandb":
        assert (first.ended, second.ended) == (1, 0)
    # Results alone go to standard output.
    out, err = capsys.readouterr()
    assert out == ""
    assert "chatter" in err


def test_another_run_in_a_folder_of_that_name_is_another_one_there(tmp_path, service):
    for _ in range(2):
        with opened(("wandb",), tmp_path / "demo"):
            pass
        (tmp_path / "demo" / "trackers.json").unlink()
    assert service[0].given["id"] != service[1].given["id"]
    assert service[0].given["name"] == service[1].given["name"] == "demo"


def test_without_trackers_nothing_is_imported_or_written(tmp_path):
    with opened((), tmp_path / "demo") as tracking:
        tracking.step(entry(1))
    assert list((tmp_path / "demo").iterdir()) == []
