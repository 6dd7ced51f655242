"""Import of a MIMIC-IT `*_instructions.json`, beside the straight way: orjson reads it whole, Arrow lays it out, DuckDB makes a table of it.

Each is a process of its own, from start to end, in turns. Ours also checks every record, looks whether the dataset has it, and writes
Parquet, the truth, before the catalog, which is what the other one ends with.

    python benchmarks/data/import_json.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from itertools import accumulate
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from common import Run, measure, middle, save  # noqa: E402

WORDS = 8_000
PICTURES, RELATED = 3, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, one round")
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        name, source, out = options.client
        if name.isdigit():
            write(int(name), Path(source))
        else:
            CLIENTS[name](Path(source), Path(out))
        return
    counts, rounds = ((20_000, 100_000), 1) if options.quick else ((200_000, 1_000_000), 3)
    table: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="import-") as folder:
        peaks = []
        for count in counts:
            source = Path(folder) / f"{count}_instructions.json"
            # In a process of its own: a child's peak is not less than its parent's.
            measure([sys.executable, __file__, "--client", str(count), str(source), "-"])
            straight, ours = turns(source, Path(folder), rounds)
            peaks.append(ours.peak_mb)
            table += [
                row("orjson + Arrow + CTAS", count, source, straight),
                row("syphus data import", count, source, ours)
                | {
                    "times_wall": round(straight.wall / ours.wall, 2),
                    "times_cpu": round(straight.cpu / ours.cpu, 2),
                    "growth_mb": round(peaks[-1] - peaks[0]),
                    "bar": ">= 1.1x wall, <= 700 MB, growth <= 150 MB",
                },
            ]
            source.unlink()
    save("data_import_json", table)


def turns(source: Path, folder: Path, rounds: int) -> list[Run]:
    runs: dict[str, list[Run]] = {name: [] for name in CLIENTS}
    for number in range(rounds):
        for name in runs:
            out = folder / f"{source.stem}.{name}.{number}"
            runs[name].append(
                measure([sys.executable, __file__, "--client", name, str(source), str(out)])
            )
            remove(out)
    return [middle(one) for one in runs.values()]


def remove(path: Path) -> None:
    import shutil

    shutil.rmtree(path) if path.is_dir() else path.unlink()


def row(client: str, count: int, source: Path, run: Run) -> dict[str, object]:
    return {
        "client": client,
        "records": count,
        "json_mb": round(source.stat().st_size / 1e6),
        "wall_s": round(run.wall, 2),
        "cpu_s": round(run.cpu, 2),
        "peak_mb": round(run.peak_mb),
        "times_wall": "",
        "times_cpu": "",
        "growth_mb": "",
        "bar": "",
    }


def write(count: int, path: Path) -> None:
    """Write questions and answers of words drawn by Zipf's law, some 700 bytes a record."""
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlcumw", k=rng.randint(2, 9))) for _ in range(WORDS)]
    zipf = list(accumulate(1 / (n + 2.7) for n in range(WORDS)))
    pool = rng.choices(words, cum_weights=zipf, k=200_000)
    with path.open("w", encoding="utf-8") as file:
        between = '{"meta": {"version": "1.0.0", "time": "2023-06", "author": "x"}, "data": {'
        for n in range(count):
            at, then = rng.randrange(190_000), rng.randrange(190_000)
            group = n // 8
            said = {
                "instruction": f"{' '.join(pool[at : at + 11])}?",
                "answer": f"{' '.join(pool[then : then + 70])}.",
                "image_ids": [f"DC_IMG_v_{group:08d}_{k:04d}" for k in range(PICTURES)],
                "rel_ins_ids": [f"DC_INS_{group * 8 + k:08d}" for k in range(RELATED)],
            }
            file.write(f'{between}"DC_INS_{n:08d}": {json.dumps(said)}')
            between = ", "
        file.write("}}")


def straight(source: Path, out: Path) -> None:
    import duckdb
    import orjson
    import pyarrow as pa

    data = orjson.loads(source.read_bytes())["data"]
    values = list(data.values())
    names = ("instruction", "answer", "image_ids", "rel_ins_ids")
    columns = {name: [value[name] for value in values] for name in names}
    table = pa.table({"id": list(data)} | columns)
    with duckdb.connect(str(out)) as connection:
        connection.register("rows", table)
        connection.execute("CREATE TABLE instructions AS SELECT * FROM rows")


def ours(source: Path, out: Path) -> None:
    from mimicit.exchange import import_files
    from mimicit.store import Store

    import_files([source], Store.open(out, create=True))


CLIENTS = {"straight": straight, "ours": ours}

if __name__ == "__main__":
    main()
