import json
from importlib import import_module
from pathlib import PurePosixPath
from urllib.parse import unquote

import pytest

from mimicit.errors import DatasetError, FormatError, PictureError, QueryError
from mimicit.formats import WriteOptions, llava
from mimicit.formats.exporting import Export, file_name
from mimicit.formats.ordering import Lines, OutOfOrder, Segment, streams
from mimicit.schema import Instruction, Verdict
from tests.mimicit.formats.chat_builders import files, image, png, stored


def record(id_, *images, **fields):
    usual = {"task": "t", "instruction": f"What is {id_}?", "answer": "A thing."}
    return Instruction(id=id_, image_ids=images, **(usual | fields))


@pytest.fixture
def full(tmp_path):
    """60 single questions about 20 pictures, and a conversation of 11 turns."""
    singles = [record(f"T_INS_{n:03d}", f"T_IMG_{n % 20:02d}") for n in range(60)]
    turns = [
        record(f"T_INS_talk_{n:02d}", conversation="T_INS_talk", turn=n, rejected="No." * n or None)
        for n in reversed(range(11))
    ]
    turns[-1] = turns[-1].model_copy(update={"meta": '{"system": "Be brief."}'})
    pictures = [image(f"T_IMG_{n:02d}", n) for n in range(20)]
    return stored(singles + turns, pictures, tmp_path / "full")


def test_a_conversation_has_its_turns_in_order_and_a_single_record_one(full):
    with Export(full, WriteOptions()) as export:
        found = {one.id: one for one in export.conversations()}
    assert list(found) == sorted(found)
    assert len(found) == 61
    talk = found["T_INS_talk"]
    assert [turn.instruction for turn in talk.turns] == [
        f"What is T_INS_talk_{n:02d}?" for n in range(11)
    ]
    assert talk.record_ids[10] == "T_INS_talk_10"
    assert talk.meta == {"system": "Be brief."}
    assert talk.turns[0].rejected is None
    assert talk.turns[2].rejected == "No.No."
    single = found["T_INS_021"]
    assert single.image_ids == ("T_IMG_01",)
    assert [picture.name for picture in single.pictures] == ["images/T_IMG_01.png"]
    assert len(single.turns) == 1


def test_every_picture_comes_once_with_its_bytes(full):
    with Export(full, WriteOptions()) as export:
        found = list(export.pictures("train"))
        assert found == [(f"T_IMG_{n:02d}", "image/png", png(n)) for n in range(20)]
        assert export.picture("T_IMG_07") == ("image/png", png(7))
        with pytest.raises(PictureError, match="no picture 'T_IMG_99'"):
            export.picture("T_IMG_99")


def test_splits_part_the_conversations_and_share_no_picture(full):
    options = WriteOptions(splits={"validation": 0.2, "test": 0.3})
    with Export(full, options) as export:
        assert export.splits == ["train", "validation", "test"]
        parts = {split: list(export.conversations(split)) for split in export.splits}
        shown = {split: {id_ for id_, *_ in export.pictures(split)} for split in export.splits}
    assert sum(map(len, parts.values())) == 61
    assert all(parts.values())
    assert sum(map(len, shown.values())) == 20
    for split, found in parts.items():
        assert {id_ for one in found for id_ in one.image_ids} == shown[split]


def test_a_split_follows_from_the_seed_and_not_from_what_else_is_exported(full):
    def drawn(**options):
        with Export(full, WriteOptions(splits={"test": 0.5}, **options)) as export:
            return {one.id for one in export.conversations("test")}

    all_of_them = drawn()
    assert drawn() == all_of_them
    assert drawn(seed=1) != all_of_them
    few = drawn(where="id < 'T_INS_030'")
    assert few == {id_ for id_ in all_of_them if id_ < "T_INS_030"}


def test_only_accepted_records_that_satisfy_the_predicate(full):
    with full.writing("test"):
        full.add_verdicts(
            [Verdict(record="T_INS_001", filter="f", reason="r", recipe="c", recipe_digest="d")]
        )
        full.sync()
    with Export(full, WriteOptions(where="id < 'T_INS_003'")) as export:
        assert [one.id for one in export.conversations()] == ["T_INS_000", "T_INS_002"]
        assert [id_ for id_, *_ in export.pictures()] == ["T_IMG_00", "T_IMG_02"]


@pytest.mark.parametrize("where", ["nothing = 1", "id = 1 +", "true) OR (true", "id::INT > 1"])
def test_a_wrong_predicate_is_an_error_of_ours(full, where):
    with pytest.raises(QueryError, match="selection"), Export(full, WriteOptions(where=where)):
        pass


