"""`syphus data convert`, as it is typed."""

import json
from fractions import Fraction

import pytest
import typer
from typer.testing import CliRunner

from mimicit.commands.convert import _rate, convert
from tests.mimicit.sources.films import film
from tests.mimicit.sources.test_converting import photo

app = typer.Typer()
app.callback()(lambda: None)
app.command()(convert)


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_failures_are_listed_and_the_code_is_3(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.jpg").write_bytes(photo())
    (tmp_path / "in" / "2.jpg").write_bytes(b"x")
    (tmp_path / "in" / "notes.txt").write_bytes(b"x")
    result = run("la", tmp_path / "in", "-d", tmp_path / "ds", code=3)
    assert "2.jpg: is not a picture" in result.stderr
    assert result.stdout == (
        "1 pictures are new, 0 were there, 1 could not be used; 1 other files were passed over\n"
    )
    (tmp_path / "in" / "2.jpg").unlink()
    report = json.loads(run("LA", tmp_path / "in", "-d", tmp_path / "ds", "--json").stdout)
    assert (report["images"], report["known"], report["bad"], report["rows"]) == (0, 1, 0, [])


def test_frames_at_a_rate(tmp_path):
    film(tmp_path / "v.mp4", 90)
    report = json.loads(
        run("videos", tmp_path / "v.mp4", "-d", tmp_path / "ds", "--fps", "29.97", "--format", "webp",
            "--max-side", 64, "--prefix", "XY", "--json").stdout
    )  # fmt: skip
    assert report["images"] == 90


@pytest.mark.parametrize(
    ("typed", "rate"),
    [
        ("1", Fraction(1)),
        ("0.5", Fraction(1, 2)),
        ("30000/1001", Fraction(30_000, 1_001)),
        ("29.97", Fraction(30_000, 1_001)),
        ("23.976", Fraction(24_000, 1_001)),
    ],
)
def test_a_rate_is_a_fraction(typed, rate):
    assert _rate(typed) == rate


@pytest.mark.parametrize("typed", ["0", "-1", "1/0", "nan", "inf", "x", "100000", "1e-9"])
def test_what_is_no_rate_is_refused(typed):
    with pytest.raises(typer.BadParameter):
        _rate(typed)


def test_what_does_not_go_together_is_refused(tmp_path):
    run("dc", tmp_path, "-d", tmp_path / "ds", "--fps", 1, "--frames", 3, code=2)
    run("folder", tmp_path, "-d", tmp_path / "ds", "--prefix", "../x", code=2)
    assert not (tmp_path / "ds").exists()


def test_a_wrong_path_leaves_no_dataset(tmp_path):
    result = CliRunner().invoke(
        app, ["convert", "la", str(tmp_path / "no"), "-d", str(tmp_path / "ds")]
    )
    assert "there is no" in str(result.exception)
    assert not (tmp_path / "ds").exists()
