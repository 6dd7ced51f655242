"""Ego4D narrations (Grauman et al. 2022; ego4d-data.org): what a person with a camera on the head, "C", and others do.

`narration.json` has, for each video, the passes of two annotators, either at its top or below `videos`:

    {"videos": {"<uid>": {"narration_pass_1": {"narrations": [{"timestamp_sec": 3.2, "narration_text": "#C C Opens a door"}]}}}}

Early files have `narrations` with `time` and `text` there instead. Also the tables of EgoVLP and Ego4DSounds: `video_uid`, `narration_time`,
`clip_start`, `clip_end`, `clip_text`. All passes come together. "#C" (the wearer) and "#O" (others) are taken off; where an annotator
was "#unsure" of a thing, it is "something".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from syphus.annotations import files
from syphus.annotations.base import Options, Reading
from syphus.annotations.context import Context, Problem, Segment
from syphus.annotations.groups import Grouped, Row
from syphus.annotations.values import file_name, in_order, mapping, sequence, sift, stretch, text

TITLE = "Ego4D narrations"
COLUMNS = {"video_uid", "narration_time", "clip_text"}

_TAG = re.compile(r"#\s*(?:(c|o|summary)\b[\s:]*|o(?=(?:wo)?man\b|lady\b|person\b))", re.IGNORECASE)
_WEARER = re.compile(r"c\b\s*", re.IGNORECASE)
_UNSURE = re.compile(r"(?:#\s*|\b)un(?:sure|usre)\b", re.IGNORECASE)
_UNSURE_OF_ALL = re.compile(rf"(?<=\.)\s*{_UNSURE.pattern}\W*$", re.IGNORECASE)
_UNSURE_THING = re.compile(rf"(?:\b(?:the|a|an)\s+)?{_UNSURE.pattern}", re.IGNORECASE)


def sniff(path: Path) -> bool:
    """Say whether a video has narrations, or a table has the columns."""
    if set(files.header(path)) >= COLUMNS:
        return True
    videos = _videos(files.beginning(path)) or {}
    return any(True for video in videos.values() if isinstance(video, dict) for _ in _passes(video))


def read(paths: Sequence[Path], options: Options) -> Reading:
    return Grouped(paths, _rows, _parse, _contexts)


def _videos(value: Any) -> Any:
    if isinstance(value, dict) and isinstance(value.get("videos"), dict):
        return value["videos"]
    return value if isinstance(value, dict) else None


def _passes(video: dict[str, Any]) -> Iterator[Any]:
    for name, value in video.items():
        if name == "narrations":
            yield value
        elif name.startswith("narration_pass") and isinstance(value, dict):
            yield value.get("narrations", [])


def _rows(path: Path) -> Iterable[tuple[str, Any] | Problem]:
    if set(files.header(path)) >= COLUMNS:
        return files.table(path)
    value = files.beginning(path)
    return files.pairs(path, "" if _videos(value) is value else "videos")


def _parse(row: Any) -> Iterator[tuple[str, Any] | str]:
    if isinstance(row, dict):
        start, end = row.get("clip_start") or None, row.get("clip_end") or None
        time = row["narration_time"]
        times = stretch(time, time) if start is None or end is None else stretch(start, end)
        yield file_name(row["video_uid"]), (plain(row["clip_text"]), *times)
        return
    id_, video = file_name(row[0]), dict(mapping(row[1]))
    count = 0
    for narrations in _passes(video):
        said, unread = sift(sequence(narrations), _narration, f"{id_}, narration")
        count += len(said) + len(unread)
        yield from unread
        for one in said:
            yield id_, one
    if not count:
        yield f"{id_!r} has no narrations"


def _narration(row: Any) -> tuple[str, float, float]:
    time = mapping(row)["time"] if "time" in row else row["timestamp_sec"]
    said = row["text"] if "text" in row else row["narration_text"]
    return plain(said), *stretch(time, time)


def plain(narration: Any) -> str:
    """Return a narration without its marks: "#C C Opens the #unsure" is "C opens something".

    Raises:
        ValueError: nothing is left of it.
    """
    said = text(narration)
    tag = _TAG.match(said)
    is_wearer = tag is not None and tag[1] in ("C", "c")
    rest = said[tag.end() :] if tag else said
    if is_wearer:
        rest = _WEARER.sub("", rest, count=1) if _WEARER.match(rest) else rest
    rest = _UNSURE_OF_ALL.sub("", rest)
    if not _UNSURE.sub("", rest).strip(" .,#"):
        raise ValueError("the annotator was not sure of anything")
    rest = _UNSURE_THING.sub("something", rest)
    if is_wearer:
        word = rest.partition(" ")[0]
        rest = f"C {word.lower() if word[1:].islower() else word}{rest[len(word) :]}"
    return rest


def _contexts(video: str, rows: Sequence[Row]) -> Iterator[Context]:
    segments = in_order(Segment(*row.data) for row in rows)
    yield Context(video, segments=segments, video=video, source=rows[0].where)
