"""What a run learned in each step is a table of the dataset."""

import io
import json

import pytest

torch = pytest.importorskip("torch")

import duckdb  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from mimicit.catalog_tables import STEPS  # noqa: E402
from mimicit.migrations import MARKER  # noqa: E402
from mimicit.sql import run_sql  # noqa: E402
from mimicit.store import Store  # noqa: E402
from trainer.plan import Plan  # noqa: E402
from trainer.report import Progress, StepLog  # noqa: E402
from trainer.sources.mix import Mix, Part  # noqa: E402
from trainer.steps import Steps, Uses, _standing  # noqa: E402
from trainer.train import train  # noqa: E402

from .conftest import SMALL  # noqa: E402

torch.set_num_threads(1)
LOGGED = ("step", "loss", "lr", "grad_norm", "taught", "tokens", "seconds", "waited")


class PowerCut(BaseException):
    pass


class Dying(Progress):
    """Die in a step, after it was logged."""

    def __init__(self, at=None):
        super().__init__(io.StringIO())
        self.at = at

    def step(self, entry, *, steps):
        if entry.step == self.at:
            raise PowerCut


def run(dataset, out, *overrides, progress=None, **options):
    return train(
        recipe="otter_tiny",
        dataset=dataset,
        out=out,
        overrides=[*SMALL, *overrides],
        progress=progress or Dying(),
        **options,
    )


def logged(out):
    rows = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    return [tuple(row[name] for name in LOGGED) for row in rows]


def asked(dataset, out, columns=LOGGED):
    """Ask as `syphus sql` does."""
    store = Store.open(dataset)
    store.refresh()
    query = f"SELECT {', '.join(columns)} FROM steps WHERE run = '{out.resolve()}' ORDER BY step"
    result = out / "result.json"
    with result.open("wb") as file:
        run_sql(query, store.catalog_path, output=file, format="json")
    return [tuple(row.values()) for row in json.loads(result.read_text())]


def file_of(dataset, out):
    where = json.dumps(str(out.resolve()))
    [path] = [
        path
        for path in (dataset / "training").glob(f"{out.name}-*.jsonl")
        if where in path.read_text()
    ]
    return path


def test_any_duckdb_client_sees_the_steps_when_a_run_has_ended(dataset, tmp_path):
    out = tmp_path / "a run's"
    run(dataset, out, "run.steps=5")

    with duckdb.connect(dataset / "catalog.duckdb", read_only=True) as connection:
        rows = connection.execute(
            f"SELECT {', '.join(LOGGED)} FROM steps WHERE run = ? ORDER BY step", [str(out.resolve())]
        ).fetchall()  # fmt: skip
        others = connection.execute(
            "SELECT DISTINCT snapshot, epoch, records, time BETWEEN now() - INTERVAL 1 HOUR AND now() "
            "FROM steps WHERE run = ? ORDER BY epoch, records DESC", [str(out.resolve())]
        ).fetchall()  # fmt: skip
    assert rows == logged(out)
    assert len(rows) == 5
    # Seven records, four a step.
    digest = json.loads((out / "run.json").read_text())["snapshot"]
    assert others == [(digest, epoch, size, True) for epoch, size in
                      [(1, 4), (1, 3), (2, 4), (2, 3), (3, 4)]]  # fmt: skip


def test_a_resumed_run_goes_on_without_a_step_twice(dataset, tmp_path):
    out = tmp_path / "cut"
    with pytest.raises(PowerCut):
        run(dataset, out, "run.save_every=2", progress=Dying(5))
    assert [step for (step,) in asked(dataset, out, ["step"])] == [1, 2, 3, 4, 5]
    before = file_of(dataset, out).read_bytes()
    file_of(dataset, out).write_bytes(before + b'{"run": "half a li')

    with pytest.raises(PowerCut):
        run(dataset, out, "run.save_every=2", progress=Dying(7))
    assert asked(dataset, out) == logged(out)
    run(dataset, out, "run.save_every=2", resume=True)

    assert asked(dataset, out) == logged(out)
    assert [step for (step,) in asked(dataset, out, ["step"])] == list(range(1, 9))
    after = file_of(dataset, out).read_bytes()
    assert after.startswith(before)
    # After the checkpoints of steps 4 and 6 only the steps 5 and 7 were taken twice.
    assert len(after.splitlines()) == 8 + 2 + 1


