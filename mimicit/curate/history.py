"""What a recipe said, and what it said before that."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mimicit.curate.stages import Funnel, Stage
from mimicit.errors import RecipeError
from mimicit.formats.files import staged
from mimicit.parts import next_part, parts_of
from mimicit.store import Store

KEPT = 5
"""Opinions that can be taken back, one after the other."""


def folder_of(store: Store, recipe: str) -> Path:
    """Return where a recipe's notes are; its name, which is the user's, leads nowhere."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", recipe)[:60]
    if plain != recipe:
        plain += "-" + blake2b(recipe.encode(), digest_size=4).hexdigest()
    return store.path / "curation" / plain


def noted(folder: Path) -> dict[str, Any]:
    """Return what was noted with the last funnel; nothing where there is none, or it is damaged."""
    try:
        found = json.loads((folder / "funnel.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def note(folder: Path, funnel: Funnel, digest: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    said = {"digest": digest, "funnel": asdict(funnel)}
    with staged(folder / "funnel.json") as file:
        file.write(json.dumps(said, ensure_ascii=False, indent=1).encode() + b"\n")


def set_aside(store: Store, folder: Path, verdicts: list[str]) -> None:
    """Move a recipe's verdicts out of the way, with the funnel that they came with.

    Args:
        store: The dataset.
        folder: The recipe's notes.
        verdicts: Their parts, below the dataset folder.
    """
    before = folder / "before"
    numbers = sorted(int(path.name) for path in before.glob("*") if path.name.isdigit())
    for number in numbers[: -KEPT + 1]:
        shutil.rmtree(before / str(number))
    aside = before / str((numbers or [0])[-1] + 1)
    aside.mkdir(parents=True)
    if (folder / "funnel.json").exists():
        shutil.copy(folder / "funnel.json", aside / "funnel.json")
    for part in verdicts:
        (store.path / part).rename(aside / Path(part).name)


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
        store.sync()
        before = folder / "before"
        numbers = sorted(int(path.name) for path in before.glob("*") if path.name.isdigit())
        if not numbers:
            raise RecipeError(f"there is nothing of the recipe {recipe!r} to be taken back")
        aside = before / str(numbers[-1])
        replaced = _to_delete(store, recipe, aside)
        for path in parts_of(aside):  # under new names: the catalog knows parts by theirs
            path.rename(next_part(store.path / "verdicts", "v"))
        for part in replaced:
            (store.path / part).unlink(missing_ok=True)
        (folder / "funnel.json").unlink(missing_ok=True)
        if (aside / "funnel.json").exists():
            shutil.copy(aside / "funnel.json", folder / "funnel.json")
        shutil.rmtree(aside)
        store.sync()
        return last_funnel(folder)


def last_funnel(folder: Path) -> Funnel | None:
    said = noted(folder).get("funnel")
    if not said:
        return None
    return Funnel(**(said | {"stages": [Stage(**stage) for stage in said["stages"]]}))


def _to_delete(store: Store, recipe: str, aside: Path) -> list[str]:
    """Return the parts that the former ones replace; whoever was killed after noting them goes on with the same."""
    plan = aside / "replaced.json"
    if not plan.exists():
        with staged(plan) as file:
            file.write(json.dumps(parts_of_recipe(store, recipe)).encode())
    found: list[str] = json.loads(plan.read_text(encoding="utf-8"))
    return found


def parts_of_recipe(store: Store, recipe: str) -> list[str]:
    """Return the parts with a recipe's verdicts, below the dataset folder."""
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT DISTINCT part FROM verdicts WHERE recipe = ? ORDER BY part", [recipe]
        ).fetchall()
    return [part for (part,) in rows]
