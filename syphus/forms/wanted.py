"""What forms ask for alike: pieces of JSON schemas, and of grammars."""

from __future__ import annotations

from typing import Any

from syphus.request import Shape

TEXT: dict[str, Any] = {"type": "string"}

# Bounded: without bounds a small model may never come to an end.
QUESTION = r'question ::= [^ \n?:#*] [^\n?:#*]{9,120} "?"'
_SENTENCE = r"[^ \n.!?:#*] [^\n.!?:#*]{9,240} [.!]"
PHRASE = r"phrase ::= [^ \n.!?:#*] [^\n.!?:#*]{0,80}"


def answer(shape: Shape) -> str:
    """Return a grammar's rule for an answer: one sentence, or as many as the shape allows."""
    if shape.sentences <= 1:
        return f"answer ::= {_SENTENCE}"
    more = times(0, shape.sentences - 1)
    return f'answer ::= sentence (" " sentence){more}\nsentence ::= {_SENTENCE}'


def object_of(**members: dict[str, Any]) -> dict[str, Any]:
    """Describe an object with these members and no others, as strict structured outputs want it."""
    return {
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


def list_of(items: dict[str, Any], least: int, most: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "array", "items": items, "minItems": least}
    return found if most is None else {**found, "maxItems": most}


def finish(end: str) -> str:
    """Return the end of a grammar's root: what must follow a reply."""
    return ' "' + end.replace("\n", r"\n") + '"' if end else ""


def times(least: int, most: int) -> str:
    return f"{{{least},{most}}}"
