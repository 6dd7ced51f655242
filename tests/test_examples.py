"""The demo's annotations are about the pictures they name."""

import json
import subprocess
import sys
from collections import Counter

import pytest
from PIL import Image

from syphus.annotations import read
from syphus.annotations.context import Context
from tests.conftest import PHOTOS

ANNOTATIONS = PHOTOS / "annotations.json"


@pytest.fixture(scope="module")
def coco():
    return json.loads(ANNOTATIONS.read_text())


def test_there_are_enough_pictures_and_each_has_two_to_five_captions(coco):
    counts = Counter(row["image_id"] for row in coco["annotations"] if "caption" in row)
    assert len(coco["images"]) >= 14
    assert set(counts) == {image["id"] for image in coco["images"]}
    assert set(counts.values()) <= {2, 3, 4, 5}


def test_sizes_are_those_of_the_pictures(coco, photos):
    for image in coco["images"]:
        with Image.open(photos / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"]), image["file_name"]


def test_boxes_lie_in_their_pictures(coco):
    sizes = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    boxes = [(sizes[row["image_id"]], row["bbox"]) for row in coco["annotations"] if "bbox" in row]
    assert len(boxes) >= 50
    for (width, height), (x, y, w, h) in boxes:
        assert 0 <= x < x + w <= width
        assert 0 <= y < y + h <= height


def test_every_row_is_read(coco):
    items = list(read([ANNOTATIONS]))
    assert all(isinstance(item, Context) for item in items)
    assert len(items) == len(coco["images"])


def test_fetching_again_does_nothing(photos):
    ran = subprocess.run(
        [sys.executable, PHOTOS / "fetch.py"], capture_output=True, text=True, check=True, timeout=5
    )
    assert "Downloading" not in ran.stdout + ran.stderr


def test_a_damaged_picture_is_noticed(tmp_path, photos):
    """Without a registry to fetch from, it is one sentence."""
    for path in photos.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "moon.png").write_bytes(b"not the moon")
    ran = subprocess.run(
        [sys.executable, PHOTOS / "fetch.py", tmp_path],
        env={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.strip().count("\n") <= 1
    assert (tmp_path / "moon.png").read_bytes() == b"not the moon"
