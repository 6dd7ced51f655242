"""What `syphus data stats` counts, and how it lays it out."""

import datetime
import json

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from mimicit.cli import data
from mimicit.commands.stats import ASCII, BLOCKS, bars_for, report, spark, table
from mimicit.schema import Verdict
from mimicit.stats import BARS, stats
from tests.builders import image, record
from tests.mimicit.test_catalog import DAY, begin, put


def judged(number, judge, marks):
    words = ("grounded", "answerable", "correct", "useful")
    reason = ", ".join(f"{word} {mark}" for word, mark in zip(words, marks, strict=True))
    return Verdict(
        record=f"R{number}", filter="judge", reason=reason, recipe=f"judge:{judge}", recipe_digest="d",
        score=sum(marks) / 4, rejects=False,
    )  # fmt: skip


@pytest.fixture
def filled(store, photos):
    with store.writing("test"):
        store.add_images([image(photos, "chelsea.png")])
        store.add(
            [
                *(
                    record(n, id=f"R{n}", answer=" ".join(["word"] * (n + 1)), image_ids=["p"] * (1 + n % 3))
                    for n in range(10)
                ),
                record(10, id="Z", language="zh", instruction="这是什么？", answer="一只猫。"),
            ]
        )  # fmt: skip
        store.add_verdicts(
            [judged(n, judge, (5 - n % 3, 4, 5, 3)) for n in range(8) for judge in ("a", "b")]
            + [Verdict(record="R1", filter="f", reason="why", recipe="r", recipe_digest="d")]
        )
        store.sync()
    return store


def test_what_was_counted_before_is_counted_still(filled):
    found = stats(filled)
    assert found["tasks"] == [
        {"task": "la_conversation", "language": "en", "records": 10, "accepted": 9, "pictures": 3, "words_asked": 4.0, "words_answered": 5.5},
        {"task": "la_conversation", "language": "zh", "records": 1, "accepted": 1, "pictures": 1, "words_asked": 1.0, "words_answered": 1.0},
    ]  # fmt: skip
    assert found["pictures"][0]["pictures"] == 1
    assert [row["filter"] for row in found["verdicts"]] == ["judge", "judge", "f"]
    assert found["models"] == found["runs"] == found["days"] == []


def test_lengths_are_distributed(filled):
    rows = {(row["language"], row["of"]): row for row in stats(filled)["lengths"]}
    answers = rows["en", "answer"]
    assert answers["counts"] == [1] * 10
    assert (answers["least"], answers["median"], answers["most"], answers["step"]) == (1, 5.5, 10, 1)  # fmt: skip
    assert rows["en", "pictures"]["counts"] == [4, 3, 3]
    assert rows["zh", "answer"]["unit"] == "letters"
    assert rows["zh", "answer"]["least"] == 4


def test_one_very_long_answer_does_not_flatten_all_others(store):
    with store.writing("test"):
        answers = ["word " * (1 + n % 30) for n in range(300)] + ["word " * 4_000]
        store.add([record(n, answer=answer.strip()) for n, answer in enumerate(answers)])
        store.sync()
    [row] = [row for row in stats(store)["lengths"] if row["of"] == "answer"]
    assert sum(row["counts"]) == row["records"] == 301
    assert sum(count > 5 for count in row["counts"]) >= 10
    assert len(row["counts"]) <= BARS
    assert row["most"] == 4_000


@pytest.mark.parametrize("scores", [[0.5], [0.0, 1.0], [1.0, 1.25, 1.5, 3.75, 5.0], [-1e9, 1e9], [1e-12, 3e-12], [float("nan"), 2.0, float("inf")]])  # fmt: skip
def test_scores_of_any_size_have_bars(store, scores):
    with store.writing("test"):
        store.add([record(n, id=f"R{n}") for n in range(len(scores))])
        store.add_verdicts(
            [
                Verdict(record=f"R{n}", filter="f", reason="x", recipe="r", recipe_digest="d", score=score)
                for n, score in enumerate(scores)
            ]
        )  # fmt: skip
        store.sync()
    [row] = stats(store)["scores"]
    finite = [score for score in scores if abs(score) < 1e300]
    assert sum(row["counts"]) == row["records"] == len(finite)
    assert len(row["counts"]) <= BARS
    for n, count in enumerate(row["counts"][:-1]):  # each where it belongs
        start = row["start"] + n * row["step"]
        inside = [s for s in finite if start - 1e-6 * row["step"] <= s < start + row["step"] * 0.999999]  # fmt: skip
        assert len(inside) == count


def test_scores_as_large_as_numbers_can_be_have_bars(store):
    with store.writing("test"):
        store.add([record(n) for n in range(3)])
        store.add_verdicts(
            [
                Verdict(record=record(n).id, filter="f", reason="r", recipe="r", recipe_digest="d", score=score)
                for n, score in enumerate((-1e308, 0.0, 1e308))
            ]
        )  # fmt: skip
        store.sync()
    [row] = stats(store)["scores"]
    assert (row["start"], row["step"]) == (pytest.approx(-1e308), pytest.approx(1e307))
    assert [n for n, count in enumerate(row["counts"]) if count] == [0, 10, BARS - 1]


def test_words_are_what_stands_between_white_space(store):
    with store.writing("test"):
        store.add([record(0, instruction="", answer="One  is.\n\n Two are. ")])
        store.sync()
    [row] = stats(store)["tasks"]
    assert (row["words_asked"], row["words_answered"]) == (0, 4)


