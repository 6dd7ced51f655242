"""Semantic duplicates: precision and recall by threshold, with the guard and without it, and what they cost.

*Quality* is on pairs of records written by hand (`tests/mimicit/curate/meant.py`): paraphrases, and records that differ in one thing that matters. `found` are
paraphrases that are called one, `wrong` the others that are; rows "unseen" are pairs that the guard was not made with.

*Cost* is processor time for a million records: of the vectors on real sentences, made once; of marks and pairs on vectors drawn around middles, with five
records about each picture, or all compared with all, which is quadratic and told for so many records as there were.

    python benchmarks/curate/semantic.py [--quick] [--hundred]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from common import Run, measure, save  # noqa: E402

Row = dict[str, object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records")
    parser.add_argument(
        "--hundred", action="store_true", help="100,000 records against each other, too"
    )
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        scope, count, folder = options.client
        ask(scope, int(count), Path(folder))
        return
    save("curate_semantic", quality())
    sets = (
        [("picture", 5_000), ("dataset", 5_000)]
        if options.quick
        else [("picture", 100_000), ("dataset", 20_000)]
    )
    sets += [("dataset", 100_000)] if options.hundred else []
    save(
        "curate_semantic_cost",
        [embedding(500 if options.quick else 4_000), *(cost(*one) for one in sets)],
    )


# Quality


def quality() -> list[Row]:
    from tests.mimicit.curate import meant

    rows = []
    for name, same, other in (
        ("", meant.paraphrases(), meant.contradictions()),
        (
            "unseen",
            meant.paraphrases(meant.UNSEEN_PARAPHRASES),
            meant.contradictions(meant.UNSEEN_CONTRADICTIONS),
        ),
    ):
        (alike, kept_apart), (alike_too, kept_apart_too) = looked_at(same), looked_at(other)
        for threshold in (0.8, 0.85, 0.9, 0.92, 0.95, 0.97):
            for guard in (False, True):
                found = sum((alike >= threshold) & ~(kept_apart & guard))
                wrong = sum((alike_too >= threshold) & ~(kept_apart_too & guard))
                rows.append(
                    {
                        "pairs": name,
                        "threshold": threshold,
                        "guard": "yes" if guard else "no",
                        "paraphrases": len(same),
                        "found": int(found),
                        "others": len(other),
                        "wrong": int(wrong),
                        "recall": round(found / len(same), 3),
                        "precision": round(found / max(found + wrong, 1), 3),
                    }
                )
    return rows


def looked_at(pairs: list[Any]) -> tuple[Any, Any]:
    """Return how alike pairs are, and which ones the guard keeps apart."""
    import numpy as np

    from mimicit.curate.meaning.guard import contradict, exchanged, marks_of
    from mimicit.embed import embed_texts

    said = [side for pair in pairs for side in pair]
    vectors = np.array(list(embed_texts(["\n".join(side) for side in said])))
    marks, left = marks_of(said), np.arange(0, len(said), 2)
    apart = contradict(marks, left, left + 1) | np.array([exchanged(*pair) for pair in pairs])
    return (vectors[left] * vectors[left + 1]).sum(axis=1), apart


# Cost


def embedding(count: int) -> Row:
    from mimicit.embed import embed_texts

    texts = [
        f"What is number {n} of {len(text)} doing?\n{text}"
        for n, text in zip(range(count), sentences(), strict=False)
    ]
    list(embed_texts(texts[:50]))
    begun = time.process_time()
    list(embed_texts(texts))
    taken = time.process_time() - begun
    return row("vectors", count, taken)


def sentences() -> Any:
    from tests.mimicit.curate.meant import contradictions, paraphrases

    texts = [side[1] for pair in [*paraphrases(), *contradictions()] for side in pair]
    while True:
        yield from texts


def row(what: str, count: int, taken: float, run: Run | None = None, dropped: object = "") -> Row:
    return {
        "what": what,
        "records": count,
        "cpu_s": round(taken, 2),
        "per_cpu_s": round(count / taken),
        "cpu_s_per_million": round(1e6 * taken / count) if what != "dataset" else "quadratic",
        "peak_mb": round(run.peak_mb) if run else "",
        "dropped": dropped,
    }


def cost(scope: str, count: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="semantic-") as name:
        run = measure([sys.executable, __file__, "--client", scope, str(count), name])
        taken, dropped = (Path(name) / "said").read_text().split()
    return row(scope, count, float(taken), run, int(dropped))


def ask(scope: str, count: int, folder: Path) -> None:
    """Write records with vectors, and do what `curate` does for this filter."""
    from mimicit.curate.filters.duplicates import SAME
    from mimicit.curate.filters.semantic import semantic_duplicate
    from mimicit.curate.measures import attach
    from mimicit.store import Store

    store = Store.open(folder / "data", create=True)
    fill(store, count, numbered=scope == "dataset")  # no two are equal then
    made = semantic_duplicate(scope=scope, embeddings="vectors.parquet")
    with store.writing("benchmark"), store.reading() as connection:
        attach(store, connection, [("same", SAME)])
        connection.execute("CREATE TEMP VIEW candidates AS FROM measured")
        begun = time.process_time()
        said = made(connection, store.path / "measures")
        taken = time.process_time() - begun
    (folder / "said").write_text(f"{taken} {said.num_rows}")


def fill(store: Any, count: int, *, numbered: bool) -> None:
    """Write records in groups of five, whose vectors lie around a middle, and their vectors."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mimicit.schema import InstructionRow

    rng = np.random.default_rng(0)
    empty: dict[str, Any] = dict.fromkeys(InstructionRow._fields)
    schema = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32()))])
    said = sentences()
    with (
        store.writing("benchmark"),
        pq.ParquetWriter(store.path / "vectors.parquet", schema) as file,
    ):
        for start in range(0, count, 10_000):
            numbers = range(start, min(start + 10_000, count))
            rows = [
                InstructionRow(
                    **empty
                    | {
                        "id": f"B_INS_{n:08d}",
                        "task": "b",
                        "instruction": f"What is in picture {n}?" if numbered else "What is here?",
                        "answer": next(said),
                        "image_ids": (f"P{n // 5}",),
                        "rel_ins_ids": (),
                        "language": "en",
                    }
                )
                for n in numbers
            ]
            store.add(rows)
            middles = np.repeat(rng.normal(size=(len(numbers) // 5 + 1, 384)), 5, axis=0)
            vectors = middles[: len(numbers)] + 0.3 * rng.normal(size=(len(numbers), 384))
            table = {"id": [one.id for one in rows], "vector": vectors.astype("f4").tolist()}
            file.write_table(pa.table(table, schema))
        store.sync()


if __name__ == "__main__":
    main()
