"""No network but this machine, no key, no spending; a store and photographs for whoever asks."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mimicit.store import Store
from syphus.providers.http import Http

ROOT = Path(__file__).parent.parent
PHOTOS = ROOT / "examples" / "photos"
HERE = ("127.0.0.1", "::1", "localhost")

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def no_network(monkeypatch, request):
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family != socket.AF_UNIX and address[0] not in HERE:
            raise AssertionError(f"a test reached for {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)

    post = Http.post

    async def guarded_post(self, data, *, url=None, more=None):
        """Guard what libcurl opens, which Python does not see."""
        if urlsplit(self._proxy or url or self._address).hostname not in (*HERE, None):
            raise AssertionError(f"a test reached for {url or self._address}")
        return await post(self, data, url=url, more=more)

    monkeypatch.setattr(Http, "post", guarded_post)
    for name in list(os.environ):
        if name.endswith("_API_KEY"):
            monkeypatch.delenv(name)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "ds", create=True)


@pytest.fixture(scope="session")
def photos() -> Path:
    folder = PHOTOS / "images"
    if not (folder / "chelsea.png").exists():
        pytest.fail("the photographs are missing; run: python examples/photos/fetch.py")
    return folder


@pytest.fixture(scope="module")
def browser():
    """Start the Chromium of this machine, headless; not longer than a module: Playwright has an event loop running meanwhile."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no Chromium")
    options = [
        "--no-sandbox",
        "--disable-quic",
        "--disable-background-networking",
        "--no-first-run",
    ]
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=program, args=options)
        yield found
        found.close()
