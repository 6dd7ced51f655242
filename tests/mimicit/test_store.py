import json
import os
import signal
import subprocess
import sys
import textwrap

import duckdb
import pyarrow.parquet as pq
import pytest

from mimicit import migrations, shards
from mimicit.errors import DatasetError, LockedError, QueryError
from mimicit.snapshot import Snapshot, freeze
from mimicit.store import Store
from tests.builders import image, record


def count(store, table="instructions"):
    with store.reading() as connection:
        [(rows,)] = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    return rows


@pytest.fixture
def filled(store, photos):
    names = ["chelsea.png", "rocket.jpg", "coffee.png"]
    with store.writing("test"):
        store.add_images(image(photos, name) for name in names)
        store.add(
            [
                record(n, image_ids=[f"LA_IMG_{names[n % 3].partition('.')[0]}"], rel_ins_ids=["x"])
                for n in range(9)
            ]
        )
        store.sync()
    return store


def test_adding_again_changes_nothing(filled):
    with filled.writing("test"):
        added = filled.add([record(0), record(100)])
        filled.sync()
    assert (added.new, added.known, added.conflicts) == (1, 1, [])
    assert count(filled) == 10


def test_another_text_under_a_known_id_is_a_conflict_and_the_first_stays(filled):
    with filled.writing("test"):
        added = filled.add([record(0, answer="Something else.")])
    assert added.conflicts == ["LACONV_INS_000_00"]


def test_another_picture_under_a_known_id_is_a_conflict(filled, photos):
    other = image(photos, "moon.png").model_copy(update={"id": "LA_IMG_chelsea"})
    with filled.writing("test"):
        added = filled.add_images([other, image(photos, "rocket.jpg")])
    assert (added.new, added.known, added.conflicts) == (0, 1, ["LA_IMG_chelsea"])


def test_a_picture_is_one_pread_at_the_place_the_catalog_names(filled, photos):
    with filled.reading() as connection:
        rows = connection.execute('SELECT id, shard, "offset", length FROM images').fetchall()
    assert len(rows) == 3
    for id_, shard, offset, length in rows:
        [name] = [n for n in ("chelsea.png", "rocket.jpg", "coffee.png") if n.startswith(id_[7:])]
        with (filled.path / shard).open("rb") as file:
            assert os.pread(file.fileno(), length, offset) == (photos / name).read_bytes()


def test_offsets_hold_across_row_groups(tmp_path, photos):
    small = image(photos, "retina.jpg")
    writer = shards.ShardWriter(tmp_path / "s-00000.parquet")
    for n in range(2 * shards.ROW_GROUP + 5):
        data = small.image[: 10 + 977 * (n % 7)]
        writer.add(small.model_copy(update={"id": f"i{n}", "image": data, "sha256": sha(data)}))
    writer.close()
    places = shards.places(tmp_path / "s-00000.parquet").to_pylist()
    pictures = pq.read_table(tmp_path / "s-00000.parquet", columns=["image"])["image"].to_pylist()
    with (tmp_path / "s-00000.parquet").open("rb") as file:
        read = [os.pread(file.fileno(), row["length"], row["offset"]) for row in places]
    assert read == pictures
    assert len(read) == 133


def sha(data):
    import hashlib

    return hashlib.sha256(data).hexdigest()


def test_any_parquet_reader_opens_a_shard(filled, photos):
    path = str(filled.path / "images" / "s-00000.parquet")
    [(data,)] = duckdb.sql(f"SELECT image FROM '{path}' WHERE id = 'LA_IMG_coffee'").fetchall()
    assert data == (photos / "coffee.png").read_bytes()


