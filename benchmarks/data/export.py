"""Exports of 200,000 records about 5,000 pictures, beside `json.dump` of a list of dicts and pandas' `to_parquet`, in turns.

Each client is a process of its own that says what it took once its imports are done: processor time (of the program, and of the system
for it: `system_s`), and the most memory it had. All start from what is on disk: the reference reads the dataset's Parquet parts with pandas, makes
dicts in the format's shape, and dumps them; or it makes base64 of the pictures with the standard library, and a frame of them that it writes with
`to_parquet`. Three ratios, each the reference's time over ours:

    ratio     the whole from disk, of both
    to_dump   what `json.dump` (or `DataFrame` and `to_parquet`) alone took, with all in memory, over the whole of ours
    alone     the same over what ours took to write once the dataset is open and the selection checked; it still reads each record

The bar of the chat formats' rows is held against `to_dump`. The reference of their pictures is a loop that reads the same bytes and writes the same
files: what the system takes for that differs by a factor of ten from one minute to the next, so it is measured in turns too.

The published format's two parts are two lines: instructions and selection beside `json.dump` of one dict of the instructions, and the picture
Parquet beside pandas'. `mimicit, whole` is one process that writes all of it, and its memory.

    python benchmarks/data/export.py [--quick]
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from common import save  # noqa: E402

FORMATS = ("llava", "sharegpt", "msswift")
BAR_MB = 250


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        name, folder, how = options.client
        print(json.dumps(CLIENTS[how](name, Path(folder))))
        return
    records, pictures, rounds = (
        (20_000, 500, 1) if options.quick else (200_000, 5_000, options.rounds)
    )
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        build(Path(folder), records, pictures)
        rows = [line for name in FORMATS for line in chat(Path(folder), name, rounds)]
        save("data_export", rows + published(Path(folder), rounds))


def build(folder: Path, records: int, pictures: int) -> None:
    from reference import rows, write_pictures

    from mimicit.schema import InstructionRow
    from mimicit.store import Store

    write_pictures(pictures, folder / "pictures.parquet", folder / "ds")
    (folder / "pictures.parquet").unlink()
    store = Store.open(folder / "ds")
    rest = (None, None, None, None)
    with store.writing("benchmark"):
        block: list[InstructionRow] = []
        for n, (id_, instruction, answer) in enumerate(rows(records)):
            shown = (f"LA_IMG_{n % pictures:012d}",)
            block.append(
                InstructionRow(id_, "la_conversation", instruction, answer, shown, (), "en", *rest)
            )
            if len(block) == 50_000:
                store.add(block)
                block = []
        store.add(block)
        store.sync()


def chat(folder: Path, name: str, rounds: int) -> list[dict[str, object]]:
    whole, bare, theirs, shown, copied = turns(
        rounds,
        lambda: child(name, folder, "ours"),
        lambda: child(name, folder, "rows"),
        lambda: child(name, folder, "dump"),
        lambda: child(name, folder, "pictures"),
        lambda: child(name, folder, "copy"),
    )
    return [
        row(f"{name}, rows alone", theirs, bare, "to_dump >= 4x"),
        row(f"{name}, and pictures", theirs, whole, f"<= {BAR_MB} MB"),
        row(f"{name}, pictures alone, beside a loop", copied, shown, ""),
    ]


def published(folder: Path, rounds: int) -> list[dict[str, object]]:
    text, dump, shown, pandas, whole = turns(
        rounds,
        lambda: child("mimicit", folder, "json"),
        lambda: child("mimicit", folder, "dump"),
        lambda: child("mimicit", folder, "parquet"),
        lambda: child("mimicit", folder, "pandas"),
        lambda: child("mimicit", folder, "ours"),
    )
    both = {name: dump[name] + pandas[name] for name in ("cpu", "dump", "system")}
    both["mb"] = max(dump["mb"], pandas["mb"])
    return [
        row("mimicit, JSON, beside json.dump", dump, text, "to_dump >= 4x"),
        row("mimicit, pictures, beside to_parquet", pandas, shown, "to_dump >= 5x"),
        row("mimicit, whole", both, whole, f"to_dump >= 4x, <= {BAR_MB} MB"),
    ]


def turns(rounds: int, *clients: Callable[[], dict[str, float]]) -> list[dict[str, float]]:
    """Run clients in turns; return the median of each of their figures."""
    found = [[client() for client in clients] for _ in range(rounds)]
    return [
        {name: median(one[name] for one in runs) for name in runs[0]}
        for runs in zip(*found, strict=True)
    ]


def row(what: str, theirs: dict[str, float], ours: dict[str, float], bar: str) -> dict[str, object]:
    return {
        "what": what,
        "reference_cpu_s": round(theirs["cpu"], 2),
        "dump_alone_cpu_s": round(theirs["dump"], 2),
        "cpu_s": round(ours["cpu"], 2),
        "system_s": round(ours["system"], 2),
        "ratio": f"{theirs['cpu'] / ours['cpu']:.2f}x",
        "to_dump": f"{theirs['dump'] / ours['cpu']:.2f}x",
        "alone": f"{theirs['dump'] / ours['writing']:.2f}x",
        "reference_mb": round(theirs["mb"]),
        "mb": round(ours["mb"]),
        "bar": bar,
    }


def child(name: str, folder: Path, how: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--client", name, str(folder), how]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{how} {name} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


# In the child


def timed(work: Callable[[], Any]) -> dict[str, float]:
    started, before = time.process_time(), os.times().system
    work()
    cpu, system = time.process_time() - started, os.times().system - before
    [peak] = [
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    ]
    return {"cpu": cpu, "system": system, "mb": int(peak.split()[1]) / 1024}


LEFT_OUT = {
    "rows": ("write_pictures",),
    "pictures": ("_write_split",),
    "json": ("_write_pictures",),
    "parquet": ("_write_instructions", "_write_train"),
}
"""Steps of an export that are not in question."""
STEPS = {
    "chat_writing": ("write_pictures", "_write_split"),
    "mimicit": ("_write_instructions", "_write_train", "_write_pictures"),
}


def ours(name: str, folder: Path) -> dict[str, float]:
    import duckdb  # noqa: F401 - imports are not counted
    import orjson  # noqa: F401
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401
    import pybase64  # noqa: F401

    from mimicit.formats import WriteOptions
    from mimicit.store import Store

    store = Store.open(folder / "ds")
    writing = 0.0

    def step(do: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            nonlocal writing
            started = time.process_time()
            made = do(*args, **named)
            writing += time.process_time() - started
            return made

        return counted

    where = "mimicit" if name == "mimicit" else "chat_writing"
    home = import_module(f"mimicit.formats.{where}")
    for one in STEPS[where]:
        left_out = one in LEFT_OUT.get(sys.argv[-1], ())
        setattr(home, one, (lambda *_, **__: 0) if left_out else step(getattr(home, one)))
    module = import_module(f"mimicit.formats.{name}")
    with tempfile.TemporaryDirectory(dir=folder) as out:
        found = timed(lambda: module.write(store, Path(out), WriteOptions()))
    return found | {"writing": writing}


def copy(name: str, folder: Path) -> dict[str, float]:
    """Write the pictures as files, with nothing but the system's calls."""
    import duckdb

    with duckdb.connect(str(folder / "ds" / "catalog.duckdb"), read_only=True) as connection:
        places = connection.execute('SELECT id, shard, "offset", length FROM images').fetchall()
    files = {shard: os.open(folder / "ds" / shard, os.O_RDONLY) for _, shard, *_ in places}
    with tempfile.TemporaryDirectory(dir=folder) as out:

        def work() -> None:
            for id_, shard, offset, length in places:
                with (Path(out) / f"{id_}.jpg").open("wb", buffering=0) as file:
                    file.write(os.pread(files[shard], length, offset))

        found = timed(work)
    return found | {"dump": found["cpu"]}


