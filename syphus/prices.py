"""Prices and context windows, from the file that LiteLLM ships; LiteLLM itself takes seconds to import and is not needed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FILE = "model_prices_and_context_window_backup.json"


@dataclass(frozen=True)
class Price:
    prompt: float
    """USD per token."""
    completion: float
    """USD per token."""


def price_of(model: str) -> Price | None:
    """Return a model's price; None where the list has none."""
    if model == "local" or model.startswith("local/"):
        return Price(0.0, 0.0)
    prices = _prices()
    entry = prices.get(model) or prices.get(model.partition("/")[2]) or {}
    if "input_cost_per_token" not in entry:
        return None
    return Price(entry["input_cost_per_token"], entry.get("output_cost_per_token", 0.0))


def estimate_tokens(text: str) -> int:
    """Guess the number of tokens of a text: four bytes each, as English in the usual vocabularies."""
    return -(-len(text.encode()) // 4)


@cache
def _prices() -> dict[str, Any]:
    import orjson

    spec = importlib.util.find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    found: dict[str, Any] = orjson.loads((Path(spec.origin).parent / _FILE).read_bytes())
    return found
