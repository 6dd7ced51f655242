import json
import re

import pytest

from mimicit.errors import FormatError
from mimicit.exchange import import_files
from mimicit.formats import llavar, lrv, m3it, set_records, svit
from mimicit.formats.base import ReadOptions
from mimicit.store import Store
from tests.mimicit.formats.sets_builders import (
    array,
    concatenated,
    encoded,
    lines,
    llava_row,
    lrv_row,
    m3it_row,
    picture,
    read,
    svit_row,
    table,
)

# M3IT


def test_m3it_asks_instruction_and_inputs_about_the_pictures_within(tmp_path):
    path = lines(tmp_path / "train.jsonl", [m3it_row(image_base64_str=[encoded(1), encoded(2)])])
    (one,), images, bad = read(m3it, path)
    assert (one.instruction, one.answer) == ("Describe the picture.\nHint 0.", "Plain colour 0.")
    assert (one.task, one.conversation, one.turn) == ("m3it", None, None)
    assert [image.image for image in images] == [picture(1), picture(2)]
    assert one.image_ids == tuple(image.id for image in images)
    assert all(id_.startswith("M3IT_IMG_") for id_ in one.image_ids)
    assert not bad


@pytest.mark.parametrize("name", m3it.PICTURES)
def test_m3it_pictures_have_many_names(tmp_path, name):
    row = {"instruction": "q", "inputs": "", name: encoded(3), "outputs": "a"}
    (one,), (image,), _ = read(m3it, lines(tmp_path / "t.jsonl", [row]))
    assert one.instruction == "q"
    assert image.image == picture(3)


def test_m3it_parquet_is_the_same_as_its_lines(tmp_path):
    rows = [m3it_row(n) for n in range(40)] + [m3it_row(40, instruction=None)]
    texts, pictures, _ = read(m3it, lines(tmp_path / "a.jsonl", rows))
    others, same, _ = read(m3it, table(tmp_path / "a.parquet", rows))
    assert [one.id for one in texts] == [one.id for one in others]
    assert [one.instruction for one in others][-1] == "Hint 40."
    assert [one.sha256 for one in pictures] == [one.sha256 for one in same]


def test_m3it_ids_follow_from_the_content_wherever_the_row_stands(tmp_path):
    first, _, _ = read(m3it, lines(tmp_path / "a.jsonl", [m3it_row(1), m3it_row(2)]))
    other, _, _ = read(m3it, lines(tmp_path / "b.jsonl", [m3it_row(2), m3it_row(1)]))
    assert [one.id for one in first] == [one.id for one in other][::-1]
    changed = m3it_row(1, image_base64_str=[encoded(9)])
    (third,), _, _ = read(m3it, lines(tmp_path / "c.jsonl", [changed]))
    assert third.id not in {one.id for one in first}


def test_m3it_bad_lines_are_told_with_their_place_and_the_rest_is_read(tmp_path):
    urlsafe = encoded(4).replace("+", "-").replace("/", "_").rstrip("=")
    path = lines(
        tmp_path / "t.jsonl",
        [
            m3it_row(0),
            b'{"instruction": "q", ',
            b"",
            b'"text"',
            m3it_row(1, outputs=None),
            m3it_row(2, instruction="", inputs=""),
            m3it_row(3, image_base64_str=["QU!!JD"]),
            m3it_row(3, image_base64_str=["QUJD"]),
            m3it_row(3, image_base64_str=[7]),
            b'{"instruction": "\xff", "inputs": "", "outputs": "a", "image_str": "x"}',
            m3it_row(4, image_base64_str=[urlsafe]),
            m3it_row(5, outputs=5),
            m3it_row(6, image_base64_str=[]),
        ],
    )
    texts, _, bad = read(m3it, path)
    assert [one.answer for one in texts] == [
        "Plain colour 0.",
        "Plain colour 4.",
        "Plain colour 6.",
    ]
    assert texts[2].image_ids == ()
    told = [(row.where, row.reason) for row in bad]
    assert [where for where, _ in told] == [
        f"t.jsonl: line {n}" for n in (2, 4, 5, 6, 7, 8, 9, 10, 12)
    ]
    for (_, reason), said in zip(
        told,
        ("broken JSON", "not an object", "'outputs'", "neither", "base64", "not a picture", "base64", "broken JSON", "no text but int"),
        strict=True,
    ):  # fmt: skip
        assert said in reason


