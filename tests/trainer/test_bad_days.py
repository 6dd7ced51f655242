"""A bad day is a sentence, and nothing is lost."""

import errno
import io
import json
import math
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch")

from tests.trainer.stopping import StopAfter  # noqa: E402
from trainer import checkpoint, report  # noqa: E402
from trainer.config import Data, Optim  # noqa: E402
from trainer.errors import (  # noqa: E402
    NonFiniteGradError,
    NonFiniteLossError,
    RunFolderError,
    WorkerError,
)
from trainer.log_file import LogFile  # noqa: E402
from trainer.optim import make_optimizer  # noqa: E402
from trainer.report import Progress, StepLog  # noqa: E402
from trainer.run_folder import whole_folder  # noqa: E402
from trainer.sources.snapshot import SnapshotSource  # noqa: E402
from trainer.train import train  # noqa: E402
from trainer.workers import missed  # noqa: E402

from . import families  # noqa: E402
from .conftest import SMALL  # noqa: E402

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def run(dataset, out, *overrides, progress=None, **options):
    return train(
        recipe="otter_tiny",
        dataset=dataset,
        out=out,
        overrides=[*SMALL, *overrides],
        progress=progress or Progress(io.StringIO()),
        **options,
    )


def losses(out):
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


def is_full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


# The disk


def test_where_a_checkpoint_finds_no_room_training_goes_on(dataset, tmp_path, monkeypatch):
    run(dataset, tmp_path / "whole")
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
    assert losses(out) == losses(tmp_path / "whole")


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


def test_lines_of_the_log_wait_until_there_is_room(dataset, tmp_path, monkeypatch):
    run(dataset, tmp_path / "whole")
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
    assert losses(tmp_path / "full") == losses(tmp_path / "whole")


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
from trainer.recipe import read_recipe
from trainer.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
folder.claim(read_recipe("otter_tiny"), "digest")
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
    (out / "settings.json").unlink()  # killed before it wrote them

    assert run(dataset, out, "run.steps=1").steps == 1


def test_settings_that_cannot_be_read_are_a_sentence(dataset, tmp_path):
    run(dataset, tmp_path / "run", "run.steps=1")
    (tmp_path / "run" / "settings.json").write_text('{"mod')
    with pytest.raises(RunFolderError, match=r"settings\.json' cannot be read"):
        run(dataset, tmp_path / "run", "run.steps=1")


def test_what_changes_only_speed_may_change(dataset, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(dataset, out, progress=StopAfter(3))
    run(dataset, out, "data.picture_cache_mb=0", "run.save_every=3", "run.keep=1", "report.every=5")

    written = json.loads((out / "settings.json").read_text())
    assert written["run"]["save_every"] == 3
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
def test_a_worker_that_dies_is_a_sentence_and_the_same_command_goes_on(
    dataset, tmp_path, monkeypatch, how, why
):
    run(dataset, tmp_path / "whole")
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(SnapshotSource, "__getitem__", ends(how, 3))
        with pytest.raises(WorkerError, match=rf"one of the 2 processes .*{why}") as error:
            run(dataset, out, "data.workers=2", "run.save_every=1")
    assert "process " in str(error.value)
    for orphan in multiprocessing.active_children():
        orphan.join(10)

    run(dataset, out, "data.workers=2", "run.save_every=1")

    assert losses(out) == losses(tmp_path / "whole")


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


def test_a_loss_that_is_not_finite_leaves_the_checkpoint_before(dataset, tmp_path, monkeypatch):
    from trainer.models.otter import Otter

    run(dataset, tmp_path / "whole")
    with monkeypatch.context() as patch:
        poisoned(Otter, {5}, patch, loss=True)
        with pytest.raises(NonFiniteLossError, match=r"loss of step 5 is nan.*LA_INS_"):
            run(dataset, tmp_path / "run", "run.save_every=2")

    assert checkpoint.newest(tmp_path / "run" / "checkpoints", say=print).step == 4
    run(dataset, tmp_path / "run", "run.save_every=2")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


# Ctrl-C


def test_ctrl_c_while_saving_ends_after_the_save(dataset, tmp_path, monkeypatch):
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
    run(dataset, tmp_path / "whole")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_ctrl_c_twice_ends_within_the_save_and_the_one_before_stays(dataset, tmp_path, monkeypatch):
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
    run(dataset, tmp_path / "whole")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


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


# Weight decay

DECAYED = {
    "llama": r"lang_encoder\.lm_head|.*\.(mlp|self_attn)\.\w+|.*\.(to_\w+|feed_forward\.[13])|vision_encoder\.embeddings\.patch_embedding",
    "mpt": r"lang_encoder\..*\.(Wqkv|out_proj|up_proj|down_proj)|.*\.(to_\w+|feed_forward\.[13])|"
    r"vision_encoder\..*(_proj|fc[12]|patch_embedding)",
    "fuyu": r"lm_head|.*\.dense\w*|.*\.query_key_value|model\.vision_embed_tokens",
    "idefics": r"lm_head(\.additional_fc)?|.*_proj|.*\.fc[12]?|.*\.patch_embedding",
}
"""Names of linear maps and convolutions. All else keeps its size: norms, biases, gates, latents, embeddings."""


@pytest.mark.parametrize("name", DECAYED)
def test_only_maps_are_decayed(name):
    model = families.make(name).requires_grad_(True)
    optimizer = make_optimizer(model, Optim(lr=1e-3, weight_decay=0.1))
    names = {weight: name for name, weight in model.named_parameters()}

    (decayed, rate), (kept, none) = (
        ({names[weight] for weight in group["params"]}, group["weight_decay"])
        for group in optimizer.param_groups
    )

    assert (rate, none) == (0.1, 0.0)
    assert decayed | kept == set(names.values())
    assert decayed == {
        found for found in names.values() if re.fullmatch(rf"({DECAYED[name]})\.weight", found)
    }
    assert not [found for found in kept if re.search(r"(proj|fc\d|dense\w*|Wqkv)\.weight", found)]
