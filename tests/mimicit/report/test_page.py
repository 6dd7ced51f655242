import base64
import hashlib
import json
import os
import re
import warnings
from datetime import date, timedelta
from html import unescape
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mimicit.cli import data
from mimicit.curate import curate
from mimicit.curate.base import Measure
from mimicit.curate.filters import MEASURES
from mimicit.curate.recipe import load_recipe
from mimicit.errors import DatasetError, LockedError, MissingExtraError
from mimicit.report import asking, facts, making, page, plots
from mimicit.report.plots import compact, quantile
from mimicit.report.svg import breadth, drawing, label
from mimicit.report.svg import written as as_svg
from mimicit.report.writing import write_report
from tests.builders import image, record
from tests.mimicit.report.hostile import EVIL, Page, fill

HANDLERS = re.compile(r"on[a-z]+", re.IGNORECASE)
FETCHES = {
    "src",
    "href",
    "srcset",
    "data",
    "action",
    "formaction",
    "poster",
    "background",
    "xlink:href",
    "style",
}


@pytest.fixture
def hostile(store, photos):
    fill(store, image(photos, "chelsea.png"))
    return store


@pytest.fixture
def told(store, photos):
    cat = image(photos, "chelsea.png")
    records = [record(n, image_ids=(cat.id,)) for n in range(12)]
    records += [record(20 + n, answer="…", image_ids=(cat.id,)) for n in range(5)]
    with store.writing("test"):
        store.add_images([cat])
        store.add(records)
        store.sync()
    return store


# Safety


def test_texts_of_a_dataset_are_texts(hostile, written):
    html = written(hostile, title=EVIL)
    shown = Page(html)
    assert not [
        name
        for name, _ in shown.elements
        if name in {"script", "iframe", "object", "embed", "link", "base"}
    ]
    assert EVIL in shown.text()
    assert EVIL in shown.text("title")
    assert "{{7*7}}" in shown.text()


def test_no_attribute_runs_or_fetches(hostile, written):
    for _, attributes in Page(written(hostile)).elements:
        assert not [name for name in attributes if HANDLERS.fullmatch(name)]
        for name in FETCHES & set(attributes):
            assert name in ("src", "href"), attributes
            assert attributes[name].startswith(("data:image/jpeg;base64,", "#")), attributes


def test_the_policy_allows_its_style_sheet_and_nothing_else(hostile, written):
    html = written(hostile)
    [style] = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    [policy] = [
        m["content"]
        for m in Page(html).of("meta")
        if m.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_control_characters_do_not_reach_the_page(hostile, written):
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]", written(hostile))


def test_only_a_language_is_given_as_one(hostile, written):
    assert {e.get("lang") for _, e in Page(written(hostile)).elements} == {None, "en"}
    assert not page.is_language('en"><b>')
    assert page.is_language("zh-Hant")


def test_no_folder_of_this_machine_is_named(hostile, written):
    assert str(hostile.path.parent) not in written(hostile)


# Order


def test_headings_go_down_one_step_at_a_time(hostile, written):
    levels = [
        int(name[1]) for name, _ in Page(written(hostile)).elements if re.fullmatch("h[1-6]", name)
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= before + 1 for before, later in pairwise(levels))


def test_tables_pictures_and_figures_say_what_they_are(hostile, written):
    shown = Page(written(hostile))
    assert len(shown.of("caption")) == len(shown.of("table")) > 5
    assert all(e["alt"] for e in shown.of("img"))
    plots = [e for e in shown.of("svg") if e.get("class") == "plot"]
    assert plots
    assert all(e["role"] == "img" and e["aria-label"] for e in plots)
    assert all(e.get("aria-hidden") for e in shown.of("svg") if e not in plots)
    assert shown.of("html") == [{"lang": "en"}]


def test_names_are_unique_and_links_lead_somewhere(told, written):
    html = written(told)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    links = re.findall(r'(?:href="#|url\(#)([^")]+)', html)
    assert links
    assert set(links) <= set(ids)


# Contents


def test_the_page_says_what_the_recipe_did(told, written):
    curate(told, load_recipe("starter"))
    html = written(told)
    shown = Page(html).text()
    assert "17 records came in, 12 (70.6 %) went through" in shown
    assert html.count('class="reason"') == 3
    assert "dropped 5" in shown


