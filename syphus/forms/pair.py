"""A question and its answer, as a reply holds them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Pair(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

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
