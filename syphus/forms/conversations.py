"""Several conversations of several rounds, each about a topic, with the one who asks and why.

Conversation 1: A yoga class
Role: A yoga teacher
Reason: There is much free space.
Human: Where can the mats lie?
Assistant: Between the bed and the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import syphus.forms.words as words
from syphus.forms.clean import says_something
from syphus.forms.lines import Labels, Part, pair_up
from syphus.forms.loose_json import Object
from syphus.forms.pair import Pair
from syphus.forms.reading import own_pairs, pairs_of_turns, read_either, said, turn
from syphus.forms.wanted import PHRASE, QUESTION, TEXT, answer, finish, list_of, object_of, times
from syphus.request import Shape

_LABELS = Labels(
    {
        "between": words.BETWEEN,
        "conversation": words.CONVERSATION,
        "topic": words.TOPIC,
        "role": words.ROLE,
        "reason": words.REASON,
        "question": f"{words.QUESTION}|{words.ASKER}",
        "answer": f"{words.ANSWER}|{words.ANSWERER}",
    },
    headings=f"{words.QUESTION}|{words.ANSWER}",
)
_HEADER = ("topic", "role", "reason")


def describe(shape: Shape) -> str:
    rounds = "Human: ...?\nAssistant: ...\n" * (shape.rounds or 2)
    return (
        "Write each conversation as lines, with an empty line between conversations:\n\n"
        "Conversation 1: what it is about\nRole: who asks\nReason: why it suits the place\n"
        f"{rounds.rstrip()}"
    )


def write(pairs: Sequence[Pair]) -> str:
    return "\n\n".join(
        "\n".join((*_head(number, group[0]), *(_round(pair) for pair in group)))
        for number, group in enumerate(_groups(pairs), start=1)
    )


def value(pairs: Sequence[Pair]) -> Any:
    return {
        "conversations": [
            {
                **{name: getattr(group[0], name) for name in _HEADER},
                "rounds": [{"human": pair.question, "assistant": pair.answer} for pair in group],
            }
            for group in _groups(pairs)
        ]
    }


def schema(shape: Shape) -> dict[str, Any]:
    one_round = object_of(human=TEXT, assistant=TEXT)
    rounds = list_of(one_round, shape.rounds or 1, shape.rounds or shape.max_pairs)
    conversation = object_of(topic=TEXT, role=TEXT, reason=TEXT, rounds=rounds)
    return object_of(conversations=list_of(conversation, *_conversations(shape)))


def grammar(shape: Shape, *, end: str = "") -> str:
    least, most = _conversations(shape)
    rounds = times(shape.rounds, shape.rounds) if shape.rounds else times(1, shape.max_pairs)
    return "\n".join(
        (
            rf'root ::= conversation ("\n\n" conversation){times(least - 1, most - 1)}{finish(end)}',
            r'conversation ::= "Conversation " [1-9] [0-9]? ": " phrase "\nRole: " phrase "\nReason: " answer '
            f"round{rounds}",
            r'round ::= "\nHuman: " question "\nAssistant: " answer',
            QUESTION,
            answer(shape),
            PHRASE,
        )
    )


def read(text: str) -> list[Pair]:
    return read_either(text, _LABELS, from_parts=_from_parts, from_value=_from_value)


def _conversations(shape: Shape) -> tuple[int, int]:
    """Return how many conversations hold as many pairs as are wanted."""
    rounds = shape.rounds or 1
    least = -(-shape.min_pairs // rounds)
    return least, max(least, shape.max_pairs // rounds)


def _groups(pairs: Sequence[Pair]) -> list[list[Pair]]:
    return [list(group) for _, group in groupby(pairs, key=lambda pair: pair.conversation)]


def _head(number: int, pair: Pair) -> list[str]:
    lines = [f"Conversation {number}: {pair.topic}".rstrip()]
    lines += [f"Role: {pair.role}"] if pair.role else []
    lines += [f"Reason: {pair.reason}"] if pair.reason else []
    return lines


def _round(pair: Pair) -> str:
    return f"Human: {pair.question}\nAssistant: {pair.answer}"


@dataclass(slots=True)
class _Conversation:
    header: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    turns: list[tuple[str, str]] = field(default_factory=list)

    def pairs(self) -> list[tuple[str, str]]:
        found = pair_up(self.parts, _LABELS) + list(pairs_of_turns(iter(self.turns)))
        return [pair for pair in found if all(map(says_something, pair))]


def _from_parts(parts: list[Part]) -> list[Pair]:
    found = [_Conversation()]
    for part in parts:
        now = found[-1]
        begins = part.kind == "conversation" or (part.kind in ("topic", "role") and now.parts)
        if begins:
            now = _Conversation()
            found.append(now)
        if part.kind in ("question", "answer"):
            now.parts.append(part)
        elif part.kind == "reason" and now.parts:
            now.parts[-1].go_on(part.raw)
            for line in part.lines[1:]:
                now.parts[-1].go_on(line)
        elif part.kind in _HEADER:
            now.header[part.kind] = part.text
        elif part.kind == "conversation" and says_something(part.text):
            now.header["topic"] = part.text
    return _numbered(found)


def _from_value(value: Any) -> list[Pair]:
    found: list[_Conversation] = []
    _collect(value, {}, found)
    return _numbered(found)


def _collect(value: Any, header: dict[str, str], found: list[_Conversation]) -> None:
    """Walk through lists and objects; what has a topic, a role or a reason, or is a list of turns, is a conversation."""
    if isinstance(value, list):
        own = _Conversation(header)
        found.append(own)
        for item in value:
            spoken = turn(item, _LABELS)
            if spoken[0] in ("question", "answer"):
                own.turns.append(spoken)
            elif (
                isinstance(item, Object)
                and (pairs := own_pairs(item, _LABELS))
                and not _header(item)
            ):
                own.turns += _turns(pairs) if item.closed else []
            else:
                _collect(item, header, found)
    elif isinstance(value, Object):
        header = {**header, **_header(value)}
        if pairs := own_pairs(value, _LABELS):
            same = found and found[-1].header == header and found[-1].turns
            own = found[-1] if same else _Conversation(header)
            own.turns += _turns(pairs) if value.closed else []
            found += [] if same else [own]
            return
        for _, item in value.members:
            _collect(item, header, found)


def _header(thing: Object) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, item in thing.members:
        kind, text = _LABELS.named(key)[0], said(item)
        if kind in _HEADER and text:
            found[kind] = text
        elif kind == "conversation" and says_something(text) and not text.isdecimal():
            found.setdefault("topic", text)
    return found


def _turns(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [turn for ask, answer in pairs for turn in (("question", ask), ("answer", answer))]


def _numbered(conversations: Iterable[_Conversation]) -> list[Pair]:
    spoken = [(one.header.get, pairs) for one in conversations if (pairs := one.pairs())]
    return [
        Pair(
            question=question,
            answer=answer,
            conversation=number,
            topic=header("topic", ""),
            role=header("role", ""),
            reason=header("reason", ""),
        )
        for number, (header, pairs) in enumerate(spoken)
        for question, answer in pairs
    ]
