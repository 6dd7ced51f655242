"""Which text parts are known to have been gone through whole, so that nobody compares a million ids to find ten that are new.

`seen.json` lies beside the answers that it speaks of, with their names: where an answer is gone, or a text part is not what it was, ids
are compared after all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit.curate.base import quoted
from mimicit.formats.files import staged
from mimicit.parts import parts_of
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb

_NAME = "seen.json"


def new_rows(
    connection: duckdb.DuckDBPyConnection, store: Store, folder: Path, answers: str, id_: str
) -> int:
    """Have the table `new_rows`: the records that some answers do not know; return how many there are.

    Only ids are looked at, and only those of parts that are not known to have been seen: texts are read of new records alone.

    Args:
        connection: Has the catalog, which is in step with the parts, and `answers`.
        store: The dataset.
        folder: Where the answers are.
        answers: The table of them.
        id_: Its column of ids.
    """
    unseen = _unseen(store, folder)
    where = f"WHERE part IN ({', '.join(map(quoted, unseen))})" if unseen else "WHERE false"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE new_rows AS SELECT i._row FROM "
        f"(SELECT rowid AS _row, id FROM instructions {where}) AS i "
        f"ANTI JOIN {answers} AS s ON s.{id_} = i.id"
    )
    [(count,)] = connection.execute("SELECT count(*) FROM new_rows").fetchall()
    return int(count)


def blocks(
    connection: duckdb.DuckDBPyConnection, rows: int, place: str = "rowid"
) -> list[tuple[str, int]]:
    """Cut `new_rows` into blocks of so many records: a condition on the column of their places, and how many they are."""
    found = connection.execute(
        "SELECT min(_row), max(_row), count(*) FROM "
        f"(SELECT _row, (row_number() OVER (ORDER BY _row) - 1) // {rows:d} AS block FROM new_rows) "
        "GROUP BY block ORDER BY block"
    ).fetchall()
    cut = []
    for first, last, count in found:
        within = f"BETWEEN {first} AND {last}"
        where = f"{place} {within}"
        if last - first + 1 > count:
            where += f" AND {place} IN (SELECT _row FROM new_rows WHERE _row {within})"
        cut.append((where, count))
    return cut


def note(store: Store, folder: Path) -> None:
    """Note that all records were gone through."""
    if not folder.is_dir() or not _unseen(store, folder):
        return
    said = {"answers": _names(folder), "texts": _texts(store)}
    with staged(folder / _NAME) as file:
        file.write(json.dumps(said).encode())


def _unseen(store: Store, folder: Path) -> list[str]:
    """Return the text parts that may hold something new, as the catalog calls them."""
    try:
        said: Any = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        known = said["texts"] if said["answers"] == _names(folder) else {}
    except (OSError, ValueError, KeyError, TypeError):
        known = {}
    return [part for part, size in _texts(store).items() if known.get(part) != size]


def _names(folder: Path) -> list[str]:
    return [path.name for path in parts_of(folder)]


def _texts(store: Store) -> dict[str, int]:
    return {f"text/{path.name}": path.stat().st_size for path in parts_of(store.path / "text")}
