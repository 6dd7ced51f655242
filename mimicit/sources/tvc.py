"""TVC, clips of TVQA as folders of frames, three a second.

    castle_frames/castle_s01e01_seg02_clip_00/00001.jpg  ->  TVC_IMG_castle_s01e01_seg02_clip_00_00001
    bbt_frames/s01e01_seg02_clip_00/00001.jpg            ->  TVC_IMG_bbt_s01e01_seg02_clip_00_00001

Which frames of a clip the published annotations name is a rule of its own: of n frames each (n div 16)th, from half of that on; between 16
and 31, and all where there are fewer. `--frames` and `--fps` choose others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from mimicit.errors import FormatError
from mimicit.formats.base import BadRow
from mimicit.sources.base import (
    PICTURES,
    FindOptions,
    Found,
    Other,
    Still,
    stem,
    subfolders,
    suffix,
    the_folder,
    walk,
)
from mimicit.sources.naming import SHOW, frame_file

NAME = "tvc"
TITLE = "TVQA: clips as SHOW_frames/CLIP/FRAME.jpg"
PUBLISHED = 16
RATE = 3
"""Frames a second."""


def find(path: Path, options: FindOptions) -> Iterator[Found]:
    folder = the_folder(path, "a folder of shows, SHOW_frames/CLIP/FRAME.jpg")
    shows = 0
    for show in subfolders(folder):
        if not show.endswith(SHOW):
            yield Other(show)
            continue
        shows += 1
        try:
            clips = list(subfolders(folder / show))
        except OSError as error:
            yield BadRow(show, f"the folder cannot be read: {error.strerror}")
            continue
        for clip in clips:
            yield from _clip(folder, show, clip, options)
    if not shows:
        raise FormatError(f"{str(path)!r} holds no folder 'SHOW_frames'")


def chosen(count: int, options: FindOptions) -> Sequence[int]:
    """Return which of a clip's frames are taken."""
    if options.frames is not None or options.fps is not None:
        return [frame for _, frame in _others(count, options)]
    if count < PUBLISHED:
        return range(count)
    stride = count // PUBLISHED
    return range(stride // 2, count, stride)


def _others(count: int, options: FindOptions) -> Iterator[tuple[int, int]]:
    from array import array

    from mimicit.sources.track import Track

    track = Track(array("q", range(count)), Fraction(1, RATE), 1, Fraction(1, 2 * RATE), None)
    if options.frames is not None:
        return track.evenly(options.frames)
    return track.at_rate(min(options.fps or Fraction(RATE), Fraction(RATE)))


def _clip(folder: Path, show: str, clip: str, options: FindOptions) -> Iterator[Found]:
    frames = []
    for name in walk(folder / show / clip):
        inner = f"{show}/{clip}/{name if isinstance(name, str) else name.where}"
        if isinstance(name, BadRow):
            yield BadRow(inner, name.reason)
        elif suffix(name) in PICTURES:
            frames.append(name)
        else:
            yield Other(inner)
    if not frames:
        yield BadRow(f"{show}/{clip}", "holds no frames")
        return
    for frame in chosen(len(frames), options):
        name = f"{show}/{clip}/{frames[frame]}"
        yield Still(frame_file("TVC", stem(name)), folder, name, clip, frame / RATE)
