import pytest

from mimicit.curate import curate
from mimicit.curate.recipe import load_recipe
from mimicit.errors import RecipeError
from mimicit.store import Store
from tests.builders import record

PLANTED = {
    "good": {"instruction": "What is the cat doing?", "answer": "It sleeps on a red sofa."},
    "yes": {"instruction": "Is there a caption contest here?", "answer": "Yes."},
    "empty": {"answer": " …"},
    "terse": {"instruction": "What?", "answer": "It is a dog in the snow."},
    "long": {"answer": "very " * 400 + "long."},
    "echo": {"instruction": "What is in the picture?", "answer": "What is in the picture"},
    "told": {"answer": "The captions say that a dog is here."},
    "boxed": {"answer": "A bounding box surrounds the dog."},
    "numbers": {"answer": "The dog is at [0.12, 0.33, 0.8, 0.9]."},
    "twin": {"instruction": "what is the cat doing", "answer": "It sleeps on a RED sofa!"},
    "again": {"instruction": "What is the cat doing?", "answer": "It eats."},
    "elsewhere": {
        "instruction": "What is the cat doing?",
        "answer": "It eats.",
        "image_ids": ["another picture"],
    },
    "chinese": {"instruction": "猫在做什么？", "answer": "睡觉。"},
}
EXPECTED = {
    (
        "yes",
        "talks_about_annotations",
    ),  # a word is a word: a stricter recipe is for the user to write
    ("empty", "empty"),
    ("terse", "question_too_short"),
    ("long", "too_long"),
    ("echo", "echo"),
    ("told", "talks_about_annotations"),
    ("boxed", "talks_about_annotations"),
    ("numbers", "coordinates"),
    ("twin", "exact_duplicate"),
    ("good", "repeated_question"),  # the first by id stays, and that is "again"
}


@pytest.fixture
def planted(store) -> Store:
    with store.writing("test"):
        store.add(
            [
                record(n, id=f"T_INS_{name}", **texts)
                for n, (name, texts) in enumerate(PLANTED.items())
            ]
        )
        store.sync()
    return store


def rows(store, query):
    with store.reading() as connection:
        return connection.execute(query).fetchall()


def verdicts(store):
    return {
        (record.removeprefix("T_INS_"), f)
        for record, f in rows(store, "SELECT record, filter FROM verdicts")
    }


def recipe(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return load_recipe(str(path))


def test_the_starter_recipe_finds_what_was_planted(planted):
    funnel = curate(planted, load_recipe("starter"))
    assert verdicts(planted) == EXPECTED
    assert (funnel.records, funnel.accepted) == (13, 3)
    assert {id_ for (id_,) in rows(planted, "SELECT id FROM accepted")} == {
        "T_INS_again",
        "T_INS_elsewhere",
        "T_INS_chinese",
    }


def test_the_funnel_adds_up_and_shows_examples(planted):
    funnel = curate(planted, load_recipe("starter"))
    assert funnel.records - sum(stage.dropped for stage in funnel.stages) == funnel.accepted
    by_name = {stage.filter: stage for stage in funnel.stages}
    [example] = by_name["coordinates"].examples
    assert example["reason"] == "it quotes coordinates: [0.12, 0.33, 0.8, 0.9]"


def test_curating_again_gives_the_same_verdicts_once(planted):
    curate(planted, load_recipe("starter"))
    curate(planted, load_recipe("starter"))
    assert rows(planted, "SELECT count(*) FROM verdicts") == [(len(EXPECTED),)]
    assert len(list((planted.path / "verdicts").glob("*.parquet"))) == 1


def test_of_two_answers_the_one_that_other_filters_let_through_stays(store):
    with store.writing("test"):
        store.add(
            [
                record(1, id="T_INS_a", instruction="What is the cat doing?", answer="…"),
                record(2, id="T_INS_b", instruction="What is the cat doing?", answer="It sleeps."),
            ]
        )
        store.sync()
    curate(store, load_recipe("starter"))
    assert verdicts(store) == {("a", "empty")}


def test_nothing_is_deleted(planted):
    curate(planted, load_recipe("starter"))
    assert rows(planted, "SELECT count(*) FROM instructions") == [(13,)]
    [(reasons,)] = rows(planted, "SELECT reasons FROM rejected WHERE id = 'T_INS_twin'")
    assert reasons == [
        {"filter": "exact_duplicate", "reason": "the same as T_INS_good", "recipe": "starter"}
    ]


def test_a_changed_recipe_replaces_its_old_opinion(planted, tmp_path):
    text = 'name = "mine"\n[[filter]]\nuse = "too_long"\nwords = {}\n'
    curate(planted, recipe(tmp_path, text.format(5)))
    assert len(verdicts(planted)) > 1
    curate(planted, recipe(tmp_path, text.format(100)))
    assert verdicts(planted) == {("long", "too_long")}


def test_two_recipes_speak_side_by_side(planted, tmp_path):
    curate(planted, load_recipe("starter"))
    curate(planted, recipe(tmp_path, 'name = "mine"\n[[filter]]\nkeep = "id <> \'T_INS_again\'"\n'))
    assert rows(planted, "SELECT id FROM accepted ORDER BY id") == [
        ("T_INS_chinese",),
        ("T_INS_elsewhere",),
    ]


def test_a_predicate_in_sql_is_a_filter(planted, tmp_path):
    curate(planted, recipe(tmp_path, '[[filter]]\nkeep = "length(answer) < 2000"\n'))
    assert verdicts(planted) == {("long", "keep_1")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[filter]]\nuse = "too_shrot"', "did you mean 'too_short'"),
        ('[[filter]]\nuse = "too_short"\nword = 3', "no parameter 'word'"),
        ('[[filter]]\nuse = "too_short"\nwords = "3); DROP TABLE x"', "of type int"),
        ('[[filter]]\nuse = "too_short"\nfield = "answer) OR (1=1"', "cannot be"),
        ('[[filter]]\nuse = "mentions"\nwords = "caption"', "cannot be"),
        ('[[filter]]\nuse = "mentions"', "words"),
        ("[[filter]]\nkeep = 3", "`keep`"),
        ("filter = 3", "[[filter]]"),
        ('[[filtr]]\nuse = "empty"', "filtr"),
        ("[[filter", "not valid TOML"),
    ],
)
def test_a_wrong_recipe_is_a_sentence(tmp_path, text, said):
    with pytest.raises(RecipeError) as caught:
        recipe(tmp_path, text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "predicate",
    ["nothing = 1", "1 = 1) OR (", "(SELECT count(*) FROM read_text('/etc/passwd')) > 0"],
)
def test_a_predicate_that_is_wrong_or_reaches_out_is_refused(planted, tmp_path, predicate):
    with pytest.raises(RecipeError, match="keep_1"):
        curate(planted, recipe(tmp_path, f'[[filter]]\nkeep = "{predicate}"\n'))
    assert verdicts(planted) == set()


def test_an_unknown_recipe_names_the_shipped_ones():
    with pytest.raises(RecipeError, match="starter"):
        load_recipe("nothing")


def test_a_word_with_odd_signs_is_matched_as_it_stands(planted, tmp_path):
    with planted.writing("test"):
        planted.add([record(50, id="T_INS_odd", answer="Costs 5$ (+ tax) today.")])
        planted.sync()
    curate(planted, recipe(tmp_path, '[[filter]]\nuse = "mentions"\nwords = ["5$ (+ tax"]\n'))
    assert verdicts(planted) == {("odd", "mentions")}
