"""Find what is wrong with a dataset folder, and put it aside.

The catalog holds no truth, so the Parquet parts themselves are read: each once, row group by row group, and what the checks need
of their rows (ids, references, numbers; no texts, no pictures) goes into a DuckDB file in a temporary folder, where the checks
are SQL. Pictures are read, hashed and decoded one at a time in several processes. Memory is the same at any size.

    with checking(store) as report:
        report.counts           {"empty-text": 2, "checksum-mismatch": 1}
        report.findings()       one after the other, in the order of FAULTS

    faults.py    names, ways out, what a repair does
    bench.py     the tables that checks work on
    scan.py      parts -> tables          pictures.py  bytes -> findings
    checks.py    tables -> findings       around.py    snapshots, leftovers
    repair.py    faulty rows and files -> quarantine/
    report.py    findings for people and for programs
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mimicit.store import Store
from mimicit.validate.around import check_leftovers, check_snapshots, leftovers
from mimicit.validate.bench import Bench, bench
from mimicit.validate.checks import check_pictures, check_records
from mimicit.validate.faults import FAULTS, Fault
from mimicit.validate.pictures import check_all
from mimicit.validate.repair import Repaired, repair
from mimicit.validate.report import Finding, Report
from mimicit.validate.scan import list_parts, scan_pictures, scan_rows

__all__ = ["FAULTS", "Fault", "Finding", "Repaired", "Report", "checking", "repairing"]

COMMAND = "syphus data validate --repair"
Progress = Callable[[int, str], None]
"""Told how many rows are done, and of what."""


@contextmanager
def checking(
    store: Store, *, fast: bool = False, progress: Progress = lambda done, what: None
) -> Iterator[Report]:
    """Check a dataset; the report can be asked as long as the block runs.

    Args:
        store: The dataset.
        fast: Hash pictures, but do not decode them.
        progress: Told how far it is.

    Raises:
        DatasetError: another process replaced a part meanwhile.
    """
    left = leftovers(store.path)
    with bench(store.path) as work:
        _check(work, left, fast, progress)
        yield Report(work)


@contextmanager
def repairing(
    store: Store, *, fast: bool = False, progress: Progress = lambda done, what: None
) -> Iterator[tuple[Report, Repaired]]:
    """Check a dataset as its only writer, and put what is faulty into quarantine.

    Raises:
        LockedError: another process is writing.
        DatasetError: the records name pictures, and the dataset has none at all.
    """
    left = leftovers(store.path)  # becoming the writer clears them up
    with store.writing(COMMAND), bench(store.path) as work:
        _check(work, left, fast, progress)
        yield Report(work), repair(store, work)


def _check(work: Bench, left: list[Path], fast: bool, progress: Progress) -> None:
    list_parts(work)
    done = 0
    for rows in scan_rows(work):
        done += rows
        progress(done, "rows read")
    done = 0
    for checked in check_all(scan_pictures(work), decode=not fast):
        done += checked.pictures
        work.note(checked.found)
        work.note_truths(checked.truths)
        progress(done, "pictures read")
    check_pictures(work)
    check_records(work)
    check_snapshots(work)
    check_leftovers(work, left)
