"""What a run does before its first step at 2.8 million records: open the mix, plan, and prepare the first micro batch, with the memory
that this takes of the process itself. Each figure is a process of its own.

The records are made up (a question and an answer of 120 characters in all, one of 2,000 pictures each), but they are a real dataset
folder, frozen as any other. So the freezing that the first run waits for is measured, too, and once more after a change.

    python benchmarks/train/start_up.py [--records 2800000] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from common import save  # noqa: E402

RECORDS, PICTURES, BATCH = 2_800_000, 2_000, 32
PART = 200_000
QUESTION = "What does picture {} show, and which of the things in it is the largest?"
ANSWER = "It shows number {}, and the largest thing is a house."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument(
        "--folder", type=Path, help="keep the dataset here, or take the one that is there"
    )
    parser.add_argument("--client", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        print(json.dumps(start(Path(options.client[0]), options.client[1])))
        return
    with tempfile.TemporaryDirectory(prefix="start-up-") as made:
        folder = options.folder or Path(made) / "dataset"
        if not folder.exists():
            write(folder, options.records)
        measure(folder, options.records)


def measure(folder: Path, records: int) -> None:
    rows = []
    for what, turns, told in (
        ("the first start, which freezes", "single", None),
        ("a start when the snapshot exists", "single", "<= 3 s"),
        ("the same, conversations as examples", "conversation", "<= 3 s"),
    ):
        found = client(folder, turns)
        rows.append({"what": what, "records": records, "must": told, **found})
        print(json.dumps(rows[-1]))
    save("train_start_up", rows)


def client(folder: Path, turns: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--client", str(folder), turns],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def start(folder: Path, turns: str) -> dict[str, Any]:
    """Do what a run does before its first step, but for its model; return seconds and MB."""
    import trainer  # noqa: F401 - before torch: it tells OpenMP's threads not to spin

    # isort: split
    import duckdb  # noqa: F401 - so that what modules take is no part of the memory
    import pyarrow.compute  # noqa: F401
    import torch

    from trainer.config import Data, Group
    from trainer.data import Examples, Told, laid
    from trainer.families.otter import OtterEncoder
    from trainer.models.otter_processor import OtterProcessor
    from trainer.plan import Plan
    from trainer.sources.opening import open_mix
    from trainer.tokenizer import make_tokenizer

    torch.set_num_threads(1)
    texts = [f"{QUESTION.format(n)} {ANSWER.format(n)}" for n in range(100)]
    tokenizer = make_tokenizer("train", lambda: texts, vocab_size=400)
    OtterProcessor.add_special_tokens(tokenizer)
    encoder = OtterEncoder(OtterProcessor(tokenizer, image_size=224), Data(max_tokens=256))
    before, began = own(), time.perf_counter()
    group = Group(turns="conversation" if turns == "conversation" else "single")
    mix = open_mix(Data(groups={"all": group}), folder)
    opened = time.perf_counter()
    plan = Plan(len(mix), 4 * BATCH, BATCH, seed=0, shares=mix.shares, lengths=mix.lengths)
    numbers = plan.micro_batches(0)[0]
    planned = time.perf_counter()
    rows = laid(Told(Examples(mix, encoder)).__getitems__(numbers), encoder=encoder)
    ended = time.perf_counter()
    assert sum(len(one.record_ids) for one in rows) == BATCH  # type: ignore[union-attr]
    return {
        "seconds": round(ended - began, 3),
        "open": round(opened - began, 3),
        "plan a step": round(planned - opened, 3),
        "first micro batch": round(ended - planned, 3),
        "own memory, MB": round((own() - before) / 1e6, 1),
    }


def own() -> int:
    """Return the bytes that are this process's alone; pages of files that are mapped are the system's, which takes them back."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Anonymous:"))


def write(folder: Path, records: int) -> None:
    import io

    from PIL import Image

    from mimicit.columns import Rows, as_table
    from mimicit.media.picture import measure
    from mimicit.schema import text_schema
    from mimicit.store import Store

    store = Store.open(folder, create=True)
    began = time.perf_counter()
    with store.writing("start_up.py"):
        pictures = []
        for n in range(PICTURES):
            data = io.BytesIO()
            Image.new("RGB", (256, 192), (n % 256, n // 8 % 256, 90)).save(data, "JPEG")
            pictures.append(measure(data.getvalue(), id=f"LA_IMG_{n:06d}", name="it"))
        store.add_images(pictures)
        for first in range(0, records, PART):
            numbers = range(first, min(records, first + PART))
            ids = [f"LACONV_INS_{n:09d}" for n in numbers]
            none = [None] * len(ids)
            columns = {field.name: none for field in text_schema()} | {
                "id": ids,
                "task": ["la_conversation"] * len(ids),
                "instruction": [QUESTION.format(n) for n in numbers],
                "answer": [ANSWER.format(n) for n in numbers],
                "image_ids": [[f"LA_IMG_{n % PICTURES:06d}"] for n in numbers],
                "rel_ins_ids": [[]] * len(ids),
                "language": ["en"] * len(ids),
                "conversation": [f"LACONV_INS_{n // 3:09d}" for n in numbers],
                "turn": [n % 3 for n in numbers],
            }
            store.add_rows(Rows(ids, as_table(columns, text_schema())))
        store.sync()
    print(f"{records:,} records written in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    os.sync()


if __name__ == "__main__":
    main()
