"""The command."""

import json

import pytest
import typer
from typer.testing import CliRunner

from mimicit.commands.validate import validate
from tests.mimicit.validate.builders import about, raw_part
from tests.mimicit.validate.plants import P, plant_empty_text

# The command


@pytest.fixture
def command():
    app = typer.Typer()
    app.command()(validate)
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_says_what_it_found_and_exits_with_3(sound, command, tmp_path):
    plant_empty_text(sound)
    raw_part(
        sound,
        [about(n).model_copy(update={"image_ids": ["x\x1b[2J"]}) for n in range(100, 105)],
        "p-00010",
    )
    ran = command("-d", sound.path, "-o", tmp_path / "report.json")
    assert ran.exit_code == 3
    assert "1 empty-text: records without a text" in ran.stdout
    assert f"{P}, row 0  'LACONV_INS_060_00': its answer is blank" in ran.stdout
    assert "… and 2 more" in ran.stdout
    assert "\x1b" not in ran.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"] == {"empty-text": 1, "dangling-picture": 5}
    assert report["findings"][0] == {
        "fault": "empty-text", "where": f"{P}, row 0", "what": "its answer is blank",
        "fix": "write the text, or remove the record", "file": P, "row": 0, "id": "LACONV_INS_060_00",
    }  # fmt: skip
    printed = command("-d", sound.path, "--json")
    assert (printed.exit_code, json.loads(printed.stdout)) == (3, report)


def test_the_command_repairs_and_then_finds_nothing(sound, command):
    plant_empty_text(sound)
    ran = command("-d", sound.path, "--repair", "--json")
    assert ran.exit_code == 3
    assert json.loads(ran.stdout)["repaired"]["moved"] == 1
    ran = command("-d", sound.path)
    assert (ran.exit_code, ran.stdout.startswith("nothing is wrong (7 files")) == (0, True)
