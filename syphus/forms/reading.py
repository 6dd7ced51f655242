"""What the readers of all forms share: lines or JSON, and what JSON says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import syphus.forms.loose_json as loose_json
from syphus.forms.clean import clean, without_thoughts
from syphus.forms.lines import Labels, Part
from syphus.forms.loose_json import Object
from syphus.forms.pair import Pair

_SPEAKER = ("role", "from", "speaker")
_SPOKEN = ("content", "value", "text", "message")


def read_either(
    text: str,
    labels: Labels,
    *,
    from_parts: Callable[[list[Part]], list[Pair]],
    from_value: Callable[[Any], list[Pair]],
) -> list[Pair]:
    """Read lines, or JSON where it begins before the first label; the other one where there is nothing to read."""
    text = without_thoughts(text)
    parts = labels.parts(text)
    lines_first = bool(parts) and parts[0].at < loose_json.begin(text)
    if lines_first and (found := from_parts(parts)):
        return found
    if found := [pair for value in loose_json.values(text) for pair in from_value(value)]:
        return found
    if not lines_first and (found := from_parts(parts)):
        return found
    return from_parts(labels.parts(text, rare=True)) if labels.rare and not parts else []


def said(value: Any) -> str:
    """Return the text that a JSON value is; empty where it is none."""
    return clean(value) if isinstance(value, str) else ""


def own_pairs(thing: Object, labels: Labels) -> list[tuple[str, str]]:
    """Return what an object's own members ask and answer: one pair, or numbered ones."""
    turns = [
        (kind, said(item))
        for key, item in thing.members
        if (kind := labels.named(key)[0]) and said(item)
    ]
    questions = [text for kind, text in turns if kind == "question"]
    answers = [text for kind, text in turns if kind == "answer"]
    if len(questions) == len(answers) == 1:
        return [(questions[0], answers[0])]
    return list(pairs_of_turns(iter(turns)))


def turn(value: Any, labels: Labels) -> tuple[str, str]:
    """Return who speaks and what is said: `{"role": "user", "content": "…"}` or `{"user": "…"}`; empty for something else."""
    if not isinstance(value, Object) or not value.closed:
        return "", ""
    named = {key.lower(): item for key, item in value.members}
    speakers = [labels.named(named[key])[0] for key in _SPEAKER if isinstance(named.get(key), str)]
    spoken = [said(named[key]) for key in _SPOKEN if said(named.get(key))]
    if speakers and spoken:
        return speakers[0], spoken[0]
    own = [(kind, said(item)) for key, item in value.members if (kind := labels.named(key)[0])]
    return own[0] if len(own) == 1 else ("", "")


def pairs_of_turns(turns: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Join each question with the answer after it."""
    waiting = ""
    for kind, text in turns:
        if kind == "question":
            waiting = text
        elif kind == "answer" and waiting:
            yield waiting, text
            waiting = ""
