"""Photographs, pages, and records of pictures, for tests of pictures."""

from __future__ import annotations

import hashlib
import io

from PIL import Image, ImageDraw, ImageFont

from mimicit.schema import ImageRecord
from tests.builders import record

TEXTS = [
    "The ship came into the harbour at dawn, and nobody was there to see it.",
    "Die Katze schläft auf dem roten Sofa, während es draußen regnet und stürmt.",
    "Le chat dort sur le canapé rouge pendant qu'il pleut dehors depuis hier.",
    "El gato duerme en el sofá rojo mientras afuera llueve desde la mañana.",
    "Корабль вошёл в гавань на рассвете, и никто его не видел в тумане.",
]


def encoded(image: Image.Image, format: str = "JPEG", **options) -> bytes:
    sink = io.BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


def stored(id: str, data: bytes, width: int = 0, height: int = 0) -> ImageRecord:
    if not width:
        width, height = Image.open(io.BytesIO(data)).size
    return ImageRecord(
        id=id,
        image=data,
        sha256=hashlib.sha256(data).hexdigest(),
        mime="image/jpeg",
        width=width,
        height=height,
    )


def photographs(photos) -> dict[str, Image.Image]:
    return {
        path.name: Image.open(path).convert("RGB")
        for path in sorted(photos.iterdir())
        if path.suffix in (".png", ".jpg")
    }


def page(texts, *, size=(640, 480), letter=24, ink=0, paper=255, lines=99) -> Image.Image:
    image = Image.new("L", size, paper)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(letter)
    for n in range(min(lines, int(size[1] * 0.9 / letter / 1.4))):
        line = " ".join(texts[(n + k) % len(texts)] for k in range(20))
        line = line[: int(size[0] * 0.9 / letter * 1.9)]
        draw.text((size[0] * 0.05, size[1] * 0.05 + n * letter * 1.4), line, ink, font)
    return image.convert("RGB")


def one(id: str, *images: str, **changes):
    return record(0, id=id, image_ids=images, **changes)
