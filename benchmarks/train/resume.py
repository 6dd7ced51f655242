"""From the command to the first step of a run that goes on: what is waited for beside the model, at the size of a laptop's dataset and at
2.8 million records. Each figure is a process of its own.

    python benchmarks/train/resume.py [--records 2800000] [--folder FOLDER]

`--folder` keeps the dataset (that of start_up.py), or takes the one that is there.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from common import save  # noqa: E402
from start_up import RECORDS, write  # noqa: E402

TRAINED = (
    "trainable.parts=perceiver,gates",
    "run.save_every=2",
    "data.max_tokens=128",
    "run.precision=no",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        recipe, dataset, out, start = options.client
        print(json.dumps(go_on(recipe, Path(dataset), Path(out), start)))
        return
    with tempfile.TemporaryDirectory(prefix="resume-") as made:
        few, many = Path(made) / "few", options.folder or Path(made) / "many"
        write(few, 1_000)
        if not many.exists():
            write(many, options.records)
        rows = [row("otter_tiny, 1,000 records", "otter_tiny", few, Path(made) / "begun", "")]
        start = str(Path(made) / "begun" / "model")
        rows.append(
            row(
                f"otter_tune of it, {options.records:,} records",
                "otter_tune",
                many,
                Path(made) / "tuned",
                start,
            )
        )
    save("train_resume", rows)


def row(what: str, recipe: str, dataset: Path, out: Path, start: str) -> dict[str, object]:
    first = client(recipe, dataset, out, start)
    second = client(recipe, dataset, out, start)
    assert (first["step"], second["step"]) == (1, 3), (first, second)
    beside = second["to the first step"] - second["model"]
    return {
        "what": what,
        "imports, s": round(second["imports"], 2),
        "model, s": round(second["model"], 2),
        "all else to the first step, s": round(beside, 2),
        "must": "<= 5 s",
        "begun anew, s": round(first["to the first step"] - first["model"], 2),
    }


def client(recipe: str, dataset: Path, out: Path, start: str) -> dict[str, Any]:
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).resolve()),
            "--client",
            recipe,
            str(dataset),
            str(out),
            start,
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def go_on(recipe: str, dataset: Path, out: Path, start: str) -> dict[str, Any]:
    """Begin a run and let it die in its fourth step, after the checkpoint of the second; or go on with it to its end."""
    began = time.perf_counter()
    from trainer import train as story
    from trainer.report import Progress, StepLog

    imported = time.perf_counter()
    taken: dict[str, Any] = {"imports": imported - began}
    make = story.make_parts

    def timed(*args: Any) -> Any:
        at = time.perf_counter()
        made = make(*args)
        taken["model"] = time.perf_counter() - at
        return made

    class Watched(Progress):
        def step(self, entry: StepLog, *, steps: int) -> None:
            taken.setdefault("step", entry.step)
            taken.setdefault("to the first step", time.perf_counter() - imported)
            if taken["step"] == 1 and entry.step == 4:
                raise KeyboardInterrupt

    story.make_parts = timed
    overrides = [*TRAINED, "run.steps=6", "run.batch_size=8", "run.micro_batch_size=8"]
    overrides += [f"model.start={start}"] if start else []
    with suppress(KeyboardInterrupt):
        story.train(
            recipe=recipe,
            dataset=dataset,
            out=out,
            overrides=overrides,
            progress=Watched(io.StringIO()),
        )
    return taken


if __name__ == "__main__":
    main()
