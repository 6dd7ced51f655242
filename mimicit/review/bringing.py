"""Bring journals into the dataset: what edits made as records, what reviewers think as verdicts.

    python -m mimicit.review.bringing FOLDER      the same in a process of its own, beside a room that is open

Verdicts of a reviewer are written whole, in place of those from before: whatever was killed in between, doing it again makes it
right. A journal that says what the verdicts say already is passed over.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mimicit.errors import MimicitError
from mimicit.review.journal import Journal, journals
from mimicit.review.opinions import digest_of, made, opinions, recipe_of, verdict_table
from mimicit.store import Store


@dataclass
class Brought:
    records: int = 0
    """New ones, by edits."""
    reviewers: list[str] = field(default_factory=list)
    """Whose verdicts are others than before."""
    problems: list[str] = field(default_factory=list)


def bring(store: Store, *, patience: float = 0.0) -> Brought:
    """Write what is in the journals and not in the dataset.

    Args:
        store: The dataset.
        patience: Seconds to wait for another writer to be done.

    Raises:
        LockedError: another process is writing; the journals keep what is in them.
    """
    brought = Brought()
    found = journals(store.path)
    if not found:
        return brought
    with store.writing("syphus data review", patience=patience):
        store.sync()
        for journal in found.values():
            _bring(store, journal, brought)
        store.sync()
    return brought


def _bring(store: Store, journal: Journal, brought: Brought) -> None:
    if journal.unreadable:
        brought.problems.append(
            f"{str(journal.path)!r} has {journal.unreadable:,} lines that make no sense; they were passed over"
        )
    said = opinions(journal)
    parts, digests = _there(store, recipe_of(journal.name))
    if digests == ({digest_of(said)} if said else set()):
        return
    added = store.add(made(journal))
    brought.records += added.new
    brought.problems += [
        f"{id!r}, which {journal.name} made by an edit, is in the dataset with another text"
        for id in added.conflicts
    ]
    if said:
        store.write_part("verdicts", "v", verdict_table(journal.name, said))
    for part, is_mixed in parts.items():
        if is_mixed:
            _keep_others(store, part, recipe_of(journal.name))
        (store.path / part).unlink(missing_ok=True)
    brought.reviewers.append(journal.name)


def _there(store: Store, recipe: str) -> tuple[dict[str, bool], set[str]]:
    """Return the parts with a recipe's verdicts, whether there are others in them, and the digests that they have."""
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT part, bool_or(recipe <> $1), list(DISTINCT recipe_digest) FILTER (recipe = $1) FROM verdicts "
            "WHERE part IN (SELECT part FROM verdicts WHERE recipe = $1) GROUP BY part",
            [recipe],
        ).fetchall()
    return {part: mixed for part, mixed, _ in rows}, {one for row in rows for one in row[2]}


def _keep_others(store: Store, part: str, recipe: str) -> None:
    """Write the verdicts of others in a part again, as an import may have put them together."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from mimicit.parts import fitted
    from mimicit.schema import verdict_schema

    rows = pq.read_table(store.path / part, partitioning=None)
    rows = rows.filter(pc.not_equal(rows["recipe"], recipe))
    store.write_part("verdicts", "v", fitted(rows, verdict_schema()))


def main(folder: Path) -> int:
    import orjson

    try:
        brought = bring(Store.open(folder))
    except MimicitError as error:
        sys.stderr.write(str(error))
        return 1
    sys.stdout.write(orjson.dumps(asdict(brought)).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