def test_a_page_of_nothing_says_so(store, written):
    with store.writing("test"):
        store.sync()
    shown = Page(written(store)).text()
    for said in (
        "There are no records yet.",
        "holds no pictures",
        "No recipe was asked",
        "no records to show",
    ):
        assert said in shown


def test_the_same_dataset_gives_the_same_page(told, written):
    assert written(told) == written(told)


def test_long_texts_are_cut(store, written):
    with store.writing("test"):
        store.add([record(0, answer="word " * 50_000)])
        store.sync()
    html = written(store)
    assert len(html) < 200_000
    assert "more characters" in html


# Sentences


def answers(html):
    """Return the answers of the page by their question."""
    pairs = re.findall(r"<dt>([^<]*\?)</dt><dd[^>]*>(.*?)</dd>", html, re.DOTALL)
    return {question: unescape(answer) for question, answer in pairs}


def test_one_is_said_as_one(store, photos, written):
    cat = image(photos, "chelsea.png")
    with store.writing("test"):
        store.add_images([cat])
        store.add([record(0, image_ids=(cat.id,), source="a.json#1")])
        store.sync()
    html = written(store)
    assert "1 question with answers about 1 picture." in Page(html).text("p")
    said = answers(html)
    assert said["What is in it?"].startswith(
        "1 question with answers, about 1 picture; accepted: 1."
    )
    assert said["Where do texts and pictures come from?"] == "Records name 1 source: a.json (1)."
    assert not re.search(r"\b1 (questions|pictures|sources|records|conversations)\b", " ".join(said.values()))  # fmt: skip


def test_of_nothing_nothing_is_claimed(store, written):
    with store.writing("test"):
        store.sync()
    said = answers(written(store))
    assert said["What is in it?"] == "There are no records yet."
    assert "imported" not in " ".join(said.values())
    assert "Every picture" not in said["What is missing or damaged?"]


def test_tasks_that_are_not_named_are_counted(store, written, monkeypatch):
    monkeypatch.setattr(facts, "TASKS", 8)
    with store.writing("test"):
        store.add([record(n, task=f"t{n % 40:02d}") for n in range(90)])
        store.sync()
    said = answers(written(store))["What is in it?"]
    assert "t05 (3), and 34 others. Languages: en (90)." in said


def test_a_name_from_right_to_left_turns_nothing_around_it(store, written):
    with store.writing("test"):
        store.add([record(n, task="وصف\u202e\u2069" * 40) for n in range(2)])
        store.sync()
    said = answers(written(store))["What is in it?"]
    [name] = re.findall(r"Tasks: \u2068([^\u2068\u2069]*)\u2069 \(2\)", said)
    assert len(name) == 60
    assert "\u202e" not in name


def test_a_small_cost_is_not_nothing_and_an_unknown_one_is_said(told, written, monkeypatch):
    def spent(connection):
        found = gather(connection)
        found.totals |= {"replies": 9, "cost_usd": 0.0042, "unpriced": 2}
        return found

    gather = making.gather
    monkeypatch.setattr(making, "gather", spent)
    said = answers(written(told))["What did it cost?"]
    assert "for 0.0042 USD; the price of 2 of 9 replies is not known." in said


def test_what_is_cut_off_is_said_in_its_own_direction():
    assert page.cut("وصف" * 9, 6) == "وصفوصف \u2066… (21 more characters)\u2069"


def test_the_others_do_not_make_the_bars_of_tasks_short(store, written, monkeypatch):
    monkeypatch.setattr(facts, "TASKS", 1)
    with store.writing("test"):
        store.add([record(n, task="often" if n < 3 else f"t{n}") for n in range(40)])
        store.sync()
    [table] = re.findall(r"Records by task</caption>.*?</table>", written(store), re.DOTALL)
    assert re.findall(r'<rect class="f-c0" width="([^"]+)"', table) == ["100.00"]


# Verbs and objects


def _said(batch):
    asked = [text.lower().rstrip("?.").split() for text in batch["instruction"].to_pylist()]
    return {
        "kind": ["k"] * len(asked),
        "verb": [words[0] for words in asked],
        "object": [words[-1] for words in asked],
    }


ASKS = Measure(
    columns={"kind": "VARCHAR", "verb": "VARCHAR", "object": "VARCHAR"},
    reads=("instruction",),
    compute=_said,
)


