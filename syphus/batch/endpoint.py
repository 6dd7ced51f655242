"""The seam to a provider's batch endpoint, and what its package raises in our words.

Calls are made by the provider's own package, in a thread, and make one attempt: retries are the lane's. An endpoint raises only the errors
of `syphus.errors`, and no key is in their text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from syphus.batch.spill import Framing
from syphus.batch.state import Batch, Found, Remote
from syphus.errors import (
    ConnectionLostError,
    ContentError,
    ProviderError,
    RateLimitError,
    RefusedError,
    RetryError,
    ServerError,
    StopError,
    TimedOutError,
)
from syphus.providers.base import valid
from syphus.providers.secrets import without_keys
from syphus.request import Completion, Request

TIMEOUT = 60.0
"""Seconds without a byte, either way."""
DIGESTING = 300.0
"""The same, where a provider is sent a whole batch before it answers."""
CLOCKS = 86_400.0
"""Seconds by which our clock and a provider's may differ, when its list of batches is searched by time."""
DOUBT = (TimedOutError, ConnectionLostError, ServerError)
"""After one of these the provider may have done what it was asked to."""


class Endpoint(Protocol):
    most_requests: int
    """In one batch."""
    most_bytes: int
    """Of one batch."""
    framing: Framing

    def line(self, request: Request) -> bytes:
        """Write a request as a batch holds it."""

    def newest(self) -> str | None:
        """Return the id of the newest batch, where that is needed to find ours again."""

    def find(self, batch: Batch, known: set[str], mine: Callable[[str], bool]) -> Found:
        """Look for a batch that may have been submitted.

        Args:
            batch: The batch.
            known: The provider's ids of batches that are known to be others.
            mine: Whether a request is in the batch.
        """

    def upload(self, batch: Batch) -> str | None:
        """Upload its requests, where that is a step of its own."""

    def submit(self, batch: Batch) -> str:
        """Submit it, and return the provider's id."""

    def retrieve(self, remote: str) -> Remote: ...

    def download(self, remote: Remote, path: Path) -> None:
        """Write its results to a file, a line each."""

    def read(self, line: dict[str, Any]) -> tuple[str, Completion | ProviderError]:
        """Return a result's key, and what came of that request."""

    def close(self) -> None: ...


@contextmanager
def translating(doing: str) -> Iterator[None]:
    """Turn what the packages of OpenAI and Anthropic raise into our errors; the two are made alike."""
    import httpx2

    try:
        yield
    except ProviderError:
        raise
    except httpx2.TimeoutException:
        raise TimedOutError(f"{doing}: the provider did not answer in time") from None
    except httpx2.HTTPError as error:
        raise ConnectionLostError(f"{doing}: {said(error)}") from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("openai", "anthropic"):
            raise
        raise _translated(error, doing) from None


def _translated(error: Exception, doing: str) -> ProviderError:
    status = getattr(error, "status_code", None)
    names = {kind.__name__ for kind in type(error).__mro__}
    text = f"{doing}: {said(error)}"
    if "APITimeoutError" in names:
        return TimedOutError(text)
    if "APIConnectionError" in names:
        return ConnectionLostError(text)
    if not isinstance(status, int):
        return ProviderError(text)
    after = _retry_after(error)
    return of_status(status, text, code=str(getattr(error, "code", "")), retry_after=after)


def of_status(
    status: int, text: str, *, code: str = "", retry_after: float | None = None
) -> ProviderError:
    """Return the error that an HTTP status stands for."""
    if status in (401, 402, 403, 404) or code in (
        "insufficient_quota",
        "billing_hard_limit_reached",
    ):
        return StopError(text, status=status)
    if status == 429:
        return RateLimitError(text, status=status, retry_after=retry_after)
    if status in (408, 409, 425) or status >= 500 or status < 400:
        return ServerError(text, status=status, retry_after=retry_after)
    if code in ("content_filter", "content_policy_violation"):
        return ContentError(text, status=status)
    return RefusedError(text, status=status)


def _retry_after(error: Exception) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None


def of_request(error: ProviderError) -> ProviderError:
    """Return an error about one request of a batch: it never stops a run, which others of the batch may not deserve."""
    if isinstance(error, StopError):
        return RefusedError(str(error), status=error.status)
    return error


def expired(what: str) -> RetryError:
    return ServerError(f"the batch {what} before the provider came to this request")


def said(error: BaseException) -> str:
    """Return what an error says, in one line without keys."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    if isinstance(body, dict) and isinstance(body.get("error"), dict):  # Anthropic nests it
        message = body["error"].get("message")
    text = message if isinstance(message, str) else str(error) or type(error).__name__
    return short(text)


def short(text: object) -> str:
    """Return what a provider said, in one line of bearable length, without keys."""
    return without_keys(" ".join(valid(str(text)).split())[:4_000])[:500]
