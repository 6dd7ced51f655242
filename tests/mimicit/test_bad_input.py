"""What comes from strangers, through the commands that users type: ids, pictures and folders as they should not be."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import mimicit
from mimicit.errors import PictureError
from mimicit.exchange import import_files
from mimicit.formats import WriteOptions, format_named, formats
from mimicit.media.picture import measure
from mimicit.schema import Instruction
from mimicit.store import Store

STEMS = [
    "a/b/c",
    "../../etc/passwd",
    "..",
    ".",
    ".hidden",
    "/etc/passwd",
    "C:\\windows\\x",
    "x.jpg",
    "x.jpg.jpg",
    "x y\u00a0z",
    "é 中 😀",
    "e\u0301",
    "Ünï",
    "'; DROP TABLE instructions; --",
    '"quoted" $$ %s {0} {{x}}',
    "%2e%2e%2f",
    "\u202egnp",
    "\u2028",
    "<script>alert(1)</script>",
    "-rf",
    "CON",
    "n" * 480,
]


def noise(number: int, kind: str = "JPEG", size=(40, 30), mode="RGB", **options) -> bytes:
    sink = io.BytesIO()
    plane = Image.effect_noise(size, 10 + number)
    plane.convert(mode).save(sink, kind, **options)
    return sink.getvalue()


def filled(folder: Path) -> Store:
    store = Store.open(folder, create=True)
    with store.writing("test"):
        store.add_images(
            measure(noise(n), id=f"LA_IMG_{stem}", name=stem) for n, stem in enumerate(STEMS)
        )
        store.add(
            [
                Instruction(
                    id=f"LACONV_INS_{stem}",
                    task="la_conversation",
                    instruction=f"What is {stem}?",
                    answer=f"It is {stem}, as you see.",
                    image_ids=(f"LA_IMG_{stem}",),
                )
                for stem in STEMS
            ]
        )
        store.sync()
    return store


def held(store: Store) -> tuple[list[tuple[object, ...]], list[str]]:
    """Return what records say, with the hashes of the pictures that they name, and the hashes of all pictures."""
    with store.reading() as connection:
        shas = dict(connection.sql("SELECT id, sha256 FROM images").fetchall())
        rows = connection.sql("SELECT instruction, answer, image_ids FROM instructions").fetchall()
    said = [(asked, told, *[shas[id_] for id_ in ids]) for asked, told, ids in rows]
    return sorted(said), sorted(shas.values())


@pytest.mark.parametrize("name", [name for name, one in formats().items() if hasattr(one, "write")])
def test_ids_lead_nowhere_and_come_back(tmp_path, name):
    """Every format that is written, with ids that are paths, SQL, markup: all files lie in its folder, and nothing is lost."""
    store = filled(tmp_path / "ds")
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    beside = sorted(tmp_path.iterdir())
    format_named(name).write(store, out, WriteOptions())  # type: ignore[attr-defined]
    assert sorted(tmp_path.iterdir()) == beside
    assert list((tmp_path / "deep").iterdir()) == [out]
    assert all(path.resolve().is_relative_to(out) for path in out.rglob("*"))
    again = Store.open(tmp_path / "again", create=True)
    imported = import_files([out], again)
    assert imported.bad == []
    assert held(again) == held(store)


def syphus(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from syphus.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("id_", ["A_IMG_\n", "A_IMG_\x00", "A_IMG_\x1b[31m", "A_IMG_" + "n" * 600])
def test_ids_that_cannot_be_are_bad_rows_and_harmless_on_a_terminal(tmp_path, id_):
    encoded = base64.b64encode(noise(1)).decode()
    (tmp_path / "A.json").write_text(json.dumps({id_: encoded, "A_IMG_1": encoded}))
    ran = syphus("data", "import", tmp_path / "A.json", "-d", tmp_path / "ds")
    assert ran.returncode == 3, ran.stderr
    said = ran.stdout + ran.stderr
    assert "1 could not be used" in said
    assert "\x1b[31m" not in said
    assert "\x00" not in said


def sixteen_bit() -> bytes:
    sink = io.BytesIO()
    Image.effect_noise((40, 30), 9).convert("I").point(lambda value: value * 200).convert(
        "I;16"
    ).save(sink, "PNG")
    return sink.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return noise(3, exif=exif)


def animated() -> bytes:
    frames = [Image.effect_noise((40, 30), n).convert("P") for n in (5, 50, 90)]
    sink = io.BytesIO()
    frames[0].save(sink, "GIF", save_all=True, append_images=frames[1:])
    return sink.getvalue()


GOOD = {
    "turned by EXIF": turned(),
    "four inks": noise(4, mode="CMYK"),
    "16 bits": sixteen_bit(),
    "animated": animated(),
    "one pixel": noise(5, "PNG", size=(1, 1)),
    "grey with transparency": noise(6, "PNG", mode="LA"),
    "WebP": noise(7, "WEBP"),
    "junk after its end": noise(8) + b"<?php echo 1; ?>" * 9,
}
BAD = {
    "truncated JPEG": noise(9, size=(300, 200))[:2_000],
    "truncated PNG": noise(9, "PNG", size=(300, 200))[:-500],
    "30,000 pixels a side": noise(1, "PNG", size=(1, 1)).replace(
        b"\x00\x00\x00\x01\x00\x00\x00\x01", (30_000).to_bytes(4) * 2, 1
    ),
    "a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "a web page": b"<html>404</html>",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", GOOD)
def test_odd_pictures_are_kept_byte_for_byte(tmp_path, kind):
    (tmp_path / "A.json").write_text(json.dumps({"A_IMG_1": base64.b64encode(GOOD[kind]).decode()}))
    store = Store.open(tmp_path / "ds", create=True)
    imported = import_files([tmp_path / "A.json"], store)
    assert (imported.images, imported.bad_count) == (1, 0)
    with store.reading() as connection:
        size = connection.sql("SELECT width, height FROM images").fetchall()
    [data] = mimicit.open(tmp_path / "ds").images.get(["A_IMG_1"])
    assert data == GOOD[kind]
    with Image.open(io.BytesIO(data)) as image:
        assert size == [image.size]


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_whole_picture_is_a_bad_row(tmp_path, kind):
    good = base64.b64encode(noise(1)).decode()
    content = {"A_IMG_1": base64.b64encode(BAD[kind]).decode(), "A_IMG_2": good}
    (tmp_path / "A.json").write_text(json.dumps(content))
    imported = import_files([tmp_path / "A.json"], Store.open(tmp_path / "ds", create=True))
    assert (imported.images, imported.bad_count) == (1, 1)
    assert "A_IMG_1" in imported.bad[0].where
    with pytest.raises(PictureError):
        measure(BAD[kind], id="A_IMG_1", name="it")


def test_a_key_that_comes_twice_is_no_silent_loss(tmp_path):
    """JSON parsers keep the last one; here the first stays and the other is listed, unless they are equal."""
    one = {"instruction": "q", "answer": "first", "image_ids": [], "rel_ins_ids": []}
    two = one | {"answer": "second"}
    rows = [("A_INS_1", one), ("A_INS_1", two), ("A_INS_2", one), ("A_INS_2", one)]
    body = ", ".join(f"{json.dumps(key)}: {json.dumps(row)}" for key, row in rows)
    (tmp_path / "A_instructions.json").write_text(f'{{"meta": {{}}, "data": {{{body}}}}}')
    store = Store.open(tmp_path / "ds", create=True)
    imported = import_files([tmp_path / "A_instructions.json"], store)
    assert (imported.records, imported.bad_count) == (2, 1)
    assert "A_INS_1" in imported.bad[0].where
    with store.reading() as connection:
        assert connection.sql("SELECT id, answer FROM instructions ORDER BY id").fetchall() == [
            ("A_INS_1", "first"),
            ("A_INS_2", "first"),
        ]


READ_ONLY = [
    ("data", "import", "{source}", "-d", "{ds}"),
    ("data", "export", "-d", "{good}", "-f", "llava", "-o", "{ds}/out"),
    ("data", "freeze", "-d", "{ds}"),
]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("arguments", READ_ONLY, ids=lambda one: one[1])
def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path, arguments):
    filled(tmp_path / "ds")
    filled(tmp_path / "good")
    (tmp_path / "A.json").write_text(json.dumps({"A_IMG_1": base64.b64encode(noise(1)).decode()}))
    names = {"ds": tmp_path / "ds", "good": tmp_path / "good", "source": tmp_path / "A.json"}
    for path in (tmp_path / "ds").rglob("*"):
        path.chmod(0o500 if path.is_dir() else 0o400)
    (tmp_path / "ds").chmod(0o500)
    try:
        ran = syphus(*[one.format(**names) for one in arguments])
        sql = syphus("sql", "SELECT count(*) FROM images", "-d", tmp_path / "ds", "--format", "csv")
    finally:
        for path in (tmp_path / "ds", *(tmp_path / "ds").rglob("*")):
            path.chmod(0o700)
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "ermission" in ran.stderr
    assert sql.stdout.split()[-1] == str(len(STEMS)), sql.stderr
