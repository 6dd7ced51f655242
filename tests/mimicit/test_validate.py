"""A folder with one planted fault of each kind; what is found, what a repair does, what a kill in the middle of it leaves."""

import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from mimicit.commands.validate import validate
from mimicit.errors import DatasetError, LockedError
from mimicit.media.picture import measure
from mimicit.parts import parts_of, write_part
from mimicit.schema import Verdict, text_schema
from mimicit.shards import ShardWriter, places
from mimicit.snapshot import Snapshot, freeze
from mimicit.store import Store
from mimicit.validate import FAULTS, checking, repairing
from mimicit.validate import pictures as pictures_module
from mimicit.validate.files import successor
from tests.builders import record

PROCESSES = pictures_module._pool
PICTURES = 70
"""Two row groups of a shard."""


@pytest.fixture
def here(monkeypatch):
    """Pictures are decoded by threads: starting processes for each of many tests takes its time."""
    monkeypatch.setattr(pictures_module, "_pool", ThreadPoolExecutor)


def png(number, size=(9, 7)):
    file = io.BytesIO()
    Image.new("RGB", size, (number % 256, 40, 200)).save(file, "PNG")
    return file.getvalue()


def picture(number, data=None, **changes):
    made = measure(png(number), id=f"LA_IMG_{number:03d}", name="made")
    if data is not None:
        changes |= {"image": data, "sha256": hashlib.sha256(data).hexdigest()}
    return made.model_copy(update=changes)


def about(number, **changes):
    return record(number, **{"image_ids": [f"LA_IMG_{number:03d}"], **changes})


def turn(conversation, number, pictures=("LA_IMG_003",), **changes):
    return record(0, **{
        "id": f"{conversation}_{number:02d}", "conversation": conversation, "turn": number, "image_ids": pictures,
    } | changes)  # fmt: skip


@pytest.fixture
def sound(store, here):
    """A dataset in which nothing is wrong."""
    with store.writing("test"):
        store.add_images(picture(n) for n in range(PICTURES))
        store.add([about(n, rel_ins_ids=[about((n + 1) % 40).id]) for n in range(40)])
        store.add([turn("T_INS_a", n) for n in range(3)] + [turn("T_INS_b", n) for n in range(2)])
        store.add([
            record(50, id="SD_INS_1", task="sd", image_ids=["LA_IMG_001", "LA_IMG_002"]),
            about(51, instruction="What is in <image>?"),
            about(52, id="LACONV_INS_zh", language="zh", translation_of=about(1).id),
        ])  # fmt: skip
        store.add_verdicts(
            [
                Verdict(
                    record="LACONV_INS_001_00",
                    filter="f",
                    reason="r",
                    recipe="c",
                    recipe_digest="d",
                )
            ]
        )
        relate(store, [(about(n).id, [about(n + 1).id, about(n + 2).id]) for n in range(9)])
        store.sync()
    return store


def relate(store, rows):
    from mimicit.schema import relation_schema

    names, related = zip(*rows, strict=True)
    columns = [names, related, ["text"] * len(names), [0] * len(names)]
    schema = relation_schema()
    arrays = [pa.array(c, t) for c, t in zip(columns, schema.types, strict=True)]
    store.write_part("relations", "r", pa.table(arrays, schema=schema))


def found(store, **options):
    with checking(store, **options) as report:
        return {(f.fault, f.where, f.id) for f in report.findings()}


def faults(store, **options):
    return {fault for fault, _, _ in found(store, **options)}


def raw_part(store, rows, name="p-00009"):
    """Write records as a part without asking the store."""
    schema = text_schema()
    columns = {n: [getattr(row, n) for row in rows] for n in schema.names}
    table = pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)
    write_part(store.path / "text" / f"{name}.parquet", iter([table]), schema)


def raw_shard(store, *images):
    writer = ShardWriter(store.path / "images" / "s-00009.parquet")
    for image in images:
        writer.add(image)
    writer.close()


