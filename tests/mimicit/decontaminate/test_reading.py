"""Benchmark files as they are: every shape gives the same items, and what cannot be used is listed."""

from __future__ import annotations

import base64
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mimicit.decontaminate.reading import read_benchmarks
from mimicit.errors import FormatError
from tests.mimicit.curate.drawn import encoded

ROW = {"question": "Is there a dog?", "answer": "yes", "image": "a.png"}


@pytest.fixture
def picture(tmp_path):
    data = encoded(Image.effect_noise((64, 64), 90).convert("RGB"), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    return data


def read(path, text, **options):
    path.write_text(text)
    found = read_benchmarks([path], **options)
    return found.items.to_pylist(), found.shown.to_pylist(), found.bad


SHAPES = {
    "array.json": json.dumps([ROW]),
    "pretty.json": json.dumps(ROW, indent=2),
    "members.json": json.dumps({"12": ROW}),
    "pretty_members.json": json.dumps({"12": ROW}, indent=1),
    "list.json": json.dumps({"info": {"version": 1}, "questions": [ROW]}),
    "lines.json": json.dumps(ROW) + "\n",
    "lines.jsonl": "\ufeff" + json.dumps(ROW),
    "pope.jsonl": json.dumps({"question_id": 1, "image": "a.png", "text": "Is there a dog?", "label": "yes"}),
    "chat.json": json.dumps([{"image": "a.png", "conversations": [
        {"from": "human", "value": "Is there a dog?"}, {"from": "gpt", "value": "yes"}], "answer": "yes"}]),
    "table.csv": 'index,question,answer,image\n1,Is there a dog?,yes,a.png\n',
    "table.tsv": 'question\tanswer\timage_path\nIs there a dog?\tyes\tsomewhere/else/a.png\n',
    "mme.txt": "a.png\tIs there a dog?\tyes\n",
    "a.txt": "Is there a dog?\tyes\n",
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_question_about_a_picture_in_every_shape(tmp_path, picture, name):
    items, shown, bad = read(tmp_path / name, SHAPES[name])
    assert [(one["question"], one["answer"]) for one in items] == [("Is there a dog?", "yes")]
    assert [one["name"] for one in shown] == ["a"]
    assert shown[0]["sha256"]
    assert shown[0]["hash"] is not None
    assert bad == []


@pytest.mark.parametrize("form", ["struct", "bytes", "base64", "list"])
def test_parquet_with_pictures_in_it(tmp_path, picture, form):
    value = {
        "struct": {"bytes": picture, "path": "b.png"},
        "bytes": picture,
        "base64": base64.b64encode(picture).decode(),
        "list": [{"bytes": picture, "path": None}],
    }[form]
    pq.write_table(pa.table({"question": ["Why?"], "image": [value]}), tmp_path / "b.parquet")
    found = read_benchmarks([tmp_path / "b.parquet"])
    assert found.items["question"].to_pylist() == ["Why?"]
    assert found.shown["hash"].null_count == 0


def test_options_and_answers_that_name_one(tmp_path):
    rows = [
        {"question": "Which?", "choices": ["bilberry", "mushroom"], "answer": 1},
        {"question": "Which?", "A": "bilberry", "B": "mushroom", "answer": "B"},
        {"question": "Which?", "options": {"a": "bilberry", "b": "mushroom"}, "answer": "mushroom"},
        {
            "question": "Which?",
            "answers": [{"answer": "mushroom"}, {"answer": "x"}],
            "options": ["bilberry", "mushroom"],
        },
    ]
    items, _, _ = read(tmp_path / "b.json", json.dumps(rows))
    assert [one["answer"] for one in items] == ["mushroom"] * 4
    assert {one["options"] for one in items} == {"bilberry mushroom"}


def test_a_folder_of_pictures_and_a_folder_of_both(tmp_path, picture):
    found = read_benchmarks([tmp_path])
    assert found.items["question"].to_pylist() == [""]
    (tmp_path / "b.png").write_bytes(
        encoded(Image.effect_noise((80, 80), 90).convert("RGB"), "PNG")
    )
    (tmp_path / "q.json").write_text(json.dumps([ROW]))
    found = read_benchmarks([tmp_path])
    assert found.items["question"].to_pylist() == ["Is there a dog?", ""]
    assert found.items["place"].to_pylist() == ["row 1", "b.png"]


def test_bad_rows_are_listed_and_the_others_are_read(tmp_path):
    lines = [json.dumps(ROW), "{broken", "[1]", json.dumps({"colour": 3}), json.dumps(ROW)]
    items, _, bad = read(tmp_path / "b.jsonl", "\n".join(lines))
    assert len(items) == 2
    assert [one.split(":")[1].strip() for one in bad] == ["line 2", "line 3", "line 4"]
    assert bad[2].endswith("no question and no picture; it has: colour")


def test_a_damaged_picture_is_said_and_its_question_stays(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG nothing")
    items, shown, bad = read(tmp_path / "b.json", json.dumps([ROW]))
    assert len(items) == 1
    assert shown[0]["sha256"]
    assert shown[0]["hash"] is None
    assert len(bad) == 1


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/hostname", "..\\secret.png", "x\x00.png", "link.png"]
)
def test_a_name_leads_out_of_no_folder(tmp_path, picture, name):
    folder = tmp_path / "bench"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(picture)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    _, shown, _ = read(folder / "b.json", json.dumps([ROW | {"image": name}]))
    assert shown[0]["sha256"] is None


def test_pictures_are_found_in_the_folder_that_is_given(tmp_path, picture):
    (tmp_path / "bench").mkdir()
    _, shown, _ = read(tmp_path / "bench" / "b.json", json.dumps([ROW]), images=tmp_path)
    assert shown[0]["sha256"] is not None


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("b.pdf", "%PDF", "is no benchmark that can be read"),
        ("b.json", "[]", "hold no questions"),
        ("b.json", '{"a": [', "broken JSON"),
        ("b.json", "3", "it is no object"),
        ("b.txt", "only one cell\n", "has 1 cells"),
        ("b.csv", "x,y\n1,2\n", "no question and no picture; it has: x, y"),
        ("b.parquet", "PAR1", "breaks off"),
    ],
)
def test_what_is_no_benchmark_is_said(tmp_path, name, text, said):
    with pytest.raises(FormatError, match=said):
        read(tmp_path / name, text)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(FormatError, match="there is no benchmark"):
        read_benchmarks([tmp_path / "nowhere.json"])


