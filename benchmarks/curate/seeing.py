"""`syphus data stats` and `syphus data sample` on a large dataset: seconds and memory of the whole command.

Records have 4 tasks in 8 languages, answers of about 180 characters, one to eight pictures (named, not there); a tenth is rejected, and two
judges have each judged about a third. Nobody else offers the same, so there is nobody beside.

    python benchmarks/curate/seeing.py [--quick]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from common import measure, middle, save  # noqa: E402

_RECORDS = """
SELECT printf('T%d_INS_%08d', n % 4, n) AS id, printf('task_%d', n % 4) AS task,
       printf('What is thing %d doing beside the %s?', n, w[1 + n % 64]) AS instruction,
       array_to_string(list_transform(range(12 + n % 40), lambda k: w[1 + CAST(hash(n * 64 + k) % 64 AS INTEGER)]), ' ') || '.' AS answer,
       list_transform(range(1 + n % 8), lambda k: printf('IMG_%08d', (n + k) // 3)) AS image_ids,
       []::VARCHAR[] AS rel_ins_ids, ['en','zh','ja','de','fr','es','ko','ar'][1 + n // 4 % 8] AS language,
       printf('file.json#%d', n) AS source, NULL::VARCHAR AS request, NULL::BIGINT AS reply, NULL::VARCHAR AS translation_of,
       NULL::VARCHAR AS conversation, NULL::INTEGER AS turn, NULL::VARCHAR AS rejected, NULL::VARCHAR AS meta
FROM range({count}) AS r(n), (SELECT list_transform(range(64), lambda k: left(md5(k::VARCHAR), 2 + k % 7)) AS w)"""
_VERDICTS = """
SELECT printf('T%d_INS_%08d', n % 4, n) AS record, 'too_short' AS filter, 'why' AS reason, 'starter' AS recipe,
       'd' AS recipe_digest, make_timestamptz(0) AS time, NULL::DOUBLE AS score, true AS rejects
FROM range({count}) AS r(n) WHERE n % 10 = 3 UNION ALL
SELECT printf('T%d_INS_%08d', n % 4, n), 'judge',
       printf('grounded %d, answerable %d, correct %d, useful %d', 1 + hash(n) % 5, 1 + n % 5, 4, 1 + hash(n + k) % 5),
       printf('judge:model_%d', k), 'd', make_timestamptz(0), (1 + hash(n) % 5 + 1 + n % 5 + 4 + 1 + hash(n + k) % 5) / 4, hash(n + k) % 7 = 0
FROM range({count}) AS r(n), range(2) AS s(k) WHERE (n + k) % 3 < 2"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records, one round")
    parser.add_argument("--keep", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        folder, count = options.write
        write(Path(folder), int(count))
        return
    count, rounds = (50_000, 1) if options.quick else (1_000_000, 3)
    with tempfile.TemporaryDirectory(prefix="seeing-") as folder:
        dataset = options.keep or Path(folder) / "ds"
        if not dataset.exists():
            # In a process of its own: what a child's peak begins with is that of its parent.
            measure([sys.executable, __file__, "--write", str(dataset), str(count)])
        syphus = [sys.executable, "-c", "from syphus.cli import main; main()", "data"]
        at = ["-d", str(dataset)]
        commands = {
            "stats": ["stats", *at],
            "sample": ["sample", *at, "-n", "5"],
            "sample --rejected": ["sample", *at, "--rejected"],
            "sample --where": [
                "sample",
                *at,
                "--where",
                "task = 'task_1' AND length(answer) > 150",
            ],
        }
        table: list[dict[str, object]] = []
        for name, arguments in commands.items():
            run = middle([measure([*syphus, *arguments]) for _ in range(rounds)])
            rounded = {"wall_s": round(run.wall, 2), "cpu_s": round(run.cpu, 2)}
            table.append(
                {"command": name, "records": count, **rounded, "peak_mb": round(run.peak_mb)}
            )
    save("curate_seeing", table)


def write(dataset: Path, count: int) -> None:
    """Make the dataset."""
    import duckdb

    from mimicit.schema import text_schema, verdict_schema
    from mimicit.store import Store

    store = Store.open(dataset, create=True)
    with store.writing("benchmark"), duckdb.connect() as connection:
        for folder, letter, query, schema in (
            ("text", "p", _RECORDS, text_schema()),
            ("verdicts", "v", _VERDICTS, verdict_schema()),
        ):
            rows = connection.sql(query.format(count=count)).to_arrow_table()
            store.write_part(folder, letter, rows.cast(schema))
        store.sync()


if __name__ == "__main__":
    main()
