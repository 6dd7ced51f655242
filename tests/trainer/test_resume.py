"""A run that was stopped goes on bit for bit as if it had not been, however it was stopped."""

import io
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from mimicit.schema import Instruction  # noqa: E402
from mimicit.store import Store  # noqa: E402
from tests.trainer.stopping import StopAfter  # noqa: E402
from trainer import train as story  # noqa: E402
from trainer.config import Run  # noqa: E402
from trainer.errors import CheckpointError, RunFolderError  # noqa: E402
from trainer.families.otter import OtterEncoder  # noqa: E402
from trainer.loading import load  # noqa: E402
from trainer.models.otter import Otter  # noqa: E402
from trainer.optim import with_steps  # noqa: E402
from trainer.report import Progress  # noqa: E402
from trainer.train import train  # noqa: E402

from .conftest import SMALL  # noqa: E402
from .family_lessons import SETTINGS  # noqa: E402

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

TAKES_TIME = ("seconds", "waited", "aside", "memory", "mfu")
"""What two runs of the same steps do not share."""
PACKED = ("data.max_tokens=64", "data.max_row_tokens=128")
DROPPED = (
    "lora.r=2",
    "lora.dropout=0.3",
    "trainable.parts=perceiver,gates",
    "run.micro_batch_size=2",
)


def run(dataset, out, *overrides, recipe="otter_tiny", progress=None, **options):
    own = SMALL if recipe == "otter_tiny" else ()
    return train(
        recipe=recipe,
        dataset=dataset,
        out=out,
        overrides=[*own, *overrides],
        progress=progress or Progress(io.StringIO()),
        **options,
    )


def stopped(dataset, out, step, *overrides, **options):
    with pytest.raises(KeyboardInterrupt):
        run(dataset, out, *overrides, progress=StopAfter(step), **options)


def logged(out):
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [
        {
            name: value
            for name, value in row.items()
            if name not in TAKES_TIME and not name.endswith("_per_second")
        }
        for row in rows
    ]


def weights(out):
    return load_file(out / "model" / "model.safetensors")


def assert_equal(one, other):
    assert logged(one) == logged(other)
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@contextmanager
def consumed(monkeypatch):
    """Note the records of each forward of each step, as the model meets them: batches are made before they are asked for."""
    noted = []
    take = story.train_step

    def noting(strategy, model, optimizer, batches, *args, **options):
        def watched():
            for laid in batches:
                noted.append([record for rows in laid for record in rows.record_ids])
                yield laid

        return take(strategy, model, optimizer, watched(), *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(story, "train_step", noting)
        yield noted


@pytest.mark.parametrize(
    ("settings", "stops"),
    [
        ((), (1, 3)),
        (PACKED, (2, 5)),  # at the edge of an epoch, and within the third
        (DROPPED, (3, 4)),
        ((*PACKED, *DROPPED), (5, 7)),
    ],
    ids=["padded", "packed", "dropout", "packed dropout"],
)
def test_a_run_that_is_stopped_twice_goes_on_bit_for_bit(
    dataset, tmp_path, monkeypatch, settings, stops
):
    """T9: seven records, four a step, so that epochs end after every other step; with other workers each time."""
    workers = ["data.workers=0", "data.workers=2", "data.workers=1"]
    with consumed(monkeypatch) as wanted:
        run(dataset, tmp_path / "whole", *settings)
    with consumed(monkeypatch) as met:
        for stop, own in zip(stops, workers[:2], strict=True):
            stopped(dataset, tmp_path / "parts", stop, *settings, own)
            assert len(logged(tmp_path / "parts")) == stop
        run(dataset, tmp_path / "parts", *settings, workers[2], resume=True)

    assert met == wanted
    assert_equal(tmp_path / "parts", tmp_path / "whole")


def test_the_rate_is_the_closed_form_of_the_step_also_after_a_stop(dataset, tmp_path):
    """T22."""
    settings = ("optim.schedule=linear", "optim.min_lr_ratio=0", "optim.warmup_steps=3")
    stopped(dataset, tmp_path / "run", 4, *settings)
    run(dataset, tmp_path / "run", *settings)

    highest = 5e-3
    wanted = [highest * n / 3 for n in (1, 2, 3)] + [highest * (1 - n / 5) for n in range(5)]
    assert [row["lr"] for row in logged(tmp_path / "run")] == pytest.approx(wanted, rel=1e-12)


def test_epochs_say_how_long_a_run_is(dataset, tmp_path):
    result = run(dataset, tmp_path / "run", "run.steps=0", "run.epochs=1.5")
    assert result.steps == 3

    def run_of(**settings):
        return with_steps(Run(batch_size=4, micro_batch_size=4, **settings), 10).steps

    assert [run_of(epochs=epochs) for epochs in (3, 0.25, 0.01)] == [30, 2, 1]
    assert run_of(steps=7) == 7


def test_going_on_decodes_no_picture_of_the_steps_before(dataset, tmp_path, monkeypatch):
    """T10: the plan knows where each step begins."""
    decoded = []
    picture = OtterEncoder.picture

    def counted(self, data, *, name):
        decoded.append(name)
        return picture(self, data, name=name)

    monkeypatch.setattr(OtterEncoder, "picture", counted)
    stopped(dataset, tmp_path / "run", 7, "data.picture_cache_mb=0")
    decoded.clear()

    run(dataset, tmp_path / "run", "data.picture_cache_mb=0")

    # The eighth step has the three records that are left of the fourth epoch, one picture each.
    assert len(decoded) == logged(tmp_path / "run")[-1]["pictures"] == 3


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("otter", ()),
        ("otter", ("lora.r=2", "trainable.parts=perceiver,gates")),
        ("fuyu", ()),
        ("idefics", ()),
    ],
    ids=["otter", "otter with adapters", "fuyu", "idefics"],
)
def test_a_saved_model_says_what_the_trained_one_said(
    dataset, tmp_path, monkeypatch, kind, settings
):
    """T11: the same logits, without a key too many or too few."""
    said = {}
    take, end = story.train_step, story.finish

    def taking(strategy, model, optimizer, batches, *args, **options):
        laid = [next(batches)]
        said["inputs"] = laid[0][0].inputs()
        return take(strategy, model, optimizer, iter(laid), *args, **options)

    def ending(folder, config, mix, model, *args, **options):
        said["logits"] = logits(model)
        end(folder, config, mix, model, *args, **options)

    def logits(model):
        inputs = {name: value for name, value in said["inputs"].items() if name != "labels"}
        with torch.no_grad():
            return model.eval()(**inputs).logits

    monkeypatch.setattr(story, "train_step", taking)
    monkeypatch.setattr(story, "finish", ending)
    out = tmp_path / "run"
    own = [*SETTINGS[kind], *settings, "run.steps=3", "optim.lr=5e-2"]
    progress = Progress(io.StringIO())
    train(recipe=f"{kind}_tiny", dataset=dataset, out=out, overrides=own, progress=progress)

    loaded, _ = load(out, device="cpu")
    again, info = type(loaded).from_pretrained(out / "model", output_loading_info=True)
    assert not any(info.values()), info
    exactly = {"rtol": 0, "atol": 0} if not settings else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(logits(again), said["logits"], **exactly)
    if not settings:
        last = load_file(out / "checkpoints" / "latest" / "model.safetensors")
        there = again.state_dict()
        assert all(torch.equal(value, there[name]) for name, value in last.items())
        tied = [name for name in there if name not in last]
        assert all("embed" in name or "lm_head" in name for name in tied)


