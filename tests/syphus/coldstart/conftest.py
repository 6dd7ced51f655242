"""A task without examples, a model that says true things, and the command with keys from a pipe."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from syphus.cli import app
from syphus.providers.scripted import ScriptedModel
from syphus.scaffolding import write_task

OPENINGS = ("What does one see first", "Where is it", "Who might like it")


def truthful(request):
    """Answer with what the query says, line by line."""
    told = [line.split(". ", 1)[-1].removeprefix("- ") for line in request.query.splitlines()[1:]]
    return "\n\n".join(
        f"Question: {opening}?\nAnswer: {told[n % len(told)]}" for n, opening in enumerate(OPENINGS)
    )


@pytest.fixture
def bare_task(tmp_path):
    """A user's copy of la_conversation, without its examples."""
    folder = write_task("birds", tmp_path, like="la_conversation")
    for path in (folder / "examples").iterdir():
        path.unlink()
    toml = folder / "task.toml"
    toml.write_text("# Mine.\n" + toml.read_text().replace("version = 1", "version  =  1   # ours"))
    return folder


@pytest.fixture
def model(monkeypatch):
    """The model that every name leads to."""
    scripted = ScriptedModel(truthful)
    monkeypatch.setattr("syphus.providers.connect", lambda name, **options: scripted)
    return scripted


@pytest.fixture
def start(bare_task, photos, tmp_path, monkeypatch):
    """Run the command on the photographs; the keys come one a line."""
    monkeypatch.chdir(tmp_path)
    annotations = photos.parent / "annotations.json"

    def run(*options, keys="", task=bare_task, file=annotations):
        arguments = ["coldstart", str(task), "-a", str(file), "-m", "openai/gpt-4o-mini", *options]
        return CliRunner().invoke(app, arguments, input="".join(f"{key}\n" for key in keys))

    return run


@pytest.fixture
def lines(tmp_path):
    """Read a JSONL file of the work folder."""

    def read(name):
        text = (tmp_path / "birds.coldstart" / name).read_text()
        return [json.loads(line) for line in text.splitlines()]

    return read