def test_halves_of_characters_and_numbers_are_read(tmp_path):
    text = '[{"question": "Why \\ud800?", "image": "\\ud800.png"}, {"question": 7, "image": 12}]'
    items, shown, _ = read(tmp_path / "b.json", text)
    assert [one["question"] for one in items] == ["Why ??", "7"]
    assert [one["name"] for one in shown] == ["?", "12"]


def test_columns_that_nobody_asks_for_are_not_read(tmp_path):
    far = pa.array([2**50], pa.timestamp("s"))  # no year of Python's
    pq.write_table(pa.table({"question": ["Is there a dog?"], "when": far}), tmp_path / "b.parquet")
    assert read_benchmarks([tmp_path / "b.parquet"]).items["question"].to_pylist() == [
        "Is there a dog?"
    ]
    pq.write_table(pa.table({"when": far}), tmp_path / "none.parquet")
    with pytest.raises(FormatError, match="no question and no picture; it has: when"):
        read_benchmarks([tmp_path / "none.parquet"])


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_quote_that_is_never_closed_is_said(tmp_path, end):
    text = 'question\tanswer\nIs there a dog?\tyes\n"Is there a cat?\tno\nIs it late?\tno' + end
    items, _, bad = read(tmp_path / "b.tsv", text)
    assert [item["question"] for item in items] == ["Is there a dog?"]
    assert bad == ["b.tsv: the end: a quote is opened and never closed"]
    items, _, bad = read(tmp_path / "good.tsv", f'question\n"a\nb"\nc{end}')
    assert ([item["question"] for item in items], bad) == (["a\nb", "c"], [])
    items, _, bad = read(tmp_path / "twice.csv", f"question,answer,answer\na,b,c{end}")
    assert ([item["question"] for item in items], bad) == (["a"], [])


def test_a_line_without_an_end_is_not_taken_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("mimicit.decontaminate.reading.MAX_LINE", 1 << 10)
    items, _, bad = read(tmp_path / "b.csv", "question\nIs there a dog?\n" + "a" * 5_000)
    assert len(items) == 1
    assert "a line is longer than" in bad[0]
