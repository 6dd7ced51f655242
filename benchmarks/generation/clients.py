"""What a request costs through the client of the direct lane (`syphus.providers.http`) and through aiohttp, and nothing else.

Both encode the same bodies, have the same number at once on the way, and decode the answers.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from statistics import median
from typing import Any

import aiohttp
import orjson
from bench import Server, bare_file, captions, in_turn, parse, running, save, workplace

from syphus.providers.http import Http

HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer sk-none"}
Post = Callable[[bytes], Awaitable[bytes]]


def main() -> None:
    options = parse(__doc__ or "")
    count, rounds = (1_000, 1) if options.quick else (4_000, 5)
    table: list[dict[str, object]] = []
    with workplace() as folder, running() as server:
        asked = orjson.loads(bare_file(captions(folder / "a.json", range(count))).read_bytes())
        for at_once, latency in ((64, 0.05), (256, 0.05), (64, 0.0)):
            clients = {
                "aiohttp": lambda n=at_once: cost(aiohttp_client, server, asked, n),
                "libcurl": lambda n=at_once: cost(curl_client, server, asked, n),
            }
            server.reset(latency=latency)
            found = in_turn(clients, rounds, middle=median)
            table += [
                {
                    "client": name,
                    "at_once": at_once,
                    "latency_ms": round(latency * 1e3),
                    "requests": count,
                    "cpu_ms": round(seconds * 1e3, 3),
                    "ratio": round(seconds / found["aiohttp"], 2),
                }
                for name, seconds in found.items()
            ]
    save("generation_clients", table)


def cost(client: Any, server: Server, asked: dict[str, Any], at_once: int) -> float:
    """Return the seconds of processor time that a request takes."""
    url = f"{server.url}/chat/completions"
    bodies = iter(
        [
            {
                "model": asked["model"],
                "messages": [*asked["prefix"], {"role": "user", "content": query}],
                **asked["parameters"],
            }
            for query in asked["queries"]
        ]
    )
    count = len(asked["queries"])

    async def run() -> float:
        async with client(url) as post:
            started = time.process_time()
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(worker(post, bodies))
            return (time.process_time() - started) / count

    return asyncio.run(run())


async def worker(post: Post, bodies: Iterator[Any]) -> None:
    for body in bodies:
        if not orjson.loads(await post(orjson.dumps(body)))["choices"]:
            sys.exit("an answer without a choice")


@asynccontextmanager
async def aiohttp_client(url: str) -> Any:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:

        async def post(data: bytes) -> bytes:
            async with session.post(url, data=data) as response:
                return await response.read()

        yield post


@asynccontextmanager
async def curl_client(url: str) -> Any:
    async with Http(url, HEADERS, timeout=600.0) as http:

        async def post(data: bytes) -> bytes:
            return (await http.post(data)).content

        yield post


if __name__ == "__main__":
    main()