def test_a_predicate_reads_no_file(full, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    where = f"(SELECT count(*) FROM read_csv('{tmp_path}/secret.csv')) > 0"
    with pytest.raises(QueryError), Export(full, WriteOptions(where=where)):
        pass


def test_a_record_whose_picture_is_not_there_is_named(tmp_path):
    store = stored([record("T_INS_1", "T_IMG_9")], [], tmp_path / "ds")
    with pytest.raises(DatasetError, match=r"1 records name pictures.*'T_INS_1'"):
        Export(store, WriteOptions()).__enter__()
    with Export(store, WriteOptions(where="len(image_ids) = 0")) as export:
        assert list(export.conversations()) == []


def test_a_shard_that_was_cut_short_is_no_picture(full):
    (shard,) = (full.path / "images").glob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:100])
    with Export(full, WriteOptions()) as export, pytest.raises(PictureError, match="ends before"):
        list(export.pictures())


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"train": 0.1}, "'train' cannot be a split"),
        ({"../x": 0.1}, "cannot be a split"),
        ({"a": 0.5, "b": 0.5}, "leave none"),
        ({"a": 0.0}, "between 0 and 1"),
        ({"a": -0.1}, "between 0 and 1"),
    ],
)
def test_splits_that_cannot_be(full, splits, said):
    with pytest.raises(FormatError, match=said):
        Export(full, WriteOptions(splits=splits))


ODD_IDS = [
    "LA_IMG_000000000042", "a/b", "..", "../../etc/passwd", ".hidden", "a b", "a.b", "猫", "🐈" * 60,
    "x" * 512, "y" * 511 + "z", "C:\\x", "100%", "a%2Fb", "CON", '"; DROP TABLE images; --',
]  # fmt: skip


def test_file_names_lead_nowhere_are_different_and_give_the_id_back():
    names = [file_name(id_, "image/jpeg") for id_ in ODD_IDS]
    assert len(set(names)) == len(ODD_IDS)
    for id_, name in zip(ODD_IDS, names, strict=True):
        path = PurePosixPath(name)
        assert path.parent == PurePosixPath("images")
        assert path.suffix == ".jpg"
        assert len(path.name.encode()) < 255
        assert not path.name.startswith(".")
        if len(id_) < 60:
            assert unquote(path.stem) == id_


def test_a_file_name_ends_as_its_kind_does():
    assert file_name("a", "image/png") == "images/a.png"
    assert file_name("a", "image/x-../../evil") == "images/a.evil"
    assert file_name("a", "") == "images/a.bin"


