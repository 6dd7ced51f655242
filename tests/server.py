"""A real HTTP server that speaks OpenAI's chat completions, and misbehaves on request."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

Act = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""What a server does that answers with no whole response: see `drip` and `hang_up`."""
Behaviour = Callable[[dict, int], web.Response | Act | None]
"""(request body, how often this body came before) -> an odd response, or None for a good one."""


@dataclass
class Provider:
    behave: Behaviour = lambda body, before: None
    delay: float = 0.0
    """Seconds before an answer."""
    bodies: list[dict] = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)
    seen: Counter = field(default_factory=Counter)
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        key = json.dumps(body, sort_keys=True)
        before, self.seen[key] = self.seen[key], self.seen[key] + 1
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        await asyncio.sleep(self.delay)
        odd = self.behave(body, before)
        if odd is not None and not isinstance(odd, web.Response):
            return await odd(request)
        return odd or good(body)


def good(body: dict, text: str | None = None, finish_reason: str = "stop") -> web.Response:
    if text is None:
        query = next(m["content"] for m in body["messages"][::-1] if "Notes:" in m["content"])
        told = query.splitlines()[1].removeprefix("- ")
        text = "\n\n".join(
            f"Question: What is seen in place {n}?\nAnswer: {told} Look at place {n}."
            for n in range(3)
        )
    return web.json_response(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": finish_reason,
                }
            ],
            "usage": {
                "prompt_tokens": 120,
                "completion_tokens": 30,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 100},
            },
        }
    )


def refuse(status: int, message: str, **headers: str) -> web.Response:
    body = {"error": {"message": message, "type": "error", "code": None}}
    return web.json_response(body, status=status, headers=headers)


def drip(seconds: float) -> Act:
    """Send a byte every so many seconds, for ever."""

    async def act(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(seconds)

    return act


def hang_up(start: bytes) -> Act:
    """Send the start of a body, and reset the connection."""

    async def act(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(start) + 1_000
        await response.prepare(request)
        await response.write(start)
        await asyncio.sleep(0.1)
        if transport := request.transport:
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
            transport.abort()
        return response

    return act


@contextmanager
def serve(provider: Provider) -> Iterator[Provider]:
    """Run the server in a thread of its own, on a free port of this machine."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", provider.answer)
    with in_thread(app) as url:
        provider.url = f"{url}/v1"
        yield provider


@contextmanager
def in_thread(app: web.Application) -> Iterator[str]:
    """Run an application in a thread of its own, on a free port of this machine; yields its address."""
    loop, started = asyncio.new_event_loop(), threading.Event()
    url = ""

    async def start() -> web.AppRunner:
        nonlocal url
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def stop(runner: web.AppRunner) -> None:
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:  # of clients that were killed
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(stop(runner))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait(10)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
