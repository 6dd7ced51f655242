"""ActivityNet, TVR, ScanRefer, Ego4D, EPIC-KITCHENS, FunQA."""

import json

import pytest

from mimicit.sources import naming, source_named
from mimicit.sources.base import Film, FindOptions
from syphus.annotations import read
from syphus.annotations.context import Context, Problem, Segment
from syphus.annotations.ego4d import plain
from syphus.annotations.funqa import task
from tests.syphus.annotations.samples import (
    ACTIVITYNET,
    EGO4D,
    EGO4D_TABLE,
    EPIC,
    FUNQA,
    SCANREFER,
    TEXTS,
    TVC,
    TVR,
    write,
    write_lines,
)  # fmt: skip


def split(path):
    items = list(read([path]))
    return (
        [item for item in items if isinstance(item, Context)],
        [item for item in items if isinstance(item, Problem)],
    )


@pytest.mark.parametrize("content", [ACTIVITYNET, [ACTIVITYNET]], ids=["object", "list"])
def test_activitynet_sentences_are_segments_in_order_of_time(tmp_path, content):
    [context], problems = split(write(tmp_path / "a.json", content))
    assert context == Context(
        id="v_one",
        segments=(Segment("A man takes a rope.", 0.5, 9.0), Segment("He ties it.", 9.0, 12.5)),
        facts={"duration": 30.5},
        video="v_one",
        source="a.json#0",
    )
    assert problems == []


def test_activitynet_faults_cost_only_their_sentence(tmp_path):
    video = {
        "duration": "00:01:00",
        "timestamps": [[1, 2], ["00:00:09", "3"], [1, float("nan")], [4], None, [5, 6]],
        "sentences": ["One.", "Two.", "Three.", "Four.", "Five.", " ", "Seven."],
    }
    content = {
        "v_a": video,
        "v_b": 5,
        "v_c": {"sentences": ["x"]},
        "v_d": {"timestamps": [], "sentences": []},
        "v_e": {"timestamps": [[1, 2]], "sentences": ["x"], "duration": -float("inf")},
    }
    [context], problems = split(write(tmp_path / "a.json", content))
    assert context.segments == (Segment("One.", 1, 2), Segment("Two.", 3, 9))
    assert context.facts == {"duration": 60}
    assert problems == [
        Problem("a.json#0", "6 timestamps and 7 sentences; the rest is left out"),
        Problem("a.json#0", "sentence 2: 'NaN' is not a finite number"),
        Problem("a.json#0", "sentence 3: a stretch of 1 times"),
        Problem("a.json#0", "sentence 4: None is not a list"),
        Problem("a.json#0", "sentence 5: the text is empty"),
        Problem("a.json#1", "5 is not an object"),
        Problem("a.json#2", "it has no 'timestamps'"),
        Problem("a.json#3", "it has no sentences"),
        Problem("a.json#4", "'-Infinity' is not a finite number"),
    ]


def test_tvr_moments_of_a_clip_come_together(tmp_path):
    bad = [{**TVR[0], "desc": ""}, {**TVR[0], "ts": [1]}, {"desc": "x"}]
    contexts, problems = split(write_lines(tmp_path / "a.jsonl", [*TVR, TVR[0], *bad]))
    assert contexts == [
        Context(
            id="house_s01e02_seg03_clip_04",
            segments=(Segment("He comes in.", 1, 4), Segment("He waits.", 9.5, 12)),
            facts={"show": "house", "duration": 61.5},
            video="house_s01e02_seg03_clip_04",
            source="a.jsonl:1",
        ),
        Context(
            id="s02e14_seg02_clip_02",
            segments=(Segment("She reads.", 0, 2.5),),
            facts={"show": "bbt", "duration": 60},
            video="s02e14_seg02_clip_02",
            source="a.jsonl:2",
        ),
    ]
    assert [problem.where for problem in problems] == ["a.jsonl:5", "a.jsonl:6", "a.jsonl:7"]


def test_tvc_descriptions_of_one_moment_are_segments_each(tmp_path):
    [context], problems = split(write_lines(tmp_path / "a.jsonl", TVC))
    assert context.segments == (Segment("He comes in.", 1, 4), Segment("A man enters.", 1, 4))
    assert problems == []


def test_scanrefer_rooms_have_distinct_sentences_and_counted_objects(tmp_path):
    bad = [{**SCANREFER[0], "description": ""}, {"scene_id": "s", "description": "x"}]
    [context], problems = split(write(tmp_path / "a.json", [*SCANREFER, *bad]))
    assert context == Context(
        id="scene0001_00",
        captions=("The bin by the door.", "A round bin."),
        facts={"objects": {"trash can": 2}},
        video="scene0001_00",
        source="a.json#0",
    )
    assert problems == [
        Problem("a.json#3", "the text is empty"),
        Problem("a.json#4", "it has no object_name"),
    ]


