"""A real HTTP server that speaks the batch endpoints of OpenAI and Anthropic, and misbehaves on request.

A batch goes on each time that somebody looks at it (`looks`), so that no test waits for a clock.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from tests.server import in_thread

KEY = "sk-planted-0123456789abcdef"
Outcome = Callable[[dict, int], object]
"""(request body, how often it was asked before) -> a text, or an outcome such as "expired"."""


@dataclass
class Batch:
    id: str
    requests: list[tuple[str, dict]]
    """custom_id and body."""
    created: float
    metadata: dict | None = None
    file: str = ""
    looks: int = 0
    status: str = ""
    problem: tuple[str, str] | None = None
    lines: tuple[bytes, bytes] = (b"", b"")
    """Of the output file and the error file."""
    tally: Counter = field(default_factory=Counter)


@dataclass
class Provider:
    """What the server has, and how it behaves."""

    url: str = ""
    looks: int = 2
    """Looks at a batch until it has ended."""
    outcome: Outcome = lambda body, before: "A cat. "
    validation: Callable[[Batch], tuple[str, str] | None] = lambda batch: None
    """(code, message) with which a batch fails."""
    before: dict[str, list[str]] = field(default_factory=dict)
    """What happens instead of a step: `{"submit": ["reset after", "503", "hang up"]}`, one for each time it comes."""
    unlisted: int = 0
    """Times that a list is asked for before it shows what is new."""
    files: dict[str, tuple[str, bytes, float]] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    asked: Counter = field(default_factory=Counter)
    """How often each custom_id was submitted."""
    calls: Counter = field(default_factory=Counter)
    held: threading.Event = field(default_factory=threading.Event)
    """Set once a request is kept waiting: see "hang"."""
    keys: set[str] = field(default_factory=set)
    content_lengths: list[str | None] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # OpenAI

    async def upload(self, request: web.Request) -> web.StreamResponse:
        async def take() -> web.Response:
            form = await request.post()
            sent = form["file"]
            name = f"file-{next(self._numbers)}"
            with sent.file as file:
                self.files[name] = (sent.filename, file.read(), time.time())
            return web.json_response(self._file(name))

        return await self._step("upload", request, take)

    def _file(self, name: str) -> dict:
        filename, content, created = self.files[name]
        return {
            "id": name,
            "object": "file",
            "bytes": len(content),
            "created_at": int(created),
            "filename": filename,
            "purpose": "batch",
            "status": "processed",
        }

    async def list_files(self, request: web.Request) -> web.Response:
        listed = [self._file(name) for name in reversed(self._shown(self.files))]
        return web.json_response(_page([f for f in listed if f["purpose"] == "batch"], request))

    async def content(self, request: web.Request) -> web.StreamResponse:
        async def take() -> web.Response:
            name = request.match_info["name"]
            identifier, _, kind = name.partition(".")
            return web.Response(body=self.batches[identifier].lines[kind == "errors"])

        return await self._step("content", request, take)

    async def create(self, request: web.Request) -> web.StreamResponse:
        async def take() -> web.Response:
            asked = await request.json()
            if asked["input_file_id"] not in self.files:
                return _refuse(404, "No such file", "not_found_error")
            lines = self.files[asked["input_file_id"]][1].decode().split("\n")
            requests = [json.loads(line) for line in lines if line]
            assert all(line["url"] == asked["endpoint"] for line in requests)
            batch = self._add("batch", [(line["custom_id"], line["body"]) for line in requests])
            batch.metadata, batch.file = asked.get("metadata"), asked["input_file_id"]
            return web.json_response(self._openai(batch))

        return await self._step("submit", request, take)

    def _openai(self, batch: Batch) -> dict:
        ended = batch.status in ("completed", "expired", "cancelled")
        failed = batch.problem
        answered = batch.tally["answered"]
        counts = {"total": len(batch.requests), "completed": answered, "failed": 0}
        if ended:
            counts["failed"] = len(batch.requests) - answered
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "created_at": int(batch.created),
            "completed_at": int(batch.created) + 60 if ended else None,
            "input_file_id": batch.file,
            "status": batch.status,
            "metadata": batch.metadata,
            "request_counts": counts,
            "output_file_id": f"{batch.id}.output" if ended and batch.lines[0] else None,
            "error_file_id": f"{batch.id}.errors" if ended and batch.lines[1] else None,
            "errors": {
                "object": "list",
                "data": [{"code": failed[0], "message": failed[1], "line": 3, "param": None}],
            }
            if failed
            else None,
        }

    async def list_openai(self, request: web.Request) -> web.Response:
        self.calls["list"] += 1
        shown = reversed(self._shown(self.batches))
        return web.json_response(_page([self._openai(self.batches[n]) for n in shown], request))

    async def look_openai(self, request: web.Request) -> web.StreamResponse:
        async def take() -> web.Response:
            batch = self.batches.get(request.match_info["name"])
            if batch is None:
                return _refuse(404, "No batch found", "not_found_error")
            batch.looks += 1
            if batch.status == "validating":
                batch.problem = self.validation(batch)
                batch.status = "failed" if batch.problem else "in_progress"
            elif batch.status == "in_progress" and batch.looks >= self.looks:
                self._end(batch, _openai_line)
                batch.status = "expired" if batch.tally["expired"] else "completed"
            return web.json_response(self._openai(batch))

        return await self._step("retrieve", request, take)

    # Anthropic

    async def create_anthropic(self, request: web.Request) -> web.StreamResponse:
        self.content_lengths.append(request.headers.get("Content-Length"))

        async def take() -> web.Response:
            asked = (await request.json())["requests"]
            batch = self._add("msgbatch", [(line["custom_id"], line["params"]) for line in asked])
            return web.json_response(self._anthropic(batch))

        return await self._step("submit", request, take)

    def _anthropic(self, batch: Batch) -> dict:
        ended = batch.status == "ended"
        zero = dict.fromkeys(("succeeded", "errored", "canceled", "expired"), 0)
        tally = batch.tally
        counts = {"processing": len(batch.requests), **zero}
        if ended:
            counts = {
                "processing": 0,
                "succeeded": tally["answered"],
                "errored": len(batch.requests) - tally["answered"] - tally["expired"],
                "canceled": 0,
                "expired": tally["expired"],
            }
        host = self.url.removesuffix("/v1")
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts,
            "created_at": _date(batch.created),
            "ended_at": _date(batch.created + 60) if ended else None,
            "expires_at": _date(batch.created + 86_400),
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"{host}/v1/messages/batches/{batch.id}/results" if ended else None,
        }

    async def list_anthropic(self, request: web.Request) -> web.Response:
        self.calls["list"] += 1
        shown = [n for n in reversed(self._shown(self.batches)) if n.startswith("msgbatch")]
        return web.json_response(_page([self._anthropic(self.batches[n]) for n in shown], request))

    async def look_anthropic(self, request: web.Request) -> web.StreamResponse:
        async def take() -> web.Response:
            batch = self.batches.get(request.match_info["name"])
            if batch is None:
                return _refuse(404, "No batch found", "not_found_error")
            batch.looks += 1
            if batch.status != "ended" and batch.looks >= self.looks:
                self._end(batch, _anthropic_line)
                batch.status = "ended"
            return web.json_response(self._anthropic(batch))

        return await self._step("retrieve", request, take)

    async def results(self, request: web.Request) -> web.StreamResponse:
        async def take() -> web.Response:
            return web.Response(body=b"".join(self.batches[request.match_info["name"]].lines))

        return await self._step("content", request, take)

    # Both

    def _add(self, kind: str, requests: list[tuple[str, dict]]) -> Batch:
        batch = Batch(f"{kind}_{next(self._numbers)}", requests, time.time(), status="validating")
        self.batches[batch.id] = batch
        self.asked.update(key for key, _ in requests)
        return batch

    def others(self, requests: int, *, keys: str) -> None:
        """Let somebody else's batch come in at Anthropic."""
        self._add("msgbatch", [(f"{keys}{n:031x}", {"model": "m"}) for n in range(requests)])

    def _end(self, batch: Batch, write: Callable[[str, object, dict], tuple[bytes, str]]) -> None:
        lines: dict[bool, list[bytes]] = {True: [], False: []}
        for key, body in batch.requests[::-1]:  # in no order that anybody should rely on
            outcome = self.outcome(body, self.asked[key] - 1)
            if outcome is None:  # left out of the results
                continue
            line, kind = write(key, outcome, body)
            batch.tally[kind] += 1
            lines[kind == "answered"].append(line + b"\n")
        batch.lines = (b"".join(lines[True]), b"".join(lines[False]))

    def _shown(self, things: dict) -> list[str]:
        if self.unlisted:
            self.unlisted -= 1
            return list(things)[:-1]
        return list(things)

    async def _step(self, name: str, request: web.Request, take) -> web.StreamResponse:
        self.calls[name] += 1
        given = request.headers.get("Authorization") or request.headers.get("x-api-key", "")
        self.keys.add(given.removeprefix("Bearer "))
        odd = self.before.get(name, [])
        what = odd.pop(0) if odd else ""
        if what == "refuse key":
            return _refuse(401, f"Incorrect API key provided: {KEY}.", "authentication_error")
        if what.isdigit():
            headers = {"Retry-After": "7"} if what == "429" else {}
            return _refuse(int(what), f"planned {what}", "invalid_request_error", headers)
        if what == "reset before":
            return _reset(request)
        if what == "hang before":
            self.held.set()
            await asyncio.sleep(60)
        answer = await take()
        if what == "reset after":
            return _reset(request)
        if what == "hang after":
            self.held.set()
            await asyncio.sleep(60)
        if what == "cut":
            return await _cut(request, answer)
        return answer


