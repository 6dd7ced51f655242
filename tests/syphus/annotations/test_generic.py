"""Anybody's files: jsonl, csv, parquet, sql."""

import datetime
import decimal
import json

import pytest

from syphus.annotations import Options, read
from syphus.annotations.context import Context, Picture, Problem, Segment, Thing
from syphus.errors import AnnotationError
from tests.syphus.annotations.samples import OURS, write, write_lines


def split(path, format=None, **options):
    items = list(read([path], format=format, options=Options(**options)))
    return (
        [item for item in items if isinstance(item, Context)],
        [item for item in items if isinstance(item, Problem)],
    )


def parquet(path, **columns):
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def test_our_own_lines(tmp_path):
    match = {
        "video": "m/match.mp4",
        "span": ["00:00:10", 5],
        "segments": [
            {"start": 4, "end": 1.5, "text": "They meet."},
            {"text": "x", "objects": ["cup"]},
        ],
    }
    pair = {
        "id": 5,
        "pictures": [
            "a.png",
            {"name": "b.png", "captions": ["B."], "objects": OURS["objects"], "facts": {"x": 1}},
        ],
        "facts": {"place": "y"},
    }
    contexts, problems = split(write_lines(tmp_path / "a.jsonl", [OURS, match, pair]))  # fmt: skip
    kite = Thing("kite", (0, 0, 0.5, 1))
    assert contexts == [
        Context("kite", (Picture("kite.png"),), ("A kite.",), (kite,), source="a.jsonl:1"),
        Context(
            "match", segments=(Segment("They meet.", 1.5, 4), Segment("x", objects=("cup",))), video="m/match.mp4",
            span=(5, 10), source="a.jsonl:2",
        ),
        Context(
            "5", (Picture("a.png"), Picture("b.png", ("B.",), (kite,), {"x": 1})), facts={"place": "y"}, source="a.jsonl:3",
        ),
    ]  # fmt: skip
    assert problems == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": None, "image": None}, "no id, no picture and no video"),
        ({"captions": [], "objects": []}, "nothing is said about it"),
        ({"pictures": ["b.png"]}, "`image` is short for one of `pictures`"),
        ({"objects": 5}, "5 is not a list"),
        ({"span": [1, 2, 3]}, "unpack"),
        ({"deep": json.loads("[" * 900 + "]" * 900)}, "another shape"),
        ({"id": [1]}, "is not a text"),
        ({"pictures": [{"captions": ["x"]}], "image": None}, "it has no 'name'"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path, change, said):
    contexts, problems = split(write_lines(tmp_path / "a.jsonl", [OURS, OURS | change]))
    assert len(contexts) == 1
    assert [problem.where for problem in problems] == ["a.jsonl:2"]
    assert said in problems[0].reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"captions": ["A kite.", ""]}, "caption 1: the text is empty"),
        ({"objects": [{"name": "kite", "box": [0, 0, 1]}]}, "object 0: a box of 3 numbers"),
        ({"objects": [{"box": [0, 0, 1, 1]}]}, "object 0: None is not a text"),
        ({"segments": [{"text": "x", "start": 1, "end": "y"}]}, "segment 0: 'y' is not a number"),
    ],
)
def test_parts_that_cannot_be_used_are_left_out(tmp_path, change, said):
    [context], [problem] = split(write_lines(tmp_path / "a.jsonl", [OURS | change]))
    assert context.captions == ("A kite.",)
    assert problem == Problem("a.jsonl:1", said)


def test_other_keys_are_facts_or_what_they_are_mapped_to(tmp_path):
    row = {
        "file": {"name": "a.png", "size": 5},
        "meta": {"text": "A gate."},
        "year": 1990,
        "facts.where": "here",
        "facts": {"year": 5},
        "none": None,
    }
    columns = {"image": "file.name", "captions": "meta.text", "facts.about": "meta.text"}
    [context], problems = split(write_lines(tmp_path / "a.jsonl", [row]), columns=columns)  # fmt: skip
    assert (context.id, context.pictures, context.captions) == (
        "a",
        (Picture("a.png"),),
        ("A gate.",),
    )
    assert context.facts == {"about": "A gate.", "year": 1990, "where": "here"}
    assert problems == []


