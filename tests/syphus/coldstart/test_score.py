"""Each part by itself, and all of them on examples that people wrote."""

import pytest

from syphus.annotations.context import Context
from syphus.coldstart import score as parts
from syphus.coldstart.score import Look, score, scored
from syphus.coldstart.state import Candidate
from syphus.coldstart.words import content_stems, stem
from syphus.forms import Pair
from syphus.task import built_in_tasks, load_task

QUERY = "Notes:\n1. A brown dog runs on a beach.\n2. A child throws a red ball."


def pair(question="What is there?", answer="A brown dog.", **more):
    return Pair(question=question, answer=answer, **more)


def look(*pairs, query=QUERY, usual=3.0, rating=None, task="la_conversation"):
    return Look(load_task(task), Context("c"), tuple(pairs), query, usual, rating)


GOOD = (
    pair("What runs on the beach?", "A brown dog."),
    pair("Who throws the ball?", "A child does."),
    pair("Which color has the ball?", "It is red."),
)


def test_a_good_reply_has_every_point():
    assert score(look(*GOOD)).total == 1.0
    assert score(look(*GOOD)).reasons == ()


@pytest.mark.parametrize(
    ("part", "pairs", "value", "said"),
    [
        (parts.pair_count, GOOD[:2], 2 / 3, "2 pairs; the task asks for 3 to 4"),
        (parts.pair_count, GOOD * 2, 4 / 6, "6 pairs"),
        (parts.kept_rules, (*GOOD, pair(answer="The caption says so.")), 3 / 4, "'caption'"),
        (parts.no_repeats, (GOOD[0], GOOD[0], GOOD[1]), 2 / 3, "2 times: what runs"),
        (parts.usual_length, (pair(answer="word " * 12),), 0.5, "12 words, usual are 3"),
        (parts.usual_length, (pair(answer="word " * 6),), 1.0, ""),
        (parts.grounding, (pair(answer="Purple unicorns dance, dogs do not."),), 0.5, "purple"),
        (parts.grounding, (pair(answer="The dogs were running."),), 1.0, ""),
        (parts.question_marks, (pair("Tell me."), pair()), 0.5, "Tell me."),
        (parts.variety, [pair()] * 4, 0.5, "4 of 4 questions begin with 'what'"),
    ],
)
def test_a_part_says_what_it_takes_off(part, pairs, value, said):
    found, reason = part(look(*pairs))
    assert found == pytest.approx(value)
    assert said in reason
    assert bool(reason) == (found < 1)


@pytest.mark.parametrize(
    ("part", "seen"),
    [
        (parts.question_marks, look(pair(""), task="funqa_translation")),
        (parts.variety, look(pair(""), pair(""), task="funqa_translation")),
        (parts.variety, look(pair())),
        (parts.grounding, look(pair(answer="Yes."))),
        (parts.grounding, look(pair(), query="一只棕色的狗在沙滩上奔跑。")),
        (parts.judged, look(pair())),
    ],
)
def test_a_part_that_does_not_apply_takes_nothing_off(part, seen):
    assert part(seen) is None


def test_the_same_question_in_two_conversations_is_no_repeat():
    said = [pair(conversation=n) for n in range(2)]
    assert parts.no_repeats(look(*said)) == (1.0, "")


def test_a_judge_has_a_weight_of_its_own():
    without, with_ = score(look(*GOOD)).total, score(look(*GOOD, rating=2.5))
    assert with_.total == pytest.approx((10 * without + 4 * 0.5) / 14, abs=0.001)
    assert "judge: the judge gives 2.5 of 5" in with_.reasons


def test_invented_answers_are_below_those_that_are_true():
    invented = [
        pair(f"{word} of them?", "Seven purple unicorns dance slowly around volcanoes.")
        for word in ("What", "Who", "Where")
    ]
    assert score(look(*invented)).total < 0.8 < score(look(*GOOD)).total


@pytest.mark.parametrize("name", [n for n in built_in_tasks() if load_task(n).makes_records])
def test_examples_that_people_wrote_are_good(name):
    task = load_task(name)
    candidates = [
        Candidate(
            key=str(n), request="r", model="m", pairs=example.pairs,
            context=example.context.model_copy(update={"id": example.context.id or "example"}),
        )
        for n, example in enumerate(task.examples)
    ]  # fmt: skip
    scores = [one.score for one in scored(task, candidates)]
    assert scores == sorted(scores, reverse=True)
    # A translation shares no words with what it translates, and is not held against it in another script only.
    assert min(scores) >= (0.6 if name == "funqa_translation" else 0.8)


def test_stems_bring_a_words_forms_together():
    assert {stem(word) for word in ("run", "runs", "running")} == {"run"}
    assert {stem(word) for word in ("balance", "balances", "balanced")} == {"balanc"}
    assert content_stems("There is a dog in the picture.") == {"dog": "dog"}
