"""Ask a filter about texts that are at hand, without a dataset."""

import duckdb

from mimicit.curate.base import Sql

COLUMNS = "id VARCHAR, instruction VARCHAR, answer VARCHAR, language VARCHAR, source VARCHAR, meta VARCHAR"


def said(made, rows, more="") -> list[str | None]:
    """Return what a filter says of each row, a mapping of columns."""
    reason = made.reason if isinstance(made, Sql) else made
    score = made.score if isinstance(made, Sql) else "NULL"
    names = [one.split()[0] for one in (COLUMNS + more).split(", ")]
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t ({COLUMNS}{more})")
        marks = ", ".join("?" for _ in names)
        for n, row in enumerate(rows):
            whole = {"id": f"{n:05d}", "instruction": "What is here?", "language": "en"} | row
            connection.execute(
                f"INSERT INTO t VALUES ({marks})", [whole.get(name) for name in names]
            )
        found = connection.execute(
            f"SELECT {reason}, CAST({score} AS DOUBLE) FROM t ORDER BY id"
        ).fetchall()
    return [reason for reason, _ in found]


def check(made, *, bad, good):
    """Find that all that is bad is dropped, and nothing that is good."""
    rows = [row if isinstance(row, dict) else {"answer": row} for row in (*bad, *good)]
    reasons = said(made, rows)
    missed = [row for row, why in zip(rows[: len(bad)], reasons, strict=False) if why is None]
    wrong = [(row, why) for row, why in list(zip(rows, reasons, strict=True))[len(bad) :] if why]
    assert not missed, f"let through: {missed}"
    assert not wrong, f"dropped: {wrong}"
