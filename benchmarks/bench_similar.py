"""Time and memory of nearest neighbours by text on 100,000 captions, beside scikit-learn's brute force.

    python benchmarks/bench_similar.py            # both, each in its own process
    python benchmarks/bench_similar.py ours FILE  # one of them

Captions are drawn from 20,000 words by Zipf's law, around 2,000 topics of 40 words, so that there is something to find.
`recall` is the share of scikit-learn's ten neighbours (for 500 captions, compared by similarity, so that ties count) that ours finds.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from itertools import accumulate
from pathlib import Path

from common import measure, save

CAPTIONS = 100_000
K = 10
CHECKED = 500


def captions(count: int) -> list[tuple[str, str]]:
    rng = random.Random(0)
    words = [f"{''.join(rng.choices('bcdfglmnprst', k=2))}{n:x}" for n in range(20_000)]
    zipf = list(accumulate(1 / (n + 2.7) for n in range(len(words))))
    topics = [rng.choices(words, cum_weights=zipf, k=40) for _ in range(2_000)]
    return [
        (
            f"c{n:07d}",
            " ".join(rng.choices(words, cum_weights=zipf, k=rng.randint(4, 9)) + rng.sample(rng.choice(topics), 5)),
        )
        for n in range(count)
    ]  # fmt: skip


def ours(answer: Path) -> None:
    import pyarrow as pa

    from mimicit.similar import nearest_by_text, workbench

    rows = captions(CAPTIONS)
    table = pa.table({"id": [id_ for id_, _ in rows], "text": [text for _, text in rows]})
    del rows
    with workbench() as connection:
        connection.register("captions", table)
        found = nearest_by_text(connection, "captions", K).order("id").limit(CHECKED).fetchall()
    answer.write_text(json.dumps({id_: scores for id_, _, scores in found}))


def scikit_learn(answer: Path) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.neighbors import NearestNeighbors

    rows = captions(CAPTIONS)
    vectors = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+").fit_transform(
        text for _, text in rows
    )
    search = NearestNeighbors(n_neighbors=K + 1, metric="cosine", algorithm="brute").fit(vectors)
    found = {}
    for start in range(0, CAPTIONS, 1_000):
        distances, _ = search.kneighbors(vectors[start : start + 1_000])
        for (id_, _), row in zip(rows[start : start + 1_000], distances, strict=True):
            found[id_] = [1 - float(distance) for distance in row[1:]]
    answer.write_text(json.dumps(dict(list(found.items())[:CHECKED])))


def nothing(answer: Path) -> None:
    captions(CAPTIONS)


def main() -> None:
    out, answers = [], {}
    with tempfile.TemporaryDirectory() as folder:
        base = measure([sys.executable, __file__, "nothing", "-"])
        for name in ("ours", "scikit-learn"):
            if name != "ours":
                try:
                    import sklearn  # noqa: F401
                except ImportError:
                    break
            path = Path(folder) / f"{name}.json"
            run = measure([sys.executable, __file__, name, str(path)])
            answers[name] = json.loads(path.read_text())
            row = {
                "what": name,
                "captions": CAPTIONS,
                "seconds": round(run.wall - base.wall, 1),
                "cpu_seconds": round(run.cpu - base.cpu, 1),
                "peak_mb": round(run.peak_mb),
            }
            out.append(row)
    if len(answers) == 2:
        mine, theirs = answers["ours"], answers["scikit-learn"]
        hits = sum(
            abs(a - b) < 1e-5
            for id_ in theirs
            for a, b in zip(mine[id_], theirs[id_], strict=False)
        )
        # Not by rank: one missed neighbour must not make all after it count as missed.
        least = sum(sum(score >= theirs[id_][-1] - 1e-5 for score in mine[id_]) for id_ in theirs)
        out[0]["recall"] = round(least / (CHECKED * K), 4)
        out[0]["same_rank"] = round(hits / (CHECKED * K), 4)
        out[1]["recall"] = out[1]["same_rank"] = 1.0
    save("similar", out)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        sys.path.insert(0, str(Path(__file__).parent.parent))
        task = {"ours": ours, "scikit-learn": scikit_learn, "nothing": nothing}[sys.argv[1]]
        task(Path(sys.argv[2]))
