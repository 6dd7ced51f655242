"""A provider's batch endpoint as a lane: half the price, an answer within a day.

`BatchLane.put` takes requests, `BatchLane.settle` has them answered, and the answers are in the same ledger as those of requests that were
sent one by one. A batch is submitted once, whenever the run is killed (see `launch`, `journal`).

A provider is one file: an `Endpoint` (see `endpoint`), and a line in `lane.endpoint_of`.
"""

from syphus.batch.journal import forget, open_batches, waiting_keys
from syphus.batch.lane import BatchLane, provider_of
from syphus.batch.state import BatchState, OpenBatch

__all__ = [
    "BatchLane",
    "BatchState",
    "OpenBatch",
    "forget",
    "open_batches",
    "provider_of",
    "waiting_keys",
]
