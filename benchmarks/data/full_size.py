"""A dataset of full size, by the commands that a user types: a million records about 200,000 pictures, and a JSON file of three gigabytes.

    import                  one *_instructions.json, and picture files as pandas wrote them: base64, one row group each
    the same again          nothing is new
    sql                     a count, from a new process
    open, 1,000 pictures    from Python, in any order
    export                  LLaVA's JSON, and its 200,000 picture files
    import, 3 GB of JSON    one file, into a dataset of its own

Each is a process; its peak is that of its largest one.

    python benchmarks/data/full_size.py [--quick]
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from common import Run, measure, save  # noqa: E402

WORDS = 8_000
SHARED = 10
"""Records about the same pictures."""
EACH = 2
"""Pictures of a record."""
FILES = 4
"""Of pictures."""
SIDE = (256, 192)
DRAWN = 64
SYPHUS = [sys.executable, "-c", "from syphus.cli import main; main()"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of everything")
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        name, source, count = options.client
        CLIENTS[name](Path(source), int(count))
        return
    share = 50 if options.quick else 1
    with tempfile.TemporaryDirectory(prefix="full-size-") as folder:
        save("data_full_size", full_size(Path(folder), 1_000_000 // share, 3_000_000_000 // share))


def full_size(folder: Path, records: int, long_bytes: int) -> list[dict[str, object]]:
    source, dataset = folder / "DC", folder / "ds"
    source.mkdir()
    count = records // SHARED * EACH
    helper("instructions", source, records)
    helper("pictures", source, count)
    size = sum(path.stat().st_size for path in source.iterdir())
    table = [
        row(
            f"import: {records:,} records, {count:,} pictures",
            size,
            data("import", source, dataset),
        ),
        row("the same again", size, data("import", source, dataset)),
        row("all of it again (--again)", size, data("import", source, "--again", dataset)),
        row("sql: counts", 0, sql(dataset, COUNTS)),
        row("sql: a join of all records and their pictures", 0, sql(dataset, JOIN)),
        row("open, 1,000 pictures by number", 0, helper("open", dataset, 1_000)),
        row("export: llava", 0, data("export", "-f", "llava", "-o", folder / "llava", dataset)),
    ]
    for path in (source, dataset, folder / "llava"):
        shutil.rmtree(path)
    source.mkdir()
    helper("instructions_of_bytes", source, long_bytes)
    table.append(row("import: one JSON file", long_bytes, data("import", source, dataset)))
    return table


COUNTS = "SELECT (SELECT count(*) FROM accepted), (SELECT count(*) FROM images)"
JOIN = """SELECT count(*), sum(i.width) FROM (SELECT unnest(image_ids) AS id FROM accepted) AS a
JOIN images AS i USING (id)"""


def data(command: str, *arguments: object) -> Run:
    """Run `syphus data`; the last argument is the dataset."""
    *others, dataset = map(str, arguments)
    return measure([*SYPHUS, "data", command, *others, "-d", dataset])


def sql(dataset: Path, query: str) -> Run:
    return measure([*SYPHUS, "sql", query, "-d", str(dataset)])


def helper(name: str, folder: Path, count: int) -> Run:
    """Run a part of this file as a process of its own: a child's peak is not less than its parent's."""
    return measure([sys.executable, __file__, "--client", name, str(folder), str(count)])


def row(what: str, size: int, run: Run) -> dict[str, object]:
    return {
        "what": what,
        "input_mb": round(size / 1e6) or "",
        "wall_s": round(run.wall, 2),
        "cpu_s": round(run.cpu, 2),
        "peak_mb": round(run.peak_mb),
    }


# In the child


def instructions(folder: Path, count: int) -> None:
    """Write so many records, some 700 bytes each."""
    _instructions(folder, lambda n, size: n < count)


def instructions_of_bytes(folder: Path, wanted: int) -> None:
    """Write records until the file has so many bytes."""
    _instructions(folder, lambda n, size: size < wanted)


def _instructions(folder: Path, goes_on: Callable[[int, int], bool]) -> None:
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlcumw", k=rng.randint(2, 9))) for _ in range(WORDS)]
    zipf = list(accumulate(1 / (n + 2.7) for n in range(WORDS)))
    pool = rng.choices(words, cum_weights=zipf, k=200_000)
    between = '{"meta": {"version": "1.0.0", "time": "2023-06", "author": "x"}, "data": {'
    with (folder / "DC_instructions.json").open("w", encoding="utf-8") as file:
        n = size = 0
        while goes_on(n, size):
            at, then, group = rng.randrange(190_000), rng.randrange(190_000), n // SHARED
            said = {
                "instruction": f"{' '.join(pool[at : at + 11])}?",
                "answer": f"{' '.join(pool[then : then + 70])}.",
                "image_ids": [f"DC_IMG_v_{group:08d}_{k:04d}" for k in range(EACH)],
                "rel_ins_ids": [f"DC_INS_{group * SHARED + k:08d}" for k in range(4)],
            }
            size += file.write(f'{between}"DC_INS_{n:08d}": {json.dumps(said)}')
            between, n = ", ", n + 1
        file.write("}}")


def pictures(folder: Path, count: int) -> None:
    """Write pictures, some 10 kB each, as `DC_0.parquet`, …: base64 text with the ids as pandas' index, in one row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    drawn = list(map(_drawn, range(DRAWN)))
    for number in range(FILES):
        ids, texts = [], []
        for n in range(number * count // FILES, (number + 1) * count // FILES):
            kind = drawn[n % DRAWN]
            comment = b"\xff\xfe" + (2 + 8).to_bytes(2) + n.to_bytes(8)
            ids.append(f"DC_IMG_v_{n // EACH:08d}_{n % EACH:04d}")
            texts.append(base64.b64encode(kind[:2] + comment + kind[2:]).decode())
        table = pa.table({"base64": pa.array(texts, pa.large_string()), "__null_dask_index__": ids})
        pq.write_table(table, folder / f"DC_{number}.parquet", row_group_size=len(ids) or 1)


def _drawn(number: int) -> bytes:
    import io

    from PIL import Image
    from reference import drawn

    sink = io.BytesIO()
    with Image.open(io.BytesIO(drawn(number))) as image:
        image.resize(SIDE).save(sink, "JPEG", quality=80)
    return sink.getvalue()


def open_(folder: Path, count: int) -> None:
    import mimicit

    pictures = mimicit.open(folder).images
    rng = random.Random(0)
    found = pictures.by_row([rng.randrange(len(pictures)) for _ in range(count)])
    assert all(data[:2] == b"\xff\xd8" for data in found)


CLIENTS = {
    "instructions": instructions,
    "instructions_of_bytes": instructions_of_bytes,
    "pictures": pictures,
    "open": open_,
}

if __name__ == "__main__":
    main()
