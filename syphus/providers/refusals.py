"""What an answer with another status than 200 means: for the request, for its provider, for the run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from syphus.errors import (
    ContentError,
    ProviderError,
    RateLimitError,
    RefusedError,
    RetryError,
    ServerError,
    StopError,
    TimedOutError,
)
from syphus.pacing.headers import read_limits, retry_after
from syphus.providers.base import valid
from syphus.providers.secrets import first_line

NO_CREDIT = re.compile(
    r"(?i)insufficient_quota|billing_(?:hard_limit_reached|not_active|error)|exceeded your current quota"
    r"|credit balance is too low|insufficient.(?:balance|credits|funds)"
)
CONTENT = re.compile(
    r"content_filter|content_policy|ResponsibleAIPolicyViolation|requires moderation"
    r"|content management policy"
)


_HINTS = {
    401: "; check the key in the environment (docs/providers.md)",
    402: "; the account has no credit",
    403: "; the key may not be used for this model or from here",
    404: "; check the model's name and the base URL (docs/providers.md)",
}


def refusal(
    status: int, answer: Any, headers: Mapping[str, str], *, body: str = ""
) -> ProviderError:
    """Return the error of an answer that is none.

    Args:
        status: Of the response.
        answer: Its JSON value; None where it has none.
        headers: Of the response.
        body: The text of an answer that is no JSON.
    """
    message, codes = _message(answer)
    said = first_line(valid(message or body), otherwise="no reason given")
    said = f"the provider answered {status}: {said}"
    limits, wait = read_limits(headers), retry_after(headers)
    stated = f"{codes} {message}"
    if status < 500 and CONTENT.search(stated):
        return ContentError(said, status=status, limits=limits)
    if NO_CREDIT.search(stated):
        return StopError(said, status=status, limits=limits)
    if 300 <= status < 400:
        place = first_line(valid(headers.get("location", "")), otherwise="another address")
        return StopError(
            f"the provider answered {status} and sends requests to {place}; keys are not sent on, so set the "
            "base URL to the right address",
            status=status,
        )
    kind = kind_of(status)
    said += _HINTS.get(status, "")
    if issubclass(kind, RetryError):
        return kind(said, retry_after=wait, status=status, limits=limits)
    return kind(said, status=status, limits=limits)


def kind_of(status: int) -> type[ProviderError]:
    """Return the class of a status, where the answer's words and codes say nothing else."""
    if status in (401, 402, 403, 404, 405):
        return StopError
    if status in (429, 529):  # 529 is Anthropic's "overloaded"
        return RateLimitError
    if status in (408, 504, 524):
        return TimedOutError
    if status >= 500 or status in (409, 425):
        return ServerError
    if 400 <= status < 500:
        return RefusedError
    return ServerError


def _message(answer: Any) -> tuple[str, str]:
    """Return what an answer says in words, and its codes."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if isinstance(error, str):
        return error, ""
    if not isinstance(error, dict):
        return "", ""
    inner = error.get("innererror")
    codes = [
        error.get("code"),
        error.get("type"),
        inner.get("code") if isinstance(inner, dict) else "",
    ]
    message = error.get("message") or error.get("detail")
    return str(message or ""), " ".join(str(code) for code in codes if code)