def damage(path, at, data=b"\xff\xff\xff\xff"):
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(content)


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
each_fault = pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__[6:])


def test_nothing_is_found_in_a_sound_dataset(sound):
    assert found(sound) == set()
    with repairing(sound) as (report, repaired):
        assert (report.total, repaired.quarantine) == (0, None)
        assert report.checked == {"files": 6, "records": 48, "pictures": 70, "relations": 9}
    assert not (sound.path / "quarantine").exists()


@each_fault
def test_exactly_what_was_planted_is_found(sound, plant):
    expected = plant(sound)
    assert found(sound) == expected


def test_every_fault_is_planted(sound, tmp_path):
    names = set()
    for n, plant in enumerate(PLANTS):
        copied = tmp_path / str(n)
        subprocess.run(["cp", "-r", sound.path, copied], check=True)
        names |= {fault for fault, _, _ in plant(Store.open(copied))}
    assert names == set(FAULTS)


@each_fault
def test_after_a_repair_nothing_is_found_and_nothing_is_lost(sound, plant):
    plant(sound)
    before = everything(sound.path)
    with repairing(sound) as (report, _):
        assert report.total
    assert found(sound) == set()
    assert before <= everything(sound.path)
    assert_works(sound)


def everything(folder):
    """Return all ids with their texts or bytes that any Parquet file below a folder still gives."""
    seen = set()
    for path in folder.rglob("*.parquet"):
        try:
            file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError):
            seen.add(path.read_bytes())
            continue
        with file:
            names = [
                name
                for name in ("id", "answer", "image", "record")
                if name in file.schema_arrow.names
            ]
            for group in range(file.num_row_groups):
                try:
                    seen |= set(file.read_row_group(group, columns=names[:1])[0].to_pylist())
                    rows = file.read_row_group(group, columns=names)
                except (pa.ArrowException, OSError):
                    if seen and path.parent.name == "images":
                        continue  # its places still give the pictures
                    chunk = file.metadata.row_group(group).column(0)
                    with path.open("rb") as raw:
                        seen.add(
                            os.pread(
                                raw.fileno(), chunk.total_compressed_size, chunk.data_page_offset
                            )
                        )
                    continue
                seen |= set(zip(*rows.to_pydict().values(), strict=True))
    return seen


def assert_works(store):
    """The catalog follows, and what is in it is what the parts have."""
    store.refresh()
    with store.reading() as connection:
        [(records,)] = connection.execute("SELECT count(*) FROM instructions").fetchall()
        placed = connection.execute(
            'SELECT id, shard, "offset", length, sha256 FROM images'
        ).fetchall()
    assert records == sum(pq.read_metadata(part).num_rows for part in parts_of(store.path / "text"))
    for _, shard, offset, length, sha256 in placed:
        with (store.path / shard).open("rb") as file:
            assert hashlib.sha256(os.pread(file.fileno(), length, offset)).hexdigest() == sha256


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


def test_what_hangs_on_a_faulty_row_goes_with_it_and_the_rest_is_mended(sound):
    plant_many(sound)
    with repairing(sound) as (_, repaired):
        # The picture and its copy; four turns, two records, one relation.
        assert (repaired.moved, repaired.mended) == (9, 4)
    assert found(sound) == set()
    rows = {
        row["id"]: row
        for part in parts_of(sound.path / "text")
        for row in pq.read_table(part).to_pylist()
    }
    assert rows[about(60).id]["rel_ins_ids"] == [about(1).id]
    assert rows[about(61).id]["translation_of"] is None
    assert about(62).id not in rows
    assert not [id_ for id_ in rows if id_.startswith(("T_INS_c", "T_INS_d"))]
    assert rows[about(3).id]["answer"] == about(3).answer
    aside = sound.path / repaired.quarantine
    noted = pq.read_table(aside / "findings.parquet").to_pylist()
    assert {row["what"] for row in noted if row["fault"] == "taken-along"} == {
        "one of its pictures was moved", "another turn of its conversation was moved", "there is no such record",
    }  # fmt: skip
    assert pq.read_table(aside / "text" / "p-00007.parquet")["id"].to_pylist() == [
        "T_INS_c_00", "T_INS_c_01", about(60).id, about(61).id, about(62).id,
    ]  # fmt: skip
    assert pq.read_table(aside / "text" / "p-00007.parquet").schema == text_schema()


