import copy

import pytest

from syphus.annotations import Options, read
from syphus.annotations.context import Context, Picture, Problem
from tests.syphus.annotations.samples import VIST, write

BOAT = {"title": "The boat", "tags": "lake boat"}
RAIN = {"title": "Rain", "tags": ""}
LAKE = {"title": "Lake", "description": "A day out"}


def split(path, by=None):
    reading = read([path], options=Options(by=by))
    contexts = [item for item in reading if isinstance(item, Context)]
    assert len(reading) == len(contexts)
    return contexts, [item for item in reading if isinstance(item, Problem)]


@pytest.mark.parametrize("by", [None, "story"])
def test_a_story_s_photos_are_in_its_order(tmp_path, by):
    contexts, problems = split(write(tmp_path / "a.json", VIST), by)
    first = (
        Picture("501", ("we sailed .",), facts=BOAT),
        Picture("502", ("it rained .",), facts=RAIN),
    )
    assert contexts == [
        Context("30", first, facts=LAKE, source="a.json#0"),
        Context("31", (Picture("501", ("a boat !",), facts=BOAT),), facts=LAKE, source="a.json#2"),
    ]
    assert problems == []


def test_an_album_has_all_its_stories(tmp_path):
    [context], _ = split(write(tmp_path / "a.json", VIST), "album")
    assert context.id == "9"
    assert context.pictures == (
        Picture("501", ("we sailed .", "a boat !"), facts=BOAT),
        Picture("502", ("it rained .",), facts=RAIN),
    )
    assert context.facts == {**LAKE, "stories": [["we sailed .", "it rained ."], ["a boat !"]]}


def test_the_lists_may_come_in_any_order(tmp_path):
    turned = write(tmp_path / "b.json", dict(reversed(VIST.items())))
    [first, second], _ = split(turned)
    assert (first.id, second.id, first.facts) == ("30", "31", LAKE)


def test_other_names_and_missing_parts(tmp_path):
    content = copy.deepcopy(VIST)
    sentence = content["annotations"][0][0]
    sentence["photo_order_in_story"] = sentence.pop("worker_arranged_photo_order")
    content["annotations"] += [
        [],
        [{**sentence, "text": " "}],
        [{**sentence, "story_id": "40", "photo_flickr_id": 999}],
        {**sentence, "story_id": 41, "album_id": "10"},
        [{"text": "x"}],
    ]
    content["albums"].append({"id": "11", "title": "Nobody told"})
    content["images"].append({"id": "600"})
    contexts, problems = split(write(tmp_path / "a.json", content))
    assert [context.id for context in contexts] == ["30", "31", "40", "41"]
    assert contexts[2].pictures == (Picture("999", ("it rained .",)),)
    assert contexts[3].facts == {}
    assert {problem.where for problem in problems} == {
        "a.json#3", "a.json#4", "a.json#7", "a.json#1",
    }  # fmt: skip
    assert "the album '11' has no stories" in {problem.reason for problem in problems}


def test_plain_stories_are_split_into_sentences(tmp_path):
    path = write(
        tmp_path / "a.json", {"301": "it was late . we went home . all slept .", "x": "", "y": 5}
    )
    contexts, problems = split(path)
    assert contexts == [
        Context("301", (), ("it was late", "we went home", "all slept"), source="a.json#0")
    ]
    assert [problem.where for problem in problems] == ["a.json#1", "a.json#2"]


def test_stories_with_photos(tmp_path):
    content = {
        "stories": [
            {"story": "A", "sis": [["77", "we went ."], ["78", ""]]},
            {"story": "B", "sis_text": "we went . all slept .", "images": ["b/0.png", "b/1.png"]},
            {"story": "C", "sis_text": "we went . all slept .", "images": ["c/0.png"]},
            {"story": "D", "sis": []},
            {"sis": []},
        ]
    }
    contexts, problems = split(write(tmp_path / "a.json", content))
    assert [(c.id, c.pictures, c.captions) for c in contexts] == [
        ("A", (Picture("77", ("we went .",)),), ()),
        ("B", (Picture("b/0.png", ("we went",)), Picture("b/1.png", ("all slept",))), ()),
        ("C", (Picture("c/0.png"),), ("we went", "all slept")),
    ]
    assert [problem.where for problem in problems] == ["a.json#0", "a.json#3", "a.json#4"]
