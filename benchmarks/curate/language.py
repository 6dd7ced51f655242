"""Language identification beside py3langid and, where it is installed, pycld2: how many of 64 short sentences are right, and records per second of processor time.

A record has a question, which comes again as questions do, and an answer; ours measures both, as the measure `language` does. The peers
choose among the eight languages where they can (pycld2 cannot), and are asked about the same texts, each once.

    python benchmarks/curate/language.py [--quick]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from common import save  # noqa: E402

Way = Callable[[list[str]], list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records, fewer rounds")
    options = parser.parse_args()
    import pyarrow as pa

    from mimicit.curate.filters.language import KNOWN, identify, measure
    from tests.mimicit.curate.sentences import SENTENCES

    count, rounds = (4_000, 3) if options.quick else (20_000, 7)
    labelled = [(code, text) for code, texts in SENTENCES.items() for text in texts]
    batch = pa.record_batch(drawn(count, SENTENCES))
    texts = list(dict.fromkeys(batch["instruction"].to_pylist())) + list(
        dict.fromkeys(batch["answer"].to_pylist())
    )
    ways: dict[str, Way] = {"ours": lambda some: [code for code, _ in identify(some)]}
    ways |= peers(list(KNOWN))
    spent: dict[str, list[float]] = {name: [] for name in (*ways, "ours, measure")}
    measure(batch.slice(0, 64))  # loads the models
    for way in ways.values():
        way(texts[:64])
    for _ in range(rounds):
        for name, way in ways.items():
            spent[name].append(timed(lambda way=way: way(texts)))
        spent["ours, measure"].append(timed(lambda: measure(batch)))
    rows: list[dict[str, object]] = []
    for name, seconds in spent.items():
        way = ways.get(name, ways["ours"])
        heard = way([text for _, text in labelled])
        right = sum(code == said for (code, _), said in zip(labelled, heard, strict=True))
        rows.append(
            {
                "way": name,
                "right": f"{right} of {len(labelled)}",
                "records_per_cpu_second": round(count / median(seconds)),
                "bar": ">= 10000, >= 62 of 64" if name == "ours, measure" else "",
            }
        )
    save("curate_language", rows)


def timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def drawn(count: int, sentences: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return records: of ten, six in English, the others in the eight languages; answers of one to five sentences."""
    chance = random.Random(0)
    columns: dict[str, list[str]] = {"instruction": [], "answer": [], "language": []}
    for n in range(count):
        code = chance.choice(list(sentences)) if n % 10 < 4 else "en"
        answer = " ".join(chance.choices(sentences[code], k=1 + n % 5))
        columns["instruction"].append(chance.choice(sentences[code]))
        columns["answer"].append(f"{answer} {n}")
        columns["language"].append(code)
    return columns


def peers(languages: list[str]) -> dict[str, Way]:
    found: dict[str, Way] = {}
    from py3langid import langid

    known = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)
    known.set_languages(languages)
    found["py3langid"] = lambda texts: [known.classify(text)[0] for text in texts]
    try:
        import pycld2
    except ModuleNotFoundError:
        return found
    found["pycld2"] = lambda texts: [pycld2.detect(text)[2][0][1][:2] for text in texts]
    return found


if __name__ == "__main__":
    main()