ODD_TEXTS = [
    "plain",
    'quoted "x" \\ / \b\f\n\r\t\x01\x7f',
    "ü 猫 🐈 \u2028",
    " first",
    "\nfirst",
    "<image>",
    "x" * 3000,
    "a zero \0 inside",
]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Records that DuckDB writes as rows by itself, and some of every kind that it does not."""
    records = [
        record(f"T_INS_{n:03d}", *(["T_IMG_0"] if n % 2 else []), instruction=ask, answer=say + ".")
        for n, (ask, say) in enumerate((ask, say) for ask in ODD_TEXTS for say in ODD_TEXTS)
    ]
    records += [
        record("T_INS_a/b"),
        record("T_INS_fr", task="llava", language="fr"),
        record("T_INS_odd", "T_IMG_a/b"),
        record("T_INS_rare", "T_IMG_rare"),
        record("T_INS_two", "T_IMG_0", "T_IMG_a/b"),
        record("T_INS_no", rejected="No."),
        record(
            "T_INS_related",
            "T_IMG_0",
            rel_ins_ids=["T_INS_no", 'T_INS_"猫'],
            translation_of="T_INS_fr",
        ),
        record("T_INS_related_00", conversation="T_INS_related_", turn=0, rel_ins_ids=["T_INS_no"]),
        record("T_INS_related_01", conversation="T_INS_related_", turn=1, translation_of="T_INS_t"),
        record("T_INS_dot", "T_IMG_.dot"),
        record("T_INS_long", "T_IMG_" + "x" * 150),
        record("T_INS_meta", meta='{"system": "Be."}'),
        record("T_INS_t_00", conversation="T_INS_t", turn=0),
        record("T_INS_t_01", conversation="T_INS_t", turn=1),
        record("T_INS_t"),
    ]
    images = [image(id_) for id_ in ("T_IMG_0", "T_IMG_.dot", "T_IMG_" + "x" * 150)]
    images += [image("T_IMG_a/b", 1), image("T_IMG_rare", 2, mime="image/x-rare")]
    return stored(records, images, tmp_path_factory.mktemp("mixed") / "ds")


@pytest.mark.parametrize("name", ["llava", "sharegpt", "msswift"])
def test_rows_that_duckdb_writes_are_those_that_python_writes(mixed, tmp_path, monkeypatch, name):
    module = import_module(f"mimicit.formats.{name}")
    module.write(mixed, tmp_path / "fast", WriteOptions())
    with Export(mixed, WriteOptions()) as export:
        counts = [one.rows for one in export.rows("train", module._PLAIN) if isinstance(one, Lines)]
    assert sum(counts) > 20
    monkeypatch.setattr(module, "_PLAIN", None)
    module.write(mixed, tmp_path / "slow", WriteOptions())
    fast, slow = files(tmp_path / "fast"), files(tmp_path / "slow")
    assert fast == slow


def test_records_that_lie_in_order_and_those_that_do_not_give_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("mimicit.formats.exporting.PART", 2048)
    monkeypatch.setattr("mimicit.formats.ordering.SORTED", 2048)
    monkeypatch.setattr("mimicit.formats.sorting.DRAWER", 512)
    records = [record(f"T_INS_{n:05d}") for n in range(8_192)]
    ways = {
        "in order": records,
        "parts the wrong way round": records[4096:] + records[:4096],
        "anyhow": [records[n * 37 % 8_192] for n in range(8_192)],
    }
    found = set()
    for name, way in ways.items():
        store = stored(way, [], tmp_path / name)
        with Export(store, WriteOptions()) as export:
            parts = export._segments()
            assert (len(parts) > 1) == (name != "anyhow")
            assert all(one.in_order for one in parts) == (name != "anyhow")
            assert len(streams(parts)) == {"in order": 1, "anyhow": 1}.get(name, 2)
        llava.write(store, tmp_path / f"{name}-out", WriteOptions())
        found.add(files(tmp_path / f"{name}-out")["train.json"])
    assert len(found) == 1
    assert found.pop().count(b'"id"') == 8_192


def test_rows_that_come_in_another_order_than_they_seemed_to_lie_are_sorted(tmp_path, monkeypatch):
    records = [
        record(f"T_INS_{n * 7 % 20:02d}", rejected="No." if n % 3 else None) for n in range(20)
    ]
    store = stored(records, [], tmp_path / "ds")
    llava.write(store, tmp_path / "right", WriteOptions())
    claimed = [Segment("true", True, 0, 19, 20)]
    monkeypatch.setattr("mimicit.formats.exporting.segments", lambda *_, **__: claimed)
    with Export(store, WriteOptions()) as export:
        with pytest.raises(OutOfOrder):
            list(export.rows("train", llava._PLAIN))
        assert len(list(export.conversations())) == 20
    llava.write(store, tmp_path / "redone", WriteOptions())
    assert files(tmp_path / "redone") == files(tmp_path / "right")


@pytest.mark.parametrize("name", ["llava", "openai"])
def test_what_is_sorted_on_disk_is_what_is_sorted_in_memory(
    mixed, full, tmp_path, monkeypatch, name
):
    module = import_module(f"mimicit.formats.{name}")
    for store, folder in ((mixed, "mixed"), (full, "full")):
        module.write(store, tmp_path / "memory" / folder, WriteOptions())
    monkeypatch.setattr("mimicit.formats.ordering.SORTED", 0)
    monkeypatch.setattr("mimicit.formats.sorting.DRAWER", 8)
    for store, folder in ((mixed, "mixed"), (full, "full")):
        module.write(store, tmp_path / "disk" / folder, WriteOptions())
        assert not (store.path / ".catalog.tmp").exists()
    assert files(tmp_path / "disk") == files(tmp_path / "memory")


def test_turns_that_do_not_lie_in_order_are_not_read_as_they_lie(full):
    with Export(full, WriteOptions()) as export:
        assert [one.in_order for one in export._segments()] == [False]


@pytest.mark.parametrize("kinds", [["image/png"], ["image/png", "image/jpeg"], ["image/x-rare"]])
@pytest.mark.parametrize("part", [65_536, 8])
def test_a_row_names_its_picture_as_the_file_is_called(tmp_path, monkeypatch, kinds, part):
    monkeypatch.setattr("mimicit.formats.exporting.PART", part)
    records = [record(f"T_INS_{n * 7 % 20:02d}", f"T_IMG_{n % 4}") for n in range(20)]
    images = [image(f"T_IMG_{n}", n, mime=kinds[n % len(kinds)]) for n in range(4)]
    llava.write(stored(records, images, tmp_path / "ds"), tmp_path / "out", WriteOptions())
    rows = json.loads((tmp_path / "out" / "train.json").read_text())
    assert [row["id"] for row in rows] == [f"T_INS_{n:02d}" for n in range(20)]
    for row in rows:
        assert (tmp_path / "out" / row["image"]).is_file()
