"""The ledger: what is on disk when, and what is found again."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from mimicit.ledger_files import open_ledger, path_of
from syphus.errors import RateLimitError
from syphus.ledger import COMMIT_ROWS, Ledger, Reading
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


def seen_by_others(ledger: Ledger, table: str) -> int:
    """Count the rows that another process would see now, beside the writer."""
    with open_ledger(ledger.path) as other:
        return other.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def left_by_a_killed_process(folder, code: str):
    """Run code that has a ledger, and kills itself; return the ledger's file."""
    path = folder / "l.sqlite"
    start = f"""
import asyncio, os, signal
from pathlib import Path
from syphus.ledger import Ledger
from tests.syphus.test_ledger import COMPLETION, request

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def answered(n):
    sent = ledger.send(request(n), "run")
    return ledger.reply(sent, request(n), "run", COMPLETION, 0.1)

ledger = Ledger(Path({str(path)!r}))
"""
    ran = subprocess.run([sys.executable, "-c", start + textwrap.dedent(code)], check=False)
    assert ran.returncode == -signal.SIGKILL
    return path


def test_a_killed_process_leaves_every_request_and_reply(tmp_path):
    path = left_by_a_killed_process(
        tmp_path,
        """
        for n in range(700):
            answered(n)
        ledger.send(request(700), "run")
        die()
        """,
    )
    before = path_of(path).stat().st_size
    with Ledger(path, read_only=True) as left:
        assert left.counts() == {"requests": 701, "replies": 700, "in_batches": 0, "in_flight": 1}
        [reply] = left.answers([request(650)])
    assert before > path_of(path).stat().st_size == 0
    with Ledger(path) as ledger:
        assert ledger.answers([request(650)]) == [reply]
        sent = ledger.send(request(701), "run")
        assert sent == 702
        assert ledger.reply(sent, request(701), "run", COMPLETION, 0.1).id == 701


def test_what_was_noted_for_one_commit_is_there_as_a_whole_or_not_at_all(tmp_path):
    path = left_by_a_killed_process(
        tmp_path,
        """
        for n in range(3):
            ledger.note_sent(request(n), "run")
        answered(3)
        die()
        """,
    )
    with Ledger(path) as ledger:
        assert ledger.rows("SELECT id FROM sent") == [(4,)]
        assert ledger.answered([request(n).key for n in range(4)]) == {request(3).key}


def test_a_process_that_is_killed_between_commit_and_cleaning_up_leaves_nothing_twice(tmp_path):
    path = left_by_a_killed_process(
        tmp_path,
        """
        for n in range(5):
            answered(n)
        ledger.fail(ledger.send(request(5), "run"), request(5), "run", ValueError("no"))
        ledger._journal.clear = die
        ledger.commit()
        """,
    )
    for _ in range(2):
        with Ledger(path) as ledger:
            assert ledger.counts() == {
                "requests": 6,
                "replies": 5,
                "in_batches": 0,
                "in_flight": 0,
            }


def test_others_see_what_is_written_within_a_second_or_some_hundred_rows(ledger, monkeypatch):
    monkeypatch.setattr("syphus.ledger.COMMIT_SECONDS", 0.02)

    async def wait() -> None:
        ledger.send(request(1), "run")
        assert seen_by_others(ledger, "sent") == 0
        await asyncio.sleep(0.1)
        assert seen_by_others(ledger, "sent") == 1

    asyncio.run(wait())
    for n in range(COMMIT_ROWS):
        ledger.send(request(n), "run")
    assert seen_by_others(ledger, "sent") > COMMIT_ROWS / 2
    ledger.commit()
    assert seen_by_others(ledger, "sent") == COMMIT_ROWS + 1


def test_a_commit_that_fails_loses_nothing(ledger, monkeypatch):
    """The disk is full when SQLite commits, and has room again after that."""
    first = ledger.send(request(1), "run")
    real = ledger._do

    def full(sql, *values):
        if sql == "COMMIT":
            raise sqlite3.OperationalError("database or disk is full")
        return real(sql, *values)

    monkeypatch.setattr(ledger, "_do", full)
    with pytest.raises(sqlite3.OperationalError):
        ledger.commit()
    monkeypatch.setattr(ledger, "_do", real)
    second = ledger.send(request(2), "run")
    assert second == first + 1
    ledger.commit()
    assert ledger.rows("SELECT id, request FROM sent ORDER BY id") == [
        (first, request(1).key),
        (second, request(2).key),
    ]