@pytest.fixture(scope="module")
def begun(dataset, tmp_path_factory):
    """A model to start from."""
    out = tmp_path_factory.mktemp("start") / "otter"
    run(dataset, out, "run.steps=2")
    return out / "model"


TUNED = (
    "lora.r=2", "lora.dropout=0.2", "trainable.parts=perceiver,gates", "run.steps=6", "run.batch_size=4",
    "run.precision=no", "data.max_tokens=64", "optim.lr=1e-2", "optim.warmup_steps=1",
)  # fmt: skip


def test_checkpoints_of_a_run_that_began_from_a_model_hold_what_is_trained(
    dataset, begun, tmp_path
):
    settings = (*TUNED, f"model.start={begun}")
    run(dataset, tmp_path / "whole", *settings, recipe="otter_tune")
    stopped(dataset, tmp_path / "parts", 3, *settings, recipe="otter_tune")
    held = load_file(tmp_path / "parts" / "checkpoints" / "latest" / "model.safetensors")
    assert not any("vision_encoder" in name or "embed_tokens" in name for name in held)
    assert any(".lora_B." in name for name in held)

    run(dataset, tmp_path / "parts", *settings, recipe="otter_tune")

    assert_equal(tmp_path / "parts", tmp_path / "whole")


def test_beside_another_model_it_does_not_go_on(dataset, begun, tmp_path):
    import shutil

    start = tmp_path / "start"
    shutil.copytree(begun, start)
    settings = (*TUNED, f"model.start={start}")
    stopped(dataset, tmp_path / "run", 3, *settings, recipe="otter_tune")
    os.utime(start / "model.safetensors")  # the same weights, copied again, are the same
    stopped(dataset, tmp_path / "run", 4, *settings, recipe="otter_tune")
    model = Otter.from_pretrained(start)
    with torch.no_grad():
        next(model.vision_encoder.parameters()).add_(1e-3)
    model.save_pretrained(start)

    with pytest.raises(CheckpointError, match="put back the model from which this run began"):
        run(dataset, tmp_path / "run", *settings, recipe="otter_tune")


