"""Shipped recipes: they load, they are told of, they keep what their task shows as examples, and drop what it does not want."""

from pathlib import Path

import pytest

from mimicit.curate import curate, undo
from mimicit.curate.recipe import RECIPES, load_recipe
from mimicit.errors import RecipeError
from mimicit.schema import Instruction
from syphus.annotations.context import Context
from syphus.ledger import Reply
from syphus.records import make_records
from syphus.task import BUILT_IN, load_task

ROOT = Path(__file__).parents[3]
NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))
TASKS = sorted(
    path.parent.name
    for path in BUILT_IN.glob("*/task.toml")
    if load_task(path.parent.name).makes_records
)
PICTURES = {"la_conversation": 1, "la_detail": 1, "la_reasoning": 1, "sd": 2, "cgd": 2, "vst": 5}
"""How many there are of a record; the other tasks' pictures are frames, or not there."""


def examples(name: str) -> list[Instruction]:
    task = load_task(name)
    reply = Reply(1, "abcdef" + "0" * 26, "", "stop", None, None)
    found = []
    for n, example in enumerate(task.examples):
        images = tuple(f"IMG_{n}_{k}" for k in range(PICTURES.get(name, 0)))
        context = Context(f"example{n}")
        found += make_records(task, context, reply, example.pairs, images, digest="d").records
    return found


def stored(store, records):
    with store.writing("test"):
        store.add(records)
        store.sync()
    return store


def said(store):
    with store.reading() as connection:
        return connection.execute("SELECT record, filter FROM verdicts ORDER BY ALL").fetchall()


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_recipe_loads_and_is_in_the_docs(name):
    assert load_recipe(name).name == name
    assert f"`{name}`" in (ROOT / "docs" / "curation.md").read_text(encoding="utf-8")


def test_every_task_that_makes_records_has_a_recipe():
    assert set(TASKS) <= set(NAMES)


@pytest.mark.parametrize("name", [*TASKS, "starter", "loose"])
def test_a_recipe_keeps_the_examples_of_its_task(store, name):
    tasks = [name] if name in TASKS else TASKS
    records = [record for task in tasks for record in examples(task)]
    stored(store, records)
    curate(store, load_recipe(name))
    # One question for six wordings is wanted there; `starter` knows of no task.
    wanted = {record.id for record in records if record.task == "funqa_translation"}
    dropped = [
        one for one in said(store) if (one[0] in wanted, one[1]) != (True, "repeated_question")
    ]
    assert dropped == []


