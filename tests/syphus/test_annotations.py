import json
import threading
import tracemalloc

import pytest

from syphus.annotations import read
from syphus.annotations.context import Context, Picture, Problem, Thing
from syphus.errors import AnnotationError
from tests.builders import coco


def split(paths):
    items = list(read(paths))
    return (
        [item for item in items if isinstance(item, Context)],
        [item for item in items if isinstance(item, Problem)],
    )


def test_captions_and_boxes_of_a_picture_come_together(tmp_path):
    [first, second], problems = split([coco(tmp_path / "a.json", ["cat.png", "sub/dog.jpg"])])
    assert first == Context(
        id="cat",
        pictures=(Picture("cat.png"),),
        captions=("A photo of cat.png.", "It is cat.png."),
        objects=(Thing("thing", (0.1, 0.1, 0.6, 0.6)),),
        source="a.json#0",
    )
    assert (second.id, second.pictures) == ("dog", (Picture("sub/dog.jpg"),))
    assert problems == []


def test_captions_and_instances_may_lie_in_two_files(tmp_path):
    whole = json.loads(coco(tmp_path / "a.json", ["cat.png"]).read_text())
    captions = {"images": whole["images"], "annotations": whole["annotations"][:2]}
    instances = {
        "annotations": whole["annotations"][2:], "images": whole["images"], "categories": whole["categories"]
    }  # fmt: skip
    for name, content in (("c.json", captions), ("i.json", instances)):
        (tmp_path / name).write_text(json.dumps(content))
    [context], problems = split([tmp_path / "c.json", tmp_path / "i.json"])
    assert (len(context.captions), len(context.objects), problems) == (2, 1, [])


@pytest.mark.parametrize(
    ("section", "row", "said"),
    [
        pytest.param("annotations", {"image_id": 99, "caption": "Lost."}, "picture 99", id="no picture"),
        pytest.param(
            "annotations", {"image_id": 0, "bbox": [1, 2, 3, 4], "category_id": 5}, "category 5", id="no category"
        ),
        pytest.param("annotations", {"image_id": 0, "caption": " \n"}, "empty", id="empty caption"),
        pytest.param("annotations", {"image_id": 0}, "bbox", id="neither"),
        pytest.param("annotations", {"image_id": 0, "bbox": [1, 2], "category_id": 7}, "read", id="half a box"),
        pytest.param("annotations", "text", "read", id="text"),
        pytest.param(
            "annotations", {"image_id": 0, "bbox": [1, 2, 3, -4], "category_id": 7}, "3×-4", id="negative"
        ),
        pytest.param(
            "annotations", {"image_id": 0, "bbox": [1, 2, 3, float("nan")], "category_id": 7}, "finite", id="NaN"
        ),
        pytest.param("images", {"id": 9, "file_name": "x.png"}, "width", id="no size"),
        pytest.param(
            "images", {"id": 9, "file_name": "x.png", "width": 0, "height": 5}, "0×5", id="size zero"
        ),
        pytest.param(
            "images", {"id": 9, "file_name": "x.png", "width": 5, "height": 5}, "no annotations", id="nothing said"
        ),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_and_the_others_stay(tmp_path, section, row, said):
    path = coco(tmp_path / "a.json", ["cat.png", "dog.png"], extra={section: [row]})
    contexts, [problem] = split([path])
    assert [context.id for context in contexts] == ["cat", "dog"]
    assert said in problem.reason
    assert problem.where == f"a.json#{6 if section == 'annotations' else 2}"


def test_pictures_of_one_name_in_two_folders_get_two_ids(tmp_path):
    contexts, _ = split([coco(tmp_path / "a.json", ["x/1.png", "y/1.png", "2.png"])])
    assert [context.id for context in contexts] == ["1_0", "1_1", "2"]


def test_boxes_past_the_edge_are_cut_there(tmp_path):
    row = {"image_id": 0, "category_id": 7, "bbox": [-10, 290, 1000, 50]}
    [context], _ = split([coco(tmp_path / "a.json", ["cat.png"], extra={"annotations": [row]})])
    assert context.objects[1].box == (0.0, pytest.approx(290 / 300), 1.0, 1.0)


def test_a_box_outside_its_picture_is_named(tmp_path):
    row = {"image_id": 0, "category_id": 7, "bbox": [500, 0, 10, 10]}
    problem, context = read([coco(tmp_path / "a.json", ["cat.png"], extra={"annotations": [row]})])
    assert "outside the picture" in problem.reason
    assert len(context.objects) == 1


def test_a_list_without_pictures_is_a_sentence(tmp_path):
    path = tmp_path / "a.json"
    row = {"id": 1, "image_id": 2, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0}
    path.write_text(json.dumps([row]))
    with pytest.raises(AnnotationError, match="bare list of COCO annotations"):
        read([path])


def test_polygons_and_other_keys_are_passed_over(tmp_path):
    row = {
        "image_id": 0, "category_id": 7, "bbox": [0, 0, 40, 30], "segmentation": [[1, 2, 3, 4]], "iscrowd": 0,
    }  # fmt: skip
    crowd = {**row, "segmentation": {"counts": [1, 2], "size": [3, 4]}}
    [context], problems = split(
        [
            coco(
                tmp_path / "a.json",
                ["cat.png"],
                extra={"annotations": [row, crowd, {**row, "id": 5}]},
            )
        ]
    )
    assert (len(context.objects), problems) == (4, [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not json", "not valid JSON"),
        ("[1, 2, 3]", "no annotation format"),
        ('{"a": 1}', "no annotation format"),
        ("", "not valid JSON"),
        ('{"images": [{"id": 1, "file_name": "a.png", "wid', "not valid JSON"),
        (b'{"images": [{"id": 1, "file_name": "\xff\xfe"}]}', "not valid JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path, content, said):
    path = tmp_path / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AnnotationError, match=said):
        list(read([path]))


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(AnnotationError, match=r"nothing\.json"):
        read([tmp_path / "nothing.json"])


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("syphus.annotations.coco.BATCH", 100)

    def peak(count):
        path = coco(tmp_path / f"{count}.json", [f"{n:06d}.jpg" for n in range(count)])
        tracemalloc.start()
        assert sum(1 for _ in read([path])) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)  # what is loaded once
    small, large = peak(1_000), peak(8_000)
    assert large < 1.3 * small


def test_a_reading_may_be_dropped_in_any_thread_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    readings = [read([coco(tmp_path / "a.json", ["cat.png"])])]
    assert list(tmp_path.glob("syphus-annotations-*"))
    thread = threading.Thread(target=readings.clear)
    thread.start()
    thread.join()
    assert not list(tmp_path.glob("syphus-annotations-*"))