def test_a_plain_duckdb_client_reads_the_catalog_from_another_folder(filled, tmp_path):
    code = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).sql('FROM accepted').fetchall()[0][0])"
    ran = subprocess.run(
        [sys.executable, "-c", code, filled.catalog_path],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert ran.stdout.strip() == "LACONV_INS_000_00"


def test_a_copied_folder_is_the_whole_dataset(filled, tmp_path):
    digest = freeze(filled).digest
    moved = tmp_path / "elsewhere"
    filled.path.rename(moved)
    copied = Store.open(moved)
    assert count(copied) == 9
    assert freeze(copied).digest == digest


def test_the_catalog_can_be_lost_or_damaged(filled):
    for damage in (
        filled.catalog_path.unlink,
        lambda: filled.catalog_path.write_bytes(b"not a database" * 1000),
        lambda: filled.catalog_path.write_bytes(b""),
    ):
        damage()
        filled.refresh()
        assert (count(filled), count(filled, "images")) == (9, 3)


def test_a_damaged_part_is_named(filled):
    (filled.path / "text" / "p-00007.parquet").write_bytes(b"PAR1 and then nothing")
    with filled.writing("test"), pytest.raises(DatasetError, match=r"p-00007\.parquet"):
        filled.sync()


def test_the_catalog_keeps_a_storage_version_that_older_duckdb_reads(filled):
    with duckdb.connect(filled.catalog_path, read_only=True) as connection:
        [(tags,)] = connection.execute(
            "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = 'catalog'"
        ).fetchall()
    assert tags.startswith("v1.5")


def test_a_second_writer_is_told_who_the_first_is(store):
    code = textwrap.dedent(
        """
        import sys, time, pathlib
        from mimicit.store import Store
        with Store.open(pathlib.Path(sys.argv[1])).writing("syphus generate"):
            print("locked", flush=True)
            time.sleep(60)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, store.path], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(LockedError, match=f"`syphus generate` \\(process {other.pid}\\)"):  # noqa: SIM117
            with store.writing("test"):
                pass
        other.send_signal(signal.SIGKILL)
    with store.writing("test"):  # a killed writer leaves no lock behind
        pass


def test_a_writer_that_is_killed_leaves_whole_parts(store):
    code = textwrap.dedent(
        """
        import sys, pathlib
        from mimicit.store import Store
        from tests.builders import record
        store = Store.open(pathlib.Path(sys.argv[1]))
        with store.writing("test"):
            for n in range(10_000):
                store.add([record(1000 * n + k) for k in range(50)])
                print(n, flush=True)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, store.path], stdout=subprocess.PIPE, text=True
    ) as other:
        for _ in range(12):
            written = int(other.stdout.readline())
        other.send_signal(signal.SIGKILL)
        written = max([written, *map(int, other.stdout.read().split())])
    with store.writing("test"):
        store.sync()
    assert count(store) >= 50 * (written + 1)
    assert count(store) % 50 == 0
    assert not list(store.path.glob("*/.*.staged"))


def test_a_reader_in_another_process_does_not_stop_a_writer(filled):
    """The catalog is in use, but truth can be written all the same; the catalog follows later."""
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, filled.catalog_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as reader:  # fmt: skip
        reader.stdout.readline()
        with filled.writing("test"):
            filled.add([record(500)])
            with pytest.raises(LockedError, match="open in another process"):
                filled.sync(patience=0)
        reader.communicate("done")
    filled.refresh()
    assert count(filled) == 10


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        pytest.param(json.dumps({"version": migrations.VERSION + 1}), "pip install -U", id="newer"),
        pytest.param("{", "damaged", id="broken"),
        pytest.param(json.dumps({"version": None}), "damaged", id="no version"),
    ],
)
def test_a_folder_this_program_cannot_read_is_refused(store, marker, said):
    (store.path / migrations.MARKER).write_text(marker)
    with pytest.raises(DatasetError, match=said):
        Store.open(store.path)


def test_a_folder_of_other_files_is_not_taken(tmp_path):
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(DatasetError, match="holds other files"):
        Store.open(tmp_path, create=True)
    with pytest.raises(DatasetError, match="not a dataset folder"):
        Store.open(tmp_path)
    with pytest.raises(DatasetError, match="no dataset folder"):
        Store.open(tmp_path / "nothing")


def test_a_snapshot_holds_rows_and_places(filled, photos):
    snapshot = freeze(filled, where="id <> 'LACONV_INS_000_00'")
    assert len(snapshot) == 8
    row = snapshot[0]
    assert (row.id, row.answer) == ("LACONV_INS_001_00", "It is thing number 1.")
    assert snapshot.read(row.pictures[0]) == (photos / "rocket.jpg").read_bytes()
    assert Snapshot(filled.path, snapshot.digest).table.equals(snapshot.table)


def test_a_snapshot_is_named_by_its_content(filled):
    whole = freeze(filled).digest
    assert freeze(filled, where="1 = 1").digest == whole
    assert freeze(filled, where="answer LIKE '%1.'").digest != whole


@pytest.mark.parametrize("where", ["nonsense", "1=1); DROP TABLE x; --", "(SELECT", ""])
def test_a_wrong_selection_is_a_sentence(filled, where):
    with pytest.raises(QueryError, match="selection"):
        freeze(filled, where=where)


def test_a_selection_reads_no_files(filled):
    with pytest.raises(QueryError, match="disabled"):
        freeze(filled, where="(SELECT count(*) FROM read_text('/etc/hostname')) > 0")


def test_a_missing_picture_is_named(filled):
    with filled.writing("test"):
        filled.add([record(77, image_ids=["LA_IMG_nowhere"])])
        filled.sync()
    with pytest.raises(DatasetError, match="LACONV_INS_077_00"):
        freeze(filled)
