"""ActivityNet Captions (Krishna et al. 2017; cs.stanford.edu/people/ranjaykrishna/densevid): sentences about stretches of videos.

    {"v_abc": {"duration": 82.7, "timestamps": [[0.8, 19.9], …], "sentences": ["A man …", " He …"]}}

Also a list of objects with one such key each, as MECD has it. The two validation files describe the same videos: given together,
their sentences are too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

TITLE = "ActivityNet Captions"


def sniff(path: Path) -> bool:
    """Say whether the first video has `timestamps` and `sentences`."""
    value = files.beginning(path)
    video = files.first_item(files.first_item(value) if isinstance(value, list) else value)
    return isinstance(video, dict) and {"timestamps", "sentences"} <= video.keys()


def read(paths: Sequence[Path], options: Options) -> Reading:
    return Grouped(paths, _rows, _parse, _contexts)


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    if isinstance(files.beginning(path), dict):
        yield from files.pairs(path)
        return
    for where, item in files.items(path):
        if isinstance(item, dict) and len(item) == 1:
            [pair] = item.items()
            yield where, pair
        else:
            yield where, ("", item)


def _parse(pair: tuple[str, Any]) -> Iterator[tuple[str, Any] | str]:
    id_, video = file_name(pair[0]), mapping(pair[1])
    times, sentences = sequence(video["timestamps"]), sequence(video["sentences"])
    if len(times) != len(sentences):
        yield f"{len(times)} timestamps and {len(sentences)} sentences; the rest is left out"
    segments, unread = sift(zip(times, sentences, strict=False), _segment, "sentence")
    yield from unread
    if segments:
        yield id_, {"duration": _duration(video), "segments": segments}
    elif not unread:
        yield "it has no sentences"


def _segment(said: tuple[Any, Any]) -> tuple[str, float, float]:
    times, sentence = said
    if len(sequence(times)) != 2:
        raise ValueError(f"a stretch of {len(times)} times")
    return text(sentence), *stretch(*times)


def _duration(video: Any) -> float | None:
    return seconds(video["duration"]) if video.get("duration") is not None else None


def _contexts(id_: str, rows: Sequence[Row]) -> Iterator[Context]:
    segments = in_order(Segment(*said) for row in rows for said in row.data["segments"])
    durations = [row.data["duration"] for row in rows if row.data["duration"] is not None]
    facts = {"duration": durations[0]} if durations else {}
    yield Context(id_, segments=segments, facts=facts, video=id_, source=rows[0].where)
