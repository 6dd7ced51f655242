"""The files for `accelerate launch` say what they seem to say, and what they start trains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import yaml  # noqa: E402
from accelerate.commands import launch as launcher  # noqa: E402
from accelerate.commands.config.config_args import load_config_from_file  # noqa: E402
from accelerate.utils.launch import (  # noqa: E402
    prepare_deepspeed_cmd_env,
    prepare_multi_gpu_env,
)

import trainer  # noqa: E402
from trainer import machine  # noqa: E402

from .conftest import SMALL  # noqa: E402
from .processes import ROOT, alone, losses, wait  # noqa: E402

FOLDER = Path(trainer.__file__).parent / "accelerate"
FILES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
CHOSEN = {"cpu": None, "ddp": None, "fsdp2": "fsdp2", "nodes": "fsdp2", "zero1": "zero1", "zero2": "zero2", "zero3": "zero3"}  # fmt: skip


def environment(name, monkeypatch):
    """Return what `accelerate launch` would set for its processes."""
    parser = launcher.launch_command_parser()
    args = parser.parse_args(["--config_file", str(FOLDER / f"{name}.yaml"), "train.py"])
    monkeypatch.setattr(launcher, "is_bf16_available", lambda *_, **__: True)
    args, *_ = launcher._validate_launch_command(args)
    if args.use_deepspeed:
        written = load_config_from_file(str(FOLDER / f"{name}.yaml")).deepspeed_config
        args.deepspeed_fields_from_accelerate_config = ",".join(written)
        return prepare_deepspeed_cmd_env(args)[1], args
    return prepare_multi_gpu_env(args), args


def test_there_is_a_file_for_each_way():
    assert set(FILES) == set(CHOSEN)


@pytest.mark.parametrize("name", FILES)
def test_accelerate_reads_every_key(name):
    """It fails on a key that it does not know."""
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))

    written = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert config.num_processes == written["num_processes"]
    assert config.distributed_type.value == written["distributed_type"]


@pytest.mark.parametrize("name", [name for name in FILES if name != "cpu"])
def test_the_trainer_does_what_the_launcher_was_told(name, monkeypatch):
    said, args = environment(name, monkeypatch)
    for key in (
        "ACCELERATE_USE_FSDP",
        "ACCELERATE_USE_DEEPSPEED",
        "ACCELERATE_DEEPSPEED_ZERO_STAGE",
    ):
        monkeypatch.delenv(key, raising=False)
        if key in said:
            monkeypatch.setenv(key, said[key])

    assert machine.strategy_of_launcher() == CHOSEN[name]
    if CHOSEN[name] == "fsdp2":
        assert said["FSDP_RESHARD_AFTER_FORWARD"] == "true"
        assert said["FSDP_OFFLOAD_PARAMS"] == "false"
        assert said["FSDP_VERSION"] == "2"
    assert args.num_processes == (16 if name == "nodes" else 8)


def test_accelerate_launch_trains(dataset, tmp_path):
    settings = [part for change in SMALL for part in ("--set", change)]
    done = subprocess.run(
        [
            sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(FOLDER / "cpu.yaml"),
            "-m", "syphus.cli", "train", "otter_tiny", "-d", str(dataset), "-o", str(tmp_path / "run"), *settings,
        ],
        env=alone(), cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "is trained: 8 steps" in done.stdout
    assert "on the CPU" in done.stderr


def test_two_machines_train_together(dataset, tmp_path):
    """Two launchers on this machine stand for two machines; they meet as torchrun's do."""
    settings = [part for change in SMALL for part in ("--set", change)]
    nodes = []
    for rank in range(2):
        with (tmp_path / f"node{rank}.txt").open("w") as sink:
            nodes.append(
                subprocess.Popen(
                    [
                        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node_rank", str(rank), "--nproc_per_node", "1",
                        "--rdzv_backend", "c10d", "--rdzv_endpoint", f"127.0.0.1:{port()}", "--rdzv_id", "test",
                        "-m", "syphus.cli", "train", "otter_tiny", "-d", str(dataset), "-o", str(tmp_path / "run"), *settings,
                    ],
                    env=alone(), cwd=ROOT, stdout=sink, stderr=sink,
                )
            )  # fmt: skip
    try:
        codes = wait(nodes, limit=240)
    finally:
        for node in nodes:
            node.terminate()
            node.wait()
    told = [(tmp_path / f"node{rank}.txt").read_text() for rank in range(2)]

    assert codes == [0, 0], told
    assert sum(text.count("2 processes on CPU") for text in told) == 1
    assert len(losses(tmp_path / "run")) == 8


def port(found={}):  # noqa: B006 - one for all who ask
    import socket

    if not found:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            found["port"] = free.getsockname()[1]
    return found["port"]


BATCH = Path(__file__).parents[2] / "examples" / "slurm" / "train.sbatch"
SRUN = """#!/bin/bash
# Stands for srun on one machine with two tasks.
shift
export SLURM_NTASKS_PER_NODE=2
for task in 0 1; do SLURM_PROCID=$task SLURM_LOCALID=$task "$@" & tasks[$task]=$!; done
status=0
for task in 0 1; do wait ${tasks[$task]} || status=$?; done
exit $status
"""


def test_the_batch_script_tells_each_process_of_the_others_and_queues_itself_again(tmp_path):
    """In `syphus` what torchrun sets is set; that this trains, the test of two machines shows."""
    tools = tmp_path / "bin"
    tools.mkdir()
    names = "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT OMP_NUM_THREADS"
    scripts = {
        "srun": SRUN,
        "scontrol": f'#!/bin/bash\necho "$@" >> {tmp_path}/asked\n[[ $1 == show ]] && echo node7 || true\n',
        "syphus": f'#!/bin/bash\n(for name in {names}; do echo "$name=${{!name}}"; done; printf "%s\\n" "$@") > {tmp_path}/rank$RANK\n'
        "exit ${FAIL:-0}\n",
    }  # fmt: skip
    for name, text in scripts.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    job = {
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_JOB_ID": "123456",
        "SLURM_NTASKS": "2",
        "SLURM_CPUS_PER_TASK": "3",
    }
    around = alone() | job | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}

    def submit(code):
        done = subprocess.run(
            ["bash", str(BATCH), "otter_tiny", "-d", "with space", "--set", "run.steps=8"],
            env=around | {"FAIL": str(code)}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode

    assert submit(0) == 0
    for rank in range(2):
        assert (tmp_path / f"rank{rank}").read_text().splitlines() == [
            f"RANK={rank}", f"LOCAL_RANK={rank}", "WORLD_SIZE=2", "LOCAL_WORLD_SIZE=2", "MASTER_ADDR=node7", "MASTER_PORT=23456",
            "OMP_NUM_THREADS=3", "train", "otter_tiny", "-d", "with space", "--set", "run.steps=8",
        ]  # fmt: skip
    assert submit(1) == 1
    assert "requeue" not in (tmp_path / "asked").read_text()
    assert submit(130) == 130
    assert "requeue 123456" in (tmp_path / "asked").read_text()
