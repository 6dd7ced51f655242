"""Is a translation whole? What can be seen without knowing the language. Pure.

    placeholders  <image>, {name}, %s, addresses: the same ones, each as often
    numbers       in whatever digits, with whatever separators (see `syphus.translate.numbers`)
    lines         as many
    terms         `--keep`, and what looks like a name or code: COVID-19, iPhone, A380
    copies        the source again, perhaps with other punctuation

Each check returns what is wrong in words that a model is told when it is asked again, or None. In which language a text is, is
`syphus.translate.spoken`'s question.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from syphus.translate.english import FUNCTION_WORDS, NAMED_ELSEWHERE, SHORT_ANSWERS, STRESSED
from syphus.translate.languages import Language
from syphus.translate.numbers import numbers_kept

_PLACEHOLDER = re.compile(
    r"""https?://[!-~]*[\w/&=\#]              # an address ends before a full stop
       |www\.[!-~]*[\w/]
       |[\w.+-]+@[\w-]+(?:\.[\w-]+)+
       |<[|/]?[A-Za-z][\w:.-]{0,40}[^<>\n]{0,80}>
       |\{\{[^{}\n]{0,80}\}\}
       |\{[^{}\n]{0,80}\}
       |(?<![\w%])%(?:\(\w+\)|\d+\$)?[-+\#0]*\d*(?:\.\d+)?[sdifgx](?![a-z])
       |\$\{[^{}\n]{0,80}\}""",
    re.VERBOSE | re.ASCII,
)
_WORD = re.compile(r"[^\W_]+(?:['’\-‐‑&.][^\W_]+)*")
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|‘[^’\n]*’|«[^»\n]*»|(?<!\w)'[^'\n]*'(?!\w)")
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_BROKEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufffd]")

_ACRONYM = re.compile(r"[A-Z][A-Z&.]{0,4}[A-Z]")
_ROMAN = re.compile(r"[IVX]+")
_CAMEL = re.compile(
    r"[a-z]{1,3}[A-Z]\w*|(?!(?:Mc|Mac|De|Di|Du|La|Le|Van|Fitz)[A-Z])[A-Z][a-z]+[A-Z]\w*"
)
_CODE = re.compile(
    r"(?=.*\d)(?:[A-Z]{1,5}\d\w*|\d+[A-Z]\w*|[A-Z]{1,10}(?:-\w+)+|\w+-[A-Z]{1,4}\d\w*)"
)
_TIME = re.compile(r"\d+(?:AM|PM|am|pm)")
_NAME_WORDS = 5
"""Of a name such as Golden Gate Bridge, at most."""


def unfaithful(
    source: str, text: str, *, language: Language, origin: Language, keep: Sequence[str]
) -> str | None:
    """Say what a translation lost or changed; None if nothing.

    Args:
        source: A question or an answer.
        text: Its translation.
        language: Into which it should be.
        origin: The language of `source`.
        keep: Terms that stay as they are.
    """
    if not says_something(source):
        return None
    if not says_something(text):
        return "it is empty"
    checks: tuple[Callable[[], str | None], ...] = (
        lambda: _broken(source, text),
        lambda: _placeholders(source, text),
        lambda: _lines(source, text),
        lambda: _terms(source, text, keep),
        lambda: numbers_kept(
            _PLACEHOLDER.sub(" ", source),
            _PLACEHOLDER.sub(" ", text),
            language=language,
            origin=origin,
        ),
        lambda: _copied(source, text, language, keep),
    )
    return next((problem for check in checks if (problem := check())), None)


def says_something(text: str) -> bool:
    """Return whether a text has a letter or a digit, of any script."""
    return any(map(str.isalnum, text))


def names_in(text: str, keep: Sequence[str] = ()) -> list[str]:
    """Return the terms of a text that stay as they are, in order: those of `--keep`, then what looks like a name or a code."""
    found = [term for term in keep if has_term(text, term)]
    bare = _QUOTED.sub(" ", _PLACEHOLDER.sub(" ", text))
    for term in found:
        bare = bare.replace(term, " ")
    letters = [c for c in bare if c.isalpha()]
    shouted = (
        bool(letters) and sum(map(str.isupper, letters)) > len(letters) / 2 and len(letters) > 12
    )
    words = list(_WORD.finditer(bare))
    for n, match in enumerate(words):
        word = re.sub(r"['’]s$", "", match[0])
        neighbours = [words[m][0] for m in (n - 1, n + 1) if 0 <= m < len(words)]
        is_code = _CODE.fullmatch(word) and not _TIME.fullmatch(word)
        if is_code or (not shouted and (_CAMEL.fullmatch(word) or _is_acronym(word, neighbours))):
            found.append(word)
    return list(dict.fromkeys(found))


def plain(text: str, keep: Sequence[str] = ()) -> str:
    """Return a text without what may be the same in every language: placeholders, quotations, names and codes."""
    bare = _QUOTED.sub(" ", _PLACEHOLDER.sub(" ", text))
    for name in sorted(names_in(text, keep), key=len, reverse=True):
        bare = bare.replace(name, " ")
    return bare


def is_name(text: str) -> bool:
    """Return whether a text is nothing but a short name, such as Golden Gate Bridge: it may be the same in all languages."""
    words = re.findall(r"[^\W\d_]+", text)
    if len(words) == 1 and words[0].lower() in SHORT_ANSWERS:
        return False
    if words and words[0].lower() in FUNCTION_WORDS:
        return False
    return len(words) <= _NAME_WORDS and all(word[0].isupper() for word in words)


def _is_acronym(word: str, neighbours: Sequence[str]) -> bool:
    short = word.removesuffix("s")  # SUVs
    if not _ACRONYM.fullmatch(short) or _ROMAN.fullmatch(short):
        return False
    plain_short = short.replace(".", "")
    if plain_short in NAMED_ELSEWHERE or plain_short in STRESSED:
        return False
    # NO PARKING is a sign, not a short form.
    return not any(len(other) > 1 and other.isalpha() and other.isupper() for other in neighbours)


def _broken(source: str, text: str) -> str | None:
    if any(c not in source for c in _BROKEN.findall(text)):
        return "it has broken characters"
    return None


def _placeholders(source: str, text: str) -> str | None:
    wanted, found = Counter(_PLACEHOLDER.findall(source)), Counter(_PLACEHOLDER.findall(text))
    for placeholder in wanted:
        if found[placeholder] != wanted[placeholder]:
            times = "once" if wanted[placeholder] == 1 else f"{wanted[placeholder]} times"
            return f"{placeholder} must be in it {times}, as it is"
    extra = next((placeholder for placeholder in found if placeholder not in wanted), None)
    return f"{extra} is not in the record" if extra else None


def _lines(source: str, text: str) -> str | None:
    wanted, found = (len(t.replace("\r\n", "\n").strip().split("\n")) for t in (source, text))
    if wanted != found:
        return f"it must have {wanted} {'line' if wanted == 1 else 'lines'}, not {found}"
    return None


def _terms(source: str, text: str, keep: Sequence[str]) -> str | None:
    said = _comparable(text)
    for name in names_in(source, keep):
        known = _comparable(name)
        if known in said or (name not in keep and known.endswith("s") and known[:-1] in said):
            continue
        return f"{name!r} must stay as it is"
    return None


def _copied(source: str, text: str, language: Language, keep: Sequence[str]) -> str | None:
    bare = plain(source, keep)
    words = re.findall(r"[^\W\d_]{2,}", bare)
    if not words or _letters(bare) != _letters(plain(text, keep)):
        return None
    if is_name(bare) or (len(words) == 1 and words[0].lower() not in SHORT_ANSWERS):
        return None
    if (
        len(words) == 1 and "Latin" in language.scripts
    ):  # no, orange, person: other languages have them too
        return None
    return "it is not translated"


def _letters(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalpha())


def has_term(text: str, term: str) -> bool:
    """Return whether a term is in a text as a word of its own, as it is written."""
    left = r"(?<![A-Za-z0-9])" if term[:1].isalnum() else ""
    right = r"(?![A-Za-z0-9])" if term[-1:].isalnum() else ""
    return bool(term) and bool(re.search(f"{left}{re.escape(term)}{right}", text))


def _comparable(text: str) -> str:
    """Return a text without invisible marks, with one kind of hyphen, and full-width letters as usual ones."""
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    return re.sub("[‐‑–−]", "-", text)
