"""Ways to a model.

local, local/FILE.gguf     llama.cpp inside this process
anything else              LiteLLM's notation: openai/gpt-4o-mini, anthropic/claude-…, ollama/…, hosted_vllm/…

Those take one of two lanes that send the same: the direct one, where a test shows that it does, and LiteLLM for all others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from syphus.errors import StopError
from syphus.providers.base import Provider

__all__ = ["Provider", "Transport", "connect"]

Transport = Literal["auto", "direct", "litellm"]


def connect(
    model: str,
    *,
    transport: Transport = "auto",
    key: str | None = None,
    timeout: float | None = None,
) -> Provider:
    """Return the provider of a model; nothing is sent yet.

    Args:
        model: `local`, or as LiteLLM writes it.
        transport: The lane; `auto` is the direct one where there is one.
        key: The name of the environment variable that holds the key, where it is not the provider's usual one: several
            keys of one model are several providers.
        timeout: Seconds for one answer; None is ten minutes.

    Raises:
        MissingExtraError: the packages of the embedded model are not installed.
        StopError: there is no such model, no key for it, or no direct lane where one is asked for.
    """
    if model == "local" or model.startswith("local/"):
        from syphus.providers.local import LocalModel

        return LocalModel(Path(model.removeprefix("local/")) if "/" in model else None)
    from syphus.providers.targets import against_direct, is_known

    if not is_known(model):
        raise StopError(
            f"{model!r} names no provider that LiteLLM knows; write it as PROVIDER/MODEL, for "
            "example openai/gpt-4o-mini, or `local` for the embedded model"
        )
    reason = against_direct(model)
    if transport == "direct" and reason:
        raise StopError(f"{model!r} cannot be asked without LiteLLM: {reason}")
    if transport != "litellm" and not reason:
        from syphus.providers.direct import DirectModel

        return DirectModel(model, key=key, timeout=timeout)
    from syphus.providers.litellm import LiteLLMModel

    return LiteLLMModel(model, key=key, timeout=timeout)
