r"""What the chat formats share: conversations of a file <-> records.

A format turns a row into a `Chat`: the messages, questions and answers in turn, with a placeholder `<image>` for each picture, and
what names the pictures, in order of appearance. `Reader` makes the records: one a turn, all of them with the pictures of the whole.

    Chat   <image>\nWho is he?            -> instruction  Who is he?          meta  {"system": …}
           Thomas Muller.                   answer       Thomas Muller.

Placeholders at a question's start and end are taken off. `meta` on the first turn says where they were, when that is not all
in front of the first question (`_places`: how many in front of and behind each), which roles were no plain question or
answer (`_roles`), what single messages had beside (`_fields`), and every column that the format does not know.
`chat_writing` puts all of it back.

A conversation without an id gets one from its content: the same wherever its file lies and whatever stands before it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mimicit.errors import PictureError
from mimicit.formats.base import BadRow, ReadOptions
from mimicit.formats.references import References
from mimicit.formats.rows import Row, rows
from mimicit.known import Known
from mimicit.schema import ImageRecord, Instruction

PLACEHOLDER = "<image>"
MAX_PICTURES = 4_096
"""Of one conversation."""
ROLES = {
    "human": "user", "user": "user",
    "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "model": "assistant",
    "observation": "observation", "tool": "observation", "tool_response": "observation",
    "function_call": "function_call", "tool_call": "function_call",
    "system": "system", "developer": "system",
}  # fmt: skip
"""What files call roles -> what they are called here."""
ASKING = ("user", "observation")

_FRONT = re.compile(r"(?:<image>[ \n]?)+")
_RESERVED = frozenset({"_places", "_roles", "_fields"})


class BrokenChat(Exception):
    """A conversation that cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    """One of ROLES' values."""
    text: str
    fields: dict[str, Any] = field(default_factory=dict)
    """What the message has beside, such as a weight."""


@dataclass(slots=True)
class Chat:
    messages: list[Message]
    pictures: Sequence[Any] = ()
    """What names them, in order of appearance."""
    id: str | None = None
    task: str | None = None
    language: str | None = None
    alone: bool = False
    """A text to learn without a question; its question is empty."""
    rejected: dict[int, str] = field(default_factory=dict)
    """Turn -> the answer that people liked less; -1 is the last turn."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Columns that the format does not know, and `system`, `videos`, `audios`."""


def message(role: Any, text: Any, fields: dict[str, Any] | None = None) -> Message:
    """Make a message of what a file has.

    Raises:
        BrokenChat: a role that nobody knows, or no text.
    """
    known = ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        raise BrokenChat(f"the role {role!r} is unknown")
    if not isinstance(text, str):
        raise BrokenChat(f"a message of the role {role!r} has no text")
    return Message(known, text, fields or {})


def others(row: dict[str, Any], *known: str) -> dict[str, Any]:
    """Return the columns of a row that are not among the known ones."""
    return {key: value for key, value in row.items() if key not in known and value is not None}


def named(row: dict[str, Any], chat: Chat) -> Chat:
    """Fill in id, task and language, which are called the same in every format, and take them out of the rest."""
    id_ = row.get("id")
    if isinstance(id_, str | int) and not isinstance(id_, bool) and id_ != "":
        chat.id = str(id_)
        chat.meta.pop("id", None)
    for name in ("task", "language"):
        if isinstance(row.get(name), str) and row[name]:
            setattr(chat, name, row[name])
            chat.meta.pop(name, None)
    return chat


def alone(chat: Chat) -> None:
    """Make a chat of an answer alone one with an empty question, to which the pictures before the text belong."""
    spoken = [said for said in chat.messages if said.role != "system"]
    if len(spoken) != 1 or spoken[0].role != "assistant":
        return
    answer = spoken[0]
    found = _FRONT.match(answer.text)
    shown = found[0].count(PLACEHOLDER) if found else 0
    rest = answer.text[found.end() :] if found else answer.text
    before = [said for said in chat.messages if said.role == "system"]
    question = Message("user", PLACEHOLDER * shown)
    chat.messages = [*before, question, Message("assistant", rest, answer.fields)]
    chat.alone = True


