"""The filters of grounding on a dataset: what is dropped and why, and that only what is new is looked at."""

from __future__ import annotations

import pytest

pytest.importorskip("nltk")
pytest.importorskip("wn")

from mimicit.curate import curate, explain
from mimicit.curate.grounding import looking
from mimicit.curate.recipe import load_recipe
from mimicit.errors import RecipeError
from mimicit.schema import Annotation, Thing
from tests.builders import record

BOXES = (
    Thing("dog", (0.0, 0.5, 0.3, 0.9)),
    Thing("cat", (0.5, 0.5, 0.7, 0.9)),
    Thing("cat", (0.75, 0.5, 0.95, 0.9)),
)
ANNOTATIONS = [
    Annotation(("p1",), ("A brown dog and two cats on a rug.",), BOXES, "a.json#1"),
    Annotation(("p2",), ("A bus in a street.",), (Thing("bus"),), "a.json#2"),
]
ANSWERS = {
    "good": ("p1", "A brown dog lies on the left, and two cats on a rug."),
    "thing": ("p1", "A zebra and a parrot stand beside the dog."),
    "number": ("p1", "There are five cats."),
    "colour": ("p1", "The dog is white."),
    "side": ("p1", "The dog is to the right of the cats."),
    "bus": ("p2", "A bus, and a dog."),
    "unknown": ("p3", "A zebra in the snow. There are nine zebras."),
}


def add(store, annotations=(), **answers):
    with store.writing("test"):
        store.add_annotations(list(annotations))
        store.add(
            [
                record(
                    n,
                    id=name,
                    image_ids=[picture] if isinstance(picture, str) else picture,
                    answer=answer,
                    **more,
                )
                for n, (name, (picture, answer, *rest)) in enumerate(answers.items())
                for more in rest or [{}]
            ]
        )
        store.sync()


@pytest.fixture
def grounded(store):
    add(store, ANNOTATIONS, **ANSWERS)
    return store


@pytest.fixture
def ask(tmp_path, grounded):
    """Return what filters drop, as {record: (filter, reason, score)}."""

    def asked(*filters, store=grounded):
        path = tmp_path / "r.toml"
        path.write_text("".join(f"[[filter]]\n{one}\n" for one in filters))
        curate(store, load_recipe(str(path)))
        with store.reading() as connection:
            found = connection.execute(
                "SELECT record, filter, reason, score FROM verdicts"
            ).fetchall()
        return {name: rest for name, *rest in found}

    return asked


ALL = [
    f'use = "{n}"'
    for n in ("unsupported_object", "contradicted_count", "wrong_colour", "wrong_side")
]


@pytest.fixture
def looked_at(monkeypatch):
    """Have what is held against annotations while a test runs."""
    texts = []
    judge = looking.judge

    def noted(text, *more):
        texts.append(text)
        return judge(text, *more)

    monkeypatch.setattr(looking, "judge", noted)
    return texts


def test_each_filter_drops_its_fault_and_says_which_words(ask, grounded, tmp_path):
    found = ask(*ALL)
    assert {name: filter_ for name, (filter_, _, _) in found.items()} == {
        "thing": "unsupported_object",
        "bus": "unsupported_object",
        "number": "contradicted_count",
        "colour": "wrong_colour",
        "side": "wrong_side",
    }
    assert found["thing"][1:] == ["nothing annotated bears out zebra, parrot", pytest.approx(1 / 3)]
    assert found["number"][1:] == ["it counts 5 cats (there are 2)", 1]
    assert found["colour"][1] == "it sees white dog (it is brown)"
    assert found["side"][1] == "it places dog to the right of cats"
    said = explain(grounded, load_recipe(str(tmp_path / "r.toml")), "thing")
    assert "zebra" in str(said)


def test_nothing_is_said_of_records_that_nobody_annotated(ask, store):
    add(
        store,
        other=(["p1", "p3"], "A zebra."),  # p1's annotations hold of it, and do not bear it out
        none=([], "A zebra."),
        german=("p1", "Ein Zebra und ein Bus.", {"language": "de"}),
        british=("p1", "A zebra.", {"language": "en-GB"}),
        both=(["p1", "p2"], "Two buses, a dog on the right, and five cats."),
    )
    found = ask(*ALL)
    assert "unknown" not in found
    assert "none" not in found
    assert "german" not in found
    assert "british" in found
    assert found["other"][0] == "unsupported_object"
    assert "both" not in found  # which picture has the boxes is not known to the text


