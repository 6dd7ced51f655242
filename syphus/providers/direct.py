"""OpenAI-shaped and Anthropic endpoints, without anything in between: one aiohttp session, orjson.

What is sent is what LiteLLM would send (see `bodies`), without its work for the processor. The prompt is the same in
all requests of a run: it is encoded once, and its bytes are put into each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from syphus.errors import (
    ConnectionLostError,
    ProviderError,
    RefusedError,
    StopError,
    TimedOutError,
)
from syphus.pacing.headers import read_limits
from syphus.providers.base import MAX_REPLY, TIMEOUT, valid
from syphus.providers.bodies import (
    anthropic_body,
    anthropic_headers,
    openai_body,
    read_anthropic,
    read_openai,
)
from syphus.providers.refusals import refusal
from syphus.providers.secrets import first_line
from syphus.providers.targets import target
from syphus.request import Completion, Request

if TYPE_CHECKING:
    import aiohttp

CONNECT = 60.0
"""Seconds until a connection stands."""
_LONGEST_REFUSAL = 64 * 1024
"""Bytes that are read of an answer that is none."""
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
        self._timeout = timeout
        self.target = target(model, key=key)
        self._is_anthropic = self.target.family == "anthropic"
        self._body_of = anthropic_body if self._is_anthropic else openai_body
        self._read = read_anthropic if self._is_anthropic else read_openai
        self._encoded = _Encoded()
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp
        import orjson
        import yarl

        self._dumps = orjson.dumps
        seconds = self._timeout or TIMEOUT
        self._errors = _Errors(seconds)
        self._url = yarl.URL(self.target.url)
        self._proxy = _proxy_of(self.target.url)
        self._http = aiohttp.ClientSession(
            # As many connections as there are requests; how many there are is the pacing's business.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "User-Agent": "syphus",
                "Accept-Encoding": "gzip, deflate",
                **self.target.headers,
            },
            timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._http:
            await self._http.close()
        self._http = None

    async def complete(self, request: Request) -> Completion:
        assert self._http, "enter the model before asking it"
        body = self._body_of(request, model=self.model, again=self._encoded)
        try:
            data = self._dumps(body)
        except TypeError as error:  # half a surrogate pair
            raise RefusedError(f"the request cannot be written as JSON: {error}") from None
        try:
            async with self._http.post(
                self._url,
                data=data,
                headers=anthropic_headers(body) if self._is_anthropic else None,
                allow_redirects=False,
                proxy=self._proxy,
            ) as response:
                if response.status != 200:
                    raise await _refused(response)
                content = await _content(response)
                limits = read_limits(response.headers)
        except self._errors.all as error:
            raise self._errors.translated(error) from None
        answer = _decoded(content)
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


class _Errors:
    """What aiohttp raises, as our errors; built where aiohttp is imported."""

    def __init__(self, timeout: float) -> None:
        import aiohttp

        self._timeout = timeout
        self._connecting = aiohttp.ConnectionTimeoutError
        self._certificate = aiohttp.ClientConnectorCertificateError
        self._address = aiohttp.InvalidURL
        self.all = (aiohttp.ClientError, TimeoutError, OSError)

    def translated(self, error: Exception) -> ProviderError:
        if isinstance(error, self._connecting):
            return ConnectionLostError(f"no connection within {CONNECT:g} s")
        if isinstance(error, TimeoutError):
            return TimedOutError(f"no answer within {self._timeout:g} s")
        said = first_line(valid(str(error)), otherwise=type(error).__name__)
        if isinstance(error, self._address):
            return StopError(f"the address of the provider is none: {said}; correct the base URL")
        if isinstance(error, self._certificate):
            return StopError(f"the provider's certificate is not trusted: {said}")
        return ConnectionLostError(f"the connection was lost: {said}")


async def _content(response: aiohttp.ClientResponse) -> bytes:
    """Return the whole body, unless it is too long, as it was sent or unpacked."""
    size = response.content_length
    if size is not None and size <= MAX_REPLY and "Content-Encoding" not in response.headers:
        return await response.read()
    content = await _start(response, MAX_REPLY)
    if len(content) > MAX_REPLY:
        raise RefusedError(
            f"the reply is longer than {MAX_REPLY // 2**20} MB; no more than {MAX_REPLY // 2**20} MB are taken"
        )
    return content


async def _start(response: aiohttp.ClientResponse, size: int) -> bytes:
    """Return the body up to a little more than this size, and give up the connection if there is more."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > size:
            response.close()
            break
    return bytes(content)


async def _refused(response: aiohttp.ClientResponse) -> ProviderError:
    content = await _start(response, _LONGEST_REFUSAL)
    text = content.decode(errors="replace")
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


def _proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for an address: asked once, not for each request."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
