"""Downloads, from a server of this machine that misbehaves in every way that servers do."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from mimicit.errors import PictureError
from mimicit.sources import download, source_named
from mimicit.sources.converting import ConvertOptions, convert
from mimicit.sources.download import Downloads, StoppedError
from tests.mimicit.sources.test_converting import photo, rows
from tests.server import drip, hang_up, in_thread

PICTURE = photo()


@dataclass
class Host:
    url: str = ""
    asked: Counter = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    at_once: int = 0
    most_at_once: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        before = self.asked[name]
        self.asked[name] += 1
        self.times.append(time.monotonic())
        self.agents.add(request.headers.get("User-Agent", ""))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            return await self.behave(name, before, request)
        finally:
            self.at_once -= 1

    async def behave(self, name: str, before: int, request: web.Request) -> web.StreamResponse:
        kind = name.partition(".")[0].rstrip("0123456789")
        if kind == "gone":
            return web.Response(status=404)
        if kind == "busy" and before < 2:
            return web.Response(status=503)
        if kind == "limited" and before == 0:
            return web.Response(status=429, headers={"Retry-After": "1"})
        if kind == "never":
            return web.Response(status=500)
        if kind == "page":
            return web.Response(text="<html>no picture here</html>", content_type="text/html")
        if kind == "drip":
            return await drip(0.1)(request)
        if kind == "silent":
            await asyncio.sleep(30)
        if kind == "reset" and before == 0:
            return await hang_up(PICTURE[:100])(request)
        if kind == "moved":
            raise web.HTTPFound("/ok.jpg")
        if kind == "removed":
            raise web.HTTPFound("/photo_unavailable.png")
        if kind == "file":
            raise web.HTTPFound("file:///etc/passwd")
        if kind == "circle":
            raise web.HTTPFound(f"/{name}")
        if kind == "cut":
            return web.Response(body=PICTURE[: len(PICTURE) // 2])
        if kind == "endless":
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(200):
                await response.write(bytes(1 << 20))
            return response
        if kind == "slow":
            await asyncio.sleep(0.2)
        return web.Response(body=PICTURE)


@pytest.fixture
def host(monkeypatch) -> Iterator[Host]:
    monkeypatch.setattr(download, "BACKOFF", 0.02)
    host = Host()
    app = web.Application()
    app.router.add_get("/{name}", host.answer)
    with in_thread(app) as host.url:
        yield host


@pytest.mark.parametrize(
    ("name", "tries"), [("ok.jpg", 1), ("busy.jpg", 3), ("reset.jpg", 2), ("moved.jpg", 1)]
)
def test_what_passes_is_tried_again(host, name, tries):
    assert Downloads(0.0, 5.0).get(f"{host.url}/{name}") == PICTURE
    assert host.asked[name] == tries


@pytest.mark.parametrize(
    ("name", "tries", "said"),
    [
        ("gone.jpg", 1, "status 404"),
        ("never.jpg", 4, "status 500, 4 times"),
        ("drip.jpg", 4, "does not answer in 0.3 s, 4 times"),
        ("silent.jpg", 4, "does not answer in 0.3 s, 4 times"),
        ("removed.jpg", 1, "no longer there"),
        ("file.jpg", 1, "not http or https"),
        ("circle.jpg", 6, "redirected too often"),
    ],
)
def test_what_does_not_pass_is_a_sentence(host, name, tries, said):
    with pytest.raises(PictureError, match=said):
        Downloads(0.0, 0.3).get(f"{host.url}/{name}")
    assert host.asked[name] == tries


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://h/a.jpg", "//h/a.jpg", "x", "http://[::"]
)
def test_other_addresses_are_not_asked(url):
    with pytest.raises(PictureError, match="not an http or https address"):
        Downloads().get(url)


def test_an_endless_answer_is_cut(host, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 3 << 20)
    with pytest.raises(PictureError, match="larger than 3 MiB"):
        Downloads(0.0, 10.0).get(f"{host.url}/endless.jpg")


def test_a_host_that_nobody_runs_is_a_sentence(monkeypatch):
    monkeypatch.setattr(download, "BACKOFF", 0.01)
    with pytest.raises(PictureError, match="cannot be fetched"):
        Downloads(0.0, 1.0).get("http://127.0.0.1:9/a.jpg")


def test_a_host_is_left_alone_for_as_long_as_it_says(host):
    downloads = Downloads(0.0, 5.0)
    assert downloads.get(f"{host.url}/limited.jpg") == PICTURE
    assert host.times[1] - host.times[0] >= 0.95


def test_all_threads_together_ask_a_host_once_in_so_many_seconds(host):
    downloads = Downloads(0.1, 5.0)
    threads = [
        threading.Thread(target=downloads.get, args=(f"{host.url}/ok{n}.jpg",)) for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gaps = [after - before for before, after in zip(host.times, host.times[1:], strict=False)]
    assert host.times[-1] - host.times[0] >= 0.45
    assert min(gaps) > 0.02
    assert [agent.partition("/")[0] for agent in host.agents] == ["syphus-convert"]


def test_who_waits_for_nothing_stops(host):
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    started = time.monotonic()
    with pytest.raises(StoppedError):
        Downloads(0.0, 30.0, stop).get(f"{host.url}/silent.jpg")
    assert time.monotonic() - started < 5


def stories(path: Path, photos: list[dict]) -> Path:
    path.write_text(json.dumps({"albums": [], "annotations": [], "images": photos}))
    return path


def test_photos_of_stories_are_downloaded_once(host, store, tmp_path):
    names = ["ok1", "gone1", "page", "slow1", "cut", "slow2", "ok2"]
    path = stories(
        tmp_path / "train.story-in-sequence.json",
        [
            *({"id": name, "url_o": f"{host.url}/{name}.jpg"} for name in names),
            {"id": "second", "url_o": f"{host.url}/gone2.jpg", "url_m": f"{host.url}/ok3.jpg"},
        ],
    )
    options = ConvertOptions(delay=0.0, timeout=5.0)
    done = convert(source_named("vst"), path, store, options)
    assert [row["id"] for row in rows(store)] == [
        f"VST_IMG_{name}" for name in ("ok1", "slow1", "slow2", "ok2", "second")
    ]
    assert rows(store)[-1]["source"] == f"{host.url}/ok3.jpg"
    assert [row.where for row in done.bad] == ["gone1", "page", "cut"]
    assert "status 404" in done.bad[0].reason
    assert "not a picture" in done.bad[1].reason
    assert "cannot be decoded" in done.bad[2].reason
    assert host.most_at_once > 1
    again = convert(source_named("vst"), path, store, options)
    assert (again.images, again.known) == (0, 5)
    assert (host.asked["ok1.jpg"], host.asked["gone1.jpg"]) == (1, 2)


def test_a_row_names_its_own_address_when_none_can_be_asked(store, tmp_path):
    path = stories(tmp_path / "a.json", [{"id": "1", "url_o": "file:///etc/passwd"}])
    done = convert(source_named("vst"), path, store)
    assert [row.where for row in done.bad] == ["1"]
    assert "not an http or https address" in done.bad[0].reason
