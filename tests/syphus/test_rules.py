"""Each rule of a task, kept and broken."""

import pytest
from pydantic import ValidationError

from syphus.annotations.context import Context, Picture, Segment
from syphus.forms import Pair
from syphus.rules import Rules


def pair(answer, question="What is there?"):
    return Pair(question=question, answer=answer)


@pytest.mark.parametrize(
    ("rules", "kept", "broken", "said"),
    [
        ({"forbidden": ["caption"]}, "A captain waves.", "The Captions say so.", "it says 'Captions'"),
        ({"forbidden": ["bounding box"]}, "A box is bound.", "Two bounding boxes.", "it says 'bounding boxes'"),
        ({"forbidden": ["a+b"]}, "aab", "It is a+b.", "it says 'a+b'"),
        ({"max_answer_words": 3}, "It's a cat.", "It is a cat.", "the answer has 4 words, more than 3"),
        ({"person": "first"}, "You took the pan.", "The camera wearer took it.", "'camera wearer'"),
        ({"person": "first"}, "The man I saw stands beside you.", "You stand beside man X.", "'man X'"),
        ({"person": "first"}, "You cut it with the C++ book.", "C cuts it.", "'C'"),
        ({"person": "first"}, "Vitamin C's taste is sour.", "#C C cuts it.", "'#C'"),
        ({"names": False, "known_names": ["Monica"]}, "The woman leaves.", "Monica's door is open.", "it names 'Monica'"),
    ],
)  # fmt: skip
def test_a_pair_keeps_or_breaks_a_rule(rules, kept, broken, said):
    checked = Rules(**rules)
    assert checked.broken(pair(kept)) is None
    assert said in checked.broken(pair(broken))


def test_a_long_question_breaks_its_rule():
    rules = Rules(max_question_words=3)
    assert rules.broken(pair("Yes.", question="Is it red?")) is None
    assert "the question has 4 words" in rules.broken(pair("Yes.", question="Is it bright red?"))


def test_names_come_from_what_was_annotated():
    context = Context(
        "clip",
        pictures=(Picture("a.png", ("A boy hands Otis the ball.",)),),
        captions=("Then Zoe-Ann laughs. The dog barks.", "On Monday I met Rob."),
        segments=(Segment("Behind her, Leonard sits down."),),
    )
    rules = Rules(names=False, known_names=("Castle",))
    names = rules.names_in(context)
    assert {"Otis", "Leonard", "Rob", "Castle"} <= names
    assert not {"Then", "The", "Monday", "I", "On", "Behind"} & names
    assert "it names 'Leonard'" in rules.broken(pair("Leonard sits."), names)
    assert rules.broken(pair("A man sits on a chair."), names) is None
    assert Rules().names_in(context) == frozenset()


def test_half_of_the_pairs_speak_in_person():
    rules = Rules(person="first")
    mine = pair("It is on the shelf.", question="Where did I put my cup?")
    told = pair("You left it on the shelf.", question="Where is the cup?")
    nobody = pair("It is on the shelf.", question="Where is the cup?")
    assert rules.speaks_in_person([mine, told, nobody, nobody])
    assert not rules.speaks_in_person([mine, nobody, nobody])
    assert Rules().speaks_in_person([nobody])


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValidationError, match="polite"):
        Rules(polite=True)
