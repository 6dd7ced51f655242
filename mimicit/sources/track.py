"""Many frames of a video, and little else, decoded.

    track = scan("match.mp4")                       when every frame is shown, without decoding
    track.at_rate(Fraction(1))                      (0, frame 0), (1, frame 30), (2, frame 60), …
    track.evenly(3)                                 (0, frame 0), (1, frame 2250), (2, frame 4499)
    pick("match.mp4", track, [0, 30, 60])           these frames, decoded

Opening a video decodes some of it, and scanning reads all of it. `with reel(path) as opened` does both once: what `scan(path, opened)` read,
up to `KEPT_BYTES`, `pick(…, reel=opened)` need not read again.

A packet that no wanted frame needs is not decoded: frames that no other refers to, and what follows the last wanted one up to the next
key frame. What is decoded is the same to the bit.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit.errors import PictureError
from mimicit.media.video import (
    half_a_frame,
    jpeg_of,
    opened,
    picture_of,
    shape_of,
    size_of,
    video_stream,
)

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FRAMES = 50_000_000
"""Of one video."""
MAX_STANDING = 3_600
"""Times that one frame may be given for: more is a damaged clock, not a still scene."""
KEPT_BYTES = 32 << 20
"""Of a video's packets, between the scan and the decoding."""
_PACKET_BYTES = 500
"""About what the objects around a packet take."""
_PLAIN_CODECS = frozenset(
    ("av1", "ffv1", "gif", "h264", "hevc", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "vp9")
)
"""A packet of theirs is a frame with its time. (One of VP8 may be none that is ever shown.)"""
_TRUE_KEYS = ("mov", "matroska")
"""Containers that know from which frames on a video can be decoded."""
_DROPPED, _REFERENCE, _WANTED = range(3)


@dataclass(frozen=True, slots=True)
class Shown:
    """A decoded frame."""

    frame: int
    """Its number, in the order in which frames are shown."""
    decoded: Any
    """As the decoder gave it."""
    shape: Fraction
    """Of its pixels, width by height."""

    @property
    def is_damaged(self) -> bool:
        """Say whether what it was made of was not whole."""
        return bool(self.decoded.is_corrupt)

    @property
    def image(self) -> Image:
        """Make a picture of it, upright, with square pixels."""
        return picture_of(self.decoded, self.shape)

    @property
    def size(self) -> tuple[int, int]:
        """Return its width and height, without making it."""
        return size_of(self.decoded, self.shape)

    def jpeg(self) -> bytes:
        """Encode it, without making it where that can be."""
        return jpeg_of(self.decoded, self.shape)


@dataclass(slots=True)
class Reel:
    """An open video."""

    container: Any
    stream: Any
    kept: list[Any] | None = None
    """All its packets, if they were read and are not too many."""


@dataclass(frozen=True, slots=True)
class Packets:
    """A video's packets in the order in which they are decoded."""

    stamps: array[int]
    keys: bytearray
    may_cut: bool
    """Whether decoding can begin anew at a key frame."""


