"""The bare loop: C workers over one aiohttp session, orjson both ways, and nothing else. No retries, nothing kept on disk."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import aiohttp
import orjson


async def ask(url: str, asked: dict[str, Any], at_once: int) -> tuple[list[str], int]:
    """Return the answers' texts, and how many requests brought none."""
    texts, lost = [], 0
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-none"}
    queries = iter(asked["queries"])
    connector = aiohttp.TCPConnector(limit=at_once)

    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def worker() -> None:
            nonlocal lost
            for query in queries:
                messages = [*asked["prefix"], {"role": "user", "content": query}]
                body = {"model": asked["model"], "messages": messages, **asked["parameters"]}
                async with session.post(url, data=orjson.dumps(body)) as response:
                    reply = orjson.loads(await response.read())
                if response.status == 200:
                    texts.append(reply["choices"][0]["message"]["content"])
                else:
                    lost += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())
    return texts, lost


def main() -> None:
    base, asked, at_once = sys.argv[1:]
    content = orjson.loads(Path(asked).read_bytes())
    texts, lost = asyncio.run(ask(f"{base}/chat/completions", content, int(at_once)))
    usable = sum(text.startswith(("{", "Question:")) for text in texts)
    sys.stdout.write(orjson.dumps({"usable": usable, "lost": lost}).decode())


if __name__ == "__main__":
    main()
