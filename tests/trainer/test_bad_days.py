"""A bad day is a sentence, and nothing is lost."""

import errno
import io
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from tests.trainer.stopping import StopAfter  # noqa: E402
from trainer import checkpoint, report  # noqa: E402
from trainer.config import Data  # noqa: E402
from trainer.ending import bad_gradients  # noqa: E402
from trainer.errors import (  # noqa: E402
    NonFiniteGradError,
    NonFiniteLossError,
    RunFolderError,
    WorkerError,
)
from trainer.log_file import LogFile  # noqa: E402
from trainer.plan import Plan  # noqa: E402
from trainer.report import Progress, StepLog  # noqa: E402
from trainer.run_folder import whole_folder  # noqa: E402
from trainer.sources.snapshot import SnapshotSource  # noqa: E402
from trainer.workers import missed  # noqa: E402

from .runs import losses, run  # noqa: E402

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def wanted(dataset, tmp_path_factory):
    """The losses of a run on a good day."""
    out = tmp_path_factory.mktemp("good") / "run"
    run(dataset, out)
    return losses(out)


def is_full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


# The disk


def test_where_a_checkpoint_finds_no_room_training_goes_on(dataset, wanted, tmp_path, monkeypatch):
    told = io.StringIO()
    write, tries = checkpoint._write, []

    def sometimes(staged, state):
        tries.append(staged.name)
        if len(tries) in (2, 3):
            (staged / "model.safetensors").write_bytes(b"half of it")
            is_full()
        write(staged, state)

    monkeypatch.setattr(checkpoint, "_write", sometimes)
    out = tmp_path / "full"
    stop = StopAfter(7)
    stop.stream = told
    with pytest.raises(KeyboardInterrupt):
        run(dataset, out, "run.save_every=2", progress=stop)

    assert "no checkpoint was written after step 4 (No space left on device); that of step 2" in (
        told.getvalue()
    )
    assert "after step 6 (No space left on device); that of step 2 is whole" in told.getvalue()
    assert (out / "checkpoints" / "step-000007").is_dir()
    run(dataset, out, "run.save_every=2")
    assert losses(out) == wanted


def test_a_model_that_finds_no_room_is_written_by_the_same_command(dataset, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("trainer.models.otter.Otter.save_pretrained", is_full)
        with pytest.raises(
            RunFolderError, match=r"model' cannot be written \(No space left.*again"
        ):
            run(dataset, out)
    assert not (out / "model").exists()
    assert not (out / ".model").exists()

    before = losses(out)
    assert run(dataset, out).steps == 8
    assert losses(out) == before
    assert (out / "model" / "config.json").exists()


def test_a_folder_that_was_not_written_whole_leaves_what_was_there(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()

    def fill():
        with whole_folder(tmp_path / "model") as staged:
            (staged / "new").touch()
            raise Exception("No space left on device (os error 28)")  # noqa: TRY002 - tokenizers does

    with pytest.raises(RunFolderError, match="cannot be written"):
        fill()
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "old"]

    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "model"):
        1 / 0  # noqa: B018
    with whole_folder(tmp_path / "model") as staged:
        (staged / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "new"]


def test_lines_of_the_log_wait_until_there_is_room(dataset, wanted, tmp_path, monkeypatch):
    append, tries = report.append, []

    def sometimes(path, entry):
        tries.append(entry.step)
        if entry.step in (3, 4):
            with path.open("a") as file:
                file.write('{"step": 3, "lo')
            is_full()
        append(path, entry)

    monkeypatch.setattr(report, "append", sometimes)
    monkeypatch.setattr("trainer.log_file.AGAIN", 0.0)
    told = io.StringIO()
    run(dataset, tmp_path / "full", progress=Progress(told))

    assert told.getvalue().count("training goes on, and its lines are written as soon as") == 1
    assert losses(tmp_path / "full") == wanted


