"""Records that say what another one says."""

from __future__ import annotations

from mimicit.curate.base import Measure
from mimicit.curate.filters.text import normal

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


def exact_duplicate(*, scope: str = "picture") -> str:
    """Drop all but the first, by id, of the records with one question and answer.

    Case, punctuation and spacing make no difference.

    Args:
        scope: "picture", only among records about the same pictures, or "dataset".
    """
    if scope not in _SCOPES:
        known = " or ".join(map(repr, _SCOPES))
        raise ValueError(f"'scope' cannot be {scope!r}; it is {known}")
    return _all_but_first("the same as", _SCOPES[scope])


def repeated_question() -> str:
    """Drop all but the first, by id, of the records with one question about the same pictures.

    Two answers to one question cannot both be learned.
    """
    return _all_but_first("asks the same as", "same_asked")


def _all_but_first(reason: str, key: str) -> str:
    window = f"OVER (PARTITION BY {key} ORDER BY id)"
    return f"""
WITH known AS MATERIALIZED (SELECT id, {key} FROM candidates)
SELECT id, '{reason} ' || first AS reason, NULL AS score FROM (
    SELECT id, row_number() {window} AS n, first_value(id) {window} AS first FROM known
    WHERE {key} IN (SELECT {key} FROM known GROUP BY {key} HAVING count(*) > 1)
) WHERE n > 1"""
