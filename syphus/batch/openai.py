"""OpenAI's batches: a file of requests is uploaded, then a batch is made of it.

A batch carries our id in its metadata, and a file in its name, so that both are found again by listing them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import orjson

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
from syphus.errors import ProviderError, RateLimitError
from syphus.providers.targets import target
from syphus.request import Completion, Request

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
_ENDED = ("completed", "expired", "cancelled")


class OpenAIBatches:
    most_requests = 50_000
    most_bytes = 200_000_000
    framing = Framing()

    def __init__(self, model: str) -> None:
        """Find the key and the address.

        Raises:
            StopError: the environment holds no key, or only LiteLLM knows how the model is asked.
        """
        self.model = model
        there = target(model)
        import openai

        own = ("Accept", "Content-Type", "Authorization")
        self._client = openai.OpenAI(
            api_key=there.headers["Authorization"].removeprefix("Bearer "),
            base_url=there.url.removesuffix("/chat/completions"),
            default_headers={k: v for k, v in there.headers.items() if k not in own},
            max_retries=0,
            timeout=TIMEOUT,
        )

    def line(self, request: Request) -> bytes:
        from syphus.providers.bodies import openai_body

        line = {"custom_id": request.key, "method": "POST", "url": ENDPOINT}
        return orjson.dumps({**line, "body": openai_body(request, model=self.model)})

    def newest(self) -> str | None:
        return None

    def find(self, batch: Batch, known: set[str], mine: Callable[[str], bool]) -> Found:
        earliest = batch.time - CLOCKS
        with translating("looking for a batch at OpenAI"):
            for there in self._client.batches.list(limit=100):
                if there.created_at < earliest:
                    break
                ours = (there.metadata or {}).get("syphus") == batch.id
                if ours and there.id not in batch.spent:
                    return Found(remote=there.id, file=there.input_file_id)
            if batch.file:
                return Found(file=batch.file)
            for file in self._client.files.list(purpose="batch", order="desc", limit=1_000):
                if file.created_at < earliest:
                    break
                if file.filename == batch.file_name and file.bytes == batch.size:
                    return Found(file=file.id)
        return Found()

    def upload(self, batch: Batch) -> str | None:
        with translating("uploading a batch to OpenAI"), batch.path.open("rb") as file:
            named = (batch.file_name, file, "application/jsonl")
            return self._client.files.create(file=named, purpose="batch", timeout=DIGESTING).id

    def submit(self, batch: Batch) -> str:
        assert batch.file is not None
        with translating("submitting a batch to OpenAI"):
            return self._client.batches.create(
                input_file_id=batch.file,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={"syphus": batch.id},
                timeout=DIGESTING,
            ).id

    def retrieve(self, remote: str) -> Remote:
        with translating(f"asking OpenAI how batch {remote!r} is getting on"):
            found = self._client.batches.retrieve(remote)
        counts = found.request_counts
        processed = counts.completed + counts.failed if counts else 0
        if found.status == "failed":
            errors = (found.errors.data if found.errors else None) or []
            first = errors[0] if errors else None
            where = f"line {first.line}: " if first and first.line is not None else ""
            why = f"{where}{first.message or first.code}" if first else "it does not say why"
            full = any(error.code == "token_limit_exceeded" for error in errors)
            return Remote(found.id, "queue_full" if full else "failed", problem=short(why))
        if found.status not in _ENDED:
            return Remote(found.id, "running", processed)
        ended = found.completed_at or found.expired_at or found.cancelled_at
        files = [file for file in (found.output_file_id, found.error_file_id) if file]
        seconds = float(ended - found.created_at) if ended else None
        return Remote(found.id, "ended", processed, tuple(files), seconds)

    def download(self, remote: Remote, path: Path) -> None:
        with (
            translating(f"fetching the results of batch {remote.id!r}"),
            path.open("wb") as file,
        ):
            for name in remote.results:
                with self._client.files.with_streaming_response.content(name) as response:
                    for piece in response.iter_bytes():
                        file.write(piece)
                file.write(b"\n")

    def read(self, line: dict[str, Any]) -> tuple[str, Completion | ProviderError]:
        key, error, response = line["custom_id"], line.get("error"), line.get("response")
        if error:
            code, message = str(error.get("code", "")), str(error.get("message") or "")
            if code in ("batch_expired", "batch_cancelled"):
                return key, expired(code.removeprefix("batch_"))
            text = short(message or code)
            if code == "rate_limit_exceeded":
                return key, RateLimitError(text)
            return key, of_request(of_status(400 if "invalid" in code else 500, text, code=code))
        status, body = (response or {}).get("status_code"), (response or {}).get("body")
        if status != 200:
            problem = body.get("error") if isinstance(body, dict) else None
            problem = problem if isinstance(problem, dict) else {}
            text = short(str(problem.get("message") or f"HTTP status {status}"))
            return key, of_request(
                of_status(int(status or 500), text, code=str(problem.get("code") or ""))
            )
        from syphus.providers.bodies import read_openai

        return key, read_openai(body, model=self.model)

    def close(self) -> None:
        self._client.close()
