"""What ends a conversion is one sentence; what was stored before stays, and the same command goes on from there."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mimicit.commands.convert import convert as command
from mimicit.errors import DatasetError, FormatError
from mimicit.parts import parts_of
from mimicit.shards import ShardWriter
from mimicit.sources import base, converting
from mimicit.store import Store
from tests.disks import grow, limited, small_disk
from tests.mimicit.sources.test_converting import photo, rows, run

LONG = os.environ.get("MIMICIT_LONG_TESTS") == "1"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "in"
    path.mkdir()
    for number in range(12):
        (path / f"{number}.jpg").write_bytes(photo((64, 40 + number)))
    return path


def broken(monkeypatch, code: int, *, after: int) -> None:
    """Let the writing of shards fail when so many have been finished."""
    real, finished = ShardWriter.close, []

    def close(writer: ShardWriter) -> None:
        if len(finished) >= after:
            raise OSError(code, os.strerror(code))
        real(writer)
        finished.append(writer)

    monkeypatch.setattr(ShardWriter, "close", close)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_whole_shards_and_is_gone_on_from(store, folder, monkeypatch, code):
    monkeypatch.setattr(converting, "SHARD_BYTES", 4_000)
    with monkeypatch.context() as failing:
        broken(failing, code, after=2)
        with pytest.raises(DatasetError) as said:
            run(store, "la", folder)
    kept = [row["id"] for row in rows(store)]
    assert 0 < len(kept) < 12
    assert f"the disk of the dataset folder {str(store.path)!r} is full" in str(said.value)
    assert f"{len(kept)} new pictures are stored: free some space" in str(said.value)
    assert "the same command again" in str(said.value)
    assert not list(store.path.glob("images/.*"))
    done = run(Store.open(store.path), "la", folder)
    assert (done.known, done.images) == (len(kept), 12 - len(kept))
    assert [row["id"] for row in rows(store)] == [f"LA_IMG_{number}" for number in range(12)]


def test_a_folder_that_becomes_read_only_is_a_sentence(store, folder, monkeypatch):
    broken(monkeypatch, errno.EROFS, after=0)
    with pytest.raises(DatasetError, match=r"cannot be written \(Read-only file system\)"):
        run(store, "la", folder)
    assert rows(store) == []


def test_a_dataset_folder_that_cannot_be_made_is_a_sentence(folder, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    app = typer.Typer()
    app.callback()(lambda: None)
    app.command()(command)
    result = CliRunner().invoke(
        app, ["convert", "la", str(folder), "-d", str(tmp_path / "file" / "ds")]
    )
    assert isinstance(result.exception, DatasetError)
    assert "cannot be written (Not a directory)" in str(result.exception)


def convert(folder, dataset, python: str) -> subprocess.CompletedProcess[str]:
    wanted = ["data", "convert", "la", str(folder), "-d", str(dataset)]
    return subprocess.run(
        [sys.executable, "-c", python, *wanted], capture_output=True, text=True, timeout=120
    )


PLAIN = "from syphus.cli import main; main()"


def test_files_that_may_not_grow_end_it_with_a_sentence(folder, tmp_path):
    """What a quota does; here nothing is replaced by the test."""
    ended = convert(folder, tmp_path / "ds", limited(4_000))
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "cannot be written" in ended.stderr
    assert "nothing was added to it" in ended.stderr
    assert not list(tmp_path.glob("ds/images/*"))
    assert rows(Store.open(tmp_path / "ds")) == []
    assert convert(folder, tmp_path / "ds", PLAIN).returncode == 0
    assert len(rows(Store.open(tmp_path / "ds"))) == 12


@pytest.mark.skipif(not LONG, reason="mounts a file system; MIMICIT_LONG_TESTS=1 tries it")
def test_a_disk_that_is_full_and_one_that_is_read_only(folder, tmp_path):
    for number in range(12, 400):
        (folder / f"{number}.jpg").write_bytes(photo((200, 150), quality=95))
    with small_disk(tmp_path / "disk", 1) as disk:
        ended = convert(folder, disk / "ds", PLAIN)
        assert ended.returncode == 1, ended.stderr
        assert "Traceback" not in ended.stderr
        assert "is full (No space left on device)" in ended.stderr
        assert not list(disk.glob("ds/images/*")) + list(disk.glob("ds/images/.*"))
        grow(disk, 64)
        assert convert(folder, disk / "ds", PLAIN).returncode == 0
        assert len(rows(Store.open(disk / "ds"))) == 400
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for name in ("ds", "other"):
            ended = convert(folder, disk / name, PLAIN)
            assert ended.returncode == 1, ended.stderr
            assert "cannot be written (Read-only file system)" in ended.stderr


def forbidden(monkeypatch, *names: str) -> None:
    """Let folders of these names not be read. (Root may read all, so taking rights away shows nothing.)"""
    real = os.scandir

    def scandir(path):
        if Path(path).name in names:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(base.os, "scandir", scandir)


@pytest.mark.parametrize("source", ["la", "sd", "sn", "dc", "tvc", "folder", "videos"])
def test_a_source_folder_that_cannot_be_read_is_a_sentence(store, folder, monkeypatch, source):
    forbidden(monkeypatch, "in")
    with pytest.raises(FormatError) as said:
        run(store, source, folder)
    assert f"{str(folder)!r} cannot be read (Permission denied)" in str(said.value)
    assert "the same command again" in str(said.value)
    assert parts_of(store.path / "images") == []


def test_a_folder_within_that_cannot_be_read_is_listed(store, tmp_path, monkeypatch):
    for show in ("castle", "met"):
        clip = tmp_path / "in" / f"{show}_frames" / f"{show}_s01e01_seg02_clip_00"
        clip.mkdir(parents=True)
        (clip / "00001.jpg").write_bytes(photo())
    forbidden(monkeypatch, "castle_frames")
    done = run(store, "tvc", tmp_path / "in")
    assert [(row.where, row.reason) for row in done.bad] == [
        ("castle_frames", "the folder cannot be read: Permission denied")
    ]
    assert done.images == 1


def test_a_list_that_cannot_be_read_to_its_end_keeps_what_came_before(store, folder):
    def find(path, options):
        yield base.Still("LA_IMG_0", folder, "0.jpg", "0")
        raise OSError(errno.EIO, "Input/output error", "names.txt")

    source = type("Source", (), {"NAME": "la", "TITLE": "", "find": staticmethod(find)})()
    with pytest.raises(FormatError, match=r"'names.txt' cannot be read \(Input/output error\)"):
        converting.convert(source, folder, store)
    assert [row["id"] for row in rows(store)] == ["LA_IMG_0"]
