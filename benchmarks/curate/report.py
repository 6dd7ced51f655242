"""The data sheet of a large dataset: a million records about 200,000 pictures, curated by `starter`.

`report` is the first one of a dataset, `again` the second: what was measured for the first one is kept. `few` is a tenth of the records, so that
one sees what grows. Each is the command that a user types, in a process of its own; `page_mb` is what it writes.

    python benchmarks/curate/report.py [--quick]
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tempfile
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "data"), str(HERE.parent), str(HERE.parent.parent)]

from common import measure, save  # noqa: E402

SYPHUS = [sys.executable, "-c", "from syphus.cli import main; main()"]
TASKS = {"la_conversation": 0.4, "la_detail": 0.2, "dc": 0.2, "sd": 0.1, "vst": 0.07, "tvc": 0.03}
LANGUAGES = {"en": 0.8, "zh": 0.1, "de": 0.1}
VERBS = ("Describe", "Name", "Count", "Find", "Explain", "Compare", "Draw", "Write about", "Show")
SHARED = 5
"""Records about the same picture."""
KINDS = 64
"""Drawings; a comment makes each file another one."""
SIDE = (256, 192)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the records")
    parser.add_argument("--client", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        folder, count = options.client
        write(Path(folder), int(count))
        return
    count = 20_000 if options.quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        rows = measured(Path(folder), "few", count // 10) + measured(Path(folder), "all", count)
        save("curate_report", rows)


def measured(folder: Path, name: str, count: int) -> list[dict[str, object]]:
    dataset, page = folder / name, folder / f"{name}.html"
    measure([sys.executable, __file__, "--client", str(dataset), str(count)])
    measure([*SYPHUS, "data", "curate", "starter", "-d", str(dataset)])
    rows = []
    for what in ("report", "again"):
        run = measure([*SYPHUS, "data", "report", "-d", str(dataset), "-o", str(page)])
        rows.append(
            {
                "what": f"{what}, {name}",
                "records": count,
                "pictures": count // SHARED,
                "wall_s": round(run.wall, 1),
                "cpu_s": round(run.cpu, 1),
                "peak_mb": round(run.peak_mb),
                "page_mb": round(page.stat().st_size / 1e6, 2),
            }
        )
    return rows


# In the child


def write(folder: Path, count: int) -> None:
    from mimicit.store import Store

    store = Store.open(folder, create=True)
    with store.writing("benchmark"):
        store.add_images(pictures(count // SHARED))
        waiting = []
        for row in records(count):
            waiting.append(row)
            if len(waiting) == 20_000:
                store.add(waiting)
                waiting = []
        store.add(waiting)
        store.sync()


def records(count: int) -> Iterator[Any]:
    """Draw questions by verb and noun, and answers by Zipf's law; some are echoes, refusals or copies."""
    from mimicit.schema import InstructionRow

    rng = random.Random(0)
    nouns = ["".join(rng.choices("etaoinshrdlcumw", k=rng.randint(3, 8))) for _ in range(2_000)]
    zipf = list(accumulate(1 / (n + 2.7) for n in range(len(nouns))))
    pool = rng.choices(nouns, cum_weights=zipf, k=200_000)
    tasks = rng.choices(list(TASKS), list(TASKS.values()), k=count)
    languages = rng.choices(list(LANGUAGES), list(LANGUAGES.values()), k=count)
    asked, said = "", ""
    for n in range(count):
        at = rng.randrange(199_000)
        if rng.random() > 0.05:
            asked = f"{rng.choice(VERBS)} the {pool[at]} beside the {pool[at + 1]}."
            said = " ".join(pool[at : at + min(300, 3 + int(rng.expovariate(1 / 35)))]) + "."
        if rng.random() < 0.03:
            said = asked
        yield InstructionRow(
            id=f"B_INS_{n:08d}",
            task=tasks[n],
            instruction=asked,
            answer=said,
            image_ids=(f"B_IMG_{n // SHARED:08d}",),
            rel_ins_ids=(),
            language=languages[n],
            source=f"part-{n % 7}.json#{n}",
            request=None,
            reply=None,
            translation_of=None,
        )


def pictures(count: int) -> Iterator[Any]:
    """Yield pictures of some 10 kB, each a file of its own."""
    import hashlib

    from PIL import Image
    from reference import drawn

    from mimicit.schema import ImageRecord

    kinds = []
    for number in range(KINDS):
        sink = io.BytesIO()
        with Image.open(io.BytesIO(drawn(number))) as image:
            image.resize(SIDE).save(sink, "JPEG", quality=80)
        kinds.append(sink.getvalue())
    for n in range(count):
        kind = kinds[n % KINDS]
        data = kind[:2] + b"\xff\xfe" + (2 + 8).to_bytes(2) + n.to_bytes(8) + kind[2:]
        yield ImageRecord(
            id=f"B_IMG_{n:08d}",
            image=data,
            sha256=hashlib.sha256(data).hexdigest(),
            mime="image/jpeg",
            width=SIDE[0],
            height=SIDE[1],
        )


if __name__ == "__main__":
    main()
