"""The ledger: what is on disk when, and what is found again."""

import asyncio
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from syphus.errors import RateLimitError
from syphus.ledger import GROUP, Ledger, Reading
from syphus.request import Completion, Message, Prompt, Request, Sampling

PROMPT = Prompt("t", 1, (Message("system", "Be brief."),))
COMPLETION = Completion(
    "Yes.", "stop", "m-1", 10, 2, cached_tokens=8, cost_usd=0.5, reasoning_tokens=1
)


def request(n: int, context: str | None = None) -> Request:
    return Request(context or f"c{n}", "m", PROMPT, f"What is {n}?", Sampling(seed=0))


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        opened.add_prompt(PROMPT)
        yield opened


def on_disk(ledger: Ledger, table: str) -> int:
    """Count the rows that another process would see now."""
    with sqlite3.connect(f"file:{ledger.path}?mode=ro", uri=True) as other:
        return other.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_a_request_is_on_disk_before_it_is_sent_and_a_reply_before_it_is_read(ledger):
    async def ask(n: int) -> tuple[int, int]:
        sent = ledger.note_sent(request(n), "run")
        await ledger.committed()
        before = on_disk(ledger, "sent")
        ledger.note_reply(sent, request(n), "run", COMPLETION, 0.1)
        await ledger.committed()
        return before, on_disk(ledger, "replies")

    async def several() -> list[tuple[int, int]]:
        return await asyncio.gather(*(ask(n) for n in range(20)))

    for number, (sent, replies) in enumerate(asyncio.run(several()), start=1):
        assert sent >= number
        assert replies >= number


def test_what_is_written_in_one_turn_is_one_commit(ledger):
    seen = []

    async def ask(n: int) -> None:
        ledger.note_sent(request(n), "run")
        await ledger.committed()
        seen.append(ledger._commits)

    async def several() -> None:
        await asyncio.gather(*(ask(n) for n in range(50)))

    before = ledger._commits
    asyncio.run(several())
    assert set(seen) == {before + 1}


def test_no_more_replies_than_a_group_wait_for_a_commit(ledger):
    for n in range(GROUP * 2 + 1):
        sent = ledger.note_sent(request(n), "run")
        ledger.note_reply(sent, request(n), "run", COMPLETION, 0.1)
    assert on_disk(ledger, "replies") == GROUP * 2


