"""SQL that somebody typed: run in a child process that can only read.

DuckDB cannot interrupt every query, and cannot bound all of its memory. So a query runs in a process of its own: the catalog
read-only, locked down (`mimicit.sandbox`), one statement that only reads, limits of the operating system on memory and processor
time, and a kill when it overruns. The child writes its result to its standard output as it computes it.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from mimicit import catalog
from mimicit.errors import MimicitError, QueryError
from mimicit.sandbox import lock_down

if TYPE_CHECKING:
    import duckdb

Format = Literal["table", "json", "csv", "parquet"]

TIMEOUT = 300.0
MEMORY_MB = 2_048
_PROCESS_MB = 6_144
"""Address space above DuckDB's own limit: threads, libraries and Arrow buffers are mapped, not all used."""
_READS = ("SELECT", "EXPLAIN")
_BATCH = 10_000


def run_sql(
    query: str,
    database: Path,
    *,
    format: Format = "table",
    output: IO[bytes] | None = None,
    timeout: float = TIMEOUT,
    memory_mb: int = MEMORY_MB,
) -> None:
    """Run one reading statement on a catalog and write its result.

    Args:
        query: One SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN statement.
        database: The file `catalog.duckdb`.
        format: `parquet` needs an `output` that is a file.
        output: Where the result goes; standard output by default.
        timeout: Seconds before the child is killed.
        memory_mb: DuckDB's memory.

    Raises:
        QueryError: the statement is wrong or refused, or it overran its limits.
    """
    job = {
        "query": query,
        "catalog": str(database.resolve()),
        "format": format,
        "memory_mb": memory_mb,
        "timeout": timeout,
        "columns": _terminal_columns(),
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "mimicit.sql"],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
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
        raise
    if child.returncode == 1:
        raise QueryError(errors.strip())
    if child.returncode != 0:
        raise QueryError(
            "the query was stopped: it went past its limits of memory or processor time "
            f"({memory_mb} MB, {timeout:g} s); give it more with --memory or --timeout"
        )


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
    try:
        with catalog.connect(Path(job["catalog"]), read_only=True) as connection:
            lock_down(connection, memory_limit=f"{job['memory_mb']}MB")
            if _check(connection, job["query"]) == "EXPLAIN":
                for _, plan in connection.execute(job["query"]).fetchall():
                    sys.stdout.write(plan)
            else:
                _write(connection.sql(job["query"]), job["format"], job["columns"])
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


def _check(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    statements = connection.extract_statements(query)
    if len(statements) != 1:
        raise QueryError(f"give one statement, not {len(statements)}")
    kind: str = statements[0].type.name
    if kind not in _READS:
        raise QueryError(
            f"a statement of kind {kind} may change something; only SELECT, WITH, FROM, DESCRIBE, "
            "SUMMARIZE, SHOW and EXPLAIN are allowed here"
        )
    return kind


def _write(relation: duckdb.DuckDBPyRelation, format: Format, columns: int) -> None:
    if format == "table":
        relation.show(max_width=columns, max_rows=200)
        return
    reader = relation.to_arrow_reader(_BATCH)
    sink = sys.stdout.buffer
    if format == "csv":
        _write_csv(reader, sink)
    elif format == "parquet":
        import pyarrow.parquet as pq

        with pq.ParquetWriter(sink, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
    else:
        _write_json(reader, sink)
    sink.flush()


def _write_csv(reader: Any, sink: IO[bytes]) -> None:
    """Write nested values as JSON, for CSV has none."""
    text = io.TextIOWrapper(sink, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(reader.schema.names)
    for batch in reader:
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            writer.writerow(map(_cell, row))
    text.detach()


def _write_json(reader: Any, sink: IO[bytes]) -> None:
    import orjson

    between = b"["
    for batch in reader:
        for row in batch.to_pylist():
            sink.write(between + orjson.dumps(row, default=_plain))
            between = b",\n "
    sink.write(b"]\n" if between != b"[" else b"[]\n")


def _cell(value: object) -> object:
    import orjson

    if isinstance(value, bool):
        return str(value).lower()
    return orjson.dumps(value, default=_plain).decode() if isinstance(value, list | dict) else value


def _plain(value: object) -> object:
    """Turn what JSON does not know into what it knows: whole sums stay numbers, bytes become base64."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def _sentence(error: Exception) -> str:
    """Keep DuckDB's message with its suggestion, without the pointer into the query."""
    lines = [
        line for line in str(error).splitlines() if line.strip() and not line.startswith("LINE ")
    ]
    return " ".join(line.strip() for line in lines if line.strip() != "^")


if __name__ == "__main__":
    sys.exit(_child())
