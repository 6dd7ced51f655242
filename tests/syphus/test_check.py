"""`tasks check`, `tasks new`, `tasks show`: what a task's author sees before a model is paid."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from syphus.annotations.context import Context
from syphus.check import check
from syphus.cli import app
from syphus.errors import TaskError
from syphus.scaffolding import write_task
from syphus.task import BUILT_IN, built_in_tasks, load_task


@pytest.fixture
def folder(tmp_path):
    return write_task("birds", tmp_path)


def run(*arguments):
    return CliRunner().invoke(app, ["tasks", *map(str, arguments)])


@pytest.mark.parametrize("name", built_in_tasks())
def test_every_task_of_ours_passes_its_own_check(name):
    checked = check(load_task(name))
    assert checked.errors == []
    assert checked.examples >= 2 or name == "annotate"  # its examples would be pictures


def test_a_first_draft_passes_as_it_is(folder):
    checked = check(load_task(str(folder)))
    assert (checked.errors, checked.warnings, checked.examples, checked.pairs) == ([], [], 2, 5)


def test_a_copy_of_a_task_passes_and_has_its_own_name(tmp_path):
    task = load_task(str(write_task("rooms", tmp_path, like="sn")))
    assert (task.name, task.version, task.record_prefix) == ("rooms", 1, "ROOMS")
    assert task.reply.form == "conversations"
    assert check(task).errors == []


@pytest.mark.parametrize(
    ("name", "said"),
    [("Birds", "no name for a task"), ("../birds", "no name"), ("birds", "is there already")],
)
def test_a_name_that_cannot_be(folder, name, said):
    with pytest.raises(TaskError, match=said):
        write_task(name, folder.parent)


EXAMPLE = """
context: {captions: [Two cats sleep.]}
pairs:
  - question: What do the cats do?
    answer: They sleep.
  - question: How many cats are there?
    answer: There are two cats.
"""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"examples/03.yaml": EXAMPLE, "examples/04.yaml": EXAMPLE}, "examples/03.yaml and examples/04.yaml have the same reply"),
        ({"examples/03.yaml": EXAMPLE, "examples/04.yaml": EXAMPLE.replace("They sleep", "Both sleep")},
         "examples/03.yaml and examples/04.yaml have the same context"),
        ({"examples/03.yaml": EXAMPLE.replace("How many cats are there", "what do the cats do")},
         "examples/03.yaml asks 2 times: 'what do the cats do'"),
        ({"examples/03.yaml": EXAMPLE.replace("They sleep.", '"They\\nAnswer: sleep."')}, "is read"),
        ({"examples/03.yaml": EXAMPLE.replace("They sleep.", '"..."')}, "has an empty question or answer"),
        ({"query.md.j2": "{{ facts.title }}"}, "line 1 (on examples/01.yaml)"),
        ({"query.md.j2": "{{ captions }}{% if captions | length == 2 and captions[1] == 'The dog runs.' %}{{ x }}{% endif %}"},
         "(on a full context): there is no variable 'x'"),
        ({"query.md.j2": "{# nothing #}"}, "shows nothing"),
        ({"examples/03.yaml": EXAMPLE.replace("They sleep", "They sleep and " * 300)}, "[sampling] max_tokens would cut it off"),
        ({"system.md": "word " * 20_000}, "too long for local"),
        ({"examples/03.yaml": EXAMPLE.replace("Two cats sleep.", "sleep " * 10_000)}, "the query of examples/03.yaml has"),
    ],
)  # fmt: skip
def test_what_would_work_badly_is_found(folder, changes, said):
    for name, text in changes.items():
        (folder / name).write_text(text)
    errors = check(load_task(str(folder))).errors
    assert any(said in error for error in errors), errors


def test_a_task_without_examples_is_warned_about(folder):
    shutil.rmtree(folder / "examples")
    checked = check(load_task(str(folder)))
    assert checked.errors == []
    assert "it has no examples" in checked.warnings[0]


def test_contexts_of_a_file_are_tried(folder):
    task = load_task(str(folder))
    found = check(task, contexts=[Context("a", captions=("x",)), Context("b", source="f.json#1")])
    assert found.contexts == 1
    assert found.warnings == ["f.json#1: 'b' has no captions"]
    none = check(task, contexts=[Context("b", source="f.json#1", facts={"caption": "x"})])
    assert none.errors == ["no context of the annotations can be used"]
    assert none.warnings == ["f.json#1: 'b' has no captions; it has the facts caption"]


def test_the_command_names_what_is_wrong_and_fails(folder, tmp_path):
    assert run("check", folder).exit_code == 0
    (folder / "examples" / "01.yaml").write_text("pairs: 3")
    result = run("check", folder, "sd")
    assert result.exit_code == 1
    assert "01.yaml" in result.stdout
    assert "sd" in result.stdout
    found = json.loads(run("check", folder, "--json").stdout)
    assert [len(one["errors"]) for one in found] == [1]


def test_new_and_show_and_check_on_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("new", "birds").exit_code == 0
    (tmp_path / "birds.jsonl").write_text(
        '{"id": "pond", "image": "pond.jpg", "captions": ["A grey heron stands in shallow water."]}\n'
        '{"id": "sky", "image": "sky.jpg"}\n'
    )
    result = run("check", "birds", "-a", "birds.jsonl")
    assert result.exit_code == 0, result.stdout
    assert "birds.jsonl" in result.stdout  # the picture without captions
    shown = run("show", "birds", "-a", "birds.jsonl").stdout
    assert shown.rstrip().rstrip("─").rstrip().endswith("- A grey heron stands in shallow water.")
    messages = json.loads(run("show", "birds", "-a", "birds.jsonl", "--json").stdout)
    assert [message["role"] for message in messages] == [
        "system",
        *["user", "assistant"] * 2,
        "user",
    ]


def test_the_list_names_every_task():
    listed = run().stdout
    assert all(name in listed for name in built_in_tasks())


def test_a_task_of_another_command_is_refused(tmp_path, photos):
    arguments = ["generate", "translate", "-a", "x.json", "-d", str(tmp_path / "d"), "-m", "local"]
    result = CliRunner().invoke(app, arguments)
    assert "makes no records" in str(result.exception)


def test_built_in_tasks_share_prefixes_only_where_they_share_pictures():
    tasks = [load_task(path.name) for path in BUILT_IN.iterdir() if (path / "task.toml").is_file()]
    makers = [task for task in tasks if task.makes_records]
    assert len({task.record_prefix for task in makers}) == len(makers)
