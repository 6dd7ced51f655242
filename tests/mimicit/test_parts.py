import os
import subprocess
import sys
import textwrap
import threading

import pyarrow.parquet as pq
import pytest

from mimicit import footers, known, parts
from mimicit import store as store_module
from mimicit.known import Known
from mimicit.parts import parts_of, replaced_parts
from mimicit.schema import Verdict
from mimicit.store import Store
from tests.builders import image, record
from tests.mimicit.test_store import count, first_version, sha


@pytest.fixture
def soon(monkeypatch):
    """Parts are merged as soon as there are four of them."""
    monkeypatch.setattr(parts, "MERGE_PARTS", 4)


def names(store, folder="text"):
    return [path.name for path in parts_of(store.path / folder)]


def verdict(number, recipe="r"):
    return Verdict(
        record=f"LACONV_INS_{number:03d}_00", filter="f", reason="so", recipe=recipe, recipe_digest="ab"
    )  # fmt: skip


def test_many_small_parts_become_one_and_the_catalog_follows(store, soon):
    with store.writing("test"):
        for n in range(3):
            store.add([record(n)])
        store.sync()
        for n in range(3, 9):
            store.add([record(n)])
        store.sync()
        again = store.add([record(n) for n in range(10)])
        store.sync()
    assert names(store) == [
        "p-00000-00003.parquet", "p-00004-00007.parquet", "p-00008.parquet", "p-00009.parquet",
    ]  # fmt: skip
    assert (again.new, again.known) == (1, 9)
    with store.reading() as connection:
        found = connection.execute("SELECT id, part FROM instructions ORDER BY id").fetchall()
    assert [id_ for id_, _ in found] == [record(n).id for n in range(10)]
    assert found[2][1] == "text/p-00000-00003.parquet"


def test_a_merged_part_holds_the_rows_in_their_order_and_todays_columns(tmp_path, soon):
    store = Store.open(first_version(tmp_path / "old"))
    with store.writing("test"):
        for n in range(3):
            store.add([record(n, translation_of="T_INS_0", image_ids=["i0"], reply=n)])
    [part] = parts_of(store.path / "text")
    rows = pq.read_table(part)
    assert part.name == "p-00000-00003.parquet"
    assert rows["id"].to_pylist() == ["T_INS_0", "T_INS_1", *(record(n).id for n in range(3))]
    assert rows["translation_of"].to_pylist() == [None, None, *["T_INS_0"] * 3]
    assert rows["image_ids"].to_pylist() == [["i0"]] * 5
    assert rows.schema == store_module.text_schema()


def test_large_parts_are_left_as_they_are(store, soon, monkeypatch):
    monkeypatch.setattr(parts, "SMALL_BYTES", 100)
    with store.writing("test"):
        for n in range(6):
            store.add([record(n)])
    assert len(names(store)) == 6


