"""The pair builder: which picture is put beside which."""

import random

import pytest

from mimicit.errors import MissingExtraError, RecipeError
from syphus.annotations.context import Context, Picture, Problem, Thing
from syphus.pairing import paired
from syphus.task import load_task

BOX = (0.1, 0.2, 0.5, 0.6)


def one(name, *captions, **changes):
    return Context(name, (Picture(f"{name}.png"),), captions, source=f"a.json#{name}", **changes)


PICTURES = [
    one("cat", "A grey cat sleeps on a sofa.", objects=(Thing("cat", BOX),)),
    one("kitten", "A grey kitten sleeps on the sofa."),
    one("horse", "A man rides a horse through a river."),
    one("rider", "A woman rides a brown horse through water."),
    one("pony", "A girl rides a small brown horse."),
    one("pizza", "Pepperoni pizza!"),
]


@pytest.fixture
def task():
    return load_task("cgd")


def test_the_nearest_two_make_one_context(task):
    found = list(paired(task, PICTURES))
    pairs = {item.id: item for item in found if isinstance(item, Context)}
    assert "cat_kitten" in pairs
    assert "kitten_cat" not in pairs
    cat, kitten = pairs["cat_kitten"].pictures
    assert (cat.name, cat.captions, cat.objects) == (
        "cat.png", ("A grey cat sleeps on a sofa.",), (Thing("cat", BOX),),
    )  # fmt: skip
    assert kitten.captions == ("A grey kitten sleeps on the sofa.",)
    assert pairs["cat_kitten"].source == "a.json#cat"


def test_every_picture_with_a_neighbour_is_in_a_pair(task):
    pairs = [item for item in paired(task, PICTURES) if isinstance(item, Context)]
    used = {picture.name for pair in pairs for picture in pair.pictures}
    assert used == {"cat.png", "kitten.png", "horse.png", "rider.png", "pony.png"}


def test_what_cannot_be_paired_is_listed(task):
    rows = [*PICTURES, one("silent"), Problem("a.json#9", "broken")]
    problems = {item.where: item.reason for item in paired(task, rows) if isinstance(item, Problem)}
    assert set(problems) == {"a.json#pizza", "a.json#silent", "a.json#9"}
    assert "no other picture's captions" in problems["a.json#pizza"]
    assert "not one picture with captions" in problems["a.json#silent"]


def test_the_order_of_the_annotations_makes_no_difference(task):
    rows = PICTURES.copy()
    random.Random(3).shuffle(rows)
    assert list(paired(task, rows)) == list(paired(task, PICTURES))


def test_other_tasks_get_their_contexts_as_they_are():
    assert paired(load_task("sd"), PICTURES) is PICTURES


def test_meaning_brings_together_what_shares_no_word(task):
    try:
        rows = [
            one("a", "A feline naps upon the couch."),
            one("b", "The kitten sleeps on a sofa."),
            one("c", "Cars race around this track."),
            one("d", "Automobiles speed along roads."),
        ]
        ids = {item.id for item in paired(task, rows, "minilm")}
    except MissingExtraError:
        pytest.skip("MiniLM is not installed")
    assert ids == {"a_b", "c_d"}


def test_an_unknown_measure_is_a_sentence(task):
    with pytest.raises(RecipeError, match="no embedding 'magic'"):
        paired(task, PICTURES, "magic")