def test_marks_by_quarters_have_a_bar_each(store):
    quarters = [1 + n / 4 for n in range(17)]
    with store.writing("test"):
        store.add([record(n, id=f"R{n}") for n in range(17)])
        store.add_verdicts(
            [
                Verdict(record=f"R{n}", filter="judge", reason="x", recipe="judge:a", recipe_digest="d", score=score)
                for n, score in enumerate(quarters)
            ]
        )  # fmt: skip
        store.sync()
    [row] = stats(store)["scores"]
    assert row["counts"] == [1] * 17


def test_judges_are_compared(filled):
    rows = {row["criterion"]: row for row in stats(filled)["judges"]}
    assert (rows["mean"]["one"], rows["mean"]["other"], rows["mean"]["records"]) == ("a", "b", 8)
    assert rows["mean"]["weighted_kappa"] == rows["grounded"]["spearman"] == 1.0


def test_an_empty_dataset_has_nothing_to_show(store):
    store.refresh()
    found = stats(store)
    assert found["tasks"] == found["lengths"] == found["scores"] == found["judges"] == []
    assert "PICTURES" in report(found, bars=BLOCKS, columns=80)


# On the screen


def test_the_command_prints_tables_or_json(filled):
    runner = CliRunner()
    printed = runner.invoke(data, ["stats", "-d", str(filled.path)])
    assert printed.exit_code == 0
    for words in ("TASKS", "LENGTHS of answers", "PICTURES of a record", "JUDGES a and b", "SCORES"):  # fmt: skip
        assert words in printed.stdout
    found = json.loads(runner.invoke(data, ["stats", "-d", str(filled.path), "--json"]).stdout)
    assert set(found) == {"tasks", "models", "verdicts", "pictures", "runs", "days", "lengths", "scores", "judges"}  # fmt: skip


def test_bars_rise_with_counts_and_little_is_seen():
    assert spark([0, 1, 50, 100], BLOCKS) == " ▁▅█"
    assert spark([0, 1, 50, 100], ASCII) == " _-#".replace("-", ASCII[4])
    assert spark([], BLOCKS) == ""
    assert (bars_for("utf-8"), bars_for("ascii"), bars_for("latin-1"), bars_for("nothing")) == (BLOCKS, ASCII, ASCII, ASCII)  # fmt: skip


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_lines_fit_the_terminal(columns):
    rows = [
        {"recipe": "judge:" + "m" * 90, "filter": "ju" * 30, "records": 1_000_000, "": "▁▂▃"},
        {"recipe": "红色" * 40, "filter": "x", "records": 7, "": "█"},
    ]
    lines = table("scores", rows, columns).splitlines()
    assert max(map(cell_len, lines)) <= columns
    assert "1,000,000" in lines[2]
    assert "▁▂▃" in lines[2]
    assert len({cell_len(line[: line.index("█") if "█" in line else line.index("▁")]) for line in lines[2:4]}) == 1  # fmt: skip


def test_nothing_of_a_name_reaches_the_terminal_as_a_command(store):
    with store.writing("test"):
        store.add([record(1, task="a\x1b]0;x\x07\nb\u202ec")])
        store.sync()
    printed = CliRunner().invoke(data, ["stats", "-d", str(store.path)]).stdout
    assert not set(printed) & set("\x1b\x07\u202e")
    assert r"a\x1b]0;x\x07 b\u202ec" in printed


def test_ascii_is_enough_where_there_is_no_more(filled):
    printed = report(stats(filled), bars=ASCII, columns=60)
    assert printed.isascii()


def test_records_are_counted_by_the_day_and_run_of_their_replies(store):
    ledger = begin(store)
    put(ledger, "run_starts", id="run 2", time=3 * DAY, task="t", model="m")
    for n, (run, day) in enumerate([("run 1", 0), ("run 1", 0), ("run 2", 3), ("run 2", 4)], 1):
        put(ledger, "replies", id=n, run=run, model="m", time=day * DAY + 60.0, text="x")
    ledger.close()
    with store.writing("test"):
        store.add([record(n, reply=1 + n % 4) for n in range(9)])
        store.add([record(99)])  # imported: of no run
        store.sync()
    found = stats(store)
    assert [(row["run"], row["records"]) for row in found["runs"]] == [("run 1", 5), ("run 2", 4)]
    assert [(str(row["day"]), row["records"]) for row in found["days"]] == [
        ("1970-01-01", 5),
        ("1970-01-04", 2),
        ("1970-01-05", 2),
    ]
    printed = report(found, bars=BLOCKS, columns=100)
    assert "█  ▄▄" in printed
    assert "1970-01-04 00:00" in printed


def test_long_series_are_drawn_in_a_line():
    days = [{"day": datetime.date(2026, 1, 1), "records": 8}, {"day": datetime.date(2026, 1, 4), "records": 4}]  # fmt: skip
    runs = [{"run": f"r{n:03d}", "started": None, "records": n} for n in range(100)]
    nothing = {key: [] for key in ("tasks", "models", "verdicts", "pictures", "lengths", "scores", "judges")}  # fmt: skip
    printed = report(nothing | {"days": days, "runs": runs}, bars=BLOCKS, columns=100)
    assert "█  ▅" in printed  # two days without any in between
    assert "r099" in printed
    assert "r050" not in printed
