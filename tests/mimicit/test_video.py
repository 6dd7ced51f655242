"""Frames by their time, from real encoded videos."""

import io
from fractions import Fraction

import av
import pytest
from PIL import Image

from mimicit.errors import PictureError
from mimicit.media import video

RATE = Fraction(30_000, 1_001)  # 29.97 frames a second, as in most cameras


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Write five seconds whose brightness rises by 40 a second."""
    path = tmp_path_factory.mktemp("video") / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE, bit_rate=400_000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(150):
            level = 20 + 40 * int(number / RATE)
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (level,) * 3))
            frame.pts = number
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def brightness(jpeg):
    return Image.open(io.BytesIO(jpeg)).convert("L").resize((1, 1)).getpixel((0, 0))


def test_a_frame_is_the_one_that_is_shown_at_its_time(film):
    found = list(video.frames(film, [0.0, 0.5, 1.5, 3.5, 4.9]))
    assert [time for time, _ in found] == [0.0, 0.5, 1.5, 3.5, 4.9]
    levels = [brightness(jpeg) for _, jpeg in found]
    assert levels == pytest.approx([20, 20, 60, 140, 180], abs=8)


def test_a_video_is_read_from_the_middle(film):
    [(time, jpeg)] = list(video.frames(film, [2.5]))
    assert (time, brightness(jpeg)) == (2.5, pytest.approx(100, abs=8))


def test_times_after_the_end_have_no_frame(film):
    assert [time for time, _ in video.frames(film, [4.0, 60.0])] == [4.0]
    assert list(video.frames(film, [])) == []


def test_the_length_of_a_video(film):
    assert video.duration(film) == pytest.approx(5.0, abs=0.1)


def test_a_half_downloaded_video_shows_what_it_has(film, tmp_path):
    """Transport streams can be cut anywhere; an MP4 without its index cannot be read at all."""
    cut = tmp_path / "cut.mpg"
    with av.open(str(film)) as source, av.open(str(cut), "w", format="mpegts") as target:
        out = target.add_stream("mpeg2video", rate=30)
        out.width, out.height, out.pix_fmt = 64, 48, "yuv420p"
        for frame in source.decode(video=0):
            for packet in out.encode(frame.reformat(format="yuv420p")):
                target.mux(packet)
        for packet in out.encode():
            target.mux(packet)
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    assert [time for time, _ in video.frames(cut, [0.0, 1.0, 4.9])][:1] == [0.0]
    half = tmp_path / "half.mp4"
    half.write_bytes(film.read_bytes()[:2_000])
    with pytest.raises(PictureError, match=r"half.mp4"):
        list(video.frames(half, [0.0]))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text.mp4", b"hello", "not a video"),
        ("empty.mp4", b"", "not a video"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n", "not a video"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile /etc/passwd\n", "not a video"),
    ],
)
def test_what_is_no_video_is_a_sentence(tmp_path, name, content, said):
    """Playlists are none: they name other files."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PictureError, match=said):
        video.duration(path)


def test_a_missing_video_is_a_sentence(tmp_path):
    with pytest.raises(PictureError, match="there is no video"):
        list(video.frames(tmp_path / "gone.mp4", [0.0]))
