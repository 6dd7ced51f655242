"""What a recipe said, what it said before that, and how one takes the place of the other.

    curation/starter/funnel.json     the last funnel, and the digest of the recipe that was asked
    curation/starter/settled.json    which verdicts were there when it was done, and how many records had been judged
    curation/starter/before/3/       what the third change took away: verdicts and the funnel; plan.json says when it was
    curation/starter/next/           a change that is being made

A change is prepared whole in `next`: parts that come, what becomes of parts that go, and at last `plan.json`. From then on it is carried
out, by renaming and deleting, and whoever is killed in between is finished by the next command for the recipe. Before that moment
nothing has happened, so a disk that is full leaves the former view.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mimicit.curate.base import quoted
from mimicit.curate.stages import Funnel, Stage
from mimicit.errors import RecipeError
from mimicit.formats.files import staged
from mimicit.parts import next_part, parts_of, write_part
from mimicit.schema import verdict_schema
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb

KEPT = 5
"""Opinions that can be taken back, one after the other."""
_UNDO = "undo"


def folder_of(store: Store, recipe: str) -> Path:
    """Return where a recipe's notes are; its name, which is the user's, leads nowhere."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", recipe)[:60]
    if plain != recipe:
        plain += "-" + blake2b(recipe.encode(), digest_size=4).hexdigest()
    return store.path / "curation" / plain


# Notes


