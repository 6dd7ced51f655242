"""Write the data sheet: gather the facts, draw them, and put the page beside its name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.curate.base import Measure, Table, quoted
from mimicit.curate.filters import MEASURES
from mimicit.curate.opening import frugally, opened, seal
from mimicit.errors import DatasetError, MissingExtraError
from mimicit.formats.files import staged
from mimicit.report import asking, facts, making, opinions, page, samples

if TYPE_CHECKING:
    from mimicit.store import Store


STEPS = 5
PAGE_BYTES = 10_000_000
"""Of a page: pictures are left out of a larger one."""


@dataclass(frozen=True)
class Written:
    path: Path
    bytes: int
    records: int
    accepted: int
    pictures: int
    samples: int


def write_report(
    store: Store,
    path: Path,
    *,
    title: str | None = None,
    count: int = 50,
    seed: int = 0,
    progress: Callable[[int, str], None] = lambda done, note: None,
    now: datetime | None = None,
) -> Written:
    """Write what is in a dataset as one HTML page.

    Args:
        store: The dataset.
        path: The file.
        title: The dataset's name; its folder's, if it is not given.
        count: Of the records that are shown.
        seed: Of their choice.
        progress: Told how many of `STEPS` are done, and what is next.
        now: The time that the page says.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DatasetError: there cannot be such a file.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtraError("matplotlib", "review") from None
    _check(path)
    progress(0, "verbs and objects")
    measure = MEASURES.get(asking.MEASURE)
    asking.measure_new(store, measure)
    sheet = frugally(
        lambda memory: _gathered(store, title, count, seed, progress, now, measure, memory)
    )
    progress(4, "figures")
    html = page.render(sheet).encode()
    if len(html) > PAGE_BYTES:
        samples.leave_out(sheet.samples, len(html) - PAGE_BYTES)
        html = page.render(sheet).encode()
    with staged(path.resolve()) as file:  # what a link leads to, not the link
        file.write(html)
    progress(STEPS, "")
    totals = sheet.facts.totals
    return Written(
        path,
        len(html),
        totals["records"],
        totals["accepted"],
        totals["pictures"],
        len(sheet.samples),
    )


def _gathered(
    store: Store,
    title: str | None,
    count: int,
    seed: int,
    progress: Callable[[int, str], None],
    now: datetime | None,
    measure: Measure | Table | None,
    memory: str | None,
) -> page.Sheet:
    with (
        tempfile.TemporaryDirectory(prefix="syphus-report-") as spill,
        opened(store, memory) as connection,
    ):
        # Not that of the dataset: a writer that comes or goes meanwhile clears it up.
        connection.execute(f"SET temp_directory = {quoted(spill)}")
        seal(connection, [])  # what runs in it is ours, and yet
        progress(1, "records, texts and pictures")
        found = facts.gather(connection)
        progress(2, "verdicts and costs")
        sheet = page.Sheet(
            title=title or store.path.resolve().name,
            time=now or datetime.now(UTC),
            seed=seed,
            facts=found,
            funnels=opinions.funnels(store.path),
            verdicts=opinions.verdicts(connection),
            scores=opinions.scores(connection),
            duplicates=opinions.duplicates(connection),
            making=making.gather(connection),
            asked=asking.gather(connection, store, measure, seed),
            samples=[],
        )
        progress(3, "samples")
        sheet.samples = samples.gather(connection, store.images, count, seed)
    return sheet


def _check(path: Path) -> None:
    """Say what is wrong with a path before an hour is spent on what it should hold."""
    if not path.parent.is_dir():
        raise DatasetError(f"there is no folder {str(path.parent)!r} to write {path.name!r} into")
    if path.is_dir():
        raise DatasetError(f"{str(path)!r} is a folder; name a file, such as report.html in it")
    if path.exists() and not path.is_file():
        raise DatasetError(
            f"{str(path)!r} is no file, and a page would take its place; name another"
        )
