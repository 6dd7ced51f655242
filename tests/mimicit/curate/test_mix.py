from __future__ import annotations

from collections import Counter

import pytest

from mimicit.curate import curate, explain, undo
from mimicit.curate.filters.mix import mix
from mimicit.curate.recipe import load_recipe
from mimicit.errors import RecipeError
from mimicit.schema import Verdict
from tests.builders import record


def add(store, *groups, **more):
    """Add (task, how many) records."""
    rows = [
        record(0, id=f"{task}_{n:04d}", task=task, **more)
        for task, count in groups
        for n in range(count)
    ]
    with store.writing("test"):
        store.add(rows)
        store.sync()


@pytest.fixture
def mixed(store, tmp_path):
    """Curate with one `mix`, and return {id: reason} of what it drops."""

    def ask(parameters):
        path = tmp_path / "mix.toml"
        path.write_text(f'name = "mixed"\n[[filter]]\nuse = "mix"\n{parameters}\n')
        curate(store, load_recipe(str(path)))
        with store.reading() as connection:
            said = connection.execute(
                "SELECT record, reason FROM verdicts WHERE recipe = 'mixed'"
            ).fetchall()
            kept = connection.execute("SELECT task, count(*) FROM accepted GROUP BY 1").fetchall()
        return dict(said), dict(kept)

    return ask


def test_a_group_that_is_too_small_gives_all_and_the_others_fill_up(store, mixed):
    add(store, ("a", 100), ("b", 60), ("c", 10))
    said, kept = mixed("records = 90")
    assert kept == {"a": 40, "b": 40, "c": 10}
    assert Counter(said.values()) == {"beyond 40 of task=a": 60, "beyond 40 of task=b": 20}


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        ('how = "natural"', {"a": 40, "b": 10}),
        ('how = "sqrt"', {"a": 33, "b": 17}),
        ("temperature = 2", {"a": 33, "b": 17}),
        ('how = "balanced"', {"a": 25, "b": 25}),
        ('weights = ["a=3"]', {"a": 38, "b": 12}),
        ('weights = ["task=b=0"]', {"a": 50}),
        ("most = 20", {"a": 20, "b": 20}),
        ('most = 10\nweights = ["a=2.5"]', {"a": 25, "b": 10}),
    ],
)
def test_shares(store, mixed, how, kept):
    add(store, ("a", 400), ("b", 100))
    assert mixed(f"records = 50\n{how}")[1] == kept


def test_without_a_number_as_many_stay_as_the_proportions_allow(store, mixed):
    add(store, ("a", 50), ("b", 20))
    assert mixed("")[1] == {"a": 20, "b": 20}
    assert mixed('weights = ["a=2"]')[1] == {"a": 40, "b": 20}
    assert mixed('weights = ["a=0.3", "b=0.1"]')[1] == {"a": 50, "b": 16}
    assert mixed('how = "natural"')[1] == {"a": 50, "b": 20}
    assert mixed("most = 30")[1] == {"a": 30, "b": 20}


def test_a_larger_mix_holds_what_a_smaller_one_holds(store, mixed):
    add(store, ("a", 90), ("b", 40), ("c", 7))
    before = None
    for number in (1, 2, 10, 11, 12, 60, 100, 137, 500):
        said, kept = mixed(f'records = {number}\nhow = "sqrt"\nweights = ["b=1.7"]')
        assert sum(kept.values()) == min(number, 137)
        assert before is None or set(said) <= before
        before = set(said)


def test_a_record_that_is_added_does_not_change_who_is_drawn_first(store, mixed):
    add(store, ("a", 50))
    said, _ = mixed("records = 10")
    kept = {f"a_{n:04d}" for n in range(50)} - set(said)
    add(store, ("a2", 30))
    with store.writing("test"):
        store.add([record(0, id=f"a_new_{n}", task="a") for n in range(5)])
        store.sync()
    said, _ = mixed('records = 10\nby = ["task"]\nweights = ["a2=0"]')
    assert len(kept - set(said)) >= 5
    assert mixed("records = 10\nseed = 1")[0].keys() != said.keys()


def test_several_keys_make_a_group_of_each_combination(store, mixed):
    add(store, ("a", 30), ("b", 30), language="en")
    with store.writing("test"):
        store.add(
            [record(0, id=f"de_{n}", task="a", language="de", source="x.json#7") for n in range(30)]
        )
        store.sync()
    said, kept = mixed('records = 30\nby = ["task", "language"]')
    assert kept == {"a": 20, "b": 10}
    assert "beyond 10 of task=a, language=de" in said.values()
    said, kept = mixed('records = 30\nby = ["source"]')
    assert sum(kept.values()) == 30
    assert {reason for id_, reason in said.items() if id_.startswith("de")} == {
        "beyond 15 of source=x.json"
    }


