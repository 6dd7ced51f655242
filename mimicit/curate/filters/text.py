"""Filters of what is said: expressions over one record."""

from __future__ import annotations

from collections.abc import Sequence

from mimicit.curate.base import Either, Field, quoted

DENSE = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that are written without spaces."""
OPTIONS = (
    r"(?s)(?:^|[\s(（\[])A\s?[.):：、）\]]\s*[\p{L}\p{N}$\-].*?(?:[\s)(（\[])B\s?[.):：、）\]]\s*\S"
)
"""Choices in a question: A. … B. …, also (A) … (B) … ."""
_LETTER = r"^[^\p{L}\p{N}]*(?i:option |answer )?[A-Ha-h][^\p{L}\p{N}]*$"


_WORD = r"[\p{L}\p{M}\p{N}''’-]+"
_LONGEST = 50
"""Characters of a word: what is so many times as long as its words may be few has more of them, and need not be counted."""


def _words(field: str, letters: int) -> str:
    """Return the number of words, as an expression; so many letters of a script without spaces count as one."""
    dense = f"len(regexp_extract_all({field}, '[{DENSE}]'))"
    runs = f"len(regexp_extract_all({field}, '[{DENSE}]+'))"
    more = f"if(strlen({field}) > length({field}), greatest(0, {dense} // {letters:d} - {runs}), 0)"
    return f"(len(regexp_extract_all({field}, '{_WORD}')) + {more})"


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
    """Drop a text of fewer words or fewer characters; the letter of an option answers a choice.

    A letter of a script without spaces counts as a word.
    """
    count = _words(field, 1)
    option = (
        f" AND NOT (regexp_matches(answer, {quoted(_LETTER)}) AND regexp_matches(instruction, {quoted(OPTIONS)}))"
        if field == "answer"
        else ""
    )
    return (
        f"CASE WHEN length({field}) < {_LONGEST * words:d} AND {count} < {words:d} "
        f"AND regexp_matches({field}, '[a-zA-Z{DENSE}]'){option} "
        f"THEN printf('the {field} has %d words, fewer than {words:d}', {count}) "
        f"WHEN length({field}) < {characters:d} "
        f"THEN printf('the {field} has %d characters, fewer than {characters:d}', length({field})) END"
    )


def too_long(
    *, words: int = 200, characters: int = 0, tokens: int = 0, field: Field = "answer"
) -> str:
    """Drop a text of more words, characters or tokens; two letters of a script without spaces count as a word.

    Args:
        words: At most; 0 is no limit, here and below.
        characters: At most.
        tokens: At most, as an estimate: see `tokens_of`.
        field: Which text.
    """
    limits = (
        # A word and what parts it from the next take two characters.
        ("words", _words(field, 2), words, f"length({field}) >= {2 * words:d} AND "),
        ("characters", f"length({field})", characters, ""),
        ("tokens or so", tokens_of(field), tokens, ""),
    )
    whens = " ".join(
        f"WHEN {first}{value} > {most:d} THEN printf('the {field} has %d {unit}, more than {most:d}', {value})"
        for unit, value, most, first in limits
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
    """Drop an answer that quotes a point, a box or an outline: an even number of numbers in brackets.

    An odd number of them is no place: the numbers on a wheel (1, 2, 3).
    """
    two = r"\s*\d+(?:\.\d+)?\s*,\s*\d+(?:\.\d+)?\s*"
    pattern = rf"[\[(]{two}(?:,{two})*[\])]"
    found = f"regexp_extract(answer, {quoted(pattern)})"
    return f"CASE WHEN {found} <> '' THEN printf('it quotes coordinates: %s', {found}) END"


def echo() -> str:
    """Drop an answer that only repeats its question."""
    first = "regexp_extract(lower({}), '[\\p{{L}}\\p{{N}}]')"
    same = (  # the first letter says no sooner
        f"{first.format('instruction')} = {first.format('answer')} "
        f"AND {normal('instruction')} = {normal('answer')}"
    )
    return f"CASE WHEN {same} THEN 'the answer repeats the question' END"


def _escaped(word: str) -> str:
    """Escape a word for RE2, which DuckDB uses."""
    return "".join(c if c.isalnum() or c == " " else f"\\x{{{ord(c):x}}}" for c in word.lower())
