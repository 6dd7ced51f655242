"""Which frames are taken, and that exactly these are decoded: videos whose frames show their number."""

import struct
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from PIL.Image import Transpose

from mimicit.errors import PictureError
from mimicit.media import video
from mimicit.sources import track as track_module
from mimicit.sources.track import Packets, Track, needed, pick, reel, scan
from tests.mimicit.sources.films import RATE, film, number_of

KINDS = {
    "mpeg4 in mp4": ("a.mp4", {}),
    "h264 with B frames in mp4": ("a.mp4", {"codec": "libx264", "b_frames": 3}),
    "h264 with open groups in mkv": (
        "a.mkv",
        {"codec": "libx264", "b_frames": 3, "more": {"x264-params": "open-gop=1:bframes=3"}},
    ),
    "mpeg2 in mpg": ("a.mpg", {"codec": "mpeg2video", "b_frames": 2, "rate": Fraction(25)}),
    "mjpeg in avi": ("a.avi", {"codec": "mjpeg"}),
    "mpeg4 in avi": ("a.avi", {}),
    "vp8 in webm": ("a.webm", {"codec": "libvpx", "more": {"auto-alt-ref": "1", "lag-in-frames": "16"}}),
    "vp9 in webm": ("a.webm", {"codec": "libvpx-vp9", "more": {"deadline": "realtime", "cpu-used": "8"}}),
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS, ids=str)
def kind(request, tmp_path_factory) -> tuple[Path, Fraction]:
    name, more = KINDS[request.param]
    path = film(tmp_path_factory.mktemp("film") / name, 150, **more)
    return path, more.get("rate", RATE)


def test_frame_k_is_within_half_a_frame_of_its_time_and_is_the_one_it_says(kind):
    path, rate = kind
    track = scan(path)
    wanted = list(track.at_rate(Fraction(1)))
    assert [k for k, _ in wanted] == [0, 1, 2, 3, 4] + [5] * (150 / rate - 5 > 1 / (2 * rate))
    shown = list(pick(path, track, [frame for _, frame in wanted]))
    half = float(1 / (2 * rate)) + 0.0006  # Matroska and AVI keep milliseconds
    for (k, frame), found in zip(wanted, shown, strict=True):
        assert abs(track.time(frame) - k) <= half
        assert found.frame == frame == number_of(found.image) == pytest.approx(k * rate, abs=0.51)


def test_exactly_so_many_frames_and_the_last_one(kind):
    path, _ = kind
    track = scan(path)
    wanted = [frame for _, frame in track.evenly(16)]
    assert (len(wanted), wanted[0], wanted[-1]) == (16, 0, 149)
    gaps = {after - before for before, after in pairwise(wanted)}
    assert gaps <= {9, 10}
    for threads in (0, 1):
        shown = pick(path, track, wanted, threads=threads)
        assert [number_of(one.image) for one in shown] == wanted


def test_what_is_decoded_is_the_same_to_the_bit(kind):
    path, _ = kind
    with av.open(str(path)) as container:
        whole = [frame.to_image().tobytes() for frame in container.decode(video=0)]
    track = scan(path)
    assert len(track.stamps) == len(whole)
    for wanted in ([149], [0], list(range(7, 150, 23)), list(range(150))):
        shown = list(pick(path, track, wanted))
        assert [one.frame for one in shown] == wanted
        assert all(one.image.convert("RGB").tobytes() == whole[one.frame] for one in shown)


def test_the_native_rate_gives_every_frame_once(kind):
    path, rate = kind
    assert list(scan(path).at_rate(rate)) == [(n, n) for n in range(150)]


def test_it_agrees_with_the_frames_that_generate_reads(kind):
    path, _ = kind
    track = scan(path)
    wanted = [frame for _, frame in track.at_rate(Fraction(2))]
    theirs = list(video.frames(path, [n / 2 for n in range(len(wanted) + 5)]))
    assert [data for _, data in theirs] == [shown.jpeg() for shown in pick(path, track, wanted)]


