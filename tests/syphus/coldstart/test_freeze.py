"""From accepted candidates to files of a task folder."""

import shutil
from pathlib import Path

import pytest
import yaml

from syphus.annotations.context import Context, Picture, Segment, Thing
from syphus.annotations.notes import Notes
from syphus.coldstart import freeze as freezing
from syphus.coldstart.examples import example_row, notes_of, problems, read_example, to_yaml
from syphus.coldstart.freeze import finish, freeze, frozen_requests, raised, target_of
from syphus.errors import TaskError
from syphus.forms import Pair
from syphus.scaffolding import write_task
from syphus.task import built_in_tasks, load_task


def rows_of(task, examples=None, *, first=0):
    """Return examples as the rows that a freeze gets."""
    return [
        {
            **example_row(task.reply.form, example.context, example.pairs),
            "origin": {
                "model": "m", "request": f"r{n}", "score": 0.9, "accepted": "2026-11-25", "edited": False,
            },
        }
        for n, example in enumerate(examples or task.examples, start=first)
    ]  # fmt: skip


def emptied(name, folder):
    """Return a copy of a built-in task without its examples."""
    path = write_task("mine", folder, like=name)
    shutil.rmtree(path / "examples")
    return load_task(str(path))


@pytest.mark.parametrize("name", [n for n in built_in_tasks() if load_task(n).makes_records])
def test_a_frozen_task_loads_with_what_was_accepted(name, tmp_path):
    wanted = load_task(name).examples
    task = emptied(name, tmp_path)
    frozen = freeze(task, task.folder, rows_of(task, wanted), model="m")
    loaded = load_task(str(task.folder))
    assert loaded.version == 2
    assert [p.name for p in frozen.files] == [f"{n:02d}.yaml" for n in range(1, len(wanted) + 1)]
    assert [(e.context, e.pairs) for e in loaded.examples] == [(e.context, e.pairs) for e in wanted]
    assert loaded.examples[0].origin["request"] == "r0"


def test_numbers_go_on_and_nothing_is_frozen_twice(tmp_path):
    examples = load_task("la_conversation").examples
    task = emptied("la_conversation", tmp_path)
    freeze(task, task.folder, rows_of(task, examples[:2]), model="m")
    again = freeze(task, task.folder, rows_of(task, examples[:2]), model="m")
    assert (again.files, again.task.version) == ((), 2)
    more = freeze(task, task.folder, rows_of(task, examples[:3]), model="m")
    assert [path.name for path in more.files] == ["03.yaml"]
    assert more.task.version == 3
    assert frozen_requests(task.folder) == {"r0", "r1", "r2"}


def test_a_copy_is_made_for_a_built_in_task(tmp_path):
    task = load_task("la_conversation")
    made = emptied("la_conversation", tmp_path)
    rows = rows_of(made, task.examples[:1])
    rows[0]["context"]["captions"] = ["A single red apple lies on a plate."]
    rows[0]["pairs"][0]["answer"] = "A single red apple lies on a plate."
    frozen = freeze(task, target_of(task, tmp_path / "sub" / "ours"), rows, model="m")
    assert (frozen.task.name, frozen.task.version) == ("ours", 2)
    assert len(frozen.task.examples) == len(task.examples) + 1
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["ours"]


def test_a_folder_that_would_not_pass_is_left_as_it_was(tmp_path):
    task = emptied("la_conversation", tmp_path)
    good = load_task("la_conversation").examples
    rows = rows_of(task, [good[0], good[0]])  # the same twice

    def state():
        return {
            path.relative_to(tmp_path): path.read_bytes()
            for path in tmp_path.rglob("*")
            if path.is_file()
        }

    before = state()
    with pytest.raises(TaskError, match="have the same reply"):
        freeze(task, task.folder, rows, model="m")
    with pytest.raises(TaskError, match="have the same reply"):
        freeze(task, tmp_path / "other", rows, model="m")
    assert state() == before
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("moves", range(4))
def test_a_freeze_that_is_killed_happens_wholly_or_not_at_all(tmp_path, monkeypatch, moves):
    examples = load_task("la_conversation").examples
    task = emptied("la_conversation", tmp_path)
    rows = rows_of(task, examples[:3])
    real, done = Path.replace, []

    def replace(self, target):
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(target)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        freeze(task, task.folder, rows, model="m")
    monkeypatch.undo()
    assert load_task(str(task.folder)).version == 1  # it loads at every moment
    frozen = freeze(task, task.folder, rows, model="m")
    assert (frozen.files, frozen.task.version, len(frozen.task.examples)) == ((), 2, 3)
    assert not list(task.folder.glob(".freeze*"))


