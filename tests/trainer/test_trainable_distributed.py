"""Rows that are not taught stay bit for bit also where two processes train one model."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]

DISTRIBUTED = """
import os
import sys
from types import SimpleNamespace
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from trainer.config import Optim
from trainer.optim import make_optimizer
from trainer.trainable import choose

class Words(nn.Module):
    config = SimpleNamespace(model_type="fuyu")

    def __init__(self):
        super().__init__()
        self.model = nn.ModuleDict({"language_model": nn.ModuleDict({"embed_tokens": nn.Embedding(9, 4)})})
        self.lm_head = nn.Linear(4, 9, bias=False)

    def get_input_embeddings(self):
        return self.model["language_model"]["embed_tokens"]

    def get_output_embeddings(self):
        return self.lm_head

    def forward(self, ids):
        return nn.functional.cross_entropy(self.lm_head(self.get_input_embeddings()(ids)), ids)

def whole(weight):
    return (weight.full_tensor() if hasattr(weight, "full_tensor") else weight).detach().clone()

def work(rank, meet, way):
    distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = wrapped = Words()
    if way == "fsdp":
        fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    choose(model, ["new_tokens"], new_token_ids=[3, 7, 8])
    ends = model.get_input_embeddings(), model.get_output_embeddings()
    before = [whole(end.weight) for end in ends]
    optimizer = make_optimizer(model, Optim(lr=1e-2, weight_decay=0.1))
    if way == "ddp":
        wrapped = DistributedDataParallel(model)
    for step in range(3):
        wrapped(torch.tensor([rank, step, 7, 8 - rank, 3])).backward()
        optimizer.step()
        optimizer.zero_grad()
    for end, old in zip(ends, before):
        new = whole(end.weight)
        assert (new != old).all(dim=1).tolist() == [row in (3, 7, 8) for row in range(9)]
        assert torch.equal(new[[0, 1, 2, 4, 5, 6]], old[[0, 1, 2, 4, 5, 6]])
        both = [torch.empty_like(old) for _ in range(2)]
        distributed.all_gather(both, new)
        assert torch.equal(*both)
    distributed.barrier()

torch.set_num_threads(1)
work(int(sys.argv[1]), sys.argv[2], sys.argv[3])
# Not the usual way out: gloo's threads were seen to wait there for ever for a peer that had gone.
os._exit(0)
"""


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_new_tokens_stay_exact_when_two_processes_train(way, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    logs = [tmp_path / f"rank{rank}" for rank in range(2)]
    processes = []
    for rank, log in enumerate(logs):
        # A file, not a pipe: whoever is not read could wait for ever, and the other for it.
        with log.open("w") as sink:
            command = [sys.executable, "-c", DISTRIBUTED, str(rank), str(tmp_path / "meet"), way]
            processes.append(subprocess.Popen(command, env=environment, stderr=sink))
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
