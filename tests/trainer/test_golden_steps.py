"""The golden step log: what twelve steps of a small run were when this was written. A change of it is a change of what everyone learns.

If that is meant, write it anew: GOLDEN_STEPS=write python -m pytest tests/trainer/test_golden_steps.py -k padded
"""

import json
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from .runs import log_of, run  # noqa: E402

torch.set_num_threads(1)
GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden_steps.json"
COUNTS = ("taught", "tokens", "pictures")
RUNS = {
    "padded": (),
    "packed": ("data.max_row_tokens=256",),
    "in small forwards": ("run.micro_batch_size=1",),
}


@pytest.mark.parametrize("name", RUNS)
def test_steps_are_what_they_were(dataset, tmp_path, name):
    run(dataset, tmp_path / "run", "run.steps=12", *RUNS[name])
    found = [
        {key: row[key] for key in ("step", "loss", "lr", "grad_norm", *COUNTS)}
        for row in log_of(tmp_path / "run")
    ]
    if os.environ.get("GOLDEN_STEPS") == "write":
        GOLDEN.write_text("[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n")
    golden = json.loads(GOLDEN.read_text())

    assert len(found) == len(golden) == 12
    for step, expected in zip(found, golden, strict=True):
        assert [step[count] for count in COUNTS] == [expected[count] for count in COUNTS]
        # Other processors add in other orders.
        assert step["loss"] == pytest.approx(expected["loss"], rel=1e-4)
        assert step["lr"] == pytest.approx(expected["lr"], rel=1e-12)
        assert step["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-3)
