"""OpenAI-shaped and Anthropic endpoints, without anything in between: one libcurl handle for all connections (see `http`), orjson.

What is sent is what LiteLLM would send (see `bodies`), without its work for the processor. The prompt is the same in
all requests of a run: it is encoded once, and its bytes are put into each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Any, Self

from syphus.errors import ConnectionLostError, ProviderError, RefusedError
from syphus.pacing.headers import read_limits
from syphus.providers.base import MAX_REPLY, TIMEOUT, valid
from syphus.providers.bodies import (
    anthropic_body,
    anthropic_headers,
    openai_body,
    read_anthropic,
    read_openai,
)
from syphus.providers.http import Http, Response, proxy_of
from syphus.providers.refusals import refusal
from syphus.providers.secrets import first_line
from syphus.providers.targets import target
from syphus.request import Completion, Request

_TOO_LONG = f"the reply is longer than {MAX_REPLY // 2**20} MB; no more than {MAX_REPLY // 2**20} MB are taken"
_REMEMBERED = 64
"""Encoded parts of requests that are kept: a few for each prompt."""


class DirectModel:
    def __init__(self, model: str, *, key: str | None = None, timeout: float | None = None) -> None:
        """Find the model's address and key; nothing is sent yet.

        Raises:
            StopError: only LiteLLM knows how this model is asked, or the environment holds no key for it.
        """
        self.model = model
        self.concurrency = 16
        self.target = target(model, key=key)
        self._is_anthropic = self.target.family == "anthropic"
        self._body_of = anthropic_body if self._is_anthropic else openai_body
        self._read = read_anthropic if self._is_anthropic else read_openai
        self._encoded = _Encoded()
        self._http = Http(
            self.target.url,
            self.target.headers,
            timeout=timeout or TIMEOUT,
            proxy=proxy_of(self.target.url),
        )

    async def __aenter__(self) -> Self:
        import orjson

        self._dumps = orjson.dumps
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    async def complete(self, request: Request) -> Completion:
        body = self._body_of(request, model=self.model, again=self._encoded)
        try:
            data = self._dumps(body)
        except TypeError as error:  # half a surrogate pair
            raise RefusedError(f"the request cannot be written as JSON: {error}") from None
        more = anthropic_headers(body) if self._is_anthropic else None
        response = await self._http.post(data, more=more)
        if response.status != 200:
            raise _refused(response)
        if response.is_cut:
            raise RefusedError(_TOO_LONG)
        answer = _decoded(response.content)
        limits = read_limits(response.headers) if response.has_limits else None
        try:
            return self._read(answer, model=self.model, limits=limits)
        except RefusedError:
            if within := _within(answer):
                raise within from None
            raise


class _Encoded:
    """Keep the encoded form of what many requests have in common."""

    def __init__(self) -> None:
        import orjson

        self._dumps, self._fragment = orjson.dumps, orjson.Fragment
        self._kept: dict[Hashable, Any] = {}

    def __call__(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if (found := self._kept.get(key)) is not None:
            return found
        value = make()
        if isinstance(value, list) and not isinstance(key, tuple):
            # The members of a list become one member, with their commas in it.
            kept: Any = [self._fragment(self._dumps(value)[1:-1])] if value else []
        else:
            kept = self._fragment(self._dumps(value))
        if len(self._kept) >= _REMEMBERED:
            self._kept.pop(next(iter(self._kept)))
        self._kept[key] = kept
        return kept


def _refused(response: Response) -> ProviderError:
    text = response.content.decode(errors="replace")
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    return refusal(response.status, answer, response.headers, body=text)


def _within(answer: Any) -> ProviderError | None:
    """Return the error that an answer with status 200 holds instead of a choice, as OpenRouter's may."""
    error = answer.get("error") if isinstance(answer, dict) else None
    status = error.get("code") if isinstance(error, dict) else None
    if isinstance(status, int) and 400 <= status < 600:
        return refusal(status, answer, {})
    return None


def _decoded(content: bytes) -> Any:
    """Return a body's JSON value.

    Raises:
        ConnectionLostError: it is no JSON: what a broken gateway says, which may be gone the next time.
    """
    import orjson

    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    try:  # which also takes half surrogate pairs and NaN
        return json.loads(content)
    except (ValueError, RecursionError):
        start = first_line(valid(content[:200].decode(errors="replace")), otherwise="nothing")
    raise ConnectionLostError(f"the reply is no JSON; it begins with {start!r}")
