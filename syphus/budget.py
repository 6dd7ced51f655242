"""What may be spent, and what is set aside for the requests in flight, so that it is never passed.

    reserve   before a request leaves, what it can cost at most is set aside; it waits where that may still become free
    settle    a reply came: what it did cost is spent, the rest is free again
    release   it failed and was not billed: all of it is free again
    hold      nobody knows (no answer in time, a lost connection): it stays set aside, and is reported as perhaps spent

    spent + perhaps spent + in flight <= budget, at any moment

What a request costs at most is known before it is sent. A byte-level vocabulary makes no more tokens of a text than it has bytes;
the part that all requests of a run share is counted by the provider itself, with the first reply that it bills. Amounts are whole
femtodollars, rounded up, so that a million of them add up to what they are.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from functools import lru_cache

from syphus.errors import BudgetError, StopError
from syphus.prices import Price, facts_of
from syphus.request import Completion, Prompt, Request
from syphus.tokens import most_picture_tokens

PER_MESSAGE = 16
"""Tokens around a message's text, at most: its role, its beginning and its end."""
PER_REQUEST = 64
"""Tokens around all of them."""
PER_SCHEMA = 1_024
"""Tokens with which a provider tells its model to fit a schema, beside the schema itself."""
MOST_BYTES_PER_TOKEN = 8
"""On average over a prompt, whatever the language."""
_UNITS = 10**15


class Budget:
    def __init__(self, usd: float | None, spent: float = 0.0) -> None:
        """Set a budget.

        Args:
            usd: What may be spent; None is no limit, and nothing is counted.
            spent: What was spent of it before, by earlier runs.
        """
        self.usd = usd
        self._limit = 0 if usd is None else int(usd * _UNITS)
        self._spent = _units(spent)
        self._reserved = self._held = 0
        self._shared: dict[tuple[str, str, str | None], int] = {}
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @property
    def spent_usd(self) -> float:
        """What is known to be spent, earlier runs included."""
        return self._spent / _UNITS

    @property
    def perhaps_usd(self) -> float:
        """What requests without an answer may have cost, at most."""
        return self._held / _UNITS

    @property
    def reserved_usd(self) -> float:
        """What is set aside for the requests in flight."""
        return self._reserved / _UNITS

    def check(self, models: Iterable[str]) -> None:
        """See to it that the budget can be kept, before anything is sent.

        Raises:
            StopError: the price of a model is not known.
        """
        if self.usd is not None:
            for model in models:
                _known_price(model)

    def worst(self, request: Request, *, batch: bool = False) -> float:
        """Return what a request, or one in a batch, can cost at most, in USD; 0.0 where there is no budget.

        Raises:
            StopError: its price is not known.
        """
        if self.usd is None:
            return 0.0
        shared = self._shared.get((request.model, request.prompt.digest, request.schema))
        return worst_case(request, shared=shared, batch=batch)

    def learn(self, request: Request, completion: Completion) -> None:
        """Take the provider's word for it that what all its requests share has no more tokens than this one.

        The largest of its counts is taken: some leave cached tokens out. One that is too small to be true says nothing.
        """
        tokens = completion.prompt_tokens
        if self.usd is not None and tokens * MOST_BYTES_PER_TOKEN > _bytes(request.prompt):
            kind = (request.model, request.prompt.digest, request.schema)
            self._shared[kind] = max(self._shared.get(kind, 0), tokens)

    async def reserve(self, worst: float) -> None:
        """Set aside what a request can cost at most; wait, in turn, while requests in flight may leave enough of theirs.

        Raises:
            BudgetError: even if they cost nothing, this one could pass the budget.
        """
        if self.usd is None:
            return
        amount = _units(worst)
        async with self._turn:
            while self._spent + self._held + self._reserved + amount > self._limit:
                if self._spent + self._held + amount > self._limit:
                    raise BudgetError(self._used_up(worst))
                self._freed.clear()
                await self._freed.wait()
            self._reserved += amount

    def settle(self, worst: float, actual: float | None) -> None:
        """Count what a request cost; where its reply does not say (None), it may have cost what was set aside."""
        if actual is None:
            self.hold(worst)
        elif self.usd is not None:
            self._spent += _units(actual)
            self._free(worst)

    def release(self, worst: float) -> None:
        """Set free what was set aside for a request that was not billed."""
        if self.usd is not None:
            self._free(worst)

    def hold(self, worst: float) -> None:
        """Keep what was set aside for a request that may have been billed."""
        if self.usd is not None:
            self._held += _units(worst)
            self._free(worst)

    def _free(self, worst: float) -> None:
        self._reserved -= _units(worst)
        self._freed.set()

    def _used_up(self, worst: float) -> str:
        perhaps = ""
        if self._held:
            perhaps = f", {_usd(self.perhaps_usd)} more may have been billed for requests without an answer"
        return (
            f"the budget of {_usd(self.usd or 0.0)} is used up: {_usd(self.spent_usd)} is spent{perhaps}, and "
            f"one more request may cost up to {_usd(worst)}; what came is stored: raise --budget to go on"
        )


def worst_case(request: Request, *, shared: int | None = None, batch: bool = False) -> float:
    """Return what a request can cost at most, in USD.

    Args:
        request: The request.
        shared: How many tokens what it shares with others has at most, if that is known from a reply.
        batch: Whether it is sent in one of the provider's batches.

    Raises:
        StopError: its price is not known.
    """
    price = _known_price(request.model)
    if batch:
        price = price.batch or price
    return _most(price, most_prompt_tokens(request, shared), request.sampling.max_tokens)


def most_prompt_tokens(request: Request, shared: int | None = None) -> int:
    """Return how many tokens a request's prompt can have: its bytes, and what providers put around them."""
    if shared is None:
        shared = PER_REQUEST + _bytes(request.prompt)
        if request.schema:
            shared += PER_SCHEMA + _size(request.schema)
    own = PER_MESSAGE + _size(request.query)
    for message in request.repair:
        own += PER_MESSAGE + _size(message.content)
    if request.pictures:
        own += len(request.pictures) * most_picture_tokens(request.model)
    return shared + own


def _most(price: Price, prompt_tokens: int, max_tokens: int) -> float:
    """Take the dearest of a price's ways to count a token."""
    price = price.at(prompt_tokens)
    prompt = max(price.prompt, price.cached or 0.0, price.cache_write or 0.0)
    completion = max(price.completion, price.reasoning or 0.0)
    return prompt_tokens * prompt + max_tokens * completion


def _known_price(model: str) -> Price:
    price = facts_of(model).price
    if price is None:
        raise StopError(
            f"no price is known for {model!r}; --budget cannot be kept: leave it out, or name a model "
            "that LiteLLM's list has a price for"
        )
    return price


@lru_cache(maxsize=64)
def _bytes(prompt: Prompt) -> int:
    return sum(PER_MESSAGE + _size(message.content) for message in prompt.messages)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def _units(usd: float) -> int:
    return math.ceil(usd * _UNITS)


def _usd(amount: float) -> str:
    """Write an amount so that small ones can be told apart."""
    return f"${amount:,.2f}" if amount >= 100 else f"${amount:.6f}".rstrip("0").rstrip(".")
