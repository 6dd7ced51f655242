"""What the misbehaving provider does to a request, and what it counts (see `tests.provider_server`)."""

from __future__ import annotations

import asyncio
import math
import random
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import orjson
from aiohttp import web

from tests.provider_replies import (
    GARBAGE,
    Asked,
    as_lines,
    claude_reply,
    fingerprint_of,
    openai_reply,
    pairs_for,
    quarter,
    query_at,
    text_of,
    tiktoken_counter,
)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

FAULTS = ("429", "500", "garbage", "reset", "hang", "truncated", "content_filter", "400")
"""In the order in which shares are dealt out; any other status can be named too."""
CACHE_STEP = 128
TOLERANCE = 0.002
"""Seconds by which a retry may come before its time: two clocks are compared."""
_COUNTED = (
    "requests",
    "answered",
    "billed",
    "dead",
    "early_retries",
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "completion_tokens",
)


@dataclass(frozen=True)
class Options:
    latency: float = 0.0
    """Seconds before an answer: the median."""
    spread: float = 0.0
    """Of the latency: sigma of a lognormal; 0 is always the same."""
    seed: int = 0
    faults: dict[str, float] = field(default_factory=dict)
    """Shares of the requests, by name (`FAULTS`) or by status."""
    retry_after: float = 0.2
    """Seconds that a 429 asks to wait."""
    poison: str = ""
    """A query in which this regular expression is found is always answered 400."""
    key: str = ""
    """The key that is wanted; any, where this is empty."""
    quote_key: bool = False
    """Whether errors quote the key that was sent."""
    rate: float = 0.0
    """Requests per second of a true limit; 0 is none."""
    burst: float = 0.0
    """Requests that a full bucket holds; 0 is one second's worth."""
    rate_headers: str = "all"
    """What the true limit tells: all, retry-after, none."""
    tokens: str = "bytes"
    """How tokens are counted: bytes (four each), tiktoken (o200k_base)."""
    cache_from: int = 1_024
    """Tokens of a prefix that came before, from which on it is called cached."""
    price: tuple[float, float, float, float] = (0.15, 0.60, 0.075, 0.1875)
    """USD per million tokens: prompt, completion, cached, written to the cache."""
    per_body: bool = True
    """Whether each body is remembered; a million take 200 MB."""
    routes: tuple[str, ...] = ()
    """More endpoints, as `module:function`."""


