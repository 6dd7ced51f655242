"""Pictures, files of chats, and what is in a store, for the tests of the chat formats."""

import base64
import hashlib
import io
import json
from functools import cache

from PIL import Image

from mimicit.formats import BadRow, ReadOptions, WriteOptions
from mimicit.schema import ImageRecord, Instruction
from mimicit.store import Store


@cache
def png(number=0):
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (number * 7 % 256, number // 36 % 256, 9)).save(file, "PNG")
    return file.getvalue()


def data_url(number=0):
    return f"data:image/png;base64,{base64.b64encode(png(number)).decode()}"


def pictures(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number))


def array(path, rows, **options):
    path.write_text(json.dumps(rows, **options), encoding="utf-8")
    return path


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def parted(module, path, **options):
    """Return the records, pictures and bad rows of a file."""
    items = list(module.read(path, ReadOptions(**options)))
    kinds = (Instruction, ImageRecord, BadRow)
    return tuple([item for item in items if isinstance(item, kind)] for kind in kinds)


def reason(module, path, **options):
    """Return why the only row of a file is bad."""
    records, _, bad = parted(module, path, **options)
    assert not records
    assert len(bad) == 1
    return bad[0].reason


def imported(module, path, folder, **options):
    """Return a new store with what is in some files."""
    store = Store.open(folder, create=True)
    with store.writing("test"):
        for one in [path] if path.is_file() else sorted(path.glob("*.json*")):
            assert module.detect(one), one
            records, images, bad = parted(module, one, **options)
            assert bad == []
            store.add_images(images)
            assert store.add(records).conflicts == []
        store.sync()
    return store


def stored(records, images, folder):
    store = Store.open(folder, create=True)
    with store.writing("test"):
        store.add_images(images)
        store.add(records)
        store.sync()
    return store


def image(id_, number=0, **fields):
    data = png(number)
    sha = hashlib.sha256(data).hexdigest()
    usual = {"mime": "image/png", "width": 4, "height": 3}
    return ImageRecord(id=id_, image=data, sha256=sha, **(usual | fields))


def content(store):
    """Return all that an import must bring back; only `source` says where it was."""
    with store.reading() as connection:
        records = connection.execute(
            "SELECT * EXCLUDE (source, part) FROM instructions ORDER BY id"
        ).fetchall()
        images = connection.execute("SELECT id, sha256, mime FROM images ORDER BY id").fetchall()
    return records, images


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def comes_back(module, path, tmp_path, **options):
    """Import, export and import; return the exported folder."""
    first = imported(module, path, tmp_path / "first", **options)
    out, again = tmp_path / "out", tmp_path / "again"
    module.write(first, out, WriteOptions())
    module.write(first, again, WriteOptions())
    second = imported(module, out, tmp_path / "second")
    assert content(second) == content(first)
    assert files(out) == files(again)
    module.write(second, tmp_path / "third", WriteOptions())
    assert files(tmp_path / "third") == files(out)
    return out