@pytest.fixture
def asks(monkeypatch):
    monkeypatch.setitem(MEASURES, "asks", ASKS)


@pytest.fixture
def asked(store):
    texts = (
        ["Describe the dog."] * 6
        + ["Describe the cat."] * 3
        + ["Count <b>.", "Describe it $x$.", "数 猫."]
    )
    with store.writing("test"):
        store.add([record(n, instruction=text) for n, text in enumerate(texts)])
        store.sync()
    return store


def verbs(store, measure=ASKS):
    with store.reading() as connection:
        found = asking.gather(connection, store, measure, 0)
        return found and found.verbs()


def test_verbs_come_with_their_objects(asked, asks, written):
    html = written(asked)
    assert verbs(asked) == [
        ("describe", 10, [("dog", 6), ("cat", 3), ("$x$", 1)]), ("count", 1, [("<b>", 1)]), ("数", 1, [("猫", 1)]),
    ]  # fmt: skip
    assert "What is asked" in Page(html).text("h2")
    assert {"describe", "dog", "$x$", "<b>"} <= set(Page(html).texts["text"])


def test_objects_beyond_the_fourth_are_a_gap(store, asks):
    with store.writing("test"):
        store.add([record(n, instruction=f"Show thing{n // 2}") for n in range(14)])
        store.sync()
    [(verb, total, objects)] = verbs(store)
    assert (verb, total, len(objects)) == ("show", 14, 4)


def test_what_was_measured_is_kept(asked, asks, written):
    written(asked)
    assert list((asked.path / "measures" / "asks.1").glob("*.parquet"))


@pytest.mark.parametrize("why", ["another writes", "too many are new"])
def test_a_sample_is_measured_where_all_cannot_be(asked, asks, written, monkeypatch, why):
    if why == "another writes":

        def locked(*_, **__):
            raise LockedError("another process")

        monkeypatch.setattr(type(asked), "writing", locked)
    else:
        monkeypatch.setattr(asking, "MOST_NEW", 3)
        monkeypatch.setattr(asking, "SAMPLE", 6)
    html = written(asked)
    assert not (asked.path / "measures" / "asks.1").exists()
    assert "What is asked" in Page(html).text("h2")
    assert ("a sample," in html) == (why == "too many are new")


def test_without_the_words_nothing_is_said_of_verbs(asked, written, monkeypatch):
    def missing(batch):
        raise MissingExtraError("nltk", "curate")

    monkeypatch.setitem(
        MEASURES, "asks", Measure(columns=ASKS.columns, reads=ASKS.reads, compute=missing)
    )
    assert "What is asked" not in Page(written(asked)).text("h2")


# Figures


def test_a_figure_holds_text_as_it_is():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with drawing(200, 100) as figure:
            axes = figure.add_subplot()
            axes.barh([0, 1, 2, 3], [1, 2, 3, 4])
            axes.set_yticks(
                [0, 1, 2, 3],
                [label(t) for t in ("$x^2$ \\frac", "图片 مرحبا", "<b>&", "a\x00\n\ud800b")],
            )
            svg = as_svg(figure, "p", "a title <i>")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert [t for t in texts if not t.isdigit()][-4:] == [
        "$x^2$ \\frac",
        "图片 مرحبا",
        "&lt;b&gt;&amp;",
        "a b",
    ]
    assert "style=" not in svg
    assert "&lt;i&gt;" in svg


def _spent(*days):
    return [{"day": date(2026, 1, 1) + timedelta(n), "model": "m", "usd": 2.0} for n in days]


def test_days_of_years_are_drawn_together():
    svg = plots.days(_spent(0, 1, 2, 3, 4, 5, 7, 700), "usd", "p", "USD by day", "USD")
    assert "1 Jan 2026 to 2 Dec 2027; a bar is 12 days" in svg
    assert "Jan 2027" in svg
    assert svg.count('class="f-c0"') == 2


def test_a_few_days_are_drawn_one_by_one_with_their_month():
    svg = plots.days(_spent(0, 1, 5), "usd", "p", "USD by day", "USD")
    assert "1 Jan 2026 to 6 Jan 2026<" in svg
    assert ">1 Jan</text>" in svg
    assert svg.count('class="f-c0"') == 3
    assert "1 Jan 2026<" in plots.days(_spent(0), "usd", "p", "USD by day", "USD")


def test_a_long_name_is_cut():
    assert label("n" * 300) == "n" * 23 + "…"


