"""A file that names pictures and videos, one a line, relative to its own folder or to `--images`.

    cats/1.jpg                    ->  PIC_IMG_cats/1
    MY_IMG_17<TAB>cats/1.jpg      ->  MY_IMG_17
    films/match.mp4               ->  PIC_IMG_films_match_0000, …

Empty lines, and lines that begin with `# `, say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mimicit.errors import FormatError
from mimicit.formats.base import BadRow
from mimicit.sources.base import (
    PICTURES,
    Film,
    FindOptions,
    Found,
    Still,
    film,
    stem,
    suffix,
    the_folder,
)

NAME = "list"
TITLE = "A file with a path a line, or an id, a tab and a path"
PREFIX = "PIC"
LONGEST_LINE = 8_192


def find(path: Path, options: FindOptions) -> Iterator[Found]:
    if not path.is_file():
        raise FormatError(f"there is no file {str(path)!r}; this source is a list of paths")
    folder = path.parent
    if options.images is not None:
        folder = the_folder(options.images, "taken from a folder of pictures")
    prefix = options.prefix or PREFIX
    for number, line in _lines(path):
        where = f"{path.name}:{number}"
        if isinstance(line, BadRow):
            yield line
        elif line and not line.startswith("# "):
            yield _item(line, where, folder, prefix)


def _item(line: str, where: str, folder: Path, prefix: str) -> Found:
    from mimicit.media.video import SUFFIXES

    id_, tab, name = line.rpartition("\t")
    if tab and not (id_ and name):
        return BadRow(where, "a line is a path, or an id, a tab and a path")
    key = stem(name)
    if suffix(name) in SUFFIXES and suffix(name) not in PICTURES:
        found = film(folder, name, prefix)
        return Film(id_, folder, name, key) if id_ else found
    return Still(id_ or f"{prefix}_IMG_{key}", folder, name, key)


def _lines(path: Path) -> Iterator[tuple[int, str | BadRow]]:
    """Yield the lines of a file that may be anything."""
    with path.open("rb") as file:
        number = 0
        while data := file.readline(LONGEST_LINE + 1):
            number += 1
            where = f"{path.name}:{number}"
            if len(data) > LONGEST_LINE:
                yield number, BadRow(where, f"the line is longer than {LONGEST_LINE:,} bytes")
                while data and not data.endswith(b"\n"):
                    data = file.readline(LONGEST_LINE)
                continue
            try:
                yield number, data.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                yield number, BadRow(where, "the line is not UTF-8")
