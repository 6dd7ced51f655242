from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mimicit.curate import curating, pairs
from mimicit.curate.filters import near
from mimicit.curate.filters.duplicates import SAME, exact_duplicate, repeated_question
from mimicit.curate.measures import attach
from mimicit.curate.recipe import load_recipe
from mimicit.curate.sketch import jaccard, sketch
from tests.builders import record

MEASURES = {"same": SAME} | near.SKETCHES
CAT = "A grey cat sleeps on the red sofa beside a window with a wide view over the harbour."
CAT_2 = "A grey cat sleeps on the red sofa beside a window with a wide view over the harbor."
DOG = "Two brown dogs chase a yellow ball across the wet grass while a child watches them."


@pytest.fixture
def say(store):
    """Add records, ask a filter, and return what it drops as {record: (reason, score)}."""

    def ask(rows, made, dropped_before=()):
        with store.writing("test"):
            store.add([record(0, **{"image_ids": ["P"]} | row) for row in rows])
            store.sync()
        with store.reading() as connection:
            attach(store, connection, MEASURES.items())
            out = ", ".join(f"'{id_}'" for id_ in dropped_before) or "''"
            connection.execute(
                f"CREATE TEMP VIEW candidates AS FROM measured WHERE id NOT IN ({out})"
            )
            if isinstance(made, str):
                found = connection.execute(made).fetchall()
            else:
                table = made(connection, store.path / "measures")
                found = zip(*(column.to_pylist() for column in table.columns), strict=True)
            return {name: (reason, score) for name, reason, score in found}

    return ask


def answers(*texts, **more):
    return [{"id": f"r{n}", "answer": text, **more} for n, text in enumerate(texts)]


# Sketches


def test_case_punctuation_and_spacing_make_no_difference():
    found = sketch(pa.array(["A cat, on the  sofa!", "a CAT on (the) sofa", "a cat on a sofa"]))
    assert found.digest[0] == found.digest[1] != found.digest[2]
    assert (found.bands[0] == found.bands[1]).all()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ÄPFEL und Straße.", "äpfel und straße"),
        ("猫在做什么？它在睡觉。", "猫在做什么, 它在睡觉"),
        ("ＡＢＣ　カフェ、です。", "abc カフェ です"),
        ("고양이가 소파에서 잔다!", "고양이가 소파에서 잔다"),
        ("¿Qué hace el GATO?", "qué hace el gato"),
        ("ما هذا؟ قطة.", "ما هذا قطة"),
        ("Yes.", "yes"),
    ],
)
def test_that_holds_in_every_language(one, other):
    found = sketch(pa.array([one, other, "else"]))
    assert found.digest[0] == found.digest[1] != found.digest[2]


def test_a_text_is_sketched_alike_whatever_comes_with_it():
    texts = [CAT, "", "no", DOG, None, " !", "猫在睡觉。", "x" * 500, "Four", "fives"]
    together = sketch(pa.array(texts))
    for n, text in enumerate(texts):
        alone = sketch(pa.array([text], pa.string()))
        assert alone.digest[0] == together.digest[n]
        if together.length[n] >= 5:
            assert (alone.bands[0] == together.bands[n]).all()
    part = sketch(pa.array(["away", *texts]).slice(1))
    assert (part.digest == together.digest).all()
    assert len(set(together.digest.tolist())) == len(texts) - 2  # "", null and " !" say nothing


def test_similarity_is_the_share_of_common_shingles():
    texts = [CAT, CAT_2, DOG, "猫在红色的沙发上睡觉。", "猫在蓝色的沙发上睡觉。", "", "tiny"]

    def shingles(text):
        words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
        data = " ".join(words).encode()
        return {data[n : n + 5] for n in range(len(data) - 4)}

    sets = [shingles(text) for text in texts[:5]]
    pairs_ = [(a, b) for a in range(5) for b in range(5)]
    found = jaccard(pa.array(texts), *np.array(pairs_).T)
    expected = [len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in pairs_]
    assert found.tolist() == pytest.approx(expected)