@dataclass(frozen=True, slots=True)
class Track:
    """When a video's frames are shown."""

    stamps: array[int]
    """Rising."""
    unit: Fraction
    """Seconds of one step of the stamps."""
    length: int
    """How long the last frame is shown, in steps."""
    half: Fraction
    """Half a frame, in seconds."""
    packets: Packets | None
    """None: what becomes a frame is known only when it is decoded."""

    def time(self, frame: int) -> float:
        """Return seconds from the first frame."""
        return float((self.stamps[frame] - self.stamps[0]) * self.unit)

    def at_rate(self, fps: Fraction) -> Iterator[tuple[int, int]]:
        """Yield k and the frame of the time k / fps, to the end.

        Raises:
            PictureError: the times leap.
        """
        # k belongs to a frame while k < fps * (seconds to the next one - half), in whole numbers.
        step, early = fps * self.unit, fps * self.half
        per, less, below = (
            step.numerator * early.denominator,
            early.numerator * step.denominator,
            step.denominator * early.denominator,
        )
        k, last = 0, len(self.stamps) - 1
        for frame, stamp in enumerate(self.stamps):
            following = self.stamps[frame + 1] if frame < last else stamp + self.length
            until = -((less - (following - self.stamps[0]) * per) // below)
            if until - k > MAX_STANDING * max(1, math.ceil(fps)):
                raise PictureError(
                    f"its frame at {self.time(frame):g} s stands for {until - k:,} times"
                )
            while k < until or k == 0:
                yield k, frame
                k += 1

    def evenly(self, count: int) -> Iterator[tuple[int, int]]:
        """Yield 0 … count - 1 and as many frames at even distances, from the first to the last.

        One is the middle one; of a video that has no more, all.
        """
        frames = len(self.stamps)
        if count == 1:
            yield 0, frames // 2
        elif count >= frames:
            yield from ((number, number) for number in range(frames))
        else:
            gaps = count - 1
            yield from ((n, (n * (frames - 1) + gaps // 2) // gaps) for n in range(count))


@contextmanager
def reel(path: Path) -> Iterator[Reel]:
    """Open a video for `scan` and `pick`.

    Raises:
        PictureError: not a video, without pictures, or larger than the limits.
        MissingExtraError: PyAV is not installed.
    """
    with opened(path) as container:
        yield Reel(container, video_stream(container, path))


def scan(path: Path, reel_: Reel | None = None) -> Track:
    """Find out when a video's frames are shown; nothing is decoded where that can be avoided.

    Raises:
        PictureError: not a video, without a frame, or larger than the limits.
        MissingExtraError: PyAV is not installed.
    """
    if reel_ is None:
        with reel(path) as own:
            return scan(path, own)
    stream = reel_.stream
    half, unit = half_a_frame(stream), Fraction(stream.time_base or Fraction(1, 1_000))
    stamps, length = array("q"), 0
    packets = None
    if stream.codec_context.name in _PLAIN_CODECS:
        packets, stamps, length = _packets(reel_, path)
    if packets is None:
        reel_.kept = None
        stamps, length = _decoded_stamps(path, unit, half)
    if not stamps:
        raise PictureError(f"{path.name!r} has no frame that can be decoded")
    return Track(stamps, unit, max(length, int(2 * half / unit), 1), half, packets)


def pick(
    path: Path,
    track: Track,
    wanted: Sequence[int],
    *,
    threads: int = 0,
    reel_: Reel | None = None,
) -> Iterator[Shown]:
    """Decode the wanted frames of a scanned video, in order; those that cannot be decoded are missing.

    Args:
        path: The video.
        track: What `scan` found of it.
        wanted: Frame numbers, rising.
        threads: For decoding; 0 are as many as there are processors.
        reel_: The open video, if `scan` was given it; it is of use once.

    Raises:
        PictureError: not a video any more.
        MissingExtraError: PyAV is not installed.
    """
    if reel_ is None or reel_.kept is None:
        with reel(path) as own:
            yield from _picked(own, _demuxed(own), track, wanted, threads)
    else:
        yield from _picked(reel_, reel_.kept, track, wanted, threads)


def _picked(
    reel_: Reel, packets: Iterable[Any], track: Track, wanted: Sequence[int], threads: int
) -> Iterator[Shown]:
    stream = reel_.stream
    stream.thread_type = "AUTO" if threads != 1 else "SLICE"
    stream.codec_context.thread_count = threads
    shape = shape_of(stream)
    numbered: Iterator[tuple[int, Any]]
    if track.packets is None:
        numbered = enumerate(_all_frames(packets, stream.codec_context))
    else:
        numbered = _needed_frames(packets, stream.codec_context, track, wanted)
    pending = iter(wanted)
    next_wanted = next(pending, None)
    for number, frame in numbered:
        while next_wanted is not None and next_wanted < number:
            next_wanted = next(pending, None)
        if next_wanted is None:
            return
        if number == next_wanted:
            yield Shown(number, frame, shape)


def _packets(reel_: Reel, path: Path) -> tuple[Packets | None, array[int], int]:
    """Return the packets, the times of those that are shown, in order, and the last one's length."""
    import av

    kept: list[Any] = []
    room = KEPT_BYTES

    in_order, shown, keys = array("q"), array("q"), bytearray()
    latest, length = -1, 0
    with suppress(av.FFmpegError):  # a damaged end: what came before it is there
        for packet in reel_.container.demux(reel_.stream):
            if not packet.size:
                continue
            if packet.pts is None:
                return None, array("q"), 0
            room -= packet.size + _PACKET_BYTES
            if room >= 0:
                kept.append(packet)
            else:
                kept.clear()
            in_order.append(packet.pts)
            keys.append(packet.is_keyframe)
            if packet.is_discard:
                continue
            shown.append(packet.pts)
            if len(shown) > MAX_FRAMES:
                raise PictureError(f"{path.name!r} has more than {MAX_FRAMES:,} frames")
            if packet.pts >= latest:
                latest, length = packet.pts, packet.duration or 0
    shown = array("q", sorted(shown))
    if any(shown[n] == shown[n - 1] for n in range(1, len(shown))):
        return None, array("q"), 0
    reel_.kept = kept if room >= 0 else None
    may_cut = any(name in reel_.container.format.name for name in _TRUE_KEYS)
    return Packets(in_order, keys, may_cut), shown, length


def _decoded_stamps(path: Path, unit: Fraction, half: Fraction) -> tuple[array[int], int]:
    stamps, length = array("q"), 0
    step = max(int(2 * half / unit), 1)
    with opened(path) as container:
        own = Reel(container, video_stream(container, path))
        for frame in _all_frames(_demuxed(own), own.stream.codec_context):
            after = stamps[-1] if stamps else None
            stamp = frame.pts
            if stamp is None or (after is not None and stamp <= after):
                stamp = 0 if after is None else after + step
            stamps.append(stamp)
            length = frame.duration or 0
            if len(stamps) > MAX_FRAMES:
                raise PictureError(f"{path.name!r} has more than {MAX_FRAMES:,} frames")
    return stamps, length


def _needed_frames(
    packets: Iterable[Any], context: Any, track: Track, wanted: Iterable[int]
) -> Iterator[tuple[int, Any]]:
    """Decode what the wanted frames need, and yield them with their numbers."""
    assert track.packets is not None
    numbers = {track.stamps[frame]: frame for frame in wanted}
    needs = needed(track.packets, numbers)
    end = needs.rfind(_WANTED) + 1
    decode, was_cut, skipped = _decoder(context), False, None
    for place, packet in enumerate(packets):
        need = needs[place] if place < len(needs) else _REFERENCE
        if need == _DROPPED or place >= end:
            if not was_cut:
                yield from _numbered(decode(None), numbers)
                was_cut = True
            if place >= end:
                return
            continue
        if was_cut:
            context.flush_buffers()
            was_cut = False
        # A frame that none refers to can be left out without a change to any other.
        if need != skipped:
            context.skip_frame, skipped = "DEFAULT" if need == _WANTED else "NONREF", need
        if found := decode(packet):
            yield from _numbered(found, numbers)
    yield from _numbered(decode(None), numbers)


def needed(packets: Packets, wanted: Iterable[int]) -> bytearray:
    """Say of each packet whether it is wanted, may be referred to, or is dropped.

    Dropped is, of each stretch that begins with a key frame, what follows its last wanted frame: if the next stretch shows nothing that
    comes before its key frame, and so refers to nothing that comes before it.
    """
    named = set(wanted)
    stamps, keys = packets.stamps, packets.keys
    needs = bytearray(_WANTED if stamp in named else _REFERENCE for stamp in stamps)
    if not packets.may_cut:
        return needs
    end, is_closed = len(stamps), True
    while end:
        start = max(keys.rfind(1, 0, end), 0)
        after = max(needs.rfind(_WANTED, start, end) + 1, start)
        if is_closed:
            needs[after:end] = bytes(end - after)
        is_closed = all(stamps[n] >= stamps[start] for n in range(start + 1, end))
        end = start
    return needs


def _numbered(found: Iterable[Any], numbers: dict[int, int]) -> Iterator[tuple[int, Any]]:
    for frame in found:
        if frame.pts in numbers:
            yield numbers[frame.pts], frame


def _decoder(context: Any) -> Callable[[Any], list[Any]]:
    """Return what decodes a packet; a damaged one gives no frame."""
    import av

    def decode(packet: Any) -> list[Any]:
        try:
            found: list[Any] = context.decode(packet)
        except av.FFmpegError:
            return []
        return found

    return decode


def _demuxed(reel_: Reel) -> Iterator[Any]:
    import av

    with suppress(av.FFmpegError):
        yield from (packet for packet in reel_.container.demux(reel_.stream) if packet.size)


def _all_frames(packets: Iterable[Any], context: Any) -> Iterator[Any]:
    decode = _decoder(context)
    for packet in packets:
        yield from decode(packet)
    yield from decode(None)
