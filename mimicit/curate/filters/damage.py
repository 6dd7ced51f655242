"""Filters of what is broken: bytes read in the wrong encoding, scripts that do not belong together."""

from __future__ import annotations

from mimicit.curate.base import Either, Field, Sql, quoted

_LOW = "[\\x{80}-\\x{BF}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
"""The second byte of a letter, read as Latin-1 or as Windows has it."""
_BROKEN = (
    "\\x{FFFD}",
    "Ã[\\x{80}-\\x{BF}€‚ƒ„†‡ˆ‰Š‹ŒŽ•˜™š›œžŸ]",
    "Â[\\x{80}-\\x{BF}]",
    "â€|â„¢|ï¿½|ï»¿|ðŸ|锟斤拷|烫烫烫|Ã¢",
    "ã[\\x{81}-\\x{83}‚ƒ]" + _LOW,
    "[äåæçèéêëì]" + _LOW + "{2}",
    "(?:[ÐÑ][\\x{80}-\\x{BF}€‚ƒ„†‡ˆ‰Š‹Œ°±²³´µ¶·¸¹º»¼½¾¿]){2}",
    "(?:[ØÙ][\\x{80}-\\x{BF}€‚ƒ„†‡ˆ‰Š‹Œ]){2}",
    "[\\x{80}-\\x{9F}\\x{E000}-\\x{F8FF}\\x{FEFF}]",
)
_ASCII = (
    "[\\x{1}-\\x{8}\\x{B}\\x{C}\\x{E}-\\x{1F}\\x{7F}]",
    r"\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}",
    r"&(?:amp|lt|gt|quot|apos|nbsp|hellip|[mn]dash|[lr][sd]quo|copy|reg|deg|[a-zA-Z](?:acute|grave|uml|circ|tilde|cedil)|szlig|#\d{2,6}|#x[0-9a-fA-F]{2,5});",
)


def encoding_damage(*, field: Either = "either") -> str:
    """Drop a text with letters that were read wrongly ("Ã©", "â€™"), U+FFFD, HTML entities or control characters.

    Where the text speaks of HTML, an entity may be meant.
    """
    text = "concat_ws(chr(10), instruction, answer)" if field == "either" else field
    ascii_, broken = quoted("|".join(_ASCII)), quoted("|".join(_BROKEN))
    reason = "printf('the encoding is damaged: %s', {})"
    shown = f"replace(regexp_extract({text}, {{}}), chr(65533), 'U+FFFD')"
    return (
        f"CASE WHEN regexp_matches({text}, {ascii_}) AND NOT regexp_matches({text}, '(?i)\\bhtml\\b|unicode') "
        f"THEN {reason.format(shown.format(ascii_))} "
        f"WHEN strlen({text}) > length({text}) AND regexp_matches({text}, {broken}) "
        f"THEN {reason.format(shown.format(broken))} END"
    )


_LATIN = (
    "en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "nb", "nn", "fi", "is", "pl", "cs", "sk", "sl", "hr", "ro", "hu",
    "et", "lv", "lt", "tr", "id", "ms", "vi", "ca", "gl", "eu", "sw", "af", "tl",
)  # fmt: skip
_STRANGE: tuple[tuple[tuple[str, ...], str], ...] = (
    (_LATIN, r"[\p{Cyrillic}\p{Greek}\p{Arabic}\p{Hebrew}\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Devanagari}]"),
    (("zh",), r"[\p{Cyrillic}\p{Arabic}\p{Hebrew}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Devanagari}]"),
    (("ja",), r"[\p{Cyrillic}\p{Arabic}\p{Hebrew}\p{Hangul}\p{Thai}\p{Devanagari}]"),
    (("ko",), r"[\p{Cyrillic}\p{Arabic}\p{Hebrew}\p{Hiragana}\p{Katakana}\p{Thai}\p{Devanagari}]"),
    (("ar", "fa", "ur"), r"[\p{Cyrillic}\p{Hebrew}\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Devanagari}]"),
    (("ru", "uk", "bg", "sr"), r"[\p{Arabic}\p{Hebrew}\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Devanagari}]"),
)  # fmt: skip
"""Languages, and the scripts that they do not use. Latin is used everywhere, for names."""
_LOOKALIKE = r"(?:[\p{Latin}][АВСЕНІЈКМОРЅТХаеорсухіјѕԁһΑΒΕΖΗΙΚΜΝΟΡΤΥΧο]|[АВСЕНІЈКМОРЅТХаеорсухіјѕԁһΑΒΕΖΗΙΚΜΝΟΡΤΥΧο][\p{Latin}])"
"""A Cyrillic or Greek letter that looks Latin, inside a Latin word."""
_SENTENCE = r"(?:^|[.!?。！？؟\n])\s*(?:{}[\s,、，،]*){{8,}}"
"""So many letters of a strange script where a sentence begins."""
_AROUND = rf"[\p{{L}}]*{_LOOKALIKE}[\p{{L}}]*"
_READS = "(?i)\\b(?:says?|read(?:s|ing)?|written|writes?|writing (?:on|in|says|reads|is|above|below)|(?:the|some|of|chinese|japanese|korean|arabic) writing|text|words?|signs?|letters?|characters?|languages?|translat\\w*|logo|labels?|title|name[ds]?|script|symbols?|alphabet|spell\\w*|aufschrift|schriftzug|geschrieben|écrit|escrit[oa]|dice|schild|panneau|cartel)\\b|写|文字|字符|标志|書|看板|글자|쓰여|적혀|مكتوب|لافتة"


def mixed_script(
    *, share: float = 0.05, letters: int = 2, reading: bool = True, field: Field = "answer"
) -> Sql:
    """Drop a text with Cyrillic or Greek letters inside Latin words, or with a script that its language does not use.

    A whole sentence of such a script is one too many, however long the text; a name in brackets is none.

    Args:
        share: Of a text's characters, those of strange scripts.
        letters: So many strange letters at least.
        reading: Let a record be where question or answer is about what is written in the picture.
        field: Which text.
    """
    base = "split_part(lower(language), '-', 1)"
    strange = " ".join(
        f"WHEN {base} IN ({', '.join(map(quoted, languages))}) THEN len(regexp_extract_all({field}, {quoted(pattern)}))"
        for languages, pattern in _STRANGE
    )
    count = f"(CASE {strange} ELSE 0 END)"
    both = "concat_ws(' ', instruction, answer)"
    read = f" AND NOT regexp_matches({both}, {quoted(_READS)})" if reading else ""
    wide = f"strlen({field}) > length({field})"
    cyrillic = f"{base} NOT IN ('ru', 'uk', 'bg', 'sr', 'mk', 'be', 'el')"
    lookalike = f"{wide} AND {cyrillic} AND regexp_matches({field}, {quoted(_LOOKALIKE)})"
    sentence = " ".join(
        f"WHEN {base} IN ({', '.join(map(quoted, languages))}) THEN regexp_matches({field}, {quoted(_SENTENCE.format(pattern))})"
        for languages, pattern in _STRANGE
    )
    mixed = (
        f"{wide} AND {count} >= {letters:d} AND "
        f"({count} >= {float(share)!r} * length({field}) OR (CASE {sentence} ELSE false END)){read}"
    )
    return Sql(
        f"CASE WHEN {lookalike} THEN printf('letters of two scripts in one word: %s', "
        f"regexp_extract({field}, {quoted(_AROUND)})) "
        f"WHEN {mixed} THEN printf('%d letters of a script that %s does not use', {count}, language) END",
        f"CASE WHEN {mixed} THEN {count} / length({field}) END",
    )