def test_nr3d_tables_and_gathered_rooms_are_the_same_thing(tmp_path):
    [context], _ = split(write(tmp_path / "a.csv", TEXTS["scanrefer (table)"][1]))
    assert (context.id, context.captions, context.facts) == (
        "scene0002_00", ("The wide bed",), {"objects": {"bed": 1}},
    )  # fmt: skip
    rooms = {
        "scene0003_00": [["plant", "A tall one."], ["plant"], ["plant", "A tall one."]],
        "scene4": [],
    }
    [context], problems = split(write(tmp_path / "a.json", rooms))
    assert (context.id, context.captions) == ("scene0003_00", ("A tall one.",))
    assert len(problems) == 2


@pytest.mark.parametrize("content", [EGO4D, EGO4D["videos"]], ids=["below videos", "at the top"])
def test_ego4d_passes_come_together(tmp_path, content):
    [context], problems = split(write(tmp_path / "a.json", content))
    assert context == Context(
        id="uid-1",
        segments=(Segment("A man Y waves.", 2, 2), Segment("C opens something", 8.5, 8.5)),
        video="uid-1",
        source="a.json#0",
    )
    assert problems == []


def test_ego4d_videos_may_begin_with_one_of_which_nothing_is_told(tmp_path):
    videos = {"uid-0": {"status": "redacted"}, **EGO4D["videos"]}
    contexts, problems = split(write(tmp_path / "a.json", videos))
    assert [context.id for context in contexts] == ["uid-1"]
    assert problems == [Problem("a.json#0", "'uid-0' has no narrations")]


def test_ego4d_early_files_and_faults(tmp_path):
    narrations = [
        {"time": 1, "text": "#C C runs"},
        {"time": None, "text": "#C C runs"},
        {"time": 2, "text": "#C C #unsure"},
        {"time": 3},
    ]
    content = {"videos": {"a": {"narrations": narrations}, "b": {"status": "redacted"}, "c": None}}  # fmt: skip
    [context], problems = split(write(tmp_path / "a.json", content))
    assert context.segments == (Segment("C runs", 1, 1),)
    assert problems == [
        Problem("a.json#0", "a, narration 1: None is not a number"),
        Problem("a.json#0", "a, narration 2: the annotator was not sure of anything"),
        Problem("a.json#0", "a, narration 3: it has no 'narration_text'"),
        Problem("a.json#1", "'b' has no narrations"),
        Problem("a.json#2", "None is not an object"),
    ]


def test_ego4d_tables_tell_the_clip_s_times(tmp_path):
    [context], [problem] = split(write(tmp_path / "a.tsv", EGO4D_TABLE))
    assert context.segments == (
        Segment("C picks something", 0, 1.3),
        Segment("man X sits down.", 4.5, 4.5),
    )
    assert problem == Problem("a.tsv:3", "the annotator was not sure of anything")


@pytest.mark.parametrize(
    ("narration", "meant"),
    [
        ("#C C Rinses spoons", "C rinses spoons"),
        (" #c c walks", "C walks"),
        ("#C moves coconuts", "C moves coconuts"),
        ("#C  C Picks DVD", "C picks DVD"),
        ("#O lady b sings", "lady b sings"),
        ("#O I touches cloth", "I touches cloth"),
        ("#Summary C was in a kitchen.", "C was in a kitchen."),
        ("C holds a cup", "C holds a cup"),
        ("#C C puts the #unsure down", "C puts something down"),
        ("#C C opens it. #unsure", "C opens it."),
        ("#C C opens #Unsure.", "C opens something."),
        ("#C C picks can", "C picks can"),
    ],
)
def test_ego4d_narrations_lose_their_marks(narration, meant):
    assert plain(narration) == meant


@pytest.mark.parametrize(
    "narration", ["#unsure", "#C C #unsure", "#C #unsure.", "#O #Unsure", "unsure"]
)
def test_ego4d_narrations_of_nothing_are_said(narration):
    with pytest.raises(ValueError, match="not sure of anything"):
        plain(narration)