def test_a_run_that_is_moved_or_whose_file_is_gone_brings_its_steps_along(dataset, tmp_path):
    out = tmp_path / "moved"
    with pytest.raises(PowerCut):
        run(dataset, out, "run.save_every=2", progress=Dying(4))
    file_of(dataset, out).unlink()
    assert asked(dataset, out) == []

    run(dataset, out, "run.save_every=2", "run.steps=8")

    assert asked(dataset, out) == logged(out)
    times = asked(dataset, out, ["time IS NULL AS old"])
    assert [old for (old,) in times] == [True] * 2 + [False] * 6


def test_another_run_in_the_same_folder_takes_the_place_of_the_first(dataset, tmp_path):
    out = tmp_path / "again"
    run(dataset, out, "run.steps=4")
    for path in sorted(out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()

    run(dataset, out, "run.steps=3", "optim.lr=1e-3")

    assert asked(dataset, out) == logged(out)
    assert len(logged(out)) == 3


def test_training_goes_on_where_steps_cannot_be_written(dataset, tmp_path, monkeypatch):
    from trainer import steps

    monkeypatch.setattr(steps, "TRAINING", "dataset.json")
    told = io.StringIO()
    result = run(dataset, tmp_path / "lost", "run.steps=3", progress=Progress(told))

    assert result.steps == 3
    assert told.getvalue().count("the dataset's table of steps is left as it is") == 1


def entry(step, loss=1.0):
    return StepLog(step, loss, 0.1, 0.2, taught=3, tokens=4, seconds=0.5, waited=0.0)


def stands(path):
    with duckdb.connect() as connection:
        query = (
            f"SELECT step, loss, seconds FROM ({STEPS.format(file=repr(str(path)))}) ORDER BY step"
        )
        return connection.execute(query).fetchall()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6), max_size=12))
