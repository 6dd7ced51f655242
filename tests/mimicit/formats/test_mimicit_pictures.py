"""Pictures as base64, in every file that was published, and ids of every release."""

import base64
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mimicit.exchange import import_files
from mimicit.formats import ReadOptions
from mimicit.formats.aliases import picture_id
from mimicit.formats.mimicit_pictures import measure
from mimicit.media import picture
from mimicit.store import Store


def encoded(number, kind="PNG", size=(24, 16), **options):
    file = io.BytesIO()
    Image.new("RGB", size, (number % 256, number // 256 % 256, 99)).save(file, kind, **options)
    return file.getvalue()


def text(data):
    return base64.b64encode(data).decode()


def store(tmp_path):
    return Store.open(tmp_path / "ds", create=True)


def stored(opened, query="SELECT id FROM images ORDER BY id"):
    with opened.reading() as connection:
        return [row[0] for row in connection.execute(query).fetchall()]


@pytest.mark.parametrize(
    ("old", "last"),
    [
        ("DC_04_IMG_v_N1c3C_Npr-E_0000", "DC_IMG_v_N1c3C_Npr-E_0000"),
        ("LA_00_IMG_000000377944", "LA_IMG_000000377944"),
        ("E4D_IMG_0a1b_00000000", "E4D_IMG_0a1b_00000000"),
        ("E4D_04_IMG_0a1b_00000000", "E4D_IMG_0a1b_00000000"),
        ("E4D_08_IMG_0a1b_00000000", "E4D_IMG_0a1b_00000000"),
        ("CSD_IMG_000000377944", "CGD_IMG_000000377944"),
        ("SN_00_IMG_scene0000_00_color_000000", "SN_IMG_scene0000_00_color_000000"),
        ("TVC_IMG_castle_s01e01_seg02_clip_00_00012", "TVC_IMG_castle_s01e01_seg02_clip_00_00012"),
        (
            "TVC_IMG_castle_s01e01_seg02_clip_00_castle_s01e01_seg02_clip_00_00012",
            "TVC_IMG_castle_s01e01_seg02_clip_00_00012",
        ),
        (
            "TVC_07_IMG_castle_s01e01_seg02_clip_00_castle_00012",
            "TVC_IMG_castle_s01e01_seg02_clip_00_00012",
        ),
        ("TVC_IMG_s01e01_seg02_clip_00_bbt_00012", "TVC_IMG_bbt_s01e01_seg02_clip_00_00012"),
        (
            "TVC_IMG_s01e01_seg02_clip_00_s01e01_seg02_clip_00_00012",
            "TVC_IMG_bbt_s01e01_seg02_clip_00_00012",
        ),
        (
            "TVC_IMG_s01e01_seg02_clip_00_s01e01_seg02_clip_01_00012",
            "TVC_IMG_s01e01_seg02_clip_00_s01e01_seg02_clip_01_00012",
        ),
        ("TVC_IMG_anything", "TVC_IMG_anything"),
        ("whatever", "whatever"),
        ("MY_SET_IMG_1", "MY_SET_IMG_1"),
    ],
)
def test_an_old_id_becomes_the_last_releases(old, last):
    assert picture_id(old) == last
    assert picture_id(last) == last


def test_records_of_one_release_find_the_pictures_of_another(tmp_path):
    old = ["E4D_04_IMG_a_00000000", "TVC_IMG_s01e01_seg02_clip_00_bbt_00012"]
    rows = {
        f"{store}_INS_{n}": {"instruction": "q", "answer": str(n), "image_ids": [id_], "rel_ins_ids": []}
        for n, (store, id_) in enumerate(
            zip(["E4D", "E4D", "TVC"], ["E4D_08_IMG_a_00000000", "E4D_IMG_a_00000000", "TVC_IMG_bbt_s01e01_seg02_clip_00_00012"], strict=True)
        )
    }  # fmt: skip
    (tmp_path / "X_instructions.json").write_text(json.dumps({"meta": {}, "data": rows}))
    (tmp_path / "X.json").write_text(json.dumps({id_: text(encoded(n)) for n, id_ in enumerate(old)}))  # fmt: skip
    opened = store(tmp_path)
    done = import_files([tmp_path / "X.json", tmp_path / "X_instructions.json"], opened)
    assert (done.records, done.images, done.bad_count) == (3, 2, 0)
    missing = "SELECT unnest(image_ids) FROM instructions EXCEPT SELECT id FROM images"
    assert stored(opened, missing) == []


def test_all_ids_of_a_file_are_brought_to_one_form_wherever_the_old_one_stands(tmp_path):
    rows = {
        f"DC_INS_{n}": {
            "instruction": "q",
            "answer": "a",
            "image_ids": [f"DC_IMG_{n}", "DC_04_IMG_x" if n == 70 else "DC_IMG_y"],
            "rel_ins_ids": [],
        }
        for n in range(100)
    }
    (tmp_path / "DC_instructions.json").write_text(json.dumps({"meta": {}, "data": rows}))
    opened = store(tmp_path)
    import_files([tmp_path / "DC_instructions.json"], opened)
    assert stored(opened, "SELECT image_ids[2] FROM instructions WHERE id = 'DC_INS_70'") == ["DC_IMG_x"]  # fmt: skip


def table(path, count, *, rows=None, index="__null_dask_index__", first=0):
    columns = {
        "base64": [text(encoded(n)) for n in range(first, first + count)],
        index: [f"LA_IMG_{n:05d}" for n in range(first, first + count)],
    }
    pq.write_table(pa.table(columns), path, row_group_size=rows or count)
    return path


def test_a_folder_that_dask_wrote_is_read_in_the_order_of_its_parts(tmp_path):
    folder = tmp_path / "LA.parquet"
    folder.mkdir()
    for part in range(12):
        table(folder / f"part.{part}.parquet", 5, first=5 * part)
    (folder / "_metadata").write_bytes(b"x")
    opened = store(tmp_path)
    done = import_files([tmp_path / "LA.parquet"], opened)
    assert (done.images, done.bad_count, done.bytes) == (60, 0, done.total_bytes)
    order = stored(opened, 'SELECT id FROM images ORDER BY shard, "row"')
    assert order == sorted(order)
    assert stored(opened, "SELECT DISTINCT source FROM images ORDER BY length(source), source")[10] == "LA.parquet/part.10.parquet"  # fmt: skip


def test_one_row_group_of_many_pictures_is_read_a_little_at_a_time(tmp_path, monkeypatch):
    path = table(tmp_path / "LA.parquet", 500)
    assert pq.ParquetFile(path).num_row_groups == 1
    seen = []
    iter_batches = pq.ParquetFile.iter_batches

    def watched(self, *arguments, **named):
        for batch in iter_batches(self, *arguments, **named):
            seen.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    done = import_files([path], store(tmp_path))
    assert done.images == 500
    assert max(seen) <= 64


def test_the_hubs_tables_are_read(tmp_path):
    pictures = pa.array([{"bytes": encoded(1), "path": None}, {"bytes": None, "path": None}])
    pq.write_table(pa.table({"id": ["LA_IMG_1", "LA_IMG_2"], "image": pictures}), tmp_path / "i.parquet")  # fmt: skip
    rows = {
        "id": ["LACONV_INS_1_0", "LACONV_INS_1_1"],
        "instruction": ["q", "q2"],
        "answer": ["a", None],
        "images": [["LA_IMG_1"], []],
        "related instructions": [[], ["LACONV_INS_1_0"]],
    }
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    whole = {name: values[:1] for name, values in rows.items()}
    whole["id"] = ["LADD_INS_7"]
    whole["images"] = pa.array([[{"bytes": encoded(7), "path": None}]])
    pq.write_table(pa.table(whole), tmp_path / "w.parquet")
    opened = store(tmp_path)
    done = import_files([tmp_path / name for name in ("i.parquet", "t.parquet", "w.parquet")], opened)  # fmt: skip
    assert (done.records, done.images, done.bad_count) == (2, 2, 2)
    assert stored(opened) == ["LADD_IMG_7_0", "LA_IMG_1"]
    assert stored(opened, "SELECT image_ids FROM instructions ORDER BY id") == [["LA_IMG_1"], ["LADD_IMG_7_0"]]  # fmt: skip


PLANTED = {
    "null": None,
    "empty": "",
    "two": [text(encoded(1)), text(encoded(2))],
    "no_text": "QU!!JD",
    "no_picture": text(b"hello, this is text and no picture"),
    "cut_png": text(encoded(3)[:60]),
    "damaged_png": text(encoded(3)[:50] + b"\0\0\0" + encoded(3)[53:]),
    "cut_jpeg": text(encoded(4, "JPEG", size=(200, 200))[:-200]),
    "number": 17,
    "bomb": text(encoded(5, size=(1, 1)).replace(b"\0\0\0\1\0\0\0\1", b"\0\0\xff\xff\0\0\xff\xff")),
}


def test_every_planted_bad_picture_is_listed_and_the_others_kept(tmp_path):
    good = {
        "plain": text(encoded(10)),
        "url": "data:image/png;base64," + text(encoded(11)),
        "list": [text(encoded(12))],
        "urlsafe": base64.urlsafe_b64encode(encoded(13, "JPEG")).decode().rstrip("="),
        "lines": "\n".join([text(encoded(14))[:50], text(encoded(14))[50:]]),
        "jpeg": text(encoded(15, "JPEG")),
        "gif": text(encoded(16, "GIF")),
        "webp": text(encoded(17, "WEBP")),
    }
    path = tmp_path / "LA.json"
    path.write_text(json.dumps({f"LA_IMG_{name}": value for name, value in (good | PLANTED).items()}))  # fmt: skip
    opened = store(tmp_path)
    done = import_files([path], opened)
    assert stored(opened) == sorted(f"LA_IMG_{name}" for name in good)
    assert [row.where for row in done.bad] == [f"LA.json: LA_IMG_{name}" for name in PLANTED]
    assert all(row.reason for row in done.bad)


def test_a_picture_file_is_read_in_blocks(tmp_path, monkeypatch):
    from mimicit.formats import json_members

    monkeypatch.setattr(json_members, "BLOCK", 512)
    path = tmp_path / "LA.json"
    path.write_text(json.dumps({f"LA_IMG_{n:03d}": text(encoded(n)) for n in range(150)}))
    done = import_files([path], store(tmp_path))
    assert (done.images, done.bad_count) == (150, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_quick_look_says_what_the_slow_one_says(kind):
    data = encoded(99, kind, size=(33, 21))
    assert measure(data, "a", "b", "c") == picture.measure(data, id="a", name="b", source="c")


def test_pictures_in_a_folder_are_found_by_what_follows_img(tmp_path):
    folder = tmp_path / "train2017"
    folder.mkdir()
    (folder / "000001.png").write_bytes(encoded(1))
    (folder / "LA_IMG_000002.jpg").write_bytes(encoded(2, "JPEG"))
    (folder / "000003.png").write_bytes(b"no picture")
    rows = {
        f"LADD_INS_{n}": {"instruction": "q", "answer": "a", "image_ids": [f"LA_IMG_{n:06d}"], "rel_ins_ids": []}
        for n in range(1, 5)
    }  # fmt: skip
    path = tmp_path / "LADD_instructions.json"
    path.write_text(json.dumps({"meta": {}, "data": rows}))
    opened = store(tmp_path)
    done = import_files([path], opened, options=ReadOptions(images=folder))
    assert (done.records, done.images, done.bad_count) == (4, 2, 1)
    assert stored(opened) == ["LA_IMG_000001", "LA_IMG_000002"]
