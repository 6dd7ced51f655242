"""A run that was stopped goes on bit for bit as if it had not been, however it was stopped."""

import io
import json
import math
import multiprocessing
import os
import random
import signal
import time
from contextlib import contextmanager, suppress

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from mimicit.schema import Instruction  # noqa: E402
from mimicit.store import Store  # noqa: E402
from tests.trainer.stopping import StopAfter  # noqa: E402
from trainer import train as story  # noqa: E402
from trainer.config import Optim, Run  # noqa: E402
from trainer.errors import CheckpointError, RunFolderError  # noqa: E402
from trainer.families.otter import OtterEncoder  # noqa: E402
from trainer.models.otter import Otter  # noqa: E402
from trainer.optim import learning_rate, with_steps  # noqa: E402
from trainer.recipe import read_recipe  # noqa: E402
from trainer.report import Progress  # noqa: E402
from trainer.train import train  # noqa: E402

from .conftest import SMALL  # noqa: E402

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
    """Note the records of each forward, as the run takes them."""
    noted = []
    make = story.make_batches

    def noting(*args, **options):
        for laid in make(*args, **options):
            noted.append([record for rows in laid for record in rows.record_ids])
            yield laid

    with monkeypatch.context() as patch:
        patch.setattr(story, "make_batches", noting)
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


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"warmup_steps": 4}, lambda s: 0.5 * (1 + math.cos(math.pi * (s - 4) / 36))),
        ({"warmup_ratio": 0.1, "schedule": "linear"}, lambda s: 1 - (s - 4) / 36),
        ({"warmup_ratio": 0.1, "schedule": "constant"}, lambda s: 1.0),
        ({"schedule": "constant", "min_lr_ratio": 0.5}, lambda s: 1.0),
    ],
)
def test_schedules(settings, wanted):
    config = Optim(**({"lr": 2.0, "min_lr_ratio": 0.0} | settings))
    warmup = 4 if "warmup_steps" in settings or "warmup_ratio" in settings else 0

    rates = [learning_rate(step, steps=40, config=config) for step in range(41)]

    assert rates[:warmup] == [2.0 * (step + 1) / 4 for step in range(warmup)]
    assert rates[warmup:] == pytest.approx([2.0 * wanted(s) for s in range(warmup, 41)])


def test_epochs_say_how_long_a_run_is(dataset, tmp_path):
    result = run(dataset, tmp_path / "run", "run.steps=0", "run.epochs=1.5")
    assert result.steps == 3

    def run_of(**settings):
        return with_steps(Run(batch_size=4, micro_batch_size=4, **settings), 10).steps

    assert [run_of(epochs=epochs) for epochs in (3, 0.25, 0.01)] == [30, 2, 1]
    assert run_of(steps=7) == 7


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["run.epochs=2"], r"run\.steps is 200 and run\.epochs is 2\.0; say only one"),
        (["run.steps=0", "run.epochs=0"], r"run\.epochs is 0\.0, but must be above 0"),
        (["optim.warmup_ratio=0.1"], r"warmup_steps is 10 and optim\.warmup_ratio is 0\.1; say only"),
        (["optim.warmup_steps=0", "optim.warmup_ratio=2"], r"warmup_ratio is 2\.0, but must be at most 1"),
        (["optim.schedule=stairs"], r"one of 'cosine', 'linear', 'constant', not 'stairs'"),
        (["run.keep_best=true"], r"set evaluate\.every and evaluate\.where"),
        (["data.worker_timeout=-1"], r"data\.worker_timeout is -1\.0"),
    ],
)  # fmt: skip
def test_a_wrong_schedule_is_a_sentence(overrides, sentence):
    with pytest.raises(Exception, match=sentence):
        read_recipe("otter_tiny", overrides)


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


def test_what_a_run_leaves_is_what_it_learned_and_loads_without_a_key_too_many(dataset, tmp_path):
    """T11."""
    run(dataset, tmp_path / "run", "run.steps=3")
    last = load_file(tmp_path / "run" / "checkpoints" / "latest" / "model.safetensors")

    model, info = Otter.from_pretrained(tmp_path / "run" / "model", output_loading_info=True)

    assert not any(info.values()), info
    there = model.state_dict()
    assert last.keys() <= there.keys()
    assert all(torch.equal(value, there[name]) for name, value in last.items())
    untold = [name for name in there if name not in last]
    assert all("embed" in name or "lm_head" in name for name in untold)  # tied, if any


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


def child(dataset, out, overrides, told):
    """Train in a process of its own."""
    os.setpgid(0, 0)
    # As in a process that a user starts; one that was forked from a server would start a server for its workers.
    multiprocessing.set_start_method("fork", force=True)
    with told.open("a") as file:
        os.dup2(file.fileno(), 2)
        torch.set_num_threads(1)
        run(dataset, out, *overrides)


@pytest.mark.parametrize("workers", [0, 2])
def test_kill_9_at_any_moment_loses_nothing(dataset, tmp_path, workers):
    """Killed at several moments, most of them in a save, for each step ends with one."""
    settings = ("run.steps=16", "run.save_every=1", "run.keep=2", *PACKED)
    run(dataset, tmp_path / "whole", *settings)
    out, told = tmp_path / "killed", tmp_path / "told"
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.trainer.test_resume"])
    own = (*settings, f"data.workers={workers}")
    drawn = random.Random(8 + workers)
    goals = sorted(drawn.sample(range(1, 15), 4 if workers == 0 else 2))
    kills = 0
    for goal in goals:
        process = processes.Process(target=child, args=(dataset, out, own, told))
        process.start()
        until = time.monotonic() + 60
        while process.is_alive() and time.monotonic() < until:
            with suppress(OSError):
                if (out / "log.jsonl").read_bytes().count(b"\n") >= goal:
                    break
            time.sleep(0.002)
        time.sleep(drawn.random() * 0.04)
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
    process = processes.Process(target=child, args=(dataset, out, own, told))
    process.start()
    process.join()

    assert process.exitcode == 0, told.read_text()
    assert kills >= 2
    assert_equal(out, tmp_path / "whole")
