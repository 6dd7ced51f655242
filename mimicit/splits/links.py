"""What joins records: a *hub* is something that several of them have in common.

    picture        one picture, by its bytes where the dataset has them, else by its id
    video          frames of one video: pictures that have a time, or ids as the video sources name them
    near picture   one perceptual hash; two of them are near where few bits differ
    conversation   the turns of one
    translation    a record and what translates it, also by way of a record that is not there any more
    text           one text (question and answer, without case, punctuation and spacing); two of them are near as sketches say

Records, hubs and what is near are numbers in arrays, some twenty bytes for each link, so a million records need no more memory than
their ids. Short texts join nothing: "What colour is the cat? Black." is asked about many pictures. A record without a picture has only
its text, so an equal one joins it however short.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mimicit.catalog import scalar
from mimicit.curate.hashes import near_pairs
from mimicit.curate.pairs import FLOOR

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import numpy as np
    import pyarrow

KINDS = ("picture", "video", "near picture", "conversation", "translation", "text")


@dataclass(frozen=True, slots=True)
class Joins:
    """What is looked for beside what is always found."""

    near_pictures: bool = True
    near_texts: bool = True
    distance: int = 3
    """Bits of 64 in which near pictures differ, at most. Up to 3 none is missed."""
    threshold: float = 0.7
    """Jaccard similarity from which on two texts are near."""
    characters: int = 100
    """Bytes of a text that joins records with pictures, at least, and of one that is near another."""

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            ValueError: a number that cannot be.
        """
        if not 0 <= self.distance <= 16:
            raise ValueError(f"'distance' cannot be {self.distance!r}; it lies between 0 and 16")
        if not FLOOR <= self.threshold <= 1:
            raise ValueError(
                f"'threshold' cannot be {self.threshold!r}; it lies between {FLOOR} and 1"
            )

    @property
    def measures(self) -> list[str]:
        asked = {"looks": self.near_pictures, "sketch_both": self.near_texts}
        return [name for name, wanted in asked.items() if wanted]


class Links(NamedTuple):
    """Records that are at hubs, and hubs that are near each other."""

    record: np.ndarray
    hub: np.ndarray
    """Of each link; int32."""
    kind: np.ndarray
    """Of each hub: its place in KINDS; int8."""
    left: np.ndarray
    right: np.ndarray
    """Hubs that are near each other; int32."""


def _key(value: str) -> str:
    """Return a number of 63 bits: DuckDB 1 hands larger ones to Arrow as what they are not."""
    return f"(hash({value}) >> 1)::BIGINT"


_SHOWN = """CREATE OR REPLACE TEMP TABLE split_shown AS
SELECT "row", picture, sha256, "time" FROM (SELECT DISTINCT "row", unnest(image_ids) AS picture FROM split_rows)
LEFT JOIN (SELECT id AS picture, sha256, "time" FROM images) USING (picture)"""
_FRAME = "'^(.+)_[0-9]+$'"
_OF_VIDEOS = "'^(DC|E4D|TVC|SN)_IMG_'"
_SCAN = "'^SN_IMG_scene[0-9]{4}_'"
_QUERIES = {
    "picture": (_key("coalesce(sha256, picture)"), "split_shown"),
    # Every scan of a room of ScanNet shows that room.
    "video": (
        _key(
            f"if(regexp_matches(picture, {_SCAN}), picture[:16], regexp_extract(picture, {_FRAME}, 1))"
        ),
        f"""split_shown WHERE regexp_matches(picture, {_FRAME})
        AND ("time" IS NOT NULL OR regexp_matches(picture, {_OF_VIDEOS}))""",
    ),
    "near picture": ("hash", "split_shown JOIN looks ON id = picture WHERE hash IS NOT NULL"),
    "conversation": (_key("conversation"), "split_rows WHERE conversation IS NOT NULL"),
    "translation": (
        _key("told"),
        """(FROM split_told UNION ALL SELECT "row", id FROM split_rows
            WHERE id IN (SELECT told FROM split_told))""",
    ),
    "text": (
        "CAST(digest AS BIGINT)",
        """split_rows JOIN (SELECT id, digest, length FROM measure_sketch_both) USING (id)
        WHERE length >= if(len(image_ids) = 0, 1, $characters)""",
    ),
}
"""Kind -> key and source in SQL; a key is a number of 64 bits with a sign."""


def gather(connection: duckdb.DuckDBPyConnection, joins: Joins, kept: Path) -> Links:
    """Find the links.

    Args:
        connection: Has `split_rows` (row, id, image_ids, conversation, translation_of), and what `joins` measures.
        joins: What is looked for.
        kept: The folder of the measures.
    """
    import numpy as np

    connection.execute(_SHOWN)
    _trace_translations(connection)
    wanted = {"near picture": joins.near_pictures, "text": joins.near_texts}
    records, hubs, kinds, near, count = [], [], [], [], 0
    for kind in KINDS:
        if not wanted.get(kind, True):
            continue
        row, key = _links(connection, kind, joins)
        keys, hub = np.unique(key, return_inverse=True)
        pairs = _near(connection, kind, joins, kept, keys)
        joining = _joining(connection, kind, keys, pairs)[hub]
        records.append(row[joining])
        hubs.append(hub[joining].astype(np.int32) + np.int32(count))
        kinds.append(np.full(len(keys), KINDS.index(kind), np.int8))
        near.append(pairs + np.int32(count))
        count += len(keys)
    left, right = np.concatenate(near, axis=1)
    return Links(np.concatenate(records), np.concatenate(hubs), np.concatenate(kinds), left, right)


