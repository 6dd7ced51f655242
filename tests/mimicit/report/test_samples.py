import base64
import hashlib
import io
from collections import Counter

import pytest
from PIL import Image, ImageCms

from mimicit.errors import PictureError
from mimicit.report import facts, samples
from mimicit.schema import Annotation, ImageRecord, Thing, Verdict
from tests.builders import image, record


@pytest.fixture
def many(store):
    tasks = ["a"] * 500 + ["b"] * 60 + ["c"]
    records = [record(n, task=task, id=f"{task}_INS_{n:03d}") for n, task in enumerate(tasks)]
    dropped = [one.id for one in records if one.id.endswith("7")]
    said = {"filter": "f", "reason": "so", "recipe": "r", "recipe_digest": "d"}
    with store.writing("test"):
        store.add(records)
        store.add_verdicts([Verdict(record=id_, **said) for id_ in dropped])
        store.sync()
    return store


def gathered(store, count=50, seed=0):
    with store.reading() as connection:
        facts.prepare(connection)
        return samples.gather(connection, store.images, count, seed)


def test_every_task_is_there_accepted_and_dropped(many):
    found = Counter((s.row["task"], s.row["dropped"]) for s in gathered(many))
    assert set(found) == {("a", False), ("a", True), ("b", False), ("b", True), ("c", False)}
    assert sum(found.values()) == 50
    assert found["a", True] >= 10
    assert found["b", True] == 6  # all there are


def test_the_same_seed_gives_the_same_records_and_another_one_others(many):
    ids = [[s.row["id"] for s in gathered(many, seed=seed)] for seed in (0, 0, 1)]
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]


def test_new_records_leave_most_samples_where_they_are(many):
    before = {s.row["id"] for s in gathered(many)}
    with many.writing("test"):
        many.add([record(9_000 + n, task="a") for n in range(20)])
        many.sync()
    assert len(before & {s.row["id"] for s in gathered(many)}) > 40


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 1), (3, 3), (500, 500), (1_000, 561)])
def test_as_many_as_are_asked_for_where_there_are_so_many(many, count, expected):
    found = [s.row["id"] for s in gathered(many, count)]
    assert len(found) == len(set(found)) == expected


def test_dropped_ones_come_with_their_reasons(many):
    for sample in gathered(many):
        assert [v["reason"] for v in sample.verdicts] == (["so"] if sample.row["dropped"] else [])


# Pictures


def add(store, records, images=(), annotations=()):
    with store.writing("test"):
        store.add_images(images)
        store.add(records)
        if annotations:
            store.add_annotations(list(annotations))
        store.sync()


def test_a_picture_is_shown_small(store, photos):
    cat = image(photos, "chelsea.png")
    add(store, [record(0, image_ids=(cat.id,))], [cat])
    [sample] = gathered(store)
    [one] = sample.pictures
    data = base64.b64decode(one.uri.removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.format == "JPEG"
        assert max(shown.size) == samples.SIDE
        assert shown.size == (one.width, one.height)
    assert len(data) < 40_000


def test_only_pixels_are_shown(photos):
    """An orientation is applied; places, comments and profiles, which may be large, are left behind."""
    with Image.open(photos / "chelsea.png") as cat:
        exif = cat.getexif()
        exif[0x0112] = 6
        exif[0x010E] = "taken at home"
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        sink = io.BytesIO()
        cat.convert("RGB").save(
            sink, "JPEG", exif=exif, icc_profile=profile, comment=b"secret" * 100
        )
    width, height, small = samples.shrunk(sink.getvalue(), "cat")
    assert width < height
    with Image.open(io.BytesIO(small)) as shown:
        assert not shown.getexif()
        assert "icc_profile" not in shown.info
        assert "comment" not in shown.info


def test_a_small_picture_is_not_made_larger():
    sink = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(sink, "PNG")
    assert samples.shrunk(sink.getvalue(), "dot")[:2] == (20, 10)


def test_what_is_no_picture_is_said(photos):
    with pytest.raises(PictureError):
        samples.shrunk((photos / "chelsea.png").read_bytes()[:400], "cat")


def test_pictures_that_are_missing_or_damaged_leave_a_note(store):
    data = b"no picture"
    digest = hashlib.sha256(data).hexdigest()
    broken = ImageRecord(id="B", image=data, sha256=digest, mime="image/png", width=1, height=1)
    add(store, [record(0, image_ids=("B", "C"))], [broken])
    [sample] = gathered(store)
    assert [one.uri for one in sample.pictures] == [None, None]
    assert "not a picture" in sample.pictures[0].problem
    assert sample.pictures[1].problem == "the picture 'C' is not in the dataset"


def test_pictures_of_all_samples_are_bounded(store, photos, monkeypatch):
    cat = image(photos, "chelsea.png")
    add(store, [record(n, image_ids=(cat.id,)) for n in range(10)], [cat])
    monkeypatch.setattr(samples, "PICTURE_BYTES", 30_000)
    shown = [s.pictures[0] for s in gathered(store)]
    size = sum(len(base64.b64decode(one.uri.split(",")[1])) for one in shown if one.uri)
    assert 0 < size < 60_000
    assert shown[-1].problem == "left out to keep this page small"


def test_of_many_pictures_a_few_are_shown(store, photos):
    cat = image(photos, "chelsea.png")
    frames = (cat.id, *(f"F{n}" for n in range(20)))
    add(store, [record(0, image_ids=frames)], [cat])
    [sample] = gathered(store)
    assert (len(sample.pictures), sample.more_pictures) == (samples.EACH, 21 - samples.EACH)


def test_boxes_are_those_of_this_picture_and_within_it(store, photos):
    cat, coffee = image(photos, "chelsea.png"), image(photos, "coffee.png")
    notes = [
        Annotation(
            (cat.id,), ("A cat.",), (Thing("cat", (0.1, 0.2, 0.6, 0.7)), Thing("air", None)), "a"
        ),
        Annotation(
            (cat.id, coffee.id), ("Two pictures.",), (Thing("both", (0.0, 0.0, 1.0, 1.0)),), "a"
        ),
    ]
    add(store, [record(0, image_ids=(cat.id, coffee.id))], [cat, coffee], notes)
    [sample] = gathered(store)
    [box] = sample.pictures[0].boxes
    assert box == {
        "name": "cat",
        "left": 10,
        "top": 20,
        "width": pytest.approx(50),
        "height": pytest.approx(50),
    }
    assert sample.pictures[0].captions == ["A cat."]
    assert sample.pictures[1].boxes == []