def test_packets_that_nothing_needs_are_dropped():
    """A group is decoded to its last wanted frame; one before an open group as a whole."""
    # Decoding order; the third group is open: it begins with 8 and shows 7 before it.
    stamps, keys = [0, 3, 1, 2, 4, 6, 5, 8, 7, 9], [1, 0, 0, 0, 1, 0, 0, 1, 0, 0]

    def said(*wanted: int, may_cut: bool = True) -> list[int]:
        return list(needed(Packets(stamps, bytearray(keys), may_cut), wanted))

    assert said(3) == [1, 2, 0, 0, 1, 1, 1, 0, 0, 0]
    assert said(9) == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2]
    assert said(1) == [1, 1, 2, 0, 1, 1, 1, 0, 0, 0]
    assert said(may_cut=False) == [1] * 10


def test_a_frame_that_stands_is_given_for_each_of_its_times(tmp_path):
    path = film(tmp_path / "slides.mkv", 4, times=[0, 1_000, 4_500, 9_000], rate=Fraction(1))
    track = scan(path)
    assert [frame for _, frame in track.at_rate(Fraction(1))][:10] == [0, 1, 1, 1, 2, 2, 2, 2, 2, 3]
    assert [number_of(s.image) for s in pick(path, track, [0, 1, 2, 3])] == [0, 1, 2, 3]


def test_a_clock_that_leaps_is_refused():
    track = Track([0, 10**12], Fraction(1, 1_000), 1, Fraction(1, 60), None)
    with pytest.raises(PictureError, match="stands for"):
        list(track.at_rate(Fraction(1)))


def test_few_frames(tmp_path):
    path = film(tmp_path / "one.mp4", 1)
    track = scan(path)
    assert list(track.at_rate(Fraction(1))) == list(track.evenly(16)) == [(0, 0)]
    assert [number_of(s.image) for s in pick(path, track, [0])] == [0]
    two = scan(film(tmp_path / "two.mp4", 2))
    assert list(two.evenly(16)) == list(two.evenly(2)) == [(0, 0), (1, 1)]
    assert list(two.evenly(1)) == [(0, 1)]


def test_a_damaged_place_costs_its_frames_only(tmp_path):
    path = film(tmp_path / "film.mkv", 150, codec="mjpeg")
    data = bytearray(path.read_bytes())
    place = data.index(b"\xff\xd8\xff", len(data) // 2)
    end = data.index(b"\xff\xd8\xff", place + 3)
    data[place : end - 40] = bytes(end - 40 - place)
    path.write_bytes(data)
    track = scan(path)
    wanted = list(range(len(track.stamps)))
    found = [one.frame for one in pick(path, track, wanted)]
    assert len(wanted) == 150
    assert len(found) == 149


def test_times_begin_with_the_first_frame(tmp_path):
    """Transport streams begin anywhere."""
    plain, late = film(tmp_path / "a.mp4", 40, codec="libx264"), tmp_path / "b.ts"
    with av.open(str(plain)) as source, av.open(str(late), "w", format="mpegts") as target:
        out = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.pts, packet.dts = packet.pts + 900_000, packet.dts + 900_000
                packet.stream = out
                target.mux(packet)
    track = scan(late)
    assert track.stamps[0] > 0
    assert (track.time(0), track.time(30)) == (0.0, pytest.approx(float(30 / RATE), abs=1e-4))
    assert [frame for _, frame in track.at_rate(Fraction(1))] == [0, 30]
    assert [time for time, _ in video.frames(late, [0.0, 1.0, 2.0])] == [0.0, 1.0]


def test_a_film_is_upright(tmp_path):
    """Telephones turn the picture by a note beside it."""
    path = film(tmp_path / "a.mp4", 10)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 65_536, 0, -65_536, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    [shown] = pick(path, scan(path), [5])
    assert shown.image.size == (32, 160)
    assert number_of(shown.image.transpose(Transpose.ROTATE_90)) == 5


def test_what_was_scanned_is_not_read_again(kind, monkeypatch):
    """And it is the same to the bit as what is read again."""
    path, _ = kind
    wanted = [0, 40, 41, 120]
    track = scan(path)
    again = [(one.frame, one.jpeg()) for one in pick(path, track, wanted, threads=1)]
    for room in (track_module.KEPT_BYTES, 20_000, 0):
        monkeypatch.setattr(track_module, "KEPT_BYTES", room)
        with reel(path) as opened:
            kept = scan(path, opened)
            assert kept == track
            assert (opened.kept is not None) == (room > 20_000 and track.packets is not None)
            shown = pick(path, track, wanted, threads=1, reel_=opened)
            assert [(one.frame, one.jpeg()) for one in shown] == again
