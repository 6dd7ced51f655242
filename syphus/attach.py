"""What people annotated, put beside pictures that a dataset holds already.

An imported dataset has no annotations; with them curation can tell what an answer makes up (docs/grounding.md), and the review
room can draw boxes. Pictures are found by their names, which formats write into ids in ways of their own:

    COCO_val2014_000000039769.jpg    the whole id · the id without LA_IMG_ or the like · the file that the picture came from
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mimicit.columns import as_column
from mimicit.schema import Annotation
from mimicit.store import Store
from syphus.annotations.context import Context, Problem
from syphus.annotations.kept import annotations_of

if TYPE_CHECKING:
    import duckdb

BLOCK = 8_192
"""Contexts whose pictures are looked up at once."""
LISTED = 20


@dataclass
class Attached:
    annotations: int = 0
    pictures: int = 0
    """That the annotations name and the dataset holds."""
    missing: int = 0
    """Pictures that the dataset does not hold."""
    missing_examples: list[str] = field(default_factory=list)
    unread: list[Problem] = field(default_factory=list)
    unread_count: int = 0
    without_pictures: int = 0
    """Contexts that name none, such as videos: their frames have no names in the annotations."""


def attach(
    contexts: Iterable[Context | Problem],
    store: Store,
    progress: Callable[[Attached], None] = lambda attached: None,
) -> Attached:
    """Keep what contexts say of pictures that are in the dataset.

    Raises:
        LockedError: another process is writing to the dataset.
    """
    attached = Attached()
    with store.writing("syphus attach"):
        store.sync()
        coming = iter(contexts)
        while block := list(islice(coming, BLOCK)):
            told = list(_readable(block, attached))
            with store.reading() as connection:
                ids = _ids(connection, told)
            store.add_annotations(list(_found(told, ids, attached)))
            progress(attached)
        store.sync()
    return attached


def _readable(block: list[Context | Problem], attached: Attached) -> Iterator[Context]:
    for one in block:
        if isinstance(one, Problem):
            attached.unread_count += 1
            if len(attached.unread) < LISTED:
                attached.unread.append(one)
        elif not one.pictures:
            attached.without_pictures += 1
        else:
            yield one


def _found(
    contexts: list[Context], ids: dict[str, list[str]], attached: Attached
) -> Iterator[Annotation]:
    """Yield what contexts say, for each way in which all of their pictures are there."""
    for context in contexts:
        named = [ids.get(picture.name, []) for picture in context.pictures]
        for picture, found in zip(context.pictures, named, strict=True):
            attached.pictures += bool(found)
            if not found:
                attached.missing += 1
                if len(attached.missing_examples) < LISTED:
                    attached.missing_examples.append(picture.name)
        if not all(named):
            continue
        # A picture may be there under several ids: two tasks keep their own.
        for n in range(max(map(len, named))):
            here = [found[min(n, len(found) - 1)] for found in named]
            told = annotations_of(context, here)
            attached.annotations += len(told)
            yield from told


_LOOK_UP = """
WITH known AS (
    SELECT id, id AS name FROM images UNION
    SELECT id, regexp_replace(id, '^[A-Za-z0-9]+_IMG_', '') FROM images UNION
    SELECT id, parse_filename(source) FROM images WHERE source IS NOT NULL)
SELECT DISTINCT wanted.name, known.id
FROM wanted JOIN known ON known.name = wanted.alias ORDER BY ALL
"""


def _ids(connection: duckdb.DuckDBPyConnection, contexts: list[Context]) -> dict[str, list[str]]:
    """Return the ids of the pictures that contexts name."""
    import pyarrow as pa

    names, aliases = [], []
    for picture in {picture.name: picture for c in contexts for picture in c.pictures}.values():
        path = PurePosixPath(picture.name)
        for alias in {picture.name, path.name, path.with_suffix("").as_posix(), path.stem,
                      picture.key or path.stem}:  # fmt: skip
            names.append(picture.name)
            aliases.append(alias)
    columns = [as_column(values, pa.string()) for values in (names, aliases)]
    connection.register("wanted", pa.table(columns, names=["name", "alias"]))
    found: dict[str, list[str]] = {}
    for name, id_ in connection.execute(_LOOK_UP).fetchall():
        found.setdefault(name, []).append(id_)
    connection.unregister("wanted")
    return found