def test_no_texts_are_no_trouble():
    assert sketch(pa.array([], pa.string())).bands.shape == (0, 25)
    assert len(sketch(pa.array(["", None])).digest) == 2


# Near duplicates


def test_of_two_that_are_nearly_the_same_the_longest_stays(say):
    said = say(answers(CAT_2, DOG, CAT), near.near_duplicate())
    assert list(said) == ["r0"]
    reason, score = said["r0"]
    assert reason == f"like r2 ({int(score * 100)} % the same)"
    assert 0.9 < score < 1


@pytest.mark.parametrize(("prefer", "stays"), [("longest", "r1"), ("first", "r0"), ("best", "r2")])
def test_the_keep_rule_says_which_stays(say, prefer, stays):
    rows = answers(CAT[:-7] + "bo", CAT[:-1] + " the", CAT)
    said = say(rows, near.near_duplicate(prefer=prefer))
    assert set(said) == {"r0", "r1", "r2"} - {stays}
    assert all(stays in reason for reason, _ in said.values())


def test_other_pictures_are_another_matter(say):
    rows = answers(CAT, CAT_2)
    rows[1]["image_ids"] = ["Q"]
    assert say(rows, near.near_duplicate()) == {}


def test_the_order_of_pictures_is_none(say):
    rows = answers(CAT, CAT_2)
    rows[0]["image_ids"], rows[1]["image_ids"] = ["P", "Q"], ["Q", "P"]
    assert len(say(rows, near.near_duplicate())) == 1


def test_over_the_dataset_other_pictures_do_not_matter(say):
    rows = answers(CAT + "!!", CAT, CAT_2)
    rows[0]["image_ids"], rows[2]["image_ids"] = ["Q"], []
    said = say(rows, near.near_duplicate(scope="dataset", prefer="first"))
    assert {name: reason for name, (reason, _) in said.items()} == {
        "r1": "like r0 (100 % the same)",
        "r2": said["r2"][0],
    }
    assert said["r1"][1] == 1.0
    assert "r0" in said["r2"][0]


def test_an_answer_alone_can_be_compared(say):
    rows = answers(CAT, CAT_2)
    rows[0]["instruction"] = "Could you describe what the photographer of this scene saw, and when?"
    rows[1]["instruction"] = "Write a caption."
    assert say(rows, near.near_duplicate()) == {}
    assert set(say([], near.near_duplicate(fields="answer"))) == {"r1"}


GOOD = [
    ("Is it day?", "Yes."),
    ("Is it a sunny day?", "Yes."),
    ("Is the man on the left?", "Yes, he is."),
    ("Is the woman on the right?", "Yes, she is."),
    ("How many dogs are in the picture?", "There are three dogs."),
    ("How many cats are in the picture?", "There are no cats here."),
    ("What colour is the car?", "The car is red."),
    ("What colour is the house?", "The house is white."),
    ("猫在做什么？", "猫在红色的沙发上睡觉。"),
    ("狗在做什么？", "两只狗在草地上追一个球。"),
    ("这个人拿着什么？", "他拿着一把蓝色的雨伞。"),
    ("猫は何をしていますか。", "赤いソファの上で寝ています。"),
    ("犬は何をしていますか。", "草の上でボールを追いかけています。"),
    ("Was macht die Katze?", "Sie schläft auf dem roten Sofa."),
    ("Was macht der Hund?", "Er läuft einem Ball hinterher."),
    ("Que fait le chat ?", "Il dort sur le canapé rouge."),
    ("Que fait le chien ?", "Il court après une balle jaune."),
    ("¿Qué hace el gato?", "Duerme en el sofá rojo."),
    ("고양이는 무엇을 하고 있나요?", "빨간 소파 위에서 자고 있어요."),
    ("개는 무엇을 하고 있나요?", "잔디밭에서 공을 쫓고 있어요."),
    ("ماذا تفعل القطة؟", "إنها تنام على الأريكة الحمراء."),
    ("ماذا يفعل الكلب؟", "إنه يركض خلف الكرة على العشب."),
]


