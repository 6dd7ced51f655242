"""What a response's headers say of the provider's limits, and how long they ask to wait.

    x-ratelimit-limit-requests: 5000                      OpenAI, Azure, Groq, vLLM gateways
    x-ratelimit-remaining-requests: 4999
    x-ratelimit-reset-requests: 6m0s                      durations: 6m0s, 17ms, 2m59.56s, 3
    x-ratelimit-limit-req-minute: 720                     Mistral; names no reset
    anthropic-ratelimit-input-tokens-limit: 80000         Anthropic; resets are RFC 3339 times
    x-ratelimit-limit: 100                                OpenRouter, Together; resets are seconds or an epoch
    retry-after-ms: 1500, retry-after: 2, retry-after: Wed, 25 Nov 2026 07:28:00 GMT

Headers are a stranger's text: whatever they say, nothing here raises, and nonsense counts as silence.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from syphus.limits import Limits, Quota

DAY = 86_400.0
_EPOCH, _EPOCH_MS = 1e9, 1e12
"""A number beyond these is a time, in seconds or milliseconds; below, it is a number of seconds."""

_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": DAY,
}
_PART = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h|d)")
_FIRST = re.compile(r"\s*(\d+(?:\.\d*)?)\s*[,;]")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")


_Names = tuple[str, str, str]
"""Of the limit, of what remains, and of the reset."""


def _openai(kind: str) -> _Names:
    start = "x-ratelimit-"
    return f"{start}limit-{kind}", f"{start}remaining-{kind}", f"{start}reset-{kind}"


def _anthropic(kind: str) -> _Names:
    start = f"anthropic-ratelimit-{kind}-"
    return f"{start}limit", f"{start}remaining", f"{start}reset"


_REQUESTS = (
    _openai("requests"),
    _openai("req-minute"),
    _anthropic("requests"),
    ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
)
_TOKENS = (
    _openai("tokens"),
    _openai("tokens-minute"),
    _anthropic("tokens"),
    _anthropic("input-tokens"),
    _anthropic("output-tokens"),
)


def read_limits(
    headers: Mapping[str, str], *, wall: Callable[[], float] = time.time
) -> Limits | None:
    """Return the provider's limits; None where the headers name none.

    Args:
        headers: In any case (`X-RateLimit-…`), as a plain dict or a case-insensitive mapping.
        wall: The wall clock, for resets that are given as a time.
    """
    if type(headers) is dict:
        headers = {str(name).lower(): value for name, value in headers.items()}
    requests = _scarcest(headers, _REQUESTS, wall)
    tokens = _scarcest(headers, _TOKENS, wall)
    return Limits(requests, tokens) if requests or tokens else None


def retry_after(
    headers: Mapping[str, str], *, wall: Callable[[], float] = time.time
) -> float | None:
    """Return how many seconds the provider asks to wait; None where it says nothing, or nonsense."""
    if type(headers) is dict:
        headers = {str(name).lower(): value for name, value in headers.items()}
    if (text := headers.get("retry-after-ms")) is not None:
        milliseconds = _number(text)
        if milliseconds is not None:
            return milliseconds / 1000
    if (text := headers.get("retry-after")) is None:
        return None
    text = str(text).strip()
    if (seconds := _number(text)) is not None:
        return seconds
    if (seconds := _duration(text)) is not None:
        return seconds
    try:
        return _until(parsedate_to_datetime(text), wall)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None


def _scarcest(
    headers: Mapping[str, str],
    names: tuple[_Names, ...],
    wall: Callable[[], float],
) -> Quota | None:
    """Return the quota that is used up most."""
    found: Quota | None = None
    for limit, remaining, reset in names:
        if limit not in headers:
            continue
        quota = _quota(headers.get(limit), headers.get(remaining), headers.get(reset), wall)
        if quota and (
            found is None or quota.remaining * found.limit < found.remaining * quota.limit
        ):
            found = quota
    return found


def _quota(
    limit: object, remaining: object, reset: object, wall: Callable[[], float]
) -> Quota | None:
    full, left = _number(limit), _number(remaining)
    if not full or left is None:  # a limit of 0 is how some say "none"
        return None
    return Quota(full, min(left, full), None if reset is None else _reset(str(reset), wall))


def _reset(text: str, wall: Callable[[], float]) -> float | None:
    """Return the seconds until a reset that is given as a duration, a number, an epoch or a time."""
    number = _number(text)
    if number is not None:
        if number >= _EPOCH:
            number = number / 1000 - wall() if number >= _EPOCH_MS else number - wall()
        return min(max(number, 0.0), DAY)
    if (seconds := _duration(text)) is not None:
        return min(seconds, DAY)
    try:
        return _until(datetime.fromisoformat(text), wall)
    except (ArithmeticError, ValueError):
        return None


def _until(moment: datetime, wall: Callable[[], float]) -> float:
    """Return the seconds until a moment: none if it is past, and a day at most, for clocks differ and jump."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment.timestamp() - wall(), 0.0), DAY)


def _number(value: object) -> float | None:
    """Return a number that is neither negative nor infinite; of several, the first: `100, 100;w=60` is 100."""
    text = str(value)
    try:
        number = float(text)
    except ValueError:
        if not (first := _FIRST.match(text)):
            return None
        number = float(first[1])
    return number if 0 <= number < math.inf else None


@lru_cache(maxsize=1024)  # the same few come again and again
def _duration(text: str) -> float | None:
    text = text.strip().lower()
    if not _DURATION.fullmatch(text):
        return None
    seconds = sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(text))
    return seconds if seconds < math.inf else None
