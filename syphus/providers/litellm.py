"""Every provider that LiteLLM knows.

LiteLLM takes seconds to import, and would fetch its price list from the network while it is imported; both are kept out of
other commands' way. It makes one attempt a call: retries are ours.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

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
from syphus.pacing.headers import read_limits, retry_after
from syphus.prices import cost_of
from syphus.providers.base import NO_CHOICE, TIMEOUT, count, too_long, valid
from syphus.providers.bodies import (
    check_pictures,
    marked_messages,
    not_understood,
    response_format,
    wants_schema,
)
from syphus.providers.refusals import CONTENT, NO_CREDIT, kind_of
from syphus.providers.secrets import first_line, remember
from syphus.providers.targets import split
from syphus.request import Completion, Request

_KINDS: dict[str, type[ProviderError]] = {
    # The first that an exception's ancestors hold.
    "ContentPolicyViolationError": ContentError,
    "AuthenticationError": StopError,
    "PermissionDeniedError": StopError,
    "NotFoundError": StopError,
    "BudgetExceededError": StopError,
    "RateLimitError": RateLimitError,
    "Timeout": TimedOutError,
    "InternalServerError": ServerError,
    "ServiceUnavailableError": ServerError,
    "BadGatewayError": ServerError,
    "APIConnectionError": ConnectionLostError,
    "BadRequestError": RefusedError,
    "UnprocessableEntityError": RefusedError,
}
# What LiteLLM says of an answer that came, but is none: asked again it would come, and be paid, again.
_WITHOUT_CHOICE = re.compile(r"provider returned .*'choices'")
_MISSHAPEN = re.compile(
    r"Invalid response object|Empty or invalid response|\d validation errors? for "
    r"|object has no attribute|must be a mapping"
)
_LOST = re.compile(r"(?i)Cannot connect|Connection (?:reset|refused|error)|disconnected|payload")


class LiteLLMModel:
    def __init__(self, model: str, *, key: str | None = None, timeout: float | None = None) -> None:
        """Find the model's provider and key.

        Args:
            model: As LiteLLM writes it.
            key: The name of the environment variable that holds the key; None is the provider's usual one.
            timeout: Seconds for one answer; None is `TIMEOUT`.

        Raises:
            StopError: LiteLLM knows no such provider, or the environment holds no key for it.
        """
        self.model = model
        self.concurrency = 16
        self._timeout = timeout
        self._litellm = _import_litellm()
        self._provider_errors = _base_of(self._litellm.exceptions.APIError)
        try:
            self._litellm.get_llm_provider(model)
        except self._litellm.BadRequestError:
            raise StopError(
                f"{model!r} names no provider that LiteLLM knows; write it as PROVIDER/MODEL, for "
                "example openai/gpt-4o-mini, or `local` for the embedded model"
            ) from None
        self._key = _key_in(key, model) if key else None
        if self._key:
            return
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
        check_pictures(request, request.model)
        sampling, timeout = request.sampling, self._timeout or TIMEOUT
        try:
            # LiteLLM's own timeout starts anew with each byte that comes.
            async with asyncio.timeout(timeout):
                response: Any = await self._litellm.acompletion(
                    model=request.model,
                    messages=_messages(request),
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    max_tokens=sampling.max_tokens,
                    seed=sampling.seed,
                    drop_params=True,  # providers without a seed still answer
                    response_format=(
                        response_format(request) if wants_schema(request, request.model) else None
                    ),
                    timeout=timeout,
                    max_retries=0,
                    num_retries=0,
                    **({"api_key": self._key} if self._key else {}),
                )
        except TimeoutError:
            raise TimedOutError(f"no answer within {timeout:g} s") from None
        except self._provider_errors as error:
            raise _translated(error) from None
        try:
            return self._completion(response)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise not_understood(error) from None

    def _completion(self, response: Any) -> Completion:
        if not response.choices:
            raise RefusedError(NO_CHOICE)
        choice, usage = response.choices[0], getattr(response, "usage", None)
        text = valid(choice.message.content or "")
        if problem := too_long(text):
            raise RefusedError(problem)
        prompt, completed = (_part(usage, f"{name}_tokens") for name in ("prompt", "completion"))
        details = getattr(usage, "prompt_tokens_details", None)
        cached = _part(details, "cached_tokens")
        said = [prompt, completed, cached]
        counts = [count(number) for number in said]
        model = response.model if isinstance(response.model, str) else ""
        completion = Completion(
            text=text,
            finish_reason=valid(str(choice.finish_reason or "stop")),
            model=valid(model)[:200] or self.model,
            prompt_tokens=counts[0],
            completion_tokens=counts[1],
            cached_tokens=counts[2],
            cache_write_tokens=count(
                _part(details, "cache_creation_tokens")
                or _part(details, "cache_write_tokens")
                or _part(usage, "cache_creation_input_tokens")
            ),
            reasoning_tokens=count(
                _part(getattr(usage, "completion_tokens_details", None), "reasoning_tokens")
            ),
            limits=read_limits(_headers(response)),
        )
        if counts != said:  # what nobody can have used has no price
            return completion
        return replace(completion, cost_usd=self._cost(response, completion))

    def _cost(self, response: Any, completion: Completion) -> float | None:
        """Return the price as our list has it, so that both lanes reckon alike; else as LiteLLM has it."""
        if (listed := cost_of(self.model, completion)) is not None:
            return listed
        try:
            cost = self._litellm.completion_cost(response, model=self.model)
        except Exception:  # noqa: BLE001 - LiteLLM raises a bare Exception for a model without a price
            return None
        # LiteLLM says 0 of some models that it does not know.
        is_price = isinstance(cost, int | float) and math.isfinite(cost) and cost > 0
        return float(cost) if is_price else None


def _part(holder: Any, name: str) -> Any:
    return getattr(holder, name, None) or 0


def _messages(request: Request) -> list[dict[str, Any]]:
    """Write messages as OpenAI does, which LiteLLM translates; pictures come before the query's text."""
    messages: list[dict[str, Any]] = [
        {"role": message.role, "content": message.content} for message in request.messages
    ]
    query = len(request.prompt.messages)
    if split(request.model)[0] == "anthropic":
        messages[:query] = marked_messages(request.prompt.messages)
    if request.pictures:
        parts = [
            {"type": "image_url", "image_url": {"url": picture.data_url()}}
            for picture in request.pictures
        ]
        messages[query]["content"] = [*parts, {"type": "text", "text": request.query}]
    return messages


