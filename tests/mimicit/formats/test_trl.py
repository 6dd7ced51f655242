import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimicit.errors import FormatError, QueryError
from mimicit.formats import BadRow, ReadOptions, WriteOptions, trl
from mimicit.formats.exporting import Turn
from mimicit.formats.trl_messages import messages_of, said
from mimicit.formats.trl_table import IMAGE, TEXT, ShardedTable
from mimicit.schema import ImageRecord, Instruction
from tests.mimicit.formats.trl_builders import again, fill, png, rows

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture
def filled(store):
    return fill(store)


def table(path, schema, **columns):
    pq.write_table(pa.table(columns, schema=pa.schema(schema)), path)
    return path


def read(path, **options):
    found = list(trl.read(path, ReadOptions(**options)))
    return (
        [one for one in found if isinstance(one, Instruction)],
        [one for one in found if isinstance(one, ImageRecord)],
        [one for one in found if isinstance(one, BadRow)],
    )


# Writing, and reading what was written


def test_what_is_written_is_read_back_identical(filled, tmp_path):
    written = trl.write(filled, tmp_path / "out", WriteOptions())
    other = again(tmp_path, [file.path for file in written])
    assert rows(other) == rows(filled)
    pictures = "SELECT id, sha256, mime, width FROM images ORDER BY id"
    assert rows(other, pictures) == rows(filled, pictures)


TEXTS = st.lists(st.sampled_from(["<image>", "\n", " ", "What?", "<", "image>", "é"]), max_size=6)
TURN = st.builds(lambda asked, said: Turn("".join(asked), "".join(said)), TEXTS, TEXTS)


@given(st.lists(TURN, min_size=1, max_size=3), st.integers(0, 4), st.none() | st.just("Be kind."))
def test_any_text_with_any_places_is_read_back(turns, pictures, system):
    messages = messages_of(turns, system, pictures)
    parts = [part["type"] for message in messages for part in message["content"]]
    assert parts.count("image") == pictures
    heard = said({"messages": messages}, pictures, ours=True)
    assert (list(heard.turns), heard.system) == (turns, system)


def test_two_exports_are_the_same_bytes(filled, tmp_path):
    options = WriteOptions(splits={"validation": 0.5}, seed=2)
    first = trl.write(filled, tmp_path / "one", options)
    second = trl.write(filled, tmp_path / "two", options)
    assert len(first) == 4
    assert [f.path.read_bytes() for f in first] == [f.path.read_bytes() for f in second]
    assert not list(tmp_path.rglob("*.staged"))


def test_writing_what_was_read_gives_the_same_bytes(filled, tmp_path):
    first = trl.write(filled, tmp_path / "one", WriteOptions())
    other = again(tmp_path, [file.path for file in first])
    second = trl.write(other, tmp_path / "two", WriteOptions())
    assert [f.path.read_bytes() for f in first] == [f.path.read_bytes() for f in second]


def test_single_questions_are_prompt_and_completion(filled, tmp_path):
    options = WriteOptions(where="conversation IS NULL AND rejected IS NULL")
    [written] = trl.write(filled, tmp_path / "out", options)
    assert written.path.name == "train-00000-of-00001.parquet"
    found = pq.read_table(written.path).to_pylist()
    assert len(found) == written.records == 8
    second = next(row for row in found if row["id"] == "LACONV_INS_002_00")
    assert second["completion"] == [
        {"role": "assistant", "content": [{"type": "text", "text": "It is thing number 2."}]}
    ]
    assert [part["type"] for part in second["prompt"][0]["content"]] == [
        "text", "image", "text", "image", "text",
    ]  # fmt: skip
    assert [picture["path"] for picture in second["images"]] == ["LA_IMG_b.png", "LA_IMG_a.png"]
    assert second["images"][0]["bytes"] == png(2)


def test_pictures_without_a_place_stand_before_the_first_question(filled, tmp_path):
    options = WriteOptions(where="id = 'LACONV_INS_005_00'")
    [written] = trl.write(filled, tmp_path / "out", options)
    [row] = pq.read_table(written.path).to_pylist()
    assert row["prompt"][0]["content"] == [
        {"type": "image", "text": None},
        {"type": "text", "text": "Which is like "},
        {"type": "image", "text": None},
        {"type": "text", "text": "?"},
    ]


def test_every_row_has_as_many_places_as_pictures(filled, tmp_path):
    for written in trl.write(filled, tmp_path / "out", WriteOptions()):
        for row in pq.read_table(written.path).to_pylist():
            said = row.get("messages") or row["prompt"]
            parts = [part for message in said for part in message["content"]]
            assert [part["type"] for part in parts].count("image") == len(row["images"])


