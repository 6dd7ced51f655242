"""Files of steps, `training/NAME.jsonl` of a dataset folder, in the catalog: of a file that has grown only the new lines are read.

A training run adds a line a step (`trainer.steps`), so its file may have a million lines when somebody asks in the middle. The
catalog notes of each file up to which byte it has it, and a hash of what stands before that byte:

    training/demo-4275bfc0633e.jsonl:54463:9c1185a5c5e9fc54

Where these bytes are still the same, the file has only grown; else it is another one, and read anew. A line that is not ended is
not yet one.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mimicit.catalog_tables import STEPS, TRAINING
from mimicit.errors import DatasetError

if TYPE_CHECKING:
    import duckdb

MARKED = 4096
"""Bytes that are hashed."""
BLOCK = 1 << 16
TABLE = "_steps"

_NEW = "CREATE OR REPLACE TEMP TABLE new_steps AS {steps}"
_DISPLACED = """
DELETE FROM _steps USING (SELECT run, min(step) AS step FROM new_steps GROUP BY run) AS new
WHERE _steps.part = $part AND _steps.run = new.run AND _steps.step >= new.step
"""
_ADDED = "INSERT INTO _steps BY NAME SELECT *, $part AS part FROM new_steps"


class Read(NamedTuple):
    """What a catalog has of a file."""

    name: str
    """Its path below the dataset folder."""
    end: int
    """Bytes."""
    mark: str

    def __str__(self) -> str:
        return ":".join(map(str, self))

    @classmethod
    def of(cls, part: str) -> Read:
        """Take it from what the catalog notes."""
        name, end, mark = part.rsplit(":", 2)
        return cls(name, int(end), mark)

    def stands(self, folder: Path) -> bool:
        """Say whether the file still begins with what was read."""
        with suppress(OSError), (folder / self.name).open("rb") as file:
            return _mark(file.fileno(), self.end) == self.mark
        return False


def on_disk(folder: Path) -> Iterator[str]:
    """Yield what there is to read of each file."""
    for path in (folder / TRAINING).glob("*.jsonl"):
        with suppress(FileNotFoundError), path.open("rb") as file:
            end = _last_line(file.fileno())
            yield str(Read(f"{TRAINING}/{path.name}", end, _mark(file.fileno(), end)))


def follow(
    connection: duckdb.DuckDBPyConnection, folder: Path, gone: Set[str], new: Set[str]
) -> None:
    """Bring the catalog's steps up to date, within a transaction.

    Args:
        connection: To the catalog.
        folder: The dataset folder.
        gone: What it notes, and is no longer so.
        new: What is there, and it does not note.
    """
    before = {one.name: one for one in map(Read.of, gone)}
    for one in sorted(map(Read.of, new)):
        known = before.pop(one.name, None)
        start = known.end if known and known.end <= one.end and known.stands(folder) else 0
        if known:
            _forget(connection, known, rows=not start)
        _add(connection, folder, one, start)
    for known in before.values():
        _forget(connection, known, rows=True)


def _forget(connection: duckdb.DuckDBPyConnection, known: Read, *, rows: bool) -> None:
    connection.execute(
        """DELETE FROM _parts WHERE "table" = $table AND part = $part""",
        {"table": TABLE, "part": str(known)},
    )
    if rows:
        connection.execute("DELETE FROM _steps WHERE part = $part", {"part": known.name})


def _add(connection: duckdb.DuckDBPyConnection, folder: Path, one: Read, start: int) -> None:
    import duckdb

    try:
        with _from(folder / one.name, start, one.end) as path:
            quoted = "'" + str(path).replace("'", "''") + "'"
            connection.execute(_NEW.format(steps=STEPS.format(file=quoted)))
    except duckdb.OutOfMemoryException:
        raise
    except (duckdb.Error, OSError) as error:
        raise DatasetError(
            f"{str(folder / one.name)!r} cannot be read ({str(error).splitlines()[0]}); "
            "restore it, or move it away to go on without it"
        ) from None
    if start:
        connection.execute(_DISPLACED, {"part": one.name})
    connection.execute(_ADDED, {"part": one.name})
    connection.execute("DROP TABLE new_steps")
    connection.execute("INSERT INTO _parts VALUES (?, ?)", [TABLE, str(one)])


@contextmanager
def _from(path: Path, start: int, end: int) -> Iterator[Path]:
    """Give a file that begins at a byte of another one. What follows the end may be in it: steps that are read again say the same."""
    if not start:
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="steps-", suffix=".jsonl") as part:
        with path.open("rb") as file:
            file.seek(start)
            left = end - start
            while block := file.read(min(left, BLOCK)):
                part.write(block)
                left -= len(block)
        part.flush()
        yield Path(part.name)


def _last_line(file: int) -> int:
    """Return behind which byte a file's last whole line ends."""
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - BLOCK)
        if (at := os.pread(file, end - start, start).rfind(b"\n")) >= 0:
            return start + at + 1
        end = start
    return 0


def _mark(file: int, end: int) -> str:
    start = max(0, end - MARKED)
    return hashlib.blake2b(os.pread(file, end - start, start), digest_size=8).hexdigest()
