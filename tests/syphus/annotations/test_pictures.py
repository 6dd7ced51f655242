"""LLaVA, Flickr, RefCOCO, LabelMe, Spot-the-Diff."""

import json

import pytest

from syphus.annotations import Options, read
from syphus.annotations.context import Context, Picture, Problem, Thing
from tests.syphus.annotations.samples import (
    LABELME,
    LLAVA,
    REFCOCO,
    SPOT,
    TEXTS,
    write,
    write_lines,
)


def split(path, **options):
    items = list(read([path], options=Options(**options)))
    return (
        [item for item in items if isinstance(item, Context)],
        [item for item in items if isinstance(item, Problem)],
    )


def test_llava_rows_are_pictures_with_captions_and_boxes(tmp_path):
    [context], problems = split(write_lines(tmp_path / "a.jsonl", [LLAVA]))
    assert context == Context(
        id="000000000001",
        pictures=(Picture("000000000001.jpg"),),
        captions=("A kite over a field.", "Somebody flies a kite."),
        objects=(Thing("kite", (0.1, 0.2, 0.5, 0.6)),),
        source="a.jsonl:1",
    )
    assert problems == []


@pytest.mark.parametrize(
    ("change", "said", "kept"),
    [
        ({"captions": []}, None, 1),
        ({"captions": [], "instances": []}, "no captions and no boxes", 0),
        ({"captions": ["A kite.", " "]}, "caption 1: the text is empty", 1),
        ({"captions": "A kite."}, "is not a list", 0),
        ({"image": None}, "None is not a text", 0),
        ({"instances": [{"category": "kite", "bbox": [0.5, 0.2, 0.1, 0.6]}]}, "instance 0: a box of -0.4×0.4", 1),
        ({"instances": [{"bbox": [0, 0, 1, 1]}]}, "instance 0: it has no 'category'", 1),
        ({"instances": ["kite"]}, "instance 0: 'kite' is not an object", 1),
    ],
)  # fmt: skip
def test_llava_rows_with_faults(tmp_path, change, said, kept):
    contexts, problems = split(write_lines(tmp_path / "a.jsonl", [LLAVA | change]))
    assert len(contexts) == kept
    assert [problem.where for problem in problems] == ["a.jsonl:1"] * (said is not None)
    assert all(said in problem.reason for problem in problems)


def test_flickr_captions_of_a_picture_come_together(tmp_path):
    _, text = TEXTS["flickr"]
    contexts, problems = split(
        write(tmp_path / "a.txt", text + "1.jpg#2\tIt runs .\nno tab\n2.jpg#1\t \n")
    )
    assert [(c.id, c.pictures, c.captions) for c in contexts] == [
        ("1", (Picture("1.jpg"),), ("A dog runs .", "A brown dog .", "It runs .")),
        ("2", (Picture("2.jpg"),), ("A cat .",)),
    ]
    assert [problem.where for problem in problems] == ["a.txt:5", "a.txt:6"]
    assert "#, a number, a tab" in problems[0].reason
    assert "empty" in problems[1].reason


def test_flickr_tables_are_known_too(tmp_path):
    bars = "image_name| comment_number| comment\n1.jpg| 0| A dog , wet .\n1.jpg| 4   A dog .\n"
    [context], [problem] = split(write(tmp_path / "results.csv", bars))
    assert (context.id, context.captions) == ("1", ("A dog , wet .",))
    assert problem == Problem("results.csv:3", "2 columns; the header has 3")
    [context], _ = split(
        write(tmp_path / "captions.txt", 'image,caption\n1.jpg,"A ""dog"", wet ."\n')
    )
    assert context.captions == ('A "dog", wet .',)


def test_a_bad_first_line_does_not_hide_the_format(tmp_path):
    good = json.dumps(LLAVA)
    [context], problems = split(write(tmp_path / "a.jsonl", f"broken\n{good}\n"))
    assert (context.id, [problem.where for problem in problems]) == (LLAVA["id"], ["a.jsonl:1"])
    contexts, problems = split(write(tmp_path / "a.txt", f"broken\n{TEXTS['flickr'][1]}"))
    assert (len(contexts), [problem.where for problem in problems]) == (2, ["a.txt:1"])