def dump(name: str, folder: Path) -> dict[str, float]:
    import pandas as pd
    import pyarrow.parquet  # noqa: F401

    alone = 0.0

    def work() -> None:
        nonlocal alone
        parts = [pd.read_parquet(path) for path in sorted((folder / "ds" / "text").iterdir())]
        frame = pd.concat(parts).sort_values("id")
        rows = [SHAPES[name](row) for row in frame.to_dict("records")]
        whole = rows if name != "mimicit" else {"data": dict(rows)}
        started = time.process_time()
        with (folder / "dumped.json").open("w", encoding="utf-8") as file:
            json.dump(whole, file)
        alone = time.process_time() - started

    return timed(work) | {"dump": alone}


def _llava(row: dict[str, Any]) -> Any:
    said = [
        {"from": "human", "value": "<image>\n" + row["instruction"]},
        {"from": "gpt", "value": row["answer"]},
    ]
    shown = f"images/{row['image_ids'][0]}.jpg"
    return {"id": row["id"], "image": shown, "conversations": said, "task": row["task"]}


def _sharegpt(row: dict[str, Any]) -> Any:
    made = _llava(row)
    return made | {"images": [made.pop("image")]}


def _msswift(row: dict[str, Any]) -> Any:
    said = [
        {"role": "user", "content": "<image>" + row["instruction"]},
        {"role": "assistant", "content": row["answer"]},
    ]
    shown = [f"images/{row['image_ids'][0]}.jpg"]
    return {"id": row["id"], "messages": said, "images": shown, "task": row["task"]}


def _mimicit(row: dict[str, Any]) -> Any:
    lists = {name: list(row[name]) for name in ("image_ids", "rel_ins_ids")}
    return row["id"], {name: row[name] for name in ("instruction", "answer")} | lists


SHAPES = {"llava": _llava, "sharegpt": _sharegpt, "msswift": _msswift, "mimicit": _mimicit}


def pandas(name: str, folder: Path) -> dict[str, float]:
    """Write the pictures as base64 with their ids as the index."""
    import pandas as pd
    import pyarrow.parquet

    alone = 0.0

    def work() -> None:
        nonlocal alone
        encoded = {}
        for path in sorted((folder / "ds" / "images").iterdir()):
            table = pyarrow.parquet.read_table(path, columns=["id", "image"])
            for id_, data in zip(*map(pd.Series, table.to_pydict().values()), strict=True):
                encoded[id_] = base64.b64encode(data).decode()
        started = time.process_time()
        frame = pd.DataFrame.from_dict(encoded, orient="index", columns=["base64"])
        frame.to_parquet(folder / "pandas.parquet")
        alone = time.process_time() - started

    return timed(work) | {"dump": alone}


CLIENTS = {
    **dict.fromkeys(("ours", *LEFT_OUT), ours),
    "dump": dump,
    "pandas": pandas,
    "copy": copy,
}

if __name__ == "__main__":
    main()