def test_a_curve_that_cannot_be_drawn_is_left_out(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.curve.Curve.is_due", lambda *_, **__: True)
    monkeypatch.setattr("trainer.curve.draw_curve", is_full)
    told = io.StringIO()
    result = run(dataset, tmp_path / "run", "run.steps=3", progress=Progress(told))

    assert result.steps == 3
    assert "loss.png' cannot be written (No space left on device)" in told.getvalue()
    assert (tmp_path / "run" / "model" / "config.json").exists()


def entry(step, grad_norm=0.2):
    return StepLog(step, 1.0, 0.1, grad_norm, taught=3, tokens=4, seconds=0.5, waited=0.0)


def test_a_log_that_cannot_be_written_at_all_is_told_of_once(tmp_path):
    said = []
    path = tmp_path / "log.jsonl"
    path.mkdir()
    entries = [entry(1)]
    log = LogFile(path, entries, say=said.append)
    for step in (2, 3):
        entries.append(entry(step))
        log.add(entries[-1])
        log.flush()
    assert len(said) == 1
    path.rmdir()
    log.flush()
    assert [one.step for one in report.read(path, up_to=3)] == [1, 2, 3]


def test_a_log_says_what_is_not_finite_in_json(tmp_path):
    path = tmp_path / "log.jsonl"
    report.append(path, entry(1, math.nan))
    report.append(path, entry(2, math.inf))
    report.append(path, entry(3))

    def refuse(word):
        raise AssertionError(word)

    rows = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    assert [row["grad_norm"] for row in rows] == [None, None, 0.2]
    assert [math.isfinite(one.grad_norm) for one in report.read(path, up_to=3)] == [
        False,
        False,
        True,
    ]


# Two at once


HOLD = """
import sys
from pathlib import Path
from trainer.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
folder.lock()
print("held", flush=True)
sys.stdin.read()
"""


def test_two_processes_do_not_train_in_one_folder(dataset, tmp_path):
    out = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match="another process is training in"):
            run(dataset, out)
        other.kill()

    assert run(dataset, out, "run.steps=1").steps == 1


def test_a_process_that_may_not_train_here_leaves_checkpoints_alone(dataset, tmp_path):
    """What it sees half written or half deleted is not damaged: another process is at it."""
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(dataset, out, "run.save_every=1", progress=StopAfter(2))
    (out / "checkpoints" / "step-000002" / "training.pt").unlink()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        # It waits with the lock, whatever it thinks of the settings.
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match="another process is training in"):
            run(dataset, out, "run.save_every=1")
        other.kill()

    names = {path.name for path in (out / "checkpoints").iterdir()}
    assert names == {"latest", "step-000001", "step-000002"}
    assert (out / "checkpoints" / "latest").readlink().name == "step-000002"


def test_a_finished_run_needs_no_checkpoint(dataset, tmp_path):
    out = tmp_path / "run"
    run(dataset, out, "run.steps=1")
    (out / "checkpoints" / "step-000001" / "state.json").unlink()

    assert run(dataset, out, "run.steps=1", resume=True).was_finished
    assert (out / "checkpoints" / "step-000001").is_dir()


def test_a_run_goes_on_without_its_log(dataset, wanted, tmp_path):
    out, told = tmp_path / "run", io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        run(dataset, out, progress=StopAfter(3))
    lines = (out / "log.jsonl").read_text().splitlines(keepends=True)
    (out / "log.jsonl").write_text(lines[1])

    assert run(dataset, out, progress=Progress(told)).steps == 8
    assert "log.jsonl has lost 2 of the 3 steps before" in told.getvalue()
    assert losses(out) == [wanted[1], *wanted[3:]]


def test_settings_that_cannot_be_read_are_a_sentence(dataset, tmp_path):
    run(dataset, tmp_path / "run", "run.steps=1")
    (tmp_path / "run" / "settings.json").write_text('{"mod')
    with pytest.raises(RunFolderError, match=r"settings\.json' cannot be read"):
        run(dataset, tmp_path / "run", "run.steps=1")


