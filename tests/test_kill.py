"""`syphus generate` under SIGKILL, under faults, on a full disk: nothing is lost, nothing is paid twice that need not be.

Short by default; MIMICIT_LONG_TESTS=1 kills one run of 2,000 requests more than 30 times.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.disks import grow, limited, small_disk
from tests.generating import (
    SYPHUS,
    asked_again,
    captions,
    command,
    ledger_rows,
    records,
    start,
    unread_replies,
    without_answer,
)
from tests.provider_server import Server, running

pytestmark = pytest.mark.slow

LONG = os.environ.get("MIMICIT_LONG_TESTS") == "1"
AT_ONCE = 32
ALLOWED = 8
"""Answers that may be paid twice at a kill beyond those in flight."""
LATE = 2
"""Kills after the last answer, while records are written; then a run may end."""
KEY = "sk-planted-Zq81mVt0Lx"


@dataclass
class Killed:
    """What happened until a run that was killed again and again came to its end."""

    kills: int = 0
    in_flight: int = 0
    """Requests that were sent and whose answers the ledger did not have at the kills, in all; never more a kill than were allowed
    at once, so that answers left lying about do not count."""
    unanswered: int = 0
    """Of these, those that the server had not answered."""
    early: int = 0
    """Kills before the first request."""
    late: int = 0
    """Kills after the last answer."""
    lives: list[int] = field(default_factory=list)
    """Answers of each life."""


def finish(child: subprocess.Popen[bytes], folder: Path, seconds: float = 120) -> tuple[int, str]:
    try:
        code = child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        code = child.wait()
    return code, (folder / "stdout").read_text() + (folder / "stderr").read_text()


def generate(server: Server, annotations: Path, dataset: Path, *options: object) -> tuple[int, str]:
    folder = dataset.with_name(f"{dataset.name}.said")
    return finish(
        start(command(annotations, dataset, *options), folder, server.environment), folder
    )


def kill_until_done(
    server: Server,
    annotations: Path,
    dataset: Path,
    *,
    rows: int,
    answers: tuple[int, int],
    chance: random.Random,
) -> Killed:
    """Kill at random times, mostly after so many answers, and start again, until a life ends by itself."""
    happened = Killed()
    folder = dataset.with_name("killed.said")
    while True:
        before, unseen = server.stats(), without_answer(dataset)
        wanted = command(annotations, dataset, "--concurrency", AT_ONCE)
        child = start(wanted, folder, server.environment)
        if happened.late < LATE:
            now = wait_to_kill(server, child, before["answered"], rows, answers, chance)
            child.kill()
        # One that has ended by itself is not killed any more.
        code = child.wait(120)
        if code >= 0:
            assert code == 0, (folder / "stderr").read_text()
            return happened
        happened.kills += 1
        happened.in_flight += min(AT_ONCE, without_answer(dataset) - unseen)
        happened.unanswered += now["in_flight"]
        happened.early += now["requests"] == before["requests"] and now["answered_bodies"] < rows
        happened.late += now["answered_bodies"] == rows
        happened.lives.append(now["answered"] - before["answered"])


def wait_to_kill(
    server: Server,
    child: subprocess.Popen[bytes],
    before: int,
    rows: int,
    answers: tuple[int, int],
    chance: random.Random,
) -> dict[str, int]:
    """Return the server's counters of just before the moment to kill."""
    if chance.random() < 0.1:
        time.sleep(chance.uniform(0, 1.5))
        return server.stats()
    wanted = before + chance.randint(*answers)
    while child.poll() is None:
        stats = server.stats()
        if stats["answered"] >= wanted:
            break
        if stats["answered_bodies"] == rows:
            time.sleep(chance.uniform(0, 0.5))
            break
        time.sleep(0.005)
    return server.stats()


def test_a_run_that_is_killed_again_and_again_makes_the_records_of_one_that_was_not(tmp_path):
    rows, answers, fewest = (2_000, (5, 95), 30) if LONG else (600, (45, 90), 4)
    annotations = captions(tmp_path / "a.json", range(rows))
    with running(latency=0.05, spread=0.3) as server:
        code, said = generate(server, annotations, tmp_path / "calm", "--concurrency", AT_ONCE)
        assert code == 0, said
        server.reset()
        dataset = tmp_path / "killed"
        happened = kill_until_done(
            server, annotations, dataset, rows=rows, answers=answers, chance=random.Random(4)
        )
        stats = server.stats()
        assert happened.kills >= fewest
        assert stats["answered_bodies"] == rows
        assert stats["paid_twice"] <= happened.in_flight + ALLOWED * happened.kills, happened
        assert unread_replies(dataset) == 0
        assert asked_again(dataset) == 0
        made = records(dataset)
        assert len({identity for identity, _, _ in made}) == len(made)
        assert made == records(tmp_path / "calm")
        report(happened, stats)

        code, said = generate(server, annotations, dataset, "--concurrency", AT_ONCE)
        assert code == 0, said
        assert server.stats()["requests"] == stats["requests"], "a finished run asks nothing"


def report(happened: Killed, stats: dict[str, int]) -> None:
    sys.stdout.write(
        f"{happened.kills} kills ({happened.early} before the first request, {happened.late} after the "
        f"last answer), {happened.in_flight} requests in flight at them ({happened.unanswered} of them unanswered); {stats['answered']} answers to "
        f"{stats['answered_bodies']} requests, {stats['paid_twice']} paid twice, "
        f"{stats['dead']} sent to nobody\n"
    )


