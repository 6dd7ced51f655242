"""Curation bit by bit is curation at once; whoever is killed, or has no disk left, leaves a view that was there before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimicit.commands.curate import Stages
from mimicit.curate import curate, curating, history, undo
from mimicit.curate.recipe import load_recipe
from mimicit.errors import RecipeError
from mimicit.inline import one_line
from mimicit.schema import Verdict
from mimicit.store import Store
from tests.builders import record
from tests.disks import limited

RECIPE = """name = "mine"
[[filter]]
use = "too_short"
words = {words}
[[filter]]
use = "exact_duplicate"
scope = "{scope}"
prefer = "{prefer}"
[[filter]]
use = "too_long"
words = 6
[[filter]]
use = "repeated_question"
[[filter]]
where = "answer NOT LIKE '%dog%'"
"""
PLAIN = {"words": 2, "scope": "picture", "prefer": "first"}


def recipe(folder, text=RECIPE, **changes):
    path = folder / "recipe.toml"
    path.write_text(text.format(**(PLAIN | changes)))
    return load_recipe(str(path))


def add(store, rows):
    with store.writing("test"):
        store.add([record(0, **row) for row in rows])
        store.sync()


def many(count):
    return [
        {
            "id": f"r{n:04}",
            "instruction": f"What is {n}?",
            "answer": f"It is {n * 2654435761 % 2**32:x}.",
        }
        for n in range(count)
    ]


def rows(store, query):
    with store.reading() as connection:
        return connection.execute(query).fetchall()


def said(store, name="mine"):
    return rows(
        store,
        f"SELECT record, filter, reason, score FROM verdicts WHERE recipe = '{name}' ORDER BY ALL",
    )


def accepted(store):
    return rows(store, "SELECT * FROM accepted ORDER BY id")


def ids(store):
    return [row[0] for row in accepted(store)]


def everything(store):
    return rows(store, "SELECT * EXCLUDE (part, time), epoch_us(time) FROM verdicts ORDER BY ALL")


# Bit by bit

ANSWERS = ["No", "A cat.", "a CAT", "A cat!!", "A dog.", "It is a cat on a very red sofa."]
DRAWN = st.fixed_dictionaries(
    {
        "instruction": st.sampled_from(["What is it?", "what is it", "Where?"]),
        "answer": st.sampled_from(ANSWERS),
        "image_ids": st.sampled_from([[], ["P"], ["Q"]]),
        "conversation": st.sampled_from([None, None, "c", "d", "e"]),
        "turn": st.integers(0, 3),
    }
)
BITS = st.lists(
    st.tuples(
        st.lists(DRAWN, min_size=0, max_size=7),
        st.sampled_from([{}, {}, {}, {"words": 1}, {"scope": "dataset"}, {"prefer": "longest"}]),
    ),
    min_size=2,
    max_size=5,
)


@settings(
    max_examples=int(os.environ.get("MIMICIT_ENGINE_EXAMPLES", "5")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(bits=BITS, order=st.randoms(use_true_random=False))
def test_bit_by_bit_is_the_same_as_at_once(tmp_path_factory, bits, order):
    """Whatever is added, in whatever order of ids, and however the recipe changes in between; --undo leads back through all of it."""
    folder = tmp_path_factory.mktemp("bits")
    store = Store.open(folder / "ds", create=True)
    ids = [f"r{n:02}" for n in range(40)]
    order.shuffle(ids)
    every, views = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curating, "LITTLE", 2.0)  # around new records, however many they are
        for number, (bit, changes) in enumerate(bits):
            new = [{"id": ids.pop()} | row for row in bit]
            every += new
            add(store, new)
            before, changes_before = everything(store), history._numbers(folder_of(store))
            curate(store, recipe(folder, **changes))
            if history._numbers(folder_of(store)) != changes_before:
                views.append(before)
            at_once = Store.open(folder / f"at once {number}", create=True)
            add(at_once, every)
            curate(at_once, recipe(folder, **changes))
            assert said(store) == said(at_once)
            assert [stage.dropped for stage in history.last_funnel(folder_of(store)).stages] == [
                stage.dropped for stage in history.last_funnel(folder_of(at_once)).stages
            ]
    for view in reversed(views):
        undo(store, "mine")
        assert everything(store) == view
    assert everything(store) == []


def folder_of(store):
    return history.folder_of(store, "mine")


def test_only_what_hangs_together_with_new_records_is_asked(store, tmp_path, monkeypatch):
    """Of a hundred records one is like the new one, and its conversation comes along."""
    add(store, [{"id": f"r{n:03}", "answer": f"It is a thing {n}."} for n in range(100)])
    add(store, [{"id": f"c{n}", "answer": f"It is a thing {n}.", "conversation": "c", "turn": n, "instruction": "What is thing 7?"} for n in range(2)])  # fmt: skip
    curate(store, recipe(tmp_path))
    asked = []
    judge = curating._judge_groups

    def judging(store_, connection, *more):
        asked.append(set(connection.execute("SELECT id FROM asked").fetchall()))
        return judge(store_, connection, *more)

    monkeypatch.setattr(curating, "_judge_groups", judging)
    new = {"id": "new", "answer": "It is a thing 1.", "instruction": "What is thing 7?"}
    add(store, [new, {"id": "other", "instruction": "Is it new?"}])
    before = everything(store)
    funnel = curate(store, recipe(tmp_path))
    assert asked == [{("new",), ("other",), ("c0",), ("c1",)}]
    assert funnel.new == 2
    assert ("new", "exact_duplicate", "the same as c1", None) in said(store)
    assert set(before) < set(everything(store))  # what was said keeps its time
    assert curate(store, recipe(tmp_path)).accepted == funnel.accepted
    assert asked[1] == set()


def test_a_filter_of_all_records_is_asked_about_all(store, tmp_path):
    text = 'name = "mine"\n[[filter]]\nwhere = "(SELECT count(*) FROM candidates) < 3"\n'
    add(store, [{"id": "a"}, {"id": "b"}])
    assert curate(store, recipe(tmp_path, text)).accepted == 2
    add(store, [{"id": "c"}])
    assert curate(store, recipe(tmp_path, text)).accepted == 0


def test_a_record_that_is_gone_takes_its_part_in_no_group(store, tmp_path):
    add(store, [{"id": "a", "answer": "It is a cat."}])
    add(store, [{"id": "b", "answer": "It is a cat."}])
    curate(store, recipe(tmp_path))
    assert [name for name, *_ in said(store)] == ["b"]
    (store.path / "text" / "p-00000.parquet").unlink()
    add(store, [{"id": "c", "answer": "It is a hat."}])
    curate(store, recipe(tmp_path))
    assert [(name, reason) for name, _, reason, _ in said(store)] == [
        ("c", "asks the same as b"),
    ]


@pytest.mark.parametrize("lost", ["measures", "measures/same.1/m-00000.parquet", "curation"])
def test_what_was_remembered_can_be_lost(store, tmp_path, lost):
    add(store, [{"id": f"r{n}", "answer": ANSWERS[n]} for n in range(6)])
    curate(store, recipe(tmp_path))
    before = said(store)
    path = store.path / lost
    path.rename(tmp_path / "away")
    curate(store, recipe(tmp_path))
    assert said(store) == before
    add(store, [{"id": "z", "answer": ANSWERS[4]}])
    curate(store, recipe(tmp_path, words=1))
    assert ("z", "exact_duplicate", "the same as r4", None) in said(store)


def test_other_recipes_keep_what_they_said_even_in_one_part(store, tmp_path):
    """A part of somebody else's may hold verdicts of several recipes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    add(store, [{"id": f"r{n}", "answer": ANSWERS[n]} for n in range(6)])
    curate(store, recipe(tmp_path))
    other = 'name = "other"\n[[filter]]\nuse = "too_short"\nwords = 3\n'
    curate(store, recipe(tmp_path, other))
    parts = sorted((store.path / "verdicts").glob("*.parquet"))
    whole = pa.concat_tables([pq.read_table(part) for part in parts])
    for part in parts:
        part.unlink()
    pq.write_table(whole, store.path / "verdicts" / "v-00005.parquet")
    with store.writing("test"):
        store.sync()
    before, others = everything(store), said(store, "other")
    curate(store, recipe(tmp_path, words=1))
    assert said(store, "other") == others
    assert everything(store) != before
    undo(store, "mine")
    assert everything(store) == before


