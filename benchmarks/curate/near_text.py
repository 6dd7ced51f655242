"""Near-duplicate text, end to end, beside datasketch: processor time, recall, precision, memory, another threshold, 1 % new records.

Texts are words drawn by Zipf's law, as short and long as answers are. Some are copies of another one: as it is, in capitals, or
with 5 % or 12 % of the words exchanged. A planted pair counts where its exact Jaccard similarity, on runs of five characters, is at
least 0.7; precision is the share of verdicts whose record is that like the one that they name. Both are worked out from the texts.

Each run is a process of its own over a dataset that is already there. `full` sketches, finds pairs and gives verdicts; `again` asks
with another threshold; `more` adds 1 % of records that are new. datasketch does what its own documents show, on fewer texts, since
it is slow: MinHash with as many numbers and the same bands, all pairs by a query for each text, which are then compared exactly.

    python benchmarks/curate/near_text.py [--quick] [--million]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from common import Run, measure, middle, save  # noqa: E402

WORDS = 8_000
THRESHOLD, OTHER = 0.7, 0.8
SAMPLE = 20_000
"""Texts that datasketch gets."""
KINDS = {"exact": 0.10, "case": 0.05, "edit5": 0.08, "edit12": 0.07}
"""Share of the records that are copies of each kind."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records, one round")
    parser.add_argument("--million", action="store_true", help="a million records, too")
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        name, count, folder = options.client
        CLIENTS[name](int(count), Path(folder))
        return
    counts, rounds = ([20_000], 1) if options.quick else ([200_000], 3)
    counts += [1_000_000] if options.million else []
    table: list[dict[str, object]] = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="near-") as folder:
            table += compared(count, 1 if count > 200_000 else rounds, folder)
    save("curate_near_text", table)


def compared(count: int, rounds: int, folder: str) -> list[dict[str, object]]:
    child("write", count, folder)
    ours: list[dict[str, Any]] = []
    peer: list[dict[str, Any]] = []
    peaks: list[Run] = []
    for _ in range(rounds):  # in turns
        run, said = child("full", count, folder)
        _, again = child("again", count, folder)
        ours.append(said | {"again_s": again["cpu_s"]})
        peaks.append(run)
        peer.append(child("datasketch", SAMPLE, folder)[1])
    _, more = child("more", count, folder)
    quality = child("quality", count, folder)[1]
    mine, theirs = median_of(ours), median_of(peer)
    speed, its = count / mine["cpu_s"], SAMPLE / theirs["cpu_s"]
    return [
        {
            "client": "near_duplicate",
            "records": count,
            "cpu_s": round(mine["cpu_s"], 2),
            "per_cpu_s": round(speed),
            "times": round(speed / its, 1),
            "peak_mb": round(middle(peaks).peak_mb),
            "sketch_s": round(mine["sketch_s"], 2),
            "pairs_s": round(mine["pairs_s"], 2),
            "verdicts_s": round(mine["verdicts_s"], 2),
            "again_percent": round(100 * mine["again_s"] / mine["cpu_s"], 1),
            "more_percent": round(100 * more["cpu_s"] / mine["cpu_s"], 1),
            **quality,
        },
        {
            "client": "datasketch",
            "records": SAMPLE,
            "cpu_s": round(theirs["cpu_s"], 2),
            "per_cpu_s": round(its),
            "times": 1,
        }
        | dict.fromkeys(
            ("peak_mb", "sketch_s", "pairs_s", "verdicts_s", "again_percent", "more_percent"), ""
        )
        | {name: theirs.get(name, "") for name in quality},
    ]


