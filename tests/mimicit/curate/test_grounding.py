"""What answers name, against annotations: sentences of our own, and real photographs with hand-made annotations."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("nltk")
pytest.importorskip("wn")

from mimicit.curate.grounding.judging import judge
from mimicit.curate.grounding.knowing import known
from mimicit.curate.grounding.lexicon import lexicon
from mimicit.curate.grounding.reading import sentences
from tests.conftest import PHOTOS

CAPTIONS = (
    "A brown dog and two black cats sleep on a grey sofa.",
    "Three pets on a couch next to a red lamp.",
    "A woman reads a book near the window.",
)
OBJECTS = (
    ("dog", (0.05, 0.5, 0.3, 0.8)),
    ("cat", (0.5, 0.5, 0.65, 0.7)),
    ("cat", (0.7, 0.5, 0.9, 0.7)),
    ("couch", (0.0, 0.35, 1.0, 1.0)),
    ("lamp", (0.8, 0.0, 0.95, 0.4)),
    ("person", (0.35, 0.05, 0.55, 0.6)),
    ("bicycle", (0.0, 0.1, 0.2, 0.45)),
)


@pytest.fixture(scope="module")
def room():
    return known(lexicon(), CAPTIONS, OBJECTS)


def said(text, things):
    return judge(text, things, lexicon())


def named(text):
    return [m.said for s in sentences(text, lexicon()) for m in s.mentions]


# What is a claim


@pytest.mark.parametrize(
    ("text", "things"),
    [
        ("There are two black dogs, but no cat.", ["dogs"]),
        ("There is no dog on the sofa.", []),
        ("The dog comes from the house.", ["dog", "house"]),
        ("No people, cars, or bikes are visible.", []),
        ("The horse is not visible.", []),
        ("There isn't a single boat in the picture.", []),
        ("A man without a hat holds an umbrella.", ["man"]),
        ("She is without a hat, but she holds an umbrella.", ["umbrella"]),
        ("It is not only a dog but also a cat.", ["dog", "cat"]),
        ("Is there a dog?", []),
        ("She might be waiting for a bus.", []),
        ("There would be a zebra if this were a zoo.", []),
        ("The cloud looks like a sheep.", ["cloud"]),
        ("She uses a book instead of a pillow.", ["book"]),
        ("A painting of a horse hangs on the wall.", ["painting", "wall"]),
        ("A picture of a horse in a field.", ["horse", "field"]),
        ("A tennis racket lies on the car door.", ["tennis racket", "car door"]),
        ("Two traffic lights hang above the street.", ["traffic lights", "street"]),
        ("He eats a hot dog.", ["hot dog"]),
        ("The man's hat is on the chair.", ["man", "hat", "chair"]),
        ("A brick building with a stone railing", ["building", "railing"]),
        ("A dog bed lies in a garden shed.", ["bed", "shed"]),
        ("A man building a wall", ["man", "wall"]),
        ("Fruit flavored donuts and a dog shaped cake", ["donuts", "cake"]),
        ("A tree lined street and a horse drawn carriage", ["street", "carriage"]),
        ("A street lined with trees, a table covered in flowers", ["street", "trees", "table", "flowers"]),
        ("An art installation", []),
        ("Three girls watch a train pass by the building.", ["girls", "train", "building"]),
        ("He is building a house.", ["house"]),
        ("They park near the light blue car.", ["car"]),
        ("An orange cat eats an orange.", ["cat", "orange"]),
        ("In the foreground on the left side, in front of the group, is a bench.", ["bench"]),
        ("On the other hand, a lot of time went by.", []),
        ("He can swim.", []),
        ("", []),
        ("猫在沙发上睡觉。", []),
    ],
)  # fmt: skip
def test_a_claim_is_told_from_what_is_none(text, things):
    assert named(text) == things


def test_numbers_and_colours_go_with_their_noun():
    [sentence] = sentences("Two small red birds and a black and white cow", lexicon())
    assert [(m.said, m.number, m.colours) for m in sentence.mentions] == [
        ("birds", 2, ("red",)),
        ("cow", None, ("black", "white")),
    ]


# Things


@pytest.mark.parametrize(
    "text",
    [
        "A puppy rests on the settee.",
        "Several animals lie on the furniture.",
        "The kittens have soft paws, and the dog has a long tail.",
        "Somebody is reading a novel.",
        "A lady sits there with her legs crossed.",
        "A bike with two wheels and a seat leans on the left.",
        "The reader's face is calm.",
        "The scene has a cosy atmosphere with a variety of colours in the background.",
        "There is no television here.",
    ],
)
def test_what_the_annotations_bear_out_is_not_flagged(room, text):
    assert said(text, room).unsupported == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A zebra lies on the couch.", ["zebra"]),
        ("The dog plays with a frisbee next to a cup.", ["frisbee", "cup"]),
        ("Two horses look at the lamp.", ["horses"]),
        ("A man sits on the couch.", ["man"]),
        ("A fire hydrant stands beside the traffic light.", ["fire hydrant", "traffic light"]),
        ("The room has a refrigerator.", ["refrigerator"]),
        ("A wing of an aeroplane", ["aeroplane"]),
    ],
)
def test_what_is_made_up_is_named(room, text, words):
    assert set(words) <= set(said(text, room).unsupported)


def test_names_that_people_use_for_one_thing_bear_each_other_out():
    captions = ["Two wine bottles.", "A man in a space suit"]
    things = known(lexicon(), captions, [("saucer", None), ("cup", None)])
    assert not said("A plate, glasses, bottles of wine, and a spacesuit", things).unsupported
    assert said("A mug, a microwave, and glasses of beer", things).unsupported == [
        "microwave",
        "beer",
    ]


def test_a_frequent_sense_counts_and_a_rare_one_does_not():
    """One of the seven senses of "dog" is a woman, one a sausage."""
    things = known(lexicon(), [], [("dog", None)])
    assert said("A woman eats a sausage.", things).unsupported == ["woman", "sausage"]


def test_persons_are_told_by_sex_only_where_it_is_known():
    person, skier, men = (
        known(lexicon(), captions, [("person", (0.1, 0.1, 0.5, 0.9))])
        for captions in (
            [],
            ["A skier goes down the hill."],
            ["A man with a hat.", "A man smiles."],
        )
    )
    for things in (person, skier):
        assert not said("A woman goes down.", things).unsupported
    assert said("A woman smiles.", men).unsupported == ["woman"]
    assert not said("The boy smiles.", men).unsupported


# Numbers


@pytest.mark.parametrize(
    "text",
    [
        "Two cats lie there.",
        "Three animals rest.",
        "A couple of cats lie there.",
        "One of the cats is asleep.",
        "Four lions are on television.",  # lions are a matter for unsupported_object
        "It takes 20 minutes.",
        "There are not four cats.",
    ],
)
def test_right_numbers_pass(room, text):
    assert said(text, room).counts == []


@pytest.mark.parametrize(
    "text",
    ["Three cats lie there.", "There are 4 black cats.", "Two dogs sleep.", "Five people read."],
)
def test_wrong_numbers_are_found(room, text):
    assert len(said(text, room).counts) == 1


def test_a_caption_may_count_what_boxes_do_not():
    things = known(lexicon(), ["Five birds sit on a wire."], [("bird", (0.1, 0.1, 0.2, 0.2))])
    assert not said("Five birds sit there.", things).counts
    assert not judge("Three birds sit there.", things, lexicon(), one_picture=False).counts


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("Three signs stand there.", 0),
        ("Three stop signs stand there.", 1),
        ("Two craters lie there.", 0),
        ("Two large craters lie there.", 1),
        ("Four people wait.", 0),
    ],
)
def test_a_narrower_name_does_not_count_what_is_wider(text, counts):
    """Who drew all stop signs has not drawn all signs, and an expression tells one of many."""
    box = (0.1, 0.1, 0.2, 0.3)
    names = ("stop sign", "large crater", "woman in blue")
    things = known(lexicon(), [], [(name, box) for name in names])
    assert len(said(text, things).counts) == counts


def test_a_narrower_name_does_not_place_what_is_wider():
    things = known(lexicon(), [], [("stop sign", (0.0, 0.1, 0.1, 0.3)), ("dog", (0.4, 0.5, 0.6, 0.9))])  # fmt: skip
    assert not said("A sign is on the right. The sign is to the right of the dog.", things).sides
    assert len(said("A stop sign is on the right.", things).sides) == 1


def test_many_boxes_prove_nothing():
    things = known(lexicon(), [], [("bird", (n / 20, 0.1, n / 20 + 0.04, 0.2)) for n in range(12)])
    assert not said("There are fourteen birds.", things).counts


# Colours


@pytest.mark.parametrize(
    "text",
    ["A tan dog", "The sofa is gray.", "a crimson lamp", "The window is blue.", "A white cup"],
)
def test_right_and_unknown_colours_pass(room, text):
    assert said(text, room).colours == []


@pytest.mark.parametrize(
    "text", ["A white dog sleeps.", "The lamp is blue.", "There is a green sofa."]
)
def test_wrong_colours_are_found(room, text):
    assert len(said(text, room).colours) == 1


def test_of_several_things_each_may_have_its_colour():
    things = known(lexicon(), ["A red car"], [("car", (0, 0, 0.4, 0.4)), ("car", (0.5, 0, 1, 0.4))])
    assert not said("A blue car", things).colours


# Places


@pytest.mark.parametrize(
    "text",
    [
        "A dog lies on the left side of the picture.",
        "On the left, a dog sleeps.",
        "There is a lamp in the top right corner.",
        "The dog is to the left of the cats.",
        "The lamp is above the couch.",
        "The woman holds a book in her right hand, and the dog is on her left.",
        "A cat lies on the left side of the couch.",  # which is the couch's
        "The cats are in the middle.",
        "Something is on the left.",
    ],
)
def test_right_places_pass(room, text):
    assert said(text, room).sides == []


@pytest.mark.parametrize(
    "text",
    [
        "A dog lies on the right side of the picture.",
        "On the right, a dog sleeps.",
        "There is a lamp in the bottom left corner.",
        "The dog is to the right of the cats.",
        "The lamp is below the couch.",
        "A dog on the right and a lamp on the right",
    ],
)
def test_wrong_places_are_found(room, text):
    assert len(said(text, room).sides) == 1


# Photographs


@pytest.fixture(scope="module")
def photographs():
    data = json.loads((PHOTOS / "annotations.json").read_text())
    names = {one["id"]: one["name"] for one in data["categories"]}
    found = {}
    for image in data["images"]:
        own = [one for one in data["annotations"] if one["image_id"] == image["id"]]
        width, height = image["width"], image["height"]
        captions = [one["caption"] for one in own if "caption" in one]
        objects = [
            (names[one["category_id"]], (x / width, y / height, (x + w) / width, (y + h) / height))
            for one in own
            if "bbox" in one
            for x, y, w, h in [one["bbox"]]
        ]
        found[image["file_name"]] = (captions, objects)
    return found


def test_captions_bear_themselves_out(photographs):
    """All that is said of a photograph is what people said of it."""
    for name, (captions, objects) in photographs.items():
        things = known(lexicon(), captions, objects)
        for caption in captions:
            found = said(caption, things)
            wrong = (found.unsupported, found.counts, found.colours, found.sides)
            assert wrong == ([], [], [], []), (name, caption)


def test_planted_faults_in_photographs_are_found(photographs):
    astronaut = known(lexicon(), *photographs["astronaut.png"])
    found = said(
        "A man in a green space suit holds a dog. The flag is on the right side.", astronaut
    )
    assert "dog" in found.unsupported
    assert found.sides == ["flag on the right side"]
    assert len(found.colours) == 1
    good = said(
        "A smiling astronaut in an orange suit. On the left there is a flag, and a helmet lies before her.",
        astronaut,
    )
    assert (good.unsupported, good.counts, good.colours, good.sides) == ([], [], [], [])
