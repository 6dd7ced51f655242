"""A process that shows pictures and one that has only text learn together, and what one process would learn."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]

WORK = """
import os
import sys
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from tests.trainer import family_lessons as lessons
from tests.trainer.family_lessons import example_of, loss_of, make
from trainer.trainable import choose

torch.set_num_threads(1)
rank = int(sys.argv[1])
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
for kind in lessons.KINDS:
    # The second process has a text, or nothing to learn at all.
    for row, records in ((None, [lessons.talk(), lessons.text_alone()]), (512, [lessons.talk(), None])):
        made, alone = make(kind), make(kind)
        encoder = made.encoder(max_row_tokens=row)
        if row:
            made.family.let_pack(made.model)
            made.family.let_pack(alone.model)
        examples = [
            encoder.untaught(example_of(encoder, lessons.text_alone())) if one is None else example_of(encoder, one)
            for one in records
        ]
        parts = [encoder.lay([one])[0] for one in examples]
        for model in (made.model, alone.model):
            choose(model, ["all"])
            model.train()
        both = DistributedDataParallel(made.model)
        loss_of(both, [parts[rank]], items=30).backward()
        loss_of(alone.model, parts, items=30).backward()
        for (name, found), wanted in zip(made.model.named_parameters(), alone.model.parameters()):
            if wanted.grad is not None:
                # It is the mean over the processes.
                torch.testing.assert_close(found.grad * 2, wanted.grad, atol=1e-5, rtol=1e-4, msg=f"{kind} {row} {name}")
distributed.barrier()
# Not the usual way out: gloo's threads were seen to wait there for ever for a peer that had gone.
os._exit(0)
"""


def test_pictures_on_one_process_and_text_on_another_learn_together(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    logs = [tmp_path / f"rank{rank}" for rank in range(2)]
    processes = []
    for rank, log in enumerate(logs):
        # A file, not a pipe: whoever is not read could wait for ever, and the other for it.
        with log.open("w") as sink:
            command = [sys.executable, "-c", WORK, str(rank), str(tmp_path / "meet")]
            processes.append(subprocess.Popen(command, env=environment, cwd=ROOT, stderr=sink))
    deadline = time.monotonic() + 300
    try:
        while time.monotonic() < deadline and any(process.poll() is None for process in processes):
            if any(process.poll() for process in processes):  # the other waits for it in vain
                break
            time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    told = [log.read_text() for log in logs]
    assert [process.returncode for process in processes] == [0, 0], told