def test_epic_actions_of_a_video_are_in_order_of_time(tmp_path):
    bad = "P01_11_2,P01,P01_11,,00:99:00,00:00:01,1,2,take,take,x,[]\nP01_11_3,P01,P01_11,,1,2,1,2,take,take,x,['x\n"
    [context], problems = split(write(tmp_path / "a.csv", EPIC + bad))
    assert context == Context(
        id="P01_11",
        segments=(
            Segment("open bin", 0, 1.89, ("bin",)),
            Segment("take knife", 61.25, 63, ("knife", "chopping board")),
        ),
        video="P01_11",
        source="a.csv:2",
    )
    assert problems == [
        Problem("a.csv:4", "'00:99:00' is not a time"),
        Problem("a.csv:5", "its nouns are not a list"),
    ]


def test_funqa_answers_about_a_video_come_together(tmp_path):
    score = {
        "instruction": "Score its creativity from 0 to 20.",
        "visual_input": "C_KT_3_4.mp4",
        "output": 17,
        "ID": "x",
    }
    odd = {"instruction": "Hm?", "visual_input": "a.mp4", "output": "x"}
    first, second, *problems = [
        *split(write(tmp_path / "a.json", [*FUNQA, score, odd, {**score, "output": None}]))[0],
        *split(tmp_path / "a.json")[1],
    ]  # fmt: skip
    assert (first.id, first.video) == ("H_A_1_2_H", "H_A_1_2.mp4")
    assert {name: fact for name, fact in first.facts.items() if name != "answers"} == {
        "description": "A goose chases a boy.", "reason": "The boy is larger.", "title": "Who rules here",
    }  # fmt: skip
    assert [answer["task"] for answer in first.facts["answers"]] == ["H1", "H2", "H3", "H4"]
    assert first.facts["answers"][0]["answer"] == "[0, 72]"
    assert (second.id, second.facts["answers"]) == (
        "C_KT_3_4_C", [{"question": score["instruction"], "answer": "17", "task": "C5"}],
    )  # fmt: skip
    assert problems == [
        Problem("a.json#5", "it is not clear what 'Hm?' asks"),
        Problem("a.json#6", "None is not a text"),
    ]


@pytest.mark.parametrize(
    ("named", "id_", "video", "question", "meant"),
    [
        ("M2", "", "H_A.mp4", "Why?", ("M", 2)),
        ("", "H_KT_C3_8", "H_A.mp4", "", ("C", 3)),
        ("", "test_12", "M_A_1.mp4", "What makes the video magical?", ("M", 3)),
        ("", "", "H_A.mp4", "Find the funny part.", ("H", 1)),
        ("", "", "x.mp4", "When does the laughter begin?", ("H", 1)),
        ("", "", "x.mp4", "Give a detailed account of the magic part.", ("M", 2)),
        ("", "", "x.mp4", "Suggest a title for this creative video.", ("C", 4)),
        ("", "", "C_x.mp4", "Rate the video.", ("C", 5)),
    ],
)
def test_funqa_tasks_are_known_by_name_id_or_wording(named, id_, video, question, meant):
    assert task(named, id_, video, question) == meant


@pytest.mark.parametrize("content", [ACTIVITYNET, EGO4D, [ACTIVITYNET]])
def test_contexts_hold_only_what_json_can_hold(tmp_path, content):
    [context], _ = split(write(tmp_path / "a.json", content))
    json.dumps(context.facts, allow_nan=False)


@pytest.mark.parametrize(("row", "show"), list(zip(TVR[:2], ["house", "bbt"], strict=True)))
def test_tvr_clips_name_the_frames_that_convert_stores(tmp_path, row, show):
    """Whether the pictures' folder is that of all shows, or of one."""
    [context], _ = split(write_lines(tmp_path / "a.jsonl", [row]))
    frames = tmp_path / f"{show}_frames" / context.video
    frames.mkdir(parents=True)
    (frames / "00001.jpg").write_bytes(b"")
    [stored] = source_named("tvc").find(tmp_path, FindOptions())
    for folder in (tmp_path, tmp_path / f"{show}_frames"):
        found = naming.place("TVC", folder, context.video)
        assert (folder / found / "00001.jpg").is_file()
        assert naming.frame_file("TVC", f"{found}/00001") == stored.id


def test_ego4d_videos_name_the_frames_that_convert_stores(tmp_path):
    [context], _ = split(write(tmp_path / "a.json", EGO4D))
    (tmp_path / f"{context.video}.mp4").write_bytes(b"")
    found = source_named("e4d").find(tmp_path, FindOptions())
    [stored] = [item for item in found if isinstance(item, Film)]
    assert naming.film("E4D", context.video) == stored.id
    assert naming.film_frame(stored.id, 67) == f"E4D_IMG_{context.video}_00000067"
