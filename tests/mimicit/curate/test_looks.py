"""Measuring pictures and hashing them."""

from __future__ import annotations

import random
import sys

import pytest
from PIL import Image, ImageEnhance, ImageOps

from mimicit.curate import hashes, looks
from mimicit.errors import MissingExtraError, PictureError
from mimicit.media import turbo
from mimicit.parts import parts_of
from tests.mimicit.curate.drawn import TEXTS, encoded, page, photographs, stored


def looked(image: Image.Image | bytes) -> looks._Look:
    return looks._look(image if isinstance(image, bytes) else encoded(image, quality=88), "x")


# Hashes


def variants(photo: Image.Image) -> dict[str, bytes]:
    half = photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.LANCZOS)
    return {
        "exact": encoded(photo, quality=92),
        "png": encoded(photo, "PNG"),
        "recompressed": encoded(photo, quality=40),
        "half": encoded(half, quality=85),
        "twice": encoded(photo.resize((photo.width * 2, photo.height * 2)), quality=85),
        "brightened": encoded(ImageEnhance.Brightness(photo).enhance(1.15), quality=85),
        "grey": encoded(photo.convert("L"), quality=85),
    }


def apart(a: int, b: int) -> int:
    return ((a ^ b) & (2**64 - 1)).bit_count()


@pytest.mark.parametrize("simple", [True, False], ids=["simplejpeg", "Pillow"])
def test_what_is_done_to_a_photograph_hardly_changes_its_hash(photos, monkeypatch, simple):
    if not simple:
        monkeypatch.setattr(turbo, "simplejpeg", lambda: None)
    distances: dict[str, list[int]] = {}
    for photo in photographs(photos).values():
        made = variants(photo)
        first, *others = hashes.hashes_of(list(made.values()))
        for name, other in zip(list(made)[1:], others, strict=True):
            distances.setdefault(name, []).append(apart(first, other))
    assert {name: max(far) for name, far in distances.items() if max(far) > 8} == {}
    near = [distance <= 3 for far in distances.values() for distance in far]
    assert sum(near) / len(near) >= 0.95


def test_different_photographs_and_pages_are_far_apart(photos):
    words, rng = " ".join(TEXTS).split(), random.Random(0)
    images = list(photographs(photos).values())
    images += [page([" ".join(rng.choices(words, k=12)) for _ in range(20)]) for _ in range(12)]
    found = hashes.hashes_of([encoded(image, quality=88) for image in images])
    assert min(apart(a, b) for n, a in enumerate(found) for b in found[:n]) > 8


def test_a_crop_and_a_mirror_image_are_not_found(photos):
    """Nobody's 64 bits find them; the docstring says so."""
    photo = photographs(photos)["coffee.png"]
    a, b = hashes.hashes_of([encoded(photo), encoded(ImageOps.mirror(photo))])
    assert apart(a, b) > 16


