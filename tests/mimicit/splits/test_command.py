"""`syphus data split` from end to end."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mimicit.cli import data
from tests.mimicit.curate.drawn import one


@pytest.fixture
def filled(store):
    with store.writing("test"):
        store.add(
            [
                one(f"T_INS_{n:03d}", f"T_IMG_{n // 2:03d}", task="ab"[n // 2 % 2])
                for n in range(400)
            ]
        )
        store.sync()
    return store


def run(*arguments):
    return CliRunner().invoke(data, ["split", *map(str, arguments)])


def test_the_table_says_what_is_in_each_split_and_task(filled):
    result = run("-d", filled.path, "--split", "validation=0.05", "--split", "test=0.05")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["validation", "20", "10", "10", "5.00", "%", "5.00", "%"] in lines
    assert ["a", "test", "10", "5.00", "%", "5.00", "%"] in lines
    assert (
        "400 records in 200 components, the largest of 2; 400 are new in 'default'" in result.stdout
    )


def test_json_and_check(filled):
    said = json.loads(
        run("-d", filled.path, "--split", "test=0.5", "--name", "half", "--json").stdout
    )
    assert [row["records"] for row in said["splits"]] == [200, 200]
    result = run("-d", filled.path, "--check", "--name", "half")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "nothing crosses")


def test_check_says_what_crosses_and_exits_with_3(filled):
    run("-d", filled.path, "--split", "test=0.5")
    with filled.reading() as connection:
        parts = dict(connection.execute("SELECT record, split FROM splits").fetchall())
    [train, test] = [next(r for r, s in parts.items() if s == name) for name in ("train", "test")]
    with filled.writing("test"):
        import pyarrow as pa

        parts[train] = "test"
        table = pa.table({"record": list(parts), "split": list(parts.values())})
        filled.write_splits("default", table)
        filled.sync()
    result = run("-d", filled.path, "--check")
    assert result.exit_code == 3
    assert "1  picture" in result.stdout
    assert train in result.stdout
    assert test not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--split", "test"], "no NAME=SHARE"),
        (["--split", "test=0.1", "--split", "test=0.2"], "named twice"),
        (["--split", "train=0.1"], "beside `train`"),
        (["--split", "test=nan"], "between 0 and 1"),
        (["--check", "--name", "nowhere"], "there is no splitting 'nowhere'; there are: none"),
    ],
)
def test_mistakes_are_said(filled, arguments, said):
    result = run("-d", filled.path, *arguments)
    assert said in str(result.exception)


def test_names_do_nothing_to_a_terminal(filled):
    with filled.writing("test"):
        filled.add([one("T_INS_\x9b2J", "T_IMG_000", task="a\x9b31m")])
        filled.sync()
    result = run("-d", filled.path, "--split", "test=0.5")
    assert result.exit_code == 0
    assert "\x9b" not in result.stdout
    assert r"a\x9b31m" in result.stdout