def test_what_is_measured_when_a_run_goes_on_counts_for_the_best_checkpoint(dataset, tmp_path):
    """A run that is stopped after step 2 has no time for the look that was due then."""
    settings = (
        "evaluate.every=2", "evaluate.where=id LIKE '%red%'", "evaluate.answers=0", "run.save_every=2", "run.keep=9",
        "run.keep_best=true",
    )  # fmt: skip

    def measured(out):
        states = (out / "checkpoints").glob("step-*/state.json")
        return {
            said["step"]: said["held_out"] for said in map(json.loads, map(Path.read_text, states))
        }

    run(dataset, tmp_path / "whole", *settings)
    stopped(dataset, tmp_path / "parts", 2, *settings)
    assert measured(tmp_path / "parts") == {2: None}
    run(dataset, tmp_path / "parts", *settings)

    assert measured(tmp_path / "parts") == measured(tmp_path / "whole")
    assert sorted(measured(tmp_path / "whole")) == [2, 4, 6, 8]
    best = [(tmp_path / name / "checkpoints" / "best").readlink() for name in ("parts", "whole")]
    assert best[0] == best[1]


def copied(dataset, to):
    import shutil

    shutil.copytree(dataset, to)
    return to


def more(dataset):
    store = Store.open(dataset)
    record = Instruction(
        id="LA_INS_more_00", task="squares", instruction="What?", answer="More.", image_ids=()
    )
    store.add([record])


def test_a_run_keeps_to_its_records_when_its_dataset_grows(dataset, tmp_path):
    mine = copied(dataset, tmp_path / "dataset")
    run(mine, tmp_path / "whole")
    stopped(mine, tmp_path / "parts", 3)
    more(mine)

    told = io.StringIO()
    run(mine, tmp_path / "parts", progress=Progress(told))

    assert "has changed since this run began: 8 of its records are selected by now" in (
        told.getvalue()
    )
    assert "goes on with its own 7" in told.getvalue()
    assert_equal(tmp_path / "parts", tmp_path / "whole")
    again = io.StringIO()
    assert run(mine, tmp_path / "new", "run.steps=1", progress=Progress(again)).steps == 1
    assert "8 records" in again.getvalue()
    assert "has changed" not in again.getvalue()


def test_a_run_whose_records_are_gone_says_so(dataset, tmp_path):
    import shutil

    mine = copied(dataset, tmp_path / "dataset")
    stopped(mine, tmp_path / "run", 3)
    more(mine)
    shutil.rmtree(mine / "snapshots")

    with pytest.raises(RunFolderError, match=r"began with other records .* snapshots/; put them"):
        run(mine, tmp_path / "run")


def child(dataset, out, overrides, told, dies_in=None):
    """Train in a process of its own; with `dies_in` it kills itself, or its whole group, in the middle of the save after a step."""
    os.setpgid(0, 0)
    # As in a process that a user starts; one that was forked from a server would start a server for its workers.
    multiprocessing.set_start_method("fork", force=True)
    with told.open("a") as file:
        os.dup2(file.fileno(), 2)
        torch.set_num_threads(1)
        if dies_in:
            step, kill = dies_in
            half_done = f".step-{step:06d}/training.pt"
            sys.addaudithook(
                lambda event, args: (
                    kill(os.getpid(), signal.SIGKILL)
                    if event == "open" and str(args[0]).endswith(half_done)
                    else None
                )
            )
        run(dataset, out, *overrides)


@pytest.mark.parametrize("workers", [0, 2])
def test_kill_9_at_any_moment_loses_nothing(dataset, tmp_path, workers):
    """Twice within a save and twice at a random moment; once the whole group, once its leader alone, whose workers live on for a while."""
    settings = ("run.steps=16", "run.save_every=1", "run.keep=2", *PACKED)
    run(dataset, tmp_path / "whole", *settings)
    out, told = tmp_path / "killed", tmp_path / "told"
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.trainer.test_resume"])
    drawn = random.Random(8 + workers)

    def start(dies_in=None):
        own = (*settings, f"data.workers={workers}")
        process = processes.Process(target=child, args=(dataset, out, own, told, dies_in))
        process.start()
        return process

    for step, kill in ((2, os.killpg), (6, os.kill)):
        process = start((step, kill))
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, told.read_text()
        left = {path.name for path in (out / "checkpoints").iterdir()}
        assert f".step-{step:06d}" in left
        assert f"step-{step:06d}" not in left
    for goal, kill in ((8, os.killpg), (11, os.kill)):
        process = start()
        until = time.monotonic() + 60
        while process.is_alive() and time.monotonic() < until:
            if (out / "log.jsonl").read_bytes().count(b"\n") >= goal:
                break
            time.sleep(0.002)
        time.sleep(drawn.random() * 0.04)
        kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, told.read_text()
    process = start()
    process.join()

    assert process.exitcode == 0, told.read_text()
    assert_equal(out, tmp_path / "whole")
