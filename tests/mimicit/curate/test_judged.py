"""Filters by what judges said, and how far judges agree."""

import random

import pytest

from mimicit.curate import curate
from mimicit.curate.filters.judged import Cell, agreement, agreements
from mimicit.curate.recipe import load_recipe
from mimicit.errors import RecipeError
from mimicit.schema import Verdict
from tests.builders import record

A, B, C = "openai/gpt-4o-mini", "anthropic/claude, large", "it's%s"


def said(number, judge, marks, *, rejects=None, more=""):
    words = ("grounded", "answerable", "correct", "useful")
    reason = ", ".join(f"{word} {mark}" for word, mark in zip(words, marks, strict=True))
    return Verdict(
        record=f"R{number}", filter="judge", recipe=f"judge:{judge}", recipe_digest="d", score=sum(marks) / 4,
        reason=reason + more, rejects=min(marks[:3]) < 3 if rejects is None else rejects,
    )  # fmt: skip


VERDICTS = [
    said(0, A, (5, 5, 5, 5)), said(0, B, (5, 5, 5, 4)),
    said(1, A, (1, 2, 2, 1)), said(1, B, (5, 5, 5, 5)),
    said(2, A, (2, 5, 5, 5), more=": useful 1, grounded 5"),
    said(3, A, (3, 3, 3, 2)), said(3, B, (3, 3, 3, 3)), said(3, C, (1, 1, 1, 1)),
    said(4, A, (3, 3, 3, 3)), said(4, B, (2, 4, 3, 3)),
    Verdict(record="R5", filter="judge", recipe="mine", recipe_digest="d", reason="grounded 1", score=1.0, rejects=False),
]  # fmt: skip


@pytest.fixture
def judged(store):
    with store.writing("test"):
        store.add([record(n, id=f"R{n}") for n in range(6)])
        store.add_verdicts(VERDICTS)
        store.sync()
    return store


@pytest.fixture
def asked(judged, tmp_path):
    def ask(use, parameters=""):
        path = tmp_path / "test.toml"
        path.write_text(f"[[filter]]\nuse = '{use}'\n{parameters}")
        curate(judged, load_recipe(str(path)))
        with judged.reading() as connection:
            rows = connection.execute(
                "SELECT record, reason, score FROM verdicts WHERE recipe = 'test'"
            )
            return {record: (reason, score) for record, reason, score in rows.fetchall()}

    return ask


def test_scores_of_several_judges_are_averaged(asked):
    assert asked("judge_score") == {"R3": (f"judged 2.25 by {B}, {C}, {A}", 2.25)}
    assert set(asked("judge_score", "least = 4.0")) == {"R1", "R3", "R4"}
    assert set(asked("judge_score", "how = 'min'")) == {"R1", "R3"}
    assert set(asked("judge_score", "how = 'median'")) == {"R3"}


def test_a_criterion_is_read_where_it_is_said_and_not_in_the_remark(asked):
    found = asked("judge_score", "criterion = 'grounded'\nhow = 'min'")
    assert found["R2"] == (f"grounded 2 by {A}", 2.0)
    assert set(found) == {"R1", "R2", "R3", "R4"}
    assert "R2" not in asked("judge_score", "criterion = 'useful'\nhow = 'min'")


def test_some_judges_may_count(asked):
    assert set(asked("judge_score", f'judges = ["{B}"]\nleast = 3.1')) == {"R3", "R4"}
    assert set(asked("judge_score", f'judges = ["judge:{A}"]')) == {"R1", "R3"}
    assert set(asked("judge_score", f'judges = ["{C}"]')) == {"R3"}


def test_judges_that_disagree(asked):
    found = asked("judges_disagree")
    assert found["R1"] == (f"{B} gives 5, {A} gives 1.5", 3.5)
    assert found["R3"][0] == f"{B} gives 3, {C} gives 1"
    assert found["R4"] == (f"{B} rejects it, {A} does not", 0.0)
    assert set(found) == {"R1", "R3", "R4"}
    assert set(asked("judges_disagree", "verdicts = false")) == {"R1", "R3"}
    assert set(asked("judges_disagree", "apart = 3.0\nverdicts = false")) == {"R1"}
    assert set(asked("judges_disagree", f"judges = ['{A}']")) == set()
    by_mark = asked("judges_disagree", "criterion = 'answerable'\napart = 0.5\nverdicts = false")
    assert set(by_mark) == {"R1", "R3", "R4"}


def test_records_that_nobody_judged(asked):
    assert asked("unjudged") == {"R5": ("no judge has judged it", None)}
    both = asked("unjudged", f'judges = ["{A}", "{B}", "{A}"]')
    assert both == {"R2": (f"not judged by {B}", None), "R5": (f"not judged by {A}, {B}", None)}


def test_what_a_judge_says_later_counts(asked, judged):
    assert "R5" not in asked("judge_score")
    with judged.writing("test"):
        judged.add_verdicts([said(5, A, (1, 1, 1, 1))])
        judged.sync()
    assert "R5" in asked("judge_score")
    assert asked("unjudged") == {}


@pytest.mark.parametrize("wrong", ["criterion = 'style'", "how = 'max'"])
def test_parameters_are_checked(asked, wrong):
    with pytest.raises(RecipeError, match="it is one of"):
        asked("judge_score", wrong)


# Agreement


def test_two_judges_are_compared_over_what_both_have_judged(judged):
    with judged.reading() as connection:
        found = {(one.one, one.other, one.criterion): one for one in agreements(connection)}
    ours = found[B, A, "mean"]
    assert ours.records == 4
    assert ours.apart == pytest.approx((0.25 + 3.5 + 0.25 + 0) / 4, abs=1e-4)
    assert found[B, A, "rejects"].agree == 0.5
    assert found[B, C, "mean"].records == 1
    assert found[B, C, "mean"].spearman is None
    assert {key[:2] for key in found} == {(B, A), (B, C), (C, A)}


def test_the_figures_are_those_of_others():
    stats = pytest.importorskip("scipy.stats")
    metrics = pytest.importorskip("sklearn.metrics")
    generator = random.Random(4)
    for _ in range(20):
        one = [generator.randint(1, 5) for _ in range(60)]
        other = [min(5, max(1, mark + generator.choice([-2, -1, 0, 0, 0, 1]))) for mark in one]
        counts: dict = {}
        for pair in zip(one, other, strict=True):
            counts[pair] = counts.get(pair, 0) + 1
        found = agreement("a", "b", "mean", [Cell(x, y, n) for (x, y), n in counts.items()])
        assert found.kappa == pytest.approx(metrics.cohen_kappa_score(one, other), abs=1e-4)
        weighted = metrics.cohen_kappa_score(one, other, weights="quadratic")
        assert found.weighted_kappa == pytest.approx(weighted, abs=1e-4)
        assert found.spearman == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-4)


def test_judges_that_always_say_the_same_have_no_kappa():
    found = agreement("a", "b", "rejects", [Cell(0.0, 0.0, 9)])
    assert (found.agree, found.kappa, found.weighted_kappa, found.spearman) == (1.0, None, None, None)  # fmt: skip