def noted(folder: Path, name: str = "funnel") -> dict[str, Any]:
    """Return what was noted; nothing where there is no note, or it is damaged."""
    try:
        found = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def note(folder: Path, name: str, said: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with staged(folder / f"{name}.json") as file:
        file.write(json.dumps(said, ensure_ascii=False, indent=1).encode() + b"\n")


def note_funnel(folder: Path, funnel: Funnel, digest: str) -> None:
    note(folder, "funnel", {"digest": digest, "funnel": asdict(funnel)})


def last_funnel(folder: Path) -> Funnel | None:
    said = noted(folder).get("funnel")
    if not said:
        return None
    return Funnel(**(said | {"stages": [Stage(**stage) for stage in said["stages"]]}))


# A change


class Change:
    """What comes and what goes, prepared beside everything."""

    def __init__(self, store: Store, folder: Path) -> None:
        """Begin one; what was left of another is deleted."""
        self.store, self.folder = store, folder
        self.next = folder / "next"
        shutil.rmtree(self.next, ignore_errors=True)
        (self.next / "comes").mkdir(parents=True)
        (self.next / "went").mkdir()
        self._aside: dict[str, list[int]] = {}
        self._delete: dict[str, list[int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error:  # half of it must not fill the disk
            shutil.rmtree(self.next, ignore_errors=True)

    def comes(self) -> Path:
        """Return where to write a part that comes."""
        return next_part(self.next / "comes", "v")

    def went(self) -> Path:
        """Return where to write rows that go, to be had back."""
        return next_part(self.next / "went", "w")

    def set_aside(self, part: str) -> None:
        """Take a part away, to be had back as it is."""
        self._aside[part] = _stamp(self.store.path / part)

    def delete(self, part: str) -> None:
        """Take a part away for which others come."""
        self._delete[part] = _stamp(self.store.path / part)

    def carry_out(self, funnel: Funnel, digest: str, time: int) -> list[str]:
        """Let it happen; return the parts that came.

        Args:
            funnel: To be noted.
            digest: Of the recipe.
            time: Of the verdicts that come.
        """
        note_funnel(self.next, funnel, digest)
        went = self.next / "went"
        note(went, "plan", {"time": time})
        if (self.folder / "funnel.json").exists():
            shutil.copy(self.folder / "funnel.json", went / "funnel.json")
        number = (_numbers(self.folder) or [0])[-1] + 1
        self._plan({"kind": "curate", "went": number})
        came = finish(self.store, self.folder)[1]
        for old in _numbers(self.folder)[:-KEPT]:
            shutil.rmtree(self.folder / "before" / str(old))
        return came

    def take_back(self, number: int) -> None:
        """Let it happen, and have the verdicts of an earlier change back."""
        self._plan({"kind": _UNDO, "back": number})
        finish(self.store, self.folder)

    def _plan(self, plan: dict[str, Any]) -> None:
        note(self.next, "plan", plan | {"aside": self._aside, "delete": self._delete})


def finish(store: Store, folder: Path) -> tuple[str, list[str]]:
    """Carry a planned change out, from wherever it was left; return its kind, and the parts that came.

    What comes is there before anything goes, and all of it can be done again.
    """
    following = folder / "next"
    plan = noted(following, "plan")
    if not plan:
        return "", []
    verdicts, before = store.path / "verdicts", folder / "before"
    back = before / str(plan["back"]) if "back" in plan else None
    coming = [*parts_of(following / "comes"), *(parts_of(back) if back else [])]
    came = [path.rename(next_part(verdicts, "v")).name for path in coming]
    if "went" in plan and (following / "went").exists():
        before.mkdir(exist_ok=True)
        (following / "went").rename(before / str(plan["went"]))
    for part, stamp in plan["aside"].items():
        if _stamp(store.path / part) == stamp:
            (store.path / part).rename(before / str(plan["went"]) / Path(part).name)
    for part, stamp in plan["delete"].items():
        if _stamp(store.path / part) == stamp:
            (store.path / part).unlink()
    if back:
        _take_funnel(back, folder)
    elif (following / "funnel.json").exists():
        (following / "funnel.json").replace(folder / "funnel.json")
    if back and back.exists():
        shutil.rmtree(back)
    shutil.rmtree(following)
    return plan["kind"], [f"verdicts/{name}" for name in came]


def _take_funnel(back: Path, folder: Path) -> None:
    if (back / "funnel.json").exists():
        with staged(folder / "funnel.json") as file:
            file.write((back / "funnel.json").read_bytes())
    elif back.exists():
        (folder / "funnel.json").unlink(missing_ok=True)


def _stamp(path: Path) -> list[int]:
    """Return what tells a file from another one that got its name later."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return []
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in (folder / "before").glob("*") if path.name.isdigit())


def undo(store: Store, recipe: str) -> Funnel | None:
    """Take a recipe's last opinion back: its verdicts are those from before.

    Returns:
        The funnel from before; None where the recipe had not been asked.

    Raises:
        RecipeError: there is nothing to be taken back.
        LockedError: another process is writing.
    """
    folder = folder_of(store, recipe)
    with store.writing("syphus data curate --undo"):
        begun, _ = finish(store, folder)  # of an undo that was killed, this is the rest
        store.sync()
        if begun != _UNDO:
            numbers = _numbers(folder)
            if not numbers:
                raise RecipeError(f"there is nothing of the recipe {recipe!r} to be taken back")
            (folder / "settled.json").unlink(missing_ok=True)
            change = Change(store, folder)
            time = noted(folder / "before" / str(numbers[-1]), "plan").get("time")
            said = f"recipe = {quoted(recipe)}"
            if time is not None:
                said += f" AND epoch_us(time) = {int(time)}"
            with store.reading() as connection:
                take_out(connection, change, said)
            change.take_back(numbers[-1])
            store.sync()
        return last_funnel(folder)


def take_out(connection: duckdb.DuckDBPyConnection, change: Change, said: str) -> None:
    """Prepare to delete some verdicts: whole parts, and of other parts what remains comes as a new one.

    Args:
        connection: Reads the catalog.
        change: To prepare.
        said: Which verdicts, in SQL.
    """
    held = connection.execute(
        f"SELECT part, count(*) = count(*) FILTER ({said}) FROM verdicts "
        f"WHERE part IN (SELECT part FROM verdicts WHERE {said}) GROUP BY part ORDER BY part"
    ).fetchall()
    for part, whole in held:
        change.delete(part)
        if not whole:
            rest = f"part = {quoted(part)} AND NOT ({said})"
            write_verdicts(connection, change.comes(), f"SELECT * FROM verdicts WHERE {rest}")


def write_verdicts(connection: duckdb.DuckDBPyConnection, path: Path, query: str) -> None:
    """Write the verdicts that a query returns as a part."""
    import pyarrow as pa

    schema = verdict_schema()
    named = ", ".join(schema.names)
    reader = connection.sql(f"SELECT {named} FROM ({query}) ORDER BY record, recipe, filter")
    batches = reader.to_arrow_reader(65_536)
    write_part(path, (pa.Table.from_batches([batch]).cast(schema) for batch in batches), schema)


def parts_of_recipe(
    store: Store, connection: duckdb.DuckDBPyConnection, recipe: str
) -> dict[str, int]:
    """Return the parts with a recipe's verdicts, below the dataset folder, and their bytes."""
    rows = connection.execute(
        "SELECT DISTINCT part FROM verdicts WHERE recipe = ? ORDER BY part", [recipe]
    ).fetchall()
    return {part: (store.path / part).stat().st_size for (part,) in rows}
