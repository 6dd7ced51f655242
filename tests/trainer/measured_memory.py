"""Trains in a process of its own, and tells how much memory that took beside what was estimated: python measured_memory.py DATASET RECIPE SETTING…"""

import json
import sys
import tempfile
from pathlib import Path

import trainer  # noqa: F401 - before torch

import torch  # isort: skip

WARM = ("run.steps=1", "run.batch_size=1", "run.micro_batch_size=1", "data.max_tokens=32")


def status(field):
    """Return a figure of this process in bytes, such as VmHWM, the most it ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:"))


def main(dataset, recipe, *overrides):
    from trainer.memory import need
    from trainer.recipe import read_recipe
    from trainer.train import train

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as out:
        silent = {"dataset": Path(dataset), "recipe": recipe}
        # All that is loaded and kept whatever the model is, is there before it is measured.
        train(out=Path(out) / "warm", overrides=WARM, **silent)
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        train(out=Path(out) / "run", overrides=overrides, **silent)
        took = status("VmHWM") - before
    wanted = need(read_recipe(recipe, overrides), kind="cpu")
    found = {"took": took, "estimated": wanted.whole, "parts": str(wanted)}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
