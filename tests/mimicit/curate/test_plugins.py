"""Filters of other packages: real distributions in a folder on the path."""

import subprocess
import sys
import textwrap

import pytest

from mimicit.curate import curate, explain
from mimicit.curate.filters import FILTERS, MEASURES
from mimicit.curate.plugins import RecordFilter, known_filters, record_filter
from mimicit.curate.recipe import load_recipe
from mimicit.errors import RecipeError
from tests.builders import record

CODE = """
import re
from collections.abc import Sequence
from mimicit.curate.base import Measure, Sql, group, row
from mimicit.curate.plugins import record_filter

@record_filter(reads=["answer", "image_ids"])
def no_brands(record, *, brands: Sequence[str] = ("acme",), least: int = 1) -> str | None:
    assert set(record) == {"answer", "image_ids"}
    found = [brand for brand in brands if brand in record["answer"].lower()]
    if "explode" in record["answer"]:
        raise ZeroDivisionError("it \\ud800 exploded")
    return f"it names {found[0]}" if len(found) >= least else None

def shouting(record):
    letters = [c for c in record["answer"] if c.isalpha()]
    share = sum(map(str.isupper, letters)) / len(letters)
    return ("it shouts", share) if share > 0.3 else (None, share)

def odd(record):
    return 7 if record["id"].endswith("1_00") else ""

def _long(batch):
    return {"characters": [len(text) for text in batch["answer"].to_pylist()]}

LONG = Measure({"characters": "INTEGER"}, ("answer",), _long)

def _wordy(*, most: int = 30) -> str:
    return f"CASE WHEN own_size_characters > {most:d} THEN 'wordy' END"

wordy = row(_wordy, "own_size")
last = group(lambda: "SELECT max(id), 'it is the last', NULL FROM candidates")

def by_dict(record, *, table: dict = {}):
    return None
class NoFunction: ...
"""
ENTRIES = """
[mimicit.filters]
no_brands = own_filters_{n}:no_brands
shouting = own_filters_{n}:shouting
odd = own_filters_{n}:odd
wordy = own_filters_{n}:wordy
last = own_filters_{n}:last
by_dict = own_filters_{n}:by_dict
no_function = own_filters_{n}:NoFunction
gone = own_filters_{n}:gone
missing = own_filters_that_are_not_there:x
[mimicit.measures]
own_size = own_filters_{n}:LONG
"""


@pytest.fixture
def installed(tmp_path, monkeypatch, request):
    """Install a distribution as pip does: a module, and its dist-info."""
    site = tmp_path / "site"
    count = [0]
    before = dict(MEASURES)

    def install(entries=ENTRIES, code=CODE, name="own-filters", version="1.0"):
        count[0] += 1
        n = f"{abs(hash(request.node.name)) % 10**8}_{count[0]}"
        module = site / f"own_filters_{n}.py"
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        module.write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(entries.format(n=n))
        monkeypatch.syspath_prepend(f"{site}{'/' * count[0]}")  # another path: it is looked at anew
        return module

    yield install
    MEASURES.clear()
    MEASURES.update(before)


@pytest.fixture
def filled(store):
    answers = [
        "It is a red car.",
        "A shop sells Acme cola and much more to everybody who comes.",
        "STOP, he says.",
        "They explode.",
        "...",
    ]
    with store.writing("test"):
        store.add([record(n, answer=answer) for n, answer in enumerate(answers)])
        store.sync()
    return store


def recipe(tmp_path, text, name="mine"):
    path = tmp_path / f"{name}.toml"
    path.write_text(textwrap.dedent(text))
    return load_recipe(str(path))


def using(tmp_path, name, more=""):
    return recipe(tmp_path, f"[[filter]]\nuse = '{name}'\n{more}")


def verdicts(store):
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT right(record, 6), filter, reason, score FROM verdicts ORDER BY 1"
        ).fetchall()
    return {id_: said for id_, *said in rows}


def test_a_function_of_one_record_is_a_filter(filled, tmp_path, installed):
    installed()
    funnel = curate(filled, using(tmp_path, "no_brands"))
    assert verdicts(filled) == {
        "001_00": ["no_brands", "it names acme", None],
        "003_00": ["error", "it cannot be asked: no_brands", None],
    }
    assert {stage.filter: stage.dropped for stage in funnel.stages} == {"no_brands": 1, "error": 1}
    assert (funnel.records, funnel.accepted) == (5, 3)


