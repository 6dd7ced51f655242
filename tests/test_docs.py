"""The documentation says what the program does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mimicit.curate.filters import FILTERS
from syphus.cli import app

ROOT = Path(__file__).parent.parent


def commands(typer_app, path=()):
    for command in typer_app.registered_commands:
        name = command.name or command.callback.__name__
        yield " ".join((*path, name)), command.callback
    for group in typer_app.registered_groups:
        yield from commands(group.typer_instance, (*path, group.name))


@pytest.mark.parametrize(("name", "callback"), [pytest.param(*c, id=c[0]) for c in commands(app)])
def test_every_command_has_an_example(name, callback):
    assert f"Example:\n\n        syphus {name} " in callback.__doc__


def test_the_command_reference_is_fresh(tmp_path):
    fresh = tmp_path / "cli.md"
    subprocess.run(
        [sys.executable, "-m", "typer", "syphus.cli", "utils", "docs", "--name", "syphus", "--output", fresh],
        check=True, cwd=ROOT, capture_output=True,
    )  # fmt: skip
    assert (ROOT / "docs" / "cli.md").read_text() == fresh.read_text(), "run `just docs`"


def test_the_readme_names_only_files_that_exist():
    readme = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", readme):
        assert (ROOT / target).exists(), target


def test_every_filter_is_in_the_list():
    page = (ROOT / "docs" / "curation.md").read_text()
    missing = [name for name in FILTERS if f"`{name}`" not in page]
    assert not missing