LONG = "It is a quiet street. " + " ".join(
    f"House number {n} has a {c} door and {n + 2} windows." for n, c in enumerate(
        ("red", "green", "blue", "white", "black", "gray", "brown", "yellow"), start=3)
)  # fmt: skip
CHOICES = "What is it?\nA. a dog\nB. a cat\nC. a horse\nD. a cow\nE. a goat"
BAD = {
    "la_conversation": [
        ("too_short", "What color is the bus?", "Red.", 1),
        ("too_long", "What is there?", LONG, 1),
        ("picture_count", "What is there?", "There is a small dog.", 2),
        ("talks_about_notes", "What is there?", "The caption tells of a dog.", 1),
    ],
    "la_detail": [
        ("too_short", "What is to be seen?", "A man is walking his dog in a park.", 1),
        ("guesses", "What is to be seen?", f"{LONG} The last one seems to be empty.", 1),
        ("list", "What is to be seen?", f"{LONG}\n- a street\n- a house.", 1),
        ("coordinates", "What is to be seen?", f"{LONG} A dog is at [0.1, 0.2, 0.3, 0.4].", 1),
    ],
    "la_reasoning": [
        ("too_short", "Why is the man wet?", "It has rained on him.", 1),
        ("unfinished", "Why is the street quiet?", f"{LONG} That is so because", 1),
    ],
    "sd": [
        ("picture_count", "What has changed?", "The van is gone in the second picture.", 1),
        ("calls_them_otherwise", "What has changed?", "In the right picture the van is gone.", 2),
        ("talks_about_notes", "What has changed?", "The first description tells of a van.", 2),
    ],
    "cgd": [
        ("picture_count", "How do the dogs differ?", "The first picture has a brown dog.", 3),
        ("says_which", "How do the dogs differ?", "One of them is brown and it has a hat.", 2),
    ],
    "sn": [("too_short", "Where can I sit?", "On a chair.", 0)],
    "dc": [
        ("annotation_talk", "When does he jump?", "He jumps at 12.5 seconds.", 0),
        ("frame_numbers", "When does he jump?", "He jumps in frame 12 of it.", 0),
        ("talks_about_notes", "When does he jump?", "He jumps in the third segment.", 0),
    ],
    "tvc": [
        ("annotation_talk", "Why does she cry?", "She is told at 00:12 that he leaves.", 0),
        ("talks_about_notes", "Why does he cry?", "The male character has been left.", 0),
    ],
    "e4d": [
        ("speaks_of_a_film", "Where is my cup?", "The video shows it on the table.", 0),
        ("letters", "Where is my cup?", "C puts it on the table.", 0),
        ("letters", "Who has my cup?", "The man X has it in his hand.", 0),
        ("times", "When did I put it down?", "You put it down at 12.5 s.", 0),
    ],
    "vst": [
        ("picture_count", "How did the day end?", "They went home tired and happy.", 1),
        ("placeholders", "Who came along?", "Her uncle [male] came along with them.", 5),
        ("guesses", "How did it end?", "They were possibly tired and happy.", 5),
    ],
    "funqa_dialogue": [("too_long", "What does the dog do?", f"{LONG[:300]}.", 0)],
    "funqa_mcqa": [
        ("no_valid_option", CHOICES, "F. a bird", 0),
        ("five_options", CHOICES.rsplit("\n", 1)[0], "B. a cat", 0),
        ("options_differ", CHOICES.replace("a goat", "A dog"), "B. a cat", 0),
        ("question_word", f"Is it a cat?{CHOICES[11:]}", "B. a cat", 0),
        ("all_or_none", CHOICES.replace("a goat", "none of these"), "B. a cat", 0),
    ],
    "funqa_translation": [
        ("not_translated", "What happens in the video?", "An old man does 太极拳 in a park.", 0),
        ("talks_about_notes", "What happens in the video?", "Here is the translation: a man runs.", 0),
        ("too_short", "What happens in the video?", "A dog runs.", 0),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_a_recipe_drops_what_its_task_does_not_want_and_judges_no_other_task(store, name):
    records, expected = [], []
    for n, (filter_, question, answer, pictures) in enumerate(BAD[name]):
        images = tuple(f"IMG_{n}_{k}" for k in range(pictures))
        texts = {"instruction": question, "answer": answer, "image_ids": images}
        records.append(Instruction(id=f"A{n}", task=name, **texts))
        records.append(Instruction(id=f"B{n}", task="another", **texts))
        expected.append((f"A{n}", filter_))
    stored(store, records)
    curate(store, load_recipe(name))
    assert said(store) == expected


@pytest.mark.parametrize(
    ("task", "pictures", "question", "answer"),
    [
        ("e4d", 0, "How long must it fry?", "Turn it over after 30 seconds or so."),
        ("e4d", 0, "Which fruit is healthy?", "The orange, for it has vitamin C."),
        ("e4d", 0, "What hangs there?", "The picture frame that you bought."),
        ("dc", 0, "What does he do?", "He frames 3 pictures and hangs them on the wall."),
        ("sd", 2, "Who is new?", "A photographer is there in the second picture."),
        ("vst", 5, "Who was there?", "A man from location was there with his whole family."),
        ("la_detail", 1, "What is to be seen?", f"{LONG} A man -- the owner -- looks out."),
        ("funqa_dialogue", 0, "Why?", "The dog holds the leash."),
    ],
)
def test_what_only_looks_like_a_fault_is_kept(store, task, pictures, question, answer):
    images = tuple(f"IMG_{k}" for k in range(pictures))
    one = Instruction(id="A", task=task, instruction=question, answer=answer, image_ids=images)
    stored(store, [one])
    curate(store, load_recipe(task))
    assert said(store) == []


DUPLICATES = """
name = "mine"
tasks = ["sd"]
[[filter]]
use = "exact_duplicate"
[[filter]]
use = "near_duplicate"
fields = "answer"
[[filter]]
name = "rare"
where = "(SELECT count(*) FROM instructions AS o WHERE o.answer = answer) < 99"
"""


def test_filters_of_many_records_see_the_tasks_of_the_recipe_alone(store, tmp_path):
    long = "A white van is parked near the gate of the yard in the first picture only."
    pairs = [
        ("A1", "dc", "What?", long),
        ("B1", "sd", "What?", long),  # the first of its task: the one before is not seen
        ("B2", "sd", "What?", long),
        ("B3", "sd", "Where?", f"{long} Yes."),
        ("C1", "dc", "What?", long),
    ]
    stored(store, [Instruction(id=i, task=t, instruction=q, answer=a) for i, t, q, a in pairs])
    (tmp_path / "mine.toml").write_text(DUPLICATES)
    recipe = load_recipe(str(tmp_path / "mine.toml"))
    funnel = curate(store, recipe)
    assert said(store) == [("B1", "near_duplicate"), ("B2", "exact_duplicate")]
    assert funnel.accepted == 3
    curate(store, recipe)
    assert len(said(store)) == 2
    undo(store, "mine")
    assert said(store) == []


@pytest.mark.parametrize("tasks", ['"sd"', "[]", "[1]", "{ a = 1 }"])
def test_tasks_are_names(tmp_path, tasks):
    path = tmp_path / "mine.toml"
    path.write_text(f'tasks = {tasks}\n[[filter]]\nuse = "empty"\n')
    with pytest.raises(RecipeError, match="`tasks` of the recipe"):
        load_recipe(str(path))


def test_the_name_of_a_task_stays_text(store, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("tasks = [\"x') OR ('1' = '1\"]\n[[filter]]\nuse = \"empty\"\n")
    stored(store, [Instruction(id="A", task="x", instruction="?", answer="?")])
    curate(store, load_recipe(str(path)))
    assert said(store) == []


def loaded(tmp_path, text, name="mine.toml"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_recipe(str(path))


def test_a_text_is_a_list_of_one_and_an_integer_a_number(tmp_path):
    for one, other in (
        ('use = "mentions"\nwords = "box"', 'use = "mentions"\nwords = ["box"]'),
        ('use = "judge_score"\nleast = 4', 'use = "judge_score"\nleast = 4.0'),
        ('use = "mix"\nby = "task"', 'use = "mix"\nby = ["task"]'),
    ):
        recipes = [loaded(tmp_path, f"[[filter]]\n{text}\n") for text in (one, other)]
        assert recipes[0].digest == recipes[1].digest


def test_a_recipe_may_begin_with_the_mark_that_editors_write(tmp_path):
    assert loaded(tmp_path, b"\xef\xbb\xbfname = 'x'\n[[filter]]\nuse = 'empty'\n").name == "x"


ANCHORS = """
name: x
filter:
  - &words {use: mentions, words: [box]}
  - {<<: *words, name: again}
"""
BOMB = (
    "filter:\n  - use: mentions\n    words:\n      - &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"      - &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
)
ITSELF = "filter:\n  - &a\n    use: mentions\n    words: *a\n"


def test_anchors_of_yaml_are_values(tmp_path):
    steps = loaded(tmp_path, ANCHORS, "mine.yaml").steps
    assert [step.name for step in steps] == ["mentions", "again"]
    assert steps[0].reason == steps[1].reason


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("mine.yaml", BOMB, "cannot be [['x', 'x'"),
        ("mine.yaml", ITSELF, "cannot be {"),
        ("mine.yaml", "filter: " + "[" * 5_000, "nested too deeply"),
        ("mine.toml", "filter = " + "[" * 5_000, "nested too deeply"),
        ("mine.yaml", "name: 2020-13-45", "not valid YAML"),
        ("mine.toml", "name = " + "9" * 5_000, "not valid TOML"),
        ("mine.toml", b"name = '\xe9'", "no text in UTF-8"),
        ("mine.toml", "#" * ((1 << 20) + 1), "larger than 1 MiB"),
        ("mine.yaml", 'filter: [{use: mentions, words: "\\ud800"}]', "cannot be"),
        ("mine.yaml", 'filter: [{where: "answer = \'\\0\'"}]', "an SQL predicate"),
        ("mine.yaml", "filter: [{use: [empty]}]", "uses ['empty'], which is no filter"),
        ("mine.toml", "name = 'judge:m'\n[[filter]]\nuse = 'empty'", "cannot be called 'judge:m'"),
        ("mine.toml", "name = 'review:a'\n[[filter]]\nuse = 'empty'", "cannot be called 'review:a'"),
        ("mine.toml", "name = ''\n[[filter]]\nuse = 'empty'", "has the `name` ''"),
        ("mine.toml", "name = 3\n[[filter]]\nuse = 'empty'", "has the `name` 3"),
        ("mine.yaml", 'filter: [{use: empty, name: "a\\e[2J"}]', "one line"),
        ("mine.toml", "[[filter]]\nuse = 'empty'\nname = 'error'", "another `name`"),
        ("mine.toml", "[[filter]]\nuse = 'judge_score'\nleast = nan", "cannot be nan"),
        ("mine.toml", "[[filter]]\nuse = 'judge_score'\nleast = inf", "cannot be inf"),
        ("mine.toml", f"[[filter]]\nuse = 'judge_score'\nleast = 1{'0' * 400}", "of type float"),
        ("mine.toml", f"[[filter]]\nuse = 'too_short'\nwords = {1 << 63}", "of type int"),
    ],
)  # fmt: skip
def test_a_recipe_of_a_stranger_is_refused_in_a_short_sentence(tmp_path, name, text, said):
    with pytest.raises(RecipeError, match=r"recipe") as caught:
        loaded(tmp_path, text, name)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1_000


def test_a_recipe_that_is_not_there_is_known_by_its_nearest_name():
    with pytest.raises(RecipeError, match="did you mean 'starter'"):
        load_recipe("startr")
