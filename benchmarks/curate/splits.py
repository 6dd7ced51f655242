"""Splits and decontamination: processor time, memory, how closely shares are met, what is found and what is not.

Splits: records about pictures, five each, of which some are copies that look nearly the same (their hashes, which stand for pictures,
differ by two bits), in conversations of up to six turns, of four tasks. `split` is the command's work with near pictures; `texts` has near
texts, too, once without sketches and once with (`again`); `more` adds 1 % of records; `check` looks at what is stored.

Shares: components of one record to thousands (Zipf's law) in four strata, into 90, 5 and 5 %, beside scikit-learn's GroupShuffleSplit, which
counts groups, and StratifiedGroupKFold with twenty folds of which two are taken. `off` is the largest distance of a share in a stratum from what was
wanted, in percentage points.

Decontamination: records of the same kind against 20,000 items, of which 1 % were put into records as they are, with one word exchanged, or as the
question about the same picture. `missed` of these are not found; `wrong` are records that hold none and are. The peer is what most scripts do: a set of runs of words, and a
loop over records, here of other ones.

    python benchmarks/curate/splits.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from common import Run, measure, save  # noqa: E402

ITEMS = 20_000
PLANTED = 200
"""Items of each way that are put into records."""
LOOP = 20_000
"""Records that the loop gets: it is slow."""
WORDS = [
    "".join(random.Random(7 + n).choices("etaoinshrdlcumw", k=2 + n % 8)) for n in range(8_000)
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records")
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        name, count, folder = options.client
        CLIENTS[name](int(count), Path(folder))
        return
    count = 20_000 if options.quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="splits-") as folder:
        rows = split_rows(count, folder) + share_rows(count // 10, folder)
        rows += bench_rows(count, folder)
    names = list(dict.fromkeys(name for row in rows for name in row))
    save("curate_splits", [{name: row.get(name, "") for name in names} for row in rows])


def split_rows(count: int, folder: str) -> list[dict[str, object]]:
    child("write", count, folder)
    rows = []
    for client in ("split", "texts", "again", "check", "more"):
        run, said = child(client, count, folder)
        rows.append(_row(client, count, run, said))
    return rows


def share_rows(count: int, folder: str) -> list[dict[str, object]]:
    from importlib.metadata import version

    of = f" of scikit-learn {version('scikit-learn')}"
    return [
        {
            "what": f"shares, {client}{'' if client == 'ours' else of}",
            "records": said["records"],
            "cpu_s": said["cpu_s"],
        }
        | {"off": said["off"], "peak_mb": round(run.peak_mb)}
        for client in ("ours", "GroupShuffleSplit", "StratifiedGroupKFold")
        for run, said in [child(client, count, folder)]
    ]


def bench_rows(count: int, folder: str) -> list[dict[str, object]]:
    rows = []
    for client, records in (("decontaminate", count), ("loop", min(LOOP, count))):
        run, said = child(client, records, folder)
        rows.append(_row(client, records, run, said))
    return rows


def _row(client: str, count: int, run: Run, said: dict[str, Any]) -> dict[str, object]:
    return {
        "what": client,
        "records": count,
        "cpu_s": round(said.pop("cpu_s"), 2),
        "peak_mb": round(run.peak_mb),
        **said,
    }


def child(client: str, count: int, folder: str) -> tuple[Run, dict[str, Any]]:
    """Run a client in a process of its own; it writes what it found to a file."""
    said = Path(folder) / f"{client}.json"
    run = measure([sys.executable, __file__, "--client", client, str(count), folder])
    return run, json.loads(said.read_text()) if said.exists() else {}


def note(folder: Path, client: str, said: dict[str, Any]) -> None:
    (folder / f"{client}.json").write_text(json.dumps(said))


# Records


def sentence(rng: random.Random, least: int, most: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(least, most)))


def texts(first: int, end: int, pictures: int) -> Iterator[tuple[str, str, str, int]]:
    """Yield id, question, answer and picture."""
    rng = random.Random(first)
    for number in range(first, end):
        asked = sentence(rng, 4, 9) if number % 3 else "is there a dog in the image"
        yield f"B_INS_{number:08d}", f"{asked}?", f"{sentence(rng, 5, 60)}.", number % pictures


def add(store: Any, first: int, end: int, pictures: int) -> None:
    from mimicit.schema import InstructionRow

    empty: dict[str, Any] = dict.fromkeys(InstructionRow._fields)
    items = planted(pictures) if first == 0 else {}
    with store.writing("benchmark"):
        waiting = []
        for id_, asked, answer, picture in texts(first, end, pictures):
            asked, answer, picture = items.get(id_, (asked, answer, picture))
            turns = 6 if picture % 7 == 0 else 0
            fields = {
                "id": id_,
                "task": "abcd"[picture % 10 % 4],
                "instruction": asked,
                "answer": answer,
                "image_ids": (f"B_IMG_{picture:012d}",),
                "rel_ins_ids": (),
                "language": "en",
                "conversation": f"talk {picture}" if turns else None,
                "turn": int(id_[6:]) // pictures if turns else None,
            }
            waiting.append(InstructionRow(**empty | fields))
            if len(waiting) == 20_000:
                store.add(waiting)
                waiting = []
        store.add(waiting)
        store.sync()


def write(count: int, folder: Path) -> None:
    """Write the dataset; what there is to see of its pictures is drawn, as if they had been looked at."""
    import hashlib

    import numpy as np
    import pyarrow as pa

    from mimicit.curate.looks import VERSION, schema_of
    from mimicit.parts import write_part
    from mimicit.schema import ImageRecord
    from mimicit.store import Store

    pictures = count // 5
    store = Store.open(folder / "data", create=True)

    def images() -> Iterator[ImageRecord]:
        for n in range(pictures):
            data = n.to_bytes(8, "big")
            digest = hashlib.sha256(data).hexdigest()
            yield ImageRecord(
                id=f"B_IMG_{n:012d}",
                image=data,
                sha256=digest,
                mime="image/jpeg",
                width=9,
                height=9,
            )

    with store.writing("benchmark"):
        store.add_images(images())
    add(store, 0, count, pictures)
    hashes = np.random.default_rng(0).integers(0, 2**64, pictures, dtype=np.uint64)
    copies = pictures // 20
    hashes[-copies:] = hashes[:copies] ^ np.uint64(3)
    nothing = {
        name: pa.nulls(pictures, kind)
        for name, kind in zip(schema_of().names, schema_of().types, strict=True)
    }
    known = nothing | {
        "id": pa.array([f"B_IMG_{n:012d}" for n in range(pictures)]),
        "width": pa.array([9] * pictures, pa.int32()),
        "height": pa.array([9] * pictures, pa.int32()),
        "mime": pa.array(["image/jpeg"] * pictures),
        "decodable": pa.array([True] * pictures),
        "hash": pa.array(hashes.view(np.int64)),
    }
    looks = store.path / "measures" / f"looks.{VERSION}"
    looks.mkdir(parents=True)
    write_part(looks / "l-00000.parquet", iter([pa.table(known, schema=schema_of())]), schema_of())


# Splits


def _split(folder: Path, client: str, *, near_texts: bool, name: str) -> None:
    from mimicit.splits import Joins, SplitOptions, split
    from mimicit.store import Store

    joins = Joins(near_texts=near_texts)
    options = SplitOptions({"validation": 0.05, "test": 0.05}, name, joins=joins)
    begun = time.process_time()
    done = split(Store.open(folder / "data"), options)
    spent = time.process_time() - begun
    off = max(abs(one.share - (one.wanted or 0)) for one in done.strata)
    said = {"components": done.components, "off": round(100 * off, 3), "new": done.new}
    note(folder, client, {"cpu_s": spent, **said})


def split_client(count: int, folder: Path) -> None:
    _split(folder, "split", near_texts=False, name="pictures")


def texts_client(count: int, folder: Path) -> None:
    _split(folder, "texts", near_texts=True, name="texts")


def again_client(count: int, folder: Path) -> None:
    _split(folder, "again", near_texts=True, name="again")


def more_client(count: int, folder: Path) -> None:
    from mimicit.store import Store

    add(Store.open(folder / "data"), count, count + count // 100, count // 5)
    _split(folder, "more", near_texts=False, name="pictures")


def check_client(count: int, folder: Path) -> None:
    from mimicit.splits import Joins, check
    from mimicit.store import Store

    begun = time.process_time()
    found = check(Store.open(folder / "data"), "pictures", Joins(near_texts=False))
    assert found.total == 0, found
    note(folder, "check", {"cpu_s": time.process_time() - begun})


# Shares


def _components(count: int) -> tuple[Any, Any, Any]:
    import numpy as np

    rng = np.random.default_rng(2)
    many = np.minimum(rng.zipf(1.7, count // 4), count // 50)
    component = np.repeat(np.arange(len(many)), many)
    return component, rng.integers(0, 4, len(component)), rng.integers(0, 2**62, len(many))


def _share(folder: Path, client: str, split: Any, stratum: Any, begun: float) -> None:
    spent = time.process_time() - begun
    off = max(
        abs(float(((split == n) & (stratum == s)).sum() / (stratum == s).sum()) - 0.05)
        for n in (1, 2)
        for s in range(4)
    )
    said = {"cpu_s": round(spent, 2), "off": round(100 * off, 3), "records": len(stratum)}
    note(folder, client, said)


def ours(count: int, folder: Path) -> None:
    import numpy as np

    from mimicit.splits.assigning import NEW, assign, sizes

    component, stratum, draw = _components(count)
    begun = time.process_time()
    sized = sizes(component, stratum, len(draw), 4)
    found = assign(sized, draw, np.full(len(draw), NEW), [0.05, 0.05])
    _share(folder, "ours", found[component], stratum, begun)


def group_shuffle(count: int, folder: Path) -> None:
    import numpy as np
    from sklearn.model_selection import GroupShuffleSplit

    component, stratum, _ = _components(count)
    begun = time.process_time()
    found = np.zeros(len(component), int)
    rest = np.arange(len(component))
    for n, share in ((1, 0.05), (2, 0.05 / 0.95)):
        one = GroupShuffleSplit(1, test_size=share, random_state=0)
        [(stays, goes)] = one.split(rest, groups=component[rest])
        found[rest[goes]] = n
        rest = rest[stays]
    _share(folder, "GroupShuffleSplit", found, stratum, begun)


def stratified_group(count: int, folder: Path) -> None:
    import numpy as np
    from sklearn.model_selection import StratifiedGroupKFold

    component, stratum, _ = _components(count)
    begun = time.process_time()
    found = np.zeros(len(component), int)
    folds = StratifiedGroupKFold(20, shuffle=True, random_state=0)
    for n, (_, goes) in enumerate(folds.split(component, stratum, component), start=1):
        if n > 2:
            break
        found[goes] = n
    _share(folder, "StratifiedGroupKFold", found, stratum, begun)


# Decontamination


def items() -> list[dict[str, Any]]:
    rng = random.Random(99)
    found = []
    for n in range(ITEMS):
        asked = sentence(rng, 16, 40) if n % 2 else "is there a dog in the image"
        found.append(
            {
                "question": f"{asked}?",
                "answer": "yes",
                "image": f"COCO_val2014_{10**9 + n:012d}.jpg",
            }
        )
    return found


def planted(pictures: int) -> dict[str, tuple[str, str, int]]:
    """Return what some records are about instead: an item as it is, one with other words, one with its picture."""
    rng, found = random.Random(5), {}
    all_items = items()
    for n in range(PLANTED):
        asked = str(all_items[2 * n + 1]["question"])
        words = asked.split()
        at = rng.randrange(len(words))
        changed = [*words[:at], rng.choice(WORDS), *words[at + 1 :]]
        found[f"B_INS_{30 * n:08d}"] = (asked, "Yes.", 30 * n % pictures)
        if len(words) > 30 and (at < 6 or at > len(words) - 7):
            found[f"B_INS_{30 * n + 1:08d}"] = (" ".join(changed), "Yes.", (30 * n + 1) % pictures)
        found[f"B_INS_{30 * n + 2:08d}"] = ("is there a dog in the image?", "No.", 10**9 + 2 * n)
    return found


def decontaminate(count: int, folder: Path) -> None:
    from mimicit.curate.filters.benchmark import in_benchmark
    from mimicit.decontaminate import matching
    from mimicit.decontaminate.reporting import report
    from mimicit.store import Store

    path = folder / "bench.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in items()))
    ask = in_benchmark(files=[str(path)])
    findings: list[str] = []
    find = matching.find

    def noted(*arguments: Any) -> Any:
        table = find(*arguments)
        findings.extend(table["record"].to_pylist())
        return table

    matching.find = noted  # type: ignore[assignment]
    begun = time.process_time()
    report(Store.open(folder / "data"), ask)
    spent = time.process_time() - begun
    there = set(planted(count // 5))
    said = {"per_cpu_s": round(count / spent), "planted": len(there)}
    said |= {"missed": len(there - set(findings)), "wrong": len(set(findings) - there)}
    note(folder, "decontaminate", {"cpu_s": spent, **said})


def loop(count: int, folder: Path) -> None:
    import re

    said = list(texts(0, count, count))
    begun = time.process_time()
    known = set()
    for item in items():
        words = re.findall(r"\w+", item["question"].lower())
        known.update(tuple(words[n : n + 8]) for n in range(len(words) - 7))
    found = 0
    for _, asked, answer, _ in said:
        words = re.findall(r"\w+", f"{asked} {answer}".lower())
        found += any(tuple(words[n : n + 8]) in known for n in range(len(words) - 7))
    spent = time.process_time() - begun
    note(folder, "loop", {"cpu_s": spent, "per_cpu_s": round(count / spent), "wrong": found})


CLIENTS = {
    "write": write,
    "split": split_client,
    "texts": texts_client,
    "again": again_client,
    "check": check_client,
    "more": more_client,
    "ours": ours,
    "GroupShuffleSplit": group_shuffle,
    "StratifiedGroupKFold": stratified_group,
    "decontaminate": decontaminate,
    "loop": loop,
}

if __name__ == "__main__":
    main()
