"""Ways to a model.

local, local/FILE.gguf     llama.cpp inside this process
anything else              LiteLLM's notation: openai/gpt-4o-mini, anthropic/claude-…, ollama/…, hosted_vllm/…
"""

from __future__ import annotations

from pathlib import Path

from syphus.providers.base import Provider

__all__ = ["Provider", "connect"]


def connect(model: str) -> Provider:
    """Return the provider of a model; nothing is sent yet.

    Raises:
        MissingExtraError: the packages of the embedded model are not installed.
        StopError: there is no such model, or no key for it.
    """
    if model == "local" or model.startswith("local/"):
        from syphus.providers.local import LocalModel

        return LocalModel(Path(model.removeprefix("local/")) if "/" in model else None)
    from syphus.providers.litellm import LiteLLMModel

    return LiteLLMModel(model)
