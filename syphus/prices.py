"""What a model costs, holds and can do, from the file that LiteLLM ships; LiteLLM itself takes seconds to import and is not needed.

The file is read as bytes, and of its thousands of entries only the wanted one is decoded. Names are looked up as LiteLLM does:
as they are (`groq/openai/gpt-oss-120b`), else without the provider (`openai/gpt-4o-mini` is `gpt-4o-mini`) if that entry is
of this provider: `hosted_vllm/gpt-4o-mini` is somebody's own server, whose price nobody knows.

A reply's cost is what its usage says, times these prices. Cached and written tokens are parts of the prompt's tokens, each with
a price of its own; a long prompt can raise all prices at once (`Price.tiers`). Discounts by the hour are left out.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from syphus.request import Completion

_FILE = "model_prices_and_context_window_backup.json"

LOCAL_WINDOW = 8_192
"""Tokens of prompt and reply that the embedded model holds."""

_FIELDS = {
    "prompt": "input_cost_per_token",
    "completion": "output_cost_per_token",
    "cached": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
}
# How the file writes the providers of model strings, where it writes them otherwise.
_LISTED_AS = {"cohere": ("cohere_chat",), "azure_ai": ("azure", "openai")}
_LISTED_BELOW = ("vertex_ai", "bedrock", "fireworks_ai")
_UP_TO_AND_WITH = ("xai",)
"""Providers whose higher prices begin at the limit; others' begin above it."""
_HALF_IN_BATCHES = ("openai", "azure", "anthropic")
_CACHED_FOR_HALF = ("fireworks_ai",)
"""Providers that say what a cached token costs for all models at once."""


@dataclass(frozen=True, slots=True)
class Price:
    prompt: float
    """USD per token."""
    completion: float
    """USD per token."""
    cached: float | None = None
    """USD per prompt token that was not computed again; None is the prompt's price, here and below."""
    cache_write: float | None = None
    """USD per prompt token that was kept for later requests."""
    reasoning: float | None = None
    """USD per completion token that is not in the text; None is the completion's price."""
    tiers: tuple[tuple[int, Price], ...] = ()
    """Prices of requests with more prompt tokens than this, the highest first."""
    batch: Price | None = None
    """Prices in the provider's batches; None where it has none that are known."""

    def at(self, prompt_tokens: float) -> Price:
        """Return the prices of a request with so long a prompt."""
        for above, price in self.tiers:
            if prompt_tokens > above:
                return price
        return self

    def cost(
        self,
        prompt_tokens: float,
        completion_tokens: float,
        *,
        cached: float = 0,
        cache_write: float = 0,
        reasoning: float = 0,
    ) -> float:
        """Return what one request costs, in USD; `cached` and `cache_write` are among the prompt's tokens."""
        price = self.at(prompt_tokens) if self.tiers else self
        usd = max(prompt_tokens - cached - cache_write, 0) * price.prompt
        usd += completion_tokens * price.completion
        if cached:
            usd += cached * (price.prompt if price.cached is None else price.cached)
        if cache_write:
            usd += cache_write * (price.prompt if price.cache_write is None else price.cache_write)
        if reasoning and price.reasoning is not None:
            usd += min(reasoning, completion_tokens) * (price.reasoning - price.completion)
        return usd


@dataclass(frozen=True, slots=True)
class Facts:
    price: Price | None = None
    """None where the list has none."""
    window: int | None = None
    """Tokens of a prompt, at most; None where the list has none."""
    has_schema: bool = False
    """Whether the provider sees to it that a reply fits a JSON schema."""
    has_vision: bool = False
    provider: str = ""
    """As the list names it: `openai`, `anthropic`, `bedrock_converse`, …"""
    cached_from: int | None = None
    """Tokens of the shortest prompt prefix that is cached, where the list says so."""


def is_local(model: str) -> bool:
    return model == "local" or model.startswith("local/")


