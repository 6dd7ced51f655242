"""A provider that misbehaves, as a process of its own: OpenAI's chat completions, Anthropic's messages.

    python -m tests.provider_server --latency 0.05 --fault 429=0.2 --fault 500=0.05

It prints its address as one line of JSON. What it does to a request is a pure function of (seed, the body's bytes, how often
these came before), so that every client meets the same. What it answers follows from the messages alone, up to the query: a
stale answer can be told from the right one (`tests.provider_replies`). It counts as billed what it hands to the socket, also where
nobody listens any more; an answer to a body that had one before was paid twice.

    GET /stats       its counters
    POST /reset      set them to zero; a JSON object in the body changes options too
    POST /configure  change options, keep the counters

In tests: `with running(latency=0.05, faults={"429": 0.2}) as server: … server.url … server.stats()`. Other endpoints are added by
naming functions, `running(routes=("tests.batches:routes",))`: each gets the Provider, and returns {(method, path prefix): handler};
a handler is a coroutine of an aiohttp request that returns a response.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from tests.provider_behaviour import Options, Provider


async def serve(options: Options, port: int, *, until_eof: bool) -> None:
    provider = Provider(options)
    for name in options.routes:
        module, _, function = name.partition(":")
        provider.extra_routes |= getattr(importlib.import_module(module), function)(provider)
    runner = web.ServerRunner(web.Server(provider.handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1_024).start()
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}/v1"}) + "\n")
    sys.stdout.flush()
    if until_eof:
        # Whoever started it is gone, by whatever signal, when the pipe ends.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    else:
        await asyncio.Event().wait()


@dataclass(frozen=True)
class Server:
    """A running server, seen from the process that started it."""

    url: str
    """Up to and with /v1."""
    pid: int

    @property
    def environment(self) -> dict[str, str]:
        """Return what points clients here."""
        root = self.url.removesuffix("/v1")
        return {
            "OPENAI_BASE_URL": self.url,
            "OPENAI_API_BASE": self.url,
            "OPENAI_API_KEY": "sk-none",
            "ANTHROPIC_BASE_URL": root,
            "ANTHROPIC_API_BASE": root,
            "ANTHROPIC_API_KEY": "sk-none",
            "NO_PROXY": "127.0.0.1",
        }

    def stats(self) -> dict[str, Any]:
        return self._call("GET", "/stats", {})

    def reset(self, **changes: Any) -> None:
        self._call("POST", "/reset", changes)

    def configure(self, **changes: Any) -> None:
        self._call("POST", "/configure", changes)

    def _call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request(method, path, json.dumps(body) if body else None)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return answer


@contextmanager
def running(**options: Any) -> Iterator[Server]:
    """Run a server as a child process, which ends with its parent."""
    wanted = json.dumps(asdict(Options(**options)))
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.provider_server", "--until-eof", "--options", wanted],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin
    assert child.stdout
    try:
        yield Server(json.loads(child.stdout.readline())["url"], child.pid)
    finally:
        child.stdin.close()
        child.stdout.close()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=SHARE")
    parser.add_argument("--options", default="{}", help="all options, as JSON")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does")
    plain = {n: v for n, v in asdict(Options()).items() if isinstance(v, str | float | int)}
    for name, value in plain.items():
        if not isinstance(value, bool):
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(value))
    given = vars(parser.parse_args())
    options = Options(**json.loads(given["options"]))
    options = replace(options, **{n: given[n] for n in plain if given.get(n) is not None})
    shares = {name: float(share) for name, _, share in (f.partition("=") for f in given["fault"])}
    options = replace(options, faults=options.faults | shares)
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(options, given["port"], until_eof=given["until_eof"]))


if __name__ == "__main__":
    main()
