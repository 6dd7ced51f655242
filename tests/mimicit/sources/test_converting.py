"""Pictures and frames in a dataset: as they were given, in order, once, whatever happens on the way."""

import io
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from mimicit.errors import FormatError, PictureError
from mimicit.parts import parts_of
from mimicit.sources import converting, source_named
from mimicit.sources.base import FindOptions
from mimicit.sources.converting import Converted, ConvertOptions, convert
from mimicit.sources.stills import Shape
from mimicit.store import Store
from tests.mimicit.sources.films import RATE, film, number_of


def run(store: Store, source: str, path: Path, **options: object) -> Converted:
    return convert(source_named(source), path, store, ConvertOptions(**options))


def rows(store: Store) -> list[dict]:
    import pyarrow.parquet as pq

    parts = parts_of(store.path / "images")
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def encoded(image: Image.Image, format: str, **more: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **more)
    return buffer.getvalue()


def photo(size: tuple[int, int] = (64, 48), format: str = "JPEG", **more: object) -> bytes:
    return encoded(Image.radial_gradient("L").resize(size).convert("RGB"), format, **more)


def opened(row: dict) -> Image.Image:
    return Image.open(io.BytesIO(row["image"]))


def test_pictures_keep_their_bytes_and_their_order(store, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number}.jpg").write_bytes(photo((40 + number, 30)))
    done = run(store, "folder", folder, jobs=4)
    assert (done.images, done.files, done.bad_count) == (60, 60, 0)
    found = rows(store)
    assert [row["id"] for row in found] == [f"PIC_IMG_{number}" for number in range(60)]
    assert all(row["image"] == (folder / row["source"]).read_bytes() for row in found)
    assert [row["width"] for row in found] == [40 + number for number in range(60)]


