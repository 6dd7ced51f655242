"""The recipe `starter` by the real command, end to end: wall, processor time and memory of a process, its start included.

Records are questions and answers about pictures, three to a picture; words are drawn by Zipf's law, and answers are as long as those of
published sets (a few words, a sentence or two, or a paragraph). Some are at fault as real ones are: empty, copied, in capitals, asked
twice, about captions or with coordinates.

    full       a dataset that was never curated
    unchanged  again, with nothing new
    one word   the same recipe with another threshold of one filter
    back       that taken back with --undo
    1 % new    one percent of records more, in the catalog already

    python benchmarks/curate/recipe.py [--quick] [--million] [--recipe starter]
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from common import measure, middle, save  # noqa: E402

WORDS = 8_000
QUESTIONS = (
    "What is the {} doing?", "How many {}s are in the picture?", "What colour is the {} beside the {}?",
    "Is there a {} near the {}?", "Describe the {} in detail.", "Where is the {}, and what may happen to the {} next?",
    "Why would somebody put the {} there?", "What does the {} say about the {}?",
)  # fmt: skip
FAULTS = {
    "empty": 0.004,
    "copy": 0.03,
    "capitals": 0.02,
    "asked": 0.02,
    "caption": 0.02,
    "box": 0.005,
}
"""Share of the records."""
SYPHUS = "from syphus.cli import main; main()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records, one round")
    parser.add_argument("--million", action="store_true", help="a million records, too")
    parser.add_argument("--recipe", default="starter", help="a shipped one")
    parser.add_argument("--write", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        first, end, folder = options.write
        write(int(first), int(end), Path(folder))
        return
    counts, rounds = ([20_000], 1) if options.quick else ([200_000], 3)
    counts += [1_000_000] if options.million else []
    table: list[dict[str, object]] = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="recipe-") as folder:
            table += measured(count, 1 if count > 200_000 else rounds, options.recipe, Path(folder))
    save("curate_recipe", table)


def measured(count: int, rounds: int, recipe: str, folder: Path) -> list[dict[str, object]]:
    data = folder / "data"
    add(0, count, data)
    other = changed(recipe, folder)
    steps: dict[str, list[Any]] = {}
    for number in range(rounds):
        for kept in ("measures", "curation"):
            shutil.rmtree(data / kept, ignore_errors=True)
        for part in (data / "verdicts").glob("*"):
            part.unlink()
        measure([sys.executable, "-c", SYPHUS, "data", "stats", "-d", str(data)])
        for step, arguments in (
            ("full", [recipe]),
            ("unchanged", [recipe]),
            ("one word", [str(other)]),
            ("back", [recipe, "--undo"]),
        ):
            steps.setdefault(step, []).append(curate(data, *arguments))
        if number == rounds - 1:
            for more in range(3):
                first = count + more * (count // 100)
                add(first, first + count // 100, data)
                steps.setdefault("1 % new", []).append(curate(data, recipe))
    full = middle(steps["full"])
    return [
        {
            "step": step,
            "records": count,
            "wall_s": round((one := middle(runs)).wall, 2),
            "cpu_s": round(one.cpu, 2),
            "records_per_s": round(count / one.wall),
            "percent_of_full": round(100 * one.wall / full.wall, 1),
            "peak_mb": round(one.peak_mb),
        }
        for step, runs in steps.items()
    ]


def curate(data: Path, *arguments: str) -> Any:
    return measure([sys.executable, "-c", SYPHUS, "data", "curate", *arguments, "-d", str(data)])


def changed(recipe: str, folder: Path) -> Path:
    """Write the recipe with another threshold, under the same name."""
    from mimicit.curate.recipe import RECIPES

    text = (RECIPES / f"{recipe}.toml").read_text(encoding="utf-8")
    assert "\nwords = 3" in text
    path = folder / f"{recipe}.toml"
    path.write_text(text.replace("\nwords = 3", "\nwords = 5", 1), encoding="utf-8")
    return path


# Records


def add(first: int, end: int, data: Path) -> None:
    measure([sys.executable, __file__, "--write", str(first), str(end), str(data)])


def write(first: int, end: int, data: Path) -> None:
    from mimicit.store import Store

    store = Store.open(data, create=True)
    with store.writing("benchmark"):
        rows = records(first, end)
        while block := list(itertools.islice(rows, 20_000)):
            store.add(block)
        store.sync()


def records(first: int, end: int) -> Iterator[Any]:
    from mimicit.schema import InstructionRow

    empty: dict[str, Any] = dict.fromkeys(InstructionRow._fields)
    rng = random.Random(first)
    words = [
        "".join(random.Random(n).choices("etaoinshrdlcumw", k=2 + n % 8)) for n in range(WORDS)
    ]
    weights = list(itertools.accumulate(1 / (n + 2.7) for n in range(WORDS)))
    pool = rng.choices(words, cum_weights=weights, k=200_000)
    said: list[tuple[str, str, int]] = []
    for number in range(first, end):
        question, answer, picture = pair(rng, pool, number, said)
        if len(said) < 50_000:
            said.append((question, answer, picture))
        yield InstructionRow(
            **empty
            | {
                "id": f"BENCH_INS_{number:012d}_00",
                "task": "bench",
                "instruction": question,
                "answer": answer,
                "image_ids": (f"BENCH_IMG_{picture:012d}",),
                "rel_ins_ids": (),
                "language": "en",
                "source": f"synthetic.json#{number}",
            }
        )


def pair(
    rng: random.Random, pool: list[str], number: int, said: list[tuple[str, str, int]]
) -> tuple[str, str, int]:
    """Return a question, its answer, and the number of its picture."""
    question = rng.choice(QUESTIONS).format(rng.choice(pool), rng.choice(pool))
    most = rng.choices((8, 40, 120), (3, 5, 2))[0]
    at = rng.randrange(len(pool) - most)
    answer = " ".join(pool[at : at + rng.randint(3, most)]).capitalize() + "."
    drawn, picture = rng.random(), number // 3
    old = said[rng.randrange(len(said))] if said else (question, answer, picture)
    for fault, share in FAULTS.items():
        drawn -= share
        if drawn < 0:
            return {
                "empty": (question, " …", picture),
                "copy": old,
                "capitals": (old[0].upper(), f"{old[1].upper()} !", old[2]),
                "asked": (old[0], answer, old[2]),
                "caption": (question, f"The caption says {answer}", picture),
                "box": (question, f"{answer} It is at [0.12, 0.33, 0.80, 0.91].", picture),
            }[fault]
    return question, answer, picture


if __name__ == "__main__":
    main()
