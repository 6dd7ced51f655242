"""Anthropic's message batches: all requests in one body, no file and no metadata.

What tells one of our batches from another is only the `custom_id` of its requests, and these show only in its results. So
before a batch is sent, the newest one at the provider is noted. If it is then not known whether ours was taken, it can only be
among the batches that came after that one, and has as many requests. One that has ended is told by its results; while one is
under way that cannot be told, nothing is sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mimicit.errors import MissingExtraError
from syphus.batch.endpoint import (
    CLOCKS,
    DIGESTING,
    TIMEOUT,
    expired,
    of_request,
    of_status,
    short,
    translating,
)
from syphus.batch.spill import Framing
from syphus.batch.state import Batch, Found, Remote
from syphus.errors import ProviderError
from syphus.providers.targets import target
from syphus.request import Completion, Request

if TYPE_CHECKING:
    from anthropic.types.messages import MessageBatch

_PATH = "/v1/messages/batches"
_STATUS = {
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "invalid_request_error": 400,
    "rate_limit_error": 429,
}


class AnthropicBatches:
    most_requests = 100_000
    most_bytes = 256_000_000
    framing = Framing(b'{"requests":[', b",\n", b"]}")

    def __init__(self, model: str) -> None:
        """Find the key and the address.

        Raises:
            StopError: the environment holds no key.
            MissingExtraError: the package is not installed.
        """
        self.model = model
        there = target(model)
        try:
            import anthropic
        except ImportError:
            raise MissingExtraError("anthropic", "batch") from None
        self._client = anthropic.Anthropic(
            api_key=there.headers["x-api-key"],
            base_url=there.url.removesuffix("/v1/messages"),
            max_retries=0,
            timeout=TIMEOUT,
        )

    def line(self, request: Request) -> bytes:
        from syphus.providers.bodies import anthropic_body

        params = anthropic_body(request, model=self.model)
        return orjson.dumps({"custom_id": request.key, "params": params})

    def newest(self) -> str | None:
        with translating("asking Anthropic for its newest batch"):
            return next(
                (batch.id for batch in self._client.messages.batches.list(limit=1).data), ""
            )

    def find(self, batch: Batch, known: set[str], mine: Callable[[str], bool]) -> Found:
        unclear = False
        with translating("looking for a batch at Anthropic"):
            for there in self._client.messages.batches.list(limit=100):
                if there.id == batch.after or there.created_at.timestamp() < batch.time - CLOCKS:
                    break
                if there.id in known or _size(there) != batch.requests:
                    continue
                if there.processing_status != "ended":
                    unclear = True
                elif (key := self._first_key(there)) and mine(key):
                    return Found(remote=there.id)
        return Found(unclear=unclear)

    def _first_key(self, there: MessageBatch) -> str | None:
        if not there.results_url:
            return None
        for piece in self._results(there.id):
            first, found, _ = piece.partition(b"\n")
            # The first piece of a body may be short of a line, but 32 digits fit into any.
            return _custom_id(first if found else piece)
        return None

    def upload(self, batch: Batch) -> str | None:
        return None

    def submit(self, batch: Batch) -> str:
        from anthropic.types.messages import MessageBatch

        # `batches.create` wants all requests as objects; a file is streamed, whatever its size.
        with translating("submitting a batch to Anthropic"), batch.path.open("rb") as file:
            made: MessageBatch = self._client.post(
                _PATH,
                cast_to=MessageBatch,
                content=file,
                options={"headers": {"Content-Type": "application/json"}, "timeout": DIGESTING},
            )
        return made.id

    def retrieve(self, remote: str) -> Remote:
        with translating(f"asking Anthropic how batch {remote!r} is getting on"):
            found = self._client.messages.batches.retrieve(remote)
        processed = _size(found) - found.request_counts.processing
        if found.processing_status != "ended":
            return Remote(found.id, "running", processed)
        seconds = (found.ended_at - found.created_at).total_seconds() if found.ended_at else None
        results = (found.id,) if found.results_url else ()
        return Remote(found.id, "ended", processed, results, seconds)

    def download(self, remote: Remote, path: Path) -> None:
        with (
            translating(f"fetching the results of batch {remote.id!r}"),
            path.open("wb") as file,
        ):
            for name in remote.results:
                for piece in self._results(name):
                    file.write(piece)

    def _results(self, remote: str) -> Iterator[bytes]:
        streaming = self._client.messages.batches.with_streaming_response
        with streaming.results(remote) as response:
            yield from response.iter_bytes()

    def read(self, line: dict[str, Any]) -> tuple[str, Completion | ProviderError]:
        key, result = line["custom_id"], line["result"]
        kind = result["type"]
        if kind == "succeeded":
            from syphus.providers.bodies import read_anthropic

            return key, read_anthropic(result["message"], model=self.model)
        if kind in ("expired", "canceled"):
            return key, expired(kind)
        error = result["error"].get("error") or result["error"]
        text = short(str(error.get("message") or error.get("type")))
        return key, of_request(of_status(_STATUS.get(error.get("type"), 500), text))

    def close(self) -> None:
        self._client.close()


def _size(batch: MessageBatch) -> int:
    n = batch.request_counts
    return n.processing + n.succeeded + n.errored + n.canceled + n.expired


def _custom_id(line: bytes) -> str | None:
    """Return the `custom_id` of a result, or of the start of one."""
    import re

    found = re.search(rb'"custom_id"\s*:\s*"([^"]*)"', line)
    return found[1].decode() if found else None
