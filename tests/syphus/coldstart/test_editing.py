"""Editing an example, with an editor that is a shell script."""

import stat

import pytest

from syphus.task import load_task
from tests.syphus.coldstart.conftest import truthful


def editor(tmp_path, monkeypatch, *bodies):
    """Be an editor that changes the file `$1` with one of these shell lines each time."""
    path = tmp_path / "editor.sh"
    cases = "".join(f"{n}) {body};;\n" for n, body in enumerate(bodies, start=1))
    path.write_text(
        f'#!/bin/sh\necho "$1" >> {tmp_path}/edits\n'
        f'cp "$1" {tmp_path}/seen-$(wc -l < {tmp_path}/edits | tr -d " ").yaml\n'
        f"case $(wc -l < {tmp_path}/edits | tr -d ' ') in\n{cases}esac\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", str(path))


def test_a_candidate_that_breaks_a_rule_cannot_be_accepted_as_it_is(start, model):
    model.script = lambda request: truthful(request) + " The caption says so."
    result = start("-n", "2", keys="aq")
    assert "This cannot be an example:" in result.stderr
    assert "pair 3: it says 'caption'" in result.stderr
    assert result.exit_code == 130


def test_an_edited_example_is_checked_until_it_is_right(
    start, model, bare_task, tmp_path, monkeypatch, lines
):
    editor(
        tmp_path, monkeypatch,
        "sed -i 's/^  - question: What.*/  - question: What does the caption show?/' \"$1\"",
        "printf 'context: [' > \"$1\"",
        "cp seen-1.yaml \"$1\"; sed -i 's/^  - question: What.*/  - question: What is it?/' \"$1\"",
    )  # fmt: skip
    result = start("--want", "1", "-n", "2", keys="eee")
    assert result.exit_code == 0, result.output
    assert "pair 1: it says 'caption'" in result.stderr
    assert "not valid YAML" in result.stderr
    assert "# ! pair 1: it says 'caption'" in (tmp_path / "seen-2.yaml").read_text()
    [example] = load_task(str(bare_task)).examples
    assert example.pairs[0].question == "What is it?"
    assert example.origin["edited"] is True
    assert lines("decisions.jsonl")[0]["action"] == "edit"
    assert not (tmp_path / "birds.coldstart" / "edit.yaml").exists()


@pytest.mark.parametrize("body", ["true", "false", "rm -f x"])
def test_an_edit_without_a_change_decides_nothing(start, model, tmp_path, monkeypatch, body):
    editor(tmp_path, monkeypatch, body)
    result = start("-n", "2", keys="eq")
    assert "Nothing was changed" in result.stderr
    assert not (tmp_path / "birds.coldstart" / "decisions.jsonl").exists()


def test_an_edit_can_be_given_up_and_an_editor_may_be_missing(start, model, tmp_path, monkeypatch):
    editor(tmp_path, monkeypatch, "echo '- 1' > \"$1\"")
    assert start("-n", "2", keys="exq").exit_code == 130
    monkeypatch.setenv("EDITOR", "/no/such/editor")
    assert "set EDITOR to another one" in start("-n", "2", keys="eq").stderr
    assert not (tmp_path / "birds.coldstart" / "decisions.jsonl").exists()


def test_an_edit_can_be_undone(start, model, tmp_path, monkeypatch, bare_task):
    change = "sed -i 's/^  - question: What.*/  - question: What is it?/' \"$1\""
    editor(tmp_path, monkeypatch, change)
    result = start("--want", "2", "-n", "3", keys="euaa")
    assert result.exit_code == 0, result.output
    assert not any(e.origin["edited"] for e in load_task(str(bare_task)).examples)
