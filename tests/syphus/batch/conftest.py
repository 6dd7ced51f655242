"""A provider of each kind, and runs over one ledger."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from syphus.batch import BatchLane
from syphus.ledger import Ledger
from tests.syphus.batch.running import PROMPT, make, passes
from tests.syphus.batch.server import KEY, Provider, serve

MODELS = {"openai": "openai/gpt-4o-mini", "anthropic": "anthropic/claude-haiku-4-5"}
ROOT = Path(__file__).parents[3]


@dataclass
class World:
    """A provider, a dataset's ledger, and the runs of a test."""

    provider: Provider
    model: str
    folder: Path
    waits: list[float] = field(default_factory=list)
    states: list = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.folder / "ledger.sqlite"

    def requests(self, count: int, text: str = "") -> list:
        return [make(number, self.model, text) for number in range(count)]

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)

    @contextmanager
    def lane(self, **options: object) -> Iterator[tuple[BatchLane, Ledger]]:
        self.folder.mkdir(exist_ok=True)
        with Ledger(self.path) as ledger:
            run = ledger.start_run(task="la_conversation", model=self.model, arguments=[])
            ledger.add_prompt(PROMPT)
            options = {"sleep": self.sleep, "progress": self.states.append, **options}
            with BatchLane(self.model, ledger, run, self.folder, **options) as lane:
                yield lane, ledger

    def run(self, requests: list, tries: int = 3, **options: object):
        """Run to the end; return what each `settle` said, and the errors of requests."""
        with self.lane(**options) as (lane, ledger):
            return asyncio.run(passes(lane, ledger, requests, tries))

    def start(self, count: int, *killed_at: str) -> subprocess.Popen:
        """Start a run in a process of its own."""
        self.folder.mkdir(exist_ok=True)
        code = "import sys; from tests.syphus.batch.running import main; main(*sys.argv[1:])"
        arguments = [sys.executable, "-c", code, self.path, self.model, str(count), *killed_at]
        return subprocess.Popen(
            arguments, cwd=ROOT, env=dict(os.environ), stderr=subprocess.PIPE, text=True
        )

    def kill_while_it_waits(self, count: int) -> None:
        """Start a run, and kill it when the server keeps one of its requests waiting."""
        child = self.start(count)
        try:
            deadline = time.monotonic() + 60
            while not self.provider.held.wait(0.05):
                assert child.poll() is None, child.communicate()[1]
                assert time.monotonic() < deadline, "the run never came to this point"
        finally:
            child.kill()
            child.communicate(timeout=10)

    def rows(self, sql: str) -> list:
        with Ledger(self.path) as ledger:
            return ledger.rows(sql)

    def events(self) -> list[str]:
        return [event for (event,) in self.rows("SELECT event FROM batch_events ORDER BY rowid")]

    def check_each_was_asked_once(self, requests: list) -> None:
        """Each request was submitted once, and has one reply; none is counted as lost."""
        keys = {request.key for request in requests}
        assert self.provider.asked.keys() == keys
        assert set(self.provider.asked.values()) == {1}
        replies = self.rows("SELECT request, count(*) FROM replies GROUP BY 1")
        assert dict(replies) == dict.fromkeys(keys, 1)
        with Ledger(self.path) as ledger:
            assert ledger.counts()["in_flight"] == 0


@pytest.fixture
def make_world(tmp_path, monkeypatch) -> Iterator[Callable[[str], World]]:
    with serve(Provider()) as provider:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", provider.url.removesuffix("/v1"))
        for name in ("OPENAI_API_BASE", "ANTHROPIC_API_BASE"):
            monkeypatch.delenv(name, raising=False)
        yield lambda kind: World(provider, MODELS[kind], tmp_path / "ledger")


@pytest.fixture(params=["openai", "anthropic"])
def world(request, make_world) -> World:
    return make_world(request.param)


@pytest.fixture
def openai(make_world) -> World:
    return make_world("openai")


@pytest.fixture
def anthropic(make_world) -> World:
    return make_world("anthropic")
