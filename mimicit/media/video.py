"""Frames of a video, by their time.

    frames("match.mp4", [0.0, 1.0, 2.0]) -> (0.0, JPEG), (1.0, JPEG), (2.0, JPEG)

The frame of a time is the one that is on the screen then. A video is read from the key frame before the first time wanted, once.
Time, not a count of frames, names a frame: at 29.97 frames a second the 60th is not the second second.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mimicit.errors import MissingExtraError, PictureError

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ogv", ".gif")
QUALITY = 92
MAX_PIXELS = 64_000_000
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,ogg,flv,gif"
"""Not playlists: those name other files, and other machines."""


def duration(path: Path) -> float:
    """Return a video's length in seconds.

    Raises:
        PictureError: not a video, or damaged.
        MissingExtraError: PyAV is not installed.
    """
    with _open(path) as container:
        stream = _stream(container, path)
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if container.duration:
            return float(container.duration) / 1_000_000
        return 0.0


def frames(path: Path, times: Sequence[float]) -> Iterator[tuple[float, bytes]]:
    """Yield the frames at rising times as JPEG; times after the end have none.

    Raises:
        PictureError: not a video, damaged before the first frame wanted, or larger than the limit.
        MissingExtraError: PyAV is not installed.
    """
    if not times:
        return
    wanted = iter(times)
    time = next(wanted)
    shown: Any = None
    with _open(path) as container:
        for frame in _decoded(container, path, start=times[0]):
            at = float(frame.time or 0.0)
            while shown is not None and at > time + 1e-6:
                yield time, _jpeg(shown)
                following = next(wanted, None)
                if following is None:
                    return
                time = following
            shown = frame
        if shown is None:
            raise PictureError(f"{path.name!r} has no frame that can be decoded")
        last = float(shown.time or 0.0) + _length(shown)
        while time is not None and time < last:
            yield time, _jpeg(shown)
            following = next(wanted, None)
            if following is None:
                return
            time = following


def _decoded(container: Any, path: Path, *, start: float) -> Iterator[Any]:
    import av

    stream = _stream(container, path)
    stream.thread_type = "AUTO"
    if start > 0 and stream.time_base:
        container.seek(int(start / stream.time_base), stream=stream, backward=True)
    try:
        yield from container.decode(stream)
    except av.FFmpegError:
        return  # a damaged end: what came before it is shown


def _stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise PictureError(f"{path.name!r} holds no pictures")
    stream = container.streams.video[0]
    if stream.width * stream.height > MAX_PIXELS:
        raise PictureError(
            f"{path.name!r} has frames of {stream.width}×{stream.height} pixels, past the limit of "
            f"{MAX_PIXELS:,}"
        )
    return stream


def _open(path: Path) -> Any:
    if find_spec("av") is None:
        raise MissingExtraError("av", "video")
    import av

    av.logging.set_level(None)
    try:
        return av.open(
            str(path), options={"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
        )
    except FileNotFoundError:
        raise PictureError(f"there is no video {str(path)!r}") from None
    except (av.FFmpegError, OSError) as error:
        raise PictureError(f"{path.name!r} is not a video that can be read: {error}") from None


def _length(frame: Any) -> float:
    """Return how long a frame is on the screen, in seconds, about."""
    return float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.05


def _jpeg(frame: Any) -> bytes:
    buffer = io.BytesIO()
    frame.to_image().save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
