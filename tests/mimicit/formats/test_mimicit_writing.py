"""What DuckDB writes is, byte for byte, what `orjson` makes of the records."""

import base64
import json

import orjson
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mimicit.formats import WriteOptions, mimicit
from mimicit.formats.mimicit_records import OURS
from mimicit.formats.ordering import Segment
from mimicit.schema import Verdict
from tests.mimicit.formats.chat_builders import files, image, png, stored
from tests.mimicit.formats.test_exporting import ODD_TEXTS, record

IDS = ["T_INS_a/b", "T_INS_..", "T_INS_😀 é 中", 'T_INS_"quoted"', "T_INS_back\\slash", "T_INS_\u2028"]  # fmt: skip


@pytest.fixture
def records():
    """Records of every kind, in the order of their ids; some name others, also such as are not there."""
    texts = [(ask, say) for ask in ODD_TEXTS for say in ODD_TEXTS]
    made = [
        record(f"T_INS_{n:03d}", *[f"T_IMG_{n % 3}"] * (n % 3), instruction=ask, answer=say)
        for n, (ask, say) in enumerate(texts)
    ]
    made += [record(id_, rel_ins_ids=["T_INS_001", id_]) for id_ in IDS]
    made += [
        record("T_INS_more_0", translation_of='T_INS_"', rel_ins_ids=["T_INS_002", "T_INS_001"]),
        record("T_INS_more_1", conversation="T_INS_more", turn=0, meta='{"a": "\\u2028"}'),
        record("T_INS_more_2", conversation="T_INS_more", turn=1, rejected='No "way"\n'),
    ]
    return sorted(made, key=lambda one: one.id.encode())


def expected(records, chosen=None):
    """Return the members of both files."""
    chosen = chosen or {one.id for one in records}
    rows, train = [], []
    for one in records:
        row = {name: getattr(one, name) for name in ("instruction", "answer", "image_ids", "rel_ins_ids")}  # fmt: skip
        row |= {name: value for name in OURS if (value := getattr(one, name)) is not None}
        rows.append(orjson.dumps(one.id) + b": " + orjson.dumps(row))
        there = [name for name in one.rel_ins_ids if name in chosen]
        train.append(orjson.dumps(one.id) + b": " + orjson.dumps(there))
    return b",\n".join(rows), b",\n".join(train)


def written(store, folder, **options):
    made = mimicit.write(store, folder, WriteOptions(**options))
    data = (folder / "T" / "T_instructions.json").read_bytes()
    start, _, members = data.partition(b',\n"data": {\n')
    assert start.startswith(b'{"meta": {')
    train = (folder / "T" / "T_train.json").read_bytes()
    assert members.endswith(b"\n}}\n")
    assert (train[:2], train[-3:]) == (b"{\n", b"\n}\n")
    counts = {one.path.name: one.records for one in made}
    assert counts["T_instructions.json"] == len(json.loads(data)["data"])
    assert counts["T_train.json"] == len(json.loads(train))
    return members[:-4], train[2:-3]


