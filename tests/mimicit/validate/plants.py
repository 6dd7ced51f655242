"""One planted fault after the other; each says where it is found."""

import pyarrow as pa
import pyarrow.parquet as pq

from mimicit.parts import parts_of
from mimicit.schema import text_schema
from mimicit.shards import places
from mimicit.snapshot import freeze
from tests.mimicit.validate.builders import (
    about,
    damage,
    picture,
    png,
    raw_part,
    raw_shard,
    relate,
    turn,
)

P, S = "text/p-00009.parquet", "images/s-00009.parquet"


def plant_unreadable_file(store):
    (store.path / P).write_bytes(b"PAR1 half a file")
    return {("unreadable-file", P, None)}


def plant_wrong_columns(store):
    pq.write_table(pa.table({"id": ["a"], "text": ["b"]}), store.path / P)
    return {("wrong-columns", P, None)}


def plant_wrong_layout(store):
    rows = pq.read_table(store.path / "images" / "s-00000.parquet").slice(0, 3)
    ids = pa.array([f"LA_IMG_other{n}" for n in range(3)])
    pq.write_table(
        rows.set_column(0, rows.schema.field(0), ids), store.path / S, compression="zstd"
    )
    return {("wrong-layout", S, None)}


def plant_unreadable_rows(store):
    """Break the middle one of three row groups of a part."""
    path = store.path / P
    rows = pq.ParquetFile(parts_of(store.path / "text")[0])
    with rows, pq.ParquetWriter(path, text_schema(), compression="zstd") as writer:
        table = rows.read().slice(0, 6)
        for n in range(3):
            group = table.slice(2 * n, 2)
            ids = pa.array([f"LACONV_INS_9{n}{k}" for k in range(2)])
            writer.write_table(group.set_column(0, group.schema.field(0), ids))
    with pq.ParquetFile(path) as file:
        chunk = file.metadata.row_group(1).column(2)
        at = chunk.dictionary_page_offset or chunk.data_page_offset
    damage(path, at, b"\xff" * chunk.total_compressed_size)
    return {("unreadable-rows", f"{P}, row 2", None)}


def plant_bad_id(store):
    raw_part(
        store,
        [
            about(60),
            about(61).model_copy(update={"id": "a\nb"}),
            about(62).model_copy(update={"id": "x" * 513}),
        ],
    )
    return {("bad-id", f"{P}, row 1", "a\nb"), ("bad-id", f"{P}, row 2", "x" * 513)}


def plant_duplicate_record(store):
    raw_part(store, [about(3, answer="Something else.")])
    return {("duplicate-record", f"{P}, row 0", about(3).id)}


def plant_faulty_first_of_two(store):
    """The sound one of two stays, wherever it is."""
    raw_part(store, [about(60, answer=" "), about(60)])
    return {
        ("empty-text", f"{P}, row 0", about(60).id),
        ("duplicate-record", f"{P}, row 0", about(60).id),
    }


def plant_duplicate_picture(store):
    raw_shard(store, picture(900), picture(3))
    return {("duplicate-picture", f"{S}, row 1", "LA_IMG_003")}


def plant_empty_text(store):
    raw_part(store, [about(60, answer=" \n\u3000"), about(61)])
    return {("empty-text", f"{P}, row 0", about(60).id)}


def plant_dangling_picture(store):
    raw_part(store, [about(60), about(61, image_ids=["LA_IMG_001", "LA_IMG_none"])])
    return {("dangling-picture", f"{P}, row 1", about(61).id)}


def plant_picture_count(store):
    raw_part(store, [about(60, task="cgd"), about(61)])
    return {("picture-count", f"{P}, row 0", about(60).id)}


def plant_placeholder_count(store):
    raw_part(store, [about(60, instruction="Is <image> like <image>?")])
    return {("placeholder-count", f"{P}, row 0", about(60).id)}


def plant_placeholders_of_all_turns(store):
    raw_part(store, [turn("T_INS_c", n, instruction="And <image>?") for n in range(2)])
    return {("placeholder-count", f"{P}, row 0", "T_INS_c_00")}


def plant_missing_turn(store):
    raw_part(store, [turn("T_INS_c", 0), turn("T_INS_c", 2)])
    return {("conversation-turns", f"{P}, row 0", "T_INS_c_00")}


def plant_doubled_turn(store):
    raw_part(store, [turn("T_INS_c", 0), turn("T_INS_c", 0, id="T_INS_c_again")])
    return {("conversation-turns", f"{P}, row 0", "T_INS_c_00")}


def plant_turns_from_one(store):
    raw_part(store, [turn("T_INS_c", 1), turn("T_INS_c", 2)])
    return {("conversation-turns", f"{P}, row 0", "T_INS_c_01")}


def plant_turn_without_conversation(store):
    raw_part(store, [about(60, turn=0)])
    return {("conversation-turns", f"{P}, row 0", about(60).id)}


