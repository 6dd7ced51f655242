"""EPIC-KITCHENS-100 narrations (Damen et al. 2022; github.com/epic-kitchens/epic-kitchens-100-annotations): what is done in kitchens.

A table with one action a row: `video_id`, `start_timestamp` and `stop_timestamp` as HH:MM:SS, `narration`, and
`all_nouns` as a Python list, in which `board:chopping` is a chopping board.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from syphus.annotations import files
from syphus.annotations.base import Options, Reading
from syphus.annotations.context import Context, Segment
from syphus.annotations.groups import Grouped, Row
from syphus.annotations.values import file_name, in_order, sequence, stretch, text

TITLE = "EPIC-KITCHENS narrations"
COLUMNS = {"video_id", "start_timestamp", "stop_timestamp", "narration"}


def sniff(path: Path) -> bool:
    """Say whether the table has the columns."""
    return set(files.header(path)) >= COLUMNS


def read(paths: Sequence[Path], options: Options) -> Reading:
    return Grouped(paths, files.table, _parse, _contexts)


def _parse(row: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    start, end = stretch(row["start_timestamp"], row["stop_timestamp"])
    nouns = _nouns(row.get("all_nouns") or row.get("noun") or "")
    yield file_name(row["video_id"]), (text(row["narration"]), start, end, nouns)


def _nouns(cell: str) -> list[str]:
    try:
        listed = ast.literal_eval(cell) if cell.startswith("[") else [cell] if cell else []
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError("its nouns are not a list") from None
    return [" ".join(reversed(text(noun).split(":"))) for noun in sequence(listed)]


def _contexts(video: str, rows: Sequence[Row]) -> Iterator[Context]:
    segments = in_order(
        Segment(narration, start, end, tuple(nouns))
        for narration, start, end, nouns in (row.data for row in rows)
    )
    yield Context(video, segments=segments, video=video, source=rows[0].where)