@pytest.mark.parametrize("boxes", ["xyxy", "xywh", "xyxy_pixels", "xywh_pixels"])
def test_boxes_of_every_kind(tmp_path, boxes):
    corner = [0.5, 0.75] if "wh" in boxes else [0.75, 1.0]
    scale = (200, 100) if "pixels" in boxes else (1, 1)
    sides = [0.25 * scale[0], 0.25 * scale[1], corner[0] * scale[0], corner[1] * scale[1]]
    row = {"image": "a.png", "w": 200, "h": 100, "objects": [{"category": "x", "bbox": sides}]}
    columns = {"width": "w", "height": "h"}
    [context], _ = split(write_lines(tmp_path / "a.jsonl", [row]), boxes=boxes, columns=columns)
    assert context.objects == (Thing("x", (0.25, 0.25, 0.75, 1)),)


def test_pixels_need_a_size(tmp_path):
    row = {"image": "a.png", "captions": "x", "objects": [{"name": "x", "box": [1, 2, 3, 4]}]}
    [context], [problem] = split(write_lines(tmp_path / "a.jsonl", [row]), boxes="xyxy_pixels")
    assert context.objects == ()
    assert "without width and height" in problem.reason


def test_rows_of_a_table_about_one_picture_come_together(tmp_path):
    objects = json.dumps([{"name": "x", "box": [0, 0, 1, 1]}]).replace('"', '""')
    lines = [
        "image,captions,colour,objects", f'a.png,A gate.,red,"{objects}"', "b.png,[male] sings,,", "a.png,A red gate.,blue,",
        "a.png,A gate.,red,", ",x,,", "c.png,,,", "d.png",
    ]  # fmt: skip
    contexts, problems = split(write(tmp_path / "a.csv", "\n".join(lines)))
    thing = Thing("x", (0, 0, 1, 1))
    assert contexts == [
        Context("a", (Picture("a.png"),), ("A gate.", "A red gate."), (thing,), facts={"colour": "red"}, source="a.csv:2"),
        Context("b", (Picture("b.png"),), ("[male] sings",), source="a.csv:3"),
    ]  # fmt: skip
    assert problems == [
        Problem("a.csv:6", "it has no id, no picture and no video to be named by"),
        Problem("a.csv:8", "1 columns; the header has 4"),
        Problem("a.csv:7", "nothing is said about it"),
    ]


def test_pictures_of_one_id_in_a_table_keep_their_captions(tmp_path):
    text = "id\timage\tcaptions\np\t1.png\tThe gate is open.\np\t2.png\tThe gate is shut.\np\t\tBoth are old.\n"
    [context], _ = split(write(tmp_path / "a.tsv", text))
    assert context.pictures == (
        Picture("1.png", ("The gate is open.",)),
        Picture("2.png", ("The gate is shut.",)),
    )
    assert (context.id, context.captions) == ("p", ("Both are old.",))


def test_columns_that_are_not_there_are_a_sentence(tmp_path):
    path = write(tmp_path / "a.csv", "name,text\na.png,A gate.\n")
    with pytest.raises(
        AnnotationError, match=r"no column id, image, pictures or video; its columns are name, text"
    ):
        read([path])
    with pytest.raises(
        AnnotationError, match=r"no column 'file' for image; its columns are name, text"
    ):
        read([path], options=Options(columns={"image": "file"}))
    [context], _ = split(path, columns={"image": "name", "captions": "text"})
    assert (context.id, context.captions) == ("a", ("A gate.",))
    with pytest.raises(AnnotationError, match=r"no column .*; its columns are none"):
        read([write(tmp_path / "b.csv", b"\xff\xfe")], format="csv")


def test_parquet_rows_are_contexts_and_bytes_stay_where_they_are(tmp_path):
    path = parquet(
        tmp_path / "a.parquet",
        image=[{"bytes": b"1234", "path": "a.png"}, {"bytes": b"5678", "path": "b.png"}],
        captions=[["A gate."], ["A wall.", "x"]],
        raw=[b"1", b"2"],
        ratio=[float("nan"), float("inf")],
        day=[datetime.date(2020, 1, 2), None],
        price=[decimal.Decimal("1.50"), None],
    )
    assert len(read([path])) == 2
    contexts, problems = split(path)
    assert contexts == [
        Context("a", (Picture("a.png"),), ("A gate.",), facts={"day": "2020-01-02", "price": 1.5}, source="a.parquet#0"),
        Context("b", (Picture("b.png"),), ("A wall.", "x"), source="a.parquet#1"),
    ]  # fmt: skip
    assert problems == []
    [first, _], _ = split(path, columns={"image": "image.path"})
    assert first.pictures == (Picture("a.png"),)


