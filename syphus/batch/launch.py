"""Have the provider take a batch, once.

Where it is not known whether it took one (the connection broke, or the run was killed), it is asked what it has, and only what it does not
have is sent. Its list may show late what it took, so the list is read twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from syphus.batch.calls import in_thread, retried, whole
from syphus.batch.endpoint import DOUBT, Endpoint
from syphus.batch.journal import Journal
from syphus.batch.spill import remove
from syphus.batch.state import Batch, Found

LISTED_AFTER = 10.0
"""Seconds that a provider may need until a batch it took is in its list."""


class Launcher:
    def __init__(
        self, endpoint: Endpoint, journal: Journal, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self.endpoint = endpoint
        self.journal = journal
        self._sleep = sleep

    async def launch(self, batch: Batch) -> bool:
        """Submit a batch, or find that it is submitted, or that this cannot be seen yet (`batch.unclear`).

        Returns False where it was never sent, and can be no more: its file is gone.

        Raises:
            ProviderError: the provider does not take it.
        """
        return await retried(lambda: self._launch(batch), self._sleep)

    async def _launch(self, batch: Batch) -> bool:
        if batch.doubtful:
            found = await self._found(batch)
            batch.unclear = found.unclear
            if found.remote:
                self._submitted(batch, found.remote, "adopted")
            if found.remote or found.unclear:
                return True
            if found.file and not batch.file:
                self._uploaded(batch, found.file, "adopted")
            if not batch.file and not _is_complete(batch):
                return False
        try:
            if not batch.file:
                await whole(self._upload(batch))
            await whole(self._submit(batch))
        except DOUBT:
            batch.doubtful = True
            raise
        return True

    async def _found(self, batch: Batch) -> Found:
        known, mine = self.journal.known(), set(self.journal.unsettled(batch))
        find = self.endpoint.find
        found = await in_thread(self._sleep, find, batch, known, mine.__contains__)
        if found.remote or found.unclear:
            return found
        await self._sleep(LISTED_AFTER)
        return await in_thread(self._sleep, find, batch, known, mine.__contains__)

    async def _upload(self, batch: Batch) -> None:
        if file := await asyncio.to_thread(self.endpoint.upload, batch):
            self._uploaded(batch, file)

    async def _submit(self, batch: Batch) -> None:
        self._submitted(batch, await asyncio.to_thread(self.endpoint.submit, batch))

    def _uploaded(self, batch: Batch, file: str, detail: str | None = None) -> None:
        self.journal.event(batch, "uploaded", file, detail)
        batch.file = file

    def _submitted(self, batch: Batch, remote: str, detail: str | None = None) -> None:
        self.journal.event(batch, "submitted", remote, detail)
        batch.remote, batch.doubtful, batch.unclear, batch.waits = remote, False, False, False
        remove(batch.path)


def _is_complete(batch: Batch) -> bool:
    return batch.path.is_file() and batch.path.stat().st_size == batch.size
