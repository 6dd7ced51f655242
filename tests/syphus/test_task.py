import shutil
from dataclasses import replace

import pytest

from syphus.annotations.context import Context, Picture, Thing
from syphus.errors import TaskError
from syphus.parse import parse_pairs
from syphus.render import render_pairs, render_prompt, render_query, render_request
from syphus.request import SeenPicture
from syphus.task import BUILT_IN, built_in_tasks, load_task

CONTEXT = Context(
    "cat",
    (Picture("cat.png"),),
    ("A cat on a sofa.",),
    (Thing("cat", (0.1, 0.2, 0.5, 0.6)),),
    source="a.json#0",
)
MAKERS = [name for name in built_in_tasks() if load_task(name).makes_records]


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BUILT_IN / "la_conversation", tmp_path / "mine")


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_the_examples_of_a_task_are_read_by_the_parser_of_replies(name, as_json):
    task = load_task(name)
    assert len(task.examples) >= 2
    for example in task.examples:
        text = render_pairs(task, example.pairs, as_json=as_json)
        assert parse_pairs(text, shape=task.shape, form=task.reply.form) == example.pairs


def test_a_folder_anywhere_works_like_a_built_in_one(folder):
    mine, built_in = load_task(str(folder)), load_task("la_conversation")
    assert render_prompt(mine) == render_prompt(built_in)


def test_the_prompt_is_system_then_examples_then_query():
    task = load_task("la_conversation")
    prompt = render_prompt(task)
    assert [m.role for m in prompt.messages] == ["system"] + ["user", "assistant"] * len(
        task.examples
    )
    request = render_request(task, prompt, CONTEXT, model="m", seed=0)
    assert request.messages[:-1] == prompt.messages
    assert "A cat on a sofa." in request.query


def key(**changes):
    task = load_task("la_conversation")
    options = {"model": "m", "seed": 0} | changes
    context = options.pop("context", CONTEXT)
    return render_request(task, render_prompt(task), context, **options).key


def test_the_key_covers_what_can_change_the_answer_and_nothing_else():
    other = replace(CONTEXT, id="other", pictures=(Picture("b.png"),), source="b.json#9")
    assert key() == key() == key(context=other)
    told = replace(CONTEXT, captions=("A dog.",))
    shown = (SeenPicture("1f", "image/png", b"..."),)
    changed = [
        key(model="n"),
        key(seed=1),
        key(context=told),
        key(as_json=True),
        key(pictures=shown),
    ]
    assert len({key(), *changed}) == 6


def test_a_repaired_request_is_another_request():
    task = load_task("la_conversation")
    request = render_request(task, render_prompt(task), CONTEXT, model="m", seed=0)
    again = request.again("Sorry.", "no pairs")
    assert [message.content for message in again.messages[-2:]] == [
        "Sorry.",
        "This reply cannot be used: no pairs. Write it again, in the given form.",
    ]
    assert (again.sample, again.sampling.seed) == (1, 1)
    assert len({request.key, again.key, request.again("Sorry.", "too few").key}) == 3
    long = request.again("x" * 10_000, "no pairs")
    assert len(long.messages[-2].content) < 2_100


def test_a_changed_system_message_is_another_request(folder):
    (folder / "system.md").write_text("Speak like a pirate.")
    mine = load_task(str(folder))
    assert render_request(mine, render_prompt(mine), CONTEXT, model="m", seed=0).key != key()


