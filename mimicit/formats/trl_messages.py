"""Chat messages of the shape that TRL, `datasets` and OpenAI share, to turns and back.

    messages                      system? (user assistant)+
    prompt + completion           the same, cut before the last answer; either may be plain text
    prompt + completion + label   was that answer liked: `trl_kto`
    prompt + chosen + rejected    two last answers; without `prompt`, two whole conversations
    question + answer             and the other names that tables give them
    texts                         [{user, assistant}]

A message's content is text, or parts: `{"type": "image"}` and `{"type": "text", "text": …}`. In a turn an image part is the word
`<image>`. Where the pictures stand before the first question (or all of them after it) nothing is written: a conversation with more pictures
than words `<image>` shows the others before its first question, in their order. In rows of our own an empty text parts those from a question that
begins with `<image>`, so that every text is read back as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mimicit.formats.exporting import Turn
from mimicit.formats.set_rows import RowError

IMAGE = "<image>"

QUESTIONS = ("prompt", "question", "query", "instruction", "problem")
ANSWERS = ("completion", "answer", "response", "output", "solution")
CHATS = ("messages", "conversations", "texts")
SPOKEN = frozenset((*QUESTIONS, *ANSWERS, *CHATS, "chosen", "rejected"))
"""What of a row is read here; the first of each kind that a row has."""

ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}

_LEADING = re.compile(rf"\A(?:{IMAGE}[ \n]*)+")
_TRAILING = re.compile(rf"[ \n]*(?:{IMAGE[::-1]}[ \n]*)+")
"""Of a text read backwards: looked for from the front, a long run of spaces would be gone through from each of its places."""


@dataclass(frozen=True, slots=True)
class Said:
    turns: tuple[Turn, ...]
    system: str | None
    used: frozenset[str]
    """Keys of the row that are in it."""
    liked: bool | None = None
    """What people said of the last answer; None where they compared two, or said nothing."""


@dataclass(frozen=True, slots=True)
class _Message:
    role: str
    text: str
    places: int = 0
    """Image parts."""
    leading: int = 0
    """Those before any text part."""


# Reading


def speaks(names: Sequence[str]) -> bool:
    """Say whether rows with these keys hold questions and answers."""
    has = set(names)
    return bool(
        has & {"messages", "conversations"}
        or {"chosen", "rejected"} <= has
        or {"prompt", "completion"} <= has
        or (has & set(QUESTIONS) and has & set(ANSWERS))
    )


def said(row: Mapping[str, Any], pictures: int, *, ours: bool = False) -> Said:
    """Read what a row says.

    Args:
        row: Its columns, or the object of a JSON file.
        pictures: How many it shows.
        ours: It was written here: nothing but the leading image parts is taken from its texts.

    Raises:
        RowError: no question with an answer, or places that are not as many as its pictures.
    """
    messages, rejected, used = _heard(row)
    places = sum(message.places for message in messages)
    if places and places != pictures:
        raise RowError(f"{places} places for pictures, and {pictures} pictures")
    system, turns = _turns(messages)
    if rejected is not None:
        turns[-1] = replace(turns[-1], rejected=rejected)
    if ours:
        asked = next(message for message in messages if message.role == "user")
        turns[0] = replace(turns[0], instruction=asked.text[asked.leading * len(IMAGE) :])
    else:
        turns = _without_places(turns, pictures)
    label = row.get("label") if rejected is None else None
    return Said(tuple(turns), system, frozenset(used), label if isinstance(label, bool) else None)


def _heard(row: Mapping[str, Any]) -> tuple[list[_Message], str | None, set[str]]:
    """Return the messages of a row, the answer that was liked less, and the keys they come from."""
    if row.get("chosen") is not None and row.get("rejected") is not None:
        return _preference(row)
    for name in CHATS:
        if row.get(name):
            return _messages(row[name], "user"), None, {name}
    question = _first(row, QUESTIONS, "question")
    answer = _first(row, ANSWERS, "answer")
    spoken = _messages(row[question], "user") + _messages(row[answer], "assistant")
    return spoken, None, {question, answer}


def _preference(row: Mapping[str, Any]) -> tuple[list[_Message], str | None, set[str]]:
    chosen = _messages(row["chosen"], "assistant")
    rejected = _messages(row["rejected"], "assistant")
    used = {"chosen", "rejected"}
    if not chosen or not rejected or rejected[-1].role != "assistant":
        raise RowError("chosen or rejected is empty, or does not end with an answer")
    if len(chosen) == len(rejected) == 1:
        name = _first(row, QUESTIONS, "question")
        return _messages(row[name], "user") + chosen, rejected[0].text, used | {name}
    if chosen[:-1] != rejected[:-1]:
        raise RowError("chosen and rejected differ before their last answer")
    return chosen, rejected[-1].text, used | ({"prompt"} & row.keys())


def _first(row: Mapping[str, Any], names: Sequence[str], what: str) -> str:
    for name in names:
        if row.get(name) is not None:
            return name
    raise RowError(f"it has no {what} (none of {', '.join(names)})")


def _messages(value: Any, role: str) -> list[_Message]:
    """Read plain text as one message of a role, else a list of messages."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        return [_Message(role, value)]
    if not isinstance(value, list):
        raise RowError(f"no text and no messages, but {type(value).__name__}")
    return [message for one in value for message in _message(one)]