@pytest.mark.parametrize("fields", ["both", "answer"])
@pytest.mark.parametrize("scope", ["picture", "dataset"])
def test_good_records_stay(say, fields, scope):
    rows = [{"id": f"g{n:02}", "instruction": q, "answer": a} for n, (q, a) in enumerate(GOOD)]
    assert say(rows, near.near_duplicate(fields=fields, scope=scope)) == {}


TWINS = [
    ("en", CAT, CAT_2),
    ("de", "Die graue Katze schläft auf dem roten Sofa neben dem Fenster.",
     "Die graue Katze schläft auf einem roten Sofa neben dem Fenster."),
    ("fr", "Le chat gris dort sur le canapé rouge à côté de la fenêtre du salon.",
     "Le chat gris dort sur un canapé rouge à côté de la fenêtre du salon."),
    ("es", "El gato gris duerme en el sofá rojo junto a la ventana del salón.",
     "El gato gris duerme en un sofá rojo junto a la ventana del salón."),
    ("zh", "一只灰色的猫在窗边的红色沙发上睡觉，外面可以看到港口。",
     "一只灰色的猫在窗边的红色沙发上睡觉，外面能看到港口。"),
    ("ja", "灰色の猫が窓のそばの赤いソファの上で気持ちよさそうに寝ています。",
     "灰色の猫が窓のそばの青いソファの上で気持ちよさそうに寝ています。"),
    ("ko", "회색 고양이가 창문 옆에 있는 빨간 소파 위에서 편안하게 자고 있습니다.",
     "회색 고양이가 창문 옆에 있는 파란 소파 위에서 편안하게 자고 있습니다."),
    ("ar", "تنام القطة الرمادية على الأريكة الحمراء بجانب النافذة في غرفة الجلوس.",
     "تنام القطة الرمادية على الأريكة الزرقاء بجانب النافذة في غرفة الجلوس."),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), [twin[1:] for twin in TWINS], ids=[t[0] for t in TWINS])
def test_one_edited_word_is_found_in_every_language(say, one, other):
    assert len(say(answers(one, other, DOG), near.near_duplicate(fields="answer"))) == 1


def test_what_goes_is_like_what_stays_and_not_by_way_of_a_third(say):
    chain = [
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen",
        "one two three four five six seven eight nine ten eleven twelve umbrellas fourteen",
        "one two three four five six seven eight nine gun eleven bottles umbrellas fourteen",
    ]
    ab, bc, ac = jaccard(pa.array(chain), np.array([0, 1, 0]), np.array([1, 2, 2]))
    threshold = float(min(ab, bc))
    assert ac < threshold
    rows = answers(*chain)
    said = say(rows, near.near_duplicate(fields="answer", threshold=threshold, prefer="first"))
    assert set(said) == {"r1"}


def test_a_copy_goes_for_what_stays_when_the_first_copy_goes_too(say):
    said = say(answers(CAT, CAT_2, CAT_2.upper()), near.near_duplicate(prefer="first"))
    assert {"r0"} == {reason.split()[1] for reason, _ in said.values()}
    assert said["r1"][1] == said["r2"][1] < 1


def test_what_another_filter_dropped_takes_nobody_with_it(say):
    rows = answers(CAT, CAT_2)
    assert say(rows, near.near_duplicate(prefer="first"), ["r0"]) == {}


# Conversations


def turns(name, *texts, **more):
    return [
        {"id": f"{name}{n}", "answer": text, "conversation": name, "turn": n, **more}
        for n, text in enumerate(texts)
    ]


def test_turns_of_one_conversation_are_not_compared(say):
    assert say(turns("a", CAT, CAT_2, CAT), near.near_duplicate(fields="answer")) == {}


