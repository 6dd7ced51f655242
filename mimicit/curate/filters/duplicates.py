"""Records that say, or ask, what another one does; case, punctuation and spacing make no difference.

A conversation stays or goes as a whole, as it does in `near_duplicate`: it goes where one other conversation that stays has all its turns,
longer conversations are taken first, and a single record goes where a turn of a conversation that stays says the same. Of several single
ones the best by the keep rule stays. A turn that repeats an earlier turn of its own conversation, question and answer, goes alone: what it says
is still there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mimicit.columns import as_column
from mimicit.curate.base import Measure
from mimicit.curate.filters.text import normal
from mimicit.curate.keeping import kept_for

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import pyarrow

_PICTURES = "array_to_string(image_ids, chr(31))"
_SAID = f"{normal('instruction')}, {normal('answer')}"

SAME = Measure(
    columns={"asked": "UBIGINT", "said": "UBIGINT", "text": "UBIGINT"},
    reads=("instruction", "answer", "image_ids"),
    sql={
        # 63 bits: DuckDB 1 hands larger numbers to Arrow as what they are not.
        "asked": f"md5_number_lower(concat_ws(chr(31), {normal('instruction')}, {_PICTURES})) >> 1",
        "said": f"md5_number_lower(concat_ws(chr(31), {_SAID}, {_PICTURES})) >> 1",
        "text": f"md5_number_lower(concat_ws(chr(31), {_SAID})) >> 1",
    },
)
"""Digests, the same with every DuckDB, of the question, and of question and answer, with the pictures they are about, and of these without the pictures; case, punctuation and spacing make no difference."""

_SCOPES = {"picture": "same_said", "dataset": "same_text"}
BEST = {
    "first": "",
    "longest": "length(answer) DESC,",
    "best": r"regexp_matches(answer, '[.!?…。！？؟][\"''”’»」』)\]]*\s*$') DESC, "
    r"len(list_distinct(regexp_extract_all(lower(answer), '[\p{Han}\p{Hiragana}\p{Katakana}]|[\p{L}\p{N}]+'))) DESC,",
}
"""Keep rule -> the order of records, the best first."""

# Records that share a digest with another one; of a conversation's turns that say the same, the first.
_TWICE = """CREATE OR REPLACE TEMP TABLE same_rows AS
WITH known AS MATERIALIZED (SELECT _row, id, conversation, turn, {key} AS digest FROM candidates),
    twice AS MATERIALIZED (
        SELECT * FROM known WHERE digest IN (SELECT digest FROM known GROUP BY digest HAVING count(*) > 1))
SELECT id, conversation, digest, row_number() OVER (ORDER BY {best} id) AS number,
    {alone} AND conversation IS NOT NULL
        AND row_number() OVER (PARTITION BY conversation, digest ORDER BY turn, id) > 1 AS repeats
FROM {twice}"""
_WITH_TEXT = "(SELECT twice.*, answer FROM twice JOIN instructions ON rowid = _row)"
_TURNS = """CREATE OR REPLACE TEMP TABLE same_turns AS
SELECT conversation, count(*) - coalesce(any_value(again), 0) AS turns FROM candidates
LEFT JOIN (SELECT conversation, count(*) AS again FROM same_rows WHERE repeats GROUP BY conversation) USING (conversation)
WHERE conversation IN (SELECT conversation FROM same_rows) GROUP BY conversation"""
_ROWS = """SELECT id, dense_rank() OVER (ORDER BY digest) AS node, coalesce(turns, 1) AS turns, true AS judged, conversation
FROM same_rows LEFT JOIN same_turns USING (conversation) WHERE NOT repeats ORDER BY number"""
_FIRST = """CREATE OR REPLACE TEMP TABLE same_gone AS
SELECT id AS record, stays FROM (
    SELECT id, number, first_value(id) OVER best AS stays, row_number() OVER best AS place
    FROM same_rows WHERE NOT repeats WINDOW best AS (PARTITION BY digest ORDER BY number)) WHERE place > 1"""
# What repeats a turn of its own conversation goes for that turn, or for what that one goes for.
_REPEATS = """SELECT r.id AS record, coalesce(g.stays, f.id) AS stays FROM same_rows AS r
JOIN same_rows AS f ON f.conversation = r.conversation AND f.digest = r.digest AND NOT f.repeats
LEFT JOIN same_gone AS g ON g.record = f.id WHERE r.repeats"""


@dataclass(frozen=True)
class Same:
    """What `exact_duplicate` and `repeated_question` ask; its repr says all that it depends on."""

    reason: str
    key: str
    prefer: str
    alone: bool
    """Whether a turn goes that repeats another one of its conversation."""

    @property
    def measures(self) -> tuple[str, ...]:
        return ("same",)

    @property
    def tied(self) -> tuple[str, ...]:
        return (self.key,)

    def __call__(self, connection: duckdb.DuckDBPyConnection, kept: Path) -> pyarrow.Table:
        """Return record, reason and score of what is dropped."""
        return connection.sql(self.query(connection)).to_arrow_table()

    def query(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Return the query of record, reason and score of what is dropped."""
        best, alone = BEST[self.prefer], str(self.alone).lower()
        twice = _WITH_TEXT if best else "twice"
        connection.execute(_TWICE.format(key=self.key, best=best, alone=alone, twice=twice))
        if connection.execute(
            "SELECT 1 FROM same_rows WHERE conversation IS NOT NULL LIMIT 1"
        ).fetchall():
            _decide(connection)
        else:
            connection.execute(_FIRST)
        return (
            f"SELECT record, '{self.reason} ' || stays AS reason, NULL::DOUBLE AS score "
            f"FROM (SELECT * FROM same_gone UNION ALL {_REPEATS}) ORDER BY record"
        )


def _decide(connection: duckdb.DuckDBPyConnection) -> None:
    """Have the table `same_gone` where there are conversations."""
    import pyarrow as pa

    connection.execute(_TURNS)
    rows = connection.sql(_ROWS).to_arrow_table()
    nothing = rows.slice(0, 0).select(["node"])
    edges = pa.table([nothing["node"]] * 3, names=["a", "b", "similarity"])
    dropped, stays, _ = kept_for(rows, edges)
    places = (as_column(which, pa.int64()) for which in (dropped, stays))
    gone = pa.table([rows["id"].take(place) for place in places], names=["record", "stays"])
    connection.register("same_found", gone)
    connection.execute("CREATE OR REPLACE TEMP TABLE same_gone AS SELECT * FROM same_found")
    connection.unregister("same_found")


def exact_duplicate(*, scope: str = "picture", prefer: str = "first") -> Same:
    """Drop all but the best of the records with one question and answer.

    Case, punctuation and spacing make no difference. A conversation goes only as a whole.

    Args:
        scope: "picture", only among records about the same pictures, or "dataset".
        prefer: "first" by id; "longest" answer, punctuation counted; or "best": whose answer is a finished sentence, then the one
            with the most different words.
    """
    for name, value, known in (("scope", scope, _SCOPES), ("prefer", prefer, BEST)):
        if value not in known:
            said = (" or " if len(known) == 2 else ", ").join(map(repr, known))
            raise ValueError(f"{name!r} cannot be {value!r}; it is {said}")
    return Same("the same as", _SCOPES[scope], prefer, alone=True)


def repeated_question() -> Same:
    """Drop all but the first, by id, of the records with one question about the same pictures.

    Two answers to one question cannot both be learned. In a conversation they can: what was said before is another
    thing each time, so it goes only as a whole.
    """
    return Same("asks the same as", "same_asked", "first", alone=False)