def test_lengths_are_those_of_answers_in_any_script(store, mixed):
    texts = ["Yes.", "Yes, it is a dog.", "是的。", "这是一只在公园里跑步的小狗。", "word " * 300]
    with store.writing("test"):
        store.add([record(n, answer=text) for n, text in enumerate(texts)])
        store.sync()
    said, _ = mixed('records = 1\nby = ["length"]')
    reasons = Counter(reason.split("=")[1] for reason in said.values())
    assert sum(reasons.values()) == 4
    assert set(reasons) <= {"0-3 words", "4-10 words", "201 words and more"}


def test_turns_stay_together(store, mixed):
    rows = [
        record(0, id=f"c{c}_{t}", task="a", conversation=f"c{c}", turn=t)
        for c in range(20)
        for t in range(3)
    ]
    with store.writing("test"):
        store.add([*rows, *(record(0, id=f"s{n}", task="b") for n in range(40))])
        store.sync()
    said, kept = mixed("records = 40")
    assert 38 <= sum(kept.values()) <= 40
    assert abs(kept["a"] - kept["b"]) <= 3
    for c in range(20):
        assert sum(f"c{c}_{t}" in said for t in range(3)) in (0, 3)


def test_the_better_ones_are_taken_first(store, mixed):
    add(store, ("a", 20))
    with store.writing("test"):
        store.add([record(0, id="long", task="a", answer="It is long. " * 20)])
        store.add_verdicts(
            [
                Verdict(
                    record=id_,
                    filter="judge",
                    reason="r",
                    recipe="j",
                    recipe_digest="d",
                    score=score,
                    rejects=False,
                )
                for id_, score in [("a_0003", 4.5), ("a_0005", 4.0), ("a_0004", 1.0)]
            ]
        )
        store.sync()
    said, _ = mixed('records = 1\nprefer = "longest"')
    assert "long" not in said
    said, _ = mixed('records = 2\nprefer = "score"')
    assert {"a_0003", "a_0005"}.isdisjoint(said)
    assert len(said) == 19
    said, _ = mixed('records = 3\nprefer = "score"')
    assert {"a_0003", "a_0005", "a_0004"}.isdisjoint(said)


def test_it_sees_what_came_so_far_is_explained_and_undone(store, tmp_path):
    add(store, ("a", 6), ("b", 6))
    path = tmp_path / "r.toml"
    path.write_text(
        '[[filter]]\nwhere = "id <> \'a_0001\'"\n[[filter]]\nuse = "mix"\nrecords = 4\n'
    )
    recipe = load_recipe(str(path))
    funnel = curate(store, recipe)
    assert [stage.dropped for stage in funnel.stages] == [1, 7]
    assert funnel.accepted == 4
    [dropped] = {example["id"] for example in funnel.stages[1].examples[:1]}
    assert [one.drops for one in explain(store, recipe, dropped)] == [False, True]
    undo(store, "r")
    with store.reading() as connection:
        assert connection.execute("SELECT count(*) FROM accepted").fetchall() == [(12,)]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"by": ["tusk"]}, "'tusk'.*task"),
        ({"by": ["task", "task"]}, "twice"),
        ({"how": "fair"}, "'fair'.*balanced"),
        ({"prefer": "best"}, "'best'.*score"),
        ({"records": -1}, "-1"),
        ({"weights": ["vst"]}, "'value=2'"),
        ({"weights": ["vst=-1"]}, "'value=2'"),
        ({"weights": ["vst=nan"]}, "'value=2'"),
        ({"weights": ["vst=2"], "by": ["task", "language"]}, "task=vst=2"),
    ],
)
def test_what_cannot_be_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        mix(**wrong)


def test_a_weight_of_nothing_is_told_with_the_nearest_name(store, mixed):
    add(store, ("la_detail", 3), ("vst", 3))
    with pytest.raises(RecipeError, match=r"'la_detial'.*did you mean 'la_detail'"):
        mixed('records = 2\nweights = ["la_detial=2"]')
    with pytest.raises(RecipeError, match=r"it's.*there are: "):
        mixed('records = 2\nweights = ["it\'s=2"]')


def test_values_of_records_are_text_and_nothing_else(store, mixed):
    add(store, ("x'; DROP TABLE images; --", 4), ("%d %s", 4))
    said, _ = mixed("records = 2")
    assert Counter(said.values()) == {
        "beyond 1 of task=x'; DROP TABLE images; --": 3,
        "beyond 1 of task=%d %s": 3,
    }
    assert mixed('records = 2\nweights = ["x\'; DROP TABLE images; --=0"]')[1] == {"%d %s": 2}


def test_a_weight_is_for_any_value(store, mixed):
    """Lengths are told by a pattern with braces, and a task may have some in its name."""
    add(store, ("a{b}", 8), ("{", 8), answer="Yes.")
    assert mixed('records = 6\nweights = ["a{b}=2"]')[1] == {"a{b}": 4, "{": 2}
    assert mixed('by = ["length"]\nweights = ["0-3 words=0"]')[1] == {}
    with pytest.raises(RecipeError, match=r"length '0-3'.*0-3 words"):
        mixed('by = ["length"]\nweights = ["0-3=2"]')