def _trace_translations(connection: duckdb.DuckDBPyConnection) -> None:
    """Have the table `split_told`: what each record translates, and what that translates, and so on.

    Step by step: DuckDB's recursive query was seen to stop after the first one.
    """
    connection.execute(
        'CREATE OR REPLACE TEMP TABLE split_told AS SELECT "row", translation_of AS told '
        "FROM split_rows WHERE translation_of IS NOT NULL"
    )
    count = -1
    while count != (count := scalar(connection, "SELECT count(*) FROM split_told")):
        connection.execute(
            'INSERT INTO split_told SELECT "row", translation_of FROM split_told '
            "JOIN (SELECT id AS told, translation_of FROM instructions) USING (told) "
            'WHERE translation_of IS NOT NULL EXCEPT SELECT "row", told FROM split_told'
        )


def _links(
    connection: duckdb.DuckDBPyConnection, kind: str, joins: Joins
) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    key, source = _QUERIES[kind]
    given = {"characters": joins.characters} if "$characters" in source else {}
    rows = connection.sql(
        f'SELECT DISTINCT "row", {key} AS key FROM {source}', params=given
    ).to_arrow_table()
    return rows.column(0).to_numpy().astype(np.int32), rows.column(1).to_numpy().astype(np.int64)


def _joining(
    connection: duckdb.DuckDBPyConnection, kind: str, keys: np.ndarray, near: np.ndarray
) -> np.ndarray:
    """Say which hubs may join records; a perceptual hash that only one picture has says what the picture says already."""
    import numpy as np

    if kind != "near picture":
        return np.ones(len(keys), bool)
    several = connection.sql(
        "SELECT hash FROM split_shown JOIN looks ON id = picture WHERE hash IS NOT NULL "
        "GROUP BY hash HAVING count(DISTINCT coalesce(sha256, picture)) > 1"
    ).to_arrow_table()
    found = np.isin(keys, several.column(0).to_numpy())
    found[near.ravel()] = True
    return found


def _near(
    connection: duckdb.DuckDBPyConnection, kind: str, joins: Joins, kept: Path, keys: np.ndarray
) -> np.ndarray:
    """Return the pairs of places in `keys`, which are in order, that are near each other: two rows."""
    import numpy as np

    found: dict[str, Callable[[], pyarrow.Table]] = {
        "near picture": lambda: _near_pictures(connection, keys, joins.distance),
        "text": lambda: _near_texts(connection, kept, joins),
    }
    if kind not in found or not len(keys):
        return np.zeros((2, 0), np.int32)
    pairs = found[kind]()
    sides = np.stack([pairs.column(n).to_numpy().astype(np.int64) for n in (0, 1)])
    places = np.minimum(np.searchsorted(keys, sides), len(keys) - 1)
    there = (keys[places] == sides).all(axis=0)
    return places[:, there].astype(np.int32)


def _near_pictures(
    connection: duckdb.DuckDBPyConnection, hashes: np.ndarray, distance: int
) -> pyarrow.Table:
    import pyarrow as pa

    connection.register("split_hashes", pa.table({"hash": hashes}))
    try:
        found = f"SELECT a, b FROM ({near_pairs('split_hashes', distance)})"
        return connection.sql(found).to_arrow_table()
    finally:
        connection.unregister("split_hashes")


def _near_texts(connection: duckdb.DuckDBPyConnection, kept: Path, joins: Joins) -> pyarrow.Table:
    import pyarrow.compute as pc

    from mimicit.curate.filters.near import SKETCHES, TEXTS
    from mimicit.curate.pairs import near_pairs as near_text_pairs

    measure = "sketch_both"
    name = f"{measure}.{SKETCHES[measure].version}"
    pairs = near_text_pairs(connection, measure, TEXTS["both"], kept / name, kept / f"pairs_{name}")
    connection.register("split_pairs", pairs.filter(pc.field("similarity") >= joins.threshold))
    try:
        return connection.sql(
            "WITH long AS MATERIALIZED (SELECT DISTINCT digest FROM measure_sketch_both "
            "WHERE length >= $characters AND digest IN (SELECT a FROM split_pairs UNION ALL SELECT b FROM split_pairs)) "
            "SELECT a::BIGINT, b::BIGINT FROM split_pairs WHERE a IN (FROM long) AND b IN (FROM long)",
            params={"characters": joins.characters},
        ).to_arrow_table()
    finally:
        connection.unregister("split_pairs")
