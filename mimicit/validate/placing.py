"""Where pictures are after a repair, for the snapshots that name their places.

A snapshot's digest covers its records and the SHA-256 of their pictures, not where these lie. So the same bytes in another shard
are the same snapshot, and its places can be written again: into a folder beside it, which then takes its name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit.columns import as_column
from mimicit.errors import DatasetError
from mimicit.shards import places
from mimicit.snapshot import Snapshot, file_digest
from mimicit.validate.around import AGAIN, opened_snapshot, snapshots, unfinished_snapshots
from mimicit.validate.bench import Bench, Part
from mimicit.validate.files import keep_whole, move

if TYPE_CHECKING:
    import pyarrow


class Placing:
    def __init__(self, bench: Bench, quarantine: Path) -> None:
        """Look up which shards the snapshots name."""
        self._bench, self._quarantine = bench, quarantine
        self.gone: list[Path] = []
        """Shards to be deleted when no snapshot needs them any more: their pictures are elsewhere."""
        self._leaving: set[str] = set()
        self._go_on()
        self._named = dict(self._read())
        bench.run(
            'CREATE TABLE now (sha256 VARCHAR, length BIGINT, shard VARCHAR, "offset" BIGINT)'
        )
        bench.run("CREATE TABLE was AS FROM now")

    def is_named(self, shard: str) -> bool:
        return any(shard in snapshot.shards for snapshot in self._named.values())

    def leaves(self, part: Part) -> None:
        """Note that a part's file goes."""
        self._leaving.add(part.file)

    def moves(self, part: Part, stands: Path) -> None:
        """Note that a shard goes, and another stands for it."""
        self._leaving.add(part.file)
        if self.is_named(part.file):
            self._load("now", stands)

    def replace(self, old: Sequence[Path], *, without: Collection[Path]) -> Iterator[Path]:
        """Point snapshots to where their pictures are; yield those that cannot be, since pictures are gone.

        Args:
            old: Shards that others stand for already, and that go now.
            without: Snapshots to leave alone.
        """
        self._leaving |= {f"images/{path.name}" for path in old}
        wrong = [
            folder
            for folder, snapshot in self._named.items()
            if folder not in without and not self._leaving.isdisjoint(snapshot.shards)
        ]
        if not wrong:
            return
        for path in old:
            self._load("was", path)
        for table, sign in (("was", ""), ("now", "NOT")):
            self._bench.run(
                f"""INSERT INTO {table} BY NAME
                SELECT sha256, length, file AS shard, "offset" FROM pictures JOIN parts USING (part)
                ANTI JOIN moves USING (part, "row") WHERE {sign} list_contains($leaving, file)""",
                leaving=sorted(self._leaving),
            )
        # A copy of a picture that is a duplicate is as good as the one that stays.
        self._bench.run(
            """INSERT INTO was BY NAME
            SELECT sha256, length, file AS shard, "offset" FROM pictures JOIN parts USING (part)
            SEMI JOIN (FROM findings WHERE fault = 'duplicate-picture') AS d USING (part, "row")"""
        )
        self._bench.run("CREATE TABLE one AS SELECT DISTINCT ON (sha256, length) * FROM now")
        for folder in wrong:
            if not self._write_again(folder):
                yield folder

    def _read(self) -> Iterator[tuple[Path, Snapshot]]:
        """Yield the snapshots that can be opened."""
        for folder in snapshots(self._bench.folder):
            try:
                yield folder, opened_snapshot(self._bench.folder, folder.name)
            except DatasetError:
                continue  # it has a finding

    def _go_on(self) -> None:
        """Finish what a killed repair was about to, and put away what cannot be."""
        for path in unfinished_snapshots(self._bench.folder):
            final = path.with_name(path.name.removeprefix(AGAIN))
            if path.name.startswith(AGAIN) and not final.exists():
                path.rename(final)
            else:
                move(path, self._quarantine / "snapshots" / path.name)

    def _load(self, table: str, shard: Path) -> None:
        rows = places(shard).select(["sha256", "length", "offset"])
        self._bench.connection.register("_rows", rows)
        self._bench.run(
            f"INSERT INTO {table} BY NAME SELECT *, $shard AS shard FROM _rows",
            shard=f"images/{shard.name}",
        )
        self._bench.connection.unregister("_rows")

    # Writing a snapshot again

    def _write_again(self, folder: Path) -> bool:
        """Write a snapshot's places again; say whether all of its pictures are there."""
        snapshot = self._named[folder]
        beside = folder.with_name(AGAIN + folder.name)
        beside.mkdir()
        shards = self._write_places(snapshot, beside / "pictures.arrow")
        if shards is None:
            (beside / "pictures.arrow").unlink()
            beside.rmdir()
            return False
        for name in (f"{name}.arrow" for name in snapshot.files if name != "pictures"):
            keep_whole(folder / name, beside / name)
        files = snapshot.manifest["files"] | {
            "pictures.arrow": file_digest(beside / "pictures.arrow")
        }
        manifest = snapshot.manifest | {"shards": shards, "files": files}
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        (beside / "manifest.json").write_text(text, encoding="utf-8")
        move(folder, self._quarantine / "snapshots" / folder.name)
        beside.rename(folder)
        return True

    def _write_places(self, snapshot: Snapshot, path: Path) -> list[str] | None:
        """Write where a snapshot's pictures are now; return their shards, or None if a picture is gone."""
        import pyarrow as pa

        column = snapshot.whole["pictures"]
        schema = pa.schema([("pictures", column.type)])
        numbers: dict[str, int] = {}
        with pa.ipc.new_file(str(path), schema) as writer:
            for lists in column.chunks:
                placed = self._placed(snapshot, lists, numbers)
                if placed is None:
                    return None
                writer.write_batch(pa.record_batch([placed], schema=schema))
        with path.open("rb") as file:
            os.fsync(file.fileno())
        return list(numbers)

    def _placed(
        self, snapshot: Snapshot, lists: Any, numbers: dict[str, int]
    ) -> pyarrow.Array | None:
        import pyarrow as pa

        cells = lists.values
        rows = self._look_up(snapshot, cells)
        if any(rows["is_gone"].to_pylist()):
            return None
        shards = [numbers.setdefault(name, len(numbers)) for name in rows["shard"].to_pylist()]
        kinds = {field.name: field for field in cells.type}
        columns = {
            "shard": as_column(shards, kinds["shard"].type),
            "offset": rows["offset"].combine_chunks(),
            "length": rows["length"].combine_chunks(),
        }
        again = pa.StructArray.from_arrays(
            [columns[name].cast(field.type) for name, field in kinds.items()],
            fields=list(kinds.values()),
        )
        return pa.ListArray.from_arrays(lists.offsets, again, type=lists.type)

    def _look_up(self, snapshot: Snapshot, cells: Any) -> pyarrow.Table:
        import pyarrow as pa

        numbers = as_column(range(len(cells)), pa.int64())
        self._bench.connection.register("_named", pa.table({"p": cells, "n": numbers}))
        rows: pyarrow.Table = self._bench.connection.sql(
            """SELECT coalesce(one.shard, p.shard) AS shard, coalesce(one."offset", p."offset") AS "offset",
                      p.length AS length, p.is_leaving AND one.shard IS NULL AS is_gone
            FROM (SELECT n, list_extract($shards, p.shard + 1) AS shard, p."offset" AS "offset",
                         p.length AS length,
                         list_contains($leaving, list_extract($shards, p.shard + 1)) AS is_leaving
                  FROM _named) AS p
            LEFT JOIN was ON p.is_leaving AND was.shard = p.shard AND was."offset" = p."offset"
            LEFT JOIN one ON one.sha256 = was.sha256 AND one.length = p.length
            ORDER BY n""",
            params={"leaving": sorted(self._leaving), "shards": snapshot.shards},
        ).to_arrow_table()
        self._bench.connection.unregister("_named")
        return rows
