"""What is frozen stays what it is, and says so."""

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mimicit.commands.freeze import freeze as command
from mimicit.curate import curate
from mimicit.curate.recipe import load_recipe
from mimicit.errors import DatasetError, PictureError
from mimicit.schema import ImageRecord
from mimicit.snapshot import Picture, Snapshot, freeze, row_hash
from tests.builders import image, record
from tests.test_layers import ROOT


def program(function):
    import typer

    app = typer.Typer()
    app.command()(function)
    return app


def picture(number):
    data = b"picture %d" % number
    return ImageRecord(
        id=f"LA_IMG_{number}", image=data, sha256=hashlib.sha256(data).hexdigest(),
        mime="image/png", width=1, height=1,
    )  # fmt: skip


@pytest.fixture
def filled(store):
    """Twelve records of two pictures each, of which the last four are two conversations."""
    with store.writing("test"):
        store.add_images([picture(n) for n in range(14)])
        records = [
            record(n, image_ids=[f"LA_IMG_{n}", f"LA_IMG_{n + 1}"], rejected="No." if n else None)
            for n in range(8)
        ]
        for talk in ("LACONV_INS_a", "LACONV_INS_b"):
            records += [
                record(
                    turn,
                    id=f"{talk}_{turn:02d}",
                    conversation=talk,
                    turn=turn,
                    image_ids=["LA_IMG_9"],
                )
                for turn in range(2)
            ]
        store.add(records)
        store.sync()
    return store


def test_a_row_has_all_that_training_needs(filled):
    with freeze(filled) as snapshot:
        first, last = snapshot[0], snapshot[-1]
        assert (first.id, first.conversation, first.turn, first.rejected) == (
            "LACONV_INS_000_00",
            None,
            None,
            None,
        )
        assert [snapshot.read(place) for place in first.pictures] == [b"picture 0", b"picture 1"]
        assert (last.id, last.conversation, last.turn) == ("LACONV_INS_b_01", "LACONV_INS_b", 1)
        assert snapshot[1].rejected == "No."
        with pytest.raises(IndexError):
            _ = snapshot[12]


def test_the_digest_is_that_of_the_content_wherever_it_lies(filled, tmp_path):
    snapshot = freeze(filled)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(filled.path, elsewhere, ignore=shutil.ignore_patterns("snapshots", "catalog*"))
    from mimicit.store import Store

    assert freeze(Store.open(elsewhere), where="length(id) > 0").digest == snapshot.digest
    assert freeze(filled, where="turn IS NULL").digest != snapshot.digest


def test_a_seed_shuffles_conversations_and_keeps_their_turns_together(filled):
    plain, one, other = freeze(filled), freeze(filled, seed=1), freeze(filled, seed=2)
    assert len({plain.digest, one.digest, other.digest}) == 3
    orders = [[row.id for row in snapshot] for snapshot in (plain, one, other)]
    assert orders[0] == sorted(orders[0])
    assert orders[0] != orders[1] != orders[2]
    for order in orders:
        assert sorted(order) == orders[0]
        for talk in "ab":
            at = order.index(f"LACONV_INS_{talk}_00")
            assert order[at + 1] == f"LACONV_INS_{talk}_01"
    assert freeze(filled, seed=1).digest == one.digest


def test_the_recipes_that_judged_are_part_of_it(filled):
    before = freeze(filled).digest
    curate(filled, load_recipe("starter"))
    snapshot = freeze(filled, where="true")
    if snapshot.manifest["recipes"]:
        assert snapshot.digest != before
    assert [recipe["name"] for recipe in snapshot.manifest["recipes"]] == [
        name for (name,) in rows(filled, "SELECT DISTINCT recipe FROM verdicts ORDER BY 1")
    ]


def rows(store, query):
    with store.reading() as connection:
        return connection.execute(query).fetchall()