def test_a_function_may_say_how_much(filled, tmp_path, installed):
    installed()
    curate(filled, using(tmp_path, "shouting"))
    found = verdicts(filled)
    assert found["002_00"][:2] == ["shouting", "it shouts"]
    assert found["002_00"][2] == pytest.approx(0.4)
    # Of no letters it divides by zero: that record is told, and the others are judged.
    assert found["004_00"][0] == "error"
    assert set(found) == {"002_00", "004_00"}


def test_what_is_no_reason_is_an_error(filled, tmp_path, installed):
    installed()
    curate(filled, using(tmp_path, "odd"))
    assert {said[0] for said in verdicts(filled).values()} == {"error"}


def test_explain_says_why_it_failed(filled, tmp_path, installed):
    installed()
    [said] = explain(filled, using(tmp_path, "no_brands"), "LACONV_INS_003_00")
    assert said.drops
    assert "ZeroDivisionError: it ? exploded" in said.reason


def test_parameters_are_checked_and_change_what_is_said(filled, tmp_path, installed):
    installed()
    curate(filled, using(tmp_path, "no_brands", "brands = ['red', 'stop']"))
    assert set(verdicts(filled)) == {"000_00", "002_00", "003_00"}
    curate(filled, using(tmp_path, "no_brands", "brands = ['red', 'car']\nleast = 2"))
    assert set(verdicts(filled)) == {"000_00", "003_00"}
    with pytest.raises(RecipeError, match="'least' cannot be 'two'; it is of type int"):
        using(tmp_path, "no_brands", "least = 'two'")
    with pytest.raises(RecipeError, match="no parameter 'brand'"):
        using(tmp_path, "no_brands", "brand = 'x'")


def test_only_new_records_are_asked_about(filled, tmp_path, installed):
    log = tmp_path / "log"
    installed(
        "[mimicit.filters]\ncounted = own_filters_{n}:counted\n",
        f"def counted(record):\n    with open({str(log)!r}, 'a') as file:\n        file.write(record['id'] + ' ')\n",
    )
    curate(filled, using(tmp_path, "counted"))
    curate(filled, using(tmp_path, "counted"))
    assert len(log.read_text().split()) == 5
    with filled.writing("test"):
        filled.add([record(9)])
        filled.sync()
    curate(filled, using(tmp_path, "counted"))
    assert log.read_text().split()[5:] == ["LACONV_INS_009_00"]


def test_a_changed_function_is_asked_again(filled, tmp_path, installed):
    module = installed()
    curate(filled, using(tmp_path, "no_brands"))
    module.write_text(CODE.replace("it names {", "there is {"))
    del sys.modules[module.stem]
    curate(filled, using(tmp_path, "no_brands"))
    assert verdicts(filled)["001_00"][1] == "there is acme"


def test_filters_in_sql_with_measures_of_their_own(filled, tmp_path, installed):
    installed()
    curate(filled, recipe(tmp_path, "[[filter]]\nuse = 'wordy'\n[[filter]]\nuse = 'last'"))
    assert {id_: said[0] for id_, said in verdicts(filled).items()} == {
        "001_00": "wordy",
        "004_00": "last",
    }


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_brand", "did you mean 'no_brands'"),
        ("os:system", "no filter"),
        ("by_dict", "'table' is of type dict"),
        ("no_function", "no Filter and no function"),
        ("gone", "package 'own-filters'.*AttributeError"),
        ("missing", "ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, installed, name, said):
    installed()
    with pytest.raises(RecipeError, match=said):
        using(tmp_path, name)


def test_a_name_of_the_toolkits_own_is_refused(tmp_path, installed):
    installed("[mimicit.filters]\nempty = own_filters_{n}:shouting\n")
    with pytest.raises(RecipeError, match=r"'own-filters' brings a filter 'empty'.*toolkit's own"):
        using(tmp_path, "empty")
    assert using(tmp_path, "too_short")  # the others go on


def test_two_packages_with_one_name_are_refused(tmp_path, installed):
    installed()
    installed(name="other-filters")
    with pytest.raises(RecipeError, match=r"other-filters.*all bring a filter 'shouting'"):
        using(tmp_path, "shouting")


def test_nothing_is_loaded_before_it_is_used(installed):
    module = installed()
    assert "no_brands" in known_filters()
    assert set(FILTERS) < set(known_filters())
    assert module.stem not in sys.modules
    code = "import sys, syphus.cli; print('mimicit.curate.plugins' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"


def test_a_decorated_function_is_still_one():
    @record_filter
    def short(record, *, words: int = 3):
        return "short" if len(record["answer"].split()) < words else None

    assert isinstance(short, RecordFilter)
    assert short({"answer": "one two"}) == "short"
    assert short({"answer": "one two"}, words=2) is None
