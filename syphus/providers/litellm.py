"""Every provider that LiteLLM knows.

LiteLLM takes seconds to import, and would fetch its price list from the network while it is imported; both are kept out of
other commands' way. It makes one attempt a call: retries are ours.
"""

from __future__ import annotations

import os
import re
import warnings
from types import TracebackType
from typing import Any, Self

from syphus.errors import ProviderError, RefusedError, RetryError, StopError
from syphus.request import Completion, Request

TIMEOUT = 600.0
"""Seconds for one answer."""

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

    async def complete(self, request: Request) -> Completion:
        sampling = request.sampling
        try:
            response: Any = await self._litellm.acompletion(
                model=request.model,
                messages=[{"role": m.role, "content": m.content} for m in request.messages],
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                seed=sampling.seed,
                drop_params=True,  # providers without a seed still answer
                timeout=TIMEOUT,
                max_retries=0,
                num_retries=0,
            )
        except self._provider_errors as error:
            raise _translated(error) from None
        return self._completion(response)

    def _completion(self, response: Any) -> Completion:
        choice, usage = response.choices[0], response.usage
        details = getattr(usage, "prompt_tokens_details", None)
        try:
            cost: float | None = self._litellm.completion_cost(response, model=self.model)
        except Exception:  # noqa: BLE001 - LiteLLM raises a bare Exception for a model without a price
            cost = None
        return Completion(
            text=choice.message.content or "",
            finish_reason=choice.finish_reason or "stop",
            model=response.model or self.model,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=getattr(details, "cached_tokens", None) or 0,
            cost_usd=cost,
        )


def _import_litellm() -> Any:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    # Where a run stops while a request begins, LiteLLM leaves its inner coroutine behind.
    warnings.filterwarnings("ignore", message=r"coroutine '\w+\.acompletion' was never awaited")
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


def _base_of(kind: type[Exception]) -> type[Exception]:
    """Return OpenAIError, from which all of LiteLLM's exceptions about providers are derived."""
    return next(base for base in kind.__mro__ if base.__name__ == "OpenAIError")


def _translated(error: Exception) -> ProviderError:
    """Turn LiteLLM's exceptions into ours."""
    names = {kind.__name__ for kind in type(error).__mro__}
    said = _without_keys(str(error).splitlines()[0])[:500]
    if names & set(_STOP):
        return StopError(f"the provider will not answer: {said}")
    if names & set(_RETRY):
        return RetryError(said, retry_after=_retry_after(error))
    if names & {"BadRequestError", "UnprocessableEntityError"}:
        return RefusedError(said)
    return ProviderError(said)


def _retry_after(error: Exception) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return float(headers.get("retry-after", ""))
    except ValueError:  # a date, or nothing
        return None


def _without_keys(text: str) -> str:
    """Take out what may be a key: providers quote the one they did not accept."""
    for name, value in os.environ.items():
        if value and len(value) >= 8 and re.search(r"KEY|TOKEN|SECRET", name):
            text = text.replace(value, "…")
    return re.sub(r"\b(sk|pk|key|Bearer)[-_ ][A-Za-z0-9_*-]{4,}", r"\1-…", text)
