"""Frames of a video, by their time.

    frames("match.mp4", [0.0, 1.0, 2.0]) -> (0.0, JPEG), (1.0, JPEG), (2.0, JPEG)

Time, not a count of frames, names a frame: at 29.97 frames a second the 60th is not the second second. The frame of a time is the one that is
on the screen half a frame later: the nearest one, and in a video whose rate changes the one that stands. Times count from the first frame.

A frame becomes a JPEG on the shorter of two ways. Most decoders give brightness and colour in planes of the shape that a JPEG holds, and with
`simplejpeg` they are encoded as they are; a picture in RGB is made where that cannot be: another size, another matrix of colours, a turn.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit.errors import MissingExtraError, PictureError
from mimicit.media.turbo import simplejpeg

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ogv", ".gif")
QUALITY = 92
MAX_PIXELS = 64_000_000
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,ogg,flv,gif"
"""Not playlists: those name other files, and other machines."""
_PLANES = ("yuv420p", "yuvj420p")
"""As a JPEG holds them: colours at half the width and height."""
_FULL_RANGE = 2
_JPEG_MATRICES = (2, 5, 6)
"""Unspecified, which is taken for it, and both names of BT.601; a JPEG has no other."""


def duration(path: Path) -> float:
    """Return a video's length in seconds.

    Raises:
        PictureError: not a video, or damaged.
        MissingExtraError: PyAV is not installed.
    """
    with opened(path) as container:
        stream = video_stream(container, path)
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if container.duration:
            return float(container.duration) / 1_000_000
        return 0.0


def frames(path: Path, times: Sequence[float]) -> Iterator[tuple[float, bytes]]:
    """Yield the frames at rising times as JPEG; times after the end have none.

    It is read from the key frame before the first time, once: for a few seconds of a long video.

    Raises:
        PictureError: not a video, damaged before the first frame wanted, or larger than the limit.
        MissingExtraError: PyAV is not installed.
    """
    if not times:
        return
    wanted = iter(times)
    time = next(wanted)
    shown: Any = None
    with opened(path) as container:
        stream = video_stream(container, path)
        begin = float((stream.start_time or 0) * (stream.time_base or 0))
        half, shape = float(half_a_frame(stream)), shape_of(stream)
        start = begin + times[0] if times[0] > 0 else 0.0
        for frame in _decoded(container, stream, start=start):
            at = float(frame.time or 0.0) - begin
            while shown is not None and at - half > time + 1e-6:
                yield time, jpeg_of(shown, shape)
                following = next(wanted, None)
                if following is None:
                    return
                time = following
            shown = frame
        if shown is None:
            raise PictureError(f"{path.name!r} has no frame that can be decoded")
        last = float(shown.time or 0.0) - begin + max(_length(shown) - half, half)
        while time is not None and time < last:
            yield time, jpeg_of(shown, shape)
            following = next(wanted, None)
            if following is None:
                return
            time = following


def jpeg(image: Image) -> bytes:
    """Encode a frame as it is stored where nothing else is asked for."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _decoded(container: Any, stream: Any, *, start: float) -> Iterator[Any]:
    import av

    stream.thread_type = "AUTO"
    if start > 0 and stream.time_base:
        container.seek(int(start / stream.time_base), stream=stream, backward=True)
    try:
        yield from container.decode(stream)
    except av.FFmpegError:
        return  # a damaged end: what came before it is shown


def video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise PictureError(f"{path.name!r} holds no pictures, or is not whole")
    stream = container.streams.video[0]
    if stream.width * stream.height > MAX_PIXELS:
        raise PictureError(
            f"{path.name!r} has frames of {stream.width}×{stream.height} pixels, past the limit of "
            f"{MAX_PIXELS:,}"
        )
    return stream


def opened(path: Path) -> Any:
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


def half_a_frame(stream: Any) -> Fraction:
    """Return half the time between two frames, in seconds; 0 where the video does not say."""
    rate = stream.average_rate or stream.guessed_rate
    return 1 / (2 * Fraction(rate)) if rate else Fraction(0)


def _length(frame: Any) -> float:
    """Return how long a frame is on the screen, in seconds, about."""
    return float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.05


def shape_of(stream: Any) -> Fraction:
    """Return a pixel's width by its height, as far as that can be believed."""
    shape = stream.sample_aspect_ratio
    return Fraction(shape) if shape and Fraction(1, 8) <= shape <= 8 else Fraction(1)


def picture_of(frame: Any, shape: Fraction) -> Image:
    """Make a picture of a frame, as a player would show it, in mode RGBX: this one Pillow takes without copying it."""
    from PIL.Image import Transpose, frombuffer

    colours = frame.reformat(format="rgba")
    plane, size = colours.planes[0], (colours.width, colours.height)
    image = frombuffer("RGBX", size, plane, "raw", "RGBX", plane.line_size, 1)
    if shape != 1:
        image = image.resize((max(round(image.width * shape), 1), image.height))
    turns = {90: Transpose.ROTATE_90, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_270}
    turn = turns.get(_turn(frame))
    return image if turn is None else image.transpose(turn)


def size_of(frame: Any, shape: Fraction) -> tuple[int, int]:
    """Return the width and height of that picture."""
    width = frame.width if shape == 1 else max(round(frame.width * shape), 1)
    return (frame.height, width) if _turn(frame) in (90, 270) else (width, frame.height)


def jpeg_of(frame: Any, shape: Fraction) -> bytes:
    """Encode that picture as a JPEG, without making it where that can be."""
    package = simplejpeg()
    if package is None or shape != 1 or _turn(frame) or not _is_as_in_a_jpeg(frame):
        return jpeg(picture_of(frame, shape))
    encoded: bytes = package.encode_jpeg_yuv_planes(*_full_planes(frame), quality=QUALITY)
    return encoded


def _is_as_in_a_jpeg(frame: Any) -> bool:
    """Say whether a frame's planes are a JPEG's; of odd ones libjpeg-turbo would read an end that is not there."""
    is_even = frame.width % 2 == 0 and frame.height % 2 == 0
    return is_even and frame.format.name in _PLANES and frame.colorspace in _JPEG_MATRICES


def _full_planes(frame: Any) -> Iterator[Any]:
    """Yield brightness and colours as arrays, from 0 to 255; most videos have black at 16 and white at 235."""
    import numpy as np

    is_full = frame.format.name == "yuvj420p" or frame.color_range == _FULL_RANGE
    for plane, table in zip(frame.planes, _stretches(), strict=True):
        values = plane if is_full else bytes(plane).translate(table)
        rows = np.frombuffer(values, np.uint8).reshape(-1, plane.line_size)
        yield rows[: plane.height, : plane.width]


@cache
def _stretches() -> tuple[bytes, bytes, bytes]:
    """Return, for each plane, what each value becomes: 16 to 235 of brightness 0 to 255, 16 to 240 of colours the same around 128."""
    brightness = [(value - 16) * 255 / 219 for value in range(256)]
    colour = [(value - 128) * 255 / 224 + 128 for value in range(256)]
    bright, coloured = (
        bytes(min(max(round(value), 0), 255) for value in values) for values in (brightness, colour)
    )
    return bright, coloured, coloured


def _turn(frame: Any) -> int:
    return round(getattr(frame, "rotation", 0)) % 360
