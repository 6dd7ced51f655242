"""Which script a letter belongs to: enough to tell what a text is written in."""

from __future__ import annotations

import re
from collections import Counter

_RANGES = {
    "Latin": "A-Za-zªºÀ-ÖØ-öø-ɏɐ-ʯḀ-ỿꜢ-ꟿａ-ｚＡ-Ｚ",
    "Han": "々〇㐀-䶿一-鿿豈-\ufaff\U00020000-\U0003134f",
    "Kana": "ぁ-ゖゝゞァ-ヺー-ヿㇰ-ㇿｦ-ﾝ",
    "Hangul": "ᄀ-ᇿㄱ-ㆎꥠ-ꥼ가-힣ힰ-ퟻ",
    "Arabic": "\u0620-\u065f\u066e-\u06d3\u06d5-\u06ef\u06fa-\u06ff\u0750-\u077f\u0870-\u08ff\ufb50-\ufdff\ufe70-\ufefc",
    "Cyrillic": "Ѐ-ҁҊ-ԯᲀ-ᲈꙀ-ꙮꚀ-ꚝ",
    "Greek": "Ͱ-ͽͿ-Ͽἀ-ῼ",
    "Hebrew": "\u05d0-\u05f2\ufb1d-\ufb4f",
    "Devanagari": "\u0900-\u0963\u0971-\u097f\ua8e0-\ua8ff",
    "Bengali": "\u0980-\u09e3\u09f0\u09f1",
    "Gurmukhi": "\u0a01-\u0a5e\u0a70-\u0a76",
    "Gujarati": "\u0a81-\u0ae3\u0af9-\u0aff",
    "Oriya": "\u0b01-\u0b63\u0b71",
    "Tamil": "\u0b82-\u0bd7",
    "Telugu": "\u0c00-\u0c63",
    "Kannada": "\u0c80-\u0ce3\u0cf1\u0cf2",
    "Malayalam": "\u0d00-\u0d63\u0d7a-\u0d7f",
    "Sinhala": "\u0d81-\u0ddf",
    "Thai": "\u0e01-\u0e3a\u0e40-\u0e4e",
    "Lao": "\u0e81-\u0ecd\u0edc-\u0edf",
    "Tibetan": "\u0f00\u0f40-\u0fbc",
    "Burmese": "\u1000-\u103f\u1050-\u108f\uaa60-\uaa7f",
    "Georgian": "Ⴀ-ჿᲐ-Ჿⴀ-ⴭ",
    "Armenian": "Ա-Ֆՙա-ֈ",
    "Ethiopic": "ሀ-ፚᎀ-ᎏⶀ-ⷞ",
    "Khmer": "\u1780-\u17d3\u17d7",
    "Thaana": "\u0780-\u07b1",
    "Mongolian": "\u1820-\u18aa",
    "Yi": "\ua000-\ua48c",
    "Avestan": "\U00010b00-\U00010b35",
    "Canadian": "\u1401-\u167f",
}
_LETTERS = {script: re.compile(f"[{ranges}]") for script, ranges in _RANGES.items()}
_DENSE = {"Han": 3, "Kana": 2, "Hangul": 2}
"""Scripts of which one letter says as much as several Latin ones."""


def scripts_in(text: str) -> Counter[str]:
    """Count the letters of each script; those that say more count more."""
    found = {script: len(letters.findall(text)) for script, letters in _LETTERS.items()}
    return Counter({script: n * _DENSE.get(script, 1) for script, n in found.items() if n})
