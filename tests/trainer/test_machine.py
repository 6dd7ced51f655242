"""What a run chooses to compute with, how it starts on all of it, and how its processes end together."""

import json
import os
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


def said_by(script, *arguments):
    """Run a few lines in a process of their own; return its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=alone(), capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


class TestCommand:
    """What `syphus train` does before and after the work of its processes; small scripts stand for them."""

    def test_where_there_is_no_gpu_nothing_is_started_and_torch_is_left_to_the_training(self):
        script = """
import sys
from trainer import launch
from trainer.recipe import read_recipe
launch.NVIDIA = ()
read_recipe("otter_tiny", [])
print(launch.how_many(None), launch.how_many(2), "torch" in sys.modules)
"""
        assert said_by(script) == (0, "0 2 False\n")

    @pytest.mark.parametrize(
        ("ending", "code", "told"),
        [("pass", 0, ""), ("sys.exit(130)", 130, ""), ("1 / 0", 1, "division by zero")],
    )
    def test_one_of_several_processes_ends_with_all_said_and_the_right_code(
        self, ending, code, told
    ):
        """Also one with a bug: on the usual way out it may hang, and the others with it."""
        script = f"""
import atexit, sys, threading
from types import SimpleNamespace
from trainer import launch
sys.modules["torch.distributed"] = SimpleNamespace(is_initialized=lambda: True)
atexit.register(print, "closed")
threading.Thread(target=threading.Event().wait).start()  # as gloo's: it never ends
try:
    sys.stdout.write("printed ")
    {ending}
finally:
    launch.end(sys.exception())
"""
        found, said = said_by(script)

        assert found == code
        assert said.startswith("printed closed\n")
        assert told in said
        assert said.count("Traceback") == bool(told)

    def test_a_process_alone_and_other_commands_end_as_ever(self, monkeypatch):
        monkeypatch.setattr(os, "_exit", lambda _: pytest.fail("ended at once"))
        assert not torch.distributed.is_initialized()

        launch.end(SystemExit(1))
        monkeypatch.delitem(sys.modules, "torch.distributed")
        launch.end(None)
        code, said = said_by(
            "import sys; from syphus import cli; sys.argv = ['syphus', 'tasks', '--help']\n"
            "try: cli.main()\nfinally: print('trainer.launch' in sys.modules)"
        )
        assert code == 0
        assert said.endswith("False\n")

    @pytest.fixture
    def spread(self, tmp_path):
        """Start `launch.spread` with two processes that do this, each after it has written its number to a file."""
        started = []

        def start(does):
            process = f"""
import os, pathlib, signal, sys, time
from trainer import launch
launch.end_with_parent()
rank = int(os.environ["RANK"])
path = pathlib.Path({str(tmp_path)!r}, f"process{{rank}}")
path.with_suffix(".part").write_text(str(os.getpid()))
path.with_suffix(".part").rename(path)
{does}
"""
            script = f"from trainer import launch; launch.COMMAND = ('-c', {process!r}); raise SystemExit(launch.spread(2, []))"
            with (tmp_path / "said").open("w") as sink:
                started.append(
                    subprocess.Popen([sys.executable, "-c", script], env=alone(), stderr=sink)
                )
            files = [tmp_path / f"process{rank}" for rank in range(2)]
            until(lambda: all(file.exists() for file in files))
            return started[0], [int(file.read_text()) for file in files]

        yield start
        for process in started:
            process.kill()
            process.wait()

    def test_a_process_that_is_killed_takes_the_others_with_it(self, spread, tmp_path):
        process, children = spread("time.sleep(60)")
        os.kill(children[1], signal.SIGKILL)

        assert process.wait(timeout=20) == 128 + signal.SIGKILL
        assert "process 1 of 2 was ended by SIGKILL, so the others end, too" in (tmp_path / "said").read_text()  # fmt: skip
        assert not any(map(is_there, children))

    def test_one_that_fails_gives_its_code_and_time_for_the_others_to_agree(self, spread, tmp_path):
        process, children = spread("time.sleep(rank)\nsys.exit(3 - rank)")

        assert process.wait(timeout=20) == 3
        assert (tmp_path / "said").read_text() == ""
        assert not any(map(is_there, children))

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_is_handed_on(self, spread, number):
        process, children = spread(
            "for one in (signal.SIGINT, signal.SIGTERM): signal.signal(one, lambda got, _: sys.exit(100 + got))\n"
            "path.with_suffix('.ready').touch()\ntime.sleep(60)"
        )
        process.send_signal(number)

        assert process.wait(timeout=20) == 100 + number
        assert not any(map(is_there, children))

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's end")
    def test_processes_whose_command_is_killed_get_sigterm(self, spread):
        process, children = spread("time.sleep(60)")
        process.kill()
        process.wait()

        until(lambda: not any(map(is_there, children)))


def until(is_so, *, limit=60):
    deadline = time.monotonic() + limit
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_there(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


SLOW_LEADER = """
import os, time
from datetime import timedelta
import torch
from trainer import machine
from trainer.config import Run

accelerator = machine.join(Run(steps=1, batch_size=1, micro_batch_size=1), timeout=timedelta(seconds=2))
with machine.leader_first(accelerator):
    if accelerator.is_main_process:
        time.sleep(3)
numbers = machine.of_all(accelerator, {"rank": accelerator.process_index})
assert numbers == {"rank": [0.0, 1.0]}, numbers
assert machine.on_any(accelerator, accelerator.process_index == 1, False) == [True, False]
try:
    if accelerator.is_main_process:
        time.sleep(3)
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
    return [
        sys.executable, "-m", "syphus.cli", "train", "otter_tiny", "-d", str(dataset), "-o", str(out), "--devices", "2", *settings
    ]  # fmt: skip


def test_one_command_trains_in_two_processes(dataset, tmp_path):
    done = subprocess.run(
        [*command(dataset, tmp_path / "run"), "--strategy", "fsdp2"],
        env=alone(), cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is trained: 8 steps") == 1
    assert (
        done.stderr.count("2 processes on CPU · float32 (auto) · fsdp2 (as the recipe says)") == 1
    )
    assert done.stderr.count("learned in 8 steps") == 1
    assert json.loads((tmp_path / "run" / "run.json").read_text())["steps"] == 8


def test_ctrl_c_saves_once_and_ends_all(dataset, tmp_path):
    out, log = tmp_path / "run", tmp_path / "said.txt"
    with log.open("w") as sink:
        process = subprocess.Popen(
            command(dataset, out, "run.steps=100000"), env=alone(), cwd=tmp_path, stderr=sink, stdout=sink
        )  # fmt: skip
    try:
        until(
            lambda: process.poll() is not None or ((out / "log.jsonl").exists() and len(losses(out)) > 2),
            limit=200,
        )  # fmt: skip
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False)  # fmt: skip
        children = [int(number) for number in listed.stdout.split()]
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()

    said = log.read_text()
    assert code == 130, said
    assert said.count("the same command continues") == 1
    assert said.count("interrupted") == 1
    assert len(children) == 2
    assert not any(map(is_there, children))
    assert len(losses(out)) > 2
    assert (out / "checkpoints" / "latest").exists()
