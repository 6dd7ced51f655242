"""What is known of a batch: here, and at the provider."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class BatchState:
    """Where a lane's batches stand; counts are of one `settle`, what is open is of now."""

    queued: int = 0
    """Requests that are in no batch yet."""
    batches: int = 0
    """Batches that are open: their answers are not in the ledger yet."""
    requests: int = 0
    """Requests in these."""
    processed: int = 0
    """Of these, as many as the provider says it is through with."""
    held: int = 0
    """Batches that wait because the provider's queue is full."""
    unclear: int = 0
    """Batches of which it cannot be seen yet whether the provider took them."""
    merged: int = 0
    """Replies that were written to the ledger."""
    refused: int = 0
    """Requests that the provider will not answer, or that failed as often as they may."""
    again: int = 0
    """Requests to ask again: they expired, were canceled, or met an error of the provider."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch whose answers are not in the ledger yet."""

    id: str
    """Ours."""
    model: str
    requests: int
    time: float
    """Seconds since 1970."""
    remote: str | None
    """The provider's id; None where it is not known to be submitted."""


@dataclass(slots=True)
class Batch:
    """One of our batches, as the ledger has it."""

    id: str
    model: str
    requests: int
    time: float
    path: Path
    """What is sent; gone once the provider has it."""
    size: int
    """Bytes of it."""
    after: str | None = None
    """The newest batch that the provider had before this one was sent."""
    file: str | None = None
    """The provider's id of the uploaded file, where files are uploaded."""
    remote: str | None = None
    """The provider's id of the batch."""
    spent: set[str] = field(default_factory=set)
    """The provider's ids of earlier attempts, for which its queue was full."""
    doubtful: bool = False
    """Whether the provider may have it without our knowing its id."""
    unclear: bool = False
    """Whether the provider has a batch that may be this one, and does not say so yet."""
    processed: int = 0
    held: int = 0
    """Times in a row that the provider's queue was full for it alone."""
    waits: bool = False
    """Whether it waits for room in that queue."""

    @property
    def file_name(self) -> str:
        return f"syphus-{self.id}.jsonl"

    def public(self) -> OpenBatch:
        return OpenBatch(self.id, self.model, self.requests, self.time, self.remote)


@dataclass(frozen=True, slots=True)
class Remote:
    """A batch as the provider describes it."""

    id: str
    status: Literal["running", "ended", "failed", "queue_full"]
    processed: int = 0
    results: tuple[str, ...] = ()
    """Where its results are."""
    seconds: float | None = None
    """How long it took."""
    problem: str = ""
    """Why it failed, in the provider's words."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the provider has of a batch that may have been submitted."""

    remote: str | None = None
    file: str | None = None
    unclear: bool = False
    """A batch of this size is under way, and only its results will say whose it is."""
