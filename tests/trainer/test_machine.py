"""What a run chooses to compute with, how it starts on all of it, and how its processes end together."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from mimicit.errors import MimicitError  # noqa: E402
from trainer import launch, machine  # noqa: E402
from trainer.config import Run  # noqa: E402
from trainer.errors import TrainingError  # noqa: E402
from trainer.strategy import Sharded, Strategy  # noqa: E402

from .conftest import SMALL  # noqa: E402
from .processes import alone, losses, start  # noqa: E402

torch.set_num_threads(1)

GIB = 1 << 30


def run_of(**settings):
    return Run(steps=1, batch_size=1, micro_batch_size=1, **settings)


def pretend(monkeypatch, *, processes=1, device="cuda", gpus=1, memory=80 * GIB):
    """Return what an Accelerator would be on such a machine."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    found = SimpleNamespace(total_memory=memory)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: found)
    return SimpleNamespace(
        num_processes=processes,
        device=torch.device(device),
        mixed_precision="bf16" if device == "cuda" else "no",
        is_main_process=True,
    )


def takes(gib):
    return SimpleNamespace(weight_bytes=gib * GIB // 4, training_bytes=gib * GIB * 3 // 4)


class TestChoice:
    def test_a_model_that_fits_each_gpu_is_shared_by_ddp(self, monkeypatch):
        accelerator = pretend(monkeypatch, processes=8, gpus=8)

        chosen, said = machine.choose_strategy(accelerator, run_of(), takes(40))

        assert type(chosen) is Strategy
        assert said == (
            "8 × NVIDIA H100 · bf16 activations (auto) · ddp (weights and what training them takes are 40.0 GiB, a device has 80)"
        )

    def test_one_that_does_not_is_taken_apart(self, monkeypatch):
        accelerator = pretend(monkeypatch, processes=8, gpus=8)

        chosen, said = machine.choose_strategy(accelerator, run_of(), takes(60))

        assert type(chosen) is Sharded
        assert "fsdp2 (weights and what training them takes are 60.0 GiB, a device has 80)" in said

    def test_the_recipe_may_say_otherwise(self, monkeypatch):
        accelerator = pretend(monkeypatch, processes=8, gpus=8)

        chosen, said = machine.choose_strategy(accelerator, run_of(strategy="fsdp2"), takes(1))

        assert type(chosen) is Sharded
        assert "fsdp2 (as the recipe says)" in said

    def test_idle_gpus_are_named_with_the_command_that_uses_them(self, monkeypatch):
        accelerator = pretend(monkeypatch, gpus=4)

        _, said = machine.choose_strategy(accelerator, run_of(), takes(1))

        assert said.endswith("3 other GPUs are idle; all work with: syphus train … --devices 4")

    def test_without_a_gpu_it_says_so(self, monkeypatch):
        accelerator = pretend(monkeypatch, device="cpu", gpus=0)

        chosen, said = machine.choose_strategy(accelerator, run_of(precision="no"), takes(1))

        assert type(chosen) is Strategy
        assert said == "on the CPU, for there is no GPU · float32 (run.precision)"

    def test_what_accelerate_launch_was_told_counts(self, monkeypatch):
        accelerator = pretend(monkeypatch, processes=2, gpus=2)
        monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")

        chosen, said = machine.choose_strategy(accelerator, run_of(), takes(1))

        assert type(chosen) is Sharded
        assert "fsdp2 (as accelerate launch was told)" in said
        with pytest.raises(TrainingError, match=r"run\.strategy is ddp, but .* was told fsdp2"):
            machine.choose_strategy(accelerator, run_of(strategy="ddp"), takes(1))

    def test_deepspeed_that_is_not_installed_says_how_to_get_it(self, monkeypatch):
        accelerator = pretend(monkeypatch, processes=2, gpus=2)
        monkeypatch.setitem(sys.modules, "deepspeed", None)

        with pytest.raises(MimicitError, match="pip install"):
            machine.choose_strategy(accelerator, run_of(strategy="zero2"), takes(1))

    def test_fp16_without_a_gpu_is_refused(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(TrainingError, match="fp16, which needs a GPU"):
            machine.join(run_of(precision="fp16"))


class TestHowMany:
    @pytest.fixture
    def gpus(self, monkeypatch):
        monkeypatch.delenv("WORLD_SIZE", raising=False)

        def there(number):
            monkeypatch.setattr(launch, "_gpus", lambda: number)

        return there

    @pytest.mark.parametrize(
        ("there", "asked", "started"),
        [(0, None, 0), (1, None, 0), (4, None, 4), (4, 1, 0), (4, 2, 2), (0, 2, 2), (0, 1, 0)],
    )
    def test_all_gpus_work_unless_told_otherwise(self, gpus, there, asked, started):
        gpus(there)
        assert launch.how_many(asked) == started

    def test_more_than_there_are_is_refused(self, gpus):
        gpus(2)
        with pytest.raises(TrainingError, match="--devices is 3, but only 2 GPUs are visible"):
            launch.how_many(3)

    def test_what_was_started_by_torchrun_starts_no_others(self, gpus, monkeypatch):
        gpus(8)
        monkeypatch.setenv("WORLD_SIZE", "8")
        assert launch.how_many(None) == launch.how_many(8) == 0
        with pytest.raises(TrainingError, match="one of 8 processes that another program started"):
            launch.how_many(4)


SLOW_LEADER = """
import os, time
from datetime import timedelta
import torch
from trainer import machine
from trainer.config import Run

accelerator = machine.join(Run(steps=1, batch_size=1, micro_batch_size=1), timeout=timedelta(seconds=2))
with machine.leader_first(accelerator):
    if accelerator.is_main_process:
        time.sleep(4)
numbers = machine.of_all(accelerator, {"rank": accelerator.process_index})
assert numbers == {"rank": [0.0, 1.0]}, numbers
assert machine.on_any(accelerator, accelerator.process_index == 1, False) == [True, False]
try:
    if accelerator.is_main_process:
        time.sleep(4)
    accelerator.wait_for_everyone()
except RuntimeError:
    print("a collective operation has a time limit", flush=True)
os._exit(0)
"""


def test_a_leader_that_takes_longer_than_the_time_limit_is_waited_for(tmp_path):
    """Freezing a dataset or training a tokenizer may take longer than any limit of the process group."""
    codes, told = start(2, tmp_path, ["-c", SLOW_LEADER])

    assert codes == [0, 0], told
    assert "a collective operation has a time limit" in told[1]


def command(dataset, out, *overrides):
    settings = [part for change in (*SMALL, *overrides) for part in ("--set", change)]
    return ["-m", "syphus.cli", "train", "otter_tiny", "-d", str(dataset), "-o", str(out), *settings]  # fmt: skip


def called(arguments, folder, *, limit=200):
    """Run a command; return its exit code, what it printed and what it said, and how long it took."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *arguments], env=alone(), cwd=folder, capture_output=True, text=True, timeout=limit, check=False
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr, time.monotonic() - began


def test_one_command_trains_in_two_processes(dataset, tmp_path):
    code, printed, said, _ = called(
        [*command(dataset, tmp_path / "run"), "--devices", "2", "--strategy", "fsdp2"], tmp_path
    )

    assert code == 0, said
    assert printed.count("is trained: 8 steps") == 1
    assert said.count("2 processes on CPU · float32 (auto) · fsdp2 (as the recipe says)") == 1
    assert said.count("learned in 8 steps") == 1
    assert json.loads((tmp_path / "run" / "run.json").read_text())["steps"] == 8


def test_a_picture_that_one_process_cannot_read_stops_all_and_is_told_once(dataset, tmp_path):
    broken = tmp_path / "dataset"
    shutil.copytree(dataset, broken)
    (shard,) = (broken / "images").iterdir()
    shard.write_bytes(shard.read_bytes().replace(b"\x89PNG", b"\x89PIG", 1))

    code, printed, said, _ = called(
        [*command(broken, tmp_path / "run", "run.micro_batch_size=1"), "--devices", "2"], tmp_path
    )

    assert code == 1, said
    assert printed == ""
    assert said.count("syphus: ") == said.count("a picture of record 'LA_INS_") == 1
    assert "Traceback" not in said


def running(dataset, out, *overrides):
    """Start a long run in two processes, and wait for its first steps; return it and its children's numbers."""
    arguments = [*command(dataset, out, "run.steps=100000", *overrides), "--devices", "2"]
    with (out.parent / "said.txt").open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, *arguments], env=alone(), cwd=out.parent, stderr=sink, stdout=sink
        )
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "log.jsonl").exists() and len((out / "log.jsonl").read_text().splitlines()) > 2:
            break
        time.sleep(0.1)
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False)  # fmt: skip
    return process, [int(number) for number in listed.stdout.split()]


