"""The loop over batches: submit, wait, merge.

    put ─► spilled to a file ─► intent in the ledger ─► uploaded ─► submitted ─► polled ─► merged

Each arrow is committed before the next step is taken; how a step is taken once is in `launch`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from syphus.batch.calls import in_thread
from syphus.batch.endpoint import Endpoint
from syphus.batch.journal import Journal
from syphus.batch.launch import Launcher
from syphus.batch.merging import Failures, Merged, merge
from syphus.batch.spill import Spill, remove, remove_all_but
from syphus.batch.state import Batch, BatchState, OpenBatch, Remote
from syphus.errors import RefusedError, RetryError, StopError
from syphus.providers.targets import split
from syphus.request import Request

if TYPE_CHECKING:
    from syphus.ledger import Ledger

T = TypeVar("T")
log = logging.getLogger(__name__)

SHORTEST, LONGEST, GROWTH = 5.0, 60.0, 1.5
"""Seconds between two looks at a batch, and how they grow."""
MOST_MISSES = 60
"""Looks in a row that may fail, before the run stops."""
MOST_HELD = 5
"""Times that the provider's queue may be full for a batch while no other of ours is in it."""
TRIES = 3
"""Batches that a request may be in within one run, where it expires or meets errors of the provider."""
CIRCUIT = 20
"""Requests of a batch which, if all are refused, stop the run."""


def endpoint_of(model: str) -> Endpoint:
    """Return the batch endpoint of a model's provider.

    Raises:
        StopError: there is none that we know.
    """
    provider = provider_of(model)
    if provider == "openai":
        from syphus.batch.openai import OpenAIBatches

        return OpenAIBatches(model)
    if provider == "anthropic":
        from syphus.batch.anthropic import AnthropicBatches

        return AnthropicBatches(model)
    raise StopError(
        f"{model!r} cannot be asked in batches: --batch knows the endpoints of OpenAI and Anthropic "
        "(openai/…, anthropic/…); leave it out to ask one by one"
    )


def provider_of(model: str) -> str | None:
    """Return which batch endpoint a model has: openai, anthropic or None."""
    provider, _ = split(model)
    return provider if provider in ("openai", "anthropic") else None


