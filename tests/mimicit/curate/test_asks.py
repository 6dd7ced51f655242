from __future__ import annotations

import time

import pytest

pytest.importorskip("wn")
pa = pytest.importorskip("pyarrow")

from mimicit.curate import curate  # noqa: E402
from mimicit.curate.asks.kinds import KINDS  # noqa: E402
from mimicit.curate.asks.lexicon import look_up  # noqa: E402
from mimicit.curate.asks.question import ASKS, asks_of  # noqa: E402
from mimicit.curate.filters.asks import question_kind  # noqa: E402
from mimicit.curate.recipe import load_recipe  # noqa: E402
from tests.builders import record  # noqa: E402
from tests.mimicit.curate.asked import UNSEEN, english, others  # noqa: E402


def shares(rows):
    """Return which share of kinds, verbs and nouns is right."""
    found = [(asks_of(text), told) for text, *told in rows]
    return [sum(asks[n] == told[n] for asks, told in found) / len(rows) for n in range(3)]


def test_what_english_instructions_ask_for():
    rows = english()
    assert len(rows) >= 150
    kinds, verbs, nouns = shares(rows)
    assert kinds >= 0.98
    assert verbs >= 0.97
    assert nouns >= 0.96


def test_what_the_rules_were_not_made_from():
    rows = english(UNSEEN)
    assert len(rows) == 60
    kinds, verbs, nouns = shares(rows)
    assert kinds >= 0.95
    assert verbs >= 0.93
    assert nouns >= 0.93


def test_kinds_in_other_languages():
    rows = others()
    wrong = [(code, text, kind, asks_of(text, code).kind) for code, text, kind in rows]
    wrong = [row for row in wrong if row[2] != row[3]]
    assert len(wrong) <= 0.03 * len(rows), wrong
    assert all(asks_of(text, code)[1:] == (None, None) for code, text, _ in rows)


@pytest.mark.parametrize(
    "text", ["", "   ", "<image>", "?", "...", "\n\n", "123", "a" * 5000, "!?" * 900, "’s", "n't"]
)
def test_any_text_has_a_kind(text):
    for code in ("en", "zh", "ja", "de", "fr", "es", "ko", "ar", "xx", ""):
        assert asks_of(text, code).kind in KINDS


def test_a_long_text_costs_no_more_than_a_short_one(monkeypatch):
    looked = []
    monkeypatch.setattr(
        "mimicit.curate.asks.question.look_up", lambda word: looked.append(word) or look_up(word)
    )
    asks_of("What is the man with the dog and the cat and " * 5_000 + "doing?")
    assert len(looked) < 2_000


@pytest.mark.parametrize("code", ["de", "fr", "es"])
def test_rows_of_signs_cost_no_more_than_words(code):
    """Each sign of a row might be the beginning of a question."""
    texts = [sign * 2_000 for sign in (",", "¿", ": ", "|:-")]
    begun = time.process_time()
    assert all(asks_of(text, code).kind in KINDS for text in texts)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("what is the man holding", "What is the man holding?"),
        ("PLEASE DESCRIBE THE SCENE.", "describe the scene"),
        ("<image>\nWhat's the cat doing?", "What is the cat doing?"),
        ('"What is the cat doing?"', "What is the cat doing?"),
        ("Question: Where’s the dog?", "Where is the dog?"),
        ("Hello! Could you please describe the room?", "Describe the room."),
    ],
)
def test_how_it_is_put_makes_no_difference(text, same_as):
    assert asks_of(text) == asks_of(same_as)


def test_base_forms():
    forms = {
        "men": "man", "children": "child", "dogs": "dog", "boxes": "box", "cities": "city", "colors": "color",
        "glasses": "glasses", "people": "people", "clothes": "clothes", "knives": "knife",
    }  # fmt: skip
    assert {word: look_up(word).noun for word in forms} == forms
    verbs = {
        "ran": "run",
        "holding": "hold",
        "stopped": "stop",
        "wears": "wear",
        "carries": "carry",
        "riding": "ride",
    }
    assert {word: look_up(word).verb for word in verbs} == verbs
    assert look_up("qwertyuiop")[:2] == ("", "")


def test_the_measure_answers_in_the_order_of_what_it_reads():
    batch = pa.record_batch(
        {
            "instruction": ["What color is it?", "猫在哪里？", "What color is it?"],
            "language": ["en", "zh", "en-GB"],
        }
    )
    found = ASKS.compute(batch)
    assert found["kind"].to_pylist() == ["what", "where", "what"]
    assert found["verb"].to_pylist() == ["be", None, "be"]
    assert found["object"].to_pylist() == ["color", None, "color"]
    assert set(found) == set(ASKS.columns)


def test_records_are_dropped_and_mixed_by_what_they_ask(store, tmp_path):
    texts = [
        "What is the man holding?",
        "What color is the car?",
        "Describe the scene.",
        "Write a poem.",
        "猫在哪里？",
    ]
    with store.writing("test"):
        store.add(
            [
                record(n, id=f"r{n}", instruction=text, language="zh" if n == 4 else "en")
                for n, text in enumerate(texts)
            ]
        )
        store.sync()
    path = tmp_path / "r.toml"
    path.write_text(
        '[[filter]]\nuse = "question_kind"\nwithout = ["describe"]\nverbs_without = ["write"]\n'
        '[[filter]]\nuse = "mix"\nby = ["verb_object"]\nweights = ["be color=0"]\n'
    )
    curate(store, load_recipe(str(path)))
    with store.reading() as connection:
        said = dict(connection.execute("SELECT record, reason FROM verdicts").fetchall())
    assert said == {
        "r1": "none is wanted of verb_object=be color",
        "r2": "it asks: describe",
        "r3": "it asks to write",
    }


@pytest.mark.parametrize(("wrong", "says"), [({"only": ["wat"]}, "'wat'.*what"), ({}, "only")])
def test_an_unknown_kind_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        question_kind(**wrong)
