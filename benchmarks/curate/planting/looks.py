"""Pictures: some thousands of crops and compositions of photographs, and pictures with faults, each of which a few records are about."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from .drafts import Draft, Plot
from .words import _mark

PHOTOS = Path(__file__).parents[3] / "examples" / "photos" / "images"
NAMES = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "china.jpg",
    "coffee.png",
    "coins.png",
    "flower.jpg",
    "motorcycle_left.png",
    "rocket.jpg",
)
"""Of photographs with things on them."""
SIZE = (320, 240)
SHARE = 8
"""Records about a picture with a fault, at most."""
TEXT = (
    "The ship came into the harbour at dawn, and nobody was there to see it. ", "Payment is due within thirty days of the date of this letter. ",
    "Die Katze schläft auf dem roten Sofa, während es draußen regnet. ", "Chapter 7 tells how the two brothers found their way back through the marsh. ",
)  # fmt: skip


def photographs() -> list[Image.Image]:
    return [_photo(name) for name in NAMES]


@cache
def _photo(name: str) -> Image.Image:
    with Image.open(PHOTOS / name) as image:
        return image.convert("RGB")


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **({"quality": 82} if kind == "JPEG" and not options else options))
    return sink.getvalue()


def composed(rng: random.Random) -> Image.Image:
    """Return a picture that no other one is like: parts of two or four photographs beside each other."""
    width, height = SIZE
    cut_x, cut_y = (
        rng.randint(width // 4, 3 * width // 4),
        rng.randint(height // 4, 3 * height // 4),
    )
    boxes = {
        0: [(0, 0, cut_x, height), (cut_x, 0, width, height)],
        1: [(0, 0, width, cut_y), (0, cut_y, width, height)],
        2: [(0, 0, cut_x, cut_y), (cut_x, 0, width, cut_y), (0, cut_y, cut_x, height), (cut_x, cut_y, width, height)],
    }[rng.randrange(3)]  # fmt: skip
    made = Image.new("RGB", SIZE)
    for box, photo in zip(boxes, rng.sample(photographs(), len(boxes)), strict=True):
        size = (box[2] - box[0], box[3] - box[1])
        made.paste(_part(photo, size, rng), box[:2])
    return made


def _part(photo: Image.Image, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Return a part of a photograph, sometimes mirrored: of several tries the one with the most in it."""
    best = max((_cropped(photo, size, rng) for _ in range(3)), key=_range)
    return best.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else best


def _cropped(photo: Image.Image, size: tuple[int, int], rng: random.Random) -> Image.Image:
    scale = min(photo.width / size[0], photo.height / size[1]) * rng.uniform(0.45, 1)
    across, down = int(size[0] * scale), int(size[1] * scale)
    x, y = rng.randint(0, photo.width - across), rng.randint(0, photo.height - down)
    return photo.resize(size, Image.Resampling.BILINEAR, (x, y, x + across, y + down))


def _range(image: Image.Image) -> int:
    counts = image.resize((24, 24)).convert("L").histogram()
    return sum(count > 0 for count in counts)


def plot_pictures(count: int, rng: random.Random) -> dict[str, bytes]:
    return {f"P_IMG_{n:06d}": encoded(composed(rng)) for n in range(count)}


# Faults


