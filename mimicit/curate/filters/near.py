"""Records that say nearly what another one says.

Two texts are as alike as the shingles that they share (see `mimicit.curate.sketch`). Of records that are alike enough, one stays:
records are taken in the order of the keep rule, and one is dropped if it is like one that stays. So each verdict names a record
that is there, and is as like it as its score says: A is not dropped for C only because both are like B. The order is by the rule and
then by id, so the same records always give the same verdicts.

A conversation stays or goes as a whole: each of its turns leans on those before it, and a conversation with holes teaches answers
to questions that were not asked. It goes where one other conversation that stays has a turn like each of its own; one new turn
keeps it. Longer conversations are taken first, then as its best turn ranks, so it is the one with less to say that goes. A single
record goes where it is like a turn of a conversation, never the other way round. Its own turns are not compared: they are about
one thing, and often alike. A turn that only repeats an earlier one word for word is a matter for `exact_duplicate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from mimicit.curate.base import Columns, Measure
from mimicit.curate.keeping import kept_for
from mimicit.curate.pairs import FLOOR, near_pairs
from mimicit.curate.sketch import check_packages, sketch

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import pyarrow

TEXTS = {"answer": "answer", "both": "concat_ws(' ', instruction, answer)"}
"""Fields -> the text that is sketched, in SQL."""
RANKS = {
    "longest": "length DESC,",
    "first": "",
    "best": r"regexp_matches(answer, '[.!?…。！？؟][\"''”’»」』)\]]*\s*$') DESC, "
    r"len(list_distinct(regexp_extract_all(lower(answer), '[\p{Han}\p{Hiragana}\p{Katakana}]|[\p{L}\p{N}]+'))) DESC,",
}
"""Keep rule -> the order of records, the best first."""
SCOPES = {"picture": "{measure}_pictures", "dataset": "0::UBIGINT"}
"""Scope -> what two records must have in common."""


AT_ONCE = 2_048
"""Texts, whose shingles are in memory together."""


def _sketched(texts: pyarrow.Array, image_ids: pyarrow.Array) -> Columns:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from mimicit.curate.sketch import BANDS, SHINGLE

    parts = [sketch(texts.slice(at, AT_ONCE)) for at in range(0, len(texts), AT_ONCE)]
    digest, length, rows = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("digest", "length", "bands")
    )
    joined = pa.py_buffer(rows.astype("<u4").tobytes())
    bands = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(4 * BANDS), len(rows), [None, joined]
    ).cast(pa.binary())
    long = pa.array(length >= SHINGLE)
    return {
        "digest": pa.array(digest),
        "length": pa.array(length.astype(np.uint32)),
        "bands": pc.if_else(long, bands, None),
        "pictures": pa.array(_selections(image_ids), pa.uint64()),
    }


def _selections(image_ids: pyarrow.Array) -> list[int]:
    """Return a number of 63 bits for each selection of pictures."""
    said = ["\x1f".join(sorted(ids)) for ids in image_ids.to_pylist()]
    digests = {
        one: int.from_bytes(blake2b(one.encode(), digest_size=8).digest()) >> 1 for one in set(said)
    }
    return [digests[one] for one in said]


def _sketched_answers(batch: pyarrow.RecordBatch) -> Columns:
    return _sketched(batch["answer"], batch["image_ids"])


def _sketched_both(batch: pyarrow.RecordBatch) -> Columns:
    import pyarrow.compute as pc

    texts = pc.binary_join_element_wise(batch["instruction"], batch["answer"], " ")
    return _sketched(texts, batch["image_ids"])


_SKETCH = {"digest": "UBIGINT", "length": "UINTEGER", "bands": "BLOB", "pictures": "UBIGINT"}
SKETCH_ANSWER = Measure(_SKETCH, ("answer", "image_ids"), _sketched_answers, version=2)
"""Of an answer: its digest, its length in bytes once case, punctuation and spacing are equal, its bands, and which pictures it is about."""
SKETCH_BOTH = Measure(_SKETCH, ("instruction", "answer", "image_ids"), _sketched_both, version=2)
"""As `SKETCH_ANSWER`, of a question and its answer as one text."""
SKETCHES = {"sketch_answer": SKETCH_ANSWER, "sketch_both": SKETCH_BOTH}

# What is alike in near_pairs or says the same; short texts only that. A record's node is what it says, and about what.
_NODES = (
    """CREATE OR REPLACE TEMP TABLE near_digests AS
    SELECT a AS digest FROM near_pairs UNION SELECT b FROM near_pairs UNION
    SELECT digest FROM measure_{measure} GROUP BY digest HAVING count(*) > 1""",
    """CREATE OR REPLACE TEMP TABLE near_rows AS
    SELECT id, conversation, digest, length, scope, dense_rank() OVER (ORDER BY digest, scope) AS node,
        row_number() OVER (ORDER BY {rank} id) AS number
    FROM (SELECT *, {measure}_digest AS digest, {measure}_length AS length, {scope} AS scope FROM candidates
        WHERE {measure}_digest IN (SELECT digest FROM near_digests))""",
    """CREATE OR REPLACE TEMP TABLE near_turns AS
    SELECT conversation, count(*) AS turns FROM candidates
    WHERE conversation IN (SELECT conversation FROM near_rows) GROUP BY conversation""",
)
_ROWS = """SELECT id, node, coalesce(turns, 1) AS turns, length >= $characters AS judged, conversation
FROM near_rows LEFT JOIN near_turns USING (conversation) ORDER BY number"""
_EDGES = """WITH nodes AS (SELECT DISTINCT node, digest, scope FROM near_rows WHERE length >= $characters)
SELECT x.node AS a, y.node AS b, similarity FROM near_pairs
JOIN nodes AS x ON x.digest = a JOIN nodes AS y ON y.digest = b AND y.scope = x.scope ORDER BY a, b"""


@dataclass(frozen=True)
class Near:
    """What `near_duplicate` asks; its repr says all that it depends on."""

    threshold: float
    fields: str
    scope: str
    prefer: str
    characters: int

    @property
    def measures(self) -> tuple[str, ...]:
        return (f"sketch_{self.fields}",)

    def __call__(self, connection: duckdb.DuckDBPyConnection, kept: Path) -> pyarrow.Table:
        """Return record, reason and score of what is dropped.

        Args:
            connection: Has `candidates` with the measure's columns.
            kept: The folder of the measures; the pairs that are found are put beside them.
        """
        [measure] = self.measures
        name = f"{measure}.{SKETCHES[measure].version}"
        text = TEXTS[self.fields]
        among = "pictures" if self.scope == "picture" else None
        folder = kept / (f"pairs_{name}_{among}" if among else f"pairs_{name}")
        pairs = near_pairs(connection, measure, text, kept / name, folder, among)
        return self._said(connection, measure, pairs)

    def _said(
        self, connection: duckdb.DuckDBPyConnection, measure: str, pairs: pyarrow.Table
    ) -> pyarrow.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        near = pairs.filter(pc.greater_equal(pairs["similarity"], self.threshold))
        connection.register("near_pairs", near)
        for statement in _NODES:
            scope = SCOPES[self.scope].format(measure=measure)
            connection.execute(
                statement.format(measure=measure, scope=scope, rank=RANKS[self.prefer])
            )
        few = {"characters": self.characters}
        rows = connection.sql(_ROWS, params=few).to_arrow_table()
        edges = connection.sql(_EDGES, params=few).to_arrow_table()
        connection.unregister("near_pairs")
        dropped, stays, similarity = kept_for(rows, edges)
        records, others = (
            rows["id"].take(pa.array(which, pa.int64())) for which in (dropped, stays)
        )
        reasons = [
            f"like {other} ({_percent(score)} the same)"
            for other, score in zip(others.to_pylist(), similarity, strict=True)
        ]
        scores = pa.array(similarity, pa.float64())
        return pa.table(
            {"record": records, "reason": pa.array(reasons, pa.string()), "score": scores}
        )


def near_duplicate(
    *,
    threshold: float = 0.7,
    fields: str = "both",
    scope: str = "picture",
    prefer: str = "longest",
    characters: int = 30,
) -> Near:
    """Drop all but one of the records that say nearly the same.

    Where more than some thirty texts are all alike, a few of them may stay (see `mimicit.curate.pairs`).

    Args:
        threshold: From which Jaccard similarity on two texts are one, from 0.5 to 1. Of pairs that are just 0.7 alike
            99 % are found, of those just 0.5 alike half.
        fields: "both", a question with its answer, or "answer", whatever was asked.
        scope: "picture", only among records about the same pictures, or "dataset".
        prefer: "longest", in what is compared; "first" by id; or "best": whose answer is a finished sentence, then the one
            with the most different words.
        characters: A text of fewer bytes is like no other, for "Yes, it is." answers many questions. A turn of
            a conversation that is so short is only like an equal one.
    """
    _check(FLOOR <= threshold <= 1, "threshold", threshold, f"a number from {FLOOR} to 1")
    for name, value, known in (
        ("fields", fields, TEXTS),
        ("scope", scope, SCOPES),
        ("prefer", prefer, RANKS),
    ):
        _check(value in known, name, value, "one of " + ", ".join(map(repr, known)))
    check_packages()
    return Near(threshold, fields, scope, prefer, characters)


def _check(good: bool, name: str, value: object, meant: str) -> None:
    if not good:
        raise ValueError(f"{name!r} cannot be {value!r}; it is {meant}")


def _percent(similarity: Any) -> str:
    """Round down: 100 % is equal."""
    return f"{int(similarity * 100 + 1e-9)} %"
