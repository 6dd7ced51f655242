"""Every provider that LiteLLM knows.

LiteLLM takes seconds to import, and would fetch its price list from the network while it is imported; both are kept out of
other commands' way. It makes one attempt a call: retries are ours.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import re
import warnings
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from syphus.errors import ProviderError, RefusedError, RetryError, StopError
from syphus.prices import facts_of
from syphus.providers.base import valid
from syphus.request import Completion, Request

TIMEOUT = 600.0
"""Seconds for one answer, from the first byte sent to the last one received."""
MAX_REPLY = 32 * 2**20
"""Bytes of a reply's text."""

_MAX_COUNT = 2**53
"""Tokens; a number beyond it is nobody's count."""
_NO_CHOICE = "the reply holds no choice"
_RETRY = (
    "RateLimitError",
    "Timeout",
    "APIConnectionError",
    "InternalServerError",
    "ServiceUnavailableError",
    "BadGatewayError",
)
_STOP = (
    "AuthenticationError",
    "PermissionDeniedError",
    "NotFoundError",
    "BudgetExceededError",
)
_SECRET = [
    # user:password@, where a password may hold a slash, but no port is taken for one
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#\"'<>]+@"), r"\1"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/:@]*:(?!\d+/)[^\s@\"'<>]+@"), r"\1"),
    (re.compile(r"(?i)([?&](?:\w*key|\w*token|password|sig)=)[^\s&\"'<>]+"), r"\1…"),
    (re.compile(r"\b(Bearer|Basic) (?=\S*[A-Z0-9=])[\w.~+/=*-]{4,}"), r"\1 …"),
    (re.compile(r"\b(sk|pk|gsk|hf|xai|key)[-_][\w*-]{4,}"), r"\1-…"),
    (re.compile(r"\bAIza[\w*-]{4,}"), "…"),
    (re.compile(r"[\w-]*\*{3,}[\w-]*"), "…"),
]
# What LiteLLM says of an answer that came, but is none: asked again it would come, and be paid, again.
_WITHOUT_CHOICE = re.compile(r"provider returned .*'choices'")
_MISSHAPEN = re.compile(
    r"Invalid response object|Empty or invalid response|\d validation errors? for "
    r"|object has no attribute|must be a mapping"
)


