"""Pictures as they come: each is taught as it looks, or named; none takes the memory of the machine."""

import io
import struct
import zlib

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from mimicit.errors import PictureError  # noqa: E402
from mimicit.media.picture import decode  # noqa: E402
from trainer.config import Data  # noqa: E402
from trainer.families.otter import OtterEncoder  # noqa: E402
from trainer.models.otter_processor import OtterProcessor  # noqa: E402

from .lessons import otter_processor  # noqa: E402

torch.set_num_threads(1)
SIDE = 32


@pytest.fixture(scope="module")
def encoder(dataset):
    from mimicit.snapshot import freeze
    from mimicit.store import Store

    processor = otter_processor(freeze(Store.open(dataset)), image_size=SIDE)
    return OtterEncoder(processor, Data())


def saved(image, kind="PNG", **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def plain():
    """Red above, blue below, wider than high."""
    image = Image.new("RGB", (64, 48), (200, 20, 30))
    image.paste((20, 30, 200), (0, 24, 64, 48))
    return image


def turned():
    """The same, stored on its side, as a telephone does: EXIF says how to turn it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(plain().rotate(90, expand=True), "JPEG", exif=exif, quality=95)


def with_palette():
    return saved(plain().quantize(8))


def with_clear_palette():
    image = plain().quantize(8)
    image.info["transparency"] = image.getpixel((0, 47))
    return saved(image, transparency=image.getpixel((0, 47)))


def half_clear():
    image = Image.new("LA", (64, 48), (60, 255))
    image.paste((60, 0), (0, 24, 64, 48))
    return saved(image)


def sixteen_bits():
    ramp = np.linspace(0, 65_535, 64 * 48).reshape(48, 64).astype(np.uint16)
    return saved(Image.fromarray(ramp))


def near(picture, above, below, *, tolerance):
    upper, lower = picture[:, 4, SIDE // 2].float(), picture[:, -4, SIDE // 2].float()
    assert (upper - torch.tensor(above)).abs().max() <= tolerance
    assert (lower - torch.tensor(below)).abs().max() <= tolerance


RED, BLUE, WHITE = (200.0, 20.0, 30.0), (20.0, 30.0, 200.0), (255.0,) * 3


@pytest.mark.parametrize(
    ("make", "above", "below", "tolerance"),
    [
        (lambda: saved(plain()), RED, BLUE, 1),
        (turned, RED, BLUE, 12),
        (lambda: saved(plain().convert("CMYK"), "JPEG", quality=95), RED, BLUE, 12),
        (with_palette, RED, BLUE, 6),
        (with_clear_palette, RED, WHITE, 6),
        (half_clear, (60.0,) * 3, WHITE, 1),
        (lambda: saved(plain().convert("1")), None, None, 0),
        (sixteen_bits, (30.0,) * 3, (225.0,) * 3, 8),
        (lambda: saved(Image.new("RGB", (1, 1), (9, 8, 7))), (9.0, 8.0, 7.0), (9.0, 8.0, 7.0), 0),
        (lambda: saved(Image.new("L", (1, 4000), 77)), (77.0,) * 3, (77.0,) * 3, 0),
        (lambda: saved(plain(), "WEBP", lossless=True), RED, BLUE, 1),
        (lambda: saved(plain(), "GIF"), RED, BLUE, 6),
        (lambda: saved(plain(), "TIFF"), RED, BLUE, 1),
        (lambda: saved(plain(), "JPEG", progressive=True, quality=95), RED, BLUE, 12),
    ],
    ids=["png", "exif", "cmyk", "p", "p-clear", "la", "1", "16-bit", "1x1", "1x4000", "webp", "gif", "tiff", "progressive"],
)  # fmt: skip
def test_it_is_taught_as_it_looks(encoder, make, above, below, tolerance):
    data = make()
    found = encoder.picture(data, name="it")
    assert (tuple(found.shape), found.dtype) == ((3, SIDE, SIDE), torch.uint8)
    if above is not None:
        near(found, above, below, tolerance=tolerance)
    # And as it is asked about.
    shown = np.asarray(decode(data, name="it").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    assert (found.permute(1, 2, 0).int() - torch.from_numpy(shown.copy()).int()).abs().max() <= 3


def test_the_middle_is_taken_of_odd_pictures_too(encoder):
    crop = OtterProcessor(encoder.processor.tokenizer, image_size=SIDE, geometry="crop")
    encoder = OtterEncoder(crop, Data())
    for data in (turned(), half_clear(), sixteen_bits(), saved(Image.new("L", (1, 4000), 77))):
        assert tuple(encoder.picture(data, name="it").shape) == (3, SIDE, SIDE)


def bomb(width, height):
    """A PNG of some hundred bytes that says it is so large."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (saved(plain(), "JPEG")[:500], "cannot be decoded"),
        (saved(plain())[:-30], "cannot be decoded"),
        (bomb(30_000, 30_000), "exceeds limit of .* pixels"),
        (b"", "is empty"),
        (b"<html>404</html>", "is not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "is not a picture"),
        (b"\xff\xd8\xff" + b"\0" * 100, "is not a picture|cannot be decoded"),
    ],
    ids=[
        "jpeg breaks off",
        "png breaks off",
        "bomb",
        "empty",
        "html",
        "program",
        "jpeg of nothing",
    ],
)
def test_it_is_named(encoder, data, said):
    with pytest.raises(PictureError, match=rf"'the picture' .*({said})|({said})"):
        encoder.picture(data, name="the picture")


def test_one_huge_picture_leaves_little_behind(encoder):
    """Trap: one picture of 25 million pixels, kept by each worker as large as it came."""
    huge = saved(Image.new("RGB", (5_000, 5_000), (1, 2, 3)))
    found = encoder.picture(huge, name="it")
    assert found.untyped_storage().nbytes() == 3 * SIDE * SIDE
