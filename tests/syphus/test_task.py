import shutil

import pytest

from syphus.annotations.context import Context, Thing
from syphus.errors import TaskError
from syphus.parse import parse_pairs
from syphus.render import render_pairs, render_prompt, render_request
from syphus.task import BUILT_IN, built_in_tasks, load_task

CONTEXT = Context(
    "cat", ("cat.png",), ("A cat on a sofa.",), (Thing("cat", (0.1, 0.2, 0.5, 0.6)),), "a.json#0"
)


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BUILT_IN / "la_conversation", tmp_path / "mine")


@pytest.mark.parametrize("name", built_in_tasks())
def test_the_examples_of_a_task_are_read_by_the_parser_of_replies(name):
    task = load_task(name)
    assert len(task.examples) >= 2
    for example in task.examples:
        assert parse_pairs(render_pairs(example.pairs), shape=task.shape) == example.pairs


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
    options = {"model": "m", "seed": 0, "sample": 0} | changes
    context = options.pop("context", CONTEXT)
    return render_request(task, render_prompt(task), context, **options).key


def test_the_key_covers_what_can_change_the_answer_and_nothing_else():
    other = Context("other", ("b.png",), CONTEXT.captions, CONTEXT.objects, "b.json#9")
    assert key() == key() == key(context=other)
    told = Context("cat", ("cat.png",), ("A dog.",), (), "a.json#0")
    assert len({key(), key(model="n"), key(seed=1), key(sample=1), key(context=told)}) == 5


def test_a_changed_system_message_is_another_request(folder):
    (folder / "system.md").write_text("Speak like a pirate.")
    mine = load_task(str(folder))
    assert render_request(mine, render_prompt(mine), CONTEXT, model="m", seed=0).key != key()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("task.toml", "name = ", "not valid TOML"),
        ("task.toml", "name = 'x'", "title: Field required"),
        ("system.md", None, "has no system.md"),
        ("system.md", b"\xff\xfe", "not UTF-8"),
        ("query.md.j2", "{% for %}", "line 1"),
        ("query.md.j2", "{{ nothing }}", "'nothing' is undefined"),
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
            "'caption', which its task forbids",
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


@pytest.mark.parametrize("name", ["nothing", "../prompts/la_conversation/..", "", "/"])
def test_an_unknown_task_names_those_there_are(name):
    with pytest.raises(TaskError, match="la_conversation"):
        load_task(name)
