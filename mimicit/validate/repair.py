"""Put faulty rows and files into quarantine; nothing is deleted that is not somewhere else.

    quarantine/20261128T093000Z/
      findings.parquet         fault, file, row, id, what
      text/p-00003.parquet     the rows that were moved or mended, as they were: a part like any other
      damaged/text/…           whole files of which rows cannot be read
      replaced/images/…        files that others stand for already: a killed repair did not come to delete them

For each part: the rows go into quarantine; those that stay are written beside it under a name that stands for it
(`mimicit.parts`), so that the moment it appears is the moment the old part is no longer read; the old part goes. Whoever is
killed between leaves both, and repairing again goes on from there. Texts come first: a record is moved before its picture.

A shard that is written again has its pictures at other places. Snapshots that name the old ones are pointed to the same bytes in
the new one before it goes, and go into quarantine where these are gone.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.errors import DatasetError
from mimicit.parts import replaced_parts, write_part
from mimicit.validate.around import unfinished_snapshots
from mimicit.validate.bench import Bench, Part
from mimicit.validate.closure import ALONG, close
from mimicit.validate.files import keep_whole, move, successor
from mimicit.validate.placing import Placing
from mimicit.validate.rewrite import kept_rows, moved_rows, split_shard
from mimicit.validate.scan import schema_of

if TYPE_CHECKING:
    from mimicit.store import Store


@dataclass
class Repaired:
    """What became of it."""

    quarantine: str | None = None
    """Below the dataset folder; None if there was nothing to put there."""
    moved: int = 0
    """Rows."""
    mended: int = 0
    """Rows that stay without what was wrong with them."""
    files: int = 0
    """Whole files."""
    snapshots: int = 0


def repair(store: Store, bench: Bench) -> Repaired:
    """Repair what the bench's findings say; the caller is the dataset's only writer.

    Raises:
        DatasetError: the dataset has no pictures, so all records about pictures would go.
    """
    _refuse_without_pictures(bench)
    old = replaced_parts(bench.folder / "images")
    replaced = [*old, *replaced_parts(bench.folder / "relations")]
    if not (replaced or unfinished_snapshots(bench.folder) or bench.rows(_ANY)):
        if bench.rows("SELECT 1 FROM findings LIMIT 1"):
            store.rebuild()
        return Repaired()
    close(bench)
    quarantine = _quarantine(bench.folder)
    _write_findings(bench, quarantine / "findings.parquet")
    done = Repaired(str(quarantine.relative_to(bench.folder)))
    placing = Placing(bench, quarantine)
    for part in sorted(bench.parts, key=lambda part: part.folder == "images"):
        _repair_part(bench, part, quarantine, done, placing)
    done.snapshots = _repair_snapshots(bench, quarantine, placing, old)
    for path in placing.gone:
        path.unlink()
    for path in replaced:
        move(path, quarantine / "replaced" / path.relative_to(bench.folder))
    store.rebuild()
    return done


_ANY = "SELECT 1 FROM findings WHERE fault <> 'leftover' LIMIT 1"


def _refuse_without_pictures(bench: Bench) -> None:
    dangling = bench.rows("SELECT count(*) FROM findings WHERE fault = 'dangling-picture'")[0][0]
    if dangling and not bench.of("images"):
        raise DatasetError(
            f"{str(bench.folder)!r} has no pictures at all, and {dangling:,} records name some: repairing would "
            "take all of these out; import the pictures first"
        )


def _quarantine(folder: Path) -> Path:
    """Make a folder of its own for what is put aside."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for n in range(1, 1_000):
        path = folder / "quarantine" / (stamp if n == 1 else f"{stamp}-{n}")
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise DatasetError(f"{str(folder / 'quarantine')!r} has too many folders of this second")


def _write_findings(bench: Bench, path: Path) -> None:
    import pyarrow as pa

    reader = bench.connection.sql(
        """SELECT fault, coalesce(p.file, f.file) AS file, "row", id, what
        FROM findings AS f LEFT JOIN parts AS p USING (part)
        UNION ALL BY NAME
        SELECT $along AS fault, file, "row", why AS what
        FROM moves JOIN parts USING (part) WHERE why IS NOT NULL""",
        params={"along": ALONG},
    ).to_arrow_reader(50_000)
    write_part(path, (pa.Table.from_batches([batch]) for batch in reader), reader.schema)


def _repair_part(
    bench: Bench, part: Part, quarantine: Path, done: Repaired, placing: Placing
) -> None:
    [(moved, mended)] = bench.rows(
        """SELECT (SELECT count(*) FROM moves WHERE part = $part),
                  (SELECT count(DISTINCT "row") FROM (
                      SELECT part, "row" FROM mends UNION ALL SELECT part, "row" FROM truths
                  ) ANTI JOIN moves USING (part, "row") WHERE part = $part)""",
        part=part.number,
    )
    unreadable = sum(end - start for start, end in part.bad)
    done.moved += moved
    if part.whole or ((moved or unreadable) and moved + unreadable >= part.rows):
        done.files += 1
        placing.leaves(part)
        if part.folder == "images" and placing.is_named(part.file):
            keep_whole(part.path, quarantine / part.file)  # snapshots are looked at first
            placing.gone.append(part.path)
        else:
            move(part.path, quarantine / part.file)
        return
    if not (moved or mended or unreadable):
        return
    done.mended += mended
    if unreadable:
        done.files += 1
        keep_whole(part.path, quarantine / "damaged" / part.file)
    stands = successor(part.path, part.folder)
    (quarantine / part.folder).mkdir(exist_ok=True)
    if part.folder == "images":
        split_shard(bench, part, stands, quarantine / part.file)
        placing.moves(part, stands)
        placing.gone.append(part.path)
    else:
        schema = schema_of(part.folder)
        if moved or mended:
            write_part(quarantine / part.file, moved_rows(bench, part), schema)
        write_part(stands, kept_rows(bench, part), schema)
        part.path.unlink()


def _repair_snapshots(bench: Bench, quarantine: Path, placing: Placing, old: list[Path]) -> int:
    """Point snapshots to where their pictures are now; return how many had to go."""
    broken = {
        bench.folder / file
        for (file,) in bench.rows("SELECT file FROM findings WHERE fault = 'broken-snapshot'")
    }
    lost = sorted(broken | set(placing.replace(old, without=broken)))
    for folder in lost:
        move(folder, quarantine / folder.relative_to(bench.folder))
    return len(lost)
