import json
import os
import signal
import subprocess
import sys
import textwrap

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mimicit import migrations, shards
from mimicit.errors import DatasetError, LockedError, QueryError
from mimicit.schema import Verdict, image_schema
from mimicit.snapshot import Snapshot, freeze
from mimicit.stats import stats
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


def first_version(folder):
    """Write a folder as version 1 of the layout had it: no folder `relations`, and fewer columns."""
    for name in ("images", "text", "verdicts", "ledger", "snapshots"):
        (folder / name).mkdir(parents=True)
    (folder / "dataset.json").write_text('{"format": "MIMIC-IT", "version": 1}\n')
    names = pa.list_(pa.string())
    text = {
        "id": pa.array(["T_INS_0", "T_INS_1"]), "task": pa.array(["t", "t"]),
        "instruction": pa.array(["What?", "Why?"]), "answer": pa.array(["A cat.", "It naps."]),
        "image_ids": pa.array([["i0"], ["i0"]], names), "rel_ins_ids": pa.array([[], []], names),
        "language": pa.array(["en", "en"]), "source": pa.array(["a.json#0"] * 2),
        "request": pa.array([None, None], pa.string()), "reply": pa.array([None, None], pa.int64()),
    }  # fmt: skip
    pq.write_table(pa.table(text), folder / "text" / "p-00000.parquet")
    verdict = {
        "record": ["T_INS_1"], "filter": ["too_short"], "reason": ["it is short"], "recipe": ["starter"],
        "recipe_digest": ["ab"], "time": pa.array([10**15], pa.timestamp("us", tz="UTC")),
    }  # fmt: skip
    pq.write_table(pa.table(verdict), folder / "verdicts" / "v-00000.parquet")
    picture = {
        "id": ["i0"], "image": pa.array([b"picture"]), "length": [7], "sha256": [sha(b"picture")],
        "mime": ["image/png"], "width": pa.array([4], pa.int32()), "height": pa.array([3], pa.int32()),
        "source": ["i0.png"],
    }  # fmt: skip
    fields = [field for field in image_schema() if field.name != "time"]
    pq.write_table(
        pa.table(picture, schema=pa.schema(fields)), folder / "images" / "s-00000.parquet",
        compression="none", use_dictionary=False, column_encoding={"image": "PLAIN"},
        write_statistics=["id"],
    )  # fmt: skip
    return folder


def test_a_folder_of_the_first_version_is_brought_to_todays(tmp_path, photos):
    store = Store.open(first_version(tmp_path / "old"))
    store.refresh()
    assert json.loads((store.path / migrations.MARKER).read_text())["version"] == migrations.VERSION
    with store.reading() as connection:
        ask = lambda query: connection.execute(query).fetchall()  # noqa: E731
        assert ask("SELECT id, translation_of FROM accepted") == [("T_INS_0", None)]
        assert ask("SELECT id FROM rejected") == [("T_INS_1",)]
        assert ask("SELECT rejects, score FROM verdicts") == [(True, None)]
        assert ask("SELECT id, time, length FROM images") == [("i0", None, 7)]
        assert ask("SELECT count(*) FROM relations") == [(0,)]
        [(verdicts,)] = ask("SELECT verdicts FROM provenance WHERE id = 'T_INS_1'")
        assert verdicts == [
            {
                "filter": "too_short", "reason": "it is short", "recipe": "starter",
                "score": None, "rejects": True,
            }
        ]  # fmt: skip
    assert freeze(store)[0].pictures[0].length == 7


def test_parts_of_two_ages_lie_in_one_folder(tmp_path, photos):
    store = Store.open(first_version(tmp_path / "old"))
    with store.writing("test"):
        added = store.add(
            [
                record(1, id="T_INS_0", instruction="What?", answer="A cat."),
                record(2, translation_of="T_INS_0"),
            ]
        )
        frame = image(photos, "rocket.jpg").model_copy(update={"time": 1.5})
        old = frame.model_copy(update={"id": "i0"})
        pictures = store.add_images([frame, old])
        store.add_verdicts([verdict("T_INS_0", rejects=False, score=0.5)])
        store.sync()
    assert (added.new, added.known) == (1, 1)
    assert (pictures.new, pictures.conflicts) == (1, ["i0"])
    with store.reading() as connection:
        found = connection.execute("SELECT id, translation_of FROM accepted ORDER BY id").fetchall()
        times = connection.execute("SELECT id, time FROM images ORDER BY id").fetchall()
    assert found == [("LACONV_INS_002_00", "T_INS_0"), ("T_INS_0", None)]
    assert times == [("LA_IMG_rocket", 1.5), ("i0", None)]


def verdict(record, **changes):
    values = {"record": record, "filter": "f", "reason": "so", "recipe": "r", "recipe_digest": "ab"}
    return Verdict.model_validate(values | changes)


def test_an_opinion_that_rejects_nothing_leaves_the_record_accepted(filled):
    with filled.writing("test"):
        filled.add_verdicts(
            [
                verdict("LACONV_INS_000_00", score=0.25, rejects=False),
                verdict("LACONV_INS_001_00", score=0.75),
                verdict("LACONV_INS_002_00", recipe="other"),
            ]
        )
        filled.sync()
    assert count(filled, "accepted") == 7
    assert count(filled, "rejected") == 2
    rows = {(row["recipe"], row["filter"]): row for row in stats(filled)["verdicts"]}
    assert rows["r", "f"] == {
        "recipe": "r", "filter": "f", "records": 2, "rejected": 1, "mean_score": 0.5,
    }  # fmt: skip
    with filled.reading() as connection:
        [(said,)] = connection.execute(
            "SELECT verdicts FROM provenance WHERE id = 'LACONV_INS_000_00'"
        ).fetchall()
        parts = connection.execute("SELECT DISTINCT recipe, part FROM verdicts").fetchall()
    assert [(v["reason"], v["score"], v["rejects"]) for v in said] == [("so", 0.25, False)]
    assert len(parts) == len({part for _, part in parts}) == 2  # a recipe is replaced by itself
