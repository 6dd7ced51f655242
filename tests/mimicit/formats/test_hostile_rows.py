"""Files of sets and of tar members that were made to be hard to read."""

import json
import tarfile
import time
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mimicit.errors import FormatError
from mimicit.formats import BadRow, ReadOptions, llava_rlhf, rlaifv, rows, set_rows, trl, webdataset
from mimicit.formats.exporting import Conversation
from mimicit.formats.hf_card import MOST_GROUPS, Tally
from mimicit.formats.set_records import without_placeholders
from mimicit.formats.tar_members import BLOCK, members
from mimicit.formats.trl_messages import said
from mimicit.schema import Instruction


def member(name, data, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)


def pax(*records):
    return member("pax", b"".join(records), tarfile.XHDTYPE)


def record(key, value):
    text = b" " + key + b"=" + value + b"\n"
    length = len(text) + 1
    while len(str(length)) + len(text) != length:
        length += 1
    return str(length).encode() + text


TEXT = b'{"question": "Q", "answer": "A"}'


@pytest.mark.parametrize(
    "header",
    [b"9" * 5_000 + b" path=x\n", b"0 path=x\n", b"3 a", b"-5 path=x\n", b"99999999 path=x\n", b"\xff"],
    ids=["digits", "nothing", "short", "negative", "long", "no text"],
)  # fmt: skip
def test_a_header_of_nonsense_says_nothing(tmp_path, header):
    path = tmp_path / "x.tar"
    path.write_bytes(pax(header) + member("a.json", TEXT) + bytes(1024))
    [one] = webdataset.read(path, ReadOptions())
    assert one.answer == "A"


def test_a_header_of_many_records_takes_no_time_and_is_not_kept(tmp_path):
    path = tmp_path / "x.tar"
    many = b"".join(record(b"%d" % n, b"") for n in range(80_000))
    path.write_bytes(
        pax(many) * 5 + pax(record(b"path", b"b.json")) + member("a.json", TEXT) + bytes(1024)
    )
    start = time.process_time()
    assert [(one.name, one.read()) for one in members(path)] == [("b.json", TEXT)]
    assert time.process_time() - start < 5


def test_a_header_that_says_another_size_is_held_to_the_file(tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(pax(record(b"size", b"9" * 18)) + member("a.json", TEXT) + bytes(1024))
    with pytest.raises(FormatError, match="ends within"):
        list(members(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<image>\nQ <image> R\n<image> <image>", "Q <image> R"),
        ("  Q  ", "  Q  "), (" <image> ", ""), ("<image><image>", ""), ("Q\n <image>\n", "Q"), ("", ""),
    ],
)  # fmt: skip
def test_places_before_and_behind_a_text_are_taken_away(text, expected):
    assert without_placeholders(text) == expected


def test_a_long_run_of_spaces_takes_no_time():
    text = "Q" + " " * 500_000 + "R"
    start = time.process_time()
    assert without_placeholders(text) == text
    assert said({"question": text, "answer": "A"}, 1).turns[0].instruction == text
    assert time.process_time() - start < 5


def test_a_value_that_python_has_none_for_is_a_bad_row(tmp_path):
    path = tmp_path / "x.parquet"
    columns = {
        "question": ["Q", "Q2"], "answer": ["A", "B"], "images": pa.array([[], []], pa.list_(pa.string())),
        "day": pa.array([10**13, 0], pa.timestamp("s")),
    }  # fmt: skip
    pq.write_table(pa.table(columns), path)
    bad, good = trl.read(path, ReadOptions())
    assert isinstance(bad, BadRow)
    assert bad.where == "x.parquet: row 1"
    assert str(date(1970, 1, 1)) in good.meta


def test_nulls_within_nested_columns_are_bad_rows(tmp_path):
    part = pa.struct([("type", pa.string()), ("text", pa.string())])
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(part))]))
    asked = {"role": "user", "content": [{"type": "text", "text": "Q"}]}
    said_ = {"role": "assistant", "content": [{"type": "text", "text": "A"}]}
    chats = [
        [asked, None], [None], [asked, {"role": None, "content": None}], [asked, {"role": "assistant", "content": [None]}],
        [asked, {"role": "assistant", "content": None}], None, [asked, said_],
    ]  # fmt: skip
    pictures = pa.array([[]] * 6 + [[]], pa.list_(pa.string()))
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"messages": pa.array(chats, kind), "images": pictures}), path)
    *bad, good = trl.read(path, ReadOptions())
    assert [one.where for one in bad] == [f"x.parquet: row {n}" for n in range(1, 7)]
    assert isinstance(good, Instruction)


def test_a_row_that_is_nested_too_deep_is_a_bad_row(tmp_path):
    path = tmp_path / "x.json"
    row = {"question": "Q", "chosen": "A", "rejected": "B", "ds_name": 0, "image": "x.png"}
    deep = json.dumps(row).replace("0", "[" * 50_000 + "]" * 50_000)
    path.write_text(f"[{deep}, {json.dumps(row)}]")
    bad, *_, good = rlaifv.read(path, ReadOptions())
    assert "nested" in bad.reason
    assert (good.instruction, good.answer) == ("Q", "A")


def test_a_row_without_an_end_is_not_held_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAX_ROW", 1 << 20)
    path = tmp_path / "x.json"
    small = json.dumps({"a": "x" * 1_000})
    path.write_text("[" + f"{small}," * 3_000 + '{"a": [' + '"y",' * 1_000_000 + "0]}]")
    found = []
    with pytest.raises(FormatError, match="a row is larger than 1 MiB"):
        found.extend(set_rows.rows(path))
    assert len(found) == 3_000


@pytest.mark.parametrize("preference", [True, False, 3, None, [1]])
def test_a_preference_is_a_number_and_nothing_like_one(tmp_path, preference):
    row = {
        "conversations": [{"from": "human", "value": "Q"}],
        "output_1": "A", "output_2": "B", "preference": preference,
    }  # fmt: skip
    path = tmp_path / "x.json"
    path.write_text(json.dumps([row]))
    [bad] = llava_rlhf.read(path, ReadOptions())
    assert repr(preference) in bad.reason


def test_a_card_counts_no_more_tasks_than_somebody_reads():
    tally = Tally()
    for n in range(MOST_GROUPS + 50):
        tally.note(Conversation(str(n), f"task{n}", "en", (), (), {}, (), None))
    assert len(tally.rows) == MOST_GROUPS + 1
    assert tally.rows["others", "en"] == 50