@cache
def facts_of(model: str) -> Facts:
    """Return what is known about a model."""
    if is_local(model):
        return Facts(Price(0.0, 0.0), LOCAL_WINDOW)
    entry = _entry(model)
    window, shortest = entry.get("max_input_tokens"), entry.get("prompt_cache_min_tokens")
    return Facts(
        _price(entry),
        int(window) if isinstance(window, int | float) and window > 0 else None,
        bool(entry.get("supports_response_schema")),
        bool(entry.get("supports_vision")),
        str(entry.get("litellm_provider") or ""),
        int(shortest) if isinstance(shortest, int | float) and shortest > 0 else None,
    )


def price_of(model: str) -> Price | None:
    """Return a model's price; None where the list has none."""
    return facts_of(model).price


def cost_of(model: str, completion: Completion, *, batch: bool = False) -> float | None:
    """Return what a reply cost by its own usage, in USD; None where no price is known.

    Args:
        model: As the request named it.
        completion: The reply.
        batch: Whether it came out of one of the provider's batches.
    """
    price = facts_of(model).price
    if price is None:
        return None
    if batch:
        price = price.batch or price
    return price.cost(
        completion.prompt_tokens,
        completion.completion_tokens,
        cached=completion.cached_tokens,
        cache_write=completion.cache_write_tokens,
        reasoning=completion.reasoning_tokens,
    )