def test_a_broken_parquet_file_is_a_sentence(tmp_path):
    path = write(tmp_path / "a.parquet", b"PAR1 and then nothing")
    with pytest.raises(AnnotationError, match=r"a\.parquet' is not valid Parquet"):
        read([path])


def test_a_query_s_rows_are_contexts(tmp_path):
    path = parquet(
        tmp_path / "a.parquet",
        file=["b.png", "a.png", "b.png"],
        text=["B.", "A.", "Bb."],
        n=[1, 2, 3],
    )
    query = f"""
        SELECT file AS image, list(text ORDER BY n) AS captions, sum(n) AS total, {{'k': DATE '2020-01-02'}} AS more
        FROM '{path}' GROUP BY ALL ORDER BY image;  -- by name
    """
    reading = read([query])
    assert len(reading) == 2
    assert list(reading) == [
        Context("a", (Picture("a.png"),), ("A.",), facts={"total": 2, "more": {"k": "2020-01-02"}}, source="query#0"),
        Context("b", (Picture("b.png"),), ("B.", "Bb."), facts={"total": 4, "more": {"k": "2020-01-02"}}, source="query#1"),
    ]  # fmt: skip
    [*_, last] = read(
        [f"FROM '{path}'"], options=Options(columns={"image": "file", "captions": "text"})
    )
    assert (last.id, last.captions) == ("b_2", ("Bb.",))
    assert [context.id for context in read(["SELECT 'a;' AS id, 'A' AS captions; -- b\n;;"])] == [
        "a;"
    ]
    [context] = read([write(tmp_path / "q.sql", "select 'c.png' as image, 'C.' as captions")])
    assert context.captions == ("C.",)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT 1 AS id; SELECT 2", "not one SELECT statement"),
        ("WITH x AS (SELECT 1 AS id) SELECT * FROM y", "cannot be run"),
        ("SELECT 'a' AS id FROM", "not valid SQL"),
        ("SELECT 'a' AS name", "no column id, image"),
        ("SELECT * FROM 'nothing.csv'", "cannot be run"),
        ("SELECT * FROM here", "cannot be run"),
        ("FROM (COPY x TO 'y')", "not valid SQL"),
    ],
)
def test_queries_that_cannot_be_run_are_sentences(query, said):
    here = [1]  # what a query must not see
    with pytest.raises(AnnotationError, match=said):
        read([query])
    assert here


@pytest.mark.parametrize(
    "query",
    ["COPY (SELECT 1) TO 'x.csv'", "CREATE TABLE x (i INTEGER)", "ATTACH 'x'", "PRAGMA version"],
)
def test_only_reading_queries_are_run(query, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AnnotationError, match=r"not one SELECT statement|no column id"):
        list(read([query], format="sql"))
    assert not list(tmp_path.iterdir())


def test_a_row_that_the_query_cannot_compute_ends_it(tmp_path):
    items = list(
        read(["SELECT 'a' AS id, CAST(x AS INTEGER) AS captions FROM (VALUES ('y')) AS t(x)"])
    )
    assert [item.where for item in items] == ["query#0"]
    assert "breaks off" in items[0].reason


def test_files_and_queries_do_not_mix(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [OURS])
    with pytest.raises(AnnotationError, match="either files or SQL"):
        read([path, "SELECT 1 AS id"])
    with pytest.raises(AnnotationError, match="is SQL"):
        read(["SELECT 1 AS id"], format="csv")
    with pytest.raises(AnnotationError, match=r"no annotation file 'select\.csv'"):
        read(["select.csv"])
    with pytest.raises(AnnotationError, match="no annotation file"):
        read(["x" * 5_000])
    with pytest.raises(AnnotationError, match="no annotation files"):
        read([])
    assert list(read([str(path)])) == list(read([path]))


def test_several_queries_are_read_one_after_the_other():
    contexts = list(
        read(["SELECT 'a' AS id, 'A' AS captions", "SELECT 'a' AS id, 'B' AS captions"])
    )
    assert [(context.id, context.source) for context in contexts] == [
        ("a", "query 1#0"),
        ("a_2", "query 2#0"),
    ]
