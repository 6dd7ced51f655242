"""Translations that do not say what their source says.

Compared are things that survive translation whatever the words: numbers, marks such as <image>, the letter of an option, yes and no, and how
long a text is; and a text that is its source, untranslated. That finds what went visibly wrong, not what is badly put.

A number in digits must be in the other text in some form (`mimicit.curate.numerals`). Words are weaker: only where each text has one that
the other lacks do they differ, for an Arabic dual has no number, and `five` may be part of a name.

A quick look in SQL at each text alone says which pairs need the closer one, which is in Python.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mimicit.curate.base import Either, quoted
from mimicit.curate.numerals import SCALED, Numbers, numbers, perhaps

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import pyarrow

CHECKS = ("numbers", "marks", "option", "polarity", "length", "untranslated")
LENGTHS = {"en": 1.0, "de": 1.11, "fr": 1.2, "es": 1.11, "ar": 0.87, "ko": 0.55, "ja": 0.5, "zh": 0.36}  # fmt: skip
"""Characters that say what one character of English says, about."""
LONGEST = 20_000
"""Characters of a text that is looked at closely."""
_SLACK = 25
"""Characters of English by which any text may be longer or shorter."""

# Numbers


def numbers_differ(source: str, target: str, languages: tuple[str, str]) -> str | None:
    """Say which number one text has and the other has not."""
    ours, theirs = numbers(source, languages[0]), numbers(target, languages[1])
    if ours.digits | ours.words == theirs.digits | theirs.words:
        return None
    if SCALED.search(source) or SCALED.search(target):
        return None  # `2 million` and `200万`
    missing = _lacking(ours, *perhaps(target, languages[1]))
    extra = _lacking(theirs, *perhaps(source, languages[0]))
    for value in sorted(missing):
        if same := {other for other in extra if _one_time(value, other)}:
            missing, extra = missing - {value}, extra - same
    plain = {value for value in missing & ours.digits | extra & theirs.digits if value != 2}
    if plain or (missing and extra):
        return f"{_listed(missing)} in the source, {_listed(extra)} here"
    return None


def _one_time(one: float, other: float) -> bool:
    """Say whether two numbers may be one hour of the clock, or one decade."""
    low, high = sorted((one, other))
    return (high - low == 12 and high <= 24) or (
        high >= 1000 and high % 10 == 0 and high % 100 == low
    )


def _lacking(ours: Numbers, theirs: frozenset[float], is_large: bool) -> frozenset[float]:
    lacks = (ours.digits | ours.words) - theirs
    return frozenset(value for value in lacks if not (is_large and value > 12))


def _listed(values: frozenset[float]) -> str:
    return ", ".join(f"{value:g}" for value in sorted(values)[:5]) or "none"


# Marks, options, yes and no

_MARK = re.compile(
    r"<\s?(?!(?:a|b|br|em|i|li|p|q|span|strong|su[bp]|u|ul)\s?[/>])[a-z][a-z_-]*\d*\s?/?\s?>|\{\{?\s?[A-Za-z_]+\d*\s?\}\}?"
)
_OFFERS = re.compile(
    r"(?:^|[\s(（\[])A\s?[.):：、）\]]\s*\S.{0,1000}?(?:[\s)(（\[])B\s?[.):：、）\]]", re.DOTALL
)
_CHOICE = re.compile(
    r"^\W*([A-H])(?:\s?[.):：、）\]]|\W*$)|(?:answer|option|choice|antwort|réponse|respuesta|opción|答案|选项?|選項|選択肢|答え|正解|정답|답|"
    r"الإجابة|الجواب|الخيار)(?:\s*(?:is|ist|est|es|是|为|は|은|는|هي|هو|la|:|：))*\s*[(（\"“「]?([A-H])(?![A-Za-z])",
    re.IGNORECASE,
)
_ARABIC_CHOICE = re.compile(r"^\W*([أابجد]|هـ|ه)(?:\s?[.):：]|\W*$)")
_ARABIC_LETTERS = {"أ": "A", "ا": "A", "ب": "B", "ج": "C", "د": "D", "هـ": "E", "ه": "E"}
_STOP = r"(?:[\s,.!;:،。，、！…؛]|$)"
_END = r"(?:[,.!;:،。，、！…؛]|\s*$)"
_YES = {
    "en": rf"(?:yes|yeah|yep){_STOP}", "de": rf"(?:ja|doch){_STOP}", "fr": rf"oui{_STOP}", "es": rf"sí{_STOP}|si{_END}",
    "zh": rf"(?:是的|是|对|对的|對|有的|有|会|会的|可以|能|在){_END}|是的", "ja": rf"(?:はい|ええ|うん|そうです){_END}|はい",
    "ko": rf"(?:네|예|그렇습니다|맞습니다|응){_STOP}", "ar": rf"(?:نعم|أجل|بلى){_STOP}",
}  # fmt: skip
_NO = {
    "en": rf"(?:no|nope){_END}|no it | no,", "de": rf"nein{_STOP}", "fr": rf"non{_STOP}", "es": rf"no{_END}",
    "zh": rf"(?:不|不是|不是的|没有|沒有|否|不会|不能|没|不在|不可以|不对){_END}", "ja": rf"(?:いいえ|いえ|いや){_END}|いいえ",
    "ko": rf"(?:아니요|아니오|아뇨|아닙니다|아니){_STOP}", "ar": rf"(?:لا|كلا){_END}",
}  # fmt: skip
_NEGATIVE = re.compile(
    r"n['’]t\b|\bnot\b|\bno\b|\bnicht\b|\bkein|\bpas\b|ない|ません|不|没|안 |않|못|لا |ليس|لم ",
    re.I,
)


def marks_differ(source: str, target: str, languages: tuple[str, str]) -> str | None:
    """Say which mark, such as <image>, one text has more often than the other."""
    if not any(sign in text for text in (source, target) for sign in "<{"):
        return None
    ours, theirs = (
        Counter(re.sub(r"\s", "", mark).lower() for mark in _MARK.findall(text))
        for text in (source, target)
    )
    for mark in sorted(ours | theirs):
        if ours[mark] != theirs[mark]:
            return f"{mark} {ours[mark]} times in the source, {theirs[mark]} times here"
    return None


def option_differs(source: str, target: str, languages: tuple[str, str]) -> str | None:
    """Say that two answers to a question with options choose another one."""
    ours, theirs = _choice(source, languages[0]), _choice(target, languages[1])
    if ours and theirs and ours != theirs:
        return f"option {ours} in the source, {theirs} here"
    return None


def _choice(text: str, language: str) -> str | None:
    text = unicodedata.normalize("NFKC", text)
    if found := _CHOICE.search(text):
        return (found[1] or found[2]).upper()
    if language == "ar" and (found := _ARABIC_CHOICE.search(text)):
        return _ARABIC_LETTERS[found[1]]
    return None


def polarity_differs(source: str, target: str, languages: tuple[str, str]) -> str | None:
    """Say that one text begins with yes and the other with no."""
    ours, theirs = _polarity(source, languages[0]), _polarity(target, languages[1])
    if ours and theirs and ours != theirs:
        return f"{ours} in the source, {theirs} here"
    return None


def _polarity(text: str, language: str) -> str | None:
    text = text.strip(" \n\t\"'“”「『«*").lower()
    for said, patterns in (("yes", _YES), ("no", _NO)):
        if language in patterns and re.match(patterns[language], text):
            return said
    return None


# The filter

_QUICK = {
    "numbers": r"\d|[٠-٩۰-۹０-９]|(?i:\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|zwei|drei|vier|fünf|sechs|sieben|acht|"
    r"neun|zehn|elf|zwölf|deux|trois|quatre|cinq|sept|huit|dix|onze|douze|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|doce)\b)|"
    r"[二两兩俩三四五六七八九十]|(?:두|둘|세|셋|넷|다섯|여섯|일곱|여덟|아홉|열)(?: |$)|اثن|ثلاث|أربع|خمس|ست|سبع|ثمان|تسع|عشر",
    "marks": r"<\s?/?\s?[a-z]|\{",
    "option": r"^\W*[A-HＡ-Ｈأابجد](?:\W|$)|(?i:answer|option|choice|antwort|réponse|respuesta|opción)|答案|选|選|答え|正解|정답|답|الإجابة|الجواب|الخيار",
    "polarity": r"^\W*(?i:yes|yeah|yep|no|nope|ja|doch|nein|oui|non|s[ií]|是|对|對|有|会|可以|能|在|不|没|沒|否|はい|ええ|うん|そう|いい|いえ|いや|네|예|"
    r"그렇|맞|응|아니|아뇨|아닙|نعم|أجل|بلى|لا|كلا)",
}
"""What a text has, in RE2, for which a pair is looked at closely."""
_SAME = r"[^\p{L}\p{M}\p{N}]+"
_LOOKED = """
CREATE OR REPLACE TEMP TABLE looked_{field} AS
SELECT id, split_part(lower(language), '-', 1) AS language, length({field}) / CASE split_part(lower(language), '-', 1) {lengths} END AS size,
       {quick} AS closer, hash(lower(regexp_replace({field}, {same}, '', 'g'))) AS text, len(regexp_extract_all({field}, '\\p{{L}}+')) AS words