def _openai_line(key: str, outcome: object, body: dict) -> tuple[bytes, str]:
    whole = {"id": f"batch_req_{key[:6]}", "custom_id": key, "response": None, "error": None}
    if outcome == "expired":
        whole["error"] = {"code": "batch_expired", "message": "This request could not be executed"}
        return _json(whole), "expired"
    status, answer = 200, _completion(body, outcome)
    if isinstance(outcome, int):
        status, answer = outcome, {"error": {"message": f"planned {outcome}", "code": None}}
    whole["response"] = {"status_code": status, "request_id": "r", "body": answer}
    return _json(whole), "answered" if status == 200 else "errored"


def _completion(body: dict, text: object) -> dict:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 1_000,
            "completion_tokens": 100,
            "total_tokens": 1_100,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def _anthropic_line(key: str, outcome: object, body: dict) -> tuple[bytes, str]:
    if outcome == "expired":
        return _json({"custom_id": key, "result": {"type": "expired"}}), "expired"
    if isinstance(outcome, int):
        kind = {400: "invalid_request_error", 429: "rate_limit_error"}.get(outcome, "api_error")
        error = {"type": "error", "error": {"type": kind, "message": f"planned {outcome}"}}
        return _json({"custom_id": key, "result": {"type": "errored", "error": error}}), "errored"
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [{"type": "text", "text": outcome}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1_000, "output_tokens": 100},
    }
    result = {"type": "succeeded", "message": message}
    return _json({"custom_id": key, "result": result}), "answered"


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _page(things: list[dict], request: web.Request) -> dict:
    """A page of a list, as both providers write it."""
    limit = min(int(request.query.get("limit", 20)), 3)  # short pages: lists must be followed
    after = request.query.get("after") or request.query.get("after_id")
    start = next((n + 1 for n, thing in enumerate(things) if thing["id"] == after), 0)
    page = things[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "has_more": start + limit < len(things),
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def _refuse(status: int, message: str, kind: str, headers: dict | None = None) -> web.Response:
    body = {"type": "error", "error": {"message": message, "type": kind, "code": None}}
    return web.json_response(body, status=status, headers=headers)


def _reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    linger = struct.pack("ii", 1, 0)
    request.transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, linger
    )
    request.transport.abort()
    return web.Response()


async def _cut(request: web.Request, answer: web.Response) -> web.StreamResponse:
    """Send half of an answer, and reset the connection."""
    assert isinstance(answer.body, bytes)
    response = web.StreamResponse()
    response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    await asyncio.sleep(0.05)
    return _reset(request)


@contextmanager
def serve(provider: Provider) -> Iterator[Provider]:
    """Run the server in a thread of its own, on a free port of this machine."""
    app, messages = web.Application(client_max_size=1 << 30), "/v1/messages/batches"
    app.add_routes(
        [
            web.post("/v1/files", provider.upload),
            web.get("/v1/files", provider.list_files),
            web.get("/v1/files/{name}/content", provider.content),
            web.post("/v1/batches", provider.create),
            web.get("/v1/batches", provider.list_openai),
            web.get("/v1/batches/{name}", provider.look_openai),
            web.post(messages, provider.create_anthropic),
            web.get(messages, provider.list_anthropic),
            web.get(messages + "/{name}", provider.look_anthropic),
            web.get(messages + "/{name}/results", provider.results),
        ]
    )
    with in_thread(app) as url:
        provider.url = f"{url}/v1"
        yield provider