def test_a_broken_first_line_and_a_byte_order_mark_cost_nothing_else(tmp_path):
    path = lines(tmp_path / "t.jsonl", [b"\xef\xbb\xbf", b"{broken", m3it_row(1), m3it_row(2)])
    assert m3it.detect(path)
    texts, _, bad = read(m3it, path)
    assert (len(texts), len(bad)) == (2, 1)


def test_a_picture_of_a_bad_row_comes_with_the_next_good_one(tmp_path):
    rows = [
        m3it_row(1, image_base64_str=[encoded(1), "QUJD"]),
        m3it_row(1),
        m3it_row(1, outputs="Again."),
    ]
    texts, images, bad = read(m3it, lines(tmp_path / "t.jsonl", rows))
    assert (len(texts), len(images), len(bad)) == (2, 1, 1)


def test_pictures_are_remembered_for_a_while_only(tmp_path, monkeypatch):
    monkeypatch.setattr(set_records, "RECENT", 2)
    shades = (1, 2, 1, 3, 4, 1)
    rows = [m3it_row(s, outputs=f"{at}") for at, s in enumerate(shades)]
    _, images, _ = read(m3it, lines(tmp_path / "t.jsonl", rows))
    assert [image.image for image in images] == [picture(s) for s in (1, 2, 3, 4, 1)]


# LRV


@pytest.mark.parametrize("write", [array, concatenated, lines], ids=lambda f: f.__name__)
def test_lrv_is_read_in_each_form(tmp_path, write):
    path = write(tmp_path / "filter_cap.json", [lrv_row(n) for n in range(3)])
    (tmp_path / "VG_100K_2").mkdir()
    (tmp_path / "2390000.jpg").write_bytes(picture(0))
    (tmp_path / "VG_100K_2" / "2390001.jpg").write_bytes(picture(1))
    texts, images, bad = read(lrv, path, task="negatives", language="de")
    assert [one.image_ids for one in texts] == [(f"LRV_IMG_239000{n}",) for n in range(3)]
    assert [json.loads(one.meta) for one in texts] == [{"category": "negative"}] * 3
    assert {(one.task, one.language) for one in texts} == {("negatives", "de")}
    assert [(image.id, image.image) for image in images] == [
        ("LRV_IMG_2390000", picture(0)),
        ("LRV_IMG_2390001", picture(1)),
    ]
    assert len(bad) == 1
    assert "2390002.jpg" in bad[0].reason


@pytest.mark.parametrize("number", ["1" * 5000, "1e999", "-0"])
def test_odd_numbers_are_read_or_told(tmp_path, number, monkeypatch):
    monkeypatch.setattr("mimicit.formats.FORMATS", ("lrv",))
    row = json.dumps(lrv_row(0) | {"task": "odd"}).replace('"odd"', number)
    for name, text in (("a.json", f"[{row}]"), ("b.json", f"{row}{row}"), ("c.json", f"{row}\n")):
        path = tmp_path / name
        path.write_text(text)
        lrv.detect(path)
        imported = import_files(
            [path], Store.open(tmp_path / name[0], create=True), format_name="lrv"
        )
        assert imported.records or imported.bad_count


def test_lrv_finds_pictures_in_the_folder_that_was_named_and_reads_each_once(tmp_path):
    folder = tmp_path / "vg"
    folder.mkdir()
    (folder / "2390000.jpg").write_bytes(picture(0))
    rows = [lrv_row(0), lrv_row(0, question="And a cat?"), lrv_row(1), lrv_row(1, question="Why?")]
    texts, images, bad = read(lrv, array(tmp_path / "cap.json", rows), images=folder)
    assert len({one.id for one in texts}) == 4
    assert (len(images), len(bad)) == (1, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_id": None}, "'image_id'"),
        ({"image_id": ["x"]}, "list"),
        ({"image_id": "a\nb"}, "cannot be an id"),
        ({"image_id": "x" * 600}, "cannot be an id"),
        ({"question": None}, "'question'"),
        ({"answer": 7}, "no text but int"),
    ],
)
def test_lrv_rows_that_cannot_be_used_are_told(tmp_path, changes, said):
    path = array(tmp_path / "cap.json", [lrv_row(0), lrv_row(1, **changes)])
    texts, _, bad = read(lrv, path)
    assert len(texts) == 1
    assert bad[-1].where == "cap.json: row 2"
    assert said in bad[-1].reason


