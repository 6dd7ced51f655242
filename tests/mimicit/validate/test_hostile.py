"""Much of a fault, odd names of files, scripts without a guard."""

import os
import subprocess
import sys
from importlib.metadata import version

import pyarrow as pa
import pytest

from mimicit.parts import write_part
from mimicit.schema import text_schema
from mimicit.validate import checking, repairing
from mimicit.validate.bench import Bench
from tests.mimicit.validate.builders import found

MANY = 60_000


def names_nobody(store, **changes):
    """Write records each of which names eight others, none of which is there."""
    columns = {
        "id": [f"LACONV_INS_{n:012d}" for n in range(MANY)],
        "task": ["t"] * MANY, "instruction": ["Q"] * MANY, "answer": ["A"] * MANY, "image_ids": [[]] * MANY,
        "rel_ins_ids": [[f"LACONV_INS_gone_{n}_{k}" for k in range(8)] for n in range(MANY)],
        "language": ["en"] * MANY,
    } | changes  # fmt: skip
    schema = text_schema()
    full = {name: columns.get(name, [None] * MANY) for name in schema.names}
    table = pa.table([pa.array(full[f.name], f.type) for f in schema], schema=schema)
    write_part(store.path / "text" / "p-00009.parquet", iter([table]), schema)


LITTLE = "32MB" if version("duckdb") >= "2" else "48MB"
"""Of memory, for DuckDB; version 1 needs more for the same."""


def test_a_dataset_in_which_every_reference_dangles_fits_into_little_memory(
    store, here, monkeypatch
):
    monkeypatch.setattr(sys.modules[Bench.__module__], "MEMORY", LITTLE)
    names_nobody(store)
    with repairing(store) as (report, repaired):
        assert report.counts == {"dangling-relation": MANY}
        first = next(report.findings())
    assert first.what == (
        "there is no record LACONV_INS_gone_0_0, LACONV_INS_gone_0_1, LACONV_INS_gone_0_2 and 5 more"
    )
    assert (repaired.moved, repaired.mended) == (0, MANY)
    assert found(store) == set()


def test_a_dataset_of_broken_talks_fits_into_little_memory(store, here, monkeypatch):
    monkeypatch.setattr(sys.modules[Bench.__module__], "MEMORY", LITTLE)
    names_nobody(
        store, rel_ins_ids=[[]] * MANY, conversation=[f"T{n // 4}" for n in range(MANY)], turn=[n % 4 or 1 for n in range(MANY)]
    )  # fmt: skip
    with checking(store) as report:
        assert report.counts == {"conversation-turns": MANY // 4}
        first = next(report.findings())
    assert first.what == "the turns of T0 are 1, 1, 2 and 1 more"


def test_a_part_whose_name_is_no_text_is_named(sound):
    name = os.fsencode(sound.path / "text") + b"/p-\xff.parquet"
    with open(name, "wb") as file:  # noqa: PTH123 – a name of bytes
        file.write(b"no")
    with repairing(sound) as (report, repaired):
        [one] = report.findings()
        assert (one.fault, one.where) == ("unreadable-file", "text/p-�.parquet")
    assert repaired.files == 1
    assert found(sound) == set()


@pytest.mark.parametrize("guard", ["", "if __name__ == '__main__':\n "])
def test_a_script_without_a_guard_is_told_what_to_do(sound, tmp_path, guard):
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib, sys\nfrom mimicit.store import Store\nfrom mimicit.validate import checking\n"
        f"{guard}with checking(Store.open(pathlib.Path(sys.argv[1]))) as report: print(report.counts)\n"
    )
    ran = subprocess.run(
        [sys.executable, script, sound.path], capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    if guard:
        assert (ran.returncode, ran.stdout) == (0, "{}\n")
    else:
        assert ran.returncode == 1
        assert 'must do so under `if __name__ == "__main__":`' in ran.stderr.splitlines()[-1]
        assert "resource_tracker" not in ran.stderr
