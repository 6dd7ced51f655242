"""Imports on a disk that fills up, at every stage: a sentence, what was finished is kept, and with more space the same command goes on.

MIMICIT_LONG_TESTS=1 mounts small disks; the short form has files that may not grow, which a quota does.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mimicit.store import Store
from tests.disks import grow, limited, small_disk

RECORDS = 6_000
UNLIMITED = "from syphus.cli import main; main()"
LONG = os.environ.get("MIMICIT_LONG_TESTS") == "1"


@pytest.fixture
def source(tmp_path, photos) -> Path:
    """A folder as MIMIC-IT is published: records, and pictures of 3 MB in four files."""
    folder = tmp_path / "LA"
    folder.mkdir()
    paths = sorted(photos.iterdir())[:16]
    ids = [f"LA_IMG_{n:012d}" for n in range(len(paths))]
    for n in range(4):
        encoded = {
            id_: base64.b64encode(path.read_bytes()).decode()
            for id_, path in list(zip(ids, paths, strict=True))[n::4]
        }
        (folder / f"LA{n:02d}.json").write_text(json.dumps(encoded))
    data = {
        f"LACONV_INS_{n:012d}": {
            "instruction": f"What is thing {n}?",
            "answer": f"It is the thing {n * 2654435761 % 2**32:x} beside {n * 40503 % 2**31:x}.",
            "image_ids": [ids[n % len(ids)]],
            "rel_ins_ids": [],
        }
        for n in range(RECORDS)
    }
    (folder / "LACONV_instructions.json").write_text(json.dumps({"meta": {}, "data": data}))
    return folder


def syphus(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def check_failed(ran: subprocess.CompletedProcess[str], dataset: Path) -> None:
    """It says so in a sentence, and what is there can be read."""
    assert ran.returncode == 1, ran.stderr
    said = ran.stderr.strip().splitlines()[-1]
    assert said.startswith("syphus: "), ran.stderr
    assert "Traceback" not in ran.stderr
    assert "what was finished before is kept" in said or "nothing is lost" in said
    assert not list(dataset.rglob("*.staged"))


def check_goes_on(source: Path, dataset: Path) -> None:
    """The same command brings in what is left; nothing is there twice, and nothing is wrong."""
    ran = syphus(UNLIMITED, "data", "import", source, "-d", dataset)
    assert ran.returncode == 0, ran.stderr
    store = Store.open(dataset)
    with store.reading() as connection:
        counts = [
            connection.sql(f"SELECT count(*), count(DISTINCT id) FROM {table}").fetchall()[0]
            for table in ("instructions", "images")
        ]
    assert counts == [(RECORDS, RECORDS), (16, 16)]
    checked = syphus(UNLIMITED, "data", "validate", "-d", dataset)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("most", [50_000, 200_000, 700_000])
def test_files_that_may_not_grow(tmp_path, source, most):
    dataset = tmp_path / "ds"
    check_failed(syphus(limited(most), "data", "import", source, "-d", dataset), dataset)
    check_goes_on(source, dataset)


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="mounts a file system; MIMICIT_LONG_TESTS=1 tries it")
def test_a_disk_that_is_full_at_any_stage(tmp_path, source):
    wanted, failed = ("data", "import", source, "-d"), 0
    for tenths in range(5, 150, 5):
        with small_disk(tmp_path / f"disk{tenths}", 16) as disk:
            (disk / "filler").write_bytes(b"\0" * ((16 << 20) - tenths * 100_000))
            ran = syphus(UNLIMITED, *wanted, disk / "ds")
            if ran.returncode == 0:
                break
            failed += 1
            check_failed(ran, disk / "ds")
            assert "No space left on device" in ran.stderr.replace("no space", "No space")
            grow(disk, 64)
            check_goes_on(source, disk / "ds")
    assert failed > 5
