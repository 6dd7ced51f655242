"""Files of steps grow, and the catalog follows them by their new lines."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimicit import step_files
from mimicit.store import Store


@pytest.fixture
def store(tmp_path):
    return opened(tmp_path / "dataset")


def opened(folder):
    store = Store.open(folder, create=True)
    (folder / "training").mkdir(exist_ok=True)
    return store


def line(step, loss=1.0, run="r"):
    return json.dumps({"run": run, "step": step, "loss": loss, "pad": "x" * 200}) + "\n"


def add(store, text, name="a"):
    with (store.path / "training" / f"{name}.jsonl").open("a") as file:
        file.write(text)


def stands(store):
    store.refresh()
    with store.reading() as connection:
        query = "SELECT run, step, loss FROM steps ORDER BY ALL"
        return connection.execute(query).fetchall()


def counting(monkeypatch):
    """Note from which byte each file is read."""
    read = []
    real = step_files._from

    def noting(path, start, end):
        read.append((path.name, start))
        return real(path, start, end)

    monkeypatch.setattr(step_files, "_from", noting)
    return read


def test_only_new_lines_are_read_and_only_of_the_file_that_grew(store, monkeypatch):
    read = counting(monkeypatch)
    for name in ("a", "b"):
        add(store, "".join(line(step, run=name) for step in range(1, 101)), name)
    assert len(stands(store)) == 200
    size = (store.path / "training" / "a.jsonl").stat().st_size

    add(store, line(101, run="a"))
    assert stands(store)[99:101] == [("a", 100, 1.0), ("a", 101, 1.0)]
    assert len(stands(store)) == 201
    assert read == [("a.jsonl", 0), ("b.jsonl", 0), ("a.jsonl", size)]


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("rs"), st.integers(1, 6)) | st.sampled_from(["{torn", "5\n"]), max_size=6),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_following_ends_where_reading_the_whole_does(tmp_path_factory, written):
    """Steps of resumed runs, lines that are none, and lines of which the rest comes later."""
    store = opened(tmp_path_factory.mktemp("steps") / "dataset")
    number = 0
    for group in written:
        for one in group:
            number += 1
            add(store, one if isinstance(one, str) else line(one[1], number, one[0]))
        found = stands(store)
    store.rebuild()
    assert stands(store) == found


def test_a_line_is_read_when_it_is_whole(store):
    whole = line(2)
    add(store, line(1) + whole[:40])
    assert [step for _, step, _ in stands(store)] == [1]
    add(store, whole[40:])
    assert [step for _, step, _ in stands(store)] == [1, 2]


def test_a_step_longer_than_a_block_is_one_line(store, monkeypatch):
    monkeypatch.setattr(step_files, "BLOCK", 64)
    add(store, line(1))
    assert len(stands(store)) == 1
    add(store, line(2) + line(3))
    assert [step for _, step, _ in stands(store)] == [1, 2, 3]


@pytest.mark.parametrize("change", ["shorter", "longer", "same size"])
def test_a_file_that_is_another_one_is_read_anew(store, change):
    add(store, "".join(line(step, 1.0) for step in range(1, 31)))
    assert len(stands(store)) == 30
    path = store.path / "training" / "a.jsonl"
    count = {"shorter": 5, "longer": 40, "same size": 30}[change]
    path.write_text("".join(line(step, 2.0) for step in range(1, count + 1)))
    assert stands(store) == [("r", step, 2.0) for step in range(1, count + 1)]
    path.unlink()
    assert stands(store) == []


def test_what_cannot_be_read_is_said(store, monkeypatch):
    from mimicit.errors import DatasetError

    def full(path, start, end):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step_files, "_from", full)
    add(store, line(1))
    with pytest.raises(DatasetError, match=r"a\.jsonl' cannot be read \(.*No space"):
        store.refresh()