def test_all_records_arrive_through_all_faults_together(tmp_path):
    rows = 1_000 if LONG else 200
    annotations = captions(tmp_path / "a.json", range(rows))
    faults = {
        "429": 0.2,
        "500": 0.05,
        "garbage": 0.03,
        "reset": 0.02,
        "hang": 0.01,
        "truncated": 0.01,
    }
    with running(latency=0.02, faults=faults, retry_after=0.1) as server:
        code, said = generate(
            server, annotations, tmp_path / "ds", "--concurrency", AT_ONCE, "--timeout", 2
        )
        stats = server.stats()
    assert code == 0, said
    assert set(stats["faults"]) == set(faults)
    assert contexts_with_records(tmp_path / "ds") == rows
    assert stats["early_retries"] == 0


def contexts_with_records(dataset: Path) -> int:
    return len({identity.split("_")[2] for identity, _, _ in records(dataset)})


def test_two_processes_on_one_dataset_never_pay_twice(tmp_path):
    annotations = captions(tmp_path / "a.json", range(100))
    with running(latency=0.1) as server:
        dataset = tmp_path / "ds"
        first = start(
            command(annotations, dataset, "--concurrency", 8), tmp_path / "1", server.environment
        )
        while not server.stats()["requests"]:
            assert first.poll() is None, (tmp_path / "1" / "stderr").read_text()
            time.sleep(0.02)
        code, said = generate(server, annotations, dataset)
        assert code == 1
        assert "Traceback" not in said
        assert finish(first, tmp_path / "1")[0] == 0
        assert server.stats()["paid_twice"] == 0
        assert server.stats()["requests"] == 100


@pytest.mark.parametrize(
    ("wrong", "faults"), [(False, {"500": 0.3, "400": 0.1, "garbage": 0.1}), (True, {})]
)
def test_a_key_is_in_no_file_that_a_run_writes_and_in_nothing_it_says(tmp_path, wrong, faults):
    """The provider quotes the key in every error, as some do."""
    annotations = captions(tmp_path / "a.json", range(40))
    written = tmp_path / "written"
    with running(
        latency=0.01, faults=faults, quote_key=True, key="sk-another" if wrong else KEY
    ) as server:
        environment = server.environment | {
            "OPENAI_API_KEY": KEY,
            "HOME": str(written / "home"),
            "TMPDIR": str(written),
        }
        said = written / "said"
        code, _ = finish(
            start(command(annotations, written / "ds", "--concurrency", 8), said, environment), said
        )
        assert server.stats()["requests"]
    assert code == (1 if wrong else 3)
    files = [path for path in written.rglob("*") if path.is_file()]
    assert any(path.suffix == ".sqlite" for path in files)
    secret = KEY.removeprefix("sk-planted-").encode()
    assert [path for path in files if secret in path.read_bytes()] == []


def test_a_provider_that_asks_to_wait_for_an_hour_is_not_waited_for_in_silence(tmp_path):
    annotations = captions(tmp_path / "a.json", range(20))
    with running(faults={"429": 1.0}, retry_after=3_600) as server:
        folder = tmp_path / "said"
        child = start(command(annotations, tmp_path / "ds"), folder, server.environment)
        try:
            code = child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            code = None
        said = (folder / "stderr").read_text()
        assert server.stats()["early_retries"] == 0
    assert "Traceback" not in said
    assert code in (None, 1, 3)
    assert any(word in said for word in ("3,600", "3600", "hour", "1 h", "60 min")), said


@pytest.mark.skipif(not LONG, reason="mounts a file system; MIMICIT_LONG_TESTS=1 tries it")
def test_a_full_disk_ends_the_run_with_a_sentence_and_more_space_lets_it_go_on(tmp_path):
    annotations = captions(tmp_path / "a.json", range(1_000))
    with running(latency=0.01) as server, small_disk(tmp_path / "disk", 6) as disk:
        filler = disk / "filler"
        filler.write_bytes(b"\0" * (5 << 20))
        said = tmp_path / "said"
        wanted = command(annotations, disk / "ds", "--concurrency", AT_ONCE)
        code, words = finish(start(wanted, said, server.environment), said)
        assert code == 1, words
        assert "Traceback" not in words
        assert "disk" in words or "space" in words
        filler.unlink()
        grow(disk, 64)
        code, words = finish(start(wanted, said, server.environment), said)
        assert code == 0, words
        assert contexts_with_records(disk / "ds") == 1_000
        assert server.stats()["paid_twice"] <= 32 + ALLOWED


def test_files_that_may_not_grow_end_the_run_with_a_sentence(tmp_path):
    """What a quota does: a write fails in the middle of a run; afterwards it goes on."""
    annotations = captions(tmp_path / "a.json", range(300))
    with running(latency=0.01) as server:
        said, dataset = tmp_path / "said", tmp_path / "ds"
        wanted = command(annotations, dataset, "--concurrency", 16)
        code, words = finish(
            start(
                [SYPHUS[0], "-c", limited(400_000), *wanted[len(SYPHUS) :]],
                said,
                server.environment,
            ),
            said,
        )
        assert code == 1, words
        assert "Traceback" not in words
        assert words.strip()
        code, words = finish(start(wanted, said, server.environment), said)
        assert code == 0, words
        assert contexts_with_records(dataset) == 300
        assert server.stats()["paid_twice"] <= 16 + ALLOWED
        assert asked_again(dataset) == 0
        assert ledger_rows(dataset, "PRAGMA integrity_check") == [("ok",)]