def test_the_manifest_says_what_was_selected_and_holds_each_file(filled):
    snapshot = freeze(filled, where="turn IS NULL", seed=7)
    manifest = json.loads((snapshot.path / "manifest.json").read_text())
    facts = {name: manifest[name] for name in ("digest", "where", "seed", "records", "pictures")}
    assert facts == {
        "digest": snapshot.digest, "where": "turn IS NULL", "seed": 7, "records": 8, "pictures": 16,
    }  # fmt: skip
    assert manifest["dataset_version"] >= 2
    for name, digest in manifest["files"].items():
        data = (snapshot.path / name).read_bytes()
        assert digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert sorted(path.name for path in snapshot.path.iterdir()) == sorted(
        [*manifest["files"], "manifest.json"]
    )


def test_a_hash_can_be_computed_by_anybody_from_the_row_and_its_pictures(filled):
    snapshot = freeze(filled)
    for index in range(len(snapshot)):
        row = snapshot[index]
        hashes = [hashlib.sha256(snapshot.read(place)).hexdigest() for place in row.pictures]
        assert snapshot.table["hash"][index].as_py() == row_hash(row, hashes)
    snapshot.check(pictures=True)


def test_what_is_null_is_not_what_is_empty(filled):
    with filled.writing("test"):
        filled.add([record(90, rejected="")])
        filled.sync()
    snapshot = freeze(filled, where="id = 'LACONV_INS_090_00'")
    assert snapshot[0].rejected == ""
    snapshot.check(pictures=True)


@pytest.mark.parametrize("name", ["text.arrow", "pictures.arrow", "hashes.arrow"])
def test_one_changed_byte_is_found(filled, name):
    path = freeze(filled).path / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="damaged"):
        Snapshot(filled.path, path.parent.name, check=True)


def test_a_changed_manifest_is_found(filled):
    snapshot = freeze(filled, seed=1)
    path = snapshot.path / "manifest.json"
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    with pytest.raises(DatasetError, match="not those of its name"):
        Snapshot(filled.path, snapshot.digest, check=True)


def test_a_manifest_leads_to_no_file_outside(filled):
    snapshot = freeze(filled)
    path = snapshot.path / "manifest.json"
    path.write_text(path.read_text().replace("images/s-00000.parquet", "images/../../x.parquet"))
    with pytest.raises(DatasetError, match="impossible files"):
        Snapshot(filled.path, snapshot.digest)


def test_a_lost_or_shortened_shard_and_a_changed_picture_are_found(filled):
    snapshot = freeze(filled)
    shard = filled.path / snapshot.shards[0]
    whole = shard.read_bytes()
    place = snapshot[0].pictures[0]
    shard.write_bytes(whole[: place.offset] + b"P" + whole[place.offset + 1 :])
    snapshot.check()
    with pytest.raises(DatasetError, match="LACONV_INS_000_00"):
        Snapshot(filled.path, snapshot.digest).check(pictures=True)
    shard.write_bytes(whole[:100])
    with pytest.raises(DatasetError, match="shorter"):
        Snapshot(filled.path, snapshot.digest, check=True)
    with pytest.raises(PictureError, match="ends before"):
        Snapshot(filled.path, snapshot.digest).read(Picture(place.shard, 90, 20))
    shard.unlink()
    with pytest.raises(DatasetError, match="missing"):
        Snapshot(filled.path, snapshot.digest, check=True)


@pytest.mark.parametrize("digest", ["0" * 32, "../text", "", "x"])
def test_a_snapshot_that_there_is_not_is_a_sentence(filled, digest):
    with pytest.raises(DatasetError, match="has no snapshot"):
        Snapshot(filled.path, digest)


def test_a_snapshot_of_an_older_program_is_a_sentence(filled):
    folder = filled.path / "snapshots" / ("a" * 32)
    folder.mkdir()
    (folder / "manifest.json").write_text('{"where": "true", "records": 1, "digest": "aa"}')
    with pytest.raises(DatasetError, match="freeze it again"):
        Snapshot(filled.path, "a" * 32)


def test_nothing_selected_is_a_sentence_and_leaves_nothing(filled):
    with pytest.raises(DatasetError, match="satisfies"):
        freeze(filled, where="false")
    assert list((filled.path / "snapshots").iterdir()) == []