def test_refcoco_expressions_of_a_picture_name_its_boxes(tmp_path):
    right = REFCOCO | {
        "img_id": "COCO_train2014_000000000009_7",
        "sents": ["right one", "red kite"],
        "bbox": [320, 0, 640, 480],
    }
    contexts, problems = split(write(tmp_path / "a.json", [REFCOCO, REFCOCO, right]))  # fmt: skip
    assert contexts == [
        Context(
            id="COCO_train2014_000000000009",
            pictures=(Picture("COCO_train2014_000000000009.jpg"),),
            objects=(
                Thing("the left kite", (0.1, 0.1, 0.3, pytest.approx(0.3))),
                Thing("right one", (0.5, 0.0, 1.0, 1.0)),
                Thing("red kite", (0.5, 0.0, 1.0, 1.0)),
            ),
            source="a.json#0",
        )
    ]
    assert problems == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": 0}, "0×480"),
        ({"bbox": [1, 2, -3, 4]}, "a box of -3×4"),
        ({"bbox": [1, 2, float("inf"), 4]}, "'Infinity' is not a finite number"),
        ({"sents": ""}, "empty"),
        ({"img_id": None}, "not a text"),
    ],
)
def test_refcoco_rows_with_faults(tmp_path, change, said):
    contexts, [problem] = split(write(tmp_path / "a.json", [REFCOCO, REFCOCO | change]))
    assert len(contexts) == 1
    assert problem.where == "a.json#1"
    assert said in problem.reason


def test_labelme_shapes_are_boxes(tmp_path):
    shapes = [
        *LABELME["shapes"],
        {"label": "tail", "points": [[100, 10], [150, 60], [120, 90]], "shape_type": "polygon"},
        {"label": "sun", "points": [[100, 50], [110, 50]], "shape_type": "circle"},
        {"label": "bird", "points": [[5, 5]], "shape_type": "point"},
    ]
    changes = {
        "shapes": shapes,
        "imagePath": "..\\photos\\kite.jpg",
        "flags": {"windy": True, "wet": False},
    }
    [context], [problem] = split(write(tmp_path / "kite.json", LABELME | changes))
    assert context == Context(
        id="kite",
        pictures=(Picture("kite.jpg"),),
        objects=(
            Thing("kite", (0.05, 0.2, 0.25, 0.8)),
            Thing("tail", (0.5, 0.1, 0.75, 0.9)),
            Thing("sun", (0.45, 0.4, 0.55, 0.6)),
        ),
        facts={"flags": ["windy"]},
        source="kite.json",
    )
    assert problem == Problem("kite.json", "shape 3: a point that has no box")


def test_a_folder_of_labelme_files_is_read_and_bad_ones_are_named(tmp_path):
    write(tmp_path / "a.json", LABELME)
    write(tmp_path / "b.json", "{broken")
    write(tmp_path / "c.json", LABELME | {"imageWidth": None})
    write(tmp_path / "d.json", LABELME | {"shapes": []})
    write(tmp_path / "e.json", [1])
    write(tmp_path / "f.json", LABELME)
    write(tmp_path / "kite.jpg", b"")
    contexts, problems = split(tmp_path)
    assert [context.id for context in contexts] == ["kite", "kite_2"]
    assert [(problem.where, problem.reason[:20]) for problem in problems] == [
        ("b.json", "the file is not vali"), ("c.json", "None is not a number"), ("d.json", "'kite.jpg' has no sh"),
        ("e.json", "[1] is not an object"),
    ]  # fmt: skip


def test_spot_the_diff_pairs_are_two_pictures_and_all_their_sentences(tmp_path):
    rows = [
        *SPOT,
        {"img_id": 8, "sentences": ["", "a bag"]},
        {"img_id": "x", "sentences": []},
        {"img_id": "cam-3", "sentences": ["rain"]},
    ]
    contexts, problems = split(write(tmp_path / "a.json", rows))  # fmt: skip
    assert [(c.id, c.captions) for c in contexts] == [
        ("12", ("the van has left", "a man has come", "the gate is open")),
        ("7", ("nothing has changed",)),
        ("8", ("a bag",)),
        ("cam-3", ("rain",)),
    ]
    assert contexts[0].pictures == (Picture("12", key="00012_1"), Picture("12_2", key="00012_2"))
    assert contexts[3].pictures == (
        Picture("cam-3", key="cam-3_1"),
        Picture("cam-3_2", key="cam-3_2"),
    )
    assert problems == [
        Problem("a.json#3", "sentence 0: the text is empty"),
        Problem("a.json#4", "it has no sentences"),
    ]


def test_a_row_of_the_wrong_kind_is_named(tmp_path):
    contexts, problems = split(write(tmp_path / "a.json", [SPOT[0], 5, "x", None, [], {}]))
    assert len(contexts) == 1
    assert [problem.where for problem in problems] == [f"a.json#{n}" for n in range(1, 6)]
    assert json.dumps([p.reason for p in problems]).count("shape") == 4
