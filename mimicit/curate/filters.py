"""Filters: each turns its parameters into a DuckDB expression over a record, whose value is a reason to drop it, or NULL.

An expression runs over millions of rows in seconds, and any DuckDB client can try it. To add a filter, write one function
that returns such an expression, and add it to FILTERS. Parameters come from a recipe, which is not ours: text reaches the
expression only through `quoted`, and numbers only as numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

Field = Literal["instruction", "answer"]

_WORDS = r"len(regexp_extract_all({field}, '[\p{{L}}\p{{M}}\p{{N}}''’-]+'))"
"""Count words; in scripts without spaces a run of letters counts as one word."""
_NORMAL = r"trim(regexp_replace(lower({field}), '[^\p{{L}}\p{{M}}\p{{N}}]+', ' ', 'g'))"


def empty() -> str:
    """Drop a record whose question or answer holds no letter and no digit."""
    blank = r"NOT regexp_matches({field}, '[\p{{L}}\p{{N}}]')"
    return (
        f"CASE WHEN {blank.format(field='instruction')} THEN 'the instruction is empty' "
        f"WHEN {blank.format(field='answer')} THEN 'the answer is empty' END"
    )


def too_short(*, words: int = 2, characters: int = 1, field: Field = "answer") -> str:
    """Drop a text of fewer words or fewer characters."""
    count = _WORDS.format(field=field)
    return (
        f"CASE WHEN {count} < {words:d} AND regexp_matches({field}, '[a-zA-Z]') "
        f"THEN printf('the {field} has %d words, fewer than {words:d}', {count}) "
        f"WHEN length({field}) < {characters:d} "
        f"THEN printf('the {field} has %d characters, fewer than {characters:d}', length({field})) END"
    )


def too_long(*, words: int = 200, field: Field = "answer") -> str:
    """Drop a text of more words."""
    count = _WORDS.format(field=field)
    return (
        f"CASE WHEN {count} > {words:d} "
        f"THEN printf('the {field} has %d words, more than {words:d}', {count}) END"
    )


def mentions(*, words: Sequence[str], field: Field | Literal["either"] = "either") -> str:
    """Drop a text that says one of these words; whoever sees a picture knows of no caption or box."""
    pattern = r"\b(" + "|".join(_escaped(word) for word in words) + r")(s|es)?\b"
    text = "concat_ws(' ', instruction, answer)" if field == "either" else field
    found = f"regexp_extract(lower({text}), {quoted(pattern)}, 1)"
    return f"CASE WHEN {found} <> '' THEN printf('it says %s', {found}) END"


def coordinates() -> str:
    """Drop an answer that quotes a box: two or more numbers in brackets."""
    pattern = r"[\[(]\s*\d+(\.\d+)?\s*,\s*\d+(\.\d+)?\s*(,\s*\d+(\.\d+)?\s*)*[\])]"
    found = f"regexp_extract(answer, {quoted(pattern)})"
    return f"CASE WHEN {found} <> '' THEN printf('it quotes coordinates: %s', {found}) END"


def echo() -> str:
    """Drop an answer that only repeats its question."""
    same = f"{_NORMAL.format(field='instruction')} = {_NORMAL.format(field='answer')}"
    return f"CASE WHEN {same} THEN 'the answer repeats the question' END"


def exact_duplicate() -> str:
    """Drop all but the first, by id, of the records with one question and answer about the same pictures.

    Case, punctuation and spacing make no difference.
    """
    return _all_but_first("the same as", ("instruction", "answer"))


def repeated_question() -> str:
    """Drop all but the first, by id, of the records with one question about the same pictures.

    Two answers to one question cannot both be learned.
    """
    return _all_but_first("asks the same as", ("instruction",))


def _all_but_first(reason: str, fields: Sequence[Field]) -> str:
    same = ", ".join(_NORMAL.format(field=field) for field in fields)
    window = f"OVER (PARTITION BY {same}, image_ids ORDER BY id)"
    return f"CASE WHEN row_number() {window} > 1 THEN '{reason} ' || first_value(id) {window} END"


FILTERS: dict[str, Callable[..., str]] = {
    "empty": empty,
    "too_short": too_short,
    "too_long": too_long,
    "mentions": mentions,
    "coordinates": coordinates,
    "echo": echo,
    "exact_duplicate": exact_duplicate,
    "repeated_question": repeated_question,
}


def quoted(text: str) -> str:
    """Write a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _escaped(word: str) -> str:
    """Escape a word for RE2, which DuckDB uses."""
    return "".join(c if c.isalnum() or c == " " else f"\\x{{{ord(c):x}}}" for c in word.lower())
