"""A file's lists read in blocks: whatever comes of it is what the reader of single events would have made."""

import io
import json
import random

import pytest

from syphus.annotations import blocks, files
from syphus.errors import AnnotationError

NAMES = ("images", "annotations")
ROWS = [{"id": n, "bbox": [n / 7, 1], "segmentation": [[0.5] * n]} for n in range(60)]
WHOLE = {"info": {"a": 1, "b": {"c": []}}, "licenses": [{"id": 1}, {"id": 2}]} | {
    "images": [{"id": n, "file_name": f"é {n}}}, {{"} for n in range(40)],
    "annotations": ROWS,
    "categories": [],
}


def read(text, sections=files.sections, path=None):
    """Return what is read, and the error at its end."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = []
    try:
        found.extend(sections(path, NAMES, skip="segmentation"))
    except AnnotationError as error:
        return found, str(error)
    return found, ""


def one_by_one(path, names, *, skip=""):
    for _, named in files._read(path, lambda file: files._sections(file, names, skip)):
        yield named


@pytest.fixture(params=[64, 1_000, blocks.BLOCK])
def block(request, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", request.param)
    monkeypatch.setattr(blocks, "NEAR", min(request.param, blocks.NEAR))


def dumped(value, **options):
    return json.dumps(value, **options)


@pytest.mark.parametrize(
    "text",
    [
        dumped(WHOLE),
        dumped(WHOLE, indent=2),
        dumped(WHOLE, separators=(",", ":"), ensure_ascii=False) + "\n \n",
        dumped(dict(reversed(WHOLE.items()))),
        dumped({"annotations": [], "images": [{"id": 1}]}),
        dumped({"images": None, "annotations": {"id": 1}}),
        dumped({"images": [{"id": 1}, 5, {"id": 2}], "annotations": [1, {"id": 3}]}),
        dumped({"images": [{"a": [{"b": 1}, {"b": 2}], "c": 1}] * 30, "annotations": ROWS}),
        dumped({"images": [{"a": [{"b": [{"c": 1}] * 20}] * 20}] * 3, "x": 1}),
        dumped({"images": [{"id": 10**n} for n in range(17, 25)]}),
        dumped({"images": [{"id": 1, "x": "y" * 5_000}, {"id": 2}]}),
        dumped({"images": [{"id": 1}, {"id": float("nan")}, {"id": 2}]}),
        dumped({"images": [{"id": 1}, {"id": "\ud800"}, {"id": 2}]}),
        '{"images": [{"id": 1}], "images": [{"id": 1, "id": 2}]}',
        '{"im\\u0061ges": [{"id": 1}], "annotations": [{"id": 1}]}',
        '{"images": [{"id": 1}, ]}',
        '{"images": [{"id": 1}],}',
        '{"images": [{"id": 1}]} {"images": [{"id": 2}]}',
        '{"images": [{"id": 1}]}]',
        '{"images": [{"id": 1} {"id": 2}]}',
        '{"images": [,{"id": 1}]}',
        '{"images": [{"id": 1}] "annotations": []}',
        '{"info": "x, \\"images\\": [", "images": [{"id": 1}]}',
        b'{"images": [{"id": 1}, {"id": "\xff"}, {"id": 2}]}',
        '[{"id": 1}]',
        "{}",
        "",
        *[dumped(WHOLE)[:end] for end in range(1, 4_000, 97)],
    ],
)
def test_blocks_and_events_say_the_same(text, block, tmp_path):
    path = tmp_path / "a.json"
    assert repr(read(text, path=path)) == repr(read(text, one_by_one, path))


def test_broken_bytes_anywhere_are_read_alike(block, tmp_path):
    chance, whole = random.Random(0), dumped(WHOLE).encode()
    for _ in range(100):
        at = chance.randrange(len(whole))
        text = (
            whole[:at] + chance.choice([b"", b'"', b"}", b"]", b",", b"\\", b"{"]) + whole[at + 1 :]
        )
        path = tmp_path / "a.json"
        assert repr(read(text, path=path)) == repr(read(text, one_by_one, path)), text


def test_a_usual_file_leaves_nothing_to_the_slow_reader():
    file, rest = io.BytesIO(dumped(WHOLE).encode()), blocks.Rest()
    items = list(blocks.sections(file, (*NAMES, "categories"), "", rest))
    assert rest.text is None
    assert [item for name, item in items if name == "annotations"] == ROWS
