"""Filters of what is said: expressions over one record."""

from __future__ import annotations

from collections.abc import Sequence

from mimicit.curate.base import Either, Field, quoted

_WORDS = r"len(regexp_extract_all({field}, '[\p{{L}}\p{{M}}\p{{N}}''’-]+'))"
"""Count words; in scripts without spaces a run of letters counts as one word."""


def normal(field: str) -> str:
    """Return a text in small letters without punctuation, as an expression."""
    return rf"trim(regexp_replace(lower({field}), '[^\p{{L}}\p{{M}}\p{{N}}]+', ' ', 'g'))"


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


def too_long(
    *, words: int = 200, characters: int = 0, tokens: int = 0, field: Field = "answer"
) -> str:
    """Drop a text of more words, characters or tokens.

    Args:
        words: At most; 0 is no limit, here and below.
        characters: At most.
        tokens: At most, as an estimate: see `tokens_of`.
        field: Which text.
    """
    count = _WORDS.format(field=field)
    limits = (
        ("words", count, words),
        ("characters", f"length({field})", characters),
        ("tokens or so", tokens_of(field), tokens),
    )
    whens = " ".join(
        f"WHEN {value} > {most:d} THEN printf('the {field} has %d {unit}, more than {most:d}', {value})"
        for unit, value, most in limits
        if most > 0
    )
    return f"CASE {whens} END" if whens else "NULL"


def tokens_of(field: str) -> str:
    """Estimate a text's tokens, as an expression: a quarter of its bytes in UTF-8.

    No tokenizer is asked, so a model's own count differs.
    """
    return f"(strlen({field}) + 3) // 4"


def mentions(*, words: Sequence[str], field: Either = "either") -> str:
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
    same = f"{normal('instruction')} = {normal('answer')}"
    return f"CASE WHEN {same} THEN 'the answer repeats the question' END"


def _escaped(word: str) -> str:
    """Escape a word for RE2, which DuckDB uses."""
    return "".join(c if c.isalnum() or c == " " else f"\\x{{{ord(c):x}}}" for c in word.lower())
