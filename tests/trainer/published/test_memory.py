"""How much of a checkpoint is in memory while it is converted."""

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
from pathlib import Path
import torch
from trainer.published.reading import weights_of
from trainer.published.writing import Planned, write_weights

def peak_mb():
    # Of this program alone; getrusage would count what its parent had when it began.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) // 1024

source, out = Path(sys.argv[1]), Path(sys.argv[2])
weights = weights_of(source)
planned = [
    Planned(name, stored.shape, torch.float32, stored, lambda reader, stored=stored: reader.tensor(stored))
    for name, stored in weights.items()
]
before = peak_mb()
write_weights(out, planned, shard_bytes=300 << 20, written=lambda count: None)
print(peak_mb() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_a_checkpoint_of_half_a_gigabyte_takes_the_memory_of_one_shard(tmp_path):
    """16 shards of 32 MB become one of 300 MB and one of 212; mapped pages count, so a shard that is read is in memory once."""
    source, out = tmp_path / "published", tmp_path / "ours"
    source.mkdir()
    out.mkdir()
    for nth in range(1, 17):
        shard = {f"{nth}.{part}": torch.full((1024, 1024), nth + part / 8) for part in range(8)}
        torch.save(shard, source / f"pytorch_model-{nth:05d}-of-00016.bin")

    grown = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(source), str(out)],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip

    files = sorted(out.glob("*.safetensors"))
    assert [round(file.stat().st_size / 2**20) for file in files] == [300, 212]
    assert int(grown.stdout) < 100
