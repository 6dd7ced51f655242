"""An English clause gone through from left to right: its verb, and the noun that goes with it (see `mimicit.curate.asks`).

Words of open classes may be several things. What one is taken for follows from what came before it, since "the man | holding" is no noun phrase and "the parking
lot" is one, from the form that an auxiliary wants next, and from what it mostly is (`mimicit.curate.asks.lexicon`).
"""

from __future__ import annotations

from typing import NamedTuple

from mimicit.curate.asks.closed import (
    ADVERBS,
    AUXILIARY,
    BE,
    DETERMINERS,
    DO,
    HAVE,
    JOINING,
    PARTS,
    PREPOSITIONS,
    PRONOUNS,
    WH,
)
from mimicit.curate.asks.lexicon import Word, look_up


class Found(NamedTuple):
    verb: str | None
    noun: str | None


def parsed(words: list[str], *, aux: bool, wh: bool = False, order: bool = False) -> Found:
    """Find the verb and the noun of a clause.

    Args:
        words: Without its question word.
        aux: A verb in its base form may come, as after "does".
        wh: The question word may be the subject, so that a finite verb may come at once.
        order: The verb comes first.
    """
    subject = loose = None
    be = have = bare = aux
    be, have, bare = False, False, aux
    at = 0
    while at < len(words):
        word = words[at]
        if word in BE:
            if word not in ("being", "be") or not be:
                be = True
            at += 1
        elif word in HAVE:
            if (bare or (subject is None and wh)) and not _verb_later(words[at + 1 :]):
                return Found("have", _object(words, at + 1) or subject or loose)
            have = True
            at += 1
        elif word in DO or word in AUXILIARY:
            if word == "doing" or (word in DO and bare):
                rest = words[at + 1 :]
                return Found("do", _object(words, at + 1) or subject or loose or first_noun(rest))
            bare = True
            at += 1
        elif word in PREPOSITIONS:
            at += 1
            if at < len(words) and begins_phrase(words[at]):
                noun, at = phrase(words, at, wants="base" if bare else "form" if be or have else "")
                loose = loose or noun
        elif word in PRONOUNS or word in ADVERBS or word in (",", "not", "there"):
            if word in PRONOUNS and not subject and at:
                wh = wh and at > 0
            at += 1
        elif word in ("and", "or"):
            at += 1
        elif word in WH or word in JOINING or word in ":;":
            if subject or loose or be:
                break
            at += 1
        elif _is_verb(
            words,
            at,
            be=be,
            have=have,
            bare=bare,
            wh=wh and subject is None,
            order=order and at == 0,
            after=subject is not None,
        ):
            verb = look_up(word).verb
            return Found(
                verb, _object(words, at + 1) or subject or loose or first_noun(words[at + 1 :])
            )
        elif begins_phrase(word):
            wants = "base" if bare else "form" if be or have else "any"
            noun, end = phrase(words, at, wants=wants)
            if be and subject and noun:
                loose = loose or noun
            else:
                subject = subject or noun
            at = max(end, at + 1)
        else:
            at += 1
    return Found("be" if be else "have" if have else None, subject or loose)


def _verb_later(words: list[str]) -> bool:
    """Say whether a "have" is followed by its participle: "has the man eaten"."""
    for word in words[:5]:
        known = look_up(word)
        if word == "been" or (
            known.verb
            and not known.is_base
            and known.as_verb > 0.6
            and not word.endswith(("ing", "s"))
        ):
            return True
        if word in PREPOSITIONS:
            return False
    return False


def _is_verb(
    words: list[str],
    at: int,
    *,
    be: bool,
    have: bool,
    bare: bool,
    wh: bool,
    order: bool,
    after: bool,
) -> bool:
    word = words[at]
    known = look_up(word)
    if not known.verb or word in DETERMINERS:
        return False
    if order:
        return known.is_base
    if be or have:
        formed = word.endswith(("ing", "ed", "en")) or not known.is_base
        return (
            formed
            and not word.endswith("s")
            and (known.as_verb > 0.5 or word.endswith("ing"))
            and (known.as_verb >= known.as_adjective)
            and not (word.endswith("ing") and not after and known.as_noun > known.as_verb)
        )
    if bare:
        return known.is_base and (known.as_verb > 0.5 or (after and known.as_verb > 0.05))
    if wh or after:
        return known.as_verb > 0.4 or (
            wh and not after and known.as_verb > 0.02 and not known.is_base
        )
    return False


def _object(words: list[str], at: int) -> str | None:
    """Return the noun right after a verb, if one is there."""
    while at < len(words) and (words[at] in ADVERBS or words[at] in ("me", "us")):
        at += 1
    if at < len(words) and begins_phrase(words[at]) and words[at] not in PREPOSITIONS:
        return phrase(words, at)[0]
    return None


# Noun phrases


