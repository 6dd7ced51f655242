"""Filters of what should not be learned or passed on: abuse, personal data, sources and licences that are not wanted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mimicit.curate.base import Columns, Either, Measure, Sql, quoted
from mimicit.errors import MissingExtraError

if TYPE_CHECKING:
    import pyarrow

LEXICON = (
    "fuck", "fucks", "fucked", "fucker", "fuckers", "fucking", "motherfucker", "motherfuckers", "motherfucking", "bullshit",
    "shit", "shitty", "shithead", "asshole", "assholes", "arsehole", "cunt", "cunts", "whore", "whores", "dickhead",
    "nigger", "niggers", "nigga", "faggot", "faggots", "kike", "kikes", "wetback", "retarded", "kill yourself", "kys",
    "arschloch", "arschlöcher", "hurensohn", "fotze", "wichser", "missgeburt", "scheiße", "scheisse",
    "connard", "connards", "connasse", "salope", "salopes", "enculé", "enculés", "nique ta mère", "putain de merde",
    "hijo de puta", "hijos de puta", "gilipollas", "maricón", "maricones", "coño", "hijueputa", "pendejo",
    "傻逼", "操你妈", "他妈的", "婊子", "狗杂种", "クソ野郎", "くたばれ", "ぶっ殺す", "씨발", "병신", "개새끼", "좆같",
    "شرموطة", "كس أمك", "عاهرة",
)  # fmt: skip
"""Words that are abuse wherever they stand. Left out is what names an animal, a plant, a place or a dish in some picture."""

_DENSE = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]"


def toxic(*, words: Sequence[str] = LEXICON, field: Either = "either") -> str:
    """Drop a text with one of these words, whole, in any case.

    Args:
        words: In place of the list that is shipped.
        field: Which text.
    """
    import re

    dense = [w for w in words if re.search(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]", w)]
    spaced = [w for w in words if w not in dense]
    found = [rf"(?:^|[^\p{{L}}\p{{N}}])(?:{_any(spaced)})(?:$|[^\p{{L}}\p{{N}}])"] if spaced else []
    pattern = quoted("(?i)" + "|".join([*found, *([_any(dense)] if dense else [])]))
    text = _text(field)
    inner = rf"trim(regexp_replace(regexp_extract({text}, {pattern}), '[^\p{{L}}\p{{M}}\p{{N}} ]', '', 'g'))"
    return (
        f"CASE WHEN regexp_matches({text}, {pattern}) THEN printf('it is abusive: %s', {inner}) END"
    )


def _any(words: Sequence[str]) -> str:
    return "|".join(
        "".join(c if c.isalnum() or c == " " else f"\\x{{{ord(c):x}}}" for c in word)
        for word in words
    )


# By a library


def _probabilities(batch: pyarrow.RecordBatch) -> Columns:
    model = _profanity()
    columns = {}
    for field, name in (("instruction", "asked"), ("answer", "said")):
        texts = [text or "" for text in batch[field].to_pylist()]
        unlike = list(dict.fromkeys(texts))
        known = dict(zip(unlike, model(unlike), strict=True)) if unlike else {}
        columns[name] = [float(known[text]) for text in texts]
    return columns


@cache
def _profanity() -> Any:
    try:
        return import_module("profanity_check").predict_prob
    except ModuleNotFoundError:
        raise MissingExtraError("alt-profanity-check", "curate") from None


PROFANITY = Measure(
    columns={"asked": "FLOAT", "said": "FLOAT"},
    reads=("instruction", "answer"),
    compute=_probabilities,
)


def toxic_by_model(*, share: float = 0.95, field: Either = "either") -> Sql:
    """Drop an English text that `alt-profanity-check` takes for abuse with at least this probability."""
    value = {
        "instruction": "profanity_asked",
        "answer": "profanity_said",
        "either": "greatest(profanity_asked, profanity_said)",
    }[field]
    return Sql(
        f"CASE WHEN {value} >= {float(share)!r} THEN printf('it is abusive: %.2f', {value}::DOUBLE) END",
        value,
    )


# Personal data

KINDS = ("email", "phone", "iban", "card", "ip")
_EMAIL = r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}"
_CALL = r"(?:tel|telefon|telephone|téléphone|teléfono|phone|call|mobile|cell|handy|fax|whatsapp|电话|手机|電話|携帯|전화|휴대폰|هاتف|جوال)"
_PHONE = (
    r"\+[1-9]\d{0,2}(?:[ .()/-]{0,2}\d){7,12}\b",
    r"(?:^|[^\d.,-])\(?\d{3}\)?[ .-]\d{3}[.-]\d{4}(?:$|[^\d-])",
    r"(?:^|[^\d.,])(?:1[3-9]\d{9}|0\d{1,3}-\d{2,4}-\d{4}|01[016789]-?\d{3,4}-?\d{4}|0[1-9](?:[ .]\d{2}){4})(?:$|[^\d.,-]|[.,](?:$|\D))",
    rf"(?i)(?:^|[^\p{{L}}]){_CALL}[.:：]?(?: ?(?:number|no\.?|nr\.?|nummer|me|号码?|番号|번호|us))?(?: ?(?:is|at|on|ist|est|es|是|は|는))?[ .:：]{{0,3}}\+?\d(?:[ .()/-]{{0,2}}\d){{6,13}}",
)
_IBAN = r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"
_CARD = r"(?:^|[^\d.,-])([3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{3,4}|3[47]\d{2}[ -]?\d{6}[ -]?\d{5})(?:$|[^\d])"
_BYTE = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IP = rf"(?:^|[^\d.:\w])((?:{_BYTE}\.){{3}}{_BYTE}|(?:[0-9a-fA-F]{{1,4}}:){{7}}[0-9a-fA-F]{{1,4}})(?:$|[^\d.:\w]|\.(?:$|\D))"
_PRIVATE = r"^(?:0|10|127|192\.168|169\.254|172\.(?:1[6-9]|2\d|3[01])|255)\.|^(?:192\.0\.2|198\.51\.100|203\.0\.113)\."
_DIGITS = r"\d(?:[ ().,:/-]{0,2}\d){6}"


def personal_data(*, kinds: Sequence[str] = KINDS, field: Either = "either") -> str:
    """Drop a text with somebody's e-mail address, telephone number, IBAN, card number or IP address.

    IBANs and card numbers must have right check digits; dates, counts, coordinates and addresses of examples are none.

    Args:
        kinds: Of `email`, `phone`, `iban`, `card`, `ip`.
        field: Which text.

    Raises:
        ValueError: another kind.
    """
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"'kinds' knows {', '.join(KINDS)}, not {', '.join(sorted(unknown))}")
    text = _text(field)
    whens = "".join(_personal(text)[kind] for kind in KINDS if kind in kinds)
    digits = f"regexp_matches({text}, {quoted(_DIGITS)})"
    guard = f"contains({text}, '@') OR {digits}" + (
        rf" OR regexp_matches({text}, '\d\.\d{{1,3}}\.\d{{1,3}}\.\d')" if "ip" in kinds else ""
    )
    return f"CASE WHEN NOT ({guard}) THEN NULL {whens} END"


def _personal(text: str) -> dict[str, str]:
    email = rf"list_filter(regexp_extract_all({text}, {quoted(_EMAIL)}), lambda e: NOT regexp_matches(e, '(?i)@(?:\w+\.)*example\.|@domain\.|\.(?:png|jpe?g)$'))"
    iban = f"list_filter(regexp_extract_all({text}, {quoted(_IBAN)}), lambda i: {_mod97('i')} = 1)"
    card = f"list_filter(regexp_extract_all({text}, {quoted(_CARD)}, 1), lambda c: {_luhn('c')} % 10 = 0)"
    ip = f"list_filter(regexp_extract_all({text}, {quoted(_IP)}, 1), lambda a: a <> '' AND NOT regexp_matches(a, {quoted(_PRIVATE)}))"
    phone = quoted("|".join(f"(?:{one})" for one in _PHONE))
    version = r"(?i)(?:version|firmware|release|build|\bv)\s*[:.]?\s*\d"
    return {
        "email": f"WHEN contains({text}, '@') AND len({email}) > 0 THEN printf('an e-mail address: %s', {email}[1]) ",
        "iban": f"WHEN len({iban}) > 0 THEN printf('an IBAN: %s', {iban}[1]) ",
        "card": f"WHEN len({card}) > 0 THEN printf('a card number: %s', {card}[1]) ",
        "phone": f"WHEN regexp_matches({text}, {phone}) THEN printf('a telephone number: %s', trim(regexp_extract({text}, {phone}))) ",
        "ip": f"WHEN NOT regexp_matches({text}, {quoted(version)}) AND len({ip}) > 0 THEN printf('an IP address: %s', {ip}[1]) ",
    }


def _luhn(number: str) -> str:
    """Return the sum of a card number's digits, every second one from the right doubled, as an expression."""
    digits = rf"string_split(reverse(regexp_replace({number}, '\D', '', 'g')), '')"
    doubled = "CASE WHEN p % 2 = 1 THEN d::INTEGER WHEN d::INTEGER > 4 THEN 2 * d::INTEGER - 9 ELSE 2 * d::INTEGER END"
    return f"list_sum(list_transform({digits}, lambda d, p: {doubled}))"


