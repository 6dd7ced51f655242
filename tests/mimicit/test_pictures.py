import hashlib
import multiprocessing
import os
import pickle
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from mimicit import pictures as module
from mimicit.errors import DatasetError, PictureError
from mimicit.pictures import INDEX, Pictures
from mimicit.schema import ImageRecord

COUNT = 200


def content(number):
    return b"%d:" % number + hashlib.sha256(b"%d" % number).digest() * (number % 50)


def name(number):
    return f"X_IMG_{number:04d}"


def made(numbers):
    for n in numbers:
        data = content(n)
        yield ImageRecord(
            id=name(n),
            image=data,
            sha256=hashlib.sha256(data).hexdigest(),
            mime="image/png",
            width=1,
            height=1,
        )


def add(store, numbers):
    with store.writing("test"):
        store.add_images(made(numbers))


@pytest.fixture
def folder(store):
    add(store, range(150))
    add(store, range(150, COUNT))
    return store.path


@pytest.fixture
def pictures(folder):
    pictures = Pictures(folder)
    yield pictures
    pictures.close()


def check(pictures, numbers):
    """Compare what a process reads; module level, so that a spawned one can import it."""
    numbers = list(numbers)
    got = pictures.get([name(n) for n in numbers])
    return got == [content(n) for n in numbers] and got == pictures.by_row(numbers)


def test_pictures_come_in_the_order_in_which_they_are_asked_for(pictures):
    assert pictures.get([name(7), name(199), name(7)]) == [content(7), content(199), content(7)]
    assert pictures.by_row([199, 0]) == [content(199), content(0)]
    assert pictures.rows([name(n) for n in range(COUNT)]) == list(range(COUNT))
    assert len(pictures) == COUNT
    assert name(3) in pictures
    assert "X_IMG_" not in pictures


def test_a_missing_picture_is_named(pictures):
    with pytest.raises(PictureError, match=r"no picture 'nope' \(nor 1 others\)"):
        pictures.get([name(1), "nope", "\ud800"])
    for row in (-1, COUNT):
        with pytest.raises(PictureError, match=f"no picture number {row}"):
            pictures.by_row([row])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_at_once_whether_forked_or_spawned(pictures, method):
    assert check(pictures, range(3))  # handles are open when they are forked
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        jobs = [pool.submit(check, pictures, range(n, COUNT, 3)) for n in (0, 1, 2)]
        assert [job.result(60) for job in jobs] == [True] * 3


def test_threads_share_one(pictures):
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda n: check(pictures, range(n, COUNT)), range(16)))
    assert sum(file >= 0 for file in pictures._index._files) == 2


def test_new_pictures_are_found_by_whoever_has_the_old_index_open(store, pictures):
    assert check(pictures, [5])
    other = pickle.loads(pickle.dumps(pictures))
    add(store, range(COUNT, COUNT + 10))
    assert pictures.get([name(COUNT + 9)]) == [content(COUNT + 9)]
    assert check(pictures, range(COUNT + 10))
    assert check(other, range(COUNT + 10))
    other.close()


@pytest.mark.parametrize("damage", ["lost", "cut", "empty", "other shards", "other format"])
def test_an_index_that_does_not_fit_is_made_again(folder, pictures, damage):
    assert check(pictures, [5])
    index = folder / INDEX
    whole = index.read_bytes()
    pictures.close()
    if damage == "lost":
        index.unlink()
    elif damage == "other shards":
        os.utime(next((folder / "images").glob("*.parquet")), ns=(1, 1))
    else:
        index.write_bytes({"cut": whole[:-1], "empty": b"", "other format": b"x" * 400}[damage])
    assert check(pictures, range(COUNT))
    if damage != "other shards":
        assert index.read_bytes() == whole
    assert not list(folder.glob(".*staged"))


def test_an_index_with_impossible_places_reads_nothing_but_its_shards(folder, pictures):
    check(pictures, [5])
    pictures.close()
    index = folder / INDEX
    whole = index.read_bytes()
    index.write_bytes(whole[: module._HEADER.size] + b"\xff" * (len(whole) - module._HEADER.size))
    assert name(5) not in pictures
    with pytest.raises((PictureError, DatasetError)):
        pictures.by_row([5])


def test_the_index_is_small_and_opens_without_heavy_packages(folder, pictures):
    import subprocess
    import sys

    assert check(pictures, [5])
    assert (folder / INDEX).stat().st_size <= 24 * COUNT + 200
    code = (
        "import sys; from pathlib import Path; from mimicit.pictures import Pictures;"
        f"p = Pictures(Path({str(folder)!r})); assert p.get(['{name(3)}']) == [{content(3)!r}];"
        "print(sorted({'pyarrow', 'numpy', 'duckdb', 'pydantic', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_one_process_makes_the_index_while_others_wait(folder, monkeypatch):
    writes = []
    write = module._write
    monkeypatch.setattr(
        module, "_write", lambda *arguments: (writes.append(1), write(*arguments))[1]
    )
    many = [Pictures(folder) for _ in range(6)]
    threads = [threading.Thread(target=one.get, args=([name(1)],)) for one in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(writes) == 1
    for one in many:
        one.close()


def test_a_folder_that_cannot_be_written_is_read(folder, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "no")

    monkeypatch.setattr("filelock.FileLock", refuse)
    pictures = Pictures(folder)
    assert check(pictures, range(COUNT))
    assert not (folder / INDEX).exists()
    pictures.close()


def test_ids_of_one_hash_are_told_apart(folder, pictures, monkeypatch):
    """The first salt gives two ids one hash; the index is made with another."""
    honest = module._hash
    monkeypatch.setattr(
        module,
        "_hash",
        lambda id, salt: 1 if salt == 0 and id in (name(3), name(170)) else honest(id, salt),
    )
    assert check(pictures, range(COUNT))
    assert pictures._index._salt == 1


def test_an_id_that_is_there_twice_is_the_first_one(folder, pictures):
    shards = sorted((folder / "images").glob("*.parquet"))
    shutil.copy(shards[0], folder / "images" / "s-00009.parquet")
    assert len(pictures) == COUNT + 150
    assert pictures.rows([name(3)]) == [3]
    assert pictures.by_row([COUNT + 3]) == [content(3)]


def test_more_shards_than_handles(folder, pictures, monkeypatch):
    monkeypatch.setattr(module, "OPEN_SHARDS", 1)
    assert check(pictures, [1, 199, 2, 198])
    assert sum(file >= 0 for file in pictures._index._files) == 1


def test_a_shard_that_is_cut_off_or_gone_is_named(folder, pictures):
    assert check(pictures, [5])
    shards = sorted((folder / "images").glob("*.parquet"))
    with shards[0].open("r+b") as file:
        file.truncate(100)
    with pytest.raises(PictureError, match=r"s-00000\.parquet' ends before byte"):
        pictures.by_row([5])
    shards[1].unlink()
    with pytest.raises(DatasetError, match=r"s-00001\.parquet' cannot be read"):
        pictures.by_row([199])


def test_a_foreign_file_among_the_shards_is_named(folder, pictures):
    (folder / "images" / "s-00007.parquet").write_bytes(b"not Parquet")
    with pytest.raises(DatasetError, match=r"s-00007\.parquet' cannot be read"):
        pictures.get([name(1)])


def test_an_empty_dataset_has_no_pictures(store, tmp_path):
    pictures = Pictures(store.path)
    assert len(pictures) == 0
    assert name(1) not in pictures
    pictures.close()
    with pytest.raises(DatasetError, match="not a dataset folder"):
        Pictures(tmp_path / "nowhere").get(["x"])
