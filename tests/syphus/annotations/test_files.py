import gzip
import json
import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syphus.annotations import files
from syphus.annotations.context import Context, Problem
from syphus.annotations.groups import Grouped, Unique
from syphus.errors import AnnotationError
from tests.syphus.annotations.samples import write

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])) | st.floats()
    | st.sampled_from(["NaN", '"NaN, NaN', "\\", '\\"', "Infinity", "-Infinity]", "x\\\\"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("aN\\\"", max_size=3), inner, max_size=4),
)  # fmt: skip


def named(value):
    """Put the texts where Python writes its bare words."""
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value).removeprefix("-") if math.isnan(value) else json.dumps(value)
    if isinstance(value, list):
        return [named(inner) for inner in value]
    if isinstance(value, dict):
        return {key: named(inner) for key, inner in value.items()}
    return value


@given(value=values, size=st.integers(1, 9))
def test_bare_nan_and_infinity_become_texts_and_nothing_else_changes(value, size, tmp_path_factory):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    with files.open_file(path) as file:
        source = files._JsonBytes(file)
        plain = b"".join(iter(lambda: source.read(size), b""))
    assert json.loads(plain) == named(value)


def test_lines_that_cannot_be_read_are_named_and_the_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LINE_LIMIT", 1024**2)
    rows = [b'{"a": 1}', b"", b"\xff", b"[1]", b'{"a": NaN}', b"x" * 3_000_000, b'{"a": 2}']
    path = write(tmp_path / "a.jsonl", b"\r\n".join(rows))
    found = list(files.json_lines(path))
    assert [row for row in found if not isinstance(row, Problem)] == [
        ("a.jsonl:1", {"a": 1}), ("a.jsonl:7", {"a": 2}),
    ]  # fmt: skip
    assert [(row.where, row.reason[:28]) for row in found if isinstance(row, Problem)] == [
        ("a.jsonl:3", "the line is not valid UTF-8"),
        ("a.jsonl:4", "the line is not a JSON objec"),
        ("a.jsonl:5", "the line is not valid JSON: "),
        ("a.jsonl:6", "the line is longer than 1 Mi"),
    ]


def test_rows_of_a_table_that_cannot_be_read_are_named(tmp_path):
    long = b'"' + b"x" * 200_000 + b'",1'
    rows = [b"a,b", b'"two\nlines",1', b"1", b"\xff,2", b"", long, b"3,4"]
    found = list(files.table(write(tmp_path / "a.csv", b"\n".join(rows))))
    assert found[0] == ("a.csv:2", {"a": "two\nlines", "b": "1"})
    assert found[-1] == ("a.csv:8", {"a": "3", "b": "4"})
    assert [(problem.where, problem.reason) for problem in found[1:-1]] == [
        ("a.csv:4", "1 columns; the header has 2"),
        ("a.csv:5", "the line is not valid UTF-8"),
        ("a.csv:7", "the line cannot be read: field larger than field limit (131072)"),
    ]


@pytest.mark.parametrize("rows", [files.lines, files.table])
def test_what_comes_before_a_break_is_used(tmp_path, rows):
    packed = gzip.compress("".join(f"{n},{n * 7919 % 1000}\n" for n in range(50_000)).encode())
    found = list(rows(write(tmp_path / "a.csv.gz", packed[:-20_000])))
    assert len(found) > 1_000
    assert "breaks off here" in found[-1].reason
    assert not any(isinstance(row, Problem) for row in found[:-1])


def test_a_document_that_breaks_off_is_a_sentence(tmp_path):
    path = write(tmp_path / "a.json", '[{"a": 1}, {"a"')
    with pytest.raises(
        AnnotationError, match=r"not valid JSON: .* \(after 1 rows\); nothing was read"
    ):
        list(files.items(path))
    packed = write(tmp_path / "a.json.gz", gzip.compress(b"[" + b"1," * 9_999 + b"1]")[:-9])
    with pytest.raises(AnnotationError, match=r"not valid JSON"):
        list(files.items(packed))
    with pytest.raises(AnnotationError, match=r"cannot be unpacked"):
        list(files.items(write(tmp_path / "b.json.gz", b"[1, 2]")))


def test_groups_keep_the_order_in_which_they_appeared(tmp_path):
    path = write(tmp_path / "a.json", [["b", 1], ["a", 2], ["b", 3], 4, ["c", None], ["a", 5]])

    def parse(row):
        key, value = row
        yield (key, value) if value else f"{key} is nothing"

    def make(key, rows):
        yield (key, [row.data for row in rows], rows[0].where)

    reading = Grouped([path], files.items, parse, make)
    assert len(reading) == 2
    assert list(reading) == [
        Problem("a.json#3", "it has another shape than the rows of this format"),
        Problem("a.json#4", "c is nothing"),
        ("b", [1, 3], "a.json#0"),
        ("a", [2, 5], "a.json#1"),
    ]


def test_memory_does_not_grow_with_the_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("syphus.annotations.groups.BATCH", 100)

    def peak(count):
        lines = "".join(f'{{"key": "{n % (count // 2)}", "n": {n}}}\n' for n in range(count))
        path = write(tmp_path / f"{count}.jsonl", lines)
        del lines
        tracemalloc.start()
        reading = Grouped(
            [path], files.json_lines, lambda row: [(row["key"], row["n"])], lambda key, rows: [(key, len(rows))]
        )  # fmt: skip
        assert sum(rows for _, rows in Unique(reading)) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)  # what is loaded once
    small, large = peak(1_000), peak(8_000)
    assert large < 1.3 * small


class Listed(list):
    """A reading of what is in a list; an error in it is raised."""

    def __iter__(self):
        for item in super().__iter__():
            if isinstance(item, Exception):
                raise item
            yield item


def uniquely(ids):
    """Name as `Unique` does: each by its own name, or by the first number from 2 on that is free."""
    used, found = {}, []
    for wanted in ids:
        id_ = wanted
        while id_ in used:
            used[wanted] += 1
            id_ = f"{wanted}_{used[wanted]}"
        used[id_] = 1
        found.append(id_)
    return found


ids = st.lists(st.sampled_from(["a", "b", "a_2", "a_2_2", "b_3", "c"]) | st.none(), max_size=24)


@given(ids, st.integers(1, 5))
def test_ids_are_unique_however_many_are_looked_at_at_once(ids, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("syphus.annotations.groups.BLOCK", size)
        items = [Problem("there", "bad") if id_ is None else Context(id_) for id_ in ids]
        found = list(Unique(Listed(items)))
    assert [item for item in found if isinstance(item, Problem)] == [
        Problem("there", "bad")
    ] * ids.count(None)
    assert [isinstance(item, Problem) for item in found] == [id_ is None for id_ in ids]
    named = [item.id for item in found if isinstance(item, Context)]
    assert named == uniquely([id_ for id_ in ids if id_ is not None])
    assert len(set(named)) == len(named)


def test_what_comes_before_an_error_is_passed_on():
    rest = iter(Unique(Listed([Context("a"), Context("a"), AnnotationError("broken")])))
    assert [next(rest).id, next(rest).id] == ["a", "a_2"]
    with pytest.raises(AnnotationError, match="broken"):
        next(rest)
