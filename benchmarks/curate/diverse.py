"""Diversity sampling (k-centre greedy): how well it covers, beside chance; what it costs, beside the same greedy choice written plainly.

*Coverage*: how near each record is to the nearest one that stays (cosine), at the least and on average. Records are captions: a Flickr8k token file
(`name#0 <tab> caption`) or one caption a line with `--captions`, else those of `examples/photos` and of this project's tests. Chance is the mean of ten draws.

*Cost*: processor time and memory over vectors of 384 numbers around 2,000 middles. The plain choice holds all vectors as float32 and compares all of
them with each one that is taken.

    python benchmarks/curate/diverse.py [--quick] [--captions FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent), str(ROOT)]

from common import measure, save  # noqa: E402

Row = dict[str, object]
DRAWS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records")
    parser.add_argument("--captions", type=Path, help="a caption a line")
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        name, count, wanted, out = options.client
        client(name, int(count), int(wanted), Path(out))
        return
    save("curate_diverse", coverage(captions(options.captions)))
    sets = (
        [(10_000, 500)] if options.quick else [(20_000, 2_000), (100_000, 2_000), (100_000, 10_000)]
    )
    save("curate_diverse_cost", [cost(name, *one) for one in sets for name in ("plain", "diverse")])


def captions(path: Path | None) -> list[str]:
    if path:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [line.rpartition("\t")[2].strip() for line in lines]
    from tests.mimicit.curate.meant import contradictions, paraphrases

    shown = json.loads((ROOT / "examples/photos/annotations.json").read_text())["annotations"]
    said = [one["caption"] for one in shown if "caption" in one]
    return said + [side[1] for pair in [*paraphrases(), *contradictions()] for side in pair]


def coverage(texts: list[str]) -> list[Row]:
    import numpy as np

    from mimicit.curate.filters.diverse import farthest_first
    from mimicit.curate.meaning.vectors import packed, unit
    from mimicit.embed import embed_texts

    vectors = packed(np.array(list(embed_texts(texts)), np.float32))
    rows, rng = unit(vectors), np.random.default_rng(0)
    found: list[Row] = []
    for share in (0.02, 0.05, 0.1, 0.25):
        wanted = max(2, round(share * len(texts)))
        near = farthest_first(vectors, np.ones(len(texts), int), wanted).likeness
        drawn = [
            (rows @ rows[rng.choice(len(texts), wanted, replace=False)].T).max(axis=1)
            for _ in range(DRAWS)
        ]
        for name, least, mean in (
            ("diverse", near.min(), near.mean()),
            (
                "chance",
                np.mean([one.min() for one in drawn]),
                np.mean([one.mean() for one in drawn]),
            ),
        ):
            found.append(
                {
                    "choice": name,
                    "captions": len(texts),
                    "kept": wanted,
                    "least_alike": round(float(least), 3),
                    "mean_alike": round(float(mean), 3),
                }
            )
    return found


def cost(name: str, count: int, wanted: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="diverse-") as folder:
        out = Path(folder) / "said.json"
        command = [sys.executable, __file__, "--client", name, str(count), str(wanted), str(out)]
        run = measure(command)
        said = json.loads(out.read_text())
    return {
        "choice": name,
        "vectors": count,
        "kept": wanted,
        "cpu_s": round(said["cpu_s"], 2),
        "peak_mb": round(run.peak_mb),
        "least_alike": round(said["least"], 4),
    }


def client(name: str, count: int, wanted: int, out: Path) -> None:
    import numpy as np

    from mimicit.curate.filters.diverse import farthest_first
    from mimicit.curate.meaning.vectors import unit

    vectors = clouds(count)
    begun = time.process_time()
    if name == "diverse":
        least = float(farthest_first(vectors, np.ones(count, int), wanted).likeness.min())
    else:
        least = plain(unit(vectors), wanted)
    out.write_text(json.dumps({"cpu_s": time.process_time() - begun, "least": least}))


def clouds(count: int) -> Any:
    import numpy as np

    from mimicit.curate.meaning.vectors import packed

    rng = np.random.default_rng(0)
    middles = rng.normal(size=(2_000, 384)).astype("f4")
    parts = [
        packed(
            middles[rng.integers(0, 2_000, end - at)]
            + 0.6 * rng.normal(size=(end - at, 384)).astype("f4")
        )
        for at, end in ((at, min(at + 10_000, count)) for at in range(0, count, 10_000))
    ]
    return np.concatenate(parts)


def plain(rows: Any, wanted: int) -> float:
    """Choose the farthest each time, as it is written in books."""
    import numpy as np

    order = [int((rows @ rows.sum(axis=0)).argmax())]
    like = rows @ rows[order[0]]
    for _ in range(wanted - 1):
        like[order[-1]] = np.inf
        order.append(int(like.argmin()))
        np.maximum(like, rows @ rows[order[-1]], out=like)
    return float(np.minimum(like, 1).min())


if __name__ == "__main__":
    main()
