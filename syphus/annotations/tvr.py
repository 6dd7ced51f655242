"""TVR and TVC (Lei et al. 2020; github.com/jayleicn/TVRetrieval, TVCaption): moments of six television shows.

One moment a line, with one description (TVR) or several (TVC):

    {"vid_name": "friends_s01e03_seg02_clip_19", "duration": 61.5, "ts": [16.5, 33.9], "desc": "…"}
    {"vid_name": "s02e14_seg02_clip_02", "duration": 60.0, "ts": [0, 2.3], "descs": [{"desc": "…"}, …]}

All moments of a clip come together. A name without a show's is of The Big Bang Theory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from syphus.annotations import files
from syphus.annotations.base import Options, Reading
from syphus.annotations.context import Context, Segment
from syphus.annotations.groups import Grouped, Row
from syphus.annotations.values import (
    file_name,
    in_order,
    mapping,
    seconds,
    sequence,
    sift,
    stretch,
    text,
)

TITLE = "TVR/TVC descriptions"

_SHOW = re.compile(r"([a-z]+)_s\d+e\d+", re.IGNORECASE)


def sniff(path: Path) -> bool:
    """Say whether a line has `vid_name` and `desc` or `descs`."""
    row = files.first_object(path)
    return row is not None and "vid_name" in row and ("desc" in row or "descs" in row)


def read(paths: Sequence[Path], options: Options) -> Reading:
    return Grouped(paths, files.json_lines, _parse, _contexts)


def _parse(row: Mapping[str, Any]) -> Iterator[tuple[str, Any] | str]:
    clip = file_name(row["vid_name"])
    if len(sequence(row["ts"])) != 2:
        raise ValueError(f"a stretch of {len(row['ts'])} times")
    start, end = stretch(*row["ts"])
    duration = seconds(row["duration"]) if row.get("duration") is not None else None
    said = sequence(row["descs"]) if "descs" in row else [row]
    sentences, unread = sift(said, lambda desc: text(mapping(desc)["desc"]), "description")
    yield from unread
    for sentence in sentences:
        yield clip, (duration, sentence, start, end)


def _contexts(clip: str, rows: Sequence[Row]) -> Iterator[Context]:
    segments = in_order(Segment(*row.data[1:]) for row in rows)
    show = _SHOW.match(clip)
    facts = {"show": show[1].lower() if show else "bbt"}
    durations = [row.data[0] for row in rows if row.data[0] is not None]
    facts |= {"duration": durations[0]} if durations else {}
    yield Context(clip, segments=segments, facts=facts, video=clip, source=rows[0].where)