def test_preferences_are_tables_of_their_own(filled, tmp_path):
    written = trl.write(filled, tmp_path / "out", WriteOptions())
    assert [file.path.parent.name for file in written] == ["out", "preference"]
    found = {row["id"]: row for row in pq.read_table(written[1].path).to_pylist()}
    assert set(found) == {"LACONV_INS_009_00", "LACONV_INS_010_00", "D", "G"}
    assert [message["role"] for message in found["D"]["prompt"]] == ["user", "assistant", "user"]
    assert found["D"]["rejected"][0]["content"][0]["text"] == "Worse."
    assert found["LACONV_INS_010_00"]["prompt"][0]["content"][0]["text"] == "Be brief."


def test_datasets_reads_messages_and_pictures(filled, tmp_path):
    datasets = pytest.importorskip("datasets")
    written = trl.write(filled, tmp_path / "out", WriteOptions())
    files = [str(written[0].path)]
    loaded = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.features["images"] == datasets.List(datasets.Image())
    assert loaded.num_rows == written[0].records
    row = next(row for row in loaded if row["id"] == "LACONV_INS_002_00")
    assert [picture.size for picture in row["images"]] == [(8, 6), (8, 6)]
    assert row["images"][0].getpixel((0, 0)) == (2, 99, 7)
    assert row["messages"][0]["content"][0] == {"type": "text", "text": "Is "}


@pytest.mark.slow
def test_trl_puts_each_picture_into_its_place(filled, tmp_path):
    datasets = pytest.importorskip("datasets")
    data_utils = pytest.importorskip("trl.data_utils")
    for written in trl.write(filled, tmp_path / "out", WriteOptions()):
        loaded = datasets.load_dataset(
            "parquet", data_files=str(written.path), split="train", cache_dir=str(tmp_path / "c")
        )
        for row in loaded:
            assert data_utils.is_conversational(row)
            said = data_utils.prepare_multimodal_messages(
                row.get("messages") or row["prompt"], images=row["images"]
            )
            parts = [part for message in said for part in message["content"]]
            shown = [part["image"] for part in parts if part["type"] == "image"]
            assert [one.getpixel((0, 0)) for one in shown] == [
                one.getpixel((0, 0)) for one in row["images"]
            ]


def test_files_are_cut_by_bytes_and_numbered_to_the_last(tmp_path):
    features = {"id": TEXT, "images": [IMAGE]}
    with ShardedTable(tmp_path, "train", features, shard_bytes=1_000) as made:
        for number in range(7):
            picture = {"bytes": bytes([number]) * 300, "path": "x"}
            made.add({"id": str(number), "images": [picture]}, 300)
        written = made.publish()
    assert [file.path.name for file in written] == [
        f"train-0000{number}-of-00003.parquet" for number in range(3)
    ]
    assert [file.records for file in written] == [3, 3, 1]
    found = [row["id"] for f in written for row in pq.read_table(f.path).to_pylist()]
    assert found == [str(number) for number in range(7)]
    assert made.file_bytes == sum(file.path.stat().st_size for file in written)


def test_row_groups_are_cut_by_bytes_and_pictures_are_stored_plain(tmp_path, monkeypatch):
    monkeypatch.setattr("mimicit.formats.trl_table.ROW_GROUP_BYTES", 1_000)
    with ShardedTable(tmp_path, "t", {"id": TEXT, "images": [IMAGE]}, shard_bytes=9_000) as made:
        for _ in range(7):
            made.add({"id": "x", "images": [{"bytes": bytes(300), "path": "x"}]}, 300)
        [written] = made.publish()
    with pq.ParquetFile(written.path) as file:
        groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [3, 3, 1]
    picture = groups[0].column(1)
    assert picture.path_in_schema == "images.list.element.bytes"
    assert (picture.compression, picture.statistics) == ("UNCOMPRESSED", None)
    assert picture.total_compressed_size >= 900


def test_an_export_beside_files_of_another_is_refused_and_leaves_them(filled, tmp_path):
    (tmp_path / "train-00001-of-00002.parquet").write_bytes(b"theirs")
    with pytest.raises(FormatError, match="another export"):
        trl.write(filled, tmp_path, WriteOptions())
    assert [path.name for path in tmp_path.glob("*.*")] == ["train-00001-of-00002.parquet"]
    assert not list((tmp_path / "preference").iterdir())


