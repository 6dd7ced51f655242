"""What is loaded to start: the command that was called, and no other."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from syphus import cli
from tests.test_layers import HEAVY, ROOT

CODE = """
import sys
sys.argv = ["syphus", *sys.argv[1:]]
from syphus.cli import main
try:
    main()
finally:
    print("loaded", *sys.modules)
"""


def called(*arguments):
    """Return what a command prints, and the modules that are loaded when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    said, _, modules = done.stdout.rpartition("loaded ")
    return said + done.stderr, set(modules.split())


def commands_in(modules):
    return {name.removeprefix("syphus.commands.") for name in modules} & set(cli.COMMANDS)


def test_the_list_of_commands_says_of_each_what_it_says_itself():
    program = typer.main.get_command(cli.app)
    assert {
        name: " ".join(command.help.partition("\n\n")[0].split())
        for name, command in program.commands.items()
    } == cli.COMMANDS


@pytest.mark.parametrize("arguments", [["--help"], []], ids=["help", "nothing"])
def test_the_list_of_commands_loads_none_of_them(arguments):
    said, modules = called(*arguments)
    assert all(f" {name} " in said for name in cli.COMMANDS)
    assert not commands_in(modules)
    assert not HEAVY & {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_is_found_by_its_name_alone(name):
    result = CliRunner().invoke(cli.application(name), [name, "--help"])
    assert result.exit_code == 0
    assert cli.COMMANDS[name][:40] in result.output


def test_a_command_loads_no_other():
    said, modules = called("generate", "--help")
    assert "Ask a model for" in said
    assert commands_in(modules) == {"generate"}


def test_a_command_that_there_is_not_is_told_from_those_that_there_are():
    said, _ = called("genarate")
    assert "Did you mean 'generate'?" in said


def test_the_program_has_nothing_else_to_give_away():
    assert "app" in dir(cli)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cli.nothing