def test_a_snapshot_is_written_once(filled):
    snapshot = freeze(filled)
    before = (snapshot.path / "text.arrow").stat().st_mtime_ns
    assert freeze(filled).digest == snapshot.digest
    assert (snapshot.path / "text.arrow").stat().st_mtime_ns == before
    assert [path.name for path in (filled.path / "snapshots").glob("[!.]*")] == [snapshot.digest]


def test_what_a_killed_freeze_left_is_cleared_a_day_later(filled):
    folder = filled.path / "snapshots" / ".freezing-killed"
    folder.mkdir()
    (folder / "text.arrow").write_bytes(b"half")
    freeze(filled)
    assert folder.exists()
    os.utime(folder, (time.time() - 100_000,) * 2)
    freeze(filled)
    assert not folder.exists()


def read_first(snapshot, results):
    results.put(snapshot.read(snapshot[0].pictures[0]))


def test_other_processes_read_the_same(filled):
    snapshot = freeze(filled)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = (filled.path, snapshot.digest, results)
    workers = [context.Process(target=open_and_read, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=60) for _ in workers] == [b"picture 0"] * 2
    for worker in workers:
        worker.join()
    results.close()


def open_and_read(path, digest, results):
    read_first(Snapshot(path, digest), results)


def test_more_rows_than_one_batch_keep_their_order(store, monkeypatch):
    monkeypatch.setattr("mimicit.freezing.BATCH_ROWS", 10)
    monkeypatch.setattr("mimicit.snapshot.BATCH_ROWS", 10)
    with store.writing("test"):
        store.add_images([picture(n) for n in range(40)])
        store.add([record(n, image_ids=[f"LA_IMG_{n}"] if n % 3 else []) for n in range(35)])
        store.sync()
    snapshot = freeze(store)
    assert [row.id for row in snapshot] == [f"LACONV_INS_{n:03d}_00" for n in range(35)]
    for n in range(35):
        assert [snapshot.read(p) for p in snapshot[n].pictures] == [b"picture %d" % n] * bool(n % 3)
    snapshot.check(pictures=True)


def test_opening_takes_no_memory_for_rows(store):
    """Forty megabytes of text, and not a tenth of it in the process that maps them."""
    with store.writing("test"):
        store.add([record(n, answer=f"{n} " * 1000) for n in range(8_000)])
        store.sync()
    digest = freeze(store).digest
    code = (
        "import sys, pyarrow, pyarrow.ipc\n"
        "from pathlib import Path\n"
        "from mimicit.snapshot import Snapshot\n"
        "def private():\n"
        "    lines = open('/proc/self/smaps_rollup').read().splitlines()\n"
        "    return sum(int(line.split()[1]) for line in lines if line.startswith('Private'))\n"
        "before = private()\n"
        "snapshot = Snapshot(Path(sys.argv[1]), sys.argv[2])\n"
        "assert len(snapshot[7_999].answer) >= 2000\n"
        "print(private() - before)\n"
    )
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("no /proc/self/smaps_rollup here")
    done = subprocess.run(
        [sys.executable, "-c", code, store.path, digest],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert int(done.stdout) < 4_000, "kilobytes"


def test_the_command_freezes_and_checks(filled):
    run = CliRunner().invoke
    made = run(
        program(command),
        ["-d", str(filled.path), "--where", "turn IS NULL", "--seed", "3", "--json"],
    )
    facts = json.loads(made.output)
    assert (facts["records"], facts["seed"]) == (8, 3)
    checked = run(program(command), ["-d", str(filled.path), "--check", facts["digest"]])
    assert "8 records, 16 pictures; every one is what it was" in checked.output


def test_photographs_are_read_as_they_were_given(store, photos):
    with store.writing("test"):
        store.add_images([image(photos, "rocket.jpg")])
        store.add([record(0, image_ids=["LA_IMG_rocket"])])
        store.sync()
    with freeze(store) as snapshot:
        assert snapshot.read(snapshot[0].pictures[0]) == (photos / "rocket.jpg").read_bytes()
