"""Numbers of a text, whatever they are written with.

They are read in digits of any script, in Chinese and Japanese numerals before a counter, and as words for 2 to 12 in eight languages. What a
text *says* is told from what it may *perhaps* mean: `second`, `dozen`, and a numeral that may be part of another word. 0 and 1 are no
numbers here: half of all languages have them as articles.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

_WORDS = {
    "en": "2 two | both pair couple double second twice dual twin; 3 three | third trio tripl; 4 four | quart quad; "
    "5 five | fifth; 6 six | half; 7 seven |; 8 eight |; 9 nine | ninth; 10 ten |; 11 eleven |; 12 twelve | twelfth dozen",
    "de": "2 zwei | zweit beid paar doppel halb hälfte; 3 drei | dritt; 4 vier |; 5 fünf |; 6 sechs |; 7 sieben | siebt; "
    "8 acht |; 9 neun |; 10 zehn |; 11 elf |; 12 zwölf | dutzend",
    "fr": "2 deux | double couple paire second moitié demi; 3 trois | trio triple tiers; 4 quatre | quatri quart; 5 cinq |; "
    "6 six |; 7 sept |; 8 huit |; 9 | neuf neuvi; 10 dix |; 11 onze |; 12 douze | douzaine",
    "es": "2 dos | amb par doble segund mitad media dúo; 3 tres | terc trío tripl; 4 cuatro | cuart; 5 cinco | quint; 6 seis | sext; "
    "7 siete | séptim; 8 ocho | octav; 9 nueve | noven; 10 diez | décim; 11 | once; 12 doce | docena",
    "ko": "2 두 둘 | 두 둘 쌍 양 이층 이중 이인; 3 세 셋 | 세 셋 삼; 4 넷 | 네 넷 사각 사층 사인 사거; 5 다섯 | 다섯 오각 오층 오인; "
    "6 여섯 | 여섯 육; 7 일곱 | 일곱 칠; 8 여덟 | 여덟 팔; 9 아홉 | 아홉 구; 10 열 | 열 십; 11 열한 | 열한 십일; 12 열두 | 열두 십이",
    "ar": "2 اثنان اثنين اثنتان اثنتين | كلا كلتا زوج ثاني ثنائ نصف; 3 ثلاثة ثلاث | ثالث مثلث; 4 أربعة أربع | رابع رباع مربع ربع; "
    "5 خمسة خمس | خامس خماس; 6 ستة ست | سادس سداس; 7 سبعة سبع | سابع; 8 ثمانية ثماني | ثامن ثمان; 9 تسعة تسع | تاسع; "
    "10 عشرة عشر | عاشر; 11 | أحد إحدى; 12 | اثنا اثني اثنتا",
}  # fmt: skip
"""For each number its words, and after the bar beginnings of words that may stand for it."""
_LARGE = re.compile(
    r"teen\b|\b(?:twent|thirt|fort|fift|sixt|sevent|eight|ninet)y|hundred|thousand|million|zig\b|ßig|hundert|tausend|vingt|trente|"
    r"quarante|cinquante|soixante|cent|mille?|veint|treinta|cuarenta|cincuenta|sesenta|setenta|ochenta|noventa|cien|quince|catorce|trece|"
    r"dieci|treize|quatorze|quinze|seize|zehn\b|스물|스무|서른|마흔|쉰|[이삼사오육칠팔구]십|백|[ء-ي]{2,}ون\b|[ء-ي]{2,}ين\b|مائة|مئة|ألف| عشرة?\b",
    re.IGNORECASE,
)
"""Words of larger numbers, and of what they are made of."""
SCALED = re.compile(
    r"\d[\d.,]{0,20}\s?(?:[百千万萬億亿만천억]|million|mill|mrd|mio|billion|thousand|tausend|mille|mil\b|hundred|cent|ألف|آلاف|مليون|مئة|مائة)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<!\d)\d+(?:[.,'’٬٫\u00a0\u202f]\d+)*(?!\d|\s?[月월進进진])")
_MONTH = re.compile(r"(?<!\d)\d{1,2}\s?[月월]")
_SPACED = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)")
_NO_SPACE = ("en", "zh", "ja", "ko", "ar")
"""Languages that have no spaces within numbers."""
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_WORD = re.compile(r"[^\W\d]+(?:-[^\W\d]+)*")
_SMALL = frozenset({0.0, 1.0})
KEPT = 1_024
"""Texts whose numbers are remembered: a source is read for each of its translations."""
_THOUSANDS = re.compile(r"\d{1,3}([.,'’٬\u00a0\u202f])\d{3}(?:\1\d{3})*")
_KANJI = "〇零一二两兩俩三仨四五六七八九十百千"
_VALUES = {c: n for n, c in enumerate("〇一二三四五六七八九")} | {
    "零": 0,
    "两": 2,
    "兩": 2,
    "俩": 2,
    "仨": 3,
}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_KANJI_RUN = re.compile(f"[{_KANJI}]+")
_COUNTED = re.compile(
    f"(?<![{_KANJI}])([{_KANJI}]+)(?=[个個只隻位名条張张辆輛台頭头匹本枚冊册杯瓶碗把件双雙块塊座间間棵朵架艘盏扇层層岁歲点點つ羽軒階人年])"
)
_ROMAN = re.compile(r"\b[IVX]{1,5}(?=e\b|er\b|ème\b|\b)")
_HALVES = re.compile(r"half|quarter|halb|viertel|demi|quart|media|cuarto|半|반|نصف|ربع", re.I)
_DENSE = ("zh", "ja")


_NOON = re.compile(
    r"\bnoon|midnight|mitt(?:ag|ernacht)|\bmidi\b|minuit|mediod[ií]a|medianoche|正午|中午|午夜|정오|자정|الظهر|منتصف",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a text says in numbers."""

    digits: frozenset[float]
    words: frozenset[float]