def median_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return sorted(rows, key=lambda row: row["cpu_s"])[len(rows) // 2]


def child(client: str, count: int, folder: str) -> tuple[Run, dict[str, Any]]:
    """Run a client in a process of its own; it writes what it found to a file."""
    said = Path(folder) / f"{client}.json"
    run = measure([sys.executable, __file__, "--client", client, str(count), folder])
    return run, json.loads(said.read_text()) if said.exists() else {}


# Records


def texts(count: int) -> Iterator[tuple[str, int, str]]:
    """Yield a text, the number of the one it is a copy of or -1, and what kind of copy; more of them begin with the same."""
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlcumw", k=rng.randint(2, 9))) for _ in range(WORDS)]
    zipf = list(accumulate(1 / (n + 2.7) for n in range(WORDS)))
    pool = rng.choices(words, cum_weights=zipf, k=400_000)
    first, copies = [], list(accumulate(KINDS.values()))
    for number in range(count):
        drawn = rng.random()
        if drawn >= copies[-1] or not first:
            said = rng.choices(pool, k=rng.randint(8, 130))
            if len(first) < 100_000:
                first.append((number, said))
            yield " ".join(said) + ".", -1, "own"
            continue
        kind = next(name for name, most in zip(KINDS, copies, strict=True) if drawn < most)
        source, said = first[rng.randrange(len(first))]
        yield copied(said, kind, rng, pool), source, kind


def copied(said: list[str], kind: str, rng: random.Random, pool: list[str]) -> str:
    said = list(said)
    share = {"edit5": 0.05, "edit12": 0.12}.get(kind, 0)
    for _ in range(round(share * len(said)) or (1 if share else 0)):
        said[rng.randrange(len(said))] = rng.choice(pool)
    text = " ".join(said)
    return f"{text.upper()} !" if kind == "case" else text + "."


def records(first: int, end: int) -> Iterator[Any]:
    from mimicit.schema import InstructionRow

    empty: dict[str, Any] = dict.fromkeys(InstructionRow._fields)
    for number, (text, _, _) in enumerate(islice(texts(end), first, None), first):
        yield InstructionRow(
            **empty
            | {
                "id": f"B_INS_{number:08d}",
                "task": "b",
                "instruction": f"What is in picture {number % 97}?",
                "answer": text,
                "image_ids": (),
                "rel_ins_ids": (),
                "language": "en",
            }
        )


def add(store: Any, rows: Iterator[Any]) -> None:
    with store.writing("benchmark"):
        waiting = []
        for row in rows:
            waiting.append(row)
            if len(waiting) == 20_000:
                store.add(waiting)
                waiting = []
        store.add(waiting)
        store.sync()


# What runs in a process of its own


def write(count: int, folder: Path) -> None:
    from mimicit.store import Store

    add(Store.open(folder / "data", create=True), records(0, count))


def full(count: int, folder: Path) -> None:
    import shutil

    shutil.rmtree(folder / "data" / "measures", ignore_errors=True)
    note(folder, "full", ask(folder, THRESHOLD, keep=True))


def again(count: int, folder: Path) -> None:
    note(folder, "again", ask(folder, OTHER))


def more(count: int, folder: Path) -> None:
    from mimicit.store import Store

    add(Store.open(folder / "data"), records(count, count + count // 100))
    note(folder, "more", ask(folder, THRESHOLD))


def ask(folder: Path, threshold: float, *, keep: bool = False) -> dict[str, float]:
    """Do what `curate` does for this filter, and say what it cost once the packages are there."""
    import pyarrow.compute
    import pyarrow.dataset  # noqa: F401
    import pyarrow.parquet as pq
    import rensa  # noqa: F401
    import scipy.sparse  # noqa: F401

    from mimicit.curate.filters import near
    from mimicit.curate.measures import attach
    from mimicit.curate.opening import opened
    from mimicit.store import Store

    store = Store.open(folder / "data")
    made = near.near_duplicate(threshold=threshold, fields="answer", scope="dataset")
    pairs_s = 0.0
    find = near.near_pairs

    def timed(*arguments: Any) -> Any:
        nonlocal pairs_s
        begun = time.process_time()
        found = find(*arguments)
        pairs_s = time.process_time() - begun
        return found

    near.near_pairs = timed  # type: ignore[assignment]
    with store.writing("benchmark"), opened(store) as connection:
        begun = time.process_time()
        attach(store, connection, [("sketch_answer", near.SKETCH_ANSWER)])
        sketched = time.process_time()
        connection.execute("CREATE TEMP VIEW candidates AS FROM measured")
        verdicts = made(connection, store.path / "measures")
        ended = time.process_time()
        if keep:
            pq.write_table(verdicts, folder / "verdicts.parquet")
    return {
        "cpu_s": ended - begun,
        "sketch_s": sketched - begun,
        "pairs_s": pairs_s,
        "verdicts_s": ended - sketched - pairs_s,
    }


def quality(count: int, folder: Path) -> None:
    """Compare the pairs and the verdicts with what was planted."""
    import pyarrow.dataset
    import pyarrow.parquet as pq

    from mimicit.curate.filters.near import SKETCH_ANSWER
    from mimicit.curate.pairs import _PAIRS, _read_parts
    from mimicit.store import Store

    said = list(texts(count))
    store = Store.open(folder / "data")
    kept = store.path / "measures"
    name = f"sketch_answer.{SKETCH_ANSWER.version}"
    sketches = pyarrow.dataset.dataset(kept / name, exclude_invalid_files=True).to_table(
        ["id", "digest"]
    )
    digest = {
        int(id_[6:]): value
        for id_, value in zip(
            sketches["id"].to_pylist(), sketches["digest"].to_pylist(), strict=True
        )
    }
    found = _read_parts(kept / f"pairs_{name}" / "pairs", _PAIRS)
    near = {
        frozenset(pair[:2]): pair[2]
        for pair in zip(*(column.to_pylist() for column in found.columns), strict=True)
        if pair[2] >= THRESHOLD
    }
    hits, planted = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    for number, (text, source, kind) in enumerate(said):
        if kind == "own" or similarity(text, said[source][0]) < THRESHOLD:
            continue
        planted[kind] += 1
        one, other = digest[number], digest[source]
        hits[kind] += one == other or frozenset((one, other)) in near
    verdicts = pq.read_table(folder / "verdicts.parquet")
    right = 0
    rows = zip(verdicts["record"].to_pylist(), verdicts["reason"].to_pylist(), strict=True)
    for record, reason in rows:
        one, other = int(record[6:]), int(reason.split()[1][6:])
        right += similarity(said[one][0], said[other][0]) >= THRESHOLD
    note(
        folder,
        "quality",
        {
            "planted": sum(planted.values()),
            "recall": round(sum(hits.values()) / sum(planted.values()), 4),
            "recall_edit5": round(hits["edit5"] / planted["edit5"], 4),
            "recall_edit12": round(hits["edit12"] / max(planted["edit12"], 1), 4),
            "precision": round(right / verdicts.num_rows, 4),
            "dropped": verdicts.num_rows,
        },
    )


def normal(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def shingles(text: str) -> set[str]:
    text = normal(text)
    return {text[n : n + 5] for n in range(len(text) - 4)}


def similarity(one: str, other: str) -> float:
    a, b = shingles(one), shingles(other)
    return len(a & b) / max(len(a | b), 1)


def datasketch(count: int, folder: Path) -> None:
    import datasketch as peer

    said = list(texts(count))
    begun = time.process_time()
    lsh = peer.MinHashLSH(num_perm=125, params=(25, 5))
    sets = [shingles(text) for text, _, _ in said]
    hashes = []
    with lsh.insertion_session() as session:
        for number, one in enumerate(sets):
            minhash = peer.MinHash(num_perm=125)
            minhash.update_batch([shingle.encode() for shingle in one])
            session.insert(number, minhash)
            hashes.append(minhash)
    near = set()
    for number, minhash in enumerate(hashes):
        for other in lsh.query(minhash):
            if other < number:
                a, b = sets[number], sets[other]
                if len(a & b) >= THRESHOLD * len(a | b):
                    near.add((other, number))
    ended = time.process_time()
    planted = [
        (source, number)
        for number, (text, source, kind) in enumerate(said)
        if kind != "own" and similarity(text, said[source][0]) >= THRESHOLD
    ]
    note(
        folder,
        "datasketch",
        {
            "cpu_s": ended - begun,
            "planted": len(planted),
            "recall": round(sum(pair in near for pair in planted) / len(planted), 4),
        },
    )


def note(folder: Path, client: str, said: dict[str, Any]) -> None:
    (folder / f"{client}.json").write_text(json.dumps(said))


CLIENTS = {
    "write": write,
    "full": full,
    "again": again,
    "more": more,
    "quality": quality,
    "datasketch": datasketch,
}

if __name__ == "__main__":
    main()
