"""Forms of a reply, one file each: what a model is asked to write, and how that is read.

    pairs           question and answer, several times
    conversations   several conversations of several rounds, each about a topic (rooms)
    choices         a question, its options, and the number of the right one
    texts           numbered texts, answers to one question that is known (translations and paraphrases)

A form is wanted as labelled lines, or as JSON where the model's provider enforces a schema; `read` reads both, whichever came.
To add a form, write one file with these functions and add it to FORMS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from syphus.forms import choices, conversations, pairs, texts
from syphus.forms.pair import Pair
from syphus.request import Shape

__all__ = ["FORMS", "Form", "Pair"]


class Form(Protocol):
    def describe(self, shape: Shape) -> str:
        """Return the end of the system message: how to write a reply as lines."""
        ...

    def write(self, pairs: Sequence[Pair]) -> str:
        """Write pairs as lines, as a reply should."""
        ...

    def value(self, pairs: Sequence[Pair]) -> Any:
        """Return pairs as the JSON value that `schema` describes."""
        ...

    def schema(self, shape: Shape) -> dict[str, Any]:
        """Return the JSON schema of a reply."""
        ...

    def grammar(self, shape: Shape, *, end: str = "") -> str:
        """Describe a reply as lines in llama.cpp's GBNF; `end` is what must follow it."""
        ...

    def read(self, text: str) -> list[Pair]:
        """Read whatever pairs a text holds, whole ones first to last; a last one may be cut off."""
        ...


FORMS: dict[str, Form] = {
    "pairs": pairs,
    "conversations": conversations,
    "choices": choices,
    "texts": texts,
}