def undecodable(plot: Plot, count: int) -> None:
    def cut(share: float) -> bytes:
        data = encoded(composed(plot.rng))
        return data[: int(len(data) * share)]

    png = encoded(composed(plot.rng), "PNG")
    bad: Sequence[Callable[[], bytes]] = (
        lambda: cut(0.5), lambda: cut(0.02), lambda: b"<html><body>404 Not Found</body></html>", lambda: b"", lambda: bytes(4096),
        lambda: png[: len(png) // 2], lambda: b"\xff\xd8\xff\xe0" + plot.rng.randbytes(3000), lambda: b"GIF89a\x00", lambda: cut(0.9),
    )  # fmt: skip
    grey = composed(plot.rng).convert("L")
    good: Sequence[Callable[[], bytes]] = (
        lambda: encoded(composed(plot.rng).convert("CMYK")), lambda: encoded(composed(plot.rng).quantize(64), "PNG"), lambda: encoded(composed(plot.rng), "WEBP"),
        lambda: encoded(composed(plot.rng), "GIF"), lambda: encoded(grey.point(lambda v: v * 257, "I") if grey.mode == "I" else grey, "PNG"),
        lambda: encoded(composed(plot.rng), progressive=True, quality=60), lambda: encoded(composed(plot.rng).convert("RGBA"), "PNG"), lambda: encoded(composed(plot.rng), "BMP"),
    )  # fmt: skip
    _show(plot, count, "undecodable", bad, good)


def too_small(plot: Plot, count: int) -> None:
    def sized(width: int, height: int) -> Callable[[], bytes]:
        return lambda: encoded(composed(plot.rng).resize((width, height), Image.Resampling.LANCZOS))

    for draft in _show(
        plot,
        count,
        "too_small",
        [sized(*s) for s in ((60, 200), (32, 32), (63, 64), (200, 20), (8, 8), (1, 1), (48, 40))],
        [sized(64, 64), sized(64, 96), sized(120, 65)],
    ):
        draft.may |= {"blurred", "aspect", "blank", "text_only"}


def aspect(plot: Plot, count: int) -> None:
    def sized(width: int, height: int) -> Callable[[], bytes]:
        def made() -> bytes:
            whole = Image.new("RGB", (width, height))
            for x in range(0, width, 320):
                for y in range(0, height, 240):
                    whole.paste(composed(plot.rng), (x, y))
            return encoded(whole)

        return made

    for draft in _show(
        plot,
        count,
        "aspect",
        [sized(1200, 120), sized(150, 900), sized(1000, 195)],
        [sized(640, 130), sized(1000, 205), sized(200, 980)],
    ):
        draft.may |= {"blurred"}


def blank(plot: Plot, count: int) -> None:
    rng = plot.rng

    def plain(level: int) -> Callable[[], bytes]:
        return lambda: encoded(
            Image.new(
                "RGB",
                (rng.randint(200, 400), rng.randint(200, 400)),
                (level, level, max(0, level - rng.randint(0, 9))),
            )
        )

    def noisy(level: int) -> Callable[[], bytes]:
        def noise() -> Image.Image:
            return Image.effect_noise(SIZE, 3).point(lambda v: max(0, min(255, v - 128 + level)))

        return lambda: encoded(noise().convert("RGB"), quality=90)

    def slope() -> bytes:
        ramp = Image.linear_gradient("L").resize(SIZE).point(lambda v: 180 + v // 26)
        return encoded(ramp.convert("RGB"))

    bad = [plain(255), plain(0), plain(128), plain(240), noisy(200), noisy(90), slope]
    good = [_thing_on_plain(rng, level) for level in (255, 200, 30)]
    for draft in _show(plot, count, "blank", bad, good):
        draft.may |= {"dark", "text_only", "near_duplicate_picture"}


def _thing_on_plain(rng: random.Random, level: int) -> Callable[[], bytes]:
    """Return a maker of pictures of a small thing on an even ground."""

    def made() -> bytes:
        image = Image.new("RGB", SIZE, (level, level, level))
        thing = composed(rng).resize((96, 72))
        image.paste(thing, (rng.randint(10, 210), rng.randint(10, 150)))
        return encoded(image)

    return made


def dark(plot: Plot, count: int) -> None:
    def dimmed(share: float) -> Callable[[], bytes]:
        return lambda: encoded(composed(plot.rng).point(lambda v: int(v * share)), quality=92)

    def lamp() -> bytes:
        image = composed(plot.rng).point(lambda v: v // 14)
        draw = ImageDraw.Draw(image)
        x, y = plot.rng.randint(40, 260), plot.rng.randint(30, 200)
        draw.ellipse((x, y, x + 34, y + 34), (250, 240, 190))
        return encoded(image)

    def stars() -> bytes:
        image = Image.new("RGB", SIZE, (4, 4, 10))
        draw = ImageDraw.Draw(image)
        for _ in range(140):
            x, y, r = plot.rng.randint(0, 315), plot.rng.randint(0, 235), plot.rng.randint(1, 4)
            draw.ellipse((x, y, x + r, y + r), (255, 255, 240))
        return encoded(image)

    for draft in _show(
        plot,
        count,
        "dark",
        [dimmed(0.1), dimmed(0.06), dimmed(0.03), dimmed(0.13)],
        [lamp, stars, dimmed(0.4)],
    ):
        draft.may |= {"blank", "blurred"}


def blurred(plot: Plot, count: int) -> None:
    def soft(radius: float) -> Callable[[], bytes]:
        return lambda: encoded(composed(plot.rng).filter(ImageFilter.GaussianBlur(radius)))

    def tiny(side: int) -> Callable[[], bytes]:
        return lambda: encoded(
            composed(plot.rng).resize((side, side * 3 // 4)).resize(SIZE, Image.Resampling.BICUBIC)
        )

    def moved() -> bytes:
        return encoded(
            composed(plot.rng)
            .resize((20, 240), Image.Resampling.BOX)
            .resize(SIZE, Image.Resampling.BICUBIC)
            .filter(ImageFilter.GaussianBlur(2))
        )

    def half() -> bytes:
        image = composed(plot.rng)
        image.paste(image.filter(ImageFilter.GaussianBlur(8)).crop((0, 0, 200, 240)), (0, 0))
        return encoded(image)

    for draft in _show(
        plot,
        count,
        "blurred",
        [soft(8), soft(5), soft(12), tiny(20), tiny(30), moved],
        [soft(0.8), half, lambda: encoded(composed(plot.rng), quality=25)],
    ):
        draft.may |= {"blank", "near_duplicate_picture"}


def text_only(plot: Plot, count: int) -> None:
    rng = plot.rng

    def page(
        ink: int, paper: int, letter: int, size: tuple[int, int] = (640, 480), columns: int = 1
    ) -> Callable[[], bytes]:
        return lambda: encoded(_page(rng, ink, paper, letter, size, columns), quality=88)

    def titled() -> bytes:
        image = composed(rng).resize((640, 480))
        ImageDraw.Draw(image).text(
            (30, 410), TEXT[rng.randrange(4)][:40], (255, 255, 255), ImageFont.load_default(28)
        )
        return encoded(image)

    def chart() -> bytes:
        image = Image.new("RGB", (640, 480), "white")
        draw = ImageDraw.Draw(image)
        for n in range(8):
            height = rng.randint(60, 380)
            draw.rectangle(
                (60 + n * 70, 430 - height, 110 + n * 70, 430),
                tuple(rng.randrange(40, 220) for _ in range(3)),
            )
            draw.text((65 + n * 70, 440), f"{2010 + n}", "black", ImageFont.load_default(16))
        draw.line((50, 430, 620, 430), "black", 2)
        draw.line((50, 30, 50, 430), "black", 2)
        return encoded(image)

    bad = [
        page(0, 255, 20),
        page(20, 235, 28),
        page(235, 20, 22),
        page(0, 250, 16, (480, 640)),
        page(30, 240, 14, (640, 640), 2),
        page(0, 255, 40),
    ]
    for draft in _show(plot, count, "text_only", bad, [titled, chart, _half_page(rng)]):
        draft.may |= {"near_duplicate_picture"}


def _page(
    rng: random.Random, ink: int, paper: int, letter: int, size: tuple[int, int], columns: int
) -> Image.Image:
    image = Image.new("L", size, paper)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(letter)
    wide = size[0] // columns
    for column in range(columns):
        text = "".join(rng.choices(TEXT, k=80))
        most = int(wide * 0.88 / letter * 1.85)
        for n in range(int(size[1] * 0.9 / letter / 1.4)):
            ends = most if rng.random() < 0.85 else rng.randint(most // 4, most)
            draw.text(
                (wide * (column + 0.05), size[1] * 0.05 + n * letter * 1.4),
                text[n * most : n * most + ends],
                ink,
                font,
            )
    return image.convert("RGB")


def _half_page(rng: random.Random) -> Callable[[], bytes]:
    def made() -> bytes:
        image = _page(rng, 0, 255, 18, (640, 480), 1)
        image.paste(composed(rng).resize((640, 300)), (0, 180))
        return encoded(image)

    return made


def missing_picture(plot: Plot, count: int) -> None:
    for n, draft in enumerate(plot.takes(count)):
        lost = f"P_IMG_lost_{n}"
        draft.image_ids = (lost,) if n % 2 else (draft.image_ids[0], lost)
        _mark(draft, "missing_picture")


def picture_count(plot: Plot, count: int) -> None:
    """Take all pictures away, or give more than the four that the recipe allows."""
    ids = _plain(plot)
    for n, draft in enumerate(plot.takes(count)):
        draft.image_ids = () if n % 2 else tuple(plot.rng.sample(ids, plot.rng.randint(5, 9)))
        if not draft.image_ids:
            draft.may |= {"exact_duplicate", "repeated_question"}
        _mark(draft, "picture_count")
    for draft in plot.takes(count // 4):
        draft.image_ids = tuple(plot.rng.sample(ids, plot.rng.randint(2, 4)))
        _mark(draft, "")


def picture_mismatch(plot: Plot, count: int) -> None:
    ids = _plain(plot)
    for n, draft in enumerate(plot.takes(count + count // 2, lambda d: "\n" not in d.instruction)):
        pictures = plot.rng.randint(1, 3)
        marks = (
            pictures if n >= count else plot.rng.choice([m for m in (1, 2, 3, 4) if m != pictures])
        )
        draft.image_ids = tuple(plot.rng.sample(ids, pictures))
        draft.instruction = "<image>" * marks + "\n" + draft.instruction
        _mark(draft, "picture_mismatch" if n < count else "")


def near_duplicate_picture(plot: Plot, count: int) -> None:
    """Ask the same about a picture that was encoded, scaled or brightened again; the one with more pixels, or the first, is to stay."""
    changes: Sequence[Callable[[Image.Image], bytes]] = (
        lambda i: encoded(i, quality=35), lambda i: encoded(i.resize((160, 120), Image.Resampling.LANCZOS)), lambda i: encoded(i, "PNG"),
        lambda i: encoded(i.point(lambda v: min(255, int(v * 1.06)))), lambda i: encoded(i.resize((480, 360), Image.Resampling.BICUBIC)), lambda i: encoded(i.crop((2, 2, 318, 238))),
    )  # fmt: skip
    for n, (one, other) in enumerate(_pairs(plot, count)):
        id_ = f"P_IMG_near_{n:05d}"
        with Image.open(io.BytesIO(plot.pictures[one.image_ids[0]])) as image:
            plot.pictures[id_] = changes[n % len(changes)](image.convert("RGB"))
        other.instruction, other.image_ids, other.language = one.instruction, (id_,), one.language
        worse = one if n % len(changes) == 4 else other
        for draft in (one, other):
            draft.kind = "near_duplicate_picture"
        worse.labels.add("near_duplicate_picture")
    for one, other in _pairs(plot, count // 4):  # the same question about another picture
        other.instruction, other.language = one.instruction, one.language
        for draft in (one, other):
            _mark(draft, "")
    for n, draft in enumerate(plot.takes(count // 4)):  # another question about nearly the same one
        id_ = f"P_IMG_like_{n:05d}"
        with Image.open(io.BytesIO(plot.pictures[draft.image_ids[0]])) as image:
            plot.pictures[id_] = encoded(image.convert("RGB"), quality=40)
        draft.image_ids = (id_,)
        _mark(draft, "")


def _plain(plot: Plot) -> list[str]:
    """Return the pictures without a fault."""
    return [id_ for id_ in plot.pictures if id_.removeprefix("P_IMG_").isdigit()]


def _pairs(plot: Plot, count: int) -> list[tuple[Draft, Draft]]:
    """Return pairs of plain drafts of one language, the first id first."""
    drafts = list(plot.takes(2 * count, lambda d: d.language == "en" and "\n" not in d.instruction))
    return [tuple(sorted(drafts[k : k + 2], key=lambda d: d.id)) for k in range(0, 2 * count, 2)]  # type: ignore[misc]


def _show(
    plot: Plot,
    count: int,
    filter_: str,
    bad: Sequence[Callable[[], bytes]],
    good: Sequence[Callable[[], bytes]],
) -> list[Draft]:
    """Make pictures, and let records be about them: some about one picture, some about one of several."""
    shown = []
    for makers, records, label in ((bad, count, filter_), (good, count // 3, "")):
        made = max(len(makers), -(-records // SHARE))
        ids = [f"P_IMG_{filter_}_{'' if label else 'not_'}{n:04d}" for n in range(made)]
        for n, id_ in enumerate(ids):
            plot.pictures[id_] = makers[n % len(makers)]()
        for n, draft in enumerate(plot.takes(records)):
            id_ = ids[n % made]
            several = label and n % 5 == 4
            draft.image_ids = (draft.image_ids[0], id_) if several else (id_,)
            _mark(draft, label)
            if label:
                shown.append(draft)
    return shown
