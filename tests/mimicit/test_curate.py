import pytest

from mimicit.curate import curate, explain, undo
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
        ('[[filter]]\nuse = "mentions"\nwords = 3', "cannot be"),
        ('[[filter]]\nuse = "too_short"\nwods = 3', "did you mean 'words'"),
        ('[[filter]]\nuse = "mentions"', "words"),
        ("[[filter]]\nkeep = 3", "`keep`"),
        ("filter = 3", "[[filter]]"),
        ('[[filtr]]\nuse = "empty"', "filtr"),
        ("[[filter", "not valid TOML"),
        ('[[filter]]\nuse = "empty"\n[[filter]]\nuse = "empty"', "two filters called 'empty'"),
        ("filter = [3]", "[[filter]]"),
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


# Again, and back


def everything(store):
    return rows(
        store,
        "SELECT record, filter, reason, recipe, recipe_digest, epoch_us(time), score, rejects FROM verdicts ORDER BY ALL",
    )


def test_only_new_records_are_looked_at(planted):
    assert curate(planted, load_recipe("starter")).new == 13
    before = everything(planted)
    assert curate(planted, load_recipe("starter")).new == 0
    assert everything(planted) == before
    with planted.writing("test"):
        planted.add([record(60, id="T_INS_new", answer="…"), record(61, id="T_INS_fine")])
        planted.sync()
    assert curate(planted, load_recipe("starter")).new == 2
    assert verdicts(planted) == EXPECTED | {("new", "empty")}


def test_bit_by_bit_is_the_same_as_all_at_once(tmp_path):
    """Duplicates among old and new records, of which the first by id stays, in whatever order they come."""
    texts = list(PLANTED.items())
    one, other = (Store.open(tmp_path / name, create=True) for name in ("one", "other"))
    for store, bits in ((one, [texts]), (other, [texts[9:], texts[:4], texts[4:9]])):
        for bit in bits:
            with store.writing("test"):
                store.add(
                    [record(n, id=f"T_INS_{name}", **said) for n, (name, said) in enumerate(bit)]
                )
                store.sync()
            curate(store, load_recipe("starter"))
    assert verdicts(one) == verdicts(other) == EXPECTED


def test_undo_brings_back_the_exact_former_view(planted, tmp_path):
    text = 'name = "mine"\n[[filter]]\nuse = "too_long"\nwords = {}\n'
    curate(planted, load_recipe("starter"))
    views = [everything(planted)]
    funnels = [None]
    for words in (5, 100, 3):
        funnels.append(curate(planted, recipe(tmp_path, text.format(words))))
        views.append(everything(planted))
    for _ in range(3):
        views.pop()
        funnels.pop()
        assert undo(planted, "mine") == funnels[-1]
        assert everything(planted) == views[-1]
    with pytest.raises(RecipeError, match="nothing of the recipe 'mine'"):
        undo(planted, "mine")
    assert curate(planted, recipe(tmp_path, text.format(5))).new == 13


