"""A question and its answer, as a reply holds them.

A named tuple, because millions are made. To pydantic, which reads those of a task's files and checks them, it is the model `_Notes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core.core_schema import CoreSchema, ValidatorFunctionWrapHandler


class _Notes(BaseModel):
    model_config = ConfigDict(extra="forbid")

    question: str
    answer: str
    options: tuple[str, ...] = ()
    conversation: int = 0
    topic: str = ""
    role: str = ""
    reason: str = ""


class Pair(NamedTuple):
    question: str
    """Empty in the form `texts`, whose question is known before."""
    answer: str
    """In the form `choices`: the text of the right option."""
    options: tuple[str, ...] = ()
    """Choices in their order, `answer` among them."""
    conversation: int = 0
    """Which conversation of the reply it belongs to, from 0."""
    topic: str = ""
    """What its conversation is about."""
    role: str = ""
    """Who asks."""
    reason: str = ""
    """Why the topic was chosen."""

    def model_dump(self, **how: Any) -> dict[str, Any]:
        return _notes(self).model_dump(**how)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        def read(value: Any, notes: ValidatorFunctionWrapHandler) -> Pair:
            return value if isinstance(value, Pair) else cls(**dict(notes(value)))

        return core_schema.no_info_wrap_validator_function(
            read,
            handler.generate_schema(_Notes),
            serialization=core_schema.plain_serializer_function_ser_schema(_notes),
        )


def _notes(pair: Pair) -> _Notes:
    return _Notes(**pair._asdict())