def test_the_shards_do_not_depend_on_the_number_of_jobs(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.png").write_bytes(photo((300 - 10 * number, 30), "PNG"))
        if number % 7 == 0:
            film(folder / f"{number}.mp4", 40 + number)
    shards = set()
    for jobs in (1, 2, 5):
        store = Store.open(tmp_path / f"{jobs}", create=True)
        names = tmp_path / "names.txt"
        names.write_text("\n".join(sorted(p.name for p in folder.iterdir())))
        run(store, "list", names, jobs=jobs, find=FindOptions(folder))
        shards.add(tuple(path.read_bytes() for path in parts_of(store.path / "images")))
    assert len(shards) == 1


def test_a_folder_with_one_video(store, tmp_path):
    (tmp_path / "in").mkdir()
    film(tmp_path / "in" / "v_1.mp4", 150)
    done = run(store, "dc", tmp_path / "in")
    assert (done.images, done.files) == (6 - 1, 1)
    found = rows(store)
    assert [row["id"] for row in found] == [f"DC_IMG_v_1_000{k}" for k in range(5)]
    for k, row in enumerate(found):
        assert abs(row["time"] - k) <= float(1 / (2 * RATE)) + 1e-9
        assert number_of(row["image"]) == round(row["time"] * RATE) == round(k * RATE)
        assert (row["source"], row["mime"], row["width"]) == ("v_1.mp4", "image/jpeg", 160)


def test_every_frame_of_a_29_97_video_is_stored_with_its_time(store, tmp_path):
    film(tmp_path / "v.mp4", 300)
    done = run(store, "videos", tmp_path, find=FindOptions(fps=RATE))
    assert (done.images, done.bad) == (300, [])
    for number, row in enumerate(rows(store)):
        assert row["id"] == f"VID_IMG_v_{number:04d}"
        assert number_of(row["image"]) == number
        assert abs(row["time"] - number / RATE) <= 1 / (2 * RATE)


def test_a_video_at_even_distances(store, tmp_path):
    film(tmp_path / "v.mp4", 100)
    run(store, "e4d", tmp_path, find=FindOptions(frames=5))
    assert [row["id"] for row in rows(store)] == [f"E4D_IMG_v_0000000{n}" for n in range(5)]
    assert [number_of(row["image"]) for row in rows(store)] == [0, 25, 50, 74, 99]


def test_what_is_there_is_not_decoded_again(store, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    film(tmp_path / "in" / "a.mp4", 100)
    first = run(store, "videos", tmp_path / "in")
    film(tmp_path / "in" / "b.mp4", 70)
    decoded = []
    real = converting.pick

    def watched(path, track, wanted, **more):
        decoded.append((path.name, list(wanted)))
        return real(path, track, wanted, **more)

    monkeypatch.setattr(converting, "pick", watched)
    second = run(store, "videos", tmp_path / "in")
    third = run(store, "videos", tmp_path / "in")
    assert (first.images, second.images, second.known, third.images, third.known) == (4, 3, 4, 0, 7)
    assert decoded == [("b.mp4", [0, 30, 60])]
    assert len(rows(store)) == 7


def test_missing_frames_of_a_video_are_added(store, tmp_path):
    film(tmp_path / "v.mp4", 100)
    run(store, "videos", tmp_path, find=FindOptions(fps=Fraction(1)))
    done = run(store, "videos", tmp_path, find=FindOptions(frames=100))
    assert (done.known, done.images) == (1, 96)
    assert [row.where for row in done.bad] == [f"VID_IMG_v_000{n}" for n in (1, 2, 3)]
    assert "another picture of this id" in done.bad[0].reason


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    folder, target = tmp_path / "in", tmp_path / "ds"
    folder.mkdir()
    for number in range(30):
        film(folder / f"{number}.mp4", 100)
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom mimicit.sources import converting, source_named\n"
        "from mimicit.store import Store\nconverting.SHARD_SECONDS = 0.2\n"
        f"converting.convert(source_named('dc'), Path({str(folder)!r}), Store.open(Path({str(target)!r}), create=True),"
        " progress=lambda done: time.sleep(0.02))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], cwd=Path.cwd())
    while len(parts_of(target / "images")) < 2:
        assert child.poll() is None
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    store = Store.open(target)
    before = len(rows(store))
    done = run(store, "dc", folder)
    assert 0 < before < 120
    assert (done.known, done.images) == (before, 120 - before)
    assert [row["id"] for row in rows(store)] == [
        f"DC_IMG_{film}_{k:04d}" for film in range(30) for k in range(4)
    ]
    assert not list(target.glob("images/.*"))


def test_ctrl_c_keeps_what_was_decoded(store, tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(40):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(photo())

    def interrupt(done: Converted) -> None:
        if done.images == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source_named("folder"), tmp_path / "in", store, progress=interrupt)
    assert len(rows(store)) == 10
    assert run(store, "folder", tmp_path / "in").images == 30


def test_an_error_on_the_way_keeps_what_was_decoded(store, tmp_path, photos):
    path = tmp_path / "a.json"
    path.write_text('{"images": [{"id": "chelsea", "url_m": "x"}, {"id":')
    with pytest.raises(FormatError, match="broken JSON"):
        run(store, "vst", path, find=FindOptions(photos))
    assert [row["id"] for row in rows(store)] == ["VST_IMG_chelsea"]


def test_a_video_that_fails_is_named_and_the_others_go_on(store, tmp_path):
    film(tmp_path / "a.mp4", 10)
    (tmp_path / "b.mp4").write_bytes(b"hello")
    film(tmp_path / "c.mp4", 10)
    whole = (tmp_path / "c.mp4").read_bytes()
    (tmp_path / "d.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "e.mp4").write_bytes(b"")
    done = run(store, "dc", tmp_path)
    assert [row["id"] for row in rows(store)] == ["DC_IMG_a_0000", "DC_IMG_c_0000"]
    assert [row.where for row in done.bad] == ["b.mp4", "d.mp4", "e.mp4"]
    none = "is not a video that can be read"
    said = [row.reason.partition(":")[0] for row in done.bad]
    assert said == [none, "holds no pictures, or is not whole", none]


def odd_pictures() -> dict[str, bytes]:
    deep = Image.new("I;16", (40, 30), 40_000)
    clear = Image.new("RGBA", (40, 30), (200, 0, 0, 0))
    turned = Image.new("RGB", (40, 30), (250, 0, 0))
    turned.paste((0, 0, 250), (0, 0, 20, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    moving = [Image.new("P", (40, 30), level) for level in (0, 100, 200)]
    return {
        "cmyk.jpg": encoded(Image.new("CMYK", (40, 30), (10, 20, 30, 0)), "JPEG"),
        "deep.png": encoded(deep, "PNG"),
        "deep.tif": encoded(deep, "TIFF"),
        "clear.png": encoded(clear, "PNG"),
        "turned.jpg": encoded(turned, "JPEG", exif=exif.tobytes(), quality=95),
        "moving.gif": encoded(moving[0], "GIF", save_all=True, append_images=moving[1:]),
        "grey.png": encoded(Image.new("L", (40, 30), 90), "PNG"),
        "palette.png": encoded(Image.new("P", (40, 30), 3), "PNG"),
    }


def test_odd_pictures_stay_as_they_are(store, tmp_path):
    for name, data in odd_pictures().items():
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in" / "deep.tif").rename(tmp_path / "in" / "deeper.tif")
    done = run(store, "folder", tmp_path / "in")
    assert (done.images, done.bad) == (8, [])
    assert all(
        row["image"] == (tmp_path / "in" / row["source"]).read_bytes() for row in rows(store)
    )


@pytest.mark.parametrize("format", ["jpeg", "webp", None])
def test_odd_pictures_are_encoded_as_they_look(store, tmp_path, format):
    for name, data in odd_pictures().items():
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in" / "deep.tif").rename(tmp_path / "in" / "deeper.tif")
    done = run(store, "folder", tmp_path / "in", shape=Shape(20, format))
    assert (done.images, done.bad) == (8, [])
    found = {row["source"]: row for row in rows(store)}
    colour = {
        name: tuple(opened(row).convert("RGB").getpixel((3, 3))) for name, row in found.items()
    }
    assert colour["deep.png"] == pytest.approx((156, 156, 156), abs=3)
    assert colour["deeper.tif"] == pytest.approx((156, 156, 156), abs=3)
    assert colour["clear.png"] == pytest.approx((255, 255, 255), abs=3)
    assert colour["cmyk.jpg"] == pytest.approx((245, 235, 225), abs=6)
    turned = opened(found["turned.jpg"])  # what was left is above
    assert (turned.size, turned.getexif().get(0x0112)) == ((15, 20), None)
    assert colour["turned.jpg"] == pytest.approx((0, 0, 250), abs=12)
    assert {opened(row).size for name, row in found.items() if name != "turned.jpg"} == {(20, 15)}
    mimes = {"jpeg": {"image/jpeg"}, "webp": {"image/webp"}, None: {"image/jpeg", "image/png"}}
    assert {row["mime"] for row in found.values()} == mimes[format]
    assert all((row["width"], row["height"]) == opened(row).size for row in found.values())


def test_only_what_must_be_is_encoded_again(store, tmp_path):
    small, large, web = photo((40, 30)), photo((90, 30)), photo((40, 30), "WEBP")
    for name, data in (("small.jpg", small), ("large.jpg", large), ("web.webp", web)):
        (tmp_path / name).write_bytes(data)
    run(store, "folder", tmp_path, shape=Shape(60, "jpeg"))
    found = {row["source"]: row for row in rows(store)}
    assert found["small.jpg"]["image"] == small
    assert (found["large.jpg"]["width"], found["large.jpg"]["height"]) == (60, 20)
    assert found["web.webp"]["mime"] == "image/jpeg"


def test_frames_within_a_side(store, tmp_path):
    film(tmp_path / "v.mp4", 40)
    run(store, "videos", tmp_path, shape=Shape(80, "webp"))
    assert {(row["width"], row["height"], row["mime"]) for row in rows(store)} == {
        (80, 16, "image/webp")
    }


@pytest.mark.parametrize("keep", [False, True])
def test_a_picture_that_breaks_off(store, tmp_path, keep):
    whole = photo((200, 150), quality=95)
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "no.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "whole.jpg").write_bytes(whole)
    done = run(store, "folder", tmp_path, shape=Shape(100, keep_damaged=keep))
    kept = ["PIC_IMG_cut"] * keep + ["PIC_IMG_whole"]
    assert [row["id"] for row in rows(store)] == kept
    assert [row.where for row in done.bad] == ["cut.jpg"] * (not keep) + ["no.jpg"]
    assert done.damaged == keep
    if keep:
        assert rows(store)[0]["image"] == whole[: len(whole) // 2]


def test_bombs_and_the_largest_pictures(store, tmp_path):
    import struct
    import zlib

    def png(width: int, height: int) -> bytes:
        def chunk(kind: bytes, data: bytes) -> bytes:
            code = struct.pack(">I", zlib.crc32(kind + data))
            return struct.pack(">I", len(data)) + kind + data + code

        head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
        line = bytes(1 + (width + 7) // 8)
        body = zlib.compress(line * height)
        return (
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
        )

    (tmp_path / "bomb.png").write_bytes(png(30_000, 30_000))
    (tmp_path / "wide.png").write_bytes(png(30_000, 200))
    (tmp_path / "tall.png").write_bytes(png(3_000, 30_000))
    done = run(store, "folder", tmp_path, shape=Shape(600))
    assert [(row.where, "exceeds limit" in row.reason) for row in done.bad] == [("bomb.png", True)]
    assert [(row["width"], row["height"]) for row in rows(store)] == [(60, 600), (600, 4)]
    whole = Store.open(tmp_path / "whole", create=True)
    assert run(whole, "folder", tmp_path, find=FindOptions(prefix="X")).bad_count == 1
    assert {(row["width"], row["height"]) for row in rows(whole)} == {
        (3_000, 30_000),
        (30_000, 200),
    }


def test_a_picture_too_wide_for_webp_is_named(store, tmp_path):
    (tmp_path / "wide.png").write_bytes(encoded(Image.new("L", (17_000, 4)), "PNG"))
    done = run(store, "folder", tmp_path, shape=Shape(format="webp"))
    assert "cannot be encoded as image/webp" in done.bad[0].reason


def test_names_that_nobody_expects(store, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    names = ["a b.jpg", "..jpg", "it's; DROP TABLE images.jpg", "🐈.jpg", "-rf.jpg", "a..b.jpg"]
    for name in names:
        (folder / name).write_bytes(photo())
    (folder / "new\nline.jpg").write_bytes(photo())
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.jpg")).write_bytes(photo())
    done = run(store, "folder", folder)
    assert {row["source"] for row in rows(store)} == set(names) - {"..jpg"} | {"..jpg"}
    assert sorted(row.reason for row in done.bad) == [
        "its id has a control character", "its id is not UTF-8",
    ]  # fmt: skip


def test_nothing_outside_the_folder_is_read(store, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.jpg").write_bytes(photo())
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "inner.jpg").write_bytes(photo())
    (folder / "inner_link.jpg").symlink_to(folder / "inner.jpg")
    film(tmp_path / "v.mp4", 3)
    names = folder / "names.txt"
    names.write_text(
        f"../secret.jpg\nlink.jpg\n{tmp_path}/secret.jpg\ninner_link.jpg\n../v.mp4\ngone.jpg\ngone.mp4\na\x00b.jpg\n"
    )
    done = run(store, "list", names)
    assert [row["source"] for row in rows(store)] == ["inner_link.jpg"]
    said = [row.reason.split(" ", 2)[:2] for row in done.bad]
    assert said[:4] == [["leads", "out"]] * 4
    assert [row.reason for row in done.bad][4:] == [
        f"is not in {str(folder)!r}", f"is not in {str(folder)!r}", "its id has a control character",
    ]  # fmt: skip


def test_two_files_for_one_id(store, tmp_path):
    (tmp_path / "a.jpg").write_bytes(photo())
    (tmp_path / "a.png").write_bytes(photo((10, 10), "PNG"))
    done = run(store, "la", tmp_path)
    assert (done.images, len(rows(store))) == (1, 1)
    assert [(row.where, "another picture" in row.reason) for row in done.bad] == [
        ("LA_IMG_a", True)
    ]


def test_only_what_is_wanted(store, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        (folder / name).write_bytes(photo())
    only = tmp_path / "wanted.json"
    only.write_text(
        '{"data": {"i": {"image_ids": ["LA_IMG_3"]}, "j": {"image_ids": ["LA_IMG_9"]}}}'
    )
    done = run(store, "la", folder, only=only)
    assert [row["id"] for row in rows(store)] == ["LA_IMG_3"]
    assert [row.reason for row in done.bad] == ["there is no picture or video 'LA_IMG_9'"]
    (tmp_path / "names.txt").write_text("1\n\n2\n")
    assert run(store, "la", folder, only=tmp_path / "names.txt").images == 2
    film(tmp_path / "v_1.mp4", 5)
    (tmp_path / "frames.json").write_text('["DC_IMG_v_1_0000", "DC_IMG_v_1_0004"]')
    done = run(store, "dc", tmp_path, only=tmp_path / "frames.json")
    assert (done.images, done.bad) == (1, [])


def test_the_first_few(store, tmp_path):
    for number in range(50):
        (tmp_path / f"{number}.jpg").write_bytes(photo())
    assert run(store, "la", tmp_path, limit=20).images == 20
    assert run(store, "la", tmp_path, limit=21).images == 1


def test_a_folder_with_nothing_in_it_is_a_sentence(store, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_bytes(b"")
    with pytest.raises(FormatError, match="holds nothing that the source 'la' reads"):
        run(store, "la", tmp_path / "in")


def test_a_shard_is_stored_before_the_next_begins(store, tmp_path, monkeypatch):
    monkeypatch.setattr(converting, "SHARD_BYTES", 4_000)
    for number in range(12):
        (tmp_path / f"{number}.jpg").write_bytes(photo())
    run(store, "la", tmp_path)
    assert len(parts_of(store.path / "images")) > 2
    assert len(rows(store)) == 12


def test_a_bug_in_a_thread_is_not_lost(store, tmp_path, monkeypatch):
    (tmp_path / "1.jpg").write_bytes(photo())

    def broken(*args: object, **more: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(converting, "stored", broken)
    with pytest.raises(ZeroDivisionError):
        run(store, "la", tmp_path)


def test_a_folder_that_must_not_be_read(store, tmp_path, monkeypatch):
    (tmp_path / "1.jpg").write_bytes(photo())

    def refused(*args: object) -> None:
        raise PictureError("'1.jpg' cannot be read: Permission denied")

    monkeypatch.setattr(converting.picture, "read", refused)
    done = run(store, "la", tmp_path)
    assert [(row.where, row.reason) for row in done.bad] == [
        ("1.jpg", "cannot be read: Permission denied")
    ]