def test_a_mended_picture_is_noted_as_it_is(sound):
    plant_wrong_size(sound)
    with repairing(sound) as _:
        pass
    [shard] = [path for path in parts_of(sound.path / "images") if "9" in path.name]
    assert places(shard)["height"].to_pylist() == [7, 7]


# Killed in the middle


KILLED = """
    import os, pathlib, sys
    from mimicit.store import Store
    from concurrent.futures import ThreadPoolExecutor
    from mimicit.validate import pictures, repairing

    pictures._pool = ThreadPoolExecutor
    left = int(sys.argv[2])

    def counted(name):
        real = getattr(pathlib.Path, name)

        def step(path, *arguments, **options):
            global left
            # Steps of the repair, not of looking for faults or of the catalog.
            if path.suffix in (".parquet", ".staged", ".arrow") or path.parent.name == "snapshots":
                if left == 0:
                    os.kill(os.getpid(), 9)
                left -= 1
            return real(path, *arguments, **options)

        setattr(pathlib.Path, name, step)

    if __name__ == "__main__":
        for name in ("rename", "unlink"):
            counted(name)
        with repairing(Store.open(pathlib.Path(sys.argv[1]))):
            pass
"""


@pytest.mark.slow
def test_a_repair_that_is_killed_loses_nothing_and_can_be_done_again(sound, tmp_path):
    freeze(sound, where="id < 'LACONV_INS_010'")
    plant_many(sound)
    plant_unreadable_rows(sound)
    shard = sound.path / "images" / "s-00000.parquet"
    damage(shard, places(shard)["offset"][69].as_py() + 20)
    pristine = everything(sound.path)
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    for step in itertools.count():
        copied = tmp_path / f"killed{step}"
        subprocess.run(["cp", "-r", sound.path, copied], check=True)
        ran = subprocess.run([sys.executable, script, copied, str(step)], check=False)
        assert pristine <= everything(copied), step
        if ran.returncode == 0:
            break
        assert ran.returncode == -9
        store = Store.open(copied)
        with repairing(store) as _:
            pass
        assert found(store) == set(), step
        assert pristine <= everything(copied), step
        assert_works(store)
        check_snapshots(store)
    assert step > 8


def check_snapshots(store):
    names = [path.name for path in (store.path / "snapshots").iterdir()]
    assert len(names) == 1
    snapshot = Snapshot(store.path, names[0], check=True)
    snapshot.check(pictures=True)
    assert len(snapshot) == 9
    for row in map(snapshot.__getitem__, range(len(snapshot))):
        number = int(row.id.split("_")[2])
        assert [snapshot.read(place) for place in row.pictures] == [png(number)]
    snapshot.close()


# Snapshots


def test_a_snapshot_is_pointed_to_where_its_pictures_are_now(sound):
    whole, few = freeze(sound), freeze(sound, where="id < 'LACONV_INS_010'")
    shard = sound.path / "images" / "s-00000.parquet"
    damage(shard, places(shard)["offset"][20].as_py() + 20)
    with repairing(sound) as (report, repaired):
        assert report.counts == {"checksum-mismatch": 1}
        assert repaired.snapshots == 1
    assert [path.name for path in (sound.path / "snapshots").iterdir()] == [few.digest]
    assert (sound.path / repaired.quarantine / "snapshots" / whole.digest / "text.arrow").exists()
    again = Snapshot(sound.path, few.digest, check=True)
    again.check(pictures=True)
    assert again[5].pictures[0].shard == "images/s-00000-000000000000.parquet"
    assert again[8].id == about(9).id
    assert again.read(again[8].pictures[0]) == png(9)
    assert freeze(sound, where="id < 'LACONV_INS_010'").digest == few.digest


