"""Are a text's numbers all in its translation? Pure.

The same number is written 1,250.5 or 1.250,5 or ١٬٢٥٠٫٥ or １２５０.5; 120,000 is 12万; 3 pm is 15 h; the 19th century is le XIXe siècle;
in Chinese, Japanese and Korean a small number may be a word. All of these keep it. A text that says numbers in words
(twelve, December) may get digits.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

from syphus.translate.languages import Language

_SPACE = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d)")
_FORMATTED = re.compile("<(?:super|sub|circle|fraction)>")
_MARKS = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_JOINED = re.compile(r"\d+(?:[.,'’٫٬·]\d+)*")
_SPACED = re.compile(r"\d+(?:[.,'’٫٬·]\d+| \d{3}(?!\d))*")
_RUN = re.compile(r"\d+")
_NOT_DIGIT = re.compile(r"\D")
_LARGE = re.compile(
    r"(\d+(?:\.\d+)?)[\s-]?((?:[百千万萬만億亿억천백])+|(?:hundred|thousand|million|billion)\b)"
)
_VALUES = {
    "百": 100, "백": 100, "千": 1000, "천": 1000, "万": 10**4, "萬": 10**4, "만": 10**4,
    "億": 10**8, "亿": 10**8, "억": 10**8,
}  # fmt: skip
_ENGLISH_VALUES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_AFTERNOON = re.compile(r"\b(\d{1,2})(?:[:.]\d\d)?\s?p\.?\s?m\b", re.IGNORECASE)
_ORDINAL = re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)\b")
_SAID = re.compile(
    r"""\b(?:(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen
       |(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|million|billion|half|halves|quarter|dozen|double|triple|single
       |couple|pair|both|once|twice|zero|noon|midnight|century|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth
       |twelfth|January|February|March|April|May|June|July|August|September|October|November|December)s?)\b""",
    re.VERBOSE | re.IGNORECASE,
)
_HAN = "零一二三四五六七八九"
_SINO = "영일이삼사오육칠팔구"
_KANA = ("", "ひと", "ふた", "みっ", "よっ", "いつ", "むっ", "なな", "やっ", "ここの", "とお")
_NATIVE = ("", "하나 한", "둘 두", "셋 세", "넷 네", "다섯", "여섯", "일곱", "여덟", "아홉", "열")
_NATIVE_TENS = ("", "열", "스물 스무", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")


def numbers_kept(source: str, text: str, *, language: Language, origin: Language) -> str | None:
    """Say which number of a text is not in its translation, or only there; None if all is well."""
    said, wanted_ways = _usual(text), _ways(_usual(source))
    found_ways = _ways(said)
    if language.base in ("zh", "ja", "ko"):
        found_ways += _ways(_written_out(said))
        wanted_ways += _ways(_written_out(_usual(source)))
    spare = len(_SAID.findall(source)) if origin.base == "en" else len(source)
    problem = None
    for wanted in wanted_ways:
        for found in found_ways:
            missing = _missing(wanted - found, source, said, language)
            extra = found - wanted
            # "A dog" may become 1匹の犬.
            if not missing and extra.total() - extra["1"] <= spare + (wanted - found).total():
                return None
            problem = problem or _said(missing, extra)
    return problem


def _said(missing: list[str], extra: Counter[str]) -> str:
    if missing:
        return f"the number {missing[0]} is missing"
    return f"the number {next(iter(extra))} is not in the record"


def _missing(missing: Counter[str], source: str, text: str, language: Language) -> list[str]:
    """Return the numbers that are not there in any other way either."""
    others = {}
    for hour in _AFTERNOON.findall(source):
        others[hour] = [str(int(hour) % 12 + 12)]
    for number in _ORDINAL.findall(source):
        others.setdefault(number, []).append(_roman(int(number)))
    return [
        number
        for number in missing.elements()
        if not any(
            re.search(rf"(?<![\dIVX]){other}(?![\dIVX])", text) for other in others.get(number, ())
        )
        and not any(word in text for word in _words(number, language))
    ]


def _usual(text: str) -> str:
    """Return a text with ASCII digits, without invisible marks, and with one separator for all spaces in numbers."""
    text = _SPACE.sub("'", _MARKS.sub("", text))
    # NFKC would make m² and ½ part of the number beside them.
    text = "".join(f" {c} " if _FORMATTED.match(unicodedata.decomposition(c)) else c for c in text)
    text = unicodedata.normalize("NFKC", text)
    return "".join(str(unicodedata.digit(c)) if c.isdecimal() else c for c in text)


def _ways(text: str) -> list[Counter[str]]:
    """Return the numbers of a text, told apart in each of the ways in which separators can be meant."""
    return [
        Counter(_NOT_DIGIT.sub("", number) for number in pattern.findall(text))
        for pattern in (_JOINED, _RUN, _SPACED)
    ]


def _written_out(text: str) -> str:
    """Write 12万 as 120000, and 1.5 million as 1500000."""

    def number(match: re.Match[str]) -> str:
        value, unit = float(match[1]), match[2]
        for factor in (
            [_ENGLISH_VALUES[unit]] if unit in _ENGLISH_VALUES else map(_VALUES.get, unit)
        ):
            value *= factor or 1
        return f"{value:.0f} "

    return _LARGE.sub(number, text)


def _roman(number: int) -> str:
    tens, ones = divmod(number, 10)
    written = ("", "X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX", "XC")[tens]
    return written + ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")[ones]


def _words(number: str, language: Language) -> Iterator[str]:
    """Write a small number in words, in the languages where numbers are often words."""
    if len(number) > 2:
        return
    value = int(number)
    tens, ones = divmod(value, 10)
    if language.base in ("zh", "ja"):
        yield _positional(tens, ones, _HAN, "十")
        if value == 2:
            yield from "两兩"
        if language.base == "ja" and 0 < value <= 10:
            yield _KANA[value]
    elif language.base == "ko":
        yield _positional(tens, ones, _SINO, "십")
        for ten in _NATIVE_TENS[tens].split() or [""]:
            yield from (ten + one for one in _NATIVE[ones].split() or [""] if ten + one)


def _positional(tens: int, ones: int, digits: str, ten: str) -> str:
    if not tens:
        return digits[ones]
    return (digits[tens] if tens > 1 else "") + ten + (digits[ones] if ones else "")