def _mod97(number: str) -> str:
    """Return an IBAN's remainder, as an expression: a letter stands for 10 to 35."""
    bare = f"replace({number}, ' ', '')"
    turned = f"substr({bare}, 5) || left({bare}, 4)"
    value = "CASE WHEN ord(x) < 58 THEN ord(x) - 48 ELSE ord(x) - 55 END"
    values = f"list_transform(string_split({turned}, ''), lambda x: {value})"
    return f"list_reduce({values}, lambda r, v: CASE WHEN v < 10 THEN (r * 10 + v) % 97 ELSE (r * 100 + v) % 97 END)"


# Where it is from


def source_rule(
    *,
    allow_sources: Sequence[str] = (),
    deny_sources: Sequence[str] = (),
    allow_licences: Sequence[str] = (),
    deny_licences: Sequence[str] = (),
) -> str:
    """Drop a record by its source, or by the licence (`licence` or `license`) that its `meta` names.

    `*` and `?` stand for anything and for one character, case makes no difference, and `photos.json` is also `photos.json#42`.
    Who allows some only drops what names none.

    Raises:
        ValueError: no rule is given.
    """
    licence = (
        "CASE WHEN json_valid(meta) THEN coalesce(json_extract_string(meta, '$.licence'), "
        "json_extract_string(meta, '$.license')) END"
    )
    rules = (
        ("source", "source", allow_sources, deny_sources),
        ("licence", f"({licence})", allow_licences, deny_licences),
    )
    whens = ""
    for name, value, allowed, denied in rules:
        if denied:
            whens += (
                f"WHEN {_like(value, denied)} THEN printf('its {name} is not wanted: %s', {value}) "
            )
        if allowed:
            whens += (
                f"WHEN {value} IS NULL THEN 'it names no {name}' "
                f"WHEN NOT {_like(value, allowed)} THEN printf('its {name} is not among those allowed: %s', {value}) "
            )
    if not whens:
        raise ValueError(
            "'source_rule' needs a list: allow_sources, deny_sources, allow_licences or deny_licences"
        )
    return f"CASE {whens}END"


def _like(value: str, patterns: Sequence[str]) -> str:
    lower = f"lower({value})"
    found = " OR ".join(
        f"{lower} GLOB {quoted(one)} OR {lower} GLOB {quoted(one + '#*')}"
        for one in (pattern.lower() for pattern in patterns)
    )
    return f"coalesce({found}, false)"


def _text(field: str) -> str:
    return "concat_ws(chr(10), instruction, answer)" if field == "either" else field