FROM instructions WHERE translation_of IS NOT NULL OR id IN (SELECT translation_of FROM instructions WHERE translation_of IS NOT NULL)"""
_PAIRS = """
SELECT c.id, t.language AS language, s.language AS source_language, {long} AS is_long, {same} AS is_same, t.size / s.size AS ratio,
       c.translation_of AS source
FROM candidates AS c JOIN looked_{field} AS t ON t.id = c.id JOIN looked_{field} AS s ON s.id = c.translation_of
WHERE t.language <> s.language AND ({long} OR {same} OR t.closer OR s.closer)"""
_TEXTS = """
SELECT p.*, t.{field} AS target, s.{field} AS source_text, s.instruction AS asked
FROM differing AS p JOIN instructions AS t ON t.id = p.id JOIN instructions AS s ON s.id = p.source ORDER BY p.source, p.id"""


@dataclass(frozen=True)
class Differ:
    """What `translations_differ` asks; its repr says all that it depends on."""

    checks: tuple[str, ...]
    fields: tuple[str, ...]
    proportion: float
    words: int
    version: int = 1

    @property
    def measures(self) -> tuple[str, ...]:
        return ()

    def __call__(self, connection: duckdb.DuckDBPyConnection, kept: Path) -> pyarrow.Table:
        """Return record, reason and score of what is dropped.

        Args:
            connection: Has `candidates`.
            kept: The folder of the measures, of which there are none.
        """
        import pyarrow as pa

        found: dict[str, tuple[str, float | None]] = {}
        for field in self.fields:
            for row in self._rows(connection, field):
                if row["id"] not in found and (said := self._said(row, field)):
                    found[row["id"]] = said
        return pa.table(
            {
                "record": pa.array(found, pa.string()),
                "reason": pa.array([reason for reason, _ in found.values()], pa.string()),
                "score": pa.array([score for _, score in found.values()], pa.float64()),
            }
        )

    def _rows(self, connection: duckdb.DuckDBPyConnection, field: str) -> Iterator[dict[str, Any]]:
        """Yield the pairs that need a closer look."""
        quick = [
            f"regexp_matches({field}, {quoted(_QUICK[c])})" for c in self.checks if c in _QUICK
        ]
        lengths = " ".join(f"WHEN {quoted(code)} THEN {share}" for code, share in LENGTHS.items())
        connection.execute(
            _LOOKED.format(
                field=field,
                lengths=lengths,
                quick=" OR ".join(quick) or "false",
                same=quoted(_SAME),
            )
        )
        long = f"greatest(t.size, s.size) + {_SLACK} > {self.proportion!r} * (least(t.size, s.size) + {_SLACK})"
        same = f"t.text = s.text AND t.words >= {self.words:d}"
        pairs = _PAIRS.format(
            field=field,
            long=f"coalesce({long}, false)" if "length" in self.checks else "false",
            same=f"({same})" if "untranslated" in self.checks else "false",
        )
        connection.execute(f"CREATE OR REPLACE TEMP TABLE differing AS {pairs}")
        for batch in connection.sql(_TEXTS.format(field=field)).to_arrow_reader(4_096):
            yield from batch.to_pylist()

    def _said(self, row: dict[str, Any], field: str) -> tuple[str, float | None] | None:
        if row["is_same"]:
            return f"untranslated: the {field} is that of its source", None
        if row["is_long"]:
            times = row["ratio"] if row["ratio"] >= 1 else 1 / max(row["ratio"], 1e-6)
            more = "longer" if row["ratio"] >= 1 else "shorter"
            return f"length: the {field} is {times:.1f} times {more} than that of its source", row[
                "ratio"
            ]
        if max(len(row["source_text"]), len(row["target"])) > LONGEST:
            return None
        languages = row["source_language"], row["language"]
        for name in self.checks:
            if name in _CLOSER and _is_asked(name, field, row["asked"]):
                said = _CLOSER[name](row["source_text"], row["target"], languages)
                if said:
                    return f"{name}: the {field} has {said}", None
        return None


_CLOSER = {
    "numbers": numbers_differ,
    "marks": marks_differ,
    "option": option_differs,
    "polarity": polarity_differs,
}


def _is_asked(check: str, field: str, asked: str) -> bool:
    """Say whether a check means something for a text, by the question of the source."""
    if check == "option":
        return field == "answer" and bool(_OFFERS.search(asked[:LONGEST]))
    if check == "polarity":  # languages answer negative questions in two ways
        return field == "answer" and not _NEGATIVE.search(asked)
    return True


def translations_differ(
    *,
    checks: Sequence[str] = CHECKS,
    proportion: float = 3.0,
    words: int = 4,
    field: Either = "either",
) -> Differ:
    """Drop a translation that does not say what its source says; its source stays, and so does one whose source is not there.

    Args:
        checks: Of "numbers", "marks", "option", "polarity", "length" and "untranslated".
        proportion: How many times longer or shorter than its source, each in its language, a text may be.
        words: Texts of fewer words are not called untranslated: they may be names.
        field: Which text.
    """
    if unknown := [check for check in checks if check not in CHECKS]:
        raise ValueError(f"'checks' cannot hold {unknown[0]!r}; there are {', '.join(CHECKS)}")
    if not proportion > 1:
        raise ValueError(f"'proportion' cannot be {proportion!r}; it is a number above 1")
    fields = ("instruction", "answer") if field == "either" else (field,)
    return Differ(tuple(dict.fromkeys(checks)), fields, float(proportion), words)