HEAD = "name='x'\ntitle='x'\nrecord_prefix='X'\npicture_prefix='X'\n"


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("task.toml", "name = ", "not valid TOML"),
        ("task.toml", "name = 'x'", "'title' is missing"),
        ("task.toml", HEAD + "[reply]\nform = 'poem'", "reply, form: Input should be"),
        (
            "task.toml",
            HEAD + "[reply]\nmin_pairs = 5\nmax_pairs = 2",
            "min_pairs 5 is more than max_pairs 2",
        ),
        ("task.toml", HEAD + "[reply]\nform = 'conversations'", "needs `rounds`"),
        ("task.toml", HEAD + "[reply]\nform = 'texts'", "needs the `question`"),
        ("task.toml", HEAD + "[reply]\nform = 'json'", "has no reply.schema.json"),
        ("task.toml", HEAD + "[reply]\n[rules]\nrude = true", "rules: there is no key 'rude'"),
        (
            "task.toml",
            HEAD + "[reply]\n[context]\ndraw = {roles = 3}",
            "draws 3 lines of roles.txt, which is not there",
        ),
        (
            "examples/01.yaml",
            "context: {}\npairs: [{question: q, answer: a}]\ntexts: [x]",
            "give one of",
        ),
        (
            "examples/01.yaml",
            "context: {objects: [{name: x, box: [0, 0, 3, 3]}]}\npairs: [{question: q, answer: a}]",
            "shares between 0 and 1",
        ),
        ("system.md", None, "has no system.md"),
        ("system.md", b"\xff\xfe", "not UTF-8"),
        ("query.md.j2", "{% for %}", "line 1"),
        (
            "query.md.j2",
            "{{ nothing }}",
            "line 1 .on examples/01.yaml.: there is no variable 'nothing'; there are: captions, objects",
        ),
        ("query.md.j2", "{{ captions.__class__.__mro__ }}", "unsafe"),
        ("query.md.j2", "{{ captions.append('x') }}", "unsafe|not safely callable"),
        ("query.md.j2", "{{ 1 / 0 }}", "division"),
        ("examples/01.yaml", "a: [", "not valid YAML"),
        ("examples/01.yaml", "!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("examples/01.yaml", "context: {captions: [x]}\npairs: []", "pairs"),
        ("examples/01.yaml", "context: {}\npairs: [{question: q, answer: a}]", "has 1 pairs"),
        (
            "examples/01.yaml",
            "context: {}\npairs:\n" + "  - {question: q, answer: The caption says so.}\n" * 4,
            "01.yaml', pair 1, breaks a rule of its task: it says 'caption'",
        ),
    ],
)
def test_a_wrong_task_folder_is_a_sentence_that_names_the_file(folder, file, content, said):
    path = folder / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TaskError, match=said):
        render_prompt(load_task(str(folder)))


CHOICES = """
name='x'
title='x'
record_prefix='X'
picture_prefix='X'
[reply]
form='choices'
options=3
"""


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (
            "[{question: q, answer: a, options: [a, b]}]",
            "pair 1, has 2 options; its task asks for 3",
        ),
        (
            "[{question: q, answer: d, options: [a, b, c]}]",
            "the answer 'd' is not one of its options: a, b, c",
        ),
        ("[{question: q, answer: a}]", "pair 1, has 0 options"),
    ],
)
def test_a_question_must_have_its_options(folder, pairs, said):
    (folder / "task.toml").write_text(CHOICES)
    (folder / "examples" / "01.yaml").write_text(f"context: {{}}\npairs: {pairs}")
    with pytest.raises(TaskError, match=said):
        load_task(str(folder))


def test_a_misspelt_task_is_guessed(folder, monkeypatch):
    with pytest.raises(TaskError, match="did you mean 'la_conversation'"):
        load_task("la_conversaton")
    monkeypatch.chdir(folder.parent)
    with pytest.raises(TaskError, match="did you mean 'mine'"):
        load_task("mime")


def test_an_example_may_fix_what_is_drawn(folder):
    (folder / "topics.txt").write_text("# a comment\none\ntwo\nthree\n")
    (folder / "query.md.j2").write_text("{{ topics | join(' ') }}")
    toml = (folder / "task.toml").read_text()
    (folder / "task.toml").write_text(
        toml.replace("[reply]", "[context]\ndraw = {topics = 2}\n\n[reply]")
    )
    task = load_task(str(folder))
    drawn = render_query(task, CONTEXT)
    assert len(drawn.split()) == 2
    assert set(drawn.split()) <= {"one", "two", "three"}
    assert render_query(task, CONTEXT) == drawn
    assert len({render_query(task, CONTEXT, seed=seed) for seed in range(20)}) > 2
    assert render_query(task, replace(CONTEXT, facts={"topics": ["four"]})) == "four"


def test_both_suffixes_of_yaml_are_examples(folder):
    (folder / "examples" / "06.yaml").rename(folder / "examples" / "06.yml")
    assert load_task(str(folder)).examples == load_task("la_conversation").examples


@pytest.mark.parametrize("name", ["nothing", "../prompts/la_conversation/..", "", "/"])
def test_an_unknown_task_names_those_there_are(name):
    with pytest.raises(TaskError, match="la_conversation"):
        load_task(name)
