"""Files of every shape that JSON allows, and of some that it does not."""

import io
import json
import random

import pytest

from mimicit.errors import FormatError
from mimicit.exchange import import_files
from mimicit.formats import json_members
from mimicit.formats.json_members import JsonMembers
from mimicit.formats.mimicit_records import quotes
from mimicit.store import Store

IDS = [
    "A_INS_../../etc/passwd",
    "A_INS_a/b/c",
    "A_INS_.",
    "A_INS_..",
    "A_INS_😀 é 中",
    "A_INS_'; DROP TABLE instructions; --",
    'A_INS_"quoted"',
    "A_INS_back\\slash",
    'A_INS_}, "x": {',
    "A_INS_\u2028",
]
TEXTS = [
    "",
    '}, "',
    "}},",
    '\\"}, "A_INS_1": {',
    "\u0000x",
    "😀\ud83d"[:1],
    '{"a": [1, {}]}',
    "a,b,\n",
]


def row(text="a", **more):
    return {"instruction": f"q {text}", "answer": text, "image_ids": [], "rel_ins_ids": []} | more


def members(text, block=64):
    """Read all with tiny blocks, as the file of gigabytes would be."""
    data = text if isinstance(text, bytes) else text.encode()
    reader = JsonMembers(io.BytesIO(data), "x.json")
    found = []
    for made in reader.members(lambda one: (quotes(one), list(one.items())), b'}]"'):
        found += made
    return found, reader


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(json_members, "BLOCK", 256)


