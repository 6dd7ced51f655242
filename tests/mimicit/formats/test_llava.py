import json

import pytest

from mimicit.errors import FormatError
from mimicit.formats import WriteOptions, llava
from mimicit.formats.rows import MAX_ROW
from tests.mimicit.formats.chat_builders import (
    array,
    comes_back,
    content,
    image,
    imported,
    lines,
    parted,
    pictures,
    png,
    stored,
)
from tests.mimicit.formats.test_exporting import record


def said(*texts):
    speakers = ("human", "gpt")
    return [{"from": speakers[n % 2], "value": text} for n, text in enumerate(texts)]


def row(*texts, **fields):
    return {**fields, "conversations": said(*texts)}


@pytest.fixture
def rows(tmp_path):
    """One of everything that such files have."""
    pictures(tmp_path, "1.png", "coco/2.png", "vg/2.png", "images/3.png")
    return [
        row("<image>\nWho?", "He.", "Where?", "There.", id="000000033471", image="1.png"),
        row("Why?\n<image>", "So.", id="000000033471", image="1.png"),
        row("<image><image>Which?", "This.", id=7, image=["coco/2.png", "vg/2.png"]),
        row("First <image> then <image>, no?", "Yes.", id="mid", image=["vg/2.png", "1.png"]),
        row("One?", "1.", "<image>\nTwo?", "2.\n", id="late", image="images/3.png"),
        row("What is 1 + 1?", " 2 ", id="text", system_prompt="Count."),
        row("<video>\nWhat moves?", "A cat.", id="film", video="a.mp4"),
        row("<image>\nGood?", "Yes.", id="liked", image="1.png", rejected="No."),
        row("<image>\nSame?", "Yes.", image="1.png", category="odd", score={"a": [1, 2.5]}),
        row("<image>", "A caption.", id="bare", image="1.png"),
        row("<image>\n\n two spaces", "ü 猫 🐈", id="space/s é", image="1.png", task="ocr"),
    ]


def test_what_is_imported_exported_and_imported_is_the_same(rows, tmp_path):
    out = comes_back(llava, array(tmp_path / "all.json", rows, indent=1), tmp_path)
    assert sorted(path.name for path in out.iterdir()) == ["images", "train.json"]
    written = json.loads((out / "train.json").read_text(encoding="utf-8"))
    assert len(written) == len(rows)
    assert {one.get("system_prompt") for one in written} == {None, "Count."}
    for one in written:
        names = one.get("image", [])
        for name in [names] if isinstance(names, str) else names:
            assert (out / name).is_file()


def test_json_lines_are_read_like_the_array(rows, tmp_path):
    first = imported(llava, lines(tmp_path / "all.jsonl", rows), tmp_path / "a")
    second = imported(llava, array(tmp_path / "all.json", rows), tmp_path / "b")
    assert content(first) == content(second)


def test_a_conversation_is_a_record_a_turn_with_all_pictures(rows, tmp_path):
    records, images, bad = parted(llava, array(tmp_path / "mix.json", rows[:1]))
    assert bad == []
    assert [one.id for one in records] == [
        "LLAVA_INS_mix_000000033471_00",
        "LLAVA_INS_mix_000000033471_01",
    ]
    assert {one.conversation for one in records} == {"LLAVA_INS_mix_000000033471"}
    assert [one.turn for one in records] == [0, 1]
    assert [one.instruction for one in records] == ["Who?", "Where?"]
    assert {one.image_ids for one in records} == {("LLAVA_IMG_1",)}
    assert [(one.id, one.image) for one in images] == [("LLAVA_IMG_1", png(0))]


def test_ids_that_come_again_stay_apart(tmp_path):
    """LLaVA-Instruct-150K has one id a picture: for a conversation, a description, and a question."""
    again = [row("a?", "b", id="42"), row("c?", "d", id="42"), row("c?", "d", id="42")]
    records, _, bad = parted(llava, array(tmp_path / "x.json", again))
    assert bad == []
    assert [one.id for one in records] == [
        "LLAVA_INS_x_42",
        "LLAVA_INS_x_42-2",
        "LLAVA_INS_x_42-3",
    ]


def test_the_task_of_the_import_is_in_the_ids(tmp_path):
    path = array(tmp_path / "x.json", [row("a?", "b", id="42")])
    (one,), *_ = parted(llava, path, task="la_detail", language="de")
    assert (one.id, one.task, one.language) == ("LA_DETAIL_INS_x_42", "la_detail", "de")


