"""SQL that somebody typed: run in a child process that can only read.

DuckDB cannot interrupt every query, and cannot bound all of its memory. So a query runs in a process of its own: the catalog
read-only, locked down and the statement checked (`mimicit.sandbox`), limits of the operating system on memory and processor
time, few variables of the environment, and a kill when it overruns. It writes its result to its standard output as it computes it.

Beside the catalog's tables a query finds

    image_data(id, image)   the pictures as they were given, as BLOB
    image_path(id)          where a picture lies: `SHARD:OFFSET:LENGTH`; with `extract`, a file of its own
    mine.…                  tables that the user made with `write`: `user.duckdb`, which `rebuild` leaves alone

Pictures are read by Python, from this dataset's shards only, so DuckDB itself opens no file but its databases.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mimicit import catalog
from mimicit.errors import MimicitError, QueryError
from mimicit.parts import parts_of
from mimicit.sandbox import check, lock_down
from mimicit.sql_results import Format, write_result

if TYPE_CHECKING:
    import duckdb
    import pyarrow

TIMEOUT = 300.0
MEMORY_MB = 2_048
USER_DATABASE = "user.duckdb"
MAX_PICTURE = 512 << 20
"""Bytes of one picture."""
_PROCESS_MB = 6_144
"""Address space above DuckDB's own limit: threads, libraries and Arrow buffers are mapped, not all used."""
_PATIENCE = 10.0
_ENVIRONMENT = frozenset(
    {
        "PATH",
        "PYTHONPATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "SYSTEMROOT",
    }
)
"""Variables that the child gets: no key is among them."""
_SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/gif": ".gif"}
_EXTRACTED = re.compile(r"([0-9a-f]{64})\.(?:jpg|png|webp|gif|img)")


def format_for(name: str | None, output: Path | None) -> Format:
    """Return the format of a result: the one that is named, else that of the file's name, else a table.

    Raises:
        QueryError: there is no such format.
    """
    formats: tuple[Format, ...] = ("table", "json", "csv", "parquet")
    suffix = output.suffix[1:].lower() if output else ""
    for format in formats:
        if format == (name or suffix):
            return format
    if name:
        raise QueryError(f"{name!r} is none of {', '.join(formats)}")
    return "table"


def run_sql(
    query: str,
    database: Path,
    *,
    format: Format = "table",
    output: IO[bytes] | None = None,
    timeout: float = TIMEOUT,
    memory_mb: int = MEMORY_MB,
    write: bool = False,
    extract: Path | None = None,
) -> None:
    """Run one reading statement on a catalog and write its result.

    Args:
        query: One SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN statement.
        database: The file `catalog.duckdb`.
        format: As what.
        output: Where the result goes; standard output by default.
        timeout: Seconds before the child is killed.
        memory_mb: DuckDB's memory.
        write: The statement may also make, fill, change and drop tables of the schema `mine`.
        extract: A folder for the pictures that `image_path()` names in the result.

    Raises:
        QueryError: the statement is wrong or refused, or it overran its limits.
    """
    if extract:
        extract.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="syphus-sql-") as spill:
        job = {
            "query": query,
            "catalog": str(database.resolve()),
            "format": format,
            "memory_mb": memory_mb,
            "timeout": timeout,
            "columns": _terminal_columns(),
            "write": write,
            "extract": str(extract.resolve()) if extract else None,
            "spill": spill,
        }
        code, errors = _run_child(job, output, timeout)
    if code == 1:
        raise QueryError(errors.strip())
    if code != 0:
        raise QueryError(
            "the query was stopped: it went past its limits of memory or processor time "
            f"({memory_mb} MB, {timeout:g} s); give it more with --memory or --timeout"
        )


