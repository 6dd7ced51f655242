import base64
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mimicit.curate import curate
from mimicit.curate.recipe import load_recipe
from mimicit.errors import FormatError
from mimicit.exchange import import_files
from mimicit.formats import WriteOptions, mimicit
from mimicit.store import Store
from tests.builders import image, record

CONTENT = (
    "SELECT id, task, instruction, answer, image_ids, rel_ins_ids, language, translation_of "
    "FROM {} ORDER BY id"
)
NASTY = 'He said: "50% of 10–4\\x/y"\n\tand left… 😀 \u2028'


@pytest.fixture
def filled(store, photos):
    with store.writing("test"):
        store.add_images(image(photos, name) for name in ("chelsea.png", "rocket.jpg"))
        store.add(
            [
                record(1, image_ids=["LA_IMG_chelsea"]),
                record(
                    2,
                    image_ids=["LA_IMG_rocket", "LA_IMG_chelsea"],
                    rel_ins_ids=["LACONV_INS_001_00"],
                ),
                record(3, answer=NASTY, instruction=f"What? {NASTY}"),
                record(
                    4,
                    language="zh",
                    translation_of="LACONV_INS_001_00",
                    instruction="这是什么？",
                    answer="猫。",
                    image_ids=["LA_IMG_chelsea"],
                ),
                record(5, answer="", rel_ins_ids=["LACONV_INS_001_00", "LACONV_INS_005_00"]),
                record(6, id="SD_INS_00001", task="sd", rel_ins_ids=["LACONV_INS_001_00"]),
            ]
        )
        store.sync()
    return store


def rows(store, query):
    with store.reading() as connection:
        return connection.execute(query).fetchall()


def other(tmp_path):
    return Store.open(tmp_path / "other", create=True)


def test_what_is_exported_is_imported_to_identical_records(filled, tmp_path, photos):
    mimicit.write(filled, tmp_path / "out", WriteOptions("true"))
    back = other(tmp_path)
    imported = import_files([tmp_path / "out"], back)
    assert (imported.records, imported.images, imported.bad_count) == (6, 2, 0)
    assert rows(back, CONTENT.format("instructions")) == rows(filled, CONTENT.format("accepted"))
    hashes = "SELECT id, sha256, width, height, mime FROM images ORDER BY id"
    assert rows(back, hashes) == rows(filled, hashes)


def test_importing_again_adds_nothing(filled, tmp_path):
    mimicit.write(filled, tmp_path / "out", WriteOptions("true"))
    back = other(tmp_path)
    import_files([tmp_path / "out"], back)
    again = import_files([tmp_path / "out"], back)
    assert (again.records, again.images, again.bad_count) == (0, 0, 0)
    assert again.known == 6 + 3  # chelsea lies in two of the picture files


def test_the_published_loader_finds_its_way(filled, tmp_path, photos):
    """Read as the published training code does: a JSON object, and pandas by id."""
    mimicit.write(filled, tmp_path / "out", WriteOptions("true"))
    folder = tmp_path / "out" / "LACONV"
    data = json.loads((folder / "LACONV_instructions.json").read_text(encoding="utf-8"))
    assert set(data) == {"meta", "data"}
    assert {"version", "time", "author"} <= set(data["meta"])
    row = data["data"]["LACONV_INS_002_00"]
    assert set(row) == {"instruction", "answer", "image_ids", "rel_ins_ids"}
    frames = [
        batch.to_pandas()
        for batch in pq.ParquetFile(folder / "LACONV.parquet").iter_batches(
            batch_size=1000, columns=["base64"]
        )
    ]
    assert len(pd.concat(frames)) == 2
    frame = pd.read_parquet(folder / "LACONV.parquet")
    assert list(frame.columns) == ["base64"]
    for id_, name in zip(row["image_ids"], ("rocket.jpg", "chelsea.png"), strict=True):
        picture = base64.urlsafe_b64decode(frame.loc[id_]["base64"])
        assert picture == (photos / name).read_bytes()


def test_the_train_file_lists_accepted_records_and_their_accepted_context(filled, tmp_path):
    curate(filled, load_recipe("starter"))  # drops 005, whose answer is empty
    mimicit.write(filled, tmp_path / "out", WriteOptions("true"))
    train = json.loads((tmp_path / "out" / "LACONV" / "LACONV_train.json").read_text())
    assert train == {
        "LACONV_INS_001_00": [],
        "LACONV_INS_002_00": ["LACONV_INS_001_00"],
        "LACONV_INS_003_00": [],
    }


def test_a_selection_can_be_exported(filled, tmp_path):
    written = mimicit.write(filled, tmp_path / "out", WriteOptions("language = 'zh'"))
    assert [file.path.parent.name for file in written] == ["LACONV_zh"] * 3


