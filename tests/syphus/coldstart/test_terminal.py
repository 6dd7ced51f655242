"""A real terminal: keys without Enter, a screen that fits after a resize, and a terminal that is put back."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import time

import pytest

from syphus.task import load_task
from tests.conftest import ROOT

CODE = textwrap.dedent(
    """
    import sys
    from syphus import providers
    from syphus.providers.scripted import ScriptedModel
    from tests.syphus.coldstart.conftest import truthful
    providers.connect = lambda name, **options: ScriptedModel(truthful)
    from syphus.cli import main
    main()
    """
)


class Terminal:
    """A pseudo terminal with the command in it."""

    def __init__(self, arguments, folder, **environment):
        self.ours, theirs = pty.openpty()
        self.resize(100, 40)
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs  # kept open, to see what becomes of it
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE, *map(str, arguments)],
            stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment},
            preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),
        )  # fmt: skip
        self.seen = ""

    def resize(self, columns, rows):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.ours, keys.encode())

    def wait_for(self, text, seconds=60):
        """Read the screen until it has a text; forget what came before it."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen[-3000:]
            if select.select([self.ours], [], [], 0.1)[0]:
                data = os.read(self.ours, 65536).decode(errors="replace")
                self.seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", data)
        found, _, self.seen = self.seen.partition(text)
        return found + text

    def end(self, seconds=60):
        """Wait for the command's end; return its exit code and its standard output."""
        output, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, output.decode()

    @property
    def is_as_before(self):
        return termios.tcgetattr(self.theirs) == self.before

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def terminal(bare_task, photos, tmp_path):
    opened = []

    def start(*options, **environment):
        arguments = [
            "coldstart",
            bare_task,
            "-a",
            photos.parent / "annotations.json",
            "-m",
            "x/y",
            "-n",
            "5",
        ]
        opened.append(Terminal([*arguments, *options], tmp_path, **environment))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_a_review_by_keys(terminal, bare_task):
    one = terminal("--want", "2")
    one.wait_for("1 of 5 · score")
    assert not one.is_as_before
    one.type("\x1b[A")  # an arrow
    one.wait_for("There is no such key")
    one.type("é")
    one.wait_for("There is no such key")
    one.type("?")
    one.wait_for("undo the last decision")
    one.type("a")
    one.wait_for("2 of 5 · score")
    one.type("r")
    one.wait_for("3 of 5 · score")
    one.type("u")
    one.wait_for("2 of 5 · score")
    one.type("s")
    one.wait_for("3 of 5 · score")
    one.type("A")
    code, output = one.end()
    assert code == 0
    assert "2 examples joined" in output
    assert one.is_as_before
    assert len(load_task(str(bare_task)).examples) == 2


def test_a_resized_window_is_drawn_anew(terminal):
    one = terminal()
    one.wait_for("q quit")
    one.resize(60, 20)
    drawn = one.wait_for("q quit")
    assert "1 of 5 · score" in drawn
    assert max(map(len, drawn.splitlines())) <= 60
    one.type("q")
    assert one.end()[0] == 130


@pytest.mark.parametrize(
    ("how", "code"),
    [
        pytest.param(lambda one: one.type("q"), 130, id="q"),
        pytest.param(lambda one: one.type("\x04"), 130, id="Ctrl-D"),
        pytest.param(lambda one: one.type("\x03"), 130, id="Ctrl-C"),
        pytest.param(lambda one: one.process.send_signal(signal.SIGINT), 130, id="SIGINT"),
        pytest.param(lambda one: one.process.send_signal(signal.SIGTERM), 143, id="SIGTERM"),
        pytest.param(lambda one: one.process.send_signal(signal.SIGHUP), 129, id="SIGHUP"),
    ],
)
def test_the_terminal_is_put_back_however_it_ends(terminal, how, code):
    one = terminal()
    one.wait_for("1 of 5")
    one.type("a")
    one.wait_for("2 of 5 · score")
    how(one)
    assert one.end()[0] == code
    assert one.is_as_before
    again = terminal()
    again.wait_for("2 of 5 · score")  # it goes on there


def test_an_editor_has_the_terminal_as_it_was(terminal, bare_task, tmp_path):
    script = tmp_path / "editor.py"
    script.write_text(
        "import sys, termios\n"
        "print('EDITOR ECHO', bool(termios.tcgetattr(0)[3] & termios.ECHO), flush=True)\n"
        "new = input()\n"
        "path = sys.argv[1]\n"
        "text = open(path).read()\n"
        "start = text.index('question: ') + 10\n"
        "open(path, 'w').write(text[:start] + new + text[text.index('\\n', start):])\n"
    )
    one = terminal("--want", "1", EDITOR=f"{sys.executable} {script}", VISUAL="")
    one.wait_for("q quit")
    one.type("e")
    one.wait_for("EDITOR ECHO True")
    one.type("What does the caption say?\n")
    one.wait_for("pair 1: it says 'caption'")
    one.wait_for("e opens the editor again")
    assert not one.is_as_before
    one.type("e")
    one.wait_for("EDITOR ECHO True")
    one.type("What is it?\n")
    assert one.end()[0] == 0
    assert one.is_as_before
    [example] = load_task(str(bare_task)).examples
    assert example.pairs[0].question == "What is it?"


def test_ctrl_c_in_an_editor_ends_the_editor_only(terminal, tmp_path):
    script = tmp_path / "editor.py"
    script.write_text("print('EDITS', flush=True)\ninput()\n")
    one = terminal(EDITOR=f"{sys.executable} {script}", VISUAL="")
    one.wait_for("q quit")
    one.type("e")
    one.wait_for("EDITS")
    one.type("\x03")
    one.wait_for("Nothing was changed")
    one.type("q")
    assert one.end()[0] == 130


def test_ctrl_z_and_back(terminal):
    one = terminal()
    one.wait_for("q quit")
    # Without a shell nobody stops it for Ctrl-Z (its group is an orphan): stop it, and change the terminal as a shell does.
    one.process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    termios.tcsetattr(one.theirs, termios.TCSANOW, one.before)
    one.process.send_signal(signal.SIGCONT)
    one.wait_for("q quit")
    one.type("s")
    one.wait_for("2 of 5 · score")
    one.type("q")
    assert one.end()[0] == 130
    assert one.is_as_before