@pytest.mark.parametrize("letter", ["W", "n", "图", "ا", "i", "🦀"])
def test_a_name_takes_no_more_pixels_than_it_has(letter):
    assert breadth(label(letter * 300, 100)) <= 100
    assert len(label(letter * 300, 100)) >= 7


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (7, "7"),
        (0.5, "0.5"),
        (12.5, "12.5"),
        (0.125, "0.125"),
        (1_200, "1.2k"),
        (3e7, "30M"),
        (2.5e9, "2.5G"),
        (4e12, "4T"),
        (-1e300, "-1e+300"),
    ],
)
def test_numbers_of_an_axis_are_short(value, said):
    assert compact(value) == said


def test_quantiles_are_of_the_values_themselves():
    counted = {1: 50, 2: 49, 100: 1}
    assert [quantile(counted, share) for share in (0.01, 0.5, 0.51, 0.99, 1.0)] == [1, 1, 2, 2, 100]


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (0, 0, "–"),
        (0, 9, "0 %"),
        (9, 9, "100 %"),
        (1, 9_000, "< 0.1 %"),
        (8_999, 9_000, "> 99.9 %"),
        (1, 3, "33.3 %"),
    ],
)
def test_a_share_never_says_all_of_less_than_all(part, whole, said):
    assert page.share(part, whole) == said


# The command


def test_the_command_writes_a_page_and_says_so(told, tmp_path):
    path = tmp_path / "out.html"
    done = CliRunner().invoke(data, ["report", "-d", str(told.path), "-o", str(path), "--json"])
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert (said["path"], said["records"], said["samples"]) == (str(path), 17, 17)
    assert said["bytes"] == path.stat().st_size


def test_the_command_says_how_large_the_page_is(told, tmp_path):
    path = tmp_path / "out.html"
    done = CliRunner().invoke(data, ["report", "-d", str(told.path), "-o", str(path)])
    assert done.exit_code == 0
    kilobytes = f"{path.stat().st_size / 1000:.0f}"
    assert f"{path}  {kilobytes} kB: 17 records, 1 pictures, 17 samples" in done.stdout


def test_a_folder_that_is_not_there_is_named(told, tmp_path):
    with pytest.raises(DatasetError, match=r"there is no folder .*nowhere"):
        write_report(told, tmp_path / "nowhere" / "report.html")
    assert not list(tmp_path.glob("*.html"))


def test_a_page_takes_the_place_of_files_only(told, tmp_path):
    with pytest.raises(DatasetError, match="is a folder"):
        write_report(told, tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="is no file"):
        write_report(told, tmp_path / "pipe")
    (tmp_path / "link.html").symlink_to(tmp_path / "real.html")
    write_report(told, tmp_path / "link.html")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real.html").stat().st_size > 10_000


def test_what_does_not_fit_into_memory_is_not_put_where_a_writer_clears_up(
    told, written, monkeypatch
):
    def gather(connection):
        folders.extend(connection.execute("SELECT current_setting('temp_directory')").fetchall()[0])
        return gathered(connection)

    folders, gathered = [], facts.gather
    monkeypatch.setattr(facts, "gather", gather)
    written(told)
    [folder] = folders
    assert not folder.startswith(str(told.path))
    assert not Path(folder).exists()


def test_without_matplotlib_the_extra_is_named(told, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"mimicit\[review\]"):
        write_report(told, tmp_path / "report.html")


# Size


def test_a_page_stays_small_whatever_it_is_made_of(store, photos, written):
    cat = image(photos, "chelsea.png")
    text = '"' * 5_000  # five bytes each
    records = [
        record(n, instruction=text, answer=text, rejected=text, image_ids=(cat.id,))
        for n in range(600)
    ]
    with store.writing("test"):
        store.add_images([cat])
        store.add(records)
        store.sync()
    assert 3_000_000 < len(written(store, count=500)) <= 10_000_000


def test_pictures_are_left_out_of_a_page_that_would_be_too_large(told, written, monkeypatch):
    from mimicit.report import writing

    assert "left out" not in written(told)
    monkeypatch.setattr(writing, "PAGE_BYTES", 250_000)
    html = written(told)
    assert len(html.encode()) <= 250_000
    assert html.count("left out to keep this page small") > 3
    assert html.count("data:image/jpeg") > 3
