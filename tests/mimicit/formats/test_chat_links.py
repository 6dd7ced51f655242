"""What a record is related to and what it translates comes back from every chat format."""

import json
from importlib import import_module

import pytest

from mimicit.formats import WriteOptions, openai
from tests.mimicit.formats.chat_builders import (
    array,
    comes_back,
    files,
    image,
    imported,
    lines,
    parted,
    stored,
)
from tests.mimicit.formats.test_exporting import record

FORMATS = ["llava", "sharegpt", "msswift"]
LINKS = [
    {"rel_ins_ids": ["T_INS_1", 'T_INS_"odd" \\ 猫 🐈']},
    {"translation_of": "T_INS_1"},
    {"rel_ins_ids": ["T_INS_7_00"], "translation_of": "T_INS_\u2028"},
]


def chat(name, *texts):
    asked = ("role", "content") if name == "msswift" else ("from", "value")
    speakers = ("user", "assistant") if asked[0] == "role" else ("human", "gpt")
    said = [dict(zip(asked, (speakers[n % 2], text), strict=True)) for n, text in enumerate(texts)]
    return {"messages" if asked[0] == "role" else "conversations": said}


def file_of(name, rows, path):
    if name in ("sharegpt", "msswift"):
        rows = [row | {"images": []} for row in rows]
    if name == "msswift":
        return lines(path.with_suffix(".jsonl"), rows)
    return array(path.with_suffix(".json"), rows)


@pytest.mark.parametrize("name", FORMATS)
def test_links_come_back(tmp_path, name):
    ids = [{"id": f"T_INS_{n}"} for n in range(8)]
    rows = [ids[n] | chat(name, f"Why {n}?", "So.") | link for n, link in enumerate(LINKS)]
    rows.append(ids[3] | chat(name, "Who?", "He.", "Where?", "There.")
                | {"rel_ins_ids": [[], ["T_INS_1"]], "translation_of": ["T_INS_8_00", None]})  # fmt: skip
    rows.append(ids[4] | chat(name, "Plain?", "Yes."))
    beside = {"category": "x"}
    rows.append(ids[5] | chat(name, "Beside?", "Yes.") | LINKS[0] | beside)
    path = file_of(name, rows, tmp_path / "all")
    module = import_module(f"mimicit.formats.{name}")
    comes_back(module, path, tmp_path)
    records = {one.instruction: one for one in parted(module, path)[0]}
    assert records["Why 0?"].rel_ins_ids == tuple(LINKS[0]["rel_ins_ids"])
    assert records["Why 1?"].translation_of == "T_INS_1"
    assert records["Why 2?"].translation_of == "T_INS_\u2028"
    assert records["Why 2?"].meta is None
    assert (records["Who?"].rel_ins_ids, records["Where?"].rel_ins_ids) == ((), ("T_INS_1",))
    assert records["Who?"].translation_of == "T_INS_8_00"
    assert records["Where?"].translation_of is None
    assert records["Beside?"].rel_ins_ids == tuple(LINKS[0]["rel_ins_ids"])
    assert json.loads(records["Beside?"].meta or "{}") == beside


@pytest.mark.parametrize("name", FORMATS)
def test_links_of_a_dataset_survive_an_export(tmp_path, name):
    records = [
        record("T_INS_1", "T_IMG_1", rel_ins_ids=["T_INS_2_00"]),
        record("T_INS_2_00", conversation="T_INS_2", turn=0, rel_ins_ids=["T_INS_1", "T_INS_2_01"]),
        record("T_INS_2_01", conversation="T_INS_2", turn=1, translation_of="T_INS_1"),
        record("T_INS_3", language="fr", translation_of="T_INS_1"),
        record("T_INS_4", translation_of="T_INS_1", rejected="No."),
        record("T_INS_5", rel_ins_ids=["T_INS_1"], meta='{"category": "x"}'),
        record("T_INS_6"),
    ]
    module = import_module(f"mimicit.formats.{name}")
    first = stored(records, [image("T_IMG_1")], tmp_path / "ds")
    module.write(first, tmp_path / "out", WriteOptions())
    again = imported(module, tmp_path / "out", tmp_path / "back")
    assert links(again) == links(first)
    assert sum(related != [] for _, related, _ in links(first)) == 3


def links(store):
    with store.reading() as connection:
        return connection.execute(
            "SELECT id, rel_ins_ids, translation_of FROM instructions ORDER BY id"
        ).fetchall()


def test_openai_gets_only_columns_that_it_knows(tmp_path):
    store = stored(
        [record("T_INS_1", **LINKS[0]), record("T_INS_2", rejected="No.", **LINKS[1])],
        [],
        tmp_path / "ds",
    )
    openai.write(store, tmp_path / "out", WriteOptions())
    rows = [
        json.loads(line) for data in files(tmp_path / "out").values() for line in data.splitlines()
    ]
    assert sorted(map(sorted, rows)) == [
        ["input", "non_preferred_output", "preferred_output"],
        ["messages"],
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_a_row_without_links_says_nothing_of_them(tmp_path, name):
    store = stored([record("T_INS_1"), record("T_INS_2", rejected="No.")], [], tmp_path / "ds")
    import_module(f"mimicit.formats.{name}").write(store, tmp_path / "out", WriteOptions())
    written = b"".join(files(tmp_path / "out").values())
    assert b"rel_ins_ids" not in written
    assert b"translation_of" not in written


@pytest.mark.parametrize(
    "column",
    [
        {"rel_ins_ids": "T_INS_1"},
        {"rel_ins_ids": [["T_INS_1"]]},
        {"rel_ins_ids": [3]},
        {"rel_ins_ids": ["two\nlines"]},
        {"translation_of": ["T_INS_1"]},
        {"translation_of": {"a": 1}},
        {"translation_of": "x" * 513},
    ],
)
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_only_called_so_is_a_column_like_any_other(tmp_path, name, column):
    for texts in (("a?", "b."), ("a?", "b.", "c?", "d.")):
        path = file_of(name, [chat(name, *texts) | column], tmp_path / f"x{len(texts)}")
        records, _, bad = parted(import_module(f"mimicit.formats.{name}"), path)
        assert bad == []
        assert json.loads(records[0].meta) == column
        assert not any(one.rel_ins_ids or one.translation_of for one in records)


def test_a_break_in_the_file_loses_no_conversation_before_it(tmp_path):
    from mimicit.errors import FormatError
    from mimicit.formats import ReadOptions, llava

    row = chat("llava", "a?", "b.", "c?", "d.") | {
        "id": "T_INS_1",
        "rel_ins_ids": [["T_INS_9"], []],
    }
    path = tmp_path / "x.json"
    path.write_text("[" + json.dumps(row) + ", {")
    found = []
    with pytest.raises(FormatError):
        found.extend(llava.read(path, ReadOptions()))
    assert [one.rel_ins_ids for one in found] == [("T_INS_9",), ()]
