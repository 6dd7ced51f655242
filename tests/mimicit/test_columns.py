"""Arrow columns made by hand are what pyarrow makes of the same values."""

import subprocess
import sys
import textwrap

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimicit import columns
from mimicit.columns import as_column, as_strings, as_table
from mimicit.schema import image_schema, text_schema, verdict_schema

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)
KINDS = [
    (pa.string(), TEXTS),
    (pa.binary(), st.binary(max_size=8)),
    (pa.bool_(), st.booleans()),
    (pa.int32(), st.integers(-(1 << 31), (1 << 31) - 1)),
    (pa.int64(), NUMBERS),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.timestamp("us", tz="UTC"), NUMBERS),
    (pa.list_(pa.string()), st.lists(TEXTS, max_size=3).map(tuple)),
]


@settings(deadline=None)
@given(st.data())
@pytest.mark.parametrize(("kind", "cells"), KINDS, ids=lambda value: str(value)[:12])
def test_a_column_is_what_pyarrow_makes_of_the_values(kind, cells, data):
    cell = cells if pa.types.is_list(kind) else st.none() | cells
    values = data.draw(st.lists(cell, max_size=20))
    made = as_column(values, kind)
    made.validate(full=True)
    assert made.type == kind
    assert made.equals(pa.array(values, kind))
    assert made.null_count == sum(value is None for value in values)


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.just("\0"), max_size=8)))
def test_strings_that_are_put_together_and_cut_are_the_same(cells):
    data, made = as_strings(cells)
    made.validate(full=True)
    assert made.equals(pa.array(cells, pa.string()))
    assert data == "\0".join(cells).encode()


@pytest.mark.parametrize("cell", [None, 1, b"x", ["x"]])
def test_what_is_no_string_is_not_taken_for_one(cell):
    with pytest.raises(TypeError):
        as_strings(["a", cell])


def test_every_type_that_is_written_is_one_that_is_tried_here():
    written = {
        field.type
        for schema in (text_schema(), image_schema(), verdict_schema())
        for field in schema
    }
    assert written <= {kind for kind, _ in KINDS}


def test_a_table_has_the_columns_of_its_schema_in_their_order():
    schema = pa.schema([("b", pa.int64()), ("a", pa.string())])
    table = as_table({"a": ("x", None), "b": (1, 2), "more": (0, 0)}, schema)
    assert table.schema == schema
    assert table.to_pylist() == [{"b": 1, "a": "x"}, {"b": 2, "a": None}]


def test_more_bytes_than_a_column_holds_are_refused(monkeypatch):
    monkeypatch.setattr(columns, "MOST_BYTES", 10)
    assert as_column(["x" * 10], pa.string()).to_pylist() == ["x" * 10]
    with pytest.raises(OverflowError, match="11 bytes"):
        as_column(["x" * 10, "y"], pa.string())


def test_records_are_written_and_the_catalog_is_made_without_pandas(tmp_path):
    code = """
        import sys
        from pathlib import Path
        from mimicit import catalog
        from mimicit.schema import Verdict
        from mimicit.store import Store
        from tests.builders import record
        store = Store.open(Path(sys.argv[1]) / "data", create=True)
        with store.writing("test"):
            store.add([record(1)])
            store.add([record(1), record(2)])
            store.add_verdicts(
                [Verdict(record="a", filter="f", reason="r", recipe="c", recipe_digest="d")])
        assert "duckdb" not in sys.modules
        catalog.sync(store.path)
        assert "pandas" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), tmp_path], check=True, timeout=60)