def test_a_conversation_goes_as_a_whole(say):
    rows = turns("a", CAT, DOG) + turns("b", CAT_2, DOG + " Yes.")
    said = say(rows, near.near_duplicate(fields="answer", prefer="first"))
    assert {name: reason.split()[1] for name, (reason, _) in said.items()} == {
        "b0": "a0",
        "b1": "a1",
    }


def test_one_new_turn_keeps_a_conversation_whole(say):
    rows = turns("a", CAT, DOG) + turns("b", CAT_2, "The harbour is full of small white boats.")
    assert say(rows, near.near_duplicate(fields="answer")) == {}


def test_turns_like_those_of_two_others_are_a_conversation_of_its_own(say):
    rows = turns("a", CAT, "What a large and quiet harbour that is, says the painter.")
    rows += turns("b", DOG, "The harbour is full of small white boats.")
    rows += turns("c", CAT_2, DOG)
    assert say(rows, near.near_duplicate(fields="answer")) == {}


def test_the_conversation_that_says_more_stays(say):
    rows = turns("a", CAT, DOG) + turns("b", CAT_2, DOG, "The harbour is full of white boats.")
    said = say(rows, near.near_duplicate(fields="answer", prefer="first"))
    assert set(said) == {"a0", "a1"}


def test_a_record_goes_for_a_turn_and_no_turn_for_a_record(say):
    rows = [*turns("m", CAT_2, DOG), *answers(CAT)]
    said = say(rows, near.near_duplicate(fields="answer"))
    assert {name: reason.split()[1] for name, (reason, _) in said.items()} == {"r0": "m0"}


def test_short_turns_count_only_when_equal(say):
    rows = turns("a", CAT, "Yes, it is.") + turns("b", CAT_2, "Yes it is")
    assert set(say(rows, near.near_duplicate(fields="answer", prefer="first"))) == {"b0", "b1"}
    rows = turns("c", DOG, "Yes.") + turns("d", DOG, "No.")
    said = say(rows, near.near_duplicate(fields="answer", prefer="first"))
    assert set(said) == {"b0", "b1"}


# What is kept


@pytest.fixture
def counted(monkeypatch):
    seen = {"sketched": 0, "compared": 0}

    def sketching(texts):
        seen["sketched"] += len(texts)
        return sketch(texts)

    def comparing(texts, left, right):
        seen["compared"] += len(left)
        return jaccard(texts, left, right)

    monkeypatch.setattr(near, "sketch", sketching)
    monkeypatch.setattr(pairs, "jaccard", comparing)
    return seen


def test_another_threshold_sketches_and_compares_nothing(say, counted):
    rows = answers(CAT, CAT_2, DOG)
    assert len(say(rows, near.near_duplicate(threshold=0.7))) == 1
    before = dict(counted)
    assert before == {"sketched": 6, "compared": 1}
    assert say([], near.near_duplicate(threshold=0.99)) == {}
    assert len(say([], near.near_duplicate(threshold=0.5, prefer="first"))) == 1
    assert counted == before
    # Over the dataset other texts are compared; none is sketched again.
    assert len(say([], near.near_duplicate(threshold=0.5, scope="dataset", prefer="first"))) == 1
    assert counted["sketched"] == before["sketched"]
    compared = counted["compared"]
    say([], near.near_duplicate(threshold=0.9, scope="dataset"))
    assert counted["compared"] == compared


def test_texts_about_different_pictures_are_not_even_compared(say, counted):
    """Texts from a template are alike by the million; those about one picture are few."""
    rows = [
        {"id": f"{n}_{side}", "answer": f"{CAT} Number {n}{side}.", "image_ids": [f"P{n}"]}
        for n in range(50)
        for side in "ab"
    ]
    said = say(rows, near.near_duplicate(fields="answer"))
    assert {id_[:-2] for id_ in said} == {str(n) for n in range(50)}
    assert counted["compared"] < 60