class LiteLLMModel:
    def __init__(self, model: str) -> None:
        """Find the model's provider and key.

        Raises:
            StopError: LiteLLM knows no such provider, or the environment holds no key for it.
        """
        self.model = model
        self.concurrency = 16
        self._litellm = _import_litellm()
        self._provider_errors = _base_of(self._litellm.exceptions.APIError)
        try:
            self._litellm.get_llm_provider(model)
        except self._litellm.BadRequestError:
            raise StopError(
                f"{model!r} names no provider that LiteLLM knows; write it as PROVIDER/MODEL, for "
                "example openai/gpt-4o-mini, or `local` for the embedded model"
            ) from None
        missing = self._litellm.validate_environment(model)["missing_keys"]
        if missing:
            raise StopError(
                f"{model!r} needs a key that the environment does not hold; set "
                + " and ".join(missing)
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._litellm.close_litellm_async_clients()
        # LiteLLM would hand out the closed ones again.
        self._litellm.in_memory_llm_clients_cache.flush_cache()

    async def complete(self, request: Request) -> Completion:
        sampling = request.sampling
        try:
            # LiteLLM's own timeout starts anew with each byte that comes.
            async with asyncio.timeout(TIMEOUT):
                response: Any = await self._litellm.acompletion(
                    model=request.model,
                    messages=_messages(request),
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    max_tokens=sampling.max_tokens,
                    seed=sampling.seed,
                    drop_params=True,  # providers without a seed still answer
                    response_format=_response_format(request),
                    timeout=TIMEOUT,
                    max_retries=0,
                    num_retries=0,
                )
        except TimeoutError:
            raise RetryError(f"no answer within {TIMEOUT:g} s") from None
        except self._provider_errors as error:
            raise _translated(error) from None
        try:
            return self._completion(response)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise RefusedError(
                f"the reply cannot be understood: {type(error).__name__}: {_said(error)}"
            ) from None

    def _completion(self, response: Any) -> Completion:
        if not response.choices:
            raise RefusedError(_NO_CHOICE)
        choice, usage = response.choices[0], getattr(response, "usage", None)
        text = valid(choice.message.content or "")
        if (size := len(text.encode())) > MAX_REPLY:
            raise RefusedError(
                f"the reply has {size / 2**20:.0f} MB of text; no more than {MAX_REPLY // 2**20} MB "
                "are taken"
            )
        details = getattr(usage, "prompt_tokens_details", None)
        said = [
            getattr(usage, "prompt_tokens", None) or 0,
            getattr(usage, "completion_tokens", None) or 0,
            getattr(details, "cached_tokens", None) or 0,
        ]
        counts = [_count(number) for number in said]
        model = response.model if isinstance(response.model, str) else ""
        return Completion(
            text=text,
            finish_reason=valid(str(choice.finish_reason or "stop")),
            model=valid(model)[:200] or self.model,
            prompt_tokens=counts[0],
            completion_tokens=counts[1],
            cached_tokens=counts[2],
            cost_usd=self._cost(response) if counts == said else None,
        )

    def _cost(self, response: Any) -> float | None:
        try:
            cost = self._litellm.completion_cost(response, model=self.model)
        except Exception:  # noqa: BLE001 - LiteLLM raises a bare Exception for a model without a price
            return None
        is_price = isinstance(cost, int | float) and math.isfinite(cost) and cost >= 0
        return float(cost) if is_price else None


def _messages(request: Request) -> list[dict[str, Any]]:
    """Write messages as OpenAI does, which LiteLLM translates; pictures come before the query's text."""
    messages: list[dict[str, Any]] = [
        {"role": message.role, "content": message.content} for message in request.messages
    ]
    if request.pictures:
        query = len(request.prompt.messages)
        parts = [
            {"type": "image_url", "image_url": {"url": picture.data_url()}}
            for picture in request.pictures
        ]
        messages[query]["content"] = [*parts, {"type": "text", "text": request.query}]
    return messages


def _response_format(request: Request) -> dict[str, Any] | None:
    """Ask for JSON of the request's schema, where the provider sees to it; others have the prompt's word."""
    if not request.schema or not facts_of(request.model).has_schema:
        return None
    schema = {"name": request.form, "schema": json.loads(request.schema), "strict": True}
    return {"type": "json_schema", "json_schema": schema}


def _import_litellm() -> Any:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    # Where a run stops while a request begins, LiteLLM leaves its inner coroutine behind.
    warnings.filterwarnings("ignore", message=r"coroutine '\w+\.acompletion' was never awaited")
    # About an answer of the wrong form, which is an error with a sentence of its own.
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings", category=UserWarning)
    if "LITELLM_LOG" not in os.environ:
        # It logs what it then raises, with its traceback.
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


def _base_of(kind: type[Exception]) -> type[Exception]:
    """Return OpenAIError, from which all of LiteLLM's exceptions about providers are derived."""
    return next(base for base in kind.__mro__ if base.__name__ == "OpenAIError")


def _translated(error: Exception) -> ProviderError:
    """Turn LiteLLM's exceptions into ours."""
    names = {kind.__name__ for kind in type(error).__mro__}
    said = _said(error)
    if names & set(_STOP):
        return StopError(f"the provider will not answer: {said}")
    if _WITHOUT_CHOICE.search(said):
        return RefusedError(_NO_CHOICE)
    if _MISSHAPEN.search(said):
        return RefusedError(f"the reply cannot be understood: {said}")
    if names & set(_RETRY):
        return RetryError(said, retry_after=_retry_after(error))
    if names & {"BadRequestError", "UnprocessableEntityError"}:
        return RefusedError(said)
    return ProviderError(said)


def _retry_after(error: Exception) -> float | None:
    """Return the seconds that a provider asks to wait, which it names as a number or a date."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    asked = headers.get("retry-after", "")
    try:
        seconds = float(asked)
    except ValueError:
        try:
            date = parsedate_to_datetime(asked)
        except (ValueError, OverflowError):  # neither
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _count(number: object) -> int:
    """Return a provider's number of tokens as one that a database can add up."""
    if isinstance(number, int | float) and number > 0:
        return int(min(number, _MAX_COUNT))
    return 0


def _said(error: Exception) -> str:
    """Return the first line of an error, without keys and tracebacks."""
    lines = (line.partition("Traceback (")[0].strip() for line in valid(str(error)).splitlines())
    return _without_keys(next(filter(None, lines), type(error).__name__)[:4_000])[:500]


def _without_keys(text: str) -> str:
    """Take out what may be a key or a password: providers quote the one they did not accept."""
    for secret in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(secret, "…")
    for pattern, instead in _SECRET:
        text = pattern.sub(instead, text)
    return text


def _secrets() -> set[str]:
    """Return the keys and passwords that the environment holds, also as a URL writes them."""
    found: set[str] = set()
    for name, value in os.environ.items():
        if re.search(r"KEY|TOKEN|SECRET|PASSWORD", name.upper()):
            found.update(line for line in value.splitlines() if len(line) >= 8)
        if url := re.match(r"[A-Za-z][\w+.-]*://[^:/@\s]*:(\S{4,})@", value):
            found.add(url[1])
    return found | {quote(secret, safe="") for secret in found}