@cache
def _lexicon(language: str) -> tuple[dict[str, float], re.Pattern[str], list[float]]:
    """Return words -> number; what words of numbers begin with, a group for each number; and these numbers."""
    words: dict[str, float] = {}
    stems = {}
    for entry in filter(None, _WORDS.get(language, "").split(";")):
        whole, _, parts = entry.partition("|")
        number, *names = whole.split()
        words |= dict.fromkeys(names, float(number))
        stems[float(number)] = "|".join([*names, *parts.split()])
    front = r"\b(?:[وفبلك])?(?:ال)?" if language == "ar" else r"\b"
    largest_first = sorted(stems, reverse=True)  # 열한 before 열
    groups = "|".join(f"({stems[number]})" for number in largest_first)
    return words, re.compile(f"{front}(?:{groups or '(?!)'})"), largest_first


@lru_cache(KEPT)
def numbers(text: str, language: str) -> Numbers:
    """Read the numbers of a text, but for 0 and 1."""
    text = _western(text, language)
    digits = {value for found in _NUMBER.finditer(text) for value in _values(found[0])}
    if language in _DENSE:
        words = {_kanji(found[1]) for found in _COUNTED.finditer(text)}
    else:
        known, _, _ = _lexicon(language)
        words = {known[one] for one in _WORD.findall(text.lower()) if one in known}
        if words and _LARGE.search(text):  # `vingt et deux` is not 2
            words = set()
    return Numbers(frozenset(digits - _SMALL), frozenset(words - _SMALL))


@lru_cache(KEPT)
def perhaps(text: str, language: str) -> tuple[frozenset[float], bool]:
    """Return all numbers that a text may mean, and whether it has some of more than 12 in words."""
    said = numbers(text, language)
    text = _western(text, language)
    found = {float(re.sub(r"\D", "", month[0])) for month in _MONTH.finditer(text)}
    if language in _DENSE:
        for run in _KANJI_RUN.findall(text):
            found |= {_kanji(run), *map(_kanji, run)}
    else:
        _, begins, order = _lexicon(language)
        found |= {order[(one.lastindex or 1) - 1] for one in begins.finditer(text.lower())}
    found |= {float(_roman(letters)) for letters in _ROMAN.findall(text)}
    if _NOON.search(text):
        found |= {12.0, 24.0}
    if _HALVES.search(text):
        found |= {15.0, 30.0, 45.0, 50.0, 2.0, 0.5, 0.25, 25.0}
    return said.digits | said.words | found, bool(_LARGE.search(text))


def _western(text: str, language: str) -> str:
    """Return a text with digits 0 to 9, and none of them with spaces in between."""
    if not text.isascii():
        text = _OTHER_DIGIT.sub(lambda found: str(unicodedata.decimal(found[0])), text)
    if language not in _NO_SPACE:
        text = _SPACED.sub(lambda found: found[0].replace(" ", ""), text)
    return text


def _values(text: str) -> Iterator[float]:
    """Yield a number with separators of thousands or a decimal point; else its parts."""
    if _THOUSANDS.fullmatch(text):
        yield float(re.sub(r"\D", "", text))
    elif re.fullmatch(r"\d+[.,٫]\d+", text):
        yield float(re.sub(r"\D", ".", text))
    else:
        yield from map(float, re.findall(r"\d+", text))


def _kanji(run: str) -> float:
    """Read 二十五 as 25, and 二〇二四 as 2024."""
    if _UNITS.keys().isdisjoint(run):
        return float("".join(str(_VALUES[c]) for c in run))
    total, last = 0, 0
    for c in run:
        if c in _UNITS:
            total, last = total + (last or 1) * _UNITS[c], 0
        else:
            last = _VALUES[c]
    return float(total + last)


def _roman(text: str) -> int:
    values = [{"I": 1, "V": 5, "X": 10}[c] for c in text]
    return sum(-v if v < w else v for v, w in zip(values, [*values[1:], 0], strict=True))