def picture_json(path, photos, **changes):
    text = base64.b64encode((photos / "chelsea.png").read_bytes()).decode()
    path.write_text(json.dumps({"LA_IMG_a": text} | changes))
    return path


def test_old_picture_files_in_json_are_read(tmp_path, photos):
    data = (photos / "rocket.jpg").read_bytes()
    urlsafe = base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert set("-_") & set(urlsafe)
    path = picture_json(
        tmp_path / "LA.json",
        photos,
        LA_IMG_b=urlsafe,
        LA_IMG_c=[urlsafe],
        LA_IMG_d="QU!!JD",
        LA_IMG_e=None,
    )
    back = other(tmp_path)
    imported = import_files([path], back)
    assert imported.images == 3
    assert sorted(row.where for row in imported.bad) == ["LA.json: LA_IMG_d", "LA.json: LA_IMG_e"]
    assert rows(back, "SELECT count(DISTINCT sha256) FROM images") == [(2,)]


@pytest.mark.parametrize("index", ["__null_dask_index__", "__index_level_0__", "id"])
def test_the_index_column_has_many_names(tmp_path, photos, index):
    text = base64.b64encode((photos / "rocket.jpg").read_bytes()).decode()
    pq.write_table(
        pa.table({"base64": [text, None], index: ["LA_IMG_a", "LA_IMG_b"]}), tmp_path / "LA.parquet"
    )
    imported = import_files([tmp_path / "LA.parquet"], other(tmp_path))
    assert (imported.images, imported.bad_count) == (1, 1)


@pytest.mark.parametrize(
    ("id_", "task"),
    [
        ("LACONV_INS_000000377944_0", "la_conversation"),
        ("DC_04_INS_00001", "dc"),
        ("E4D_INS_000135_879499", "e4d"),
        ("D3_INS_000000", "d3"),
        ("whatever", "whatever"),
    ],
)
def test_the_task_is_found_from_the_id(tmp_path, id_, task):
    path = tmp_path / "X_instructions.json"
    path.write_text(json.dumps({"meta": {}, "data": {id_: {"instruction": "q", "answer": "a"}}}))
    back = other(tmp_path)
    import_files([path], back)
    assert rows(back, "SELECT task FROM instructions") == [(task,)]


def test_bad_rows_are_listed_and_the_good_ones_kept(tmp_path):
    good = {"instruction": "q", "answer": "a", "image_ids": "LA_IMG_a", "rel_ins_ids": None}
    data = {
        "A_INS_1": good,
        "A_INS_2": {"instruction": "q"},
        "A_INS_3": "text",
        "A_INS_4": {"instruction": 3, "answer": "a"},
        "A_INS_5": {"instruction": "q", "answer": "a", "image_ids": ["x\x00y"]},
        "A_INS_6": {"instruction": "q", "answer": "a", "image_ids": 7},
    }
    path = tmp_path / "A_instructions.json"
    path.write_text(json.dumps({"meta": {}, "data": data}))
    back = other(tmp_path)
    imported = import_files([path], back)
    assert imported.records == 1
    assert [row.where.partition(": ")[2] for row in imported.bad] == [
        f"A_INS_{n}" for n in range(2, 7)
    ]
    assert rows(back, "SELECT image_ids FROM instructions") == [(["LA_IMG_a"],)]


def test_a_file_that_breaks_off_keeps_what_came_before(tmp_path):
    rows_ = {f"A_INS_{n}": {"instruction": "q", "answer": f"a{n}"} for n in range(50)}
    text = json.dumps({"meta": {}, "data": rows_})
    path = tmp_path / "A_instructions.json"
    path.write_text(text[: len(text) // 2])
    imported = import_files([path], other(tmp_path))
    assert 20 <= imported.records <= 25
    assert "broken JSON" in imported.bad[0].reason


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.json", "[1, 2]", "no known format"),
        ("x.json", "not json", "no known format"),
        ("x.txt", "hello", "no known format"),
        ("x.parquet", "PAR1", "no known format"),
    ],
)
def test_a_file_of_no_known_format_is_a_sentence(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(FormatError, match=said):
        import_files([tmp_path / name], other(tmp_path))


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(FormatError, match="there is no file"):
        import_files([tmp_path / "nothing.json"], other(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        {"system_message": "You are a visual assistant. " * 20, "in_context": []},
        {"49620": ["A long story of five sentences, which is no picture. " * 5]},
        {"a": [], "b": []},
        {"info": {}, "images": [], "annotations": []},
        {"data": [{"instruction": "q"}]},
        {"data": {"x": {"caption": "c"}}},
        {f"k{n}": n for n in range(50_000)},
    ],
    ids=["prompt", "stories", "lists", "coco", "data-list", "other-data", "numbers"],
)
def test_other_json_is_left_to_others(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    assert not mimicit.detect(path)