def test_the_writer_and_the_catalog_agree_on_which_steps_stand(tmp_path_factory, taken):
    path = tmp_path_factory.mktemp("steps") / "run.jsonl"
    lines = [{"run": "r", "step": step, "loss": n, "seconds": 0} for n, step in enumerate(taken)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    expected = {}
    for number, step in enumerate(taken):
        expected = {old: n for old, n in expected.items() if old < step} | {step: number}
    assert stands(path) == [(step, n, 0) for step, n in expected.items()]
    assert _standing(path) == stands(path)


@pytest.mark.parametrize(
    "line",
    [b"", b"5", b"[" * 60_000, b"[1]", b"{}", b'{"step": 1', b"\xff\x00\xfe", b'{"run": "r", "step": "one"}',
     b'{"run": "r", "step": null}', b'{"run": "r", "step": -1, "loss": 0.0}', b"x" * 200_000],
    ids=lambda line: line[:30].decode("latin-1"),
)  # fmt: skip
def test_a_line_that_is_no_step_is_passed_over(tmp_path, line):
    plan = Plan(records=7, batch_size=4, micro_batch_size=4, seed=0)
    (tmp_path / MARKER).touch()
    steps = Steps(tmp_path, tmp_path / "run", "d1", plan, say=pytest.fail)
    steps.begin([])
    steps.add(entry(1))
    with steps.path.open("ab") as file:
        file.write(line)

    steps.begin([entry(1)])
    steps.add(entry(2))

    assert stands(steps.path) == [(1, 1.0, 0.5), (2, 1.0, 0.5)]
    assert steps.path.read_bytes().count(b'"step": 2,') == 1


def test_two_runs_of_one_name_have_files_of_their_own(tmp_path):
    plan = Plan(records=1, batch_size=1, micro_batch_size=1, seed=0)
    names = ["a/demo", "b/demo", "a/../a/demo", "a/d é/../../../x", "a/…"]
    paths = [Steps(tmp_path, tmp_path / name, "d", plan, say=print).path for name in names]

    assert len(set(paths)) == 4
    assert paths[0] == paths[2]
    assert {path.parent for path in paths} == {tmp_path / "training"}


# Which records a step used


def used(dataset, out):
    """Return the records of each step, as SQL tells them."""
    columns = ["step", "list(record ORDER BY record) AS records"]
    store = Store.open(dataset)
    store.refresh()
    query = f"SELECT {', '.join(columns)} FROM step_records WHERE run = '{out.resolve()}' GROUP BY step ORDER BY step"
    result = out / "used.json"
    with result.open("wb") as file:
        run_sql(query, store.catalog_path, output=file, format="json")
    return {row["step"]: row["records"] for row in json.loads(result.read_text())}


@pytest.fixture
def learned(monkeypatch):
    """Note the records that each step really had."""
    from trainer import train as story

    taken = {}

    def noting(strategy, model, optimizer, batches, *args, step, **options):
        ids = taken[step + 1] = []

        def watched():
            for rows in batches:
                ids.extend(one for each in rows for one in each.record_ids)
                yield rows

        return train_step(strategy, model, optimizer, watched(), *args, step=step, **options)

    train_step = story.train_step
    monkeypatch.setattr(story, "train_step", noting)
    return taken


def test_sql_tells_which_records_a_step_used_also_of_a_resumed_run(dataset, tmp_path, learned):
    """The words of one step, of all steps, and after a kill and another number of records a forward."""
    out = tmp_path / "used"
    with pytest.raises(PowerCut):
        run(dataset, out, "run.save_every=2", progress=Dying(5))
    first = {step: sorted(ids) for step, ids in learned.items()}
    assert used(dataset, out) == first
    assert list(first) == [1, 2, 3, 4, 5]
    parts = {
        path.name: path.stat().st_mtime_ns
        for path in file_of(dataset, out).with_suffix("").iterdir()
    }

    run(dataset, out, "run.save_every=2", resume=True)

    whole = {step: sorted(ids) for step, ids in learned.items()}
    assert used(dataset, out) == whole
    assert list(whole) == list(range(1, 9))
    assert {step: whole[step] for step in first} == first
    after = {
        path.name: path.stat().st_mtime_ns
        for path in file_of(dataset, out).with_suffix("").iterdir()
    }
    assert after == parts, "what is there is not written again"

    asked_for = "LA_INS_red_00"
    result = tmp_path / "steps.json"
    query = f"SELECT step FROM step_records WHERE run = '{out.resolve()}' AND record = '{asked_for}' ORDER BY step"
    with result.open("wb") as file:
        run_sql(query, Store.open(dataset).catalog_path, output=file, format="json")
    steps = [row["step"] for row in json.loads(result.read_text())]
    assert steps == [step for step, ids in whole.items() if asked_for in ids]


def test_files_that_are_gone_are_made_again(dataset, tmp_path, learned):
    out = tmp_path / "lost"
    with pytest.raises(PowerCut):
        run(dataset, out, "run.save_every=2", progress=Dying(4))
    for path in file_of(dataset, out).with_suffix("").iterdir():
        path.unlink()
    assert used(dataset, out) == {}

    run(dataset, out, "run.save_every=2")

    assert used(dataset, out) == {step: sorted(ids) for step, ids in learned.items()}


def test_another_run_in_the_same_folder_leaves_no_records_of_the_first(dataset, tmp_path, learned):
    out = tmp_path / "again"
    run(dataset, out, "run.steps=4", "run.seed=1")
    for path in sorted(out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    learned.clear()

    run(dataset, out, "run.steps=3", "run.seed=2")

    assert used(dataset, out) == {step: sorted(ids) for step, ids in learned.items()}
    assert list(learned) == [1, 2, 3]


def test_a_record_that_could_not_be_taught_is_there_but_not_as_taught(tmp_path):
    (tmp_path / MARKER).touch()
    plan, mix = Plan(records=4, batch_size=2, micro_batch_size=2, seed=0), letters(4)
    run_of = {"say": pytest.fail, "mix": mix, "until": 4}
    (tmp_path / "run").mkdir()
    steps = Steps(tmp_path, tmp_path / "run", "d1", plan, **run_of)
    steps.begin([])
    out = "abcd"[plan.step(1)[0]]
    steps.add(entry(1))
    steps.add(entry(2), skipped=[out])
    (tmp_path / "run" / "skipped.jsonl").write_text(json.dumps({"step": 2, "id": out}) + "\n")
    steps.add(entry(3))
    steps.add(entry(4))

    assert taught_of(steps) == [(letter, letter != out) for letter in "aabbccdd"]
    steps.path.unlink()
    steps.begin([entry(step) for step in (1, 2, 3, 4)])
    assert taught_of(steps) == [(letter, letter != out) for letter in "aabbccdd"]


def letters(count):
    class Letters:
        digest = "letters"

        def __len__(self):
            return count

        def names(self, indices):
            return [("abcdefghijklmnopqrstuvwxyz"[index],) for index in indices]

    return Mix([Part("letters", Letters(), draws=count)])


def taught_of(steps):
    """Ask the view, on the files alone."""
    from mimicit.catalog_tables import TABLES, VIEWS

    view = VIEWS[VIEWS.index("CREATE VIEW step_records") :].partition(";")[0]
    with duckdb.connect() as connection:
        for table in TABLES.split(";"):
            if "TABLE _step" in table:
                connection.execute(table)
        source = STEPS.format(file=repr(str(steps.path)))
        connection.execute(f"INSERT INTO _steps BY NAME SELECT *, '' AS part FROM ({source})")
        source = repr(str(steps.records.folder / "*.parquet"))
        connection.execute(
            f"INSERT INTO _step_records BY NAME SELECT *, '' AS part FROM read_parquet({source})"
        )
        connection.execute(view)
        return connection.execute(
            "SELECT record, taught FROM step_records ORDER BY record"
        ).fetchall()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 5), st.integers(0, 3), st.integers(0, 30), st.integers(1, 20),
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 12)), max_size=3),
)  # fmt: skip
def test_several_steps_at_once_are_those_one_by_one(records, batch, seed, start, count, shares):
    """Whatever the mix takes of its parts, and across the end of an epoch."""
    records = sum(draws for _, draws in shares) or records
    plan = Plan(records, batch, micro_batch_size=1, seed=seed, shares=tuple(shares))
    numbers, sizes = plan.steps(start, start + count)
    found, at = [], 0
    for size in sizes.tolist():
        found.append(numbers[at : at + size].tolist())
        at += size
    assert found == [plan.step(step) for step in range(start, start + count)]


