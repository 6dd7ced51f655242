import io
import itertools
import struct

import pytest

from mimicit.errors import PictureError
from mimicit.media import turbo
from mimicit.media.tensors import floats, pixels, stack

torch = pytest.importorskip("torch")
from PIL import Image  # noqa: E402

STEP = 1 / 255 + 1e-6
FEW = 1e-4
"""Share of values that may be two or three steps off where a JPEG hardly shrinks."""
BY = {"simplejpeg": None, "Pillow": lambda: None}


@pytest.fixture(autouse=True)
def one_thread():
    """Pictures are small: threads that wait for each other cost more than they do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=BY)
def decoder(request, monkeypatch):
    """Each test runs with simplejpeg, and as where it is not installed."""
    if request.param == "simplejpeg":
        pytest.importorskip("simplejpeg")
    else:
        monkeypatch.setattr(turbo, "simplejpeg", BY["Pillow"])
    return request.param


def reference(data, size):
    """What a loader does by the book: Pillow, RGB, bicubic, ToTensor."""
    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB").resize((size[1], size[0]), Image.Resampling.BICUBIC)
    values = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
    return values.view(*size, 3).permute(2, 0, 1).float() / 255


def encoded(image, format, **options):
    sink = io.BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


@pytest.fixture(scope="module")
def china(photos):
    with Image.open(photos / "china.jpg") as image:
        return image.convert("RGB")


def compare(data, size, quality="good"):
    """Return the largest difference, and the share of those above one step."""
    found = floats(pixels(data, size, quality=quality))
    assert found.shape == (3, *size)
    assert found.dtype == torch.float32
    difference = (found - reference(data, size)).abs()
    return difference.max(), (difference > STEP).float().mean()


def test_every_photograph_is_within_one_step_of_the_reference(photos, decoder):
    for path in sorted(photos.iterdir()):
        data = path.read_bytes()
        with Image.open(path) as image:
            as_jpeg = encoded(image.convert("RGB"), "JPEG", quality=85)
        assert compare(data, (224, 224))[0] <= STEP, path.name
        assert compare(as_jpeg, (224, 224))[0] <= STEP, path.name
        assert compare(as_jpeg, (384, 384))[1] <= FEW, path.name
        assert compare(as_jpeg, (384, 384), "exact")[0] == 0, path.name


@pytest.mark.parametrize(
    ("mode", "format", "options"),
    [
        ("RGB", "JPEG", {"quality": 60, "subsampling": 0}),
        ("RGB", "JPEG", {"quality": 90, "progressive": True}),
        ("L", "JPEG", {}),
        ("CMYK", "JPEG", {}),
        ("P", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("1", "PNG", {}),
        ("RGB", "WEBP", {}),
        ("P", "GIF", {}),
        ("RGB", "TIFF", {}),
    ],
    ids=lambda value: str(value),
)
def test_every_kind_of_picture_is_the_reference(china, decoder, mode, format, options):
    data = encoded(china.convert(mode), format, **options)
    for size in [(224, 224), (336, 100), (427, 640), (600, 900), (1, 1)]:
        largest, many = compare(data, size)
        assert largest <= 3 * STEP
        assert many <= FEW
        assert largest == 0 or format == "JPEG"
        assert compare(data, size, "exact")[0] == 0


def test_sides_of_any_length(decoder):
    for width, height in itertools.product([1, 2, 7, 8, 9, 65], repeat=2):
        noise = Image.effect_noise((width, height), 90).convert("RGB")
        data = encoded(noise, "JPEG", quality=95)
        assert compare(data, (31, 17))[0] <= 2 * STEP
        assert compare(data, (31, 17), "exact")[0] == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright(china, decoder, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(china, "JPEG", exif=exif.tobytes(), quality=95)
    with Image.open(io.BytesIO(data)) as image:
        from PIL import ImageOps

        upright = encoded(ImageOps.exif_transpose(image).convert("RGB"), "PNG")
    found = floats(pixels(data, (200, 300), quality="exact"))
    assert torch.equal(found, reference(upright, (200, 300)))


def test_a_picture_that_breaks_off_is_refused_or_taken_as_far_as_it_goes(china, decoder):
    data = encoded(china, "JPEG")
    with pytest.raises(PictureError, match="'half' cannot be decoded"):
        pixels(data[: len(data) // 2], 64, name="half")
    if decoder == "simplejpeg":
        found = floats(pixels(data[: len(data) // 2], 64, truncated=True))
        assert (found - reference(data, (64, 64)))[:, :24].abs().max() <= STEP


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"text", b"\xff\xd8\xff\xe1\x00\x10Exif\0\0" + b"\xff" * 40]
)
def test_what_is_no_picture_is_refused(decoder, data):
    with pytest.raises(PictureError, match="'it'"):
        pixels(data, 64, name="it")


def test_a_header_that_claims_a_billion_pixels_is_refused(china, decoder):
    data = bytearray(encoded(china, "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(PictureError, match="'bomb'"):
        pixels(bytes(data), 64, name="bomb")


def test_a_draft_is_about_the_same(china, decoder):
    data = encoded(china.resize((3200, 2400)), "JPEG")
    difference = floats(pixels(data, 224, quality="draft")) - reference(data, (224, 224))
    assert difference.abs().max() > 0
    assert difference.abs().mean() < 0.02


def test_pictures_are_stacked(photos, decoder):
    names = ["china.jpg", "coffee.png", "moon.png"]
    batch = stack([(photos / name).read_bytes() for name in names], (64, 32))
    assert batch.dtype == torch.uint8
    assert batch.shape == (3, 3, 64, 32)
    assert torch.equal(batch[1], pixels((photos / names[1]).read_bytes(), (64, 32)))
    assert stack([], 224).shape == (0, 3, 224, 224)
