"""What is asked (`mimicit.curate.asks`): how many kinds, verbs and nouns are right, and records per second of processor time.

Sentences are labelled by hand (`tests/mimicit/curate/asked.py`): those that the rules were made with, those that they were not, and kinds in seven more
languages. The speed is that of the measure, over questions that are all different and over questions of which each comes ten times.

    python benchmarks/curate/asks.py [--quick]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from common import save  # noqa: E402

Row = dict[str, object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records, one round")
    options = parser.parse_args()
    count, rounds = (20_000, 1) if options.quick else (200_000, 5)
    save("curate_asks", [*accuracy(), *speed(count, rounds)])


def accuracy() -> list[Row]:
    from mimicit.curate.asks.question import asks_of
    from tests.mimicit.curate.asked import UNSEEN, english, others

    rows = []
    for name, labelled in (("english", english()), ("english, unseen", english(UNSEEN))):
        found = [(asks_of(text), told) for text, *told in labelled]
        right = [sum(asks[n] == told[n] for asks, told in found) for n in range(3)]
        rows.append(row(name, len(labelled), kind=right[0], verb=right[1], noun=right[2]))
    labelled = others()
    kinds = sum(asks_of(text, code).kind == kind for code, text, kind in labelled)
    return [*rows, row("seven others", len(labelled), kind=kinds)]


def speed(count: int, rounds: int) -> list[Row]:
    import pyarrow as pa

    from mimicit.curate.asks.lexicon import look_up
    from mimicit.curate.asks.question import ASKS

    assert ASKS.compute
    look_up("word")  # WordNet's files are read
    rows = []
    for name, repeated in (("all different", 1), ("each ten times", 10)):
        texts = questions(count // repeated) * repeated
        batches = [
            pa.record_batch({"instruction": part, "language": ["en"] * len(part)})
            for part in (texts[at : at + 8_192] for at in range(0, count, 8_192))
        ]
        taken = []
        for _ in range(rounds):
            begun = time.process_time()
            for batch in batches:
                ASKS.compute(batch)
            taken.append(time.process_time() - begun)
        rows.append(row(name, count, per_cpu_s=round(count / median(taken))))
    return rows


def questions(count: int) -> list[str]:
    """Return questions as they come, with other words in them."""
    from tests.mimicit.curate.asked import UNSEEN, english

    rng = random.Random(0)
    texts = [text for text, *_ in [*english(), *english(UNSEEN)]]
    said = []
    for n in range(count):
        words = rng.choice(texts).split(" ")
        words.insert(rng.randrange(2, len(words)) if len(words) > 2 else 1, f"number {n}")
        said.append(" ".join(words))
    return said


def row(name: str, count: int, **more: Any) -> Row:
    return {"what": name, "count": count} | {
        column: more.get(column, "") for column in ("kind", "verb", "noun", "per_cpu_s")
    }


if __name__ == "__main__":
    main()
