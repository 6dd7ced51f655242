"""What the starting model says of pairs of answers: asked once, kept, and found again."""

import json
import math
import os
import resource
import signal

import numpy as np
import pytest
import torch

from mimicit.snapshot import freeze
from mimicit.store import Store
from trainer import curve
from trainer.errors import RunFolderError, WorkerError
from trainer.models.otter import Otter
from trainer.models.otter_processor import OtterProcessor
from trainer.objectives import compared, reference
from trainer.train import train

from .comparisons import ADAPTERS, FIRST, KINDS, pairs, run
from .lessons import lessons_of
from .processes import logged, losses
from .stopping import StopAfter

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def twelve(tmp_path_factory):
    return pairs(tmp_path_factory.mktemp("pairs") / "dataset")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Leave out loss.png, which takes longer than these runs."""
    monkeypatch.setattr(curve, "draw_curve", lambda *_, **__: None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_step_compares_the_model_with_itself(twelve, tmp_path, kind):
    run(twelve, tmp_path / "run", f"objective.kind={kind}", "run.steps=1")
    (entry,) = logged(tmp_path / "run")

    assert entry["loss"] == pytest.approx(FIRST.get(kind, entry["loss"]), abs=1e-6)
    figures = entry["figures"]
    assert curve._unit(figures) == f"loss per {'answer' if kind == 'kto' else 'pair'}"
    assert figures["rewards/chosen"] == pytest.approx(0, abs=1e-5)
    assert figures["rewards/margin"] == pytest.approx(0, abs=1e-5)


def test_what_is_kept_is_what_the_starting_model_says(twelve, tmp_path):
    run(twelve, tmp_path / "start", "run.steps=2")
    train(
        recipe="otter_tiny_dpo",
        dataset=twelve,
        out=tmp_path / "run",
        overrides=(f"model.start={tmp_path / 'start'}", "run.steps=1"),
    )
    table = np.load(tmp_path / "run" / "reference" / "log_probs.npy")
    processor = OtterProcessor.from_pretrained(tmp_path / "start" / "model")
    model = Otter.from_pretrained(tmp_path / "start" / "model")
    examples = lessons_of(freeze(Store.open(twelve)), processor, max_tokens=256, max_frames=8)

    assert table.shape == (12, 2)
    for number in range(12):
        example = examples[number].example
        batch = examples.encoder.lay([example])[0]
        with torch.no_grad():
            lost = model(**batch.inputs()).loss.item() * example.taught
        assert table[number, 0] == pytest.approx(-lost, rel=1e-4)


def test_only_records_that_the_run_meets_are_asked_about(twelve, tmp_path):
    run(twelve, tmp_path / "run", "run.steps=1")
    table = np.load(tmp_path / "run" / "reference" / "log_probs.npy")

    assert np.isfinite(table).all(axis=1).sum() == 6
    assert np.isnan(table).all(axis=1).sum() == 6


def test_a_resumed_run_asks_nothing_again_and_learns_the_same(twelve, tmp_path, monkeypatch):
    run(twelve, tmp_path / "whole", "objective.kind=mpo")
    with pytest.raises(KeyboardInterrupt):
        run(twelve, tmp_path / "cut", "objective.kind=mpo", progress=StopAfter(2))

    def refuse(*_args, **_kwargs):
        raise AssertionError("asked again")

    monkeypatch.setattr(reference, "_fill", refuse)
    with pytest.raises(KeyboardInterrupt):
        run(twelve, tmp_path / "cut", "objective.kind=mpo", progress=StopAfter(4))
    run(twelve, tmp_path / "cut", "objective.kind=mpo")

    # MPO's shift, a mean of all rewards before, among them: exactly.
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert [entry["figures"] for entry in logged(tmp_path / "cut")] == [
        entry["figures"] for entry in logged(tmp_path / "whole")
    ]
    assert logged(tmp_path / "whole")[-1]["figures"]["shift"] != 0
    learned = [
        Otter.from_pretrained(tmp_path / out / "model").state_dict() for out in ("cut", "whole")
    ]
    for name, weight in learned[0].items():
        torch.testing.assert_close(learned[1][name], weight, atol=0, rtol=0)


def test_mpos_shift_is_the_mean_reward_of_the_steps_before(twelve, tmp_path):
    run(twelve, tmp_path / "run", "objective.kind=mpo")
    figures = [entry["figures"] for entry in logged(tmp_path / "run")]
    means = [(one["rewards/chosen"] + one["rewards/rejected"]) / 2 for one in figures]
    wanted = [0.0, *(np.mean(means[:nth]) for nth in range(1, len(means)))]

    assert [one["shift"] for one in figures] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_pass_over_the_records_that_was_killed_goes_on(twelve, tmp_path):
    """kill -9 while the starting model is asked: what it said stays, the rest is asked, the table is the same."""
    run(twelve, tmp_path / "whole", "run.steps=2")
    if not (child := os.fork()):
        _train_until_killed(twelve, tmp_path / "cut", forwards=3)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert not (tmp_path / "cut" / "reference").exists()
    begun = np.load(tmp_path / "cut" / ".reference" / "log_probs.npy")
    assert np.isfinite(begun[:, 0]).sum() == 8
    asked = []
    ask = reference.log_probs

    def counting(model, rows):
        asked.extend(rows.numbers)
        return ask(model, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "log_probs", counting)
        run(twelve, tmp_path / "cut", "run.steps=2")

    assert sorted(asked) == np.flatnonzero(np.isnan(begun[:, 0])).tolist()
    one, other = (
        np.load(tmp_path / out / "reference" / "log_probs.npy") for out in ("whole", "cut")
    )
    np.testing.assert_array_equal(one, other)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def _train_until_killed(dataset, out, *, forwards):
    """Train in this process, which ends itself with kill -9 in the middle of the pass."""
    asked, ask = [], reference.log_probs

    def dies(model, rows):
        asked.append(rows.numbers)
        if len(asked) == forwards:
            os.kill(os.getpid(), signal.SIGKILL)
        return ask(model, rows)

    reference.log_probs = dies
    try:
        run(dataset, out, "run.steps=2")
    finally:  # it must not go on with the tests
        os._exit(1)


def test_a_table_that_is_gone_or_of_other_records_stops_the_run(twelve, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(twelve, tmp_path / "run", progress=StopAfter(2))
    kept = tmp_path / "run" / "reference"
    kept.rename(tmp_path / "aside")
    with pytest.raises(RunFolderError, match=r"is missing.*put the folder back"):
        run(twelve, tmp_path / "run")
    (tmp_path / "aside").rename(kept)
    about = json.loads((kept / "about.json").read_text())
    (kept / "about.json").write_text(json.dumps(about | {"snapshot": "other"}))
    with pytest.raises(RunFolderError, match="other records"):
        run(twelve, tmp_path / "run")


def test_with_adapters_alone_the_model_without_them_is_the_reference(twelve, tmp_path):
    """No table; and the losses are those of a run that keeps one."""
    run(twelve, tmp_path / "off", *ADAPTERS)
    assert not (tmp_path / "off" / "reference").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.objectives.preference.WithoutAdapters", Kept)
        Kept.run = tmp_path / "off"
        run(twelve, tmp_path / "kept", *ADAPTERS)
    assert len(Kept.table) > 0

    assert losses(tmp_path / "off")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses(tmp_path / "off")[-1] < math.log(2) - 0.05
    assert losses(tmp_path / "off") == pytest.approx(losses(tmp_path / "kept"), abs=1e-5)


class Kept:
    """A reference that remembers what it heard of a record first: before the first step, for these adapters change nothing yet."""

    def __init__(self):
        type(self).table = {}

    def __call__(self, model, rows):
        before = reference.WithoutAdapters()(model, rows)
        for number, values in zip(rows.numbers, before, strict=True):
            self.table.setdefault(number, values.clone())
        return torch.stack([self.table[number] for number in rows.numbers])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_worker_that_dies_while_the_starting_model_is_asked_is_a_sentence(
    twelve, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        compared.ComparedEncoder, "encode", lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    )
    with pytest.raises(WorkerError, match=r"was ended by SIGKILL.*the same command goes on"):
        run(twelve, tmp_path / "run", "data.workers=1")


def test_a_table_that_the_disk_has_no_room_for_is_a_sentence(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(RunFolderError, match=r"log_probs.npy' cannot be written.*make room"):
            reference._begin(tmp_path / ".reference", {}, rows=1_000_000, columns=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