def test_files_of_records_are_cut_by_steps_and_end_with_the_run(tmp_path, monkeypatch):
    from trainer import steps

    monkeypatch.setattr(steps, "PART_RECORDS", 8)
    plan = Plan(records=26, batch_size=4, micro_batch_size=4, seed=0)
    uses = Uses(tmp_path / "uses", plan, letters(26), until=5)
    for step in range(1, 6):
        uses.need(step)

    assert sorted(path.name[-17:] for path in uses.folder.iterdir()) == [
        "000000001.parquet", "000000003.parquet", "000000005.parquet"
    ]  # fmt: skip
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT step, list(record ORDER BY file_row_number) FROM read_parquet('{uses.folder}/*', file_row_number = true) "
            "GROUP BY step ORDER BY step"
        ).fetchall()
    expected = [(n + 1, ["abcdefghijklmnopqrstuvwxyz"[i] for i in plan.step(n)]) for n in range(5)]
    assert found == expected


def test_a_gradient_that_is_not_finite_is_null_and_the_step_is_there(tmp_path):
    from dataclasses import replace

    (tmp_path / MARKER).touch()
    plan = Plan(records=7, batch_size=4, micro_batch_size=4, seed=0)
    steps = Steps(tmp_path, tmp_path / "run", "d1", plan, say=pytest.fail)
    steps.begin([])
    steps.add(replace(entry(1), grad_norm=float("nan"), figures={"rewards/accuracy": 0.5}))
    with duckdb.connect() as connection:
        source = STEPS.format(file=repr(str(steps.path)))
        query = f"SELECT step, grad_norm, figures['rewards/accuracy'] FROM ({source})"
        assert connection.execute(query).fetchall() == [(1, None, 0.5)]
