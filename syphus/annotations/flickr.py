"""Flickr8k and Flickr30k captions (Hodosh et al. 2013, Young et al. 2014).

The published token files (`Flickr8k.token.txt`, `results_20130124.token`) have one caption a line:

    1.jpg#0<TAB>A dog runs .

Also the tables known from Kaggle, `image,caption` and `image_name| comment_number| comment`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from syphus.annotations import files
from syphus.annotations.base import Options, Reading
from syphus.annotations.context import Context, Picture, Problem
from syphus.annotations.groups import Grouped, Row
from syphus.annotations.values import file_name, stem, text

TITLE = "Flickr8k/Flickr30k captions"
HEADERS = (["image", "caption"], ["image_name", "comment_number", "comment"])

# Some names end in ".jpg.1", though the picture's do not.
_LINE = re.compile(r"(.+?\.(?:jpe?g|png))(?:\.\d+)?#\d+\t(.*)", re.IGNORECASE)


def sniff(path: Path) -> bool:
    """Say whether a line is a caption of a token file, or a known header."""
    is_token_file = any(_LINE.fullmatch(line) for line in files.first_lines(path))
    return is_token_file or files.header(path) in HEADERS


def read(paths: Sequence[Path], options: Options) -> Reading:
    return Grouped(paths, _rows, _parse, _contexts)


def _rows(path: Path) -> Iterable[tuple[str, Any] | Problem]:
    return files.table(path) if files.header(path) in HEADERS else files.lines(path)


def _parse(row: Any) -> Iterator[tuple[str, str]]:
    if isinstance(row, dict):
        name, *_, caption = row.values()
    elif line := _LINE.fullmatch(row.strip("\r\n ")):
        name, caption = line.groups()
    else:
        raise ValueError("the line is not a picture's name, #, a number, a tab and a caption")
    yield file_name(name), text(caption)


def _contexts(name: str, rows: Sequence[Row]) -> Iterator[Context]:
    captions = tuple(row.data for row in rows)
    yield Context(stem(name), (Picture(name),), captions, source=rows[0].where)