def test_an_undo_that_was_killed_is_finished_by_the_next(planted, tmp_path, monkeypatch):
    text = 'name = "mine"\n[[filter]]\nuse = "too_long"\nwords = {}\n'
    curate(planted, recipe(tmp_path, text.format(5)))
    before = everything(planted)
    curate(planted, recipe(tmp_path, text.format(3)))
    with monkeypatch.context() as patch:
        patch.setattr("mimicit.curate.history.shutil.rmtree", lambda *a, **b: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            undo(planted, "mine")
    undo(planted, "mine")
    assert everything(planted) == before


def test_a_recipe_s_name_leads_nowhere(planted, tmp_path):
    curate(planted, recipe(tmp_path, 'name = "../../x"\n[[filter]]\nuse = "empty"\n'))
    [folder] = (planted.path / "curation").iterdir()
    assert ".." not in folder.name
    assert rows(planted, "SELECT DISTINCT recipe FROM verdicts") == [("../../x",)]


def test_every_filter_says_what_it_makes_of_one_record(planted):
    curate(planted, load_recipe("starter"))
    said = {one.filter: one for one in explain(planted, load_recipe("starter"), "T_INS_boxed")}
    assert [name for name, one in said.items() if one.drops] == ["talks_about_annotations"]
    assert said["talks_about_annotations"].reason == "it says bounding box"
    said = {one.filter: one for one in explain(planted, load_recipe("starter"), "T_INS_twin")}
    assert said["exact_duplicate"].reason == "the same as T_INS_good"
    with pytest.raises(RecipeError, match="no record 'nobody'"):
        explain(planted, load_recipe("starter"), "nobody")


def test_a_filter_that_fails_on_one_record_costs_no_other(planted, tmp_path):
    text = """
[[filter]]
use = "empty"
[[filter]]
name = "number"
where = "CAST(CAST(answer = 'A number' AS INTEGER) * 9e18 * 9 AS BIGINT) = 0"
[[filter]]
use = "too_long"
"""
    with planted.writing("test"):
        planted.add(
            [
                record(70, id="T_INS_three", answer="It is number 3"),
                record(71, id="T_INS_none", answer="A number"),
            ]
        )
        planted.sync()
    funnel = curate(planted, recipe(tmp_path, text))
    assert verdicts(planted) == {("empty", "empty"), ("none", "error"), ("long", "too_long")}
    assert funnel.stages[-1].filter == "error"
    assert funnel.records - sum(stage.dropped for stage in funnel.stages) == funnel.accepted
    [(reason,)] = rows(planted, "SELECT reason FROM verdicts WHERE filter = 'error'")
    assert "number" in reason


def test_a_recipe_may_be_yaml(planted, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nfilter:\n- use: too_long\n  words: 5\n- where: length(answer) < 9\n"
    )
    loaded = load_recipe(str(path))
    assert [step.name for step in loaded.steps] == ["too_long", "where_2"]
    path.write_text("filter: [")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(str(path))


def test_what_a_changed_recipe_said_before_it_failed_is_not_taken_for_the_old_one_s(
    planted, tmp_path
):
    """The changed recipe's filters of one record were asked; then its last filter fails, and the old recipe is asked again."""
    text = 'name = "mine"\n[[filter]]\nuse = "too_long"\nwords = {}\n{}'
    fails = (
        "[[filter]]\nwhere = \"(SELECT CAST('x' || max(id) AS INTEGER) FROM instructions) > 0\"\n"
    )
    curate(planted, recipe(tmp_path, text.format(100, "")))
    before = everything(planted)
    with pytest.raises(RecipeError, match="where_2"):
        curate(planted, recipe(tmp_path, text.format(3, fails)))
    curate(planted, recipe(tmp_path, text.format(100, "")))
    assert everything(planted) == before


def test_verdicts_follow_what_they_are_about_though_the_funnel_looks_the_same(planted, tmp_path):
    """A predicate over other tables is asked each time: here about what another recipe says."""
    text = """name = "mine"
[[filter]]
where = "id NOT IN (SELECT record FROM verdicts WHERE filter LIKE 'other%')"
"""
    of_others = 'name = "others"\n[[filter]]\nname = "other"\nwhere = "id <> \'T_INS_{}\'"\n'
    for dropped in ("again", "elsewhere"):
        curate(planted, recipe(tmp_path, of_others.format(dropped)))
        curate(planted, recipe(tmp_path, text))
        assert verdicts(planted) == {(dropped, "other"), (dropped, "where_1")}


def test_the_same_counts_and_examples_may_be_other_verdicts(store, tmp_path):
    """Of five that are dropped the last is another one, which no count and no example tells."""
    with store.writing("test"):
        store.add([record(n, id=f"T_INS_{n}") for n in range(8)])
        store.sync()
    said = (
        "[[filter]]\nwhere = \"id NOT IN (SELECT record FROM verdicts WHERE recipe = 'others')\"\n"
    )
    for last in (5, 6):
        others = f"name = 'others'\n[[filter]]\nwhere = \"id NOT IN ('T_INS_0', 'T_INS_1', 'T_INS_2', 'T_INS_3', 'T_INS_{last}')\"\n"
        curate(store, recipe(tmp_path, others))
        curate(store, recipe(tmp_path, said))
        found = rows(store, "SELECT max(record) FROM verdicts WHERE recipe <> 'others'")
        assert found == [(f"T_INS_{last}",)]