def _run_child(job: dict[str, Any], output: IO[bytes] | None, timeout: float) -> tuple[int, str]:
    child = subprocess.Popen(
        [sys.executable, "-m", "mimicit.sql"],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=Path(__file__).parent.parent,
        env={name: value for name, value in os.environ.items() if name in _ENVIRONMENT},
    )
    try:
        _, errors = child.communicate(json.dumps(job), timeout=timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise QueryError(
            f"the query took more than {timeout:g} s and was stopped; give it more with --timeout"
        ) from None
    except BaseException:
        child.kill()
        child.communicate()
        raise
    return child.returncode, errors


def _terminal_columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 200


# The child


def _child() -> int:
    import duckdb

    job: dict[str, Any] = json.load(sys.stdin)
    _limit(job["memory_mb"], job["timeout"])
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        with catalog.connect(Path(job["catalog"]), read_only=True) as connection:
            _run(connection, job)
    except MimicitError as error:
        sys.stderr.write(str(error))
        return 1
    except duckdb.OutOfMemoryException:
        sys.stderr.write(
            f"the query needs more than {job['memory_mb']} MB; give it more with --memory"
        )
        return 1
    except duckdb.Error as error:
        sys.stderr.write(_sentence(error))
        return 1
    except MemoryError:
        return 137
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _limit(memory_mb: int, seconds: float) -> None:
    try:
        import resource
    except ImportError:  # not on Windows; the parent's timeout and DuckDB's limit remain
        return
    space = (memory_mb + _PROCESS_MB) << 20
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    cpu = int(seconds * (os.cpu_count() or 1)) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _run(connection: duckdb.DuckDBPyConnection, job: dict[str, Any]) -> None:
    query, write = job["query"], job["write"]
    folder = Path(job["catalog"]).parent
    kind = check(connection, query, write=write)
    connection.execute(f"SET temp_directory = {quoted(job['spill'])}")
    _attach_mine(connection, folder / USER_DATABASE, query, write=write)
    extract = Path(job["extract"]) if job["extract"] else None
    _show_pictures(connection, folder, extract, limit=job["memory_mb"] << 19)
    lock_down(connection, memory_limit=f"{job['memory_mb']}MB")
    if kind == "EXPLAIN":
        for _, plan in connection.execute(query).fetchall():
            sys.stdout.write(plan)
    elif kind == "SELECT":
        with _extracting(connection, folder, extract) as seen:
            sink = sys.stdout.buffer
            relation = connection.sql(query)
            write_result(relation, job["format"], sink, columns=job["columns"], seen=seen)
    else:
        _change(connection, query, job["format"])


def _change(connection: duckdb.DuckDBPyConnection, query: str, format: Format) -> None:
    import duckdb

    try:
        rows = connection.execute(query).fetchall()
    except duckdb.InvalidInputException as error:
        if "read-only" not in str(error):
            raise
        raise QueryError(
            "the dataset's own tables follow its files and cannot be changed; "
            "name a table of your own, as in CREATE TABLE mine.good AS SELECT …"
        ) from None
    if format == "table":
        sys.stdout.write(
            f"{rows[0][0]:,} rows\n" if rows and isinstance(rows[0][0], int) else "done\n"
        )


def _attach_mine(
    connection: duckdb.DuckDBPyConnection, path: Path, query: str, *, write: bool
) -> None:
    """Attach the user's tables, if they are wanted: while somebody writes to them, others need not wait for nothing."""
    if not write and not (path.exists() and re.search(r"\bmine\b", query, re.IGNORECASE)):
        return
    mode = f"STORAGE_VERSION '{catalog.STORAGE_VERSION}'" if write else "READ_ONLY"
    catalog.attach(connection, path, mode, _PATIENCE, name="mine")


# Pictures


def _show_pictures(
    connection: duckdb.DuckDBPyConnection, folder: Path, extract: Path | None, *, limit: int
) -> None:
    """Make the view `image_data` and the macro `image_path`, for this connection."""
    import pyarrow as pa
    from duckdb import sqltypes

    shards = {f"images/{path.name}": path for path in parts_of(folder / "images")}

    def read(shard: Any, offset: Any, length: Any) -> Any:
        lengths = length.to_pylist()
        if sum(filter(None, lengths)) > limit:
            raise ValueError(
                f"these {len(lengths):,} pictures do not fit into memory at once; select fewer, or give more with --memory"
            )
        where = zip(shard.to_pylist(), offset.to_pylist(), lengths, strict=True)
        return pa.array([_read(shards, *place) for place in where], pa.binary())

    text, number = sqltypes.VARCHAR, sqltypes.BIGINT
    connection.create_function(
        "_picture",
        read,
        [text, number, number],
        sqltypes.BLOB,
        type="arrow",
        null_handling="special",
    )  # type: ignore[call-overload, unused-ignore]
    connection.execute(
        'CREATE TEMP VIEW image_data AS SELECT id, _picture(shard, "offset", length) AS image FROM catalog.images'
    )
    connection.execute(
        f"CREATE TEMP MACRO image_path(picture) AS (SELECT min({_path(folder, extract)}) "
        "FROM catalog.images WHERE images.id = picture)"
    )


def _path(folder: Path, extract: Path | None) -> str:
    """Return the SQL of where a picture lies."""
    if extract is None:
        return f"{quoted(f'{folder}/')} || shard || ':' || \"offset\" || ':' || length"
    suffixes = " ".join(f"WHEN '{mime}' THEN '{suffix}'" for mime, suffix in _SUFFIXES.items())
    return f"{quoted(f'{extract}/')} || sha256 || CASE mime {suffixes} ELSE '.img' END"


def _read(
    shards: dict[str, Path], shard: str | None, offset: int | None, length: int | None
) -> bytes | None:
    if shard is None or offset is None or length is None:
        return None
    path = shards.get(shard)
    if path is None or offset < 0 or not 0 <= length <= MAX_PICTURE:
        raise ValueError(f"there is no picture at {shard}:{offset}:{length}")
    with path.open("rb") as file:
        data = os.pread(file.fileno(), length, offset)
    if len(data) != length:
        raise ValueError(f"{shard!r} ends before byte {offset + length}")
    return data


@contextmanager
def _extracting(
    connection: duckdb.DuckDBPyConnection, folder: Path, extract: Path | None
) -> Iterator[Any]:
    """Give what writes the pictures that a result names as files of their own."""
    if extract is None:
        yield None
        return
    from mimicit.formats.files import staged

    cursor = connection.cursor()
    shards = {f"images/{path.name}": path for path in parts_of(folder / "images")}

    def seen(batch: pyarrow.RecordBatch) -> None:
        names = {name for name in _named(batch, f"{extract}/") if not (extract / name).exists()}
        hashes = {name[:64]: name for name in names}
        if not hashes:
            return
        places = cursor.execute(
            'SELECT sha256, any_value({s: shard, o: "offset", l: length}) FROM catalog.images '
            "WHERE list_contains($1, sha256) GROUP BY sha256",
            [list(hashes)],
        ).fetchall()
        for sha256, place in places:
            data = _read(shards, place["s"], place["o"], place["l"])
            with staged(extract / hashes[sha256]) as file:
                file.write(data or b"")

    yield seen
    cursor.close()


def _named(batch: pyarrow.RecordBatch, start: str) -> Iterator[str]:
    """Yield the names of extracted files in a result's columns of text."""
    import pyarrow as pa

    for column in batch.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            for value in column.to_pylist():
                if value and value.startswith(start) and _EXTRACTED.fullmatch(value, len(start)):
                    yield value[len(start) :]


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _sentence(error: Exception) -> str:
    """Keep DuckDB's message with its suggestion, without the pointer into the query."""
    lines = [
        line for line in str(error).splitlines() if line.strip() and not line.startswith("LINE ")
    ]
    return " ".join(line.strip() for line in lines if line.strip() != "^")


if __name__ == "__main__":
    sys.exit(_child())
