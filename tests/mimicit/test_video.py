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


def frame(size, format, *, matrix=2, full=False):
    """Make a frame of soft colours, whose planes have rows that are longer than the picture is wide."""
    import numpy as np

    width, height = size
    chance = np.random.default_rng(3)
    made = av.VideoFrame(width, height, format)
    black, white = (0, 255) if full else (16, 235)
    for plane in made.planes:
        coarse = chance.integers(black, white, (3, 5), dtype=np.uint8)
        soft = Image.fromarray(coarse).resize((plane.width, plane.height), Image.Resampling.BICUBIC)
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = np.clip(np.asarray(soft), black, white)
        plane.update(rows.tobytes())
    made.colorspace = matrix
    made.color_range = 2 if full else 1
    return made


def exact(made, *, full):
    """Return a frame's colours as BT.601 has them, in floating point."""
    import numpy as np

    planes = [
        np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[:, : p.width].astype(float)
        for p in made.planes
    ]
    light, blue, red = planes[0], *(
        p.repeat(2, 0).repeat(2, 1)[: made.height, : made.width] - 128 for p in planes[1:]
    )  # fmt: skip
    if not full:
        light, blue, red = (light - 16) * 255 / 219, blue * 255 / 224, red * 255 / 224
    rgb = [light + 1.402 * red, light - 0.344136 * blue - 0.714136 * red, light + 1.772 * blue]
    return np.clip(np.stack(rgb, -1), 0, 255)


def error(jpeg, truth):
    import numpy as np

    shown = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), float)
    return float(((shown - truth) ** 2).mean())


KINDS = {
    "most videos": ("yuv420p", 2, False),
    "BT.601": ("yuv420p", 6, False),
    "full range": ("yuv420p", 2, True),
    "old full range": ("yuvj420p", 5, True),
}


@pytest.mark.parametrize("size", [(150, 98), (64, 64), (854, 480)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_planes_are_encoded_as_well_as_a_picture(monkeypatch, kind, size):
    pytest.importorskip("simplejpeg")
    format, matrix, full = KINDS[kind]
    made = frame(size, format, matrix=matrix, full=full)
    truth = exact(made, full=full)
    by_picture = video.jpeg(video.picture_of(made, Fraction(1)))
    monkeypatch.setattr(video, "picture_of", None)
    by_planes = video.jpeg_of(made, Fraction(1))
    assert Image.open(io.BytesIO(by_planes)).size == size == video.size_of(made, Fraction(1))
    assert error(by_planes, truth) <= 1.02 * error(by_picture, truth) + 0.2
    assert len(by_planes) <= 1.1 * len(by_picture)


OTHERS = {
    "BT.709": ((160, 96), "yuv420p", 1, 1),
    "BT.2020": ((160, 96), "yuv420p", 9, 1),
    "4:4:4": ((160, 96), "yuv444p", 2, 1),
    "RGB": ((160, 96), "rgb24", 2, 1),
    "wide pixels": ((160, 96), "yuv420p", 2, 2),
    "odd width": ((161, 96), "yuv420p", 2, 1),
    "odd height": ((160, 97), "yuv420p", 2, 1),
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_frames_become_a_picture_first(other, monkeypatch):
    size, format, matrix, shape = OTHERS[other]
    made = frame(size, "yuv420p").reformat(format=format)
    made.colorspace = matrix
    encoded = video.jpeg_of(made, Fraction(shape))
    assert Image.open(io.BytesIO(encoded)).size == video.size_of(made, Fraction(shape))
    monkeypatch.setattr(video, "jpeg", lambda image: image.size)
    assert video.jpeg_of(made, Fraction(shape)) == video.size_of(made, Fraction(shape))


def test_without_simplejpeg_a_picture_is_made(monkeypatch):
    made = frame((160, 96), "yuv420p")
    monkeypatch.setattr(video, "simplejpeg", lambda: None)
    by_picture = video.jpeg(video.picture_of(made, Fraction(1)))
    assert video.jpeg_of(made, Fraction(1)) == by_picture