def test_no_picture_name_leads_out_of_the_folder(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(picture(0))
    (tmp_path / "in").mkdir()
    path = array(tmp_path / "in" / "cap.json", [lrv_row(image_id="../secret")])
    _, images, bad = read(lrv, path)
    assert not images
    assert "leads out" in bad[0].reason


def test_numbers_and_texts_as_ids_are_the_same(tmp_path):
    path = array(tmp_path / "cap.json", [lrv_row(image_id=7), lrv_row(image_id="7")])
    first, second = read(lrv, path)[0]
    assert first.id == second.id


def test_what_comes_before_a_break_is_read(tmp_path):
    for write in (array, concatenated):
        path = write(tmp_path / "cap.json", [lrv_row(n) for n in range(5)])
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        found = []
        with pytest.raises(FormatError, match="broken JSON"):
            found.extend(lrv.read(path, ReadOptions()))
        assert sum(hasattr(item, "answer") for item in found) == 2


# SVIT


def test_svit_makes_a_conversation_of_each_list_of_turns(tmp_path):
    (tmp_path / "2392000.jpg").write_bytes(picture(0))
    texts, images, bad = read(svit, array(tmp_path / "conversation.json", [svit_row()]))
    assert [(one.instruction, one.answer, one.turn) for one in texts] == [
        ("What is it?", "A dog, number 0.", 0),
        ("Is it big?", "Yes.", 1),
        ("Why?", "It grew.", None),
    ]
    conversation = texts[0].conversation
    assert conversation.startswith("SVIT_INS_2392000_")
    assert [one.id for one in texts[:2]] == [f"{conversation}_00", f"{conversation}_01"]
    assert texts[2].conversation is None
    assert {one.image_ids for one in texts} == {("SVIT_IMG_2392000",)}
    assert [image.id for image in images] == ["SVIT_IMG_2392000"]
    assert not bad


@pytest.mark.parametrize(
    "turns",
    [
        [{"question": "Q?", "answer": "A."}],
        [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}],
        [{"from": "human", "value": "<image>\nQ?"}, {"from": "gpt", "value": "A."}],
    ],
)
@pytest.mark.parametrize("name", svit.TURNS)
def test_svit_turns_have_several_forms(tmp_path, name, turns):
    row = svit_row(conversations=[{name: turns, "type": "reasoning"}])
    path = array(tmp_path / "x.json", [row])
    assert svit.detect(path)
    (one,), _, _ = read(svit, path)
    assert (one.instruction, one.answer) == ("Q?", "A.")
    assert json.loads(one.meta) == {"type": "reasoning"}


def test_svit_keeps_boxes_in_the_text(tmp_path):
    said = "It is <st>a dog<ed> [0.1,0.2,0.3,0.4]."
    row = svit_row(conversations=[{"qa": [{"question": "Where?", "answer": said}]}])
    assert read(svit, array(tmp_path / "x.json", [row]))[0][0].answer == said


def test_svit_loses_only_the_conversation_that_is_wrong(tmp_path):
    (tmp_path / "2392000.jpg").write_bytes(picture(0))
    question = {"from": "user", "value": "?"}
    good = svit_row()["conversations"][1]
    conversations = [
        {"content": [question]},
        "text",
        {"content": []},
        {"content": [question, question]},
        {"content": ["text"]},
        good,
    ]
    rows = [svit_row(conversations=conversations), svit_row(conversations=None)]
    texts, _, bad = read(svit, array(tmp_path / "x.json", rows))
    assert [one.answer for one in texts] == ["It grew."]
    assert [row.where for row in bad] == [
        *(f"x.json: row 1, conversation {n}" for n in range(1, 6)),
        "x.json: row 2",
    ]