def test_a_killed_process_leaves_every_reply_that_it_was_told_of(tmp_path):
    """It kills itself right after the wait for the commit."""
    code = f"""
        import asyncio, os, signal
        from pathlib import Path
        from syphus.ledger import Ledger
        from tests.syphus.test_ledger import COMPLETION, request

        async def main():
            ledger = Ledger(Path({str(tmp_path / "l.sqlite")!r}))
            for n in range(7):
                sent = ledger.note_sent(request(n), "run")
                await ledger.committed()
                if n == 6:
                    os.kill(os.getpid(), signal.SIGKILL)
                ledger.note_reply(sent, request(n), "run", COMPLETION, 0.1)
                await ledger.committed()

        asyncio.run(main())
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert ran.returncode == -9
    with Ledger(tmp_path / "l.sqlite", read_only=True) as left:
        assert left.counts() == {"requests": 7, "replies": 6, "in_batches": 0, "in_flight": 1}


def test_a_reply_that_was_read_for_one_context_is_unread_for_another(ledger):
    first, twin = request(1, "a"), request(1, "b")
    assert first.key == twin.key
    reply = ledger.reply(ledger.send(first, "run"), first, "run", COMPLETION, 0.1)
    ledger.read([Reading(reply.id, 3, context="a")])
    found = ledger.answers([first, twin, request(2)])
    assert [one and one.pairs for one in found] == [3, None, None]
    assert found[1].text == "Yes."
    assert found == [
        *(ledger.find([first.key], context)[first.key] for context in ("a", "b")),
        None,
    ]


def test_a_problem_is_a_problem_for_every_context(ledger):
    reply = ledger.reply(ledger.send(request(1, "a"), "run"), request(1), "run", COMPLETION, 0.1)
    ledger.read([Reading(reply.id, None, "nothing in it", context="a")])
    [found] = ledger.answers([request(1, "b")])
    assert found.problem == "nothing in it"


def test_the_newest_reply_counts_and_many_keys_are_looked_up(ledger):
    for n in range(600):
        for text in ("old", "new"):
            sent = ledger.note_sent(request(n), "run")
            ledger.note_reply(sent, request(n), "run", Completion(text, "stop", "m", 1, 1), 0.1)
    found = ledger.answers([request(n) for n in range(700)])
    assert [reply.text for reply in found[:600]] == ["new"] * 600
    assert found[600:] == [None] * 100
    assert len(ledger.answered([request(n).key for n in range(590, 610)])) == 10


def test_tokens_kinds_of_failures_and_spending_are_kept(ledger):
    sent = ledger.send_many([request(1), request(2)], "run")
    ledger.reply(sent[0], request(1), "run", COMPLETION, 0.1, batch="b1")
    ledger.fail(sent[1], request(2), "run", RateLimitError("slow down"))
    assert ledger.rows("SELECT cached_tokens, reasoning_tokens, batch FROM replies") == [
        (8, 1, "b1")
    ]
    assert ledger.rows("SELECT kind, message FROM failures") == [("rate_limit", "slow down")]
    assert (ledger.spent("t"), ledger.spent("other")) == (0.5, 0.0)
    assert ledger.counts()["in_flight"] == 0


def test_a_ledger_of_an_earlier_version_goes_on(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(
            "CREATE TABLE requests (key TEXT, run TEXT, prompt TEXT, model TEXT, context TEXT, query TEXT, parameters TEXT, sample INTEGER, time REAL);"
            "CREATE TABLE sent (id INTEGER PRIMARY KEY, request TEXT, run TEXT, time REAL);"
            "CREATE INDEX sent_by_request ON sent (request);"
            "CREATE TABLE replies (id INTEGER PRIMARY KEY, sent INTEGER, request TEXT, run TEXT, model TEXT, text TEXT, finish_reason TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, cached_tokens INTEGER, cost_usd REAL, seconds REAL, time REAL);"
            "CREATE TABLE readings (reply INTEGER, pairs INTEGER, problem TEXT, time REAL);"
            f"INSERT INTO requests VALUES ('{request(1).key}', 'r', 'p', 'm', 'c1', 'q', '{{}}', 0, 1.0);"
            f"INSERT INTO sent VALUES (1, '{request(1).key}', 'r', 1.0);"
            f"INSERT INTO replies VALUES (1, 1, '{request(1).key}', 'r', 'm', 'Yes.', 'stop', 1, 1, 0, 0.1, 1.0, 1.0);"
            "INSERT INTO readings VALUES (1, 4, NULL, 1.0);"
        )
    old.close()
    with Ledger(path, read_only=True) as before:
        assert before.find([request(1).key], "c1")[request(1).key].pairs == 4
    with Ledger(path) as ledger:
        [known, new] = ledger.answers([request(1), request(2)])
        assert (known.pairs, new) == (4, None)
        sent = ledger.send(request(2), "r2")
        ledger.reply(sent, request(2), "r2", COMPLETION, 0.1)
        assert ledger.counts() == {"requests": 2, "replies": 2, "in_batches": 0, "in_flight": 0}


def test_half_a_character_and_huge_counts_can_be_stored(ledger):
    odd = Completion("half \ud800", "stop", "m", 2**70, 1)
    reply = ledger.reply(ledger.send(request(1), "run"), request(1), "run", odd, 0.1)
    assert reply.text == "half \ufffd"
    assert ledger.rows("SELECT text, prompt_tokens FROM replies") == [("half \ufffd", 2**63 - 1)]