def test_what_changes_nothing_that_is_learned_may_change(dataset, wanted, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(dataset, out, progress=StopAfter(3))
    own = (
        "data.picture_cache_mb=0",
        "data.skip_bad=2",
        "run.save_every=3",
        "run.keep=1",
        "report.every=5",
    )
    run(dataset, out, *own)

    written = json.loads((out / "settings.json").read_text())
    assert written["run"]["save_every"] == 3
    assert losses(out) == wanted
    with pytest.raises(RunFolderError, match=r"optim\.beta1 is 0\.9 there and 0\.8 here"):
        run(dataset, out, "optim.beta1=0.8")


# Workers


def ends(how, at):
    """Return what ends or hangs a process that prepares data, when it comes to a record."""
    row = SnapshotSource.__getitem__
    me = os.getpid()

    def ending(self, index):
        if index == at and os.getpid() != me:
            how()
        return row(self, index)

    return ending


def leave():
    """Wait for what waits for a dead process, and for its siblings, as the end of a run's own process does not."""
    for thread in threading.enumerate():
        if thread.name == "ahead":
            thread.join(30)
    for orphan in multiprocessing.active_children():
        orphan.join(10)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL, most likely because memory ran out"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "segmentation fault"),
        (lambda: os.kill(os.getpid(), signal.SIGBUS), "shared memory"),
        (lambda: os._exit(3), "if memory ran out"),
    ],
    ids=["SIGKILL", "SIGSEGV", "SIGBUS", "exit"],
)  # fmt: skip
def test_a_worker_that_dies_is_a_sentence(dataset, tmp_path, monkeypatch, how, why):
    monkeypatch.setattr(SnapshotSource, "__getitem__", ends(how, 3))
    with pytest.raises(WorkerError, match=rf"one of the 1 processes .*\(process \d+\).*{why}"):
        run(dataset, tmp_path / "run", "data.workers=1", "data.worker_timeout=5")
    leave()


def test_after_a_worker_died_the_same_command_goes_on(dataset, wanted, tmp_path, monkeypatch):
    out, settings = tmp_path / "run", ("data.workers=2", "run.save_every=1")
    with monkeypatch.context() as patch:
        patch.setattr(SnapshotSource, "__getitem__", ends(lambda: os._exit(3), 3))
        with pytest.raises(WorkerError, match=r"one of the 2 processes .* goes on from the last"):
            run(dataset, out, *settings, "data.worker_timeout=5")
    leave()

    run(dataset, out, *settings)

    assert losses(out) == wanted


def test_a_worker_that_hangs_is_a_sentence(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(SnapshotSource, "__getitem__", ends(lambda: time.sleep(60), 3))
    with pytest.raises(WorkerError, match=r"has hung: nothing came for 1 seconds \(data\.worker"):
        run(dataset, tmp_path / "run", "data.workers=1", "data.worker_timeout=1")


def test_other_errors_keep_their_traceback():
    with pytest.raises(RuntimeError, match="out of memory"), missed(Data()):
        raise RuntimeError("CUDA out of memory")


# What is not finite


def poisoned(model_class, steps, monkeypatch, *, loss=False):
    """Make the gradients of some steps NaN, or the loss itself."""
    forward, seen = model_class.forward, []

    def forwarded(self, **inputs):
        found = forward(self, **inputs)
        if torch.is_grad_enabled():
            seen.append(len(seen) + 1)
            if seen[-1] in steps:
                if loss:
                    found.loss = found.loss * torch.nan
                else:
                    found.loss.register_hook(lambda grad: grad * torch.nan)
        return found

    monkeypatch.setattr(model_class, "forward", forwarded)


def test_a_gradient_that_is_not_finite_moves_no_weight_and_is_told_of(
    dataset, tmp_path, monkeypatch
):
    """T25."""
    from trainer.models.otter import Otter

    told = io.StringIO()
    poisoned(Otter, {3, 4, 6}, monkeypatch)
    run(dataset, tmp_path / "run", "optim.max_bad_steps=2", progress=Progress(told))

    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["grad_norm"] is None] == [3, 4, 6]
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert told.getvalue().count("no weight moved; its records: LA_INS_") == 3
    model = Otter.from_pretrained(tmp_path / "run" / "model")
    assert all(bool(weight.isfinite().all()) for weight in model.parameters())


def test_after_so_many_in_a_row_the_run_stops_also_across_a_stop(dataset, tmp_path, monkeypatch):
    """T25."""
    from trainer.models.otter import Otter

    out = tmp_path / "run"
    poisoned(Otter, range(3, 99), monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, out, "optim.max_bad_steps=3", progress=StopAfter(4))
    with pytest.raises(NonFiniteGradError, match=r"step 6 is not finite, .* 3 steps .*LA_INS_"):
        run(dataset, out, "optim.max_bad_steps=3")

    held = checkpoint.newest(out / "checkpoints", say=print)
    assert held.step == 4
    weights = torch.load(held.path / "training.pt", weights_only=True)
    assert "nan" not in str(weights)