def test_parts_of_verdicts_are_merged_by_recipe(store, soon):
    """They are replaced by recipe, so a part may hold one only."""
    with store.writing("test"):
        for n in range(3):
            store.add_verdicts([verdict(n, "mine")])
        for n in range(7):
            store.add_verdicts([verdict(n, "judge")])
        store.sync()
    assert names(store, "verdicts") == [
        "v-00000.parquet", "v-00001.parquet", "v-00002.parquet", "v-00003-00006.parquet",
        "v-00007.parquet", "v-00008.parquet", "v-00009.parquet",
    ]  # fmt: skip
    assert count(store, "verdicts") == 10


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        pytest.param("rename", ["p-00000", "p-00001", "p-00002", "p-00003"], id="before"),
        pytest.param("unlink", ["p-00000-00003"], id="after"),
    ],
)
def test_a_merge_that_is_killed_leaves_the_old_parts_or_the_new_one(store, moment, left):
    code = f"""
        import os, pathlib, sys
        from mimicit import parts
        from mimicit.store import Store
        from tests.builders import record
        parts.MERGE_PARTS = 4
        real = pathlib.Path.{moment}

        def killed(path, *arguments, **options):
            if path.name.startswith((".p-00000-", "p-")):
                os._exit(9)
            return real(path, *arguments, **options)

        pathlib.Path.{moment} = killed
        store = Store.open(pathlib.Path(sys.argv[1]))
        with store.writing("test"):
            for n in range(4):
                store.add([record(n)])
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code), store.path], check=False)
    assert ran.returncode == 9
    assert [name.removesuffix(".parquet") for name in names(store)] == left
    store.refresh()
    assert count(store) == 4
    with store.writing("test"):
        assert store.add([record(n) for n in range(5)]).known == 4
        store.sync()
    assert not replaced_parts(store.path / "text")
    assert not list(store.path.glob("*/.*.staged"))
    assert count(store) == 5


def test_a_file_of_another_name_is_a_part_too(store):
    with store.writing("test"):
        store.add([record(1)])
        (store.path / "text" / "p-00000.parquet").rename(store.path / "text" / "mine.parquet")
        assert store.add([record(1)]).known == 1
        store.add([record(2)])
        store.sync()
    assert names(store) == ["mine.parquet", "p-00000.parquet"]
    assert count(store) == 2


# What a writer knows


def test_a_writer_reads_its_ids_once_and_looks_no_new_one_up(store, monkeypatch):
    with store.writing("test"):
        store.add([record(n) for n in range(50)])
    read = []
    real = store_module.read_columns

    def counted(paths, columns, ids=None, **more):
        read.append(columns)
        return real(paths, columns, ids, **more)

    monkeypatch.setattr(store_module, "read_columns", counted)
    with store.writing("test"):
        for n in range(10):
            assert store.add([record(100 + 10 * n + k) for k in range(10)]).new == 10
        assert read == [["id"]]
        assert store.add([record(3)]).known == 1
    assert read == [["id"], ["id", "instruction", "answer"]]


def test_what_another_process_wrote_between_two_sessions_is_known(store):
    with store.writing("test"):
        store.add([record(1)])
    with Store.open(store.path).writing("other"):
        Store.open(store.path).add([record(2)])
    with store.writing("test"):
        added = store.add([record(2), record(2, answer="Something else.")])
    assert (added.new, added.known, added.conflicts) == (0, 1, [record(2).id])


def test_the_same_id_twice_in_one_call_is_one_record(store):
    with store.writing("test"):
        added = store.add([record(1), record(1), record(1, answer="Something else.")])
    assert (added.new, added.known, added.conflicts) == (1, 1, [record(1).id])


def test_a_part_that_could_not_be_written_is_not_known(store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with store.writing("test"):
        with monkeypatch.context() as patched:
            patched.setattr(store_module, "write_part", full)
            with pytest.raises(OSError, match="No space"):
                store.add([record(1)])
        assert store.add([record(1)]).new == 1


def test_pictures_of_several_shards_and_calls_are_written_once(store, photos, monkeypatch):
    monkeypatch.setattr(store_module, "SHARD_BYTES", 1)
    chelsea, rocket = image(photos, "chelsea.png"), image(photos, "rocket.jpg")
    other = rocket.model_copy(update={"id": "LA_IMG_chelsea"})
    with store.writing("test"):
        first = store.add_images([chelsea, rocket, chelsea, other])
        second = store.add_images([rocket])
        store.sync()
    assert (first.new, first.known, first.conflicts) == (2, 1, ["LA_IMG_chelsea"])
    assert (second.new, second.known) == (0, 1)
    assert count(store, "images") == 2


def test_known_forgets_nothing_and_hardly_ever_takes_a_new_id_for_a_known_one(monkeypatch):
    monkeypatch.setattr(known, "FIRST_SLOTS", 64)
    monkeypatch.setattr(known, "MOST_SLOTS", 4_096)
    ids = Known()
    there = [f"LACONV_INS_{n:06d}_00" for n in range(20_000)]
    for start in range(0, len(there), 700):
        ids.note(there[start : start + 700])
    assert ids.among(there) == set(there)
    assert len(ids.among(f"LACONV_INS_{n:06d}_01" for n in range(20_000))) <= 1


def test_one_by_one_and_with_numpy_the_same_ids_are_known(monkeypatch):
    monkeypatch.setattr(known, "FIRST_SLOTS", 64)
    monkeypatch.setattr(known, "MOST_SLOTS", 4_096)
    there = [f"LACONV_INS_{n:06d}_00" for n in range(9_000)]
    asked = [id_ for n in range(9_000) for id_ in (there[n], f"LACONV_INS_{n:06d}_01")]
    for noting, asking in ((1, 1), (1, 99_999), (99_999, 1)):
        ids = Known()
        monkeypatch.setattr(known, "MANY", noting)
        for start in range(0, len(there), 700):
            ids.note([*there[start : start + 700], there[0]])
        monkeypatch.setattr(known, "MANY", asking)
        found = ids.among(asked)
        assert found >= set(there)
        assert len(found) <= len(there) + 1


def test_pictures_that_come_again_have_each_footer_read_once(store, photos, monkeypatch):
    monkeypatch.setattr(store_module, "SHARD_BYTES", 20_000)
    monkeypatch.setattr(footers, "KEPT", 1)
    chelsea = image(photos, "chelsea.png")
    pictures = [
        chelsea.model_copy(update={"id": f"A_IMG_{n:05d}", "image": data, "sha256": sha(data)})
        for n, data in enumerate(b"%050d" % n for n in range(2_000))
    ]
    with store.writing("test"):
        assert store.add_images(pictures).new == 2_000
    shards = len(parts_of(store.path / "images"))
    assert shards == 5
    read = []
    real = pq.read_metadata
    monkeypatch.setattr(pq, "read_metadata", lambda path: read.append(path) or real(path))
    changed = pictures[1_500].model_copy(update={"sha256": "0" * 64})
    with store.writing("test"):
        again = store.add_images([*pictures[:1_500], changed, *pictures[1_501:]])
        assert len(read) <= 2 * shards
        back = store.add_images([*pictures[::-1], chelsea])
    assert (again.new, again.known, again.conflicts) == (0, 1_999, [changed.id])
    assert (back.new, back.known) == (1, 2_000)
    with store.writing("test"):
        assert store.add_images([chelsea]).known == 1


def test_row_groups_whose_footer_tells_nothing_are_looked_through(store):
    with store.writing("test"):
        store.add([record(n) for n in range(9)])
        [part] = parts_of(store.path / "text")
        pq.write_table(pq.read_table(part), part, write_statistics=False, row_group_size=2)
    with store.writing("test"):
        again = store.add([record(3), record(5), record(5, answer="Something else.")])
    assert (again.new, again.known, again.conflicts) == (0, 2, [record(5).id])


# What it costs to have one


def test_a_store_may_be_used_by_one_thread_after_the_other(store):
    def in_thread(step):
        failed = []

        def run():
            try:
                step()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test is to fail with it
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert not failed, failed

    writing = store.writing("test")
    in_thread(writing.__enter__)
    for n in range(3):
        in_thread(lambda n=n: store.add([record(n)]))
        in_thread(lambda n=n: store.add_verdicts([verdict(n)]))
        in_thread(store.sync)
    in_thread(lambda: store.try_sync(patience=1.0))
    writing.__exit__(None, None, None)
    with store.writing("test"):  # it was let go of, too
        pass
    assert count(store) == count(store, "verdicts") == 3


def test_opening_a_dataset_loads_nothing_heavy_and_writing_loads_no_duckdb(store):
    with store.writing("test"):
        store.add([record(0)])
        store.sync()
    code = """
        import os, pathlib, sys
        from mimicit.store import Store
        store = Store.open(pathlib.Path(sys.argv[1]))
        heavy = {"duckdb", "pyarrow", "numpy", "PIL", "pandas"}
        with store.writing("test"):
            store.add([])
            assert not heavy & set(sys.modules), heavy & set(sys.modules)
            from tests.builders import record
            assert store.add([record(n) for n in range(3)]).new == 2
            store.try_sync()
            store.try_sync(patience=10)
        assert "duckdb" not in sys.modules
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), store.path],
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert count(store) == 3