def test_a_freeze_that_is_killed_before_its_moment_never_happened(tmp_path, monkeypatch):
    task = emptied("la_conversation", tmp_path)
    (task.folder / ".freeze.staged").mkdir()
    (task.folder / ".freeze.staged" / "01.yaml").write_text("half")
    finish(task.folder)
    assert not list(task.folder.glob(".freeze*"))
    assert load_task(str(task.folder)).examples == ()
    assert freezing.READY not in [path.name for path in task.folder.iterdir()]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('name = "a"\nversion = 9 # nine\n', 'name = "a"\nversion = 10 # nine\n'),
        ("version=1\n[x]\nversion = 7\n", "version=2\n[x]\nversion = 7\n"),
        ('name = "a"\n[x]\nversion = 7\n', 'name = "a"\nversion = 2\n[x]\nversion = 7\n'),
    ],
)
def test_only_the_version_changes(before, after):
    assert raised(before) == after


def test_an_unusual_version_is_a_sentence():
    with pytest.raises(TaskError, match="unusual"):
        raised('"version" = 1\n')


def test_a_built_in_task_is_not_written_to(tmp_path):
    task = load_task("sd")
    for out in (None, task.folder, task.folder.parent / "new"):
        with pytest.raises(TaskError, match="--out my_sd"):
            target_of(task, out)


@pytest.mark.parametrize(
    ("name", "said"), [("full", "no task folder"), ("Bad-Name", "no name"), ("vst", "another task")]
)
def test_a_folder_that_cannot_take_the_examples_is_refused(tmp_path, name, said):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("Dear")
    write_task("vst", tmp_path, like="vst")
    with pytest.raises(TaskError, match=said):
        target_of(load_task("la_conversation"), tmp_path / name)


def test_a_context_survives_being_written_as_notes():
    thing = Thing("dog", (0.125, 0.25, 0.5, 1.0))
    context = Context(
        "a_clip003",
        pictures=(Picture("a.png", ("One.",), (thing,), {"title": "T"}), Picture("b.png")),
        captions=("Two.",),
        objects=(thing,),
        segments=(Segment("He waves.", 0.0, 2.5, ("man",)), Segment("He goes.")),
        facts={"n": 3, "many": ["x", "y"]},
        video="v.mp4",
        span=(1.0, 2.0),
    )
    for some in (context, Context("7", pictures=(Picture("7.png"),)), Context("007")):
        data = yaml.safe_load(
            to_yaml(example_row("pairs", notes_of(some), (Pair(question="q", answer="a"),)))
        )
        assert Notes.model_validate(data["context"]).context("") == some


@pytest.mark.parametrize(
    "text",
    ["plain", "yes", "3", " padded ", "two\nlines", "tab\there", "Er sagte: „Ja“ – 狗 🐕", "- x", "# y", "a: b",
     "long " * 40, " long" * 40, "long  double  spaces " * 9, "x" * 300, "\x07 bell", ">-", ""],
)  # fmt: skip
def test_yaml_gives_back_every_text(text):
    row = {"context": {"captions": [text]}, "pairs": [{"question": text, "answer": text}]}
    assert yaml.safe_load(to_yaml(row)) == row


def test_yaml_is_for_people():
    task = load_task("la_conversation")
    text = to_yaml(rows_of(task, task.examples[:1])[0])
    assert "{name: " in text
    assert "  - question: " in text
    assert max(map(len, text.splitlines())) <= 120
    assert read_example(text).pairs == task.examples[0].pairs


def test_what_would_not_load_is_said_before(tmp_path):
    task = emptied("la_conversation", tmp_path)
    [good, other, *_] = load_task("la_conversation").examples
    assert problems(task, [], good) == []
    assert problems(task, [good], other) == []
    [said] = problems(task, [good], good.model_copy(update={"pairs": other.pairs}))
    assert "accepted example 1 and this example have the same context" in said
    bad = good.model_copy(update={"pairs": (Pair(question="What?", answer="The caption says."),)})
    assert problems(task, [], bad)[:2] == [
        "1 pairs; the task asks for 3 to 4",
        "pair 1: it says 'caption'",
    ]
    assert bad.as_context().captions