def imported(tmp_path, content, name="A_instructions.json", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    store = Store.open(tmp_path / "ds", create=True)
    done = import_files([path], store, **options)
    with store.reading() as connection:
        rows = connection.execute("SELECT id, answer FROM instructions ORDER BY ALL").fetchall()
    return done, dict(rows)


@pytest.mark.parametrize("layout", [{}, {"indent": 4}, {"separators": (",", ":")}, {"ensure_ascii": False}])  # fmt: skip
def test_ids_and_texts_of_any_kind_come_through(tmp_path, layout):
    rng = random.Random(0)
    data = {id_: row(text) for id_, text in zip(IDS, TEXTS + TEXTS, strict=False)}
    data |= {f"A_INS_{n}": row("".join(rng.choices(TEXTS, k=5))) for n in range(300)}
    done, rows = imported(tmp_path, json.dumps({"meta": {}, "data": data}, **layout))
    assert done.bad_count == 0
    assert rows == {id_: one["answer"] for id_, one in data.items()}


def test_whatever_the_blocks_cut_the_members_are_the_same():
    rng = random.Random(1)
    for _ in range(60):
        data = {
            f"{rng.choice(IDS)}{n}": rng.choice(
                [row(rng.choice(TEXTS)), rng.choice(TEXTS), [], [rng.choice(TEXTS)], None, 17, {"a": {"b": {}}}]
            )
            for n in range(rng.randrange(80))
        }  # fmt: skip
        found, _ = members(json.dumps(data, indent=rng.choice([None, 1])))
        assert dict(found) == data
        assert len(found) == len(data)


def test_a_member_that_stands_twice_is_no_member_less():
    text = '{"a": {"x": "1"}, "b": "2", "a": {"x": "1"}, ' + ", ".join(f'"c{n}": "{n}"' for n in range(99)) + "}"  # fmt: skip
    found, _ = members(text)
    assert [key for key, _ in found[:3]] == ["a", "b", "a"]
    assert len(found) == 102


def test_of_two_records_with_one_id_the_first_stays_and_the_other_is_listed(tmp_path):
    many = ", ".join(f'"A_INS_{n}": {json.dumps(row(str(n)))}' for n in range(200))
    text = f'{{"meta": {{}}, "data": {{{many}, "A_INS_7": {json.dumps(row("other"))}, "A_INS_8": {json.dumps(row("8"))}}}}}'  # fmt: skip
    done, rows = imported(tmp_path, text)
    assert (done.records, done.known, done.bad_count) == (200, 1, 1)
    assert rows["A_INS_7"] == "7"
    assert done.bad[0].where == "A_INS_7"


def test_a_record_in_which_a_key_stands_twice_is_listed(tmp_path):
    text = '{"meta": {}, "data": {"A_INS_1": {"instruction": "q", "answer": "a", "answer": "b"}, "A_INS_2": {"instruction": "q", "answer": "a"}}}'  # fmt: skip
    done, rows = imported(tmp_path, text)
    assert rows == {"A_INS_2": "a"}
    assert [one.reason for one in done.bad] == ["a key stands twice in it"]


def test_one_record_that_is_not_utf8_costs_no_other(tmp_path):
    data = {f"A_INS_{n}": row(f"text {n}") for n in range(300)}
    raw = json.dumps({"meta": {}, "data": data}).encode().replace(b"text 150", b"text \xff150")
    raw = raw.replace(b"text 151", b"text \\ud800")
    done, rows = imported(tmp_path, raw)
    assert len(rows) == 298
    assert [one.where for one in done.bad] == [f"A_instructions.json: A_INS_{n}" for n in (150, 151)]  # fmt: skip
    assert all("not UTF-8" in one.reason for one in done.bad)


@pytest.mark.parametrize("at", [0.1, 0.35, 0.5, 0.77, 0.999])
def test_what_comes_before_a_break_is_kept(tmp_path, at):
    data = {f"A_INS_{n:03d}": row(f'text {n}, }}, "') for n in range(100)}
    raw = json.dumps({"meta": {}, "data": data}).encode()
    raw = raw[: int(len(raw) * at)]
    done, rows = imported(tmp_path, raw)
    whole = raw.count(b'"rel_ins_ids": []}')
    assert len(rows) == whole
    assert "broken JSON at byte" in done.bad[-1].reason
    assert done.bad_count == 1


def test_a_break_in_the_middle_says_where(tmp_path):
    data = {f"A_INS_{n:03d}": row(f"text {n}") for n in range(100)}
    raw = json.dumps({"meta": {}, "data": data}).replace('"A_INS_050": {', '"A_INS_050" {')
    done, rows = imported(tmp_path, raw)
    assert len(rows) == 50
    place = raw.index('"A_INS_050" {') + len('"A_INS_050" ')
    assert f"byte {place:,}:" in done.bad[0].reason


def test_values_that_lie_too_deep_are_a_sentence():
    with pytest.raises(FormatError, match=r"too deep|broken JSON"):
        members('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}")


def test_meta_may_come_last_and_other_keys_between(tmp_path):
    data = {f"A_INS_{n}": row(str(n)) for n in range(40)}
    text = json.dumps({"data": data, "extra": [1, {"data": {}}], "meta": {"task": "mine", "language": "de"}})  # fmt: skip
    _, rows = imported(tmp_path, text)
    assert len(rows) == 40
    with Store.open(tmp_path / "ds").reading() as connection:
        found = connection.execute("SELECT DISTINCT task, language FROM instructions").fetchall()
    assert found == [("mine", "de")]


def test_a_byte_order_mark_is_no_obstacle_and_utf16_is_a_sentence(tmp_path):
    text = json.dumps({"meta": {}, "data": {"A_INS_1": row()}})
    done, rows = imported(tmp_path, b"\xef\xbb\xbf" + text.encode())
    assert (done.bad_count, len(rows)) == (0, 1)
    with pytest.raises(FormatError, match="not in UTF-8"):
        members(text.encode("utf-16"))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("text", "not an object"),
        (None, "not an object"),
        ({"instruction": "q"}, "it has no 'answer'"),
        (row(instruction=3), "instruction"),
        (row(image_ids=["ok", 3]), "image_ids"),
        (row(image_ids=["x\u0000y"]), "image_ids"),
        (row(image_ids=[""]), "image_ids"),
        (row(rel_ins_ids={"a": 1}), "rel_ins_ids"),
        (row(rel_ins_ids=["x" * 513]), "rel_ins_ids"),
        (row(turn="first"), "turn"),
    ],
)
def test_a_planted_bad_row_is_listed_and_no_other(tmp_path, bad, said):
    data = {f"A_INS_{n}": row(str(n)) for n in range(60)} | {"A_INS_30": bad}
    done, rows = imported(tmp_path, json.dumps({"meta": {}, "data": data}))
    assert len(rows) == 59
    assert [one.where for one in done.bad] == ["A_instructions.json: A_INS_30"]
    assert said in done.bad[0].reason
    listed = [json.loads(line) for line in done.bad_file.read_text().splitlines()]
    assert listed == [{"where": done.bad[0].where, "reason": done.bad[0].reason}]


@pytest.mark.parametrize("id_", ["", "A_INS_\n", "A_INS_\x7f", "x" * 513])
def test_an_id_that_does_not_fit_is_listed_on_one_line(tmp_path, id_):
    data = {"A_INS_1": row("1"), id_: row("2")}
    done, rows = imported(tmp_path, json.dumps({"meta": {}, "data": data}))
    assert rows == {"A_INS_1": "1"}
    assert done.bad_count == 1
    assert "\n" not in done.bad[0].where


def test_task_and_language_are_the_users_where_the_file_has_none(tmp_path):
    from mimicit.formats import ReadOptions

    text = json.dumps({"meta": {"language": "fr"}, "data": {"A_INS_1": row()}})
    imported(tmp_path, text, options=ReadOptions(task="mine", language="de"))
    with Store.open(tmp_path / "ds").reading() as connection:
        found = connection.execute("SELECT task, language FROM instructions").fetchall()
    assert found == [("mine", "fr")]