def test_the_hash_is_of_the_picture_as_it_is_seen(photos):
    photo = photographs(photos)["astronaut.png"].resize((400, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(photo.rotate(90, expand=True), quality=92, exif=exif)
    upright, as_seen = hashes.hashes_of([encoded(photo, quality=92), turned])
    assert apart(upright, as_seen) <= 2


def test_a_picture_without_contrast_has_no_hash():
    assert hashes.hashes_of([encoded(Image.new("RGB", (90, 70), "grey"))]) == [None]
    assert hashes.hashes_of([]) == []


def test_all_pairs_up_to_three_bits_are_found_and_no_other(store):
    rng = random.Random(1)
    values = [rng.getrandbits(64) for _ in range(3_000)]
    planted = set()
    for n in range(400):
        other = values[n]
        for bit in rng.sample(range(64), n % 6):
            other ^= 1 << bit
        if n % 6:
            planted.add((values[n], other, n % 6))
            values.append(other)
    import duckdb
    import pyarrow as pa

    def signed(value):
        return value - 2**64 if value >= 2**63 else value

    with duckdb.connect() as connection:
        connection.register("seen", pa.table({"hash": [signed(value) for value in values]}))
        for distance in (0, 1, 3):
            found = set(connection.execute(hashes.near_pairs("seen", distance)).fetchall())
            expected = {
                (*sorted((signed(a), signed(b))), far) for a, b, far in planted if far <= distance
            }
            assert found == expected


def test_numpy_is_asked_for_by_name(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingExtraError, match="numpy"):
        hashes.numpy()


# Measuring


def rows(store, query="SELECT * FROM looks ORDER BY id"):
    with store.reading() as connection:
        looks.attach(store, connection)
        return connection.sql(query).to_arrow_table().to_pylist()


def test_only_new_pictures_are_looked_at(store, photos, monkeypatch):
    seen = []
    look = looks.look
    monkeypatch.setattr(
        looks, "look", lambda ids, pictures: seen.extend(ids) or look(ids, pictures)
    )
    images = photographs(photos)
    batch = [stored(name, encoded(image)) for name, image in images.items()]
    with store.writing("test"):
        for some in (batch[:12], batch[12:]):
            store.add_images(some)
            store.sync()
            found = rows(store)
    assert sorted(seen) == sorted(images)
    assert [row["id"] for row in found] == sorted(images)
    assert all(row["decodable"] and row["hash"] for row in found)
    assert len(parts_of(store.path / "measures" / "looks.1")) == 2


def test_a_killed_run_goes_on_after_its_last_part(store, photos, monkeypatch):
    monkeypatch.setattr(looks, "PART", 2_048)
    small = photographs(photos)["coffee.png"].resize((24, 24))
    data = encoded(small)
    with store.writing("test"):
        store.add_images(
            stored(f"P{n:05d}", data + n.to_bytes(2), *small.size) for n in range(5_000)
        )
        store.sync()
    look, calls = looks.look, []

    def dies(ids, pictures):
        calls.append(len(ids))
        if sum(calls) > 4_000:
            raise KeyboardInterrupt
        return look(ids, pictures)

    monkeypatch.setattr(looks, "look", dies)
    with pytest.raises(KeyboardInterrupt):
        rows(store)
    monkeypatch.setattr(
        looks, "look", lambda ids, pictures: calls.append(-len(ids)) or look(ids, pictures)
    )
    assert len(rows(store)) == 5_000
    assert 0 < -sum(n for n in calls if n < 0) < 5_000


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "I;16"])
def test_pictures_of_every_mode_are_measured(photos, mode):
    photo = photographs(photos)["chelsea.png"]
    made = photo.convert("L").convert("I;16") if mode == "I;16" else photo.convert(mode)
    data = encoded(made, "TIFF" if mode == "CMYK" else "PNG")
    assert looked(data).small.shape == (32, 32)


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (900, 2), (191, 193), (5_000, 300)])
def test_pictures_of_every_size_are_measured(size):
    assert looked(Image.effect_noise(size, 40)).sharpness >= 0


def test_sharpness_does_not_depend_on_the_size_or_the_format(photos):
    for name, photo in photographs(photos).items():
        if min(photo.size) < 300:
            continue
        large = photo.resize((photo.width * 2, photo.height * 2), Image.Resampling.BICUBIC)
        here = looked(encoded(photo, quality=95)).sharpness
        for other in (encoded(photo, "PNG"), encoded(large, quality=95)):
            assert 0.5 < looked(other).sharpness / here < 2, name


def test_a_broken_shard_is_an_error_and_no_measure(store, photos):
    with store.writing("test"):
        store.add_images([stored("a", encoded(photographs(photos)["coffee.png"]))])
        store.sync()
        assert len(store.images) == 1
        [shard] = parts_of(store.path / "images")
        with shard.open("r+b") as file:
            file.truncate(100)
        store.images.close()
        with pytest.raises(Exception, match="restore it"):
            rows(store)


def test_a_picture_that_is_none_says_so():
    with pytest.raises(PictureError, match="'x'"):
        hashes.grey(b"nothing", name="x")