def _message(value: Any) -> Iterator[_Message]:
    if not isinstance(value, dict):
        raise RowError(f"a message is {type(value).__name__}, not an object")
    if "user" in value and "assistant" in value:
        yield _Message("user", *_content(value["user"]))
        yield _Message("assistant", *_content(value["assistant"]))
        return
    role = value.get("role", value.get("from"))
    role = ROLES.get(role, role) if isinstance(role, str) else None
    if role not in ("system", "user", "assistant"):
        raise RowError(
            f"a message of {role if role is None else role[:40]!r}, who is neither system, user nor assistant"
        )
    yield _Message(role, *_content(value.get("content", value.get("value"))))


def _content(value: Any) -> tuple[str, int, int]:
    """Return a message's text with `<image>` for its image parts, how many these are, and how many lead."""
    if isinstance(value, str):
        return value, 0, 0
    if not isinstance(value, list):
        raise RowError("a message without text")
    texts: list[Any] = []
    places = leading = 0
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "image":
            leading += places == len(texts)
            places += 1
            texts.append(IMAGE)
        elif kind == "text":
            texts.append(part.get("text") or "")
        else:
            raise RowError(f"a part of a message that is neither image nor text: {kind!r}")
    if not all(isinstance(text, str) for text in texts):
        raise RowError("a part of a message whose text is none")
    return "".join(texts), places, leading


def _turns(messages: Sequence[_Message]) -> tuple[str | None, list[Turn]]:
    system = [message.text for message in messages if message.role == "system"]
    if system and (len(system) > 1 or messages[0].role != "system"):
        raise RowError("system messages that are not the first")
    rest = messages[len(system) :]
    roles = [message.role for message in rest]
    if not rest or len(rest) % 2 or roles != ["user", "assistant"] * (len(rest) // 2):
        raise RowError(f"questions and answers do not alternate: {', '.join(roles[:9]) or 'none'}")
    turns = [
        Turn(question.text, answer.text, None)
        for question, answer in zip(rest[::2], rest[1::2], strict=True)
    ]
    return (system[0] if system else None), turns


def _without_places(turns: Sequence[Turn], pictures: int) -> list[Turn]:
    """Take away the places before the first question; those after it, if there are no others."""
    first, *later = turns
    text = first.instruction
    if leading := _LEADING.match(text):
        if leading[0].count(IMAGE) <= pictures:
            text = text[leading.end() :]
    elif not any(IMAGE in turn.instruction for turn in later):
        trailing = _TRAILING.match(text[::-1])
        if trailing and text.count(IMAGE) == trailing[0].count(IMAGE[::-1]) == pictures:
            text = text[: -trailing.end()]
    return [replace(first, instruction=text), *later]


# Writing


def messages_of(turns: Sequence[Turn], system: str | None, pictures: int) -> list[dict[str, Any]]:
    """Return the messages of a conversation, with as many image parts as it has pictures."""
    written = sum(turn.instruction.count(IMAGE) for turn in turns)
    left = pictures
    messages = [_spoken("system", [_text(system)])] if system is not None else []
    for number, turn in enumerate(turns):
        before = max(pictures - written, 0) if number == 0 else 0
        left -= before
        within = list(_parts(turn.instruction, left, first=number == 0))
        left -= within.count(_PLACE)
        messages.append(_spoken("user", [_PLACE] * before + within))
        messages.append(_spoken("assistant", [_text(turn.answer)]))
    return messages


def _parts(text: str, places: int, *, first: bool) -> Iterator[dict[str, Any]]:
    """Cut a text at its first places; further ones are words.

    Args:
        text: The question.
        places: How many are to be given.
        first: Of its conversation: it begins with a text, be it an empty one.
    """
    pieces = text.split(IMAGE, places) if places else [text]
    for number, piece in enumerate(pieces):
        if number:
            yield _PLACE
        if piece or len(pieces) == 1 or (first and number == 0):
            yield _text(piece)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


_PLACE: dict[str, Any] = {"type": "image", "text": None}


def _spoken(role: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": role, "content": parts}