# The command


@pytest.fixture
def command():
    app = typer.Typer()
    app.command()(validate)
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_says_what_it_found_and_exits_with_3(sound, command, tmp_path):
    plant_empty_text(sound)
    raw_part(
        sound,
        [about(n).model_copy(update={"image_ids": ["x\x1b[2J"]}) for n in range(100, 105)],
        "p-00010",
    )
    ran = command("-d", sound.path, "-o", tmp_path / "report.json")
    assert ran.exit_code == 3
    assert "1 empty-text: records without a text" in ran.stdout
    assert f"{P}, row 0  'LACONV_INS_060_00': its answer is blank" in ran.stdout
    assert "… and 2 more" in ran.stdout
    assert "\x1b" not in ran.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"] == {"empty-text": 1, "dangling-picture": 5}
    assert report["findings"][0] == {
        "fault": "empty-text", "where": f"{P}, row 0", "what": "its answer is blank",
        "fix": "write the text, or remove the record", "file": P, "row": 0, "id": "LACONV_INS_060_00",
    }  # fmt: skip
    printed = command("-d", sound.path, "--json")
    assert (printed.exit_code, json.loads(printed.stdout)) == (3, report)


def test_the_command_repairs_and_then_finds_nothing(sound, command):
    plant_empty_text(sound)
    ran = command("-d", sound.path, "--repair", "--json")
    assert ran.exit_code == 3
    assert json.loads(ran.stdout)["repaired"]["moved"] == 1
    ran = command("-d", sound.path)
    assert (ran.exit_code, ran.stdout.startswith("nothing is wrong (7 files")) == (0, True)


def test_fast_compares_checksums_and_decodes_nothing(sound, monkeypatch):
    plant_undecodable_picture(sound)
    assert faults(sound, fast=True) == set()
    shard = sound.path / "images" / "s-00000.parquet"
    damage(shard, places(shard)["offset"][20].as_py() + 20)
    assert faults(sound, fast=True) == {"checksum-mismatch"}


def test_beside_a_writer_its_files_are_no_leftovers_and_a_repair_is_refused(sound):
    with Store.open(sound.path).writing("other"):
        plant_leftover(sound)
        assert found(sound) == set()
        with pytest.raises(LockedError, match="other"), repairing(sound):
            pass


def test_records_without_any_pictures_are_not_all_taken_out(store):
    with store.writing("test"):
        store.add([about(n) for n in range(3)])
    with pytest.raises(DatasetError, match="import the pictures first"), repairing(store):
        pass
    assert found(store) == {
        ("dangling-picture", f"text/p-00000.parquet, row {n}", about(n).id) for n in range(3)
    }


def test_a_decoder_that_crashes_costs_its_picture_and_no_other(sound, monkeypatch):
    monkeypatch.setattr(pictures_module, "_pool", PROCESSES)
    monkeypatch.setattr(pictures_module, "check", crash_on_two)
    findings = found(sound)
    assert findings == {("undecodable-picture", "images/s-00000.parquet, row 2", "LA_IMG_002")}


def crash_on_two(job, decode, check=pictures_module.check):
    if any(item.id == "LA_IMG_002" for item in job.items):
        os._exit(11)
    return check(job, decode)


@pytest.mark.parametrize("first", ["p-00000", "p-00003", "p-00000-00127", "p-00004-00090"])
def test_a_part_stands_for_the_one_it_was_made_from_again_and_again(tmp_path, first):
    path = tmp_path / f"{first}.parquet"
    path.touch()
    (tmp_path / "p-00200.parquet").touch()
    for _ in range(6):
        path = successor(path, "text")
        path.touch()
        assert parts_of(tmp_path) == [path, tmp_path / "p-00200.parquet"]


def test_a_part_of_another_name_is_written_again_under_the_next_number(tmp_path):
    (tmp_path / "p-00003.parquet").touch()
    assert successor(tmp_path / "mine.parquet", "text").name == "p-00004.parquet"
