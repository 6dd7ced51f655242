"""Pictures between the lines of a terminal, and texts that cannot steer it.

There are four ways to draw: Kitty's graphics, iTerm2's, Sixel, and half blocks in two colours, which any terminal with colours shows. The
terminal is asked once which it knows, together with a question that every terminal answers, so that nobody waits for what does not come;
where nobody can answer (no terminal, a job in the background, keys that are pressed already) its name in the environment decides.

Nothing is drawn by a library: the one that there is for these protocols asks the terminal while it is imported, and takes keys with it.

A text of a record may hold anything. `plain` shows what would move the cursor, change a title or turn the direction of writing.
"""

from __future__ import annotations

import io
import math
import os
import re
import select
import shutil
import sys
import time
import unicodedata
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

Way = Literal["kitty", "iterm", "sixel", "blocks", "none"]
WAYS: tuple[Way, ...] = ("kitty", "iterm", "sixel", "blocks", "none")
TIMEOUT = 1.0
"""Seconds that a terminal has to answer; one far away is as slow as its line."""
_MOST_BYTES = 4_096
"""Of an answer."""
_QUESTIONS = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[>q\x1b[16t\x1b[c"
"""Whether it knows Kitty's graphics, its name, the size of a cell, and last what it is: that one is always answered."""
_LAST = re.compile(rb"\x1b\[\?([\d;]*)c")
_KITTY = re.compile(rb"\x1b_Gi=31;OK\x1b\\")
_NAME = re.compile(rb"\x1bP>\|([^\x1b]*)\x1b\\")
_CELL = re.compile(rb"\x1b\[6;(\d{1,3});(\d{1,3})t")
_MUTE = ("", "dumb", "linux", "emacs")
"""Values of TERM that are not asked."""
_VISIBLE_FORMATS = frozenset("\u200c\u200d\u00ad\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f")
"""Characters of formatting that are part of words: joiners, soft hyphens, Arabic signs of numbers."""
SIXEL_COLOURS = 128
LARGEST = 4
"""Times that a small picture is enlarged, at most."""


def plain(text: str) -> str:
    r"""Show what a terminal would obey: control characters, escape sequences and marks of direction, as `\x1b`; lines stay lines."""
    text = text.replace("\r\n", "\n").replace("\t", "    ")
    return text if text.isascii() and text.isprintable() else "".join(map(_plain, text))


def one_line(text: str) -> str:
    """Show a text as one line that does nothing to a terminal."""
    return plain(" ".join(text.split()))


def short(text: str, limit: int = 60) -> str:
    """Show the beginning of a text in one line."""
    line = one_line(text[: limit * 20])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _plain(character: str) -> str:
    if character == "\n" or character in _VISIBLE_FORMATS:
        return character
    if unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp"):
        return repr(character)[1:-1]
    return character


@dataclass(frozen=True, slots=True)
class Screen:
    """What there is to draw on."""

    way: Way
    columns: int = 80
    lines: int = 24
    cell: tuple[int, int] = (10, 20)
    """Pixels of a character: width, height."""
    colours: int = 1 << 24
    is_terminal: bool = False


def screen(
    wanted: str = "auto", *, environment: Mapping[str, str] = os.environ, timeout: float = TIMEOUT
) -> Screen:
    """Find out what standard output can show.

    Args:
        wanted: One of WAYS, which is then taken at its word; or "auto".
        environment: Variables.
        timeout: Seconds that the terminal has to answer.
    """
    is_terminal = sys.stdout.isatty()
    size = shutil.get_terminal_size()
    found = Screen(
        "none", size.columns, size.lines, colours=_colours(environment), is_terminal=is_terminal
    )
    if is_terminal and (cell := _cell_by_size()):
        found = replace(found, cell=cell)
    for way in WAYS:
        if way == wanted:
            return replace(found, way=way)
    if not is_terminal:
        return found
    answer = b"" if _is_mute(environment) else _asked(timeout)
    if match := _CELL.search(answer):
        found = replace(found, cell=(int(match[2]) or 10, int(match[1]) or 20))
    return replace(found, way=_way(answer, environment, found.colours))


def _way(answer: bytes, environment: Mapping[str, str], colours: int) -> Way:
    name, last = _NAME.search(answer), _LAST.search(answer)
    said = name[1] if name else b""
    if _KITTY.search(answer) or (not last and _is_kitty(environment)):
        return "kitty"
    if said.startswith((b"iTerm2", b"WezTerm")) or (not last and _is_iterm(environment)):
        return "iterm"
    if last and b"4" in last[1].split(b";"):
        return "sixel"
    return "blocks" if colours >= 256 else "none"


def _is_kitty(environment: Mapping[str, str]) -> bool:
    return "TMUX" not in environment and environment.get("TERM") in ("xterm-kitty", "xterm-ghostty")


def _is_iterm(environment: Mapping[str, str]) -> bool:
    names = (environment.get("TERM_PROGRAM"), environment.get("LC_TERMINAL"))
    return "TMUX" not in environment and ("iTerm.app" in names or "iTerm2" in names)


def _is_mute(environment: Mapping[str, str]) -> bool:
    term = environment.get("TERM", "")
    is_screen = term.startswith("screen") and "TMUX" not in environment
    return term in _MUTE or is_screen or environment.get("TERM_PROGRAM") == "Apple_Terminal"


def _colours(environment: Mapping[str, str]) -> int:
    term = environment.get("TERM", "")
    if environment.get("NO_COLOR") or term in _MUTE:
        return 0
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit") or "direct" in term:
        return 1 << 24
    return 256 if "256" in term or term in ("xterm-kitty", "xterm-ghostty") else 16


def _cell_by_size() -> tuple[int, int] | None:
    """Ask the system for the size of a cell, which some terminals tell it."""
    try:
        import fcntl
        import struct
        import termios

        packed = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
    except (ImportError, OSError):
        return None
    rows, columns, width, height = struct.unpack("HHHH", packed)
    if not (rows and columns and width >= columns and height >= rows):
        return None
    return width // columns, height // rows


def _asked(timeout: float) -> bytes:
    """Ask the terminal, and return what it answers; nothing, if it must not be asked now."""
    try:
        import termios

        file = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except (ImportError, OSError):
        return b""
    try:
        if os.tcgetpgrp(file) != os.getpgrp():
            return b""  # in the background the system would stop this process
        before = termios.tcgetattr(file)
        quiet = termios.tcgetattr(file)
        quiet[3] &= ~(termios.ICANON | termios.ECHO)
        try:
            termios.tcsetattr(file, termios.TCSADRAIN, quiet)
            if select.select([file], [], [], 0)[0]:
                return b""  # a key that was pressed is not ours
            os.write(file, _QUESTIONS)
            return _answer(file, timeout)
        finally:
            termios.tcsetattr(file, termios.TCSADRAIN, before)
    except (OSError, termios.error):
        return b""
    finally:
        os.close(file)


def _answer(file: int, timeout: float) -> bytes:
    answer, end = b"", time.monotonic() + timeout
    while len(answer) < _MOST_BYTES and not _LAST.search(answer):
        left = end - time.monotonic()
        if left <= 0 or not select.select([file], [], [], left)[0]:
            break
        answer += os.read(file, 1_024)
    return answer


# Drawing


class Drawn(NamedTuple):
    """A picture as so many cells: either one sequence that leaves the cursor anywhere, or lines of characters."""

    columns: int
    lines: int
    sequence: str = ""
    rows: tuple[str, ...] = ()


def draw(picture: Image, on: Screen, *, columns: int, lines: int) -> Drawn | None:
    """Draw a picture into a box of cells; None where nothing can be drawn.

    Args:
        picture: In RGB.
        on: What there is to draw on.
        columns: Of the box.
        lines: Of the box.
    """
    if on.way == "none" or columns < 1 or lines < 1:
        return None
    if on.way == "blocks":
        return _blocks(_scaled(picture, columns, 2 * lines, LARGEST), on.colours)
    width, height = on.cell
    small = _scaled(picture, columns * width, lines * height, LARGEST)
    across, down = math.ceil(small.width / width), math.ceil(small.height / height)
    if on.way == "sixel":
        return Drawn(across, down, sixel(small))
    data = _png(small)
    if on.way == "kitty":
        return Drawn(across, down, "".join(_kitty(data, across)))
    facts = f"inline=1;size={len(data)};width={across};height={down};preserveAspectRatio=1"
    return Drawn(across, down, f"\x1b]1337;File={facts}:{b64encode(data).decode()}\x07")


def beside(drawn: Drawn | None, lines: Sequence[str]) -> Iterator[str]:
    """Yield lines with a picture at their left, all of them at least as high as it is.

    Each ends itself, and the cursor is below them in the end. Lines come first, so that the terminal has scrolled before it draws.
    """
    if drawn is None:
        yield from (f"{line}\n" for line in lines)
        return
    high = [*lines, *[""] * (drawn.lines - len(lines))]
    if drawn.rows:
        blank = " " * drawn.columns
        pictured = [*drawn.rows, *[blank] * (len(high) - drawn.lines)]
        yield from (
            f"{row}  {line}".rstrip(" ") + "\n" for row, line in zip(pictured, high, strict=True)
        )
        return
    for n, line in enumerate(high, start=1):
        yield f"\x1b[{drawn.columns + 2}C{line}\n"
        if n == drawn.lines:
            yield f"\x1b[{n}A\r\x1b7{drawn.sequence}\x1b8\x1b[{n}B\r"


def sheet(pictures: Sequence[Image], side: int = 512) -> Image:
    """Lay pictures out on one, in rows from the left."""
    from PIL import Image

    if len(pictures) == 1:
        return pictures[0]
    small = [_scaled(picture, side, side, LARGEST) for picture in pictures]
    across = math.ceil(math.sqrt(len(small)))
    down = math.ceil(len(small) / across)
    width, height = max(one.width for one in small), max(one.height for one in small)
    whole = Image.new("RGB", (across * width, down * height), (40, 40, 40))
    for n, one in enumerate(small):
        whole.paste(one, (n % across * width, n // across * height))
    return whole


def _scaled(picture: Image, width: int, height: int, most: float) -> Image:
    from PIL import Image

    scale = min(width / picture.width, height / picture.height, most)
    size = max(1, int(picture.width * scale)), max(1, int(picture.height * scale))
    return picture.resize(size, Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC)


def _png(picture: Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _kitty(data: bytes, columns: int) -> Iterator[str]:
    text = b64encode(data).decode()
    for start in range(0, len(text), _MOST_BYTES):
        first = f"a=T,f=100,q=2,C=1,c={columns}," if start == 0 else ""
        more = int(start + _MOST_BYTES < len(text))
        yield f"\x1b_G{first}m={more};{text[start : start + _MOST_BYTES]}\x1b\\"


def _blocks(picture: Image, colours: int) -> Drawn:
    """Draw two pixels in each cell: the upper half in the colour of letters, the lower one in that of the ground."""
    data = picture.tobytes()
    width = picture.width
    pixels = [data[n : n + 3] for n in range(0, len(data), 3)]
    pixels += [pixels[-1]] * (width if picture.height % 2 else 0)
    colour = _true_colour if colours > 256 else _of_256
    rows = []
    for start in range(0, len(pixels), 2 * width):
        upper, lower = pixels[start : start + width], pixels[start + width : start + 2 * width]
        cells = (f"\x1b[38;{colour(u)};48;{colour(v)}m▀" for u, v in zip(upper, lower, strict=True))
        rows.append("".join(cells) + "\x1b[0m")
    return Drawn(width, len(rows), rows=tuple(rows))


def _true_colour(pixel: bytes) -> str:
    return f"2;{pixel[0]};{pixel[1]};{pixel[2]}"


def _of_256(pixel: bytes) -> str:
    red, green, blue = (round(value / 51) for value in pixel)
    return f"5;{16 + 36 * red + 6 * green + blue}"


def sixel(picture: Image) -> str:
    """Encode a picture as Sixel: bands of six rows, and in each band one line for each colour in it."""
    few = picture.quantize(SIXEL_COLOURS)
    palette = few.getpalette() or []
    width, height, data = few.width, few.height, few.tobytes()
    parts = [f'\x1bP0;1q"1;1;{width};{height}']
    for colour in sorted(set(data)):
        shares = (round(value * 100 / 255) for value in palette[3 * colour : 3 * colour + 3])
        parts.append(f"#{colour};2;" + ";".join(map(str, shares)))
    for top in range(0, height, 6):
        rows = [data[y * width : (y + 1) * width] for y in range(top, min(top + 6, height))]
        band = (f"#{colour}{_band(rows, colour)}" for colour in sorted(set(b"".join(rows))))
        parts.append("$".join(band) + "-")
    return "".join(parts) + "\x1b\\"


def _band(rows: Sequence[bytes], colour: int) -> str:
    """Return six rows of one colour: in each column one character whose bits are the rows."""
    bits = 0
    for n, row in enumerate(rows):
        table = bytearray(256)
        table[colour] = 1 << n
        bits |= int.from_bytes(row.translate(table), "big")
    width = len(rows[0])
    base = int.from_bytes(b"?" * width, "big")
    line = (bits + base).to_bytes(width, "big").decode("ascii").rstrip("?")
    return _RUNS.sub(lambda run: f"!{len(run[0])}{run[1]}", line)


_RUNS = re.compile(r"(.)\1{3,}", re.DOTALL)


def write(text: str) -> None:
    """Write to standard output; what its encoding does not know becomes visible marks."""
    encoding = sys.stdout.encoding or "utf-8"
    with suppress(UnicodeError):
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    sys.stdout.write(text)
