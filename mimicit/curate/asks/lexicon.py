"""Which English words may be verbs and nouns, from WordNet's files, and their base forms.

WordNet has lists of lemmas, of irregular forms, and of how often each sense was counted in a tagged corpus. That count says what a
word mostly is: "show" a verb, "picture" a noun.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache, lru_cache
from typing import NamedTuple

from mimicit.curate.wordnet import lines_of

_NOUN_ENDS = (
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
    ("s", ""),
)
_VERB_ENDS = (
    ("ies", "y"),
    ("es", "e"),
    ("es", ""),
    ("s", ""),
    ("ed", "e"),
    ("ed", ""),
    ("ing", "e"),
    ("ing", ""),
)
_SENSES = {"1": "noun", "2": "verb", "3": "adj", "4": "adv", "5": "adj"}
_PAIRS = frozenset({"glasses", "shorts", "scissors", "contents", "customs", "goods"})
"""Plurals that are no more than one of something."""
_FEW = 0.2
"""What a sense that was never counted counts."""


class Word(NamedTuple):
    """What a word may be."""

    noun: str
    """Its base form; empty where it cannot be one."""
    verb: str
    as_noun: float
    """How often it is one, of all."""
    as_verb: float
    as_adjective: float
    as_adverb: float
    is_base: bool
    """It is the base form of a verb."""


class _Files(NamedTuple):
    lemmas: dict[str, frozenset[str]]
    irregular: dict[str, dict[str, str]]
    counts: dict[str, dict[str, float]]


@cache
def _files() -> _Files:
    lemmas, irregular = {}, {}
    for part in ("noun", "verb", "adj", "adv"):
        # A lemma is what comes before the first space; lines of the licence begin with one.
        heads = (line.partition(" ")[0] for line in lines_of(f"index.{part}"))
        lemmas[part] = frozenset(head for head in heads if head.isalpha())
    for part in ("noun", "verb"):
        forms = map(str.split, lines_of(f"{part}.exc"))
        irregular[part] = {form: base[0] for form, *base in forms if base}
    counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for key, _, count in map(str.split, lines_of("cntlist.rev")):
        lemma, _, sense = key.partition("%")
        counts[lemma][_SENSES[sense[0]]] += int(count)
    return _Files(lemmas, irregular, {lemma: dict(parts) for lemma, parts in counts.items()})


@lru_cache(50_000)
def look_up(word: str) -> Word:
    """Say what a word in small letters may be."""
    files = _files()
    noun = _base(word, "noun", _NOUN_ENDS, files)
    verb = _base(word, "verb", _VERB_ENDS, files)
    weights = [
        _weight(noun, "noun", files),
        _weight(verb, "verb", files),
        _weight(word if word in files.lemmas["adj"] else "", "adj", files),
        _weight(word if word in files.lemmas["adv"] else "", "adv", files),
    ]
    whole = sum(weights) or 1.0
    as_noun, as_verb, as_adjective, as_adverb = (weight / whole for weight in weights)
    return Word(noun, verb, as_noun, as_verb, as_adjective, as_adverb, verb == word != "")


def _base(word: str, part: str, ends: tuple[tuple[str, str], ...], files: _Files) -> str:
    lemmas = files.lemmas[part]
    if base := files.irregular[part].get(word):
        return base
    found = word if word in lemmas else ""
    if found and (part == "verb" or not word.endswith("s") or word in _PAIRS):
        return word
    least = _counted(word, part, files) if found else -1.0
    for end, instead in ends:
        if word.endswith(end) and len(word) > len(end) + 1:
            base = word[: -len(end)] + instead
            # "colors" and "clothes" have entries of their own; most often the first means several of a color.
            if base in lemmas and _counted(base, part, files) > least:
                return base
    return found


def _counted(lemma: str, part: str, files: _Files) -> float:
    return files.counts.get(lemma, {}).get(part, 0.0)


def _weight(lemma: str, part: str, files: _Files) -> float:
    return _counted(lemma, part, files) + _FEW if lemma else 0.0