def estimate_tokens(text: str) -> int:
    """Guess the number of tokens of a text: four bytes each, as English in the usual vocabularies."""
    return -(-len(text.encode()) // 4)


# From an entry of the file to a price


def _price(entry: Mapping[str, Any]) -> Price | None:
    if (price := _standard(entry)) is None:
        return None
    return replace(price, batch=_in_batches(entry, price))


def _standard(entry: Mapping[str, Any]) -> Price | None:
    """Return an entry's prices at each length of a prompt."""
    if ranges := [part for part in entry.get("tiered_pricing") or () if part.get("range")]:
        return _by_ranges(entry, ranges)
    rates = _rates(entry, "")
    if rates["prompt"] is None:
        return None
    if rates["cached"] is None and entry.get("litellm_provider") in _CACHED_FOR_HALF:
        rates["cached"] = rates["prompt"] / 2
    return _with_tiers(entry, "", rates, _number(entry, "output_cost_per_reasoning_token"))


def _in_batches(entry: Mapping[str, Any], standard: Price) -> Price | None:
    """Return an entry's prices in batches: those that it names, else half, where the provider is known for that."""
    rates = _rates(entry, "_batches")
    if rates["prompt"] is None:
        provider = str(entry.get("litellm_provider"))
        return _halved(standard) if provider in _HALF_IN_BATCHES else None
    if rates["completion"] is None:
        rates["completion"] = standard.completion / 2
    if rates["cached"] is None:
        rates["cached"] = standard.cached
    return _with_tiers(entry, "_batches", rates, None)


def _rates(entry: Mapping[str, Any], suffix: str) -> dict[str, float | None]:
    return {name: _number(entry, field + suffix) for name, field in _FIELDS.items()}


def _with_tiers(
    entry: Mapping[str, Any], suffix: str, rates: dict[str, float | None], reasoning: float | None
) -> Price:
    """Add what longer prompts cost; a rate without a higher one stays as it is."""
    pattern = re.compile(rf"(?:{'|'.join(_FIELDS.values())})_above_(\d+)(k?)_tokens{suffix}")
    limits = {
        int(found[1]) * (1000 if found[2] else 1): found[1] + found[2]
        for found in map(pattern.fullmatch, entry)
        if found
    }
    inclusive = entry.get("litellm_provider") in _UP_TO_AND_WITH
    tiers: list[tuple[int, Price]] = []
    higher = dict(rates)
    for limit, written in sorted(limits.items()):
        for name, rate in _rates(entry, f"_above_{written}_tokens{suffix}").items():
            higher[name] = higher[name] if rate is None else rate
        tiers.append((limit - inclusive, _of_rates(higher, reasoning)))
    return replace(_of_rates(rates, reasoning), tiers=tuple(reversed(tiers)))


def _by_ranges(entry: Mapping[str, Any], ranges: list[Mapping[str, Any]]) -> Price | None:
    """Read prices that are listed by ranges of the prompt's length."""
    tiers = []
    for part in sorted(ranges, key=lambda part: part["range"][0]):
        rates = _rates(part, "")
        if rates["prompt"] is None:
            return None
        if rates["completion"] is None:
            rates["completion"] = _number(entry, "output_cost_per_token")
        reasoning = _number(part, "output_cost_per_reasoning_token")
        tiers.append((int(part["range"][0]), _of_rates(rates, reasoning)))
    return replace(tiers[0][1], tiers=tuple(reversed(tiers[1:])))


def _of_rates(rates: Mapping[str, float | None], reasoning: float | None) -> Price:
    return Price(
        rates["prompt"] or 0.0,
        rates["completion"] or 0.0,
        rates["cached"],
        rates["cache_write"],
        reasoning,
    )


def _halved(price: Price) -> Price:
    def half(rate: float | None) -> float | None:
        return None if rate is None else rate / 2

    return Price(
        price.prompt / 2,
        price.completion / 2,
        half(price.cached),
        half(price.cache_write),
        half(price.reasoning),
        tuple((above, _halved(higher)) for above, higher in price.tiers),
    )


def _number(entry: Mapping[str, Any], field: str) -> float | None:
    value = entry.get(field)
    return float(value) if isinstance(value, int | float) else None


# From a name to an entry of the file


def _entry(model: str) -> Mapping[str, Any]:
    """Return a model's entry, of the first of its names that the file has; an empty one if it has none."""
    data = _file()
    provider, slash, _ = model.partition("/")
    for name in _names(model):
        entry = _decoded(data, name)
        if entry and isinstance(alias := entry.get("alias_of"), str):
            entry = _decoded(data, alias)
        if entry and (name == model or not slash or _is_of(provider, entry)):
            return entry
    return {}


def _names(model: str) -> Iterator[str]:
    """Return the names under which a model may be listed, in the order in which LiteLLM tries them."""
    yield model
    provider, slash, rest = model.partition("/")
    if slash:
        yield rest
        if provider == "bedrock" and "/" in rest:  # a region, or a way to call it
            yield rest.rpartition("/")[2]
    if (tuned := (rest or model)).startswith(
        "ft:"
    ):  # ft:gpt-4o-mini-2024-07-18:ORGANISATION:NAME:ID
        yield ":".join(tuned.split(":")[:2])


def _is_of(provider: str, entry: Mapping[str, Any]) -> bool:
    listed = entry.get("litellm_provider")
    return listed in (None, provider, *_LISTED_AS.get(provider, ())) or (
        provider in _LISTED_BELOW and str(listed).startswith(provider)
    )


def _decoded(data: bytes, name: str) -> dict[str, Any] | None:
    """Decode the entry of a name, and nothing else of the file.

    The same name may also be a key within another entry; only an entry says whose model it is.
    """
    key, at = json.dumps(name).encode(), 0
    while (at := data.find(key, at)) >= 0:
        at += len(key)
        start = re.compile(rb"\s*:\s*(?=\{)").match(data, at)
        if not start:
            continue
        entry = _object_at(data, start.end())
        if "litellm_provider" in entry or "alias_of" in entry:
            return entry
    return None


def _object_at(data: bytes, start: int) -> dict[str, Any]:
    """Decode the JSON object that begins here, of which the end is not known."""
    decoder, size = json.JSONDecoder(), 4_096
    while True:
        try:
            found, _ = decoder.raw_decode(data[start : start + size].decode(errors="ignore"))
        except json.JSONDecodeError:
            if start + size >= len(data):
                return {}
            size *= 4
        else:
            return found if isinstance(found, dict) else {}


def _file() -> bytes:
    spec = importlib.util.find_spec("litellm")
    if spec is None or spec.origin is None:
        return b"{}"
    return (Path(spec.origin).parent / _FILE).read_bytes()