def begins_phrase(word: str) -> bool:
    if word in DETERMINERS or word.isdigit():
        return True
    if (
        word in PREPOSITIONS
        or word in PRONOUNS
        or word in WH
        or word in JOINING
        or word in AUXILIARY
        or word in BE
        or word in ADVERBS
        or not word[0].isalpha()
    ):
        return False
    known = look_up(word)
    return bool(known.noun) or known.as_adjective > 0 or not known.verb


def phrase(
    words: list[str], at: int, *, wants: str = "", verb_follows: bool = False
) -> tuple[str | None, int]:
    """Return the head of the noun phrase that begins here, and where it ends.

    Args:
        words: Of the clause.
        at: Where it begins.
        wants: Which verb may follow at once: in its "base" form, in another "form", or "any"; empty: none is waited for.
        verb_follows: A finite verb may follow ("which dog runs").
    """
    begin = at
    while at < len(words) and (words[at] in DETERMINERS or words[at].isdigit()):
        at += 1
    run: list[tuple[str, Word]] = []
    while at < len(words) and len(run) < 6:
        word = words[at]
        if (
            not word[0].isalpha()
            or word in PREPOSITIONS
            or word in PRONOUNS
            or word in WH
            or word in JOINING
            or word in AUXILIARY
        ):
            break
        if word in BE or word in HAVE or word in DO or word in DETERMINERS or word in ADVERBS:
            break
        known = look_up(word.rpartition("-")[2])
        if run and _ends_phrase(word, known, run, words[at + 1 : at + 2], at > begin + len(run)):
            break
        if known.verb and not known.noun and not known.as_adjective and (run or word.endswith("s")):
            break
        if known.as_adverb > 0.7:
            break
        run.append((word, known))
        at += 1
    follows = words[at] if at < len(words) else ""
    if follows in ("and", "or") and run and not any(_is_noun(one) for _, one in run):
        return phrase(
            words, at + 1, wants=wants, verb_follows=verb_follows
        )  # "the young and old men"
    cut = len(run) if follows in ("be", "have") else _cut(run, wants, verb_follows)
    at -= len(run) - cut
    head = _head(run[:cut], told=verb_follows or at - cut > begin)
    if head in PARTS and at < len(words) and words[at] == "of":
        inner, end = phrase(words, at + 1, wants=wants, verb_follows=verb_follows)
        if inner:
            return inner, end
    return head, max(at, begin)


def _is_noun(known: Word) -> bool:
    return bool(known.noun) and known.as_noun >= known.as_adjective


def _ends_phrase(
    word: str, known: Word, run: list[tuple[str, Word]], following: list[str], told: bool
) -> bool:
    """Say whether a verb's form after a noun begins something new: "the man | holding", "the car | parked"."""
    if not known.verb or known.is_base or word.endswith("s"):
        return False
    if not any(_is_noun(one) for _, one in run) or known.as_noun > known.as_verb:
        return False
    return word.endswith("ing") or known.as_verb > 0.4


def _cut(run: list[tuple[str, Word]], wants: str, verb_follows: bool) -> int:
    """Say how many words of a run belong to the phrase, where a verb may be at its end."""
    if len(run) < 2 or not (wants or verb_follows):
        return len(run)
    best, place = 0.0, len(run)
    for n, (word, known) in enumerate(run[1:], start=1):
        if not known.verb or not any(one.noun for _, one in run[:n]):
            continue
        if wants == "base" and not known.is_base:
            continue
        if wants == "form" and (known.is_base or word.endswith("s")):
            continue
        if (wants == "any" or verb_follows) and known.is_base and known.as_noun > 0.3:
            continue
        weight = known.as_verb - known.as_adjective
        least = (
            0.05
            if wants == "base" and n == len(run) - 1 and not word.endswith("s") and n >= 1
            else 0.5
        )
        if weight > best and weight > least:
            best, place = weight, n
    return place


def _head(run: list[tuple[str, Word]], *, told: bool) -> str | None:
    """Return the last word that is mostly a noun, or with a determiner could be one."""
    for word, known in reversed(run):
        others = max(
            known.as_adjective, known.as_adverb, 0.0 if told or len(run) > 1 else known.as_verb
        )
        if known.noun and known.as_noun >= others:
            return known.noun
        if (
            not (known.noun or known.verb or known.as_adjective or known.as_adverb)
            and len(word) > 2
        ):
            return word  # a name, or a word that WordNet lacks
    return next((known.noun for _, known in reversed(run) if known.noun), None) if told else None


def first_noun(words: list[str], *, verb_follows: bool = False) -> str | None:
    at = 0
    while at < len(words):
        if at and words[at].endswith("ing") and words[at - 1] in BE:
            at += 1  # "what is happening"
        elif begins_phrase(words[at]):
            noun, end = phrase(words, at, verb_follows=verb_follows)
            if noun:
                return noun
            at = max(end, at + 1)
        else:
            at += 1
    return None


def is_finite(word: str) -> bool:
    """Say whether a word after a bare "what" is its verb ("what happened", "what makes")."""
    known = look_up(word)
    return (
        bool(known.verb) and not known.is_base and known.as_verb > 0.6 and not word.endswith("ing")
    )