def test_a_wrong_predicate_is_a_sentence(filled, tmp_path):
    with pytest.raises(QueryError, match="nothing_of_the_kind"):
        trl.write(filled, tmp_path / "out", WriteOptions(where="nothing_of_the_kind = 1"))


# Tables of others


def test_messages_with_plain_texts_and_one_picture(tmp_path):
    said = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "<image>\nWhat is it?"},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes."},
    ]
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    path = table(
        tmp_path / "x.parquet",
        [("messages", kind), ("image", PICTURE), ("ds_name", pa.string()), ("score", pa.float64())],
        messages=[said],
        image=[{"bytes": png(1), "path": "cat.png"}],
        ds_name=["coco"],
        score=[0.5],
    )
    assert trl.detect(path)
    (first, second), [picture], bad = read(path, task="cats", language="de")
    assert not bad
    assert (first.instruction, first.answer) == ("What is it?", "A cat.")
    assert (first.task, first.language) == ("cats", "de")
    assert json.loads(first.meta) == {"system": "Be kind.", "ds_name": "coco", "score": 0.5}
    assert first.image_ids == second.image_ids == (picture.id,)
    assert (second.conversation, second.turn, second.meta) == (first.conversation, 1, None)
    assert (first.id, second.id) == (f"{first.conversation}_00", f"{first.conversation}_01")
    assert picture.image == png(1)


