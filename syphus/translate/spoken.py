"""In which language is a translation? By its script, and for languages that share one by py3langid.

Scripts are looked at in the question and in the answer, since either may have been left as it was. Statistics need more to go by:
they hear both together, and the longer one by itself only for the language that was translated from. Only languages
that can be expected compete: those of the job, and the large ones beside them. Below some twenty letters nothing is said.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from copy import copy
from functools import cache
from typing import TYPE_CHECKING

from mimicit.errors import MissingExtraError
from syphus.translate.faithful import is_name, plain
from syphus.translate.languages import Language
from syphus.translate.scripts import scripts_in

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

MIN_LETTERS = 20
"""Fewer say nothing for certain."""
MIN_ALONE = 30
"""Of a question or an answer by itself."""
SURE = 0.7
"""How likely another language must be."""
UNLIKELY = 0.05
"""How likely the right one may be then, at most."""
OWN_SHARE = 0.4
"""Of a text's letters, those of the language's own script; the rest are names."""
STRANGE_SHARE = 0.2
"""Letters of neither its own script nor Latin."""
KANA_LETTERS = 24
"""A Japanese text of so many letters (a Han letter counts as three) has kana."""

_NEAR = {
    "en", "es", "fr", "de", "pt", "it", "nl", "ru", "uk", "bg", "sr", "ar", "fa", "ur", "hi", "mr", "ne",
}  # fmt: skip
"""Large languages, of each script that several share."""
_SAME = (
    {"no", "nb", "nn", "da"},
    {"id", "ms"},
    {"hr", "bs", "sr"},
    {"gl", "pt"},
    {"xh", "zu", "nr", "ss", "nd"},
    {"st", "tn"},
    {"rw", "rn"},
    {"hi", "mr", "ne", "sa"},
)
"""Languages so alike that short texts are taken for each other."""
_BY_SCRIPT = frozenset({"zh", "ja", "ko"})


class Ear:
    """Tell whether a text is in the language that it should be in."""

    def __init__(self, origin: Language, languages: Iterable[Language]) -> None:
        """Expect a job's languages.

        Raises:
            MissingExtraError: py3langid is not installed, and some of them cannot be told by their script.
        """
        self.origin = origin
        self.languages = tuple(languages)
        self._known: set[str] = set()
        self._identifier: LanguageIdentifier | None = None
        bases = {language.base for language in (origin, *self.languages)}
        if any(language.base not in _BY_SCRIPT for language in self.languages):
            # Its languages are chosen below; its tables are shared.
            self._identifier = copy(_model())
            known = set(self._identifier.nb_classes)
            self._known = known & bases
            self._identifier.set_languages(sorted(known & (bases | _NEAR)))

    def problem(
        self,
        source: tuple[str, str],
        texts: tuple[str, str],
        language: Language,
        keep: Sequence[str] = (),
    ) -> str | None:
        """Say what language a question and its answer are in instead; None if all is well.

        Args:
            source: The question and the answer that were translated.
            texts: Their translations.
            language: Into which they should be.
            keep: Terms that stay as they are.
        """
        bare = tuple(plain(text, keep) for text in texts)
        for before, after in zip(source, bare, strict=True):
            if language.scripts and not is_name(plain(before, keep)):
                problem = _wrong_script(after, language)
                if problem:
                    return problem
        if language.base in _BY_SCRIPT:
            return None
        heard = self._other("\n".join(bare), language, MIN_LETTERS)
        for text in bare:
            heard = heard or self._left(text, language)
        return f"it is in {heard.name}, not in {language.name}" if heard else None

    def _other(self, text: str, language: Language, least: int) -> Language | None:
        """Return the language that a text is in, if that is another one for certain."""
        if self._identifier is None or _letters(text) < least:
            return None
        likely = dict(self._identifier.rank(" ".join(text.split())))
        code = max(likely, key=lambda known: likely[known])
        if likely[code] < SURE or likely.get(language.base, 0.0) > UNLIKELY:
            return None
        if language.base not in self._known:
            # Nothing is known about it but that it is not the language it was translated from.
            return self.origin if code == self.origin.base else None
        if any(language.base in alike and code in alike for alike in _SAME):
            return None
        return Language(code)

    def _left(self, text: str, language: Language) -> Language | None:
        """Return the language it was translated from, if that is what a text is still in."""
        other = self._other(text, language, MIN_ALONE)
        return other if other and other.base == self.origin.base else None


def _wrong_script(text: str, language: Language) -> str | None:
    letters = scripts_in(text)
    total = letters.total()
    if not total:
        return None
    own = sum(letters[script] for script in language.scripts)
    strange = total - own - (0 if "Latin" in language.scripts else letters["Latin"])
    if language.base == "ko":
        strange -= letters["Han"]
    if own < OWN_SHARE * total:
        written = max(letters, key=lambda script: letters[script])
        return f"it is not in {language.name}, it is in {written} letters"
    if strange > STRANGE_SHARE * total:
        written = max((s for s in letters if s not in language.scripts), key=lambda s: letters[s])
        return f"it is not in {language.name}, it has {written} letters"
    if language.base == "ja" and total >= KANA_LETTERS and not letters["Kana"]:
        return "it is not in Japanese, it has no kana"
    return None


def _letters(text: str) -> int:
    return sum(unicodedata.category(c)[0] == "L" for c in text)


@cache
def _model() -> LanguageIdentifier:
    try:
        from py3langid import langid
    except ModuleNotFoundError:
        raise MissingExtraError("py3langid", "translate") from None
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
