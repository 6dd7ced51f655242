"""What the ledger says of batches.

A batch's life is a row of events; each is committed before the next step is taken:

    intent ─► uploaded ─► submitted ─► completed ─► merged
       │                      └─► held (the provider's queue was full) ─► submitted …
       └─► abandoned (nothing was sent)       └─► failed

A batch is open from its intent until one of merged, failed, abandoned. Its requests have their `sent` rows from before the intent,
so they cannot be asked a second time while it is open.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from syphus.batch.state import Batch, OpenBatch
from syphus.errors import ProviderError

if TYPE_CHECKING:
    from syphus.batch.spill import Chunk
    from syphus.ledger import Ledger

_OPEN = (
    "FROM batches AS b WHERE NOT EXISTS (SELECT 1 FROM batch_events AS e "
    "WHERE e.batch = b.id AND e.event IN ('merged', 'failed', 'abandoned'))"
)


class UnsentError(ProviderError):
    """The request was noted as sent, and then was not."""

    kind = "unsent"


def open_batches(ledger: Ledger) -> list[OpenBatch]:
    """Return the batches of all models whose answers are not in the ledger yet."""
    rows = ledger.rows(
        "SELECT b.id, b.model, b.requests, b.time, (SELECT e.remote FROM batch_events AS e "
        "WHERE e.batch = b.id AND e.event IN ('submitted', 'held') ORDER BY e.rowid DESC LIMIT 1) "
        f"{_OPEN} ORDER BY b.rowid"
    )
    return [OpenBatch(*row) for row in rows]


def forget(ledger: Ledger, identifier: str, run: str) -> None:
    """Give a batch up that the provider no longer has; its requests are asked, and paid, again."""
    for found in open_batches(ledger):
        if found.id == identifier:
            batch = Batch(identifier, found.model, found.requests, found.time, Path(), 0)
            Journal(ledger, run, found.model, Path()).abandon(batch, "given up")


def waiting_keys(ledger: Ledger, keys: Iterable[str]) -> set[str]:
    """Return those of the keys that are in an open batch: they must not be sent in any other way."""
    wanted = list(keys)
    marks = ", ".join("?" * len(wanted))
    rows = ledger.rows(
        f"SELECT request FROM batch_requests WHERE request IN ({marks}) "
        f"AND batch IN (SELECT b.id {_OPEN})",
        wanted,
    )
    return {key for (key,) in rows}


class Journal:
    """The events of one model's batches."""

    def __init__(self, ledger: Ledger, run: str, model: str, folder: Path) -> None:
        self.ledger = ledger
        self.run = run
        self.model = model
        self.folder = folder

    def event(
        self, batch: Batch, event: str, remote: str | None = None, detail: str | None = None
    ) -> None:
        row = {"batch": batch.id, "event": event, "remote": remote, "detail": detail}
        self.ledger.insert("batch_events", [{**row, "time": time.time()}])

    def intend(self, chunk: Chunk, after: str | None) -> tuple[Batch, list[str]]:
        """Note that a chunk of requests is about to be sent; return its batch, and the requests' keys.

        A kill before the last commit leaves a batch without an intent, which `load` puts away.
        """
        now = time.time()
        [(earlier,)] = self.ledger.rows("SELECT count(*) FROM batches")
        name = f"{chunk.digest} {self.run} {earlier}"
        batch = Batch(
            id=hashlib.blake2b(name.encode(), digest_size=16).hexdigest(),
            model=self.model,
            requests=chunk.requests,
            time=now,
            path=chunk.path,
            size=chunk.size,
            after=after,
        )
        row = {"id": batch.id, "run": self.run, "model": self.model, "requests": batch.requests}
        self.ledger.insert("batches", [{**row, "digest": chunk.digest, "time": now}])
        # One commit for all of them: note_sent leaves it to the insert.
        sent = [(request.key, self.ledger.note_sent(request, self.run)) for request in chunk.read()]
        self.ledger.insert(
            "batch_requests",
            ({"batch": batch.id, "request": key, "sent": number} for key, number in sent),
        )
        detail = {"file": chunk.path.name, "bytes": chunk.size, "after": after}
        self.event(batch, "intent", detail=orjson.dumps(detail).decode())
        return batch, [key for key, _ in sent]

    def load(self) -> list[Batch]:
        """Return this model's open batches as earlier runs left them."""
        rows = self.ledger.rows(
            f"SELECT b.id, b.requests, b.time {_OPEN} AND b.model = ? ORDER BY b.rowid",
            [self.model],
        )
        found = []
        for identifier, requests, when in rows:
            batch = Batch(identifier, self.model, requests, when, self.folder, 0, doubtful=True)
            if self._replay(batch):
                found.append(batch)
            else:
                self.abandon(batch, "the run was stopped before its requests were noted")
        return found

    def _replay(self, batch: Batch) -> bool:
        """Let a batch's events happen again; return whether there was an intent."""
        intended = False
        for event, remote, detail in self.ledger.rows(
            "SELECT event, remote, detail FROM batch_events WHERE batch = ? ORDER BY rowid",
            [batch.id],
        ):
            if event == "intent":
                intended, said = True, orjson.loads(detail)
                batch.path = self.folder / said["file"]
                batch.size, batch.after = said["bytes"], said["after"]
            elif event == "uploaded":
                batch.file = remote
            elif event == "submitted":
                batch.remote, batch.doubtful = remote, False
            elif event == "held":
                batch.remote, batch.doubtful = None, True
                batch.spent.add(remote)
        return intended

    def abandon(self, batch: Batch, why: str) -> None:
        """Put a batch away that was never sent; its requests are asked in another one."""
        error = UnsentError(f"not sent: {why}")
        for key, sent in self.unsettled(batch).items():
            self.ledger.note_failure(sent, key, self.run, error)
        self.ledger.commit()
        self.event(batch, "abandoned", detail=why)

    def unsettled(self, batch: Batch) -> dict[str, int]:
        """Return a batch's requests that have neither a reply nor a failure, and their attempts' numbers."""
        rows = self.ledger.rows(
            "SELECT b.request, b.sent FROM batch_requests AS b "
            "LEFT JOIN replies AS r ON r.request = b.request AND r.sent = b.sent "
            "WHERE b.batch = ? AND r.id IS NULL AND b.sent NOT IN (SELECT sent FROM failures)",
            [batch.id],
        )
        return dict(rows)

    def batches_of(self, key: str) -> set[str]:
        """Return our ids of the batches that a request is or was in."""
        rows = self.ledger.rows("SELECT batch FROM batch_requests WHERE request = ?", [key])
        return {batch for (batch,) in rows}

    def known(self) -> set[str]:
        """Return the provider's ids of all our batches."""
        rows = self.ledger.rows(
            "SELECT remote FROM batch_events WHERE event IN ('submitted', 'held')"
        )
        return {remote for (remote,) in rows}