def test_an_annotation_of_several_pictures_holds_of_records_with_all_of_them(ask, store):
    add(
        store,
        [Annotation(("p8", "p9"), ("A car has gone.",), (), "b.json#1")],
        one=("p8", "A zebra."),
        two=(["p9", "p8"], "A zebra and a car."),
    )
    found = ask(ALL[0])
    assert "one" not in found
    assert found["two"][1] == "nothing annotated bears out zebra"


def test_only_what_is_new_is_looked_at(ask, store, looked_at):
    ask(*ALL)
    assert len(looked_at) == 6
    ask(*ALL)
    ask('use = "unsupported_object"\nleast = 2')
    assert len(looked_at) == 6
    add(store, late=("p2", "A bus and a zebra."))
    found = ask(*ALL)
    assert looked_at[6:] == ["A bus and a zebra."]
    assert found["late"][0] == "unsupported_object"


def test_new_annotations_are_believed(ask, store, looked_at):
    """A record is looked at again when what people say of its picture changes, and is dropped no more."""
    assert "thing" in ask(*ALL)
    del looked_at[:]
    with store.writing("test"):
        store.add_annotations(
            [
                Annotation(("p2",), ("A bus, a dog.",), (), "b.json#1"),
                Annotation(("p3",), ("Snow.",), (), "b.json#2"),
            ]
        )
        store.sync()
    found = ask(*ALL)
    assert "bus" not in found
    assert found["unknown"][0] == "unsupported_object"
    assert sorted(looked_at) == sorted([ANSWERS["bus"][1], ANSWERS["unknown"][1]])


def test_parameters_say_how_much_is_too_much(ask):
    of_things = 'use = "unsupported_object"\n'
    assert set(ask(of_things + "least = 2")) == {"thing"}
    assert set(ask(of_things + "share = 0.6")) == {"thing"}
    assert set(ask(of_things + "share = 0.3")) == {"thing", "bus"}
    # Annotators name dogs elsewhere, but never a zebra or a parrot.
    assert set(ask(of_things + "familiar = 1")) == {"bus"}
    assert set(ask(of_things + "familiar = 50")) == set()


def test_one_word_of_many_may_be_what_annotators_left_out(ask, store):
    add(store, much=("p1", "A brown dog and two cats on a rug, and a lamp."))
    assert "much" not in ask(ALL[0])
    assert ask(ALL[0] + "\nshare = 0")["much"][1] == "nothing annotated bears out lamp"


def test_questions_are_asked_about_on_demand(ask, store):
    add(store, asked=("p2", "It is red.", {"instruction": "A zebra crosses. Why?"}))
    assert "asked" not in ask(ALL[0])
    assert "zebra" in ask('use = "unsupported_object"\nfield = "either"')["asked"][1]
    assert set(ask('use = "unsupported_object"\nfield = "instruction"')) == {"asked"}


@pytest.mark.parametrize("wrong", ["least = 0", "share = 1.5", "familiar = -1", 'field = "both"'])
def test_an_impossible_parameter_is_refused(ask, wrong):
    with pytest.raises(RecipeError):
        ask('use = "unsupported_object"\n' + wrong)


def test_odd_annotations_do_no_harm(ask, store):
    flat = Thing("dog", (0.5, 0.5, 0.5, 0.9))
    add(
        store,
        [
            Annotation(
                ("o1",), ("", "…", "x" * 100_000), (Thing("???"), Thing(""), flat), "o.json#1"
            ),
            Annotation(("o2",), (), (), "o.json#2"),
        ],
        odd=("o1", "The dog is on the left. " + "The dog's " * 20_000),
        empty=("o1", ""),
        nothing=("o2", "A zebra."),
    )
    found = ask(*ALL)
    assert not {"odd", "empty", "nothing"} & set(found)


def test_a_later_annotation_from_the_same_file_takes_the_place_of_the_earlier(ask, store):
    add(store, [Annotation(("p1",), ("A zebra and a parrot, beside a dog.",), (), "a.json#9")])
    found = ask(*ALL)
    assert "thing" not in found
    assert found["good"][1] == "nothing annotated bears out cats, rug"
