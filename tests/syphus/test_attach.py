"""What people annotated, beside the pictures of a dataset."""

import json

import pytest
from typer.testing import CliRunner

from mimicit.schema import Annotation, Thing
from mimicit.store import Store
from mimicit.tables import annotation_table
from syphus.annotations.context import Context, Picture, Segment
from syphus.annotations.context import Thing as Seen
from syphus.annotations.kept import annotations_of

BOX = (0.25, 0.5, 0.75, 1.0)


def run(*arguments):
    from syphus.cli import app

    return CliRunner().invoke(app, [str(a) for a in arguments])


def ask(store, query):
    store.refresh()
    with store.reading() as connection:
        return connection.execute(query).fetchall()


def test_a_picture_keeps_what_was_said_of_it_and_of_all_together():
    pictures = (
        Picture("a.png", ("A cat.",), (Seen("cat", BOX),)),
        Picture("b.png"),
    )
    told = annotations_of(
        Context("1", pictures, ("Two pets.",), segments=(Segment("It runs.", objects=("dog",)),)),
        ["X_IMG_a", "X_IMG_b"],
    )
    assert told == [
        Annotation(("X_IMG_a",), ("A cat.",), (Thing("cat", BOX),), ""),
        Annotation(("X_IMG_a", "X_IMG_b"), ("Two pets.", "It runs."), (Thing("dog"),), ""),
    ]


def test_what_is_said_of_one_picture_is_one_annotation():
    context = Context("1", (Picture("a.png", ("A cat.",)),), ("It sleeps.",), source="f.json#3")
    assert annotations_of(context, ["A"]) == [
        Annotation(("A",), ("A cat.", "It sleeps."), (), "f.json#3")
    ]
    assert annotations_of(context, []) == []
    assert annotations_of(Context("2", (Picture("a.png"),)), ["A"]) == []


def test_boxes_are_there_or_null():
    made = annotation_table(
        [
            Annotation(("A",), (), (Thing("cat", BOX), Thing("dog")), None),
            Annotation(("B", "C"), ("Täxt 猫",), (), "s#1"),
        ]
    )
    assert made.to_pylist() == [
        {"pictures": ["A"], "captions": [], "source": None,
         "objects": [{"name": "cat", "box": list(BOX)}, {"name": "dog", "box": None}]},
        {"pictures": ["B", "C"], "captions": ["Täxt 猫"], "objects": [], "source": "s#1"},
    ]  # fmt: skip


def test_a_later_annotation_takes_the_place_of_the_one_from_the_same_file(tmp_path):
    store = Store.open(tmp_path / "d", create=True)
    with store.writing("test"):
        store.add_annotations([Annotation(("A",), ("old",), (), "a.json#1")])
        store.add_annotations([Annotation(("A",), ("other file",), (), "b.json#1")])
        store.add_annotations([Annotation(("A",), ("new",), (), "a.json#7")])
    found = ask(store, "SELECT captions[1] FROM annotations ORDER BY 1")
    assert found == [("new",), ("other file",)]


def test_many_annotations_are_merged_in_their_order(tmp_path):
    store = Store.open(tmp_path / "d", create=True)
    with store.writing("test"):
        for n in range(140):
            told = [Annotation(("A",), (f"{n}",), (Thing("cat", BOX), Thing("dog")), "a.json#1")]
            store.add_annotations(told)
    assert len(list((store.path / "annotations").glob("*.parquet"))) < 20
    assert ask(store, "SELECT captions, objects[1].box, objects[2].box FROM annotations") == [
        (["139"], list(BOX), None)
    ]


def test_a_splitting_takes_the_place_of_the_one_of_its_name(tmp_path):
    import pyarrow as pa

    store = Store.open(tmp_path / "d", create=True)
    with store.writing("test"):
        for splits in (["train", "test"], ["test", "train"]):
            store.write_splits("mine", pa.table({"record": ["a", "b"], "split": splits}))
        store.write_splits("other", pa.table({"record": ["a"], "split": ["train"]}))
    rows = ask(store, "SELECT name, record, split FROM splits ORDER BY ALL")
    assert rows == [("mine", "a", "test"), ("mine", "b", "train"), ("other", "a", "train")]


@pytest.fixture
def imported(tmp_path, photos):
    rows = [
        {"id": "1", "image": "chelsea.png", "conversations": [
            {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A cat."}]},
    ]  # fmt: skip
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    folder = tmp_path / "d"
    done = run("data", "import", tmp_path / "rows.json", "--images", photos, "-d", folder)
    assert done.exit_code == 0, done.stderr
    return folder


def test_attach_finds_pictures_of_an_imported_dataset(imported, photos):
    file = photos.parent / "annotations.json"
    done = run("attach", "-a", file, "-d", imported, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["annotations"] == report["pictures"] == 1
    assert report["missing"] > 10
    assert "pictures are not in the dataset: " in done.stderr
    store = Store.open(imported)
    [(pictures, captions, objects)] = ask(
        store, "SELECT pictures, captions, objects FROM annotations"
    )
    [(image,)] = ask(store, "SELECT id FROM images")
    assert pictures == [image]
    assert any("cat" in caption for caption in captions)
    assert all(0 <= edge <= 1 for thing in objects for edge in thing["box"])
    # Again: nothing doubles.
    assert run("attach", "-a", file, "-d", imported).exit_code == 0
    assert ask(store, "SELECT count(*) FROM annotations") == [(1,)]
