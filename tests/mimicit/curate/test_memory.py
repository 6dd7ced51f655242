"""What is too much for the memory that DuckDB is given first is done with more."""

import duckdb
import pytest

from mimicit.curate import opening


def test_too_little_memory_is_no_failure():
    asked = []

    def step(memory):
        asked.append(memory)
        if memory:
            raise duckdb.OutOfMemoryException("could not allocate")
        return "done"

    assert opening.frugally(step) == "done"
    assert asked == [opening.MEMORY, None]


def test_what_fails_without_a_limit_fails():
    def step(memory):
        raise duckdb.OutOfMemoryException("could not allocate")

    with pytest.raises(duckdb.OutOfMemoryException):
        opening.frugally(step)


def test_a_large_splitting_is_checked_in_the_end(store, monkeypatch):
    """However little there is at first."""
    pytest.importorskip("scipy")
    from mimicit.splits import SplitOptions, check, checking, split
    from mimicit.splits.links import Joins
    from tests.builders import record

    with store.writing("test"):
        rows = [record(n, id=f"r{n:06}", image_ids=[f"P{n // 3}"] * 8) for n in range(60_000)]
        store.add(rows)
        store.sync()
    joins = Joins(near_pictures=False, near_texts=False)
    split(store, SplitOptions({"test": 0.1}, joins=joins))
    monkeypatch.setattr(opening, "MEMORY", "6MB")
    with store.writing("test"), pytest.raises(duckdb.OutOfMemoryException):
        checking._check(store, "default", joins, "true", opening.silent, "6MB")
    assert check(store, "default", joins).total == 0