def as_list(value: Any) -> list[Any]:
    """Return what may be one, several or none as a list."""
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


# Reading


class Reader:
    """Records of one file of chats."""

    def __init__(
        self, name: str, path: Path, options: ReadOptions, *, by_content: bool = False
    ) -> None:
        """Prepare to read.

        Args:
            name: Of the format: the task and the ids' beginning where the file says none.
            path: The file.
            options: Of the import.
            by_content: See `References`.
        """
        self._path = path
        self._options = options
        self._task = options.task or name
        self._prefix = re.sub(r"[^A-Za-z0-9]+", "_", self._task).strip("_").upper() or "CHAT"
        self._references = References(
            options.images or path.parent,
            name.upper(),
            given=options.images is not None,
            by_content=by_content,
        )
        self._ids = Known()

    def read(
        self, to_chat: Callable[[dict[str, Any]], Chat], *, place_missing: bool = False
    ) -> Iterator[Instruction | ImageRecord | BadRow]:
        """Read the file as a stream.

        Args:
            to_chat: The format: a row -> a chat.
            place_missing: Pictures of a chat without any placeholder stand in front.

        Raises:
            FormatError: it is broken from some place on; what came before it was read.
        """
        for row in rows(self._path):
            if isinstance(row, BadRow):
                yield row
                continue
            found: list[Instruction | ImageRecord | BadRow] = []
            try:
                self._read_row(to_chat(_as_object(row.value)), row, found, place_missing)
            except (BrokenChat, PictureError) as error:
                found.append(BadRow(row.where, str(error)))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                found.append(BadRow(row.where, f"{where}: {first['msg']}"))
            yield from found

    def _read_row(
        self,
        chat: Chat,
        row: Row,
        found: list[Instruction | ImageRecord | BadRow],
        place_missing: bool,
    ) -> None:
        """Add to `found`, also before it turns out that the row is broken: its pictures are known from then on."""
        questions, answers = _turns(chat)
        meta = _meta(chat, questions, answers)
        texts = _unplaced(chat, questions, answers, meta, place_missing)
        ids = []
        for reference in chat.pictures:
            id_, news = self._references.find(reference, row.where)
            ids.append(id_)
            found += [news] if news else []
        rejected = {turn % len(texts): text for turn, text in chat.rejected.items()}
        said = json.dumps(meta, ensure_ascii=False, sort_keys=True) if meta else None
        _check_characters(chat, texts, rejected, said)
        content = [texts, ids, sorted(rejected.items()), meta.get("system"), meta.get("_places")]
        conversation = self._conversation(chat, row, content)
        several = len(texts) > 1
        found += [
            Instruction(
                id=f"{conversation}_{turn:02d}" if several else conversation,
                task=chat.task or self._task,
                instruction=instruction,
                answer=answer,
                image_ids=tuple(ids),
                language=chat.language or self._options.language,
                source=row.where,
                conversation=conversation if several else None,
                turn=turn if several else None,
                rejected=rejected.get(turn),
                meta=said if turn == 0 else None,
            )
            for turn, (instruction, answer) in enumerate(texts)
        ]

    def _conversation(self, chat: Chat, row: Row, content: list[Any]) -> str:
        if chat.id is None:
            digest = hashlib.sha256(_dumped(content)).hexdigest()
            return f"{self._prefix}_INS_{digest[:20]}"
        id_ = chat.id
        if "_INS_" not in id_:
            id_ = f"{self._prefix}_INS_{self._path.stem}_{id_}"
        if id_ in self._ids.among([id_]):  # LLaVA's files name the picture, again and again
            id_ = f"{id_}-{row.number}"
        self._ids.note([id_])
        return id_


