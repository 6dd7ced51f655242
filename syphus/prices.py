"""What a model costs, holds and can do, from the file that LiteLLM ships; LiteLLM itself takes seconds to import and is not needed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FILE = "model_prices_and_context_window_backup.json"

LOCAL_WINDOW = 8_192
"""Tokens of prompt and reply that the embedded model holds."""


@dataclass(frozen=True)
class Price:
    prompt: float
    """USD per token."""
    completion: float
    """USD per token."""


@dataclass(frozen=True)
class Facts:
    price: Price | None = None
    """None where the list has none."""
    window: int | None = None
    """Tokens of a prompt, at most; None where the list has none."""
    has_schema: bool = False
    """Whether the provider sees to it that a reply fits a JSON schema."""
    has_vision: bool = False


def is_local(model: str) -> bool:
    return model == "local" or model.startswith("local/")


def facts_of(model: str) -> Facts:
    """Return what is known about a model."""
    if is_local(model):
        return Facts(Price(0.0, 0.0), LOCAL_WINDOW)
    entry = _entries().get(model) or _entries().get(model.partition("/")[2]) or {}
    price = None
    if "input_cost_per_token" in entry:
        price = Price(entry["input_cost_per_token"], entry.get("output_cost_per_token", 0.0))
    window = entry.get("max_input_tokens")
    return Facts(
        price,
        int(window) if isinstance(window, int | float) and window > 0 else None,
        bool(entry.get("supports_response_schema")),
        bool(entry.get("supports_vision")),
    )


def price_of(model: str) -> Price | None:
    """Return a model's price; None where the list has none."""
    return facts_of(model).price


def estimate_tokens(text: str) -> int:
    """Guess the number of tokens of a text: four bytes each, as English in the usual vocabularies."""
    return -(-len(text.encode()) // 4)


@cache
def _entries() -> dict[str, Any]:
    import orjson

    spec = importlib.util.find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    found: dict[str, Any] = orjson.loads((Path(spec.origin).parent / _FILE).read_bytes())
    return found