def is_there(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_saves_once_and_ends_all(dataset, tmp_path):
    process, children = running(dataset, tmp_path / "run")
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=60) == 130
    said = (tmp_path / "said.txt").read_text()
    assert said.count("the same command continues") == 1
    assert said.count("interrupted") == 1
    assert len(children) == 2
    assert not any(map(is_there, children))
    assert len(losses(tmp_path / "run")) > 2
    assert (tmp_path / "run" / "checkpoints" / "latest").exists()


def test_a_process_that_is_killed_takes_the_others_with_it(dataset, tmp_path):
    process, children = running(dataset, tmp_path / "run")
    began = time.monotonic()
    os.kill(max(children), signal.SIGKILL)

    assert process.wait(timeout=60) == 128 + signal.SIGKILL
    assert time.monotonic() - began < 20
    said = (tmp_path / "said.txt").read_text()
    assert "of 2 was ended by SIGKILL, so the others end, too" in said
    assert not any(map(is_there, children))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's end")
def test_processes_whose_command_is_killed_save_and_end(dataset, tmp_path):
    process, children = running(dataset, tmp_path / "run")
    process.kill()
    process.wait()

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any(map(is_there, children)):
        time.sleep(0.1)
    assert not any(map(is_there, children))
    assert (tmp_path / "run" / "checkpoints" / "latest").exists()
