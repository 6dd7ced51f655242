"""Records that name other records keep these names in tables and tar files, and the files of others stay as they were."""

import json
import tarfile

import pyarrow.parquet as pq
import pytest
import yaml

from mimicit.formats import BadRow, ReadOptions, WriteOptions, hf, trl, webdataset
from mimicit.schema import Instruction
from tests.builders import record
from tests.mimicit.formats.trl_builders import again, fill, rows, turns

WAYS = pytest.mark.parametrize("module", [trl, hf, webdataset], ids=lambda module: module.NAME)


def fill_with_references(store):
    """One of each kind of `fill`, and records that name others: alone, in a conversation, in a preference."""
    fill(store)
    conversation = turns("R", 3, image_ids=["LA_IMG_a"])
    conversation[1] = conversation[1].model_copy(update={"rel_ins_ids": ("C_00", "gone")})
    conversation[2] = conversation[2].model_copy(update={"translation_of": "C_02"})
    with store.writing("test"):
        store.add([
            record(20, rel_ins_ids=["LACONV_INS_001_00", "LACONV_INS_002_00"], image_ids=["LA_IMG_b"]),
            record(21, translation_of="LACONV_INS_001_00", language="zh"),
            record(22, rel_ins_ids=["LACONV_INS_020_00"], translation_of="D_00", rejected="Worse.", image_ids=["LA_IMG_a"]),
            *conversation,
        ])  # fmt: skip
        store.sync()
    return store


def paths(module, written, folder):
    return [folder] if module is hf else [file.path for file in written]


@WAYS
def test_what_records_name_is_read_back_identical(store, tmp_path, module):
    fill_with_references(store)
    options = WriteOptions(splits={"validation": 0.5}, seed=2)
    written = module.write(store, tmp_path / "out", options)
    other = again(tmp_path, paths(module, written, tmp_path / "out"), module)
    assert rows(other) == rows(store)
    assert sum(bool(row[-2] or row[-1]) for row in rows(other)) == 5
    second = module.write(other, tmp_path / "two", options)
    pairs = zip(written, second, strict=True)
    assert all(a.path.read_bytes() == b.path.read_bytes() for a, b in pairs if a.records)


def test_a_table_has_a_column_only_where_a_record_has_something_for_it(store, tmp_path):
    fill_with_references(store)
    for where, expected in (
        ("id < 'LACONV_INS_02'", set()),
        ("id = 'LACONV_INS_021_00'", {"translation_of"}),
        ("id = 'LACONV_INS_020_00'", {"rel_ins_ids"}),
        ("conversation = 'R'", {"rel_ins_ids", "translation_of"}),
    ):
        folder = tmp_path / str(len(where))
        names = pq.read_schema(trl.write(store, folder, WriteOptions(where=where))[0].path).names
        assert set(names) & {"rel_ins_ids", "translation_of"} == expected
    [row] = pq.read_table(folder).to_pylist()
    assert row["rel_ins_ids"] == [[], ["C_00", "gone"], []]
    assert row["translation_of"] == [None, None, "C_02"]


def test_a_sample_has_a_key_only_where_its_record_has_something_for_it(store, tmp_path):
    fill_with_references(store)
    [written] = webdataset.write(store, tmp_path, WriteOptions())
    with tarfile.open(written.path) as file:
        said = [json.load(file.extractfile(m)) for m in file if m.name.endswith(".json")]
    keys = {row["id"]: row.keys() & {"rel_ins_ids", "translation_of"} for row in said}
    assert {id_ for id_, names in keys.items() if names} == {
        "LACONV_INS_020_00", "LACONV_INS_021_00", "LACONV_INS_022_00", "R",
    }  # fmt: skip
    assert keys["LACONV_INS_021_00"] == {"translation_of"}


def test_datasets_knows_the_columns_as_the_card_says_them(store, tmp_path):
    datasets = pytest.importorskip("datasets")
    fill_with_references(store)
    hf.write(store, tmp_path / "out", WriteOptions())
    _, front, _ = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    for info in yaml.safe_load(front)["dataset_info"]:
        loaded = datasets.load_dataset(
            str(tmp_path / "out"), info["config_name"], split="train", cache_dir=str(tmp_path / "c")
        )
        assert loaded.features["rel_ins_ids"] == datasets.List(
            datasets.List(datasets.Value("string"))
        )
        assert loaded.features._to_yaml_list() == info["features"]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"rel_ins_ids": [["a"], ["b"]]}, "rel_ins_ids"),
        ({"rel_ins_ids": "a"}, "rel_ins_ids"),
        ({"rel_ins_ids": [None]}, "no list of lists"),
        ({"rel_ins_ids": [[""]]}, "rel_ins_ids"),
        ({"rel_ins_ids": [[3]]}, "rel_ins_ids"),
        ({"translation_of": [None, "a"]}, "translation_of"),
        ({"translation_of": ["a\nb"]}, "translation_of"),
        ({"translation_of": [3]}, "translation_of"),
    ],
)
def test_names_that_cannot_be_make_a_bad_row(tmp_path, columns, reason):
    path = tmp_path / "x.tar"
    row = {"question": "Q", "answer": "A", "record_ids": ["a"], "image_ids": [], **columns}
    other = {**row, "rel_ins_ids": [["b"]], "translation_of": None, "record_ids": ["b"]}
    with tarfile.open(path, "w") as file:
        for name, said in (("1.json", row), ("2.json", other)):
            (tmp_path / name).write_text(json.dumps(said))
            file.add(tmp_path / name, name)
    found = list(webdataset.read(path, ReadOptions()))
    [bad] = [one for one in found if isinstance(one, BadRow)]
    [good] = [one for one in found if isinstance(one, Instruction)]
    assert reason in bad.reason
    assert (good.id, good.rel_ins_ids, good.translation_of) == ("b", ("b",), None)


def test_columns_of_these_names_in_the_rows_of_others_are_kept_as_they_are(tmp_path):
    import pyarrow as pa

    path = tmp_path / "x.parquet"
    rows_ = [{"question": "Q", "answer": "A", "images": [], "translation_of": "Q?"}]
    pq.write_table(pa.Table.from_pylist(rows_), path)
    [one] = trl.read(path, ReadOptions())
    assert (one.translation_of, json.loads(one.meta)) == (None, {"translation_of": "Q?"})