# LLaVAR


def test_llavar_keeps_its_pictures_apart_from_those_whose_names_they_borrow(tmp_path):
    (tmp_path / "000000000001.png").write_bytes(picture(1))
    texts, (image,), bad = read(llavar, array(tmp_path / "chat_llavar.json", [llava_row(1)]))
    assert [(one.instruction, one.answer, one.turn) for one in texts] == [
        ("What is it?", "Thing 1.", 0),
        ("Where?", "There.", 1),
    ]
    assert image.id == "LLAVAR_IMG_000000000001"
    assert {one.image_ids for one in texts} == {(image.id,)}
    assert {one.conversation for one in texts} == {"LLAVAR_INS_chat_llavar_000000000001"}
    assert not bad


def test_llavar_ids_that_come_twice_are_two_conversations(tmp_path):
    short = [{"from": "human", "value": "Why?\n<image>"}, {"from": "gpt", "value": "So."}]
    rows = [llava_row(1), llava_row(1, conversations=short)]
    texts, _, _ = read(llavar, array(tmp_path / "chat_llavar.json", rows))
    assert len({one.id for one in texts}) == 3
    assert texts[2].instruction == "Why?"
    assert json.loads(texts[2].meta) == {"_places": [[0, 1]]}  # so that an export puts it back


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"conversations": []}, "no messages"),
        ({"conversations": "text"}, "no list"),
        ({"conversations": [{"from": "gpt", "value": "a"}]}, "without a question"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "no answer"),
        ({"conversations": [{"from": "human"}]}, "no text"),
        ({"id": "a\x07"}, "pattern"),
        ({"image": 7}, "picture is neither"),
        ({"image": None}, "1 placeholders"),
    ],
)
def test_llavar_rows_that_cannot_be_used_are_told(tmp_path, changes, said):
    texts, _, bad = read(llavar, array(tmp_path / "chat_llavar.json", [llava_row(1, **changes)]))
    assert not texts
    assert re.search(said, bad[-1].reason)


def test_llavar_without_a_picture_and_with_several(tmp_path):
    said = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]
    rows = [
        llava_row(1, image=None, conversations=said),
        llava_row(2, image=["a/x.png", "./b/x.png"], conversations=said),
    ]
    texts, _, bad = read(llavar, array(tmp_path / "chat_llavar.json", rows))
    assert [one.image_ids for one in texts] == [(), ("LLAVAR_IMG_a_x", "LLAVAR_IMG_b_x")]
    assert len(bad) == 2


# All


def test_what_is_read_goes_into_a_dataset_and_again_adds_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("mimicit.formats.FORMATS", ("m3it", "svit", "lrv", "llavar"))
    source = tmp_path / "files"
    source.mkdir()
    for n in range(3):
        (source / f"239000{n}.jpg").write_bytes(picture(n))
        (source / f"239200{n}.jpg").write_bytes(picture(n))
        (source / f"{n:012d}.png").write_bytes(picture(n))
    files = [
        lines(source / "train.jsonl", [m3it_row(n) for n in range(3)]),
        array(source / "cap.json", [lrv_row(n) for n in range(3)]),
        array(source / "svit.json", [svit_row(n) for n in range(3)]),
        array(source / "chat_llavar.json", [llava_row(n) for n in range(3)]),
    ]
    store = Store.open(tmp_path / "ds", create=True)
    imported = import_files(files, store)
    assert (imported.records, imported.images, imported.bad_count) == (3 + 3 + 9 + 6, 12, 0)
    again = import_files(files, store)
    assert (again.records, again.images, again.bad_count, again.known) == (0, 0, 0, 21 + 12)
    with store.reading() as connection:
        named = connection.execute(
            "SELECT count(*) FROM (SELECT unnest(image_ids) AS id FROM instructions) "
            "ANTI JOIN images USING (id)"
        ).fetchone()
    assert named == (0,)
