"""`syphus data decontaminate` from end to end."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from mimicit.cli import data
from tests.mimicit.curate.drawn import encoded, one, photographs, stored

LONG = "Which of the two trains that leave the station at nine in the morning comes to the harbour first?"
BAD = "<script>alert(1)</script> | [x](http://evil) `code`"


@pytest.fixture
def bench(store, tmp_path, photos):
    images = photographs(photos)
    (tmp_path / "coffee.jpg").write_bytes(encoded(images["coffee.png"], quality=80))
    rows = [
        {"question": f"{LONG} {BAD}", "answer": "the red one"},
        {"question": "What is it?", "answer": BAD, "image": "coffee.jpg"},
    ]
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(rows))
    records = [
        one("T_INS_text", instruction=f"{LONG} {BAD}", answer="The red one."),
        one("T_INS_both", "T_IMG_coffee", instruction="What is it?", answer="It is coffee."),
        one("T_INS_picture", "T_IMG_coffee", instruction="Where is it?", answer="On a table."),
        one("T_INS_good", "T_IMG_chelsea", instruction="What is it?", answer="It is a cat."),
    ]
    with store.writing("test"):
        store.add_images(
            stored(f"T_IMG_{name}", encoded(images[f"{name}.png"], quality=50))
            for name in ("coffee", "chelsea")
        )
        store.add(records)
        store.sync()
    return path


def run(*arguments):
    return CliRunner().invoke(data, [*map(str, arguments)])


def rows(store, query):
    with store.reading() as connection:
        return connection.execute(query).fetchall()


def test_the_report_counts_by_text_by_picture_and_by_both(store, bench):
    result = run("decontaminate", bench, "-d", store.path, "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["benchmarks"] == [
        {"benchmark": "bench", "items": 2, "with_pictures": 1, "records": 3, "both": 1, "text": 2, "picture": 2}
    ]  # fmt: skip
    assert (said["found"], said["accepted"], said["written"]) == (3, 3, None)
    assert rows(store, "SELECT count(*) FROM verdicts") == [(0,)]


def test_write_and_undo(store, bench):
    result = run("decontaminate", bench, "-d", store.path, "--write")
    assert "3 verdicts were written under the recipe 'decontaminate'" in result.stdout
    assert rows(store, "SELECT id FROM accepted") == [("T_INS_good",)]
    said = json.loads(run("decontaminate", bench, "-d", store.path, "--json").stdout)
    assert (said["found"], said["accepted"]) == (3, 0)
    assert run("decontaminate", "--undo", "-d", store.path).exit_code == 0
    assert rows(store, "SELECT count(*) FROM accepted") == [(4,)]


def test_pictures_alone_need_not_be_dropped(store, bench):
    run("decontaminate", bench, "-d", store.path, "--write", "--no-picture-alone")
    assert rows(store, "SELECT id FROM accepted ORDER BY id") == [
        ("T_INS_good",),
        ("T_INS_picture",),
    ]


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.sources = set(), []

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]


def test_the_page_shows_both_pictures_and_runs_nothing(store, bench, tmp_path):
    path = tmp_path / "report.html"
    assert run("decontaminate", bench, "-d", store.path, "-o", path).exit_code == 0
    tags = Tags()
    tags.feed(path.read_text())
    assert not tags.seen & {"script", "a", "iframe", "link", "form"}
    assert len(tags.sources) == 4  # two records with their picture, and the benchmark's beside
    assert all(source.startswith("data:image/jpeg;base64,") for source in tags.sources)


def test_markdown_makes_no_tag_no_link_and_no_cell(store, bench, tmp_path):
    path = tmp_path / "report.md"
    assert run("decontaminate", bench, "-d", store.path, "-o", path).exit_code == 0
    text = path.read_text()
    assert "<script>" not in text
    assert "\\[x](http://evil)" in text
    table = [line for line in text.splitlines() if line.startswith("| ") and "T_INS" in line]
    assert all(line.replace("\\|", "").count("|") == 4 for line in table)


def test_bad_rows_are_told_and_the_exit_code_says_so(store, bench):
    bench.with_suffix(".jsonl").write_text('{"question": "Why?"}\n{broken\n')
    result = run("decontaminate", bench.with_suffix(".jsonl"), "-d", store.path)
    assert result.exit_code == 3
    assert "line 2: broken JSON" in result.stderr


def test_a_report_of_another_kind_is_refused_before_anything_is_read(store, bench, tmp_path):
    result = run("decontaminate", bench, "-d", store.path, "-o", tmp_path / "report.pdf")
    assert "a report is .json, .md or .html" in str(result.exception)


def test_texts_and_names_do_nothing_to_a_terminal(store, bench):
    bad = "\x1b]0;owned\x07 \x1b[2J"
    bench.write_text(json.dumps([{"question": f"{LONG} {bad}", "answer": "the red one"}, [1]]))
    with store.writing("test"):
        store.add([one("T_INS_bad", instruction=f"{LONG} {bad}", answer="Red.")])
        store.sync()
    result = run("decontaminate", bench.rename(bench.parent / "b\x1b[2J.json"), "-d", store.path)
    assert r"\x1b" in result.output
    assert "\x1b" not in result.output
