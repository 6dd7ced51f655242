"""A conversation as turns: what is shown, a question, its answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from PIL import Image

Medium = Image.Image | Sequence[Image.Image]
"""One picture, or the frames of one clip."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer, or an example of both."""

    question: str
    """For OpenFlamingo what begins the caption: `Output:`, say, or nothing."""
    answer: str | None = None
    """None: it is the model's turn."""
    media: Sequence[Medium] = ()
    """What is shown before the question."""


def turns_of(messages: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Read messages in transformers' form as turns."""
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, Sequence) or not all(
            isinstance(part, Mapping) and "type" in part for part in parts
        ):
            raise ValueError(
                f"the content of message {number} is no text, and no list of parts that have a type"
            )
        said = "\n".join(part["text"] for part in parts if part["type"] == "text")
        awaits = bool(turns) and turns[-1].answer is None
        if role not in ("user", "assistant") or (role == "assistant") != awaits:
            raise ValueError(
                f"message {number} is of the {role!r}; users and assistants take turns, and a user begins"
            )
        if role == "user":
            shown = [_shown(part, number) for part in parts if part["type"] != "text"]
            turns.append(Turn(said, media=shown))
        else:
            turns[-1] = Turn(turns[-1].question, said, turns[-1].media)
    return turns


def _shown(part: Mapping[str, Any], number: int) -> Medium:
    kind = part["type"]
    if kind not in ("image", "video") or kind not in part:
        raise ValueError(
            f"message {number} shows something that is not a picture in memory; write "
            "{'type': 'image', 'image': …} or {'type': 'video', 'video': [frames]}"
        )
    return cast(Medium, part[kind])