@dataclass
class Provider:
    options: Options = field(default_factory=Options)
    counts: Counter[str] = field(default_factory=Counter)
    bodies: dict[bytes, list[int]] = field(default_factory=dict)
    """Body -> [came, answered]."""
    wait_until: dict[bytes, float] = field(default_factory=dict)
    prefixes: set[bytes] = field(default_factory=set)
    usd: float = 0.0
    in_flight: int = 0
    peak_in_flight: int = 0
    earliest: float = 0.0
    """Seconds by which the earliest early retry came too early."""
    first: float = 0.0
    last: float = 0.0
    extra_routes: dict[tuple[str, str], Handler] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._texts: dict[bytes | str, int] = {}
        self.configure({})

    def configure(self, changes: dict[str, Any]) -> None:
        self.options = replace(self.options, **changes)
        self._poison = re.compile(self.options.poison) if self.options.poison else None
        self._count = tiktoken_counter() if self.options.tokens == "tiktoken" else quarter
        self._texts.clear()
        self._level = self._capacity = self.options.burst or max(1.0, self.options.rate)
        self._filled = time.monotonic()

    def reset(self) -> None:
        for kept in (self.counts, self.bodies, self.wait_until, self.prefixes):
            kept.clear()
        self.peak_in_flight = self.in_flight
        self.usd = self.earliest = self.first = self.last = 0.0
        self.configure({})

    def stats(self) -> dict[str, Any]:
        came = [came for came, _ in self.bodies.values()]
        answered = [answered for _, answered in self.bodies.values() if answered]
        return {
            **dict.fromkeys(_COUNTED, 0),
            **self.counts,
            "statuses": {n[7:]: v for n, v in self.counts.items() if n.startswith("status ")},
            "faults": {n[6:]: v for n, v in self.counts.items() if n.startswith("fault ")},
            "bodies": len(came),
            "most_requests_of_a_body": max(came, default=0),
            "answered_bodies": len(answered),
            "paid_twice": sum(answered) - len(answered),
            "usd": self.usd,
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "earliest_retry": self.earliest,
            "first": self.first,
            "last": self.last,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST" and request.path.endswith(("/chat/completions", "/messages")):
            self.in_flight += 1
            self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
            try:
                response = await self._answer(request)
                return _quoting(request, response) if self.options.quote_key else response
            finally:
                self.in_flight -= 1
        if request.path == "/stats":
            return _json(self.stats())
        if request.path in ("/reset", "/configure"):
            changes = await request.read()
            if request.path == "/reset":
                self.reset()
            self.configure(orjson.loads(changes) if changes else {})
            return _json({})
        for (method, prefix), handler in self.extra_routes.items():
            if request.method == method and request.path.startswith(prefix):
                return await handler(request)
        return _json({"error": {"message": f"no such path: {request.path}"}}, 404)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.read()
        now = time.time()
        self.first = self.first or now
        self.counts["requests"] += 1
        claude = request.path.endswith("/messages")
        if (wanted := self.options.key) and wanted != _key(request):
            return self._refuse(401, "invalid_api_key", "Incorrect API key provided.", claude)
        if not (body := orjson.loads(raw)).get("messages"):
            return self._refuse(400, "invalid_request", "There are no messages.", claude)
        asked = self._understood(raw, body, claude)
        if (early := self.wait_until.pop(asked.digest, now) - now) > TOLERANCE:
            self.counts["early_retries"] += 1
            self.earliest = max(self.earliest, early)
        headers = self._limit_headers(claude) if self.options.rate else {}
        if self.options.rate and not self._admitted():
            wait = (1 - self._level) / self.options.rate
            if self.options.rate_headers != "none":
                headers["retry-after"] = f"{wait:.3f}"
                self.wait_until[asked.digest] = now + wait
            return self._refuse(429, "rate_limit_exceeded", "Rate limit reached.", claude, headers)
        if self._poison and self._poison.search(asked.query):
            return self._refuse(400, "invalid_request", "This cannot be answered.", claude, headers)
        fault, latency = self._dealt(asked)
        if fault:
            self.counts[f"fault {fault}"] += 1
        if latency:
            await asyncio.sleep(latency)
        if fault.isdigit():
            if fault == "429":
                headers["retry-after"] = f"{self.options.retry_after:g}"
                self.wait_until[asked.digest] = time.time() + self.options.retry_after
            return self._refuse(int(fault), "fault", f"You met a {fault}.", claude, headers)
        if fault in ("reset", "hang"):
            return await _misbehave(request, fault)
        body = self._reply(asked, fault, dead=_is_gone(request))
        self.last = time.time()
        if fault == "truncated":
            return await _cut_off(request, body)
        return _response(body, 200, headers)

    def _understood(self, raw: bytes, body: dict[str, Any], claude: bool) -> Asked:
        messages = body["messages"]
        if claude and body.get("system"):
            messages = [{"role": "system", "content": body["system"]}, *messages]
        at = query_at(messages)
        prefix = orjson.dumps(messages[:at])
        shown = orjson.dumps(messages[: at + 1])
        before = self._texts.get(prefix)
        if before is None:
            before = self._texts[prefix] = sum(self._of_message(m) for m in messages[:at])
        after = sum(self._of_message(m) for m in messages[at:])
        digest = blake2b(raw, digest_size=16).digest()
        seen = [0, 0]
        if self.options.per_body:
            seen = self.bodies.setdefault(digest, seen)
            seen[0] += 1
        query, mark = text_of(messages[at]), fingerprint_of(shown)
        attempt = max(0, seen[0] - 1)
        return Asked(body, digest, attempt, query, mark, prefix, before, before + after + 3, claude)

    def _of_message(self, message: dict[str, Any]) -> int:
        return self._count(text_of(message)) + 4

    def _dealt(self, asked: Asked) -> tuple[str, float]:
        """Draw what happens to a request, and how long it takes."""
        options = self.options
        if not options.faults and not options.spread:
            return "", options.latency
        draw = random.Random(b"%d %d %b" % (options.seed, asked.attempt, asked.digest))
        at, fault = draw.random(), ""
        for name in sorted(options.faults, key=lambda name: (*FAULTS, name).index(name)):
            at -= options.faults[name]
            if at < 0:
                fault = name
                break
        slower = draw.lognormvariate(0, options.spread) if options.spread else 1.0
        return fault, options.latency * slower

    def _reply(self, asked: Asked, fault: str, *, dead: bool) -> bytes:
        """Write an answer, and its bill."""
        pairs = pairs_for(asked.mark)
        wants_json = bool({"response_format", "output_format", "output_config"} & asked.body.keys())
        text = orjson.dumps({"pairs": pairs}).decode() if wants_json else as_lines(pairs)
        text = {"garbage": GARBAGE, "content_filter": ""}.get(fault, text)
        completion, cached, written = self._count(text), 0, 0
        marked = asked.claude and b'"cache_control"' in asked.prefix
        if asked.prefix_tokens >= self.options.cache_from and (marked or not asked.claude):
            cached = asked.prefix_tokens
            if not asked.claude:
                cached -= cached % CACHE_STEP
            if asked.prefix not in self.prefixes:
                self.prefixes.add(asked.prefix)
                cached, written = 0, cached if asked.claude else 0
        if not fault:
            self.counts["answered"] += 1
            if self.options.per_body:
                self.bodies[asked.digest][1] += 1
        for name, number in (
            ("billed", 1),
            ("dead", int(dead)),
            ("status 200", 1),
            ("prompt_tokens", asked.tokens),
            ("cached_tokens", cached),
            ("cache_write_tokens", written),
            ("completion_tokens", completion),
        ):
            self.counts[name] += number
        price, plain = self.options.price, asked.tokens - cached - written
        self.usd += 1e-6 * (
            plain * price[0] + completion * price[1] + cached * price[2] + written * price[3]
        )
        write = claude_reply if asked.claude else openai_reply
        return write(asked, text, fault, completion, cached, written)

    def _refuse(
        self,
        status: int,
        code: str,
        message: str,
        claude: bool,
        headers: dict[str, str] | None = None,
    ) -> web.Response:
        self.counts[f"status {status}"] += 1
        self.last = time.time()
        error = {"message": message, "type": code, "code": code, "param": None}
        return _json(
            {"type": "error", "error": error} if claude else {"error": error}, status, headers
        )

    def _admitted(self) -> bool:
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def _limit_headers(self, claude: bool) -> dict[str, str]:
        """Say what is left after this request, as the bucket that is really kept."""
        now = time.monotonic()
        grown = (now - self._filled) * self.options.rate
        self._level, self._filled = min(self._capacity, self._level + grown), now
        if self.options.rate_headers != "all":
            return {}
        left = max(0, math.floor(self._level - 1))
        full = (self._capacity - left) / self.options.rate
        start = "anthropic-ratelimit-requests" if claude else "x-ratelimit"
        limit, rest, reset = ("-limit", "-remaining", "-reset")
        if not claude:
            limit, rest, reset = (f"{name}-requests" for name in (limit, rest, reset))
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + full))
        return {
            f"{start}{limit}": f"{self._capacity:g}",
            f"{start}{rest}": str(left),
            f"{start}{reset}": until if claude else f"{full * 1e3:.0f}ms",
        }


def _key(request: web.BaseRequest) -> str:
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return request.headers.get("x-api-key", bearer)


def _quoting(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """Put the key into an error, as some providers do."""
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        quoted = b'"message":"The key %b: ' % _key(request).encode()
        response.body = (
            response.body.replace(b'"message":"', quoted)
            if response.status >= 400
            else response.body
        )
    return response


def _json(
    value: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return _response(orjson.dumps(value), status, headers or {})


def _response(body: bytes, status: int, headers: dict[str, str]) -> web.Response:
    headers = {"Content-Type": "application/json", **headers}
    return web.Response(body=body, status=status, headers=headers)


def _is_gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _misbehave(request: web.BaseRequest, fault: str) -> web.StreamResponse:
    while fault == "hang" and not _is_gone(request):
        await asyncio.sleep(0.05)
    if (transport := request.transport) is not None:
        plug = transport.get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def _cut_off(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    """Send half of a body, and close."""
    if (transport := request.transport) is not None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        transport.write(head % len(body) + body[: len(body) // 2])
        transport.close()
    return web.Response()