def test_records_from_elsewhere_keep_task_language_and_id(tmp_path):
    records = [
        record("LACR_INS_1", "LA_IMG_1", task="la_reasoning", language="fr"),
        record("DC_INS_../x", "LA_IMG_1", "DC_IMG_a/b.c"),
    ]
    store = stored(records, [image("LA_IMG_1"), image("DC_IMG_a/b.c", 1)], tmp_path / "ds")
    llava.write(store, tmp_path / "out", WriteOptions())
    assert content(imported(llava, tmp_path / "out", tmp_path / "back")) == content(store)


def test_a_picture_is_brought_once_and_a_missing_one_is_told_once(tmp_path):
    pictures(tmp_path, "1.png")
    many = [row("<image>\nq", "a", id=str(n), image=name) for n in range(3) for name in ("1.png", "2.png")]  # fmt: skip
    records, images, bad = parted(llava, array(tmp_path / "x.json", many))
    assert len(records) == 6
    assert [one.id for one in images] == ["LLAVA_IMG_1"]
    assert [(one.where, one.reason.split(" ")[0]) for one in bad] == [("x.json: row 2", "'2.png'")]


def test_pictures_lie_in_the_folder_that_is_named(tmp_path):
    pictures(tmp_path / "elsewhere", "coco/1.png")
    path = array(tmp_path / "x.json", [row("<image>\nq", "a", image="coco/1.png")])
    assert parted(llava, path, images=tmp_path / "elsewhere")[1][0].id == "LLAVA_IMG_coco_1"


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "a/../../secret.png"])
def test_a_path_out_of_the_folder_is_not_read(tmp_path, name):
    pictures(tmp_path, "secret.png")
    (tmp_path / "in").mkdir()
    path = array(tmp_path / "in" / "x.json", [row("<image>\nq", "a", id="1", image=name)])
    _, images, (bad,) = parted(llava, path)
    assert images == []
    assert "leads out of the picture folder" in bad.reason


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (row("a?", "b", "c?"), "the last question has no answer"),
        ({"conversations": said("a?") + said("b?", "c")}, "two questions in a row"),
        ({"conversations": said("a?", "b")[1:]}, "an answer without a question"),
        ({"conversations": said("a?", "b") + said("c", "d")[1:]}, "two answers in a row"),
        ({"conversations": [{"from": "dog", "value": "wuff"}]}, "the role 'dog' is unknown"),
        ({"conversations": [{"from": ["x"], "value": "wuff"}]}, "is unknown"),
        ({"conversations": [{"from": "human"}]}, "has no text"),
        ({"conversations": [{"from": "human", "value": 3}]}, "has no text"),
        ({"conversations": []}, "there are no messages"),
        ({"conversations": "hello"}, "no list of messages"),
        ({"conversations": ["hello"]}, "no list of messages"),
        ({"id": "x"}, "no list of messages"),
        (row("a?", "  "), "message 2 is an empty answer"),
        (row("", "b"), "a question is empty"),
        (row("<image>\na?", "b"), "1 placeholders <image> and 0 pictures"),
        (row("a?", "b", image="1.png"), "0 placeholders <image> and 1 pictures"),
        (row("<image>a <image>?", "b", image="1.png"), "2 placeholders <image> and 1 pictures"),
        (row("<video>a?", "b", video=["1.mp4", "2.mp4"]), "1 placeholders <video> for 2 files"),
        (row("<image>a?", "b", image=3), "neither a path nor an address"),
        (row("<image>a?", "b", image="x\x00y.png"), "control characters"),
        (row("<image>a?", "b", image="x" * 3000), "a name of 3000 characters"),
        (row("<image>" * 5000, "b", image=["1.png"] * 5000), "more than 4096"),
        (row("a?", "b", id="x" * 600), "id: "),
        (row("a?", "b", id="two\nlines"), "id: "),
        (row("a?", "b\ud800"), "half a character"),
        (row("a?", "b", category="x\ud800"), "half a character"),
        (row("a?", "b", score=float("nan")), "a column cannot be kept"),
        (row("a?", "b", rejected=3), "`rejected` is no text"),
        (row("a?", "b", _places=[1]), "a column is called '_places'"),
        ([1, 2], "not an object"),
        ("text", "not an object"),
        (None, "not an object"),
    ],
)  # fmt: skip
def test_a_broken_row_is_told_with_its_place_and_reason(tmp_path, broken, why):
    pictures(tmp_path, "1.png")
    good = row("a?", "b", id="good")
    records, _, (bad,) = parted(llava, array(tmp_path / "x.json", [good, broken, good]))
    assert len(records) == 2
    assert bad.where == "x.json: row 2"
    assert why in bad.reason