def test_texts_about_the_same_pictures_in_another_order_are_compared(say):
    rows = [
        {"id": "1", "answer": CAT, "image_ids": ["A", "B"]},
        {"id": "2", "answer": CAT_2, "image_ids": ["B", "A"]},
        {"id": "3", "answer": CAT_2, "image_ids": ["B"]},
    ]
    assert len(say(rows, near.near_duplicate(fields="answer"))) == 1


def test_only_what_is_new_is_compared(say, counted):
    rows = answers(*(f"{CAT} Number {n}." for n in range(8)))
    say(rows, near.near_duplicate())
    assert counted["compared"] == 8 * 7 / 2
    said = say([{"id": "new", "answer": CAT}], near.near_duplicate(prefer="first"))
    assert counted["compared"] == 8 * 7 / 2 + 8
    assert counted["sketched"] == 2 * 9
    assert "new" in said or len(said) == 8


def test_the_same_pairs_are_found_at_once_and_little_by_little():
    rng = np.random.default_rng(0)
    bands = rng.integers(0, 40, (300, 25), np.uint32)
    place = rng.permutation(300)
    every = set(zip(*pairs.bucket_pairs(bands, place, np.ones(300, bool)), strict=True))
    new = rng.random(300) < 0.1
    some = set(zip(*pairs.bucket_pairs(bands, place, new), strict=True))
    assert some == {(a, b) for a, b in every if new[a] or new[b]}
    expected = {
        (a, b)
        for a in range(300)
        for b in range(a + 1, 300)
        if (bands[place[a]] == bands[place[b]]).any()
    }
    assert every == expected


def test_a_bucket_of_thousands_is_not_squared():
    bands = np.zeros((5_000, 25), np.uint32)
    left, right = pairs.bucket_pairs(bands, np.arange(5_000), np.ones(5_000, bool))
    assert len(left) < 5_000 * 40
    for hub in range(8):
        assert set(range(hub + 1, 5_000)) <= set(right[left == hub].tolist())


def test_of_thousands_that_are_alike_few_stay(say):
    rows = answers(*(f"{CAT} {DOG} Seen at {n // 60:02}:{n % 60:02}." for n in range(1_440)))
    said = say(rows, near.near_duplicate())
    assert len(said) > 0.98 * len(rows)
    assert min(score for _, score in said.values()) > 0.9
    assert not {reason.split()[1] for reason, _ in said.values()} & set(said)


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": 0.3}, {"threshold": 1.1}, {"fields": "x"}, {"scope": "x"}, {"prefer": "x"}],
)
def test_a_wrong_parameter_is_a_sentence(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))!r} cannot be"):
        near.near_duplicate(**wrong)


@pytest.fixture
def recipe(tmp_path):
    def load(text):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return load_recipe(str(path))

    return load


def test_a_recipe_writes_verdicts_and_takes_them_back(store, recipe):
    with store.writing("test"):
        store.add([record(0, **row) for row in answers("Of the sofa", CAT, CAT_2, DOG, CAT)])
        store.sync()
    said = recipe(
        '[[filter]]\nuse = "exact_duplicate"\n'
        '[[filter]]\nuse = "near_duplicate"\nthreshold = 0.8\nprefer = "first"\n'
    )
    for _ in range(2):
        funnel = curating.curate(store, said)
        assert [(s.filter, s.dropped) for s in funnel.stages] == [
            ("exact_duplicate", 1),
            ("near_duplicate", 1),
        ]
        with store.reading() as connection:
            found = connection.execute(
                "SELECT record, reason, score > 0.9 FROM verdicts ORDER BY record"
            ).fetchall()
        assert found == [("r2", "like r1 (96 % the same)", True), ("r4", "the same as r1", None)]


# Exact duplicates