def _check_characters(
    chat: Chat, texts: list[tuple[str, str]], rejected: dict[int, str], said: str | None
) -> None:
    kept = (chat.id, chat.task, chat.language, said, *rejected.values(), *chain(*texts))
    try:
        "".join(filter(None, kept)).encode()
    except UnicodeEncodeError:
        raise BrokenChat("there is half a character in it, which no file can hold") from None


def _as_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BrokenChat("not an object")
    return value


def _dumped(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=True, sort_keys=True).encode()


def _turns(chat: Chat) -> tuple[list[Message], list[Message]]:
    """Part a chat into questions and answers, and put what the system says into its meta."""
    messages = chat.messages
    if messages and messages[0].role == "system":
        if messages[0].text:
            chat.meta["system"] = messages[0].text
        messages = messages[1:]
    if not messages:
        raise BrokenChat("there are no messages")
    for number, said in enumerate(messages):
        asks = said.role in ASKING
        if said.role == "system":
            raise BrokenChat(f"message {number + 1} is of the system, which speaks only first")
        if asks and number % 2:
            raise BrokenChat(f"two questions in a row, the second is message {number + 1}")
        if not asks and not number % 2:
            what = "two answers in a row, the second" if number else "an answer without a question"
            raise BrokenChat(f"{what} is message {number + 1}")
        if not asks and not said.text.strip():
            raise BrokenChat(f"message {number + 1} is an empty answer")
    if len(messages) % 2:
        raise BrokenChat("the last question has no answer")
    return messages[::2], messages[1::2]


def _meta(chat: Chat, questions: list[Message], answers: list[Message]) -> dict[str, Any]:
    if taken := _RESERVED & chat.meta.keys():
        raise BrokenChat(f"a column is called {min(taken)!r}, a name that is needed here")
    meta = dict(chat.meta)
    roles = [[ask.role, say.role] for ask, say in zip(questions, answers, strict=True)]
    if any(pair != ["user", "assistant"] for pair in roles):
        meta["_roles"] = roles
    beside = [[ask.fields, say.fields] for ask, say in zip(questions, answers, strict=True)]
    if any(map(any, beside)):
        meta["_fields"] = beside
    try:
        json.dumps(meta, allow_nan=False)
    except ValueError as error:
        raise BrokenChat(f"a column cannot be kept: {error}") from None
    return meta


def _unplaced(
    chat: Chat,
    questions: list[Message],
    answers: list[Message],
    meta: dict[str, Any],
    place_missing: bool,
) -> list[tuple[str, str]]:
    """Take placeholders off the questions' ends, and note in `meta` where they were."""
    pictures = len(chat.pictures)
    if pictures > MAX_PICTURES:
        raise BrokenChat(f"{pictures} pictures, more than {MAX_PICTURES}")
    there = sum(said.text.count(PLACEHOLDER) for said in (*questions, *answers))
    texts: list[tuple[str, str]] = []
    places: list[list[int]] = []
    if there != pictures and not (place_missing and there == 0):
        raise BrokenChat(f"{there} placeholders {PLACEHOLDER} and {pictures} pictures")
    for ask, say in zip(questions, answers, strict=True):
        text, front, behind = _bare(ask.text)
        if not text.strip() and not (pictures or chat.alone):
            raise BrokenChat("a question is empty")
        texts.append((text, say.text))
        places.append([front, behind])
    if there and places != usual_places(sum(map(sum, places)), len(places)):
        meta["_places"] = places
    return texts


def usual_places(pictures: int, turns: int) -> list[list[int]]:
    """Return the places of placeholders that all stand in front of the first question."""
    return [[pictures, 0], *([0, 0] for _ in range(turns - 1))]


def _bare(text: str) -> tuple[str, int, int]:
    """Part a question from the placeholders at its ends, each with the one space or line end that may go with it."""
    front = behind = 0
    if found := _FRONT.match(text):
        front = found[0].count(PLACEHOLDER)
        text = text[found.end() :]
    end = len(text)
    while text.endswith(PLACEHOLDER, 0, end):
        behind += 1
        end -= len(PLACEHOLDER)
        end -= text.endswith((" ", "\n"), 0, end)
    return text[:end], front, behind