def plant_turn_without_number(store):
    raw_part(store, [turn("T_INS_c", 0), turn("T_INS_c", 1, turn=None)])
    return {("conversation-turns", f"{P}, row 0", "T_INS_c_00")}


def plant_conversation_pictures(store):
    raw_part(store, [turn("T_INS_c", 0), turn("T_INS_c", 1, pictures=["LA_IMG_004"])])
    return {("conversation-pictures", f"{P}, row 0", "T_INS_c_00")}


def plant_dangling_example(store):
    raw_part(store, [about(60, rel_ins_ids=[about(1).id, "gone", about(2).id])])
    return {("dangling-relation", f"{P}, row 0", about(60).id)}


def plant_dangling_relation(store):
    relate(
        store, [(about(1).id, [about(2).id]), (about(1).id, ["gone", about(2).id]), ("gone", [])]
    )
    file = "relations/r-00001.parquet"
    return {
        ("dangling-relation", f"{file}, row 1", about(1).id),
        ("dangling-relation", f"{file}, row 2", "gone"),
    }


def plant_dangling_translation(store):
    raw_part(store, [about(60, translation_of="gone")])
    return {("dangling-translation", f"{P}, row 0", about(60).id)}


def plant_checksum_mismatch(store):
    raw_shard(store, picture(900), picture(901))
    damage(store.path / S, places(store.path / S)["offset"][1].as_py() + 30)
    return {("checksum-mismatch", f"{S}, row 1", "LA_IMG_901")}


def plant_wrong_length(store):
    raw_shard(store, picture(900), picture(901))
    damage(store.path / S, places(store.path / S)["offset"][1].as_py() - 4)
    return {("checksum-mismatch", f"{S}, row 1", "LA_IMG_901")}


def plant_unreadable_pictures(store):
    raw_shard(store, *(picture(900 + n) for n in range(130)))
    with pq.ParquetFile(store.path / S) as file:
        chunk = file.metadata.row_group(1).column(3)
    damage(store.path / S, chunk.data_page_offset, b"\xff" * chunk.total_compressed_size)
    return {("unreadable-rows", f"{S}, row 64", None)}


def plant_broken_page_header(store):
    raw_shard(store, *(picture(900 + n) for n in range(130)))
    with pq.ParquetFile(store.path / S) as file:
        chunk = file.metadata.row_group(0).column(1)
    damage(store.path / S, chunk.data_page_offset)
    return {("unreadable-rows", f"{S}, row 0", None)}


def plant_undecodable_picture(store):
    raw_shard(store, picture(900), picture(901, data=png(901, (500, 400))[:300]))
    return {("undecodable-picture", f"{S}, row 1", "LA_IMG_901")}


def plant_no_picture(store):
    raw_shard(store, picture(900), picture(901, data=b"no picture"))
    return {("undecodable-picture", f"{S}, row 1", "LA_IMG_901")}


def plant_wrong_mime(store):
    raw_shard(store, picture(900, mime="image/jpeg"))
    return {("wrong-mime", f"{S}, row 0", "LA_IMG_900")}


def plant_wrong_size(store):
    raw_shard(store, picture(900), picture(901, height=99))
    return {("wrong-size", f"{S}, row 1", "LA_IMG_901")}


def plant_broken_snapshot(store):
    raw_shard(store, picture(900))
    with store.writing("test"):
        store.add([about(900)])
        store.sync()
    digest = freeze(store, where="id = 'LACONV_INS_900_00'").digest
    (store.path / S).unlink()
    (store.path / "text" / "p-00003.parquet").unlink()
    return {("broken-snapshot", f"snapshots/{digest}", None)}


def plant_damaged_snapshot(store):
    folder = store.path / "snapshots" / freeze(store).digest
    damage(folder / "text.arrow", 400)
    return {("broken-snapshot", f"snapshots/{folder.name}", None)}


def plant_leftover(store):
    (store.path / "text" / ".p-00010.parquet.staged").write_bytes(b"half")
    return {("leftover", "text/.p-00010.parquet.staged", None)}


PLANTS = [value for name, value in list(globals().items()) if name.startswith("plant_")]


def plant_many(store):
    """Many faults that hang together: a picture, the records about it, their conversation, what names these."""
    raw_part(store, [
        turn("T_INS_c", 0, ["LA_IMG_901"]), turn("T_INS_c", 1, ["LA_IMG_901"]),
        about(60, rel_ins_ids=["T_INS_c_01", about(1).id]), about(61, translation_of="T_INS_c_00"), about(62, answer=""),
    ], "p-00007")  # fmt: skip
    raw_part(
        store,
        [turn("T_INS_d", 0, answer=""), turn("T_INS_d", 1), about(3, answer="Other.")],
        "p-00008",
    )
    relate(store, [(about(2).id, ["T_INS_d_01", about(1).id]), ("T_INS_d_01", [about(1).id])])
    raw_shard(store, picture(901, data=b"no"), picture(902, width=1), picture(4))