def _key_in(name: str, model: str) -> str:
    key = os.environ.get(name, "")
    if not key:
        raise StopError(f"{model!r} needs a key that the environment does not hold; set {name}")
    remember(key)
    return key


def _headers(response: Any) -> Mapping[str, str]:
    """Return what LiteLLM keeps of a response's headers, by the names that the provider gave them."""
    kept = getattr(response, "_response_headers", None)
    if not kept:
        kept = (getattr(response, "_hidden_params", None) or {}).get("additional_headers")
    return {
        str(name).lower().removeprefix("llm_provider-"): str(value)
        for name, value in dict(kept or {}).items()
    }


def _import_litellm() -> Any:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    # Where a run stops while a request begins, LiteLLM leaves its inner coroutine behind.
    warnings.filterwarnings("ignore", message=r"coroutine '\w+\.acompletion' was never awaited")
    # About an answer of the wrong form, which is an error with a sentence of its own.
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings", category=UserWarning)
    # About its own types, the first time that it is asked for Mistral.
    warnings.filterwarnings("ignore", message="Items? .* on TypedDict class")
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
    said = first_line(valid(str(error)), otherwise=type(error).__name__)
    headers = _headers_of(error)
    status = getattr(error, "status_code", None)
    status = status if isinstance(status, int) else None
    limits = read_limits(headers)
    kind = _kind(error, said, status)
    if kind is StopError:
        return StopError(f"the provider will not answer: {said}", status=status, limits=limits)
    if _WITHOUT_CHOICE.search(said):
        return RefusedError(NO_CHOICE, status=status)
    if _MISSHAPEN.search(said):
        return RefusedError(f"the reply cannot be understood: {said}", status=status)
    if issubclass(kind, RetryError):
        return kind(said, retry_after=retry_after(headers), status=status, limits=limits)
    return kind(said, status=status, limits=limits)


def _kind(error: Exception, said: str, status: int | None) -> type[ProviderError]:
    names = {kind.__name__ for kind in type(error).__mro__}
    kind = next((kind for name, kind in _KINDS.items() if name in names), ProviderError)
    if NO_CREDIT.search(said):
        return StopError
    if kind is RefusedError and CONTENT.search(said):
        return ContentError
    if issubclass(kind, ServerError) and _LOST.search(said):
        return ConnectionLostError
    if kind is ProviderError and status is not None and status >= 400:
        return kind_of(status)
    return kind


def _headers_of(error: Exception) -> Mapping[str, str]:
    headers = getattr(getattr(error, "response", None), "headers", None)
    headers = headers or getattr(error, "litellm_response_headers", None) or {}
    return {str(name).lower(): str(value) for name, value in dict(headers).items()}
