"""`syphus data open`."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer

from mimicit.commands.options import Dataset, Json, as_text


def open_(
    dataset: Dataset,
    json: Json = False,
) -> None:
    """Bring the catalog up to date, and print what opens it in the `duckdb` program and in Python.

    Both open it for reading. Close them before the dataset is written to: DuckDB lets one process write, or many read.

    Example:

        syphus data open -d demo
    """
    from mimicit.store import Store

    store = Store.open(dataset)
    store.refresh()
    catalog = store.catalog_path.resolve()
    setup = _setup(catalog.parent)
    lines = {
        "duckdb": shlex.join(["duckdb", "-readonly", "-cmd", setup, str(catalog)]),
        "python": f"import duckdb; data = duckdb.connect({str(catalog)!r}, read_only=True); data.execute({setup!r})",
    }
    if json:
        typer.echo(as_text(lines))
    else:
        typer.echo("\n".join(lines.values()))


def _setup(folder: Path) -> str:
    """Return the SQL that adds what is not in the catalog: the pictures, and the user's own tables."""
    from mimicit.parts import parts_of
    from mimicit.sql import USER_DATABASE, quoted

    shards = ", ".join(quoted(str(path)) for path in parts_of(folder / "images"))
    pictures = (
        f"SELECT id, image FROM read_parquet([{shards}])"
        if shards
        else "SELECT NULL::VARCHAR AS id, NULL::BLOB AS image WHERE false"
    )
    statements = [f"CREATE TEMP VIEW image_data AS {pictures}"]
    if (mine := folder / USER_DATABASE).exists():
        statements.append(f"ATTACH {quoted(str(mine))} AS mine (READ_ONLY)")
    return "; ".join(statements)