class BatchLane:
    """Ask one model through its provider's batch endpoint.

    with BatchLane(model, ledger, run, folder) as lane:
        lane.put(request)
        state = await lane.settle()
    """

    def __init__(
        self,
        model: str,
        ledger: Ledger,
        run: str,
        folder: Path,
        *,
        progress: Callable[[BatchState], None] = lambda state: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        endpoint: Endpoint | None = None,
        most_requests: int | None = None,
        most_bytes: int | None = None,
    ) -> None:
        """Open a lane, and take over the batches that earlier runs left open.

        Args:
            model: As LiteLLM names it.
            ledger: Where requests and replies are kept.
            run: Whose they are.
            folder: Where requests wait for being sent.
            progress: Told of every change.
            sleep: How to wait.
            endpoint: The provider's; found by the model's name.
            most_requests: In one batch, where the provider's own limit is too high.
            most_bytes: Of one batch.

        Raises:
            StopError: the provider has no batch endpoint, or the environment holds no key.
        """
        self.endpoint = endpoint or endpoint_of(model)
        self.folder = folder
        self._progress = progress
        self._sleep = sleep
        self._journal = Journal(ledger, run, model, folder)
        self._failures = Failures(TRIES)
        self._launcher = Launcher(self.endpoint, self._journal, sleep)
        self._open = {batch.id: batch for batch in self._journal.load()}
        self._queued: set[str] = set()
        self._state = BatchState()
        self._submitting = asyncio.Lock()
        prefix = f"batch-{hashlib.blake2b(model.encode(), digest_size=4).hexdigest()}-"
        folder.mkdir(parents=True, exist_ok=True)
        remove_all_but(folder, prefix, {batch.path for batch in self._open.values()})
        self._spill = Spill(
            folder,
            prefix,
            self.endpoint.framing,
            min(most_requests or self.endpoint.most_requests, self.endpoint.most_requests),
            min(most_bytes or self.endpoint.most_bytes, self.endpoint.most_bytes),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; batches go on at the provider."""
        self._spill.discard()
        self.endpoint.close()

    # Filling

    def put(self, request: Request) -> None:
        """Queue a request for the next batch, unless it is queued already or in an open one.

        Raises:
            RefusedError: a batch of this run says that the provider will not answer it, or no batch can hold it.
            RetryError: it has failed in as many batches of this run as it may.
        """
        key = request.key
        if error := self._failures.final(key):
            raise error
        if key in self._queued or not self._open.keys().isdisjoint(self._journal.batches_of(key)):
            return
        line = self.endpoint.line(request)
        if not self._spill.holds(line):
            raise RefusedError(
                f"the request has {len(line) / 1e6:,.1f} MB, and a batch holds no more than "
                f"{self._spill.most_bytes / 1e6:,.1f} MB"
            )
        self._spill.add(request, line)
        self._queued.add(key)

    @property
    def queued(self) -> int:
        """Requests that are in no batch yet."""
        return len(self._spill)

    @property
    def full(self) -> int:
        """Chunks of requests that are complete: `submit_full` would send them now."""
        return len(self._spill.full)

    @property
    def state(self) -> BatchState:
        batches = self._open.values()
        return replace(
            self._state,
            queued=self.queued,
            batches=len(batches),
            requests=sum(batch.requests for batch in batches),
            processed=sum(batch.processed for batch in batches),
            held=sum(batch.waits for batch in batches),
            unclear=sum(batch.unclear for batch in batches),
        )

    def open_batches(self) -> list[OpenBatch]:
        """Return this model's batches whose answers are not in the ledger yet."""
        return [batch.public() for batch in self._open.values()]

    def parting(self) -> str | None:
        """Say what becomes of the open batches when the run stops now; None where there are none."""
        there = [batch for batch in self._open.values() if batch.remote or batch.doubtful]
        if not there:
            return None
        requests = sum(batch.requests for batch in there)
        what = "1 batch goes on" if len(there) == 1 else f"{len(there):,} batches go on"
        return (
            f"{what} at the provider ({requests:,} requests): the same command goes on from there, "
            "and asks none of them again"
        )

    # Sending, waiting, merging

    async def submit_full(self) -> None:
        """Submit what fills a batch, while others are still being put.

        Raises:
            ProviderError: the provider does not take it.
        """
        async with self._submitting:
            while self._spill.full:
                await self._submit_chunk()
                self._report()

    async def settle(self) -> BatchState:
        """Submit what is queued, wait for all open batches, and write their answers to the ledger.

        Cancelled, it leaves the batches to the provider; a lane over the same ledger takes them over.

        Raises:
            StopError: the provider will not take a batch, or refuses all that is in it.
            RetryError: it cannot be reached.
        """
        self._state = BatchState()
        for batch in [batch for batch in self._open.values() if not batch.remote]:
            await self._launch(batch)
        self._spill.close()
        await self.submit_full()
        wait, misses = SHORTEST, 0
        while self._open:
            before = self._standing()
            try:
                await self._look()
                misses = 0
            except RetryError as error:
                misses += 1
                log.warning("%s (look %d of %d)", error, misses, MOST_MISSES)
                if misses >= MOST_MISSES:
                    raise
            self._report()
            if self._open:
                await self._sleep(wait)
                wait = SHORTEST if self._standing() != before else min(wait * GROWTH, LONGEST)
        return self.state

    def _standing(self) -> tuple[int, int]:
        return len(self._open), sum(batch.processed for batch in self._open.values())

    async def _look(self) -> None:
        """Look at each open batch once, and merge what has ended."""
        for batch in list(self._open.values()):
            if batch.remote:
                await self._look_at(
                    batch, await self._asked(batch, self.endpoint.retrieve, batch.remote)
                )
            elif not batch.waits or not self._others(batch):
                await self._launch(batch)

    def _about(self, batch: Batch, call: Callable[..., T], *arguments: object) -> T:
        """Make a call about a batch that the provider should know."""
        try:
            return call(*arguments)
        except StopError as error:
            if error.status != 404:
                raise
            raise StopError(
                f"{error}; it is where batch {batch.id} was submitted: set the key of the project that it "
                "belongs to, or, if it was deleted there, give it up with `syphus.batch.forget`",
                status=404,
            ) from None

    async def _look_at(self, batch: Batch, remote: Remote) -> None:
        batch.processed = remote.processed
        if remote.status == "ended":
            await self._finish(batch, remote)
        elif remote.status == "queue_full":
            self._hold(batch, remote)
        elif remote.status == "failed":
            self._fail(batch, remote.problem)

    async def _submit_chunk(self) -> None:
        after = await in_thread(self._sleep, self.endpoint.newest)
        batch, keys = self._journal.intend(self._spill.full[0], after)
        self._open[batch.id] = batch
        self._spill.full.pop(0)
        self._queued.difference_update(keys)
        await self._launch(batch)

    async def _launch(self, batch: Batch) -> None:
        """Have the provider process a batch once, whatever happens on the way.

        Raises:
            StopError: it does not take it.
        """
        try:
            if not await self._launcher.launch(batch):
                self._journal.abandon(batch, "the file with its requests is gone")
                self._close(batch)
        except RefusedError as error:
            self._fail(batch, str(error))

    def _hold(self, batch: Batch, remote: Remote) -> None:
        """Keep a batch back until there is room in the provider's queue.

        Raises:
            StopError: there is none although no other batch of ours is in it.
        """
        batch.held = 0 if self._others(batch) else batch.held + 1
        if batch.held >= MOST_HELD:
            raise StopError(
                f"the provider's queue has no room for a batch of {batch.requests:,} requests "
                f"({remote.problem}); wait until other batches of this account have ended and run the "
                "command again"
            )
        self._journal.event(batch, "held", remote.id, remote.problem)
        batch.spent.add(remote.id)
        batch.remote, batch.processed, batch.waits = None, 0, True

    def _others(self, batch: Batch) -> bool:
        return any(other.remote for other in self._open.values() if other is not batch)

    def _fail(self, batch: Batch, problem: str) -> None:
        error = RefusedError(f"its batch was refused: {problem}")
        ledger = self._journal.ledger
        for key, sent in self._journal.unsettled(batch).items():
            ledger.note_failure(sent, key, self._journal.run, error)
        ledger.commit()
        self._journal.event(batch, "failed", batch.remote, problem)
        self._close(batch)
        raise StopError(f"the provider refuses a batch of {batch.requests:,} requests: {problem}")

    async def _finish(self, batch: Batch, remote: Remote) -> None:
        """Fetch a batch's results, and merge them.

        Raises:
            StopError: all of its requests were refused.
        """
        path = batch.path.with_name(f"{batch.path.name}.results")
        await self._asked(batch, self.endpoint.download, remote, path)
        self._journal.event(batch, "completed", batch.remote)
        merged = await merge(self._journal, self.endpoint, batch, remote, path, self._failures)
        self._journal.event(batch, "merged", batch.remote, merged.detail())
        path.unlink()
        self._close(batch)
        self._count(merged)
        if CIRCUIT <= merged.refused == batch.requests:
            raise StopError(
                f"all {merged.refused:,} requests of a batch were refused; the first: "
                f"{merged.first_refusal}"
            )

    def _close(self, batch: Batch) -> None:
        remove(batch.path)
        del self._open[batch.id]
        for other in self._open.values():  # there may be room in the queue now
            other.waits = False

    def _count(self, merged: Merged) -> None:
        now = self._state
        self._state = replace(
            now,
            merged=now.merged + merged.replies,
            refused=now.refused + merged.refused + merged.given_up,
            again=now.again + merged.again,
            prompt_tokens=now.prompt_tokens + merged.prompt_tokens,
            cached_tokens=now.cached_tokens + merged.cached_tokens,
            completion_tokens=now.completion_tokens + merged.completion_tokens,
            cost_usd=now.cost_usd + merged.cost_usd,
        )

    def _report(self) -> None:
        self._progress(self.state)

    async def _asked(self, batch: Batch, call: Callable[..., T], *arguments: object) -> T:
        return await in_thread(self._sleep, self._about, batch, call, *arguments)