def test_parts_in_the_order_of_older_sets(tmp_path):
    """`trl-lib/llava-instruct-mix` and its like: an index, the text before the picture."""
    part = pa.struct([("index", pa.int64()), ("text", pa.string()), ("type", pa.string())])
    kind = pa.list_(pa.struct([("content", pa.list_(part)), ("role", pa.string())]))
    said = [
        {
            "role": "user",
            "content": [
                {"index": None, "text": "Who is it?\n", "type": "text"},
                {"index": 0, "text": None, "type": "image"},
            ],
        },
        {"role": "assistant", "content": [{"index": None, "text": "Me.", "type": "text"}]},
    ]
    schema = [("messages", kind), ("images", pa.list_(PICTURE))]
    path = table(tmp_path / "x.parquet", schema, messages=[said], images=[[{"bytes": png(1)}]])
    [one], [_], bad = read(path)
    assert (one.instruction, one.answer, one.conversation, bad) == ("Who is it?", "Me.", None, [])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"prompt": "Q", "completion": "A"}, ("Q", "A", None)),
        ({"prompt": "Q", "chosen": "A", "rejected": "B"}, ("Q", "A", "B")),
        ({"question": "Q", "chosen": "A", "rejected": "B"}, ("Q", "A", "B")),
        ({"question": "<image>Q", "answer": "A"}, ("Q", "A", None)),
        ({"query": "Q <image>", "response": "A"}, ("Q", "A", None)),
        ({"question": "Q", "answer": 3}, ("Q", "3", None)),
        (
            {
                "prompt": [{"role": "user", "content": "Q"}],
                "completion": [{"role": "assistant", "content": "A"}],
            },
            ("Q", "A", None),
        ),
        (
            {
                "chosen": [
                    {"role": "user", "content": "Q"},
                    {"role": "assistant", "content": "A"},
                ],
                "rejected": [
                    {"role": "user", "content": "Q"},
                    {"role": "assistant", "content": "B"},
                ],
            },
            ("Q", "A", "B"),
        ),
        ({"texts": [{"user": "Q", "assistant": "A"}]}, ("Q", "A", None)),
        ({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}, ("Q", "A", None)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_the_shapes_that_tables_have(tmp_path, columns, expected):
    row = {"image": None, "images": [{"bytes": png(3), "path": None}], **columns}
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    assert trl.detect(path)
    [one], [picture], bad = read(path)
    assert bad == []
    assert (one.instruction, one.answer, one.rejected) == expected
    assert one.image_ids == (picture.id,)
    assert one.meta is None


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [{"role": "user", "content": "Q"}]}, "do not alternate"),
        ({"messages": [{"role": "tool", "content": "Q"}]}, "'tool'"),
        ({"messages": []}, "no question"),
        ({"prompt": "Q", "completion": None}, "no answer"),
        ({"question": "Q", "answer": ["A", "B"]}, "a message is str"),
        (
            {
                "prompt": [
                    {"role": "user", "content": [{"type": "image"}, {"type": "image"}]},
                ],
                "completion": "A",
            },
            "2 places for pictures, and 1 pictures",
        ),
        ({"question": "Q", "answer": "A", "images": [{"bytes": b"", "path": None}]}, "without bytes"),
        ({"question": "Q", "answer": "A", "images": [{"bytes": b"GIF", "path": None}]}, "not a picture"),
        ({"question": "Q", "answer": "A", "images": [{"bytes": None, "path": "../x.png"}]}, "leads out"),
        ({"question": "Q", "answer": "A", "images": [{"bytes": None, "path": "a\0b"}]}, "null"),
        ({"question": "Q", "answer": "A", "id": "a\nb"}, "id"),
        ({"question": "Q", "answer": "A", "record_ids": ["a", "b"], "image_ids": ["x"]}, "record_ids"),
        ({"question": "Q", "answer": "A", "record_ids": ["a"], "image_ids": []}, "image_ids"),
        ({"question": "Q", "answer": "A", "record_ids": ["a"], "image_ids": ["x"], "meta": "[1]"}, "meta"),
        ({"question": "Q", "answer": "A", "record_ids": ["a"], "image_ids": ["x"], "meta": "{"}, "meta"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_and_the_others_are_read(tmp_path, row, reason):
    (tmp_path / "x.png").write_bytes(png(1))
    folder = tmp_path / "folder"
    folder.mkdir()
    good = {"question": "Q", "answer": "A"}
    keys = {**row, **good}
    if {"messages", "prompt"} & row.keys() or row["answer"] != "A":
        keys, good = {**row}, {}
    full = {"images": [{"bytes": png(3), "path": None}], **row}
    rows_ = [{**dict.fromkeys(keys), **full}, {"images": [], **dict.fromkeys(keys), **good}]
    path = folder / "x.parquet"
    pq.write_table(pa.Table.from_pylist(rows_[: 1 + bool(good)]), path)
    records, _, bad = read(path)
    [one] = bad
    assert one.where.startswith("x.parquet")
    assert one.where.endswith("1")
    assert reason in one.reason
    assert len(records) == bool(good)


def test_pictures_may_be_files_beside(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    path = tmp_path / "x.parquet"
    rows_ = [{"question": "Q", "answer": "A", "image": "a.png"}]
    pq.write_table(pa.Table.from_pylist(rows_), path)
    [one], [picture], bad = read(path)
    assert (picture.image, one.image_ids, bad) == (png(1), (picture.id,), [])


def test_a_picture_of_many_rows_is_given_once(tmp_path):
    path = tmp_path / "x.parquet"
    rows_ = [
        {"question": f"Q{number}", "answer": "A", "image": {"bytes": png(1), "path": None}}
        for number in range(50)
    ]
    pq.write_table(pa.Table.from_pylist(rows_), path)
    records, pictures, bad = read(path)
    assert (len(records), len({one.id for one in records}), len(pictures), bad) == (50, 50, 1, [])


def test_a_picture_of_a_bad_row_is_given_with_the_next(tmp_path):
    good, broken = {"bytes": png(1), "path": None}, {"bytes": b"GIF", "path": None}
    path = tmp_path / "x.parquet"
    rows_ = [
        {"question": "Q", "answer": "A", "images": images} for images in ([good, broken], [good])
    ]
    pq.write_table(pa.Table.from_pylist(rows_), path)
    [one], [picture], [_] = read(path)
    assert one.image_ids == (picture.id,)


def test_other_bytes_are_left_out_and_dates_are_text(tmp_path):
    path = table(
        tmp_path / "x.parquet",
        [("question", pa.string()), ("answer", pa.string()), ("image", PICTURE), ("vector", pa.binary()), ("day", pa.date32())],
        question=["Q"], answer=["A"], image=[{"bytes": png(1), "path": "p"}], vector=[b"\xff\0"], day=[0],
    )  # fmt: skip
    [one], _, bad = read(path)
    assert (json.loads(one.meta), bad) == ({"day": "1970-01-01"}, [])


def test_a_broken_file_is_told(tmp_path):
    path = tmp_path / "x.parquet"
    rows_ = [{"question": "Q" * 99, "answer": "A", "image": {"bytes": png(1), "path": None}}]
    pq.write_table(pa.Table.from_pylist(rows_), path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[20:60] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(FormatError, match="broken"):
        read(path)
    path.write_bytes(b"PAR1 no")
    assert not trl.detect(path)
    with pytest.raises(FormatError, match="not a Parquet"):
        read(path)


@pytest.mark.parametrize(
    "columns",
    [{"base64": "x", "id": "y"}, {"image": "x", "id": "y"}, {"instruction": "Q", "answer": "A"}],
    ids=["mimicit pictures", "pictures only", "no pictures"],
)
def test_other_tables_are_not_taken(tmp_path, columns):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_pylist([columns]), path)
    assert not trl.detect(path)
