"""No network but this machine, no key, no spending; a store and photographs for whoever asks."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mimicit.store import Store

ROOT = Path(__file__).parent.parent
PHOTOS = ROOT / "examples" / "photos"

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def no_network(monkeypatch, request):
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test reached for {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
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
