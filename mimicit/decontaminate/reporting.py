"""Say what benchmarks a dataset holds: counts for each, and examples side by side; and write it as verdicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

    from mimicit.curate import Funnel
    from mimicit.curate.filters.benchmark import InBenchmark
    from mimicit.decontaminate.items import Benchmarks
    from mimicit.store import Store

RECIPE = "decontaminate"
"""Whose verdicts are written."""
EXAMPLES = 5
"""Of a benchmark, of each kind."""
SHOWN_TEXT = 600
"""Characters of a text that an example shows."""


@dataclass(frozen=True, slots=True)
class Found:
    """What of a benchmark is in the dataset."""

    benchmark: str
    items: int
    with_pictures: int
    """Items of them."""
    records: int
    """That are found at all."""
    both: int
    """By the same question about the same picture."""
    text: int
    """By their texts, whatever they are found by beside."""
    picture: int
    """By their pictures, whatever they are found by beside."""


@dataclass(frozen=True, slots=True)
class Example:
    benchmark: str
    how: str
    """both, text or picture."""
    known_by: str
    """Of a picture: bytes, hash or name; of a text: which share of its words."""
    record: str
    image_ids: list[str]
    instruction: str
    answer: str
    place: str
    question: str
    options: str
    expected: str
    path: str | None
    """Of the benchmark's picture, where it is a file."""


@dataclass(frozen=True, slots=True)
class Report:
    dataset: str
    records: int
    found: int
    """Records that hold something of some benchmark."""
    accepted: int
    """Of these, the ones that no verdict speaks against."""
    benchmarks: list[Found]
    examples: list[Example]
    missing: int
    """Pictures that the benchmarks name and that are not there to be looked at."""
    bad_count: int
    bad: list[str] = field(default_factory=list)


def report(store: Store, ask: InBenchmark, tell: Callable[[int], None] = lambda _: None) -> Report:
    """Look for benchmarks in all records, whatever was said of them before.

    Args:
        store: The dataset.
        ask: What is looked for.
        tell: Is told how many records were read.

    Raises:
        FormatError: the benchmarks cannot be read.
        LockedError: another process is writing.
    """
    from mimicit.curate.opening import frugally

    benchmarks = ask.benchmarks  # before anybody is kept waiting
    with store.writing("syphus data decontaminate"):
        store.sync()
        return frugally(lambda memory: _report(store, ask, benchmarks, tell, memory))


def _report(
    store: Store,
    ask: InBenchmark,
    benchmarks: Benchmarks,
    tell: Callable[[int], None],
    memory: str | None,
) -> Report:
    from mimicit.curate.filters import MEASURES
    from mimicit.curate.measures import attach
    from mimicit.curate.opening import opened, seal
    from mimicit.decontaminate.matching import find

    with opened(store, memory) as connection:
        attach(store, connection, [(name, MEASURES[name]) for name in ask.measures])
        seal(connection, [one for one in (store.path / "measures").glob("*") if one.is_dir()])
        connection.execute("CREATE OR REPLACE TEMP VIEW candidates AS FROM instructions")
        findings = find(connection, benchmarks, ask.matching, tell)
        connection.register("bench_given", findings)
        connection.execute("CREATE OR REPLACE TEMP TABLE bench_findings AS FROM bench_given")
        connection.unregister("bench_given")
        return _reported(store, connection, ask)


def write(store: Store, ask: InBenchmark) -> Funnel:
    """Write a verdict on each record that is found; `undo` takes them back.

    Raises:
        LockedError: another process is writing.
    """
    from mimicit.curate import curate
    from mimicit.curate.recipe import Recipe, Step

    step = Step("in_benchmark", "group", repr(ask), measures=ask.measures, ask=ask)
    return curate(store, Recipe(RECIPE, (step,)))


_COUNTS = """
SELECT benchmark, items, with_pictures, coalesce(records, 0), coalesce(both_ways, 0), coalesce(texts, 0), coalesce(pictures, 0)
FROM (
    SELECT benchmark, count(*) AS items, count(*) FILTER (item IN (SELECT item FROM bench_shown)) AS with_pictures, min(item) AS first
    FROM bench_items GROUP BY benchmark
) LEFT JOIN (
    SELECT benchmark, count(DISTINCT record) AS records, count(DISTINCT record) FILTER (how = 'both') AS both_ways,
        count(DISTINCT record) FILTER (how IN ('both', 'text')) AS texts,
        count(DISTINCT record) FILTER (how IN ('both', 'picture')) AS pictures
    FROM bench_findings GROUP BY benchmark
) USING (benchmark) ORDER BY first"""
_EXAMPLES = """
SELECT f.benchmark, how,
    CASE WHEN how = 'text' THEN printf('%d %% of its words in a row', floor(share * 100)::BIGINT)
        WHEN known_by = 'hash' THEN printf('%d of 64 bits differ', distance::BIGINT)
        WHEN known_by = 'name' THEN 'by its name' ELSE 'the same file' END,
    record, image_ids, instruction[:{most}], answer[:{most}],
    place[:{most}], question[:{most}], options[:{most}], expected[:{most}], path
FROM (
    SELECT * FROM bench_findings QUALIFY row_number() OVER (PARTITION BY benchmark, how ORDER BY share DESC, record) <= {few}
) AS f
JOIN (SELECT item, place, question, options, answer AS expected FROM bench_items) USING (item)
JOIN (SELECT id, image_ids, instruction, answer FROM instructions) ON id = record
LEFT JOIN (SELECT item, any_value(path) AS path FROM bench_shown GROUP BY item) USING (item)
ORDER BY item, how, record"""


def _reported(store: Store, connection: duckdb.DuckDBPyConnection, ask: InBenchmark) -> Report:
    rows = connection.execute(_EXAMPLES.format(most=SHOWN_TEXT, few=EXAMPLES)).fetchall()
    return Report(
        dataset=store.path.name,
        records=_count(connection, "SELECT count(*) FROM instructions"),
        found=_count(connection, "SELECT count(DISTINCT record) FROM bench_findings"),
        accepted=_count(
            connection,
            "SELECT count(DISTINCT record) FROM bench_findings WHERE record IN (SELECT id FROM accepted)",
        ),
        benchmarks=[Found(*row) for row in connection.execute(_COUNTS).fetchall()],
        examples=[Example(*row) for row in rows],
        missing=ask.benchmarks.missing,
        bad_count=ask.benchmarks.bad_count,
        bad=ask.benchmarks.bad,
    )


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    [(count,)] = connection.execute(query).fetchall()
    return int(count)


def table(done: Report) -> list[dict[str, Any]]:
    """Return the counts as rows, for people."""
    return [
        {
            "benchmark": one.benchmark,
            "items": one.items,
            "with pictures": one.with_pictures,
            "records": one.records,
            "by text": one.text,
            "by picture": one.picture,
            "by both": one.both,
        }
        for one in done.benchmarks
    ]


def summary(done: Report) -> str:
    said = (
        f"{done.found:,} of {done.records:,} records hold something of these benchmarks, "
        f"{done.accepted:,} of them are accepted"
    )
    if done.missing:
        said += f"; {done.missing:,} pictures of the benchmarks are not there and are known by name only"
    return said
