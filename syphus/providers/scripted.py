"""A model that says what it is told to say: for tests of everything around a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from syphus.request import Completion, Request


class ScriptedModel:
    def __init__(self, script: Callable[[Request], str], *, concurrency: int = 4) -> None:
        """Answer each request with what `script` makes of it; it may raise a ProviderError."""
        self.script = script
        self.concurrency = concurrency
        self.seen: list[Request] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    async def complete(self, request: Request) -> Completion:
        await asyncio.sleep(0)  # a turn for others, as with every model
        self.seen.append(request)
        text = self.script(request)
        return Completion(
            text=text,
            finish_reason="stop",
            model=request.model,
            prompt_tokens=sum(len(message.content.split()) for message in request.messages),
            completion_tokens=len(text.split()),
            cost_usd=0.0,
        )
