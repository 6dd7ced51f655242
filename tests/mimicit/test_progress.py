import os
import pty
import re
import subprocess
import sys
import textwrap
import time
from fcntl import ioctl
from struct import pack
from termios import TIOCSWINSZ

import pytest

from mimicit import progress
from mimicit.progress import Progress

STEPS = """
import time
from mimicit.progress import Progress
with Progress("asking m", total=400, unit="contexts") as progress:
    for done in range(1, 401):
        progress.update(done, NOTE)
        time.sleep(0.001)
"""
LONG = "1,234 pairs · 64 in flight · 12 cached · 3 rate limits · 1.2 M tokens · 0.12 of 5.00 USD"


def watched(code: str, columns: int) -> str:
    """Run code on a terminal so many columns wide; return everything that it drew there."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, pack("HHHH", 24, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment | {"TERM": "xterm-256color"},
    ):
        os.close(theirs)
        drawn = b""
        while True:
            try:
                data = os.read(ours, 65_536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not data:
                break
            drawn += data
    os.close(ours)
    return drawn.decode()


def lines_of(drawn: str) -> list[str]:
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
    return [line for line in re.split(r"[\r\n]+", plain) if line.strip()]


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves when it is told to."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def test_where_nobody_watches_there_is_a_line_every_15_seconds_and_a_last_one(clock, capfd):
    with Progress("asking", total=100, unit="contexts") as shown:
        for second in range(1, 41):
            clock.now += 1.0
            shown.update(2 * second, f"{second} pairs")
    _, said = capfd.readouterr()
    assert said.splitlines() == [
        "asking: 30/100 contexts · 2.00/s · 35 s left · 15 pairs",
        "asking: 60/100 contexts · 2.00/s · 20 s left · 30 pairs",
        "asking: 80/100 contexts · 2.00/s · 10 s left · 40 pairs",
    ]


def test_nothing_done_is_nothing_said_where_nobody_watches(capfd):
    with Progress("asking", total=None, unit="contexts"):
        pass
    assert capfd.readouterr().err == ""


def test_updates_between_two_drawings_write_nothing(clock, capfd):
    with Progress("asking", total=None, unit="contexts") as shown:
        clock.now += progress.LINE_SECONDS
        for done in range(1, 10_000):
            shown.update(done)
    assert capfd.readouterr().err.count("\n") == 2


def test_an_update_costs_microseconds():
    with Progress("asking", total=None, unit="contexts") as shown:
        started = time.process_time()
        for done in range(20_000):
            shown.update(done, "9 pairs")
        spent = time.process_time() - started
    assert spent / 20_000 < 50e-6


def test_a_terminal_shows_a_bar_and_ends_with_all_of_it_done():
    drawn = watched(f"NOTE = '9 pairs'\n{STEPS}", 120)
    last = lines_of(drawn)[-1]
    assert last.startswith("asking m ━")
    assert "400/400 contexts" in last
    assert last.endswith("9 pairs")


def test_a_terminal_is_drawn_a_few_times_a_second():
    started = time.monotonic()
    drawn = watched(f"NOTE = ''\n{STEPS}", 120)
    passed = time.monotonic() - started
    assert 3 <= drawn.count("asking m") <= 4 + passed / progress.DRAW_SECONDS


@pytest.mark.parametrize("columns", [100, 60, 30, 12])
def test_a_long_note_stands_on_a_line_of_its_own_and_nothing_wraps(columns):
    drawn = watched(f"NOTE = {LONG!r}\n{STEPS}", columns)
    lines = lines_of(drawn)
    assert max(map(len, lines)) < columns
    assert lines[-1].startswith(f"  {LONG}"[: columns - 2])
    assert lines[-2].startswith("asking m"[: columns - 2])
    # Each drawing goes back over both lines of the one before.
    assert drawn.count("\x1b[1A") >= drawn.count("asking m"[: columns - 2]) - 2


def test_a_note_is_no_markup():
    drawn = watched(f"NOTE = '[red]3[/red] [/x]'\n{STEPS}", 120)
    assert lines_of(drawn)[-1].endswith("[red]3[/red] [/x]")