def test_a_run_that_ends_because_no_commit_works_leaves_everything_to_the_next(tmp_path):
    ledger = Ledger(tmp_path / "l.sqlite")
    real = ledger._do

    def full(sql, *values):
        if sql == "COMMIT":
            raise sqlite3.OperationalError("database or disk is full")
        return real(sql, *values)

    ledger._do = full
    replies = []
    for n in range(3):
        sent = ledger.send(request(n), "run")
        replies.append(ledger.reply(sent, request(n), "run", COMPLETION, 0.1))
        with pytest.raises(sqlite3.OperationalError):
            ledger.commit()
    with pytest.raises(sqlite3.OperationalError):
        ledger.__exit__(None, None, None)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.answers([request(n) for n in range(3)]) == replies
        assert ledger.counts()["in_flight"] == 0


def test_a_number_that_another_writer_took_is_an_error_and_no_lost_reply(ledger):
    """Where the file system has no locks there may be a second writer."""
    sent = ledger.send(request(1), "run")
    ledger.commit()
    with sqlite3.connect(ledger.path, isolation_level=None) as other:
        other.execute("INSERT INTO replies (id, sent, request) VALUES (1, 9, 'x')")
    ledger.reply(sent, request(1), "run", COMPLETION, 0.1)
    ledger.commit()
    ledger._numbers["replies"] = 0
    ledger.reply(sent, request(1), "run", COMPLETION, 0.1)
    with pytest.raises(sqlite3.IntegrityError):
        ledger.commit()


def test_a_row_that_sqlite_cannot_take_spoils_no_other(ledger):
    """Half a surrogate pair comes from a provider's JSON; it stands between rows that are whole."""
    ledger._journal.add = lambda rows: None
    errors = ["fine", "half \ud83d of it", "fine, too"]
    for n, said in enumerate(errors):
        ledger.fail(ledger.send(request(n), "run"), request(n), "run", RateLimitError(said))
    found = [said for (said,) in ledger.rows("SELECT message FROM failures ORDER BY rowid")]
    assert found[::2] == ["fine", "fine, too"]
    assert found[1].startswith("half ")


def test_a_journal_that_cannot_be_written_is_a_commit(ledger, monkeypatch):
    def full(rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ledger._journal, "add", full)
    ledger.send(request(1), "run")
    assert seen_by_others(ledger, "sent") == 1


@pytest.mark.parametrize(
    "line",
    [
        b'["replies", 9, {"sent": 1, "requ',
        b"\xff\xfe\n",
        b"7\n",
        b"[]\n",
        b'["sqlite_master", 1, {"sql": "x"}]\n',
        b'["sent", 1, {"id) VALUES (1); DROP TABLE sent --": 1}]\n',
        b'["sent", "1", {"run": "x"}]\n',
        b'["sent", 1, ["run"]]\n',
        b'[["sent"], 1, {"run": "x"}]\n',
        b'["sent", 1, {"run": {"x": 1}}]\n',
        b'["sent", 1, {}]\n',
    ],
)
def test_a_torn_or_foreign_line_of_the_journal_is_passed_over(tmp_path, line):
    path = left_by_a_killed_process(tmp_path, "answered(0)\ndie()")
    rows = path_of(path).read_bytes().splitlines(keepends=True)
    path_of(path).write_bytes(b"".join([*rows[:2], line, b"\n", *rows[2:]]))
    with Ledger(path, read_only=True) as ledger:
        assert ledger.counts()["replies"] == 1
        assert ledger.rows("SELECT count(*) FROM sent") == [(1,)]


def test_a_torn_write_is_taken_back(ledger):
    journal = ledger._journal
    ledger.send(request(1), "run")
    size = journal.size

    class Full:
        def __init__(self, file):
            self.file = file
            self.calls = 0

        def write(self, data):
            self.calls += 1
            if self.calls > 1:
                raise OSError(28, "No space left on device")
            return self.file.write(data[:5])

        def __getattr__(self, name):
            return getattr(self.file, name)

    journal._file = Full(journal._file)
    with pytest.raises(OSError, match="No space"):
        journal.add([("sent", 9, {"run": "x"})])
    assert journal.size == size == path_of(ledger.path).stat().st_size


def test_what_a_full_disk_left_of_a_line_does_not_spoil_the_next(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        path_of(ledger.path).write_bytes(b'["sent", 1, {"ru')  # and could not be taken back
        ledger.send(request(1), "run")
        ledger.commit()
        assert path_of(ledger.path).stat().st_size == 0


def test_a_second_writer_is_refused(ledger):
    code = f"from pathlib import Path; from syphus.ledger import Ledger; Ledger(Path({str(ledger.path)!r}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "LockedError: another process writes to the ledger" in ran.stderr


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
