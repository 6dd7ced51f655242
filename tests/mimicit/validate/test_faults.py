"""What is found of each planted fault, and what a repair makes of it."""

import os
import subprocess

import pyarrow.parquet as pq
import pytest

from mimicit.errors import DatasetError, LockedError
from mimicit.parts import parts_of
from mimicit.schema import text_schema
from mimicit.shards import places
from mimicit.store import Store
from mimicit.validate import FAULTS, repairing
from mimicit.validate import pictures as pictures_module
from mimicit.validate.files import successor
from tests.mimicit.validate.builders import about, assert_works, damage, everything, faults, found
from tests.mimicit.validate.plants import (
    PLANTS,
    plant_leftover,
    plant_many,
    plant_undecodable_picture,
    plant_wrong_size,
)

PROCESSES = pictures_module._pool

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
