"""What holds for every format."""

import gzip
import subprocess
import sys
from importlib import import_module

import pytest

from syphus.annotations import READERS, Options, read
from syphus.annotations.context import Context, Problem
from syphus.errors import AnnotationError
from tests.syphus.annotations.samples import CASES, write, write_all


@pytest.fixture
def samples(tmp_path):
    return write_all(tmp_path)


def reader(name):
    return import_module(READERS[name])


def test_there_is_a_sample_of_every_format():
    assert {case.partition(" ")[0] for case in CASES} == set(READERS)


@pytest.mark.parametrize("case", CASES)
def test_every_sniffer_knows_its_own_and_no_other(samples, case):
    assert [name for name in READERS if reader(name).sniff(samples[case])] == [case.split(" ")[0]]


@pytest.mark.parametrize("case", [case for case in CASES if case != "csv (tabs)"])
def test_every_sample_is_read_without_being_named(samples, case):
    contexts = [item for item in read([samples[case]]) if isinstance(item, Context)]
    assert contexts
    assert len(read([samples[case]])) >= len(contexts)
    assert all(context.source.startswith((samples[case].name, "query")) for context in contexts)


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("csv (tabs)", "parquet")])
def test_a_byte_order_mark_and_gzip_change_nothing(samples, case, tmp_path):
    path = samples[case]
    packed = tmp_path / f"{path.name}.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + path.read_bytes()))

    def without_place(items):
        return [str(item).replace(packed.name, path.name) for item in items]

    assert without_place(read([packed])) == without_place(read([path]))


@pytest.mark.parametrize("case", CASES)
def test_a_reading_may_be_repeated(samples, case):
    options = Options(columns={"image": "name"}) if case == "csv (tabs)" else Options()
    reading = read([samples[case]], options=options)
    assert list(reading) == list(reading)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"{", b'[{"a"', b"[1, 2]", b"null", b"\x1f\x8b\x08broken", b"[" * 100_000, b'"', b"\n\n"],
)  # fmt: skip
def test_no_sniffer_raises_or_takes_what_is_broken(tmp_path, name, content):
    for file in ("x.json", "x.json.gz", "x"):
        assert reader(name).sniff(write(tmp_path / file, content)) is False
    assert reader(name).sniff(tmp_path / "missing") is False


@pytest.mark.parametrize(
    "case", [case for case in CASES if case not in ("csv (tabs)", "sql", "parquet")]
)
def test_a_file_cut_anywhere_ends_in_sentences(samples, case, tmp_path):
    content = samples[case].read_bytes()
    for end in range(0, len(content), 29):
        path = write(tmp_path / f"cut{samples[case].suffix}", content[:end])
        said = sentence(lambda path=path: list(read([path], format=case.partition(" ")[0])))
        assert said is None or str(path) in said


def sentence(call):
    try:
        call()
    except AnnotationError as error:
        return str(error)
    return None


def test_unknown_formats_and_those_that_do_not_fit_are_sentences(samples, tmp_path):
    with pytest.raises(AnnotationError, match=r"no format 'visst'; known: coco, .*vist"):
        read([samples["vist"]], format="visst")
    with pytest.raises(
        AnnotationError, match=r"activitynet\.json' is not in the format 'vist'; it looks like Act"
    ):
        read([samples["activitynet"]], format="vist")
    with pytest.raises(AnnotationError, match=r"x\.txt' is not in the format 'vist'$"):
        read([write(tmp_path / "x.txt", "nothing")], format="vist")
    with pytest.raises(AnnotationError, match="not valid JSON"):
        read([write(tmp_path / "x.json", "nothing")], format="vist")
    with pytest.raises(AnnotationError, match=r"no annotation format known here \(coco, llava"):
        read([write(tmp_path / "x.txt", "nothing")])


def test_columns_of_a_known_format_are_not_named_anew(samples):
    options = Options(columns={"captions": "caption"})
    with pytest.raises(AnnotationError, match="--column"):
        read([samples["flickr (table)"]], options=options)
    options = Options(columns={"captions": "caption"})
    [context] = read([samples["flickr (table)"]], format="csv", options=options)
    assert context.captions == ("A dog, running .",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "photo"}, "grouping 'photo'; known: story, album"),
        ({"boxes": "pixels"}, "xyxy_pixels"),
        ({"columns": {"caption": "x"}}, "no field 'caption'; known: id, "),
        ({"columns": {"facts.": "x"}}, "no field"),
    ],
)
def test_options_that_nobody_understands_are_sentences(options, said):
    with pytest.raises(AnnotationError, match=said):
        Options(**options)


def test_ids_are_unique_in_one_order_whatever_repeats(tmp_path):
    lines = [
        f'{{"id": "{id_}", "image": "a.png", "captions": ["x"]}}'
        for id_ in ["a", "a", "a_2", "b", "a"]
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    assert [context.id for context in read([path])] == ["a", "a_2", "a_2_2", "b", "a_3"]


def test_files_of_one_format_are_read_together_and_others_named(samples, tmp_path):
    more = write(
        tmp_path / "more.json", {"v_one": {"timestamps": [[20, 21]], "sentences": ["It falls."]}}
    )
    other = write(tmp_path / "other.json", [])
    problem, context = read([samples["activitynet"], more, other])
    assert problem == Problem("other.json", "the file has no rows of this format")
    assert [segment.start for segment in context.segments] == [0.5, 9.0, 20.0]


def test_looking_at_formats_loads_nothing_heavy():
    code = "import sys, syphus.annotations; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"ijson", "orjson", "duckdb", "pyarrow", "pydantic"} & set(loaded)