def test_what_stands_before_a_break_is_read(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps([row("a?", "b"), row("c?", "d")])[:-20])
    found = []
    with pytest.raises(FormatError, match="broken JSON"):
        found.extend(llava.read(path, llava.ReadOptions()))
    assert [one.instruction for one in found] == ["a?"]


@pytest.mark.parametrize(
    "text",
    [b"[", b'[{"a": 1} {"a": 2}]', b"[1,", b"[" * 100_000, b'[{"a": "\xff"}]', b"[,]", b"[1,]"],
)
def test_a_file_that_is_no_json_is_an_error_of_ours(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_bytes(text)
    assert not llava.detect(path)
    with pytest.raises(FormatError, match="broken JSON"):
        list(llava.read(path, llava.ReadOptions()))


def test_a_line_that_is_broken_costs_one_row(tmp_path):
    path = tmp_path / "x.jsonl"
    good = json.dumps(row("a?", "b")).encode()
    path.write_bytes(b"\n".join([b"\xef\xbb\xbf" + good, b"{broken", b'{"a": "\xff"}', b"", good]))
    records, _, bad = parted(llava, path)
    assert len(records) == 2
    assert [one.where for one in bad] == ["x.jsonl: line 2", "x.jsonl: line 3"]


def test_a_line_that_is_too_long_costs_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr("mimicit.formats.rows.MAX_ROW", 200)
    rows = [row("a?", "b"), row("a" * 300, "b"), row("c?", "d")]
    records, _, (bad,) = parted(llava, lines(tmp_path / "x.jsonl", rows))
    assert [one.instruction for one in records] == ["a?", "c?"]
    assert bad.where == "x.jsonl: line 2"
    assert MAX_ROW > 200


def test_rows_over_the_edges_of_pieces_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("mimicit.formats.rows.PIECE", 7)
    rows = [row("a?", "ü" * n + "猫", id=n) for n in range(20)]
    for options in ({}, {"indent": 2}, {"separators": (",", ":")}):
        records, *_ = parted(llava, array(tmp_path / "x.json", rows, **options))
        assert [one.answer for one in records] == ["ü" * n + "猫" for n in range(20)]
    path = tmp_path / "numbers.json"
    path.write_text("[12345678901, 2, \n 3.25e10 ]")
    assert [one.reason for one in parted(llava, path)[2]] == ["not an object"] * 3


def test_an_empty_array_has_no_rows(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(" [ \n ] ")
    assert parted(llava, path) == ([], [], [])


def test_a_word_that_is_a_placeholder_does_not_become_a_picture(tmp_path):
    odd = record("T_INS_1", "T_IMG_1", instruction="Why <image> and <image>?")
    store = stored([odd], [image("T_IMG_1")], tmp_path / "ds")
    llava.write(store, tmp_path / "out", WriteOptions())
    (one,), _, bad = parted(llava, tmp_path / "out" / "train.json")
    assert bad == []
    assert one.instruction == "Why < image> and < image>?"


@pytest.mark.parametrize("meta", ["[1]", "no json", '{"_places": [[9, 9]]}', '{"_places": "x"}',
                                  '{"_roles": [["x", 1]], "_fields": [[1, 2]]}'])  # fmt: skip
def test_meta_that_makes_no_sense_is_left_aside(tmp_path, meta):
    store = stored([record("T_INS_1", "T_IMG_1", meta=meta)], [image("T_IMG_1")], tmp_path / "ds")
    llava.write(store, tmp_path / "out", WriteOptions())
    (one,), _, bad = parted(llava, tmp_path / "out" / "train.json")
    assert (one.instruction, bad) == ("What is T_INS_1?", [])


def test_splits_are_files_and_an_empty_one_is_an_empty_array(rows, tmp_path):
    store = imported(llava, array(tmp_path / "all.json", rows), tmp_path / "ds")
    written = llava.write(store, tmp_path / "out", WriteOptions(splits={"few": 1e-9, "half": 0.5}))
    there = {one.path.name: one.records for one in written if one.path.suffix == ".json"}
    assert list(there) == ["train.json", "few.json", "half.json"]
    assert sum(there.values()) == len(rows)
    assert json.loads((tmp_path / "out" / "few.json").read_text()) == []