def test_what_people_rejected_takes_no_twin_with_it(store, tmp_path):
    """Nor does the old version of what was edited drop the new one."""
    mine = recipe(tmp_path)
    add(store, [{"id": id_, "instruction": "What is it?", "answer": "A grey cat."} for id_ in "ab"])
    curate(store, mine)
    assert ids(store) == ["a"]
    with store.writing("test"):
        store.add_verdicts(
            [
                Verdict(
                    record="a",
                    filter="review",
                    reason="wrong",
                    recipe="review:ann",
                    recipe_digest="",
                )
            ]
        )
        store.sync()
    assert ids(store) == []
    curate(store, mine)
    assert ids(store) == ["b"]
    add(store, [{"id": "c", "instruction": "What is it?", "answer": "A grey cat."}])
    curate(store, mine)
    assert ids(store) == ["b"]
    for part in (store.path / "verdicts").glob("*.parquet"):  # ann takes it back
        if pq.read_table(part)["recipe"].unique().to_pylist() == ["review:ann"]:
            part.unlink()
    with store.writing("test"):
        store.sync()
    curate(store, mine)
    assert ids(store) == ["a"]


def test_curating_the_same_writes_nothing(store, tmp_path):
    add(store, [{"id": f"r{n}", "answer": ANSWERS[n]} for n in range(6)])
    curate(store, recipe(tmp_path))
    files = {path: path.stat().st_mtime_ns for path in store.path.rglob("*.parquet")}
    curate(store, recipe(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in store.path.rglob("*.parquet")} == files


# Killed

CHILD = """
import os, signal, sys, pathlib, shutil
from pathlib import Path
left = int(sys.argv[3])
def dying(call):
    def counted(*a, **k):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*a, **k)
    return counted
for name in ("rename", "replace", "unlink", "mkdir", "rmdir"):
    setattr(pathlib.Path, name, dying(getattr(pathlib.Path, name)))
os.fsync, os.unlink, os.rmdir = dying(os.fsync), dying(os.unlink), dying(os.rmdir)
from mimicit.curate import curate, undo
from mimicit.curate.recipe import load_recipe
from mimicit.store import Store
store = Store.open(Path(sys.argv[1]))
undo(store, "mine") if sys.argv[2] == "undo" else curate(store, load_recipe(sys.argv[2]))
print(left)
"""


def killed_at(store, what, number):
    """Do it in a process of its own that kills itself before so many changes on disk; return how many it had left."""
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, str(store.path), what, str(number)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode in (0, -signal.SIGKILL), ran.stderr
    return int(ran.stdout) if ran.returncode == 0 else None


@pytest.fixture
def prepared(store, tmp_path):
    """Curated once, with two records more since."""
    add(store, [{"id": f"r{n}", "answer": ANSWERS[n]} for n in range(6)])
    curate(store, recipe(tmp_path))
    add(store, [{"id": "a", "answer": ANSWERS[2]}, {"id": "s", "answer": "No"}])
    return store


@pytest.mark.parametrize("changes", [{}, {"words": 1}], ids=["more records", "another recipe"])
def test_a_curation_that_is_killed_anywhere_is_made_good_by_the_next(prepared, tmp_path, changes):
    """At one of the changes on disk after another; then the same verdicts, once, and the former view can be had back."""
    import shutil

    before = everything(prepared)
    wanted = recipe(tmp_path, **changes)
    copy = tmp_path / "undisturbed"
    shutil.copytree(prepared.path, copy)
    undisturbed = Store.open(copy)
    total = 1_000 - killed_at(undisturbed, str(tmp_path / "recipe.toml"), 1_000)
    expected = said(undisturbed)
    died = 0
    for number in range(1, total + 1, max(1, total // 6)):
        copy = tmp_path / f"killed {number}"
        shutil.copytree(prepared.path, copy)
        store = Store.open(copy)
        died += killed_at(store, str(tmp_path / "recipe.toml"), number) is None
        curate(store, wanted)
        assert said(store) == expected, number
        undo(store, "mine")
        assert everything(store) == before, number
        assert not list(store.path.rglob("*.staged"))
    assert died > 4


def test_an_undo_that_is_killed_anywhere_is_finished_by_the_next(prepared, tmp_path):
    import shutil

    before = everything(prepared)
    curate(prepared, recipe(tmp_path))
    after = everything(prepared)
    copy = tmp_path / "undisturbed"
    shutil.copytree(prepared.path, copy)
    total = 1_000 - killed_at(Store.open(copy), "undo", 1_000)
    assert everything(Store.open(copy)) == before
    for number in range(1, total + 1, max(1, total // 5)):
        copy = tmp_path / f"killed {number}"
        shutil.copytree(prepared.path, copy)
        store = Store.open(copy)
        assert killed_at(store, "undo", number) is None
        with store.writing("test"):
            history.finish(store, folder_of(store))
            store.sync()
        assert everything(store) in (before, after), number
        if everything(store) == after:
            undo(store, "mine")
            assert everything(store) == before
        curate(store, recipe(tmp_path))
        assert said(store) == [row[:4] for row in said(prepared)]


# No disk, others who read, and what is wrong with a recipe or with records


@pytest.mark.parametrize("most", [300, 9_000, 40_000])
def test_a_disk_that_is_full_leaves_the_former_view(store, tmp_path, most):
    add(store, many(3_000))
    curate(store, recipe(tmp_path))
    before = accepted(store)
    recipe(tmp_path, words=4)
    command = [sys.executable, "-c", limited(most), "data", "curate", str(tmp_path / "recipe.toml"), "-d", str(store.path)]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 1, ran.stderr
    assert ran.stderr.startswith("syphus: ")
    assert "Traceback" not in ran.stderr
    assert accepted(store) == before
    assert not list(store.path.rglob("*.staged"))
    assert curate(store, recipe(tmp_path, words=4)).accepted == 0
    undo(store, "mine")
    assert accepted(store) == before


def test_a_reader_beside_it_sees_what_was_or_what_is(store, tmp_path):
    add(store, many(2_000))
    curate(store, recipe(tmp_path, words=2))
    script = """
        import sys
        from pathlib import Path
        from mimicit.store import Store
        store, seen = Store.open(Path(sys.argv[1])), set()
        print("ready", flush=True)
        while not (Path(sys.argv[1]).parent / "done").exists():
            with store.reading() as connection:
                seen |= set(connection.execute("SELECT count(*) FROM accepted").fetchall())
        print(sorted(n for (n,) in seen))
    """
    reader = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(store.path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert reader.stdout.readline() == "ready\n"
        for words in (9, 2, 9, 2):
            curate(store, recipe(tmp_path, words=words))
        (tmp_path / "done").touch()
        out, _ = reader.communicate(timeout=60)
    finally:
        reader.kill()
        reader.stdout.close()
        reader.wait()
    assert reader.returncode == 0
    assert set(json.loads(out)) <= {0, 2_000}


@pytest.mark.parametrize(
    "predicate",
    [
        "1 = 1; DROP TABLE instructions",
        "EXISTS (WITH x AS (COPY (SELECT 1) TO 'out.parquet') SELECT 1 FROM x)",
        "EXISTS (DELETE FROM instructions RETURNING 1)",
        "EXISTS (SELECT * FROM read_text('{dataset}/dataset.json'))",
        "EXISTS (SELECT * FROM query('SELECT 1'))",
    ],
)
def test_a_recipe_that_writes_or_reaches_out_is_refused(store, tmp_path, predicate, monkeypatch):
    monkeypatch.chdir(tmp_path)
    add(store, [{"id": "a"}])
    text = predicate.format(dataset=store.path)
    with pytest.raises(RecipeError, match="where_1"):
        curate(store, recipe(tmp_path, f'[[filter]]\nwhere = "{text}"\n'))
    assert rows(store, "SELECT count(*) FROM instructions") == [(1,)]
    assert not (tmp_path / "out.parquet").exists()
    assert everything(store) == []


def test_a_filter_that_fails_on_a_new_record_costs_no_other(store, tmp_path):
    text = """name = "mine"
[[filter]]
name = "even"
where = "CAST(CAST(answer = 'A number' AS INTEGER) * 9e18 * 9 AS BIGINT) = 0 AND answer <> 'odd'"
"""
    add(store, [{"id": "a"}, {"id": "b", "answer": "odd"}])
    curate(store, recipe(tmp_path, text))
    add(store, [{"id": "c", "answer": "A number"}, {"id": "d"}, {"id": "e", "answer": "odd"}])
    funnel = curate(store, recipe(tmp_path, text))
    assert [(name, which) for name, which, *_ in said(store)] == [
        ("b", "even"),
        ("c", "error"),
        ("e", "even"),
    ]
    assert [(stage.filter, stage.dropped) for stage in funnel.stages] == [("even", 2), ("error", 1)]


def test_records_without_their_pictures_are_curated(store, tmp_path):
    add(store, [{"id": "a", "image_ids": ["nowhere"]}, {"id": "b"}])
    assert curate(store, load_recipe("starter")).accepted == 2
    text = '[[filter]]\nuse = "missing_picture"\n[[filter]]\nuse = "blank"\n'
    assert curate(store, recipe(tmp_path, text)).accepted == 1


# Progress


def test_nothing_is_said_of_what_is_over_soon(capsys):
    with Stages() as stages:
        for done in range(3):
            stages.tell("measuring language", done, 2)
    assert capsys.readouterr().err == ""


def test_what_takes_long_has_its_name_and_what_is_left(capsys, monkeypatch):
    monkeypatch.setattr("mimicit.commands.curate.PATIENCE", -1.0)
    with Stages() as stages:
        stages.tell("measuring language", 10, 20)
        stages.tell("filter 3 of 9, near_duplicate", 0, 20)
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("measuring language: 10/20 records")
    assert "left" in first


def test_a_text_does_nothing_to_the_terminal():
    assert one_line("red \x1b[31m\n sofa\x07") == r"red \x1b[31m sofa\x07"
