"""One key after another: from a terminal, key by key, or from a pipe, line by line.

The terminal gives keys without waiting for Enter, and is put back however the process ends, except by SIGKILL: Ctrl-C, Ctrl-Z and back,
SIGTERM, a closed window. Nothing else of it is changed: what was shown can be scrolled back to.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import IO, Any, Protocol

END = ""
"""No key will come anymore."""
RESIZED = "resized"
OTHER = "other"
"""A key that is no letter."""
POLL_SECONDS = 0.2
ESCAPE_SECONDS = 0.05
"""A terminal sends all bytes of an arrow key at once; Esc alone comes alone."""


class Keys(Protocol):
    def read(self) -> str:
        """Return the next key: a letter, or END, RESIZED, OTHER."""
        ...

    @contextmanager
    def paused(self) -> Iterator[int | IO[Any] | None]:
        """Lend the terminal to an editor; yields what the editor may read from."""
        ...


def is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def keys() -> Iterator[Keys]:
    """Read keys in the way that standard input allows."""
    if not is_terminal():
        yield Lines(sys.stdin)
        return
    pressed = Pressed(sys.stdin.fileno())
    with pressed.listening():
        yield pressed


class Lines:
    """The same letters, one a line."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file

    def read(self) -> str:
        line = self.file.readline()
        return (line.strip()[:1].lower() or OTHER) if line else END

    @contextmanager
    def paused(self) -> Iterator[int | IO[Any] | None]:
        # The rest of the pipe is ours; an editor must not read it.
        yield subprocess.DEVNULL


class Pressed:
    """Keys of a terminal."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._before = termios.tcgetattr(fd)
        self._size = os.get_terminal_size(fd)
        self._listens = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        handlers = {
            signal.SIGTERM: _leave,
            signal.SIGHUP: _leave,
            signal.SIGCONT: self._resume,
        }
        replaced = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            self._listen()
            yield
        finally:
            self._restore()
            for number, handler in replaced.items():
                signal.signal(number, handler)

    @contextmanager
    def paused(self) -> Iterator[int | IO[Any] | None]:
        # Ctrl-C in an editor is the editor's: a handler that does nothing is not passed on to it.
        interrupt = signal.signal(signal.SIGINT, lambda *_: None)
        self._restore()
        try:
            yield None
        finally:
            self._listen()
            signal.signal(signal.SIGINT, interrupt)

    def read(self) -> str:
        while not self._ready(POLL_SECONDS):
            if self._was_resized():
                return RESIZED
        data = self._bytes(1)
        if not data or data == b"\x04":  # Ctrl-D
            return END
        if data == b"\x1b":
            while self._ready(ESCAPE_SECONDS) and self._bytes(64):
                pass
            return OTHER
        if data[0] >= 0x80:
            if self._ready(ESCAPE_SECONDS):  # the rest of a letter beyond ASCII
                self._bytes(3 if data[0] >= 0xF0 else 2 if data[0] >= 0xE0 else 1)
            return OTHER
        key = data.decode("ascii").lower()
        return key if key.isprintable() and not key.isspace() else OTHER

    def _ready(self, seconds: float) -> bool:
        return bool(select.select([self.fd], [], [], seconds)[0])

    def _bytes(self, count: int) -> bytes:
        with suppress(OSError):  # the terminal is gone
            return os.read(self.fd, count)
        return b""

    def _was_resized(self) -> bool:
        with suppress(OSError):
            size = os.get_terminal_size(self.fd)
            if size != self._size:
                self._size = size
                return True
        return False

    def _listen(self) -> None:
        tty.setcbreak(self.fd, termios.TCSADRAIN)
        self._listens = True

    def _restore(self) -> None:
        self._listens = False
        with suppress(termios.error):
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._before)

    def _resume(self, number: int, frame: FrameType | None) -> None:
        """Come back after Ctrl-Z: a shell has set the terminal as it likes, and the screen shows the shell."""
        if self._listens:
            with suppress(termios.error):
                self._listen()
            self._size = os.terminal_size((0, 0))


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
