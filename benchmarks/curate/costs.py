"""Processor seconds for a million records, for every filter: what its SQL takes, and what its measure takes once.

The records are those of `planted.py`, as they are before any other filter has dropped some. Of SQL, the time that DuckDB takes to read the two texts of
all records is taken away; a filter of many records is asked as `syphus data curate` asks it. Rounds go through all filters in turn, and the median counts.
A measure of pictures is given for a million pictures. `near_duplicate` is asked with what it keeps, and without.

    python benchmarks/curate/costs.py [--records 100000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from common import save  # noqa: E402

MILLION = 1_000_000
READ = "SELECT sum(strlen(instruction) + strlen(answer)) FROM candidates"


def main() -> None:
    from benchmarks.curate.planted import FEW, PLANTERS, SLOW, parameters, planted

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="costs-") as folder:
        drafts = planted(Path(folder), options.records)
        length = round(sum(len(draft.answer) for draft in drafts) / len(drafts))
        names = [name for name in PLANTERS if options.records <= FEW or name not in SLOW]
        filters = {name: parameters(name, Path(folder)) for name in names}
        table = costs(Path(folder) / "ds", filters, options.rounds)
    save(
        "curate_costs", [row | {"records": options.records, "characters": length} for row in table]
    )


def costs(
    dataset: Path, filters: dict[str, dict[str, object]], rounds: int = 3
) -> list[dict[str, object]]:
    """Return for each filter seconds for a million records: of its SQL, and of its measures where there are some."""
    from mimicit.curate.filters import FILTERS, MEASURES
    from mimicit.store import Store

    shutil.rmtree(dataset / "measures", ignore_errors=True)
    store = Store.open(dataset)
    names = sorted({measure for name in filters for measure in _measures(name, filters[name])})
    with store.writing("benchmark"), store.reading() as connection:
        measured = {name: _measure_cost(store, connection, name, MEASURES[name]) for name in names}
        _attach(store, connection, names)
        connection.execute("CREATE OR REPLACE TEMP VIEW candidates AS SELECT * FROM measured")
        [(records,)] = connection.execute("SELECT count(*) FROM instructions").fetchall()
        times = _rounds(connection, dataset / "measures", filters, rounds)
    scale = MILLION / max(1, records)
    reading = median(times.pop(""))
    return [
        {
            "filter": name,
            "kind": FILTERS[name].kind,
            "sql_s_per_million": round(max(0.0, median(seconds) - (reading if FILTERS[name].kind == "row" else 0)) * scale, 2),
            "first_s_per_million": round(seconds[0] * scale, 2) if name == "near_duplicate" else "",
            "measure": ", ".join(_measures(name, filters[name])),
            "measure_s_per_million": round(sum(measured[one] for one in _measures(name, filters[name])), 1) or "",
        }
        for name, seconds in times.items()
    ]  # fmt: skip


def _step(name: str, parameters: dict[str, object]) -> Any:
    from mimicit.curate.recipe import _step as step

    return step({"use": name, **parameters}, Path("costs.toml"), 1)


def _measures(name: str, parameters: dict[str, object]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_step(name, parameters).measures))


def _attach(store: Any, connection: Any, names: Sequence[str]) -> None:
    from mimicit.curate.filters import MEASURES
    from mimicit.curate.measures import attach

    attach(store, connection, [(name, MEASURES[name]) for name in names])


def _measure_cost(store: Any, connection: Any, name: str, measure: Any) -> float:
    """Return the seconds of a measure for a million records, or a million pictures where it is of pictures, with the packages loaded."""
    from mimicit.curate.base import Table

    if not isinstance(measure, Table) and measure.compute:
        _warm(connection, measure)
    seconds = spent(lambda: _attach(store, connection, [name]))
    what = "images" if isinstance(measure, Table) else "instructions"
    [(count,)] = connection.execute(f"SELECT count(*) FROM {what}").fetchall()
    return seconds * MILLION / max(1, count)


def _warm(connection: Any, measure: Any) -> None:
    """Let a library load its models: that is paid once, however many records there are."""
    reads = ", ".join(measure.reads)
    [batch] = (
        connection.sql(f"SELECT {reads} FROM instructions LIMIT 50")
        .to_arrow_table()
        .combine_chunks()
        .to_batches()
    )
    measure.compute(batch)


def _rounds(
    connection: Any, kept: Path, filters: dict[str, dict[str, object]], rounds: int
) -> dict[str, list[float]]:
    asks: dict[str, Callable[[], object]] = {"": lambda: connection.execute(READ).fetchall()}
    for name, parameters in filters.items():
        asks[name] = _asking(connection, kept, _step(name, parameters))
    times: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(rounds):
        for name, ask in asks.items():
            times[name].append(spent(ask))
    return times


def _asking(connection: Any, kept: Path, step: Any) -> Callable[[], object]:
    if step.ask:
        return lambda: step.ask(connection, kept)
    if step.kind == "group":
        return lambda: connection.execute(f"SELECT count(*) FROM ({step.reason})").fetchall()
    return lambda: connection.execute(f"SELECT count({step.reason}) FROM candidates").fetchall()


def spent(what: Callable[[], object]) -> float:
    """Return processor seconds, of all threads."""
    begun = time.process_time()
    what()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
