"""Videos whose frames carry their own number, so that a test can tell which one it was given."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image, ImageDraw

RATE = Fraction(30_000, 1_001)
BITS, SIDE = 10, 16


def picture(number: int) -> Image.Image:
    image = Image.new("RGB", (BITS * SIDE, 2 * SIDE), (60, 90, 120))
    draw = ImageDraw.Draw(image)
    for bit in range(BITS):
        colour = "white" if number >> bit & 1 else "black"
        draw.rectangle((bit * SIDE, 0, (bit + 1) * SIDE - 1, SIDE - 1), fill=colour)
    return image


def number_of(image: Image.Image | bytes) -> int:
    if isinstance(image, bytes):
        image = Image.open(io.BytesIO(image))
    grey = image.convert("L").resize((BITS * SIDE, 2 * SIDE))
    lit = [grey.getpixel((bit * SIDE + SIDE // 2, SIDE // 2)) > 128 for bit in range(BITS)]
    return sum(1 << bit for bit in range(BITS) if lit[bit])


def film(
    path: Path,
    frames: int = 150,
    *,
    codec: str = "mpeg4",
    rate: Fraction = RATE,
    times: list[int] | None = None,
    gop: int = 12,
    b_frames: int = 0,
    more: dict[str, str] | None = None,
) -> Path:
    """Write a video.

    Args:
        times: When each frame is shown, in milliseconds; otherwise one follows the other at the rate.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=more or {})
        stream.width, stream.height, stream.pix_fmt = BITS * SIDE, 2 * SIDE, "yuv420p"
        if codec == "mjpeg":
            stream.pix_fmt = "yuvj420p"
        stream.bit_rate = 2_000_000
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1_000)
        for number in range(frames):
            frame = av.VideoFrame.from_image(picture(number))
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, 1_000) if times is not None else 1 / rate
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
