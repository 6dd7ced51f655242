"""Text -> the kind of question that it is, and in English its verb and its noun (see `mimicit.curate.asks`).

Of a text of several sentences the first question counts, else the first order. Politeness and what only leads to the question ("can you tell me")
are taken off, and what is left is a question with a question word, one with yes or no for an answer, an order, or a statement.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from mimicit.curate.asks.clause import begins_phrase, first_noun, is_finite, parsed, phrase
from mimicit.curate.asks.closed import (
    ADVERBS,
    AUXILIARY,
    BE,
    DESCRIBE,
    DETERMINERS,
    DO,
    HAVE,
    JOINING,
    PREPOSITIONS,
    PRONOUNS,
    SEEING,
    TELLING,
    WH,
)
from mimicit.curate.asks.kinds import has_options, kind_of, unmarked
from mimicit.curate.asks.lexicon import look_up
from mimicit.curate.base import Columns, Measure
from mimicit.curate.wordnet import check_wordnet

if TYPE_CHECKING:
    import pyarrow

LONG = 2_000
"""Characters of a text that are looked at."""
_SENTENCE = re.compile(r"[^.!?\n]*[.!?\n]?")
_TOKEN = re.compile(r"[a-z]+(?:-[a-z]+)*|\d+|[,;:]")
_SHORT = re.compile(r"(\w*?)(n?['’](?:t|s|re|ll|ve|d|m))\b")
_BEFORE_IS = frozenset(
    ["what", "that", "here", "who", "how", "she", "why", "where", "there", "it", "he", "when"]
)
_LONG_FORMS = {"re": " are", "ll": " will", "ve": " have", "d": " would", "m": " am", "t": " not"}
_LEAD = re.compile(
    r"^(?:[\W_]*(?:(?:now|then|next|so|and|but|also|ok|okay|hi|hello|hey|well|first|finally|please|kindly|just|simply|carefully|briefly)\b"
    r"|(?:question|q|instruction|task|user|human)\s*:|\d+[.)]))+[\W_]*"
)
_ASKING = re.compile(
    r"^(?:(?:can|could|would|will) (?:you|we|i|someone|anyone)(?: be able to)?(?: please| kindly| also| help me| help)*(?: to)?"
    r"|(?:i|we) (?:want|need|would like|like|wish|ask) (?:you )?to"
    r"|(?:i|we) (?:want|need|would like|wish) to (?:know|understand|hear)"
    r"|your (?:task|job|goal) is to|you (?:should|must|need to|have to|are asked to|will)|(?:let us|let me|help me|help us)(?: to)?"
    r"|(?:i|we) (?:wonder|am wondering|am curious|are curious)(?: about)?"
    r"|it would be (?:great|nice|helpful) if you could|do you (?:know|remember|think)(?: that| if| whether)?|are you able to|would you mind) "
)
_TELL = re.compile(
    r"^(?:tell|show|inform|explain to|remind) (?:me|us)(?: about)?(?: please)?[ ,:]*(?=(?:what|which|who|whose|where|when|how|if|whether|why)\b)"
    r"|^(?:say|state|identify|determine|guess|decide|find out|figure out|indicate|specify|describe|explain|count)(?: please)?[ ,:]*"
    r"(?=(?:which|who|whose|where|when|how many|how much|if|whether|why)\b)"
)
_THINK = re.compile(
    r"\b(?:do|would|can|could) you (?:think|believe|suppose|guess|say|expect)\b(?: that)?(?= .)"
)


_EDGES = " \t\n\r\"'“”‘’«»*#>_-–—:([{"
_PARTICLES = frozenset({"out", "at", "up", "down", "me", "us", "it", "them"})
"""What follows an order, and hardly a noun."""


class Asks(NamedTuple):
    kind: str
    verb: str | None
    object: str | None


def asks_of(text: str, language: str = "en") -> Asks:
    """Say what a text asks for."""
    text = text[:LONG]
    code = language[:2].lower()
    if code != "en":
        return Asks(kind_of(text, code), None, None)
    options = has_options(text)
    kind, verb, noun = _asked(_clause(unmarked(text).lower()))
    return Asks("choice" if options else kind, verb, noun)


def _clause(text: str) -> tuple[str, bool]:
    """Return the sentence that asks, without what politeness puts before it, and whether it has a question mark."""
    sentences = [s for s in (found.strip() for found in _SENTENCE.findall(text)) if len(s) > 2]
    if not sentences:
        return "", False
    chosen = next((s for s in sentences if s.endswith("?")), "")
    if not chosen:
        chosen = next((s for s in sentences if _is_order(s)), sentences[0])
    return _bare(chosen), chosen.endswith("?")


def _bare(sentence: str) -> str:
    if "'" in sentence or "’" in sentence:
        sentence = _SHORT.sub(_in_full, sentence)
    return _LEAD.sub("", sentence.lstrip(_EDGES))


def _in_full(found: re.Match[str]) -> str:
    """Write "what's" as "what is", "let's" as "let us", "don't" as "do not", and "the cat's" as "the cat"."""
    word, ending = found.groups()
    ending = ending.lstrip("n'’")
    if ending == "s":
        return f"{word} is" if word in _BEFORE_IS else "let us" if word == "let" else word
    return word + _LONG_FORMS[ending]


def _is_order(sentence: str) -> bool:
    words = _TOKEN.findall(_bare(sentence))[:2]
    return bool(words) and _may_order(words)


def _may_order(words: list[str]) -> bool:
    first = words[0]
    if first in PRONOUNS or first in DETERMINERS or first in PREPOSITIONS or first in JOINING:
        return False
    word = look_up(first)
    follows = words[1] if len(words) > 1 else ""
    return word.is_base and (word.as_verb > 0.25 or follows in DETERMINERS or follows in _PARTICLES)


def _asked(clause: tuple[str, bool]) -> tuple[str, str | None, str | None]:
    text, has_mark = clause
    stripped = _ASKING.sub("", text, count=1)
    asks_you = stripped != text
    told = _TELL.sub("", stripped, count=1)
    if told != stripped:
        stripped, has_mark, asks_you = told, True, False
    words = _TOKEN.findall(_THINK.sub(" ", stripped) if has_mark else stripped)[:60]
    while words and words[0] in ADVERBS | {"please", "not"}:
        words.pop(0)
    words = _from_comma(words) if words else words
    if not words:
        return ("question" if has_mark else "statement"), None, None
    at = _wh_at(words)
    if at is not None and (has_mark or at == 0):
        return _of_wh(words[at:])
    if words[0] in ("if", "whether"):
        return "yes-no", *parsed(words[1:], aux=True)
    if (words[0] in AUXILIARY or words[0] in BE or words[0] in HAVE or words[0] in DO) and words[
        0
    ] not in ("be", "have", "do"):
        return "yes-no", *parsed(words, aux=False)
    if has_mark and words[0] in ("have", "do"):
        return "yes-no", *parsed(words, aux=False)
    if _may_order(words) or (asks_you and look_up(words[0]).verb):
        wants_help = "help" in text[: len(text) - len(stripped)]
        return _of_order(words, has_mark and asks_you and not wants_help)
    if has_mark:
        return "yes-no", *parsed(words, aux=False)
    return "statement", *parsed(words, aux=False)


def _from_comma(words: list[str]) -> list[str]:
    """Leave out a phrase that comes first: "In this picture, …", "Based on what you see, …"."""
    if words[0] in PREPOSITIONS or words[0] in JOINING or words[0].endswith(("ing", "ed")):
        for n, word in enumerate(words[:-1]):
            if word == ",":
                return _from_comma(words[n + 1 :])
            if word in WH and n > 2 and words[0] not in WH:
                return words[n:]
    return words


def _wh_at(words: list[str]) -> int | None:
    """Find a question word at the begin, perhaps after a preposition."""
    if words[0] in WH:
        return 0
    if words[0] in PREPOSITIONS and len(words) > 1 and words[1] in WH:
        return 1
    return None


# Orders


def _of_order(words: list[str], is_question: bool) -> tuple[str, str | None, str | None]:
    verb = look_up(words[0]).verb or words[0]
    rest = words[1:]
    if rest[:2] == ["how", "many"]:
        return _of_wh(rest)
    if verb in SEEING and is_question:
        return "yes-no", verb, first_noun(rest)
    noun = first_noun(rest)
    if verb in DESCRIBE or (verb in TELLING and (noun in DESCRIBE or "about" in rest[:2])):
        return "describe", verb, noun
    if verb == "count":
        return "how many", verb, noun
    return "command", verb, noun


# Questions with a question word


def _of_wh(words: list[str]) -> tuple[str, str | None, str | None]:
    first, rest = words[0], words[1:]
    if first == "how" and rest[:1] and rest[0] in ("many", "much"):
        return "how many", "count", first_noun(rest[1:], verb_follows=True)
    kind = {"whose": "who", "whom": "who"}.get(first, first)
    if first == "which" and rest[:1] and rest[0] in ("one", "ones"):
        rest = rest[1:]
    if first == "how":
        if (
            rest[:1]
            and rest[0] not in AUXILIARY | BE | DO | HAVE
            and look_up(rest[0]).as_adjective + look_up(rest[0]).as_adverb > 0.5
        ):
            rest = rest[1:]  # "how old is …"
        if rest[:1] == ["to"]:
            return kind, *parsed(rest[1:], aux=True, order=True)
    noun = None
    if first in ("what", "which", "whose") and rest and rest[0] not in AUXILIARY | BE | DO | HAVE:
        begin = 1 if rest[0] == "of" else 0
        if (
            begin < len(rest)
            and begins_phrase(rest[begin])
            and (first != "what" or not is_finite(rest[0]))
        ):
            noun, end = phrase(rest, begin, verb_follows=True)
            rest = rest[end:]
    verb, found = parsed(rest, aux=False, wh=True)
    return kind, verb, noun or found


# The measure


def _measured(batch: pyarrow.RecordBatch) -> Columns:
    import pyarrow as pa

    check_wordnet()
    known: dict[tuple[str, str], Asks] = {}
    rows = []
    for asked in zip(batch["instruction"].to_pylist(), batch["language"].to_pylist(), strict=True):
        if asked not in known:
            known[asked] = asks_of(*asked)
        rows.append(known[asked])
    columns = zip(*rows, strict=True)
    return {
        name: pa.array(list(column), pa.string())
        for name, column in zip(Asks._fields, columns, strict=True)
    }


ASKS = Measure(
    columns={"kind": "VARCHAR", "verb": "VARCHAR", "object": "VARCHAR"},
    reads=("instruction", "language"),
    compute=_measured,
)