def test_exact_duplicates_per_picture_and_over_the_dataset(say):
    rows = answers("It sleeps.", "it SLEEPS", "It sleeps!", "It eats.")
    rows[2]["image_ids"] = ["Q"]
    assert {n: r for n, (r, _) in say(rows, exact_duplicate()).items()} == {"r1": "the same as r0"}
    assert set(say([], exact_duplicate(scope="dataset"))) == {"r1", "r2"}
    assert set(say([], repeated_question())) == {"r1", "r3"}
    with pytest.raises(ValueError, match="'scope' cannot be 'x'"):
        exact_duplicate(scope="x")


def test_good_records_are_no_exact_duplicates(say):
    rows = [{"id": f"g{n:02}", "instruction": q, "answer": a} for n, (q, a) in enumerate(GOOD)]
    assert say(rows, exact_duplicate(scope="dataset")) == {}
    assert say([], repeated_question()) == {}


def exact(say, rows, **parameters):
    said = say(rows, exact_duplicate(**parameters))
    return {name: reason.removeprefix("the same as ") for name, (reason, _) in said.items()}


def test_a_conversation_is_an_exact_duplicate_as_a_whole_or_not_at_all(say):
    rows = turns("a", "A cat.", "A dog.") + turns("b", "a CAT", "A dog!")
    assert exact(say, rows) == {"b0": "a0", "b1": "a1"}
    rows = turns("c", "A hat.", "A bird.") + turns("d", "A hat.", "A tree.")
    found = exact(say, rows)
    assert found == {"b0": "a0", "b1": "a1"}  # one new turn each: no holes


def test_of_two_conversations_the_one_that_says_more_stays(say):
    rows = turns("a", "A cat.", "A dog.") + turns("b", "A cat.", "A dog.", "A bird.")
    assert exact(say, rows) == {"a0": "b0", "a1": "b1"}


def test_a_single_record_goes_for_a_turn_and_no_turn_goes_for_it(say):
    rows = [*turns("m", "A cat.", "A dog."), *answers("A cat.", "a cat")]
    assert exact(say, rows) == {"r0": "m0", "r1": "m0"}


def test_a_turn_that_repeats_its_own_conversation_goes_alone(say):
    rows = turns("a", "A cat.", "A dog.", "a cat!")
    assert exact(say, rows) == {"a2": "a0"}
    # Of two such conversations one goes whole, and what repeats names what stays.
    found = exact(say, turns("b", "A cat.", "A dog.", "A cat."))
    assert found == {"a2": "a0", "b0": "a0", "b1": "a1", "b2": "a0"}


def test_turns_of_two_others_make_no_duplicate(say):
    rows = turns("a", "A cat.", "A hat.") + turns("b", "A dog.", "A tree.")
    assert exact(say, [*rows, *turns("c", "A cat.", "A dog.")]) == {}


@pytest.mark.parametrize(("prefer", "stays"), [("first", "r0"), ("longest", "r2"), ("best", "r1")])
def test_which_of_the_same_stays(say, prefer, stays):
    found = exact(say, answers("A cat", "A cat.", "A -- cat --"), prefer=prefer)
    assert found == dict.fromkeys({"r0", "r1", "r2"} - {stays}, stays)


def test_a_question_asked_twice_makes_no_hole_in_a_conversation(say):
    rows = [
        {"id": f"{name}{n}", "instruction": "What else?", "answer": f"{name} {n}", "conversation": name, "turn": n}
        for name in "ab"
        for n in range(2)
    ]  # fmt: skip
    rows[-1]["instruction"] = "And what more?"
    assert say(rows, repeated_question()) == {}
    rows = [{"id": "one", "instruction": "what else", "answer": "It is one."}]
    said = say(rows, repeated_question())
    assert {name: reason for name, (reason, _) in said.items()} == {"one": "asks the same as a0"}


def test_a_wrong_keep_rule_is_a_sentence():
    with pytest.raises(
        ValueError, match="'prefer' cannot be 'x'; it is 'first', 'longest', 'best'"
    ):
        exact_duplicate(prefer="x")