WAYS = {
    "in order": lambda records: records,
    "the wrong way round": lambda records: records[::-1],
    "anyhow": lambda records: records[::3] + records[1::3] + records[2::3],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", [65_536, 8])
@pytest.mark.parametrize("dangling", [False, True], ids=["all are there", "some are not"])
def test_the_files_are_those_that_python_would_write(
    records, tmp_path, monkeypatch, way, part, dangling
):
    monkeypatch.setattr("mimicit.formats.mimicit.PART", part)
    monkeypatch.setattr("mimicit.formats.ordering.SORTED", part)
    monkeypatch.setattr("mimicit.formats.sorting.DRAWER", part)
    monkeypatch.setattr("mimicit.formats.mimicit_writing.LISTS", part)
    if dangling:
        records[3] = records[3].model_copy(update={"rel_ins_ids": ("T_INS_9", "T_INS_003", "T_INS_8", "T_INS_001")})  # fmt: skip
    images = [image(f"T_IMG_{n}", n) for n in range(3)]
    store = stored(WAYS[way](records), images, tmp_path / "ds")
    assert written(store, tmp_path / "out") == expected(records)


def test_rejected_and_unchosen_records_are_in_no_list_to_train_on(records, tmp_path):
    store = stored(records, [image(f"T_IMG_{n}", n) for n in range(3)], tmp_path / "ds")
    with store.writing("test"):
        store.add_verdicts(
            [Verdict(record="T_INS_001", filter="f", reason="r", recipe="c", recipe_digest="d")]
        )
        store.sync()
    left = [one for one in records if one.id not in ("T_INS_001", "T_INS_more_1")]
    ids = {one.id for one in left}
    found = written(store, tmp_path / "out", where="id <> 'T_INS_more_1'")
    assert found == expected(left, ids)
    assert json.loads(b"{" + found[1] + b"}")["T_INS_more_0"] == ["T_INS_002"]


def test_records_that_come_in_another_order_than_they_seemed_to_lie_are_sorted(
    records, tmp_path, monkeypatch
):
    store = stored(records[::-1], [image(f"T_IMG_{n}", n) for n in range(3)], tmp_path / "ds")
    claimed = [Segment("true", True, 0, 999, len(records))]
    monkeypatch.setattr("mimicit.formats.mimicit.segments", lambda *_, **__: claimed)
    assert written(store, tmp_path / "out") == expected(records)
    assert not [name for name in files(tmp_path / "out") if "staged" in name]


def test_where_the_memory_is_too_little_more_is_taken(records, tmp_path, monkeypatch):
    many = [
        one.model_copy(update={"id": f"{one.id}_{n:03d}"}) for one in records for n in range(60)
    ]
    many.sort(key=lambda one: one.id.encode())
    store = stored(many[::-1], [image(f"T_IMG_{n}", n) for n in range(3)], tmp_path / "ds")
    tried = []
    connect = mimicit.catalog.connect
    monkeypatch.setattr(mimicit, "MEMORY", "2MB")
    monkeypatch.setattr(
        mimicit.catalog, "connect", lambda *a, **k: tried.append(k["memory"]) or connect(*a, **k)
    )
    assert written(store, tmp_path / "out") == expected(many)
    assert tried == ["2MB", None]


@pytest.mark.parametrize("task", ["it's", "; DROP TABLE x --", "zero \0 inside", "猫"])
def test_a_task_may_be_called_anything(tmp_path, task):
    records = [record("T_INS_1", task=task), record("T_INS_2", task="other", language="x'\0y")]
    written = mimicit.write(stored(records, [], tmp_path / "ds"), tmp_path / "out", WriteOptions())
    data = [one for one in written if one.path.name.endswith("_instructions.json")]
    assert sorted(one.records for one in data) == [1, 1]
    found = {json.loads(one.path.read_text())["meta"]["task"] for one in data}
    assert found == {task, "other"}


@pytest.mark.parametrize("most", [1 << 20, 300])
def test_pictures_are_in_row_groups_that_end_by_number_and_by_size(tmp_path, monkeypatch, most):
    monkeypatch.setattr(mimicit, "GROUP_BYTES", most)
    records = [record(f"T_INS_{n:03d}", f"T_IMG_{n:03d}") for n in range(230)]
    images = [image(f"T_IMG_{n:03d}", n) for n in range(230)]
    mimicit.write(stored(records, images, tmp_path / "ds"), tmp_path / "out", WriteOptions())
    path = tmp_path / "out" / "T" / "T.parquet"
    metadata = pq.ParquetFile(path).metadata
    sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert (sizes == [100, 100, 30]) == (most == 1 << 20)
    assert max(sizes) == (100 if most == 1 << 20 else 3)
    frame = pd.read_parquet(path)
    assert len(frame) == 230
    for n in (0, 99, 100, 229):
        assert base64.b64decode(frame.loc[f"T_IMG_{n:03d}"]["base64"]) == png(n)