def test_in_fp16_a_gradient_may_overflow_until_the_scale_of_the_loss_is_found():
    """T25: each overflow halves the scale, from 2^24 at most; after that it counts as anywhere."""

    class Named(list):
        def __getitem__(self, number):
            return SimpleNamespace(id=f"LA_INS_{number}"), 1.0

    config = SimpleNamespace(optim=SimpleNamespace(max_bad_steps=2))
    plan = Plan(records=2, batch_size=2, micro_batch_size=2, seed=0)
    log = [entry(1), *(entry(step, math.inf) for step in range(2, 26))]

    said = bad_gradients(log, config, plan, Named(), precision="fp16")
    assert said == "the gradient of step 25 is too large for fp16, so the scale of the loss was halved and no weight moved"  # fmt: skip
    with pytest.raises(NonFiniteGradError, match="step 25 is not finite"):
        bad_gradients(log, config, plan, Named(), precision="bf16")
    log += [entry(26, math.inf), entry(27, math.nan)]
    assert "LA_INS_1" in bad_gradients(log, config, plan, Named(), precision="fp16")
    log.append(entry(28, math.inf))
    with pytest.raises(NonFiniteGradError, match="step 28 is not finite"):
        bad_gradients(log, config, plan, Named(), precision="fp16")
    log.append(entry(29))
    assert bad_gradients(log, config, plan, Named(), precision="fp16") is None


def test_a_loss_that_is_not_finite_leaves_the_checkpoint_before(
    dataset, wanted, tmp_path, monkeypatch
):
    from trainer.models.otter import Otter

    with monkeypatch.context() as patch:
        poisoned(Otter, {5}, patch, loss=True)
        with pytest.raises(NonFiniteLossError, match=r"loss of step 5 is nan.*LA_INS_"):
            run(dataset, tmp_path / "run", "run.save_every=2")

    assert checkpoint.newest(tmp_path / "run" / "checkpoints", say=print).step == 4
    run(dataset, tmp_path / "run", "run.save_every=2")
    assert losses(tmp_path / "run") == wanted


# Ctrl-C


def test_ctrl_c_while_saving_ends_after_the_save(dataset, wanted, tmp_path, monkeypatch):
    publish = checkpoint._publish

    def pressed(*args):
        os.kill(os.getpid(), signal.SIGINT)
        publish(*args)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_publish", pressed)
        with pytest.raises(KeyboardInterrupt):
            run(dataset, tmp_path / "run", "run.save_every=2")
    assert checkpoint.newest(tmp_path / "run" / "checkpoints", say=print).step >= 2
    run(dataset, tmp_path / "run", "run.save_every=2")
    assert losses(tmp_path / "run") == wanted


def test_ctrl_c_twice_ends_within_the_save_and_the_one_before_stays(
    dataset, wanted, tmp_path, monkeypatch
):
    write, saves = checkpoint._write, []

    def pressed(staged, state):
        saves.append(staged)
        if len(saves) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        write(staged, state)

    monkeypatch.setattr(checkpoint, "_write", pressed)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, tmp_path / "run", "run.save_every=2")
    assert checkpoint.newest(tmp_path / "run" / "checkpoints", say=print).step == 2
    run(dataset, tmp_path / "run", "run.save_every=2")
    assert losses(tmp_path / "run") == wanted


def test_ctrl_c_while_looking_at_held_out_records_ends_after_the_look(
    dataset, tmp_path, monkeypatch
):
    from trainer.evaluate import Looks

    look = Looks.look

    def pressed(self, *args, **options):
        os.kill(os.getpid(), signal.SIGINT)
        return look(self, *args, **options)

    settings = (
        "evaluate.every=2", "evaluate.where=id LIKE '%red%'", "evaluate.answers=0", "run.save_every=2",
        "run.keep_best=true",
    )  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(Looks, "look", pressed)
        with pytest.raises(KeyboardInterrupt):
            run(dataset, tmp_path / "run", *settings)
    run(dataset, tmp_path / "run", *settings)
    run(dataset, tmp_path / "whole", *settings)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    best = (tmp_path / "whole" / "checkpoints" / "best").resolve()
    held = {
        path.name: json.loads((path / "state.json").read_text())["held_out"]
        for path in best.parent.glob("step-*")
    }
    assert held[best.name] == min(value for value in held.values() if value is not None)
