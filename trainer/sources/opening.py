"""From a recipe and a dataset folder to the mix that a run learns from.

    data.where    one selection of the command's dataset folder
    data.groups   parts by name: selections of dataset folders, shards of captioned pictures, pages
    data.yaml     the published layout (`trainer.sources.published_yaml`)

A selection is frozen once, and found again as long as the dataset's parts are the same files (`mimicit.frozen`). What is made of
other files is kept in a cache folder under a name of these files' names, sizes and times.
"""

import os
from collections.abc import Callable
from pathlib import Path

from mimicit.errors import RecipeError
from mimicit.snapshot import OWN, Snapshot
from mimicit.store import Store
from trainer.config import Data
from trainer.errors import TrainingError
from trainer.group_config import Group
from trainer.sources.base import Source
from trainer.sources.mix import Mix, Part
from trainer.sources.pins import NO_PINS, Pins
from trainer.sources.snapshot import SnapshotSource


def open_mix(
    data: Data,
    dataset: Path,
    *,
    seed: int = 0,
    without: str | None = None,
    cache: Path | None = None,
    pins: Pins = NO_PINS,
) -> Mix:
    """Open what a recipe learns from; freezes what is selected of dataset folders, and imports what is not one yet.

    Args:
        data: Of the recipe.
        dataset: The command's dataset folder.
        seed: Of the run.
        without: SQL over the view `accepted`: records that no selection takes, nor shows as an example, because they are held out.
        cache: Where what is made of other files is kept; None: the user's (`cache_folder`).
        pins: The snapshots with which a run began that goes on now.

    Raises:
        DatasetError, QueryError, RecipeError, TrainingError: there is nothing to learn from, and why.
    """
    cache, without = cache or cache_folder(), without or None
    if data.yaml:
        from trainer.sources.published_yaml import open_published

        parts = open_published(
            data, Path(data.yaml), seed=seed, cache=cache, without=without, pins=pins
        )
    else:
        groups = data.groups or {"accepted": Group(where=data.where)}
        parts = []
        for name, group in groups.items():
            source = _open_group(
                group, data,
                name=name, dataset=dataset, seed=seed, without=without, cache=cache, pins=pins,
            )  # fmt: skip
            parts.append(Part(name, source, draws_of(group, len(source)), group.loss_weight))
    parts = [part for part in parts if part.draws]
    if not parts:
        raise RecipeError("each group has a weight of 0, so nothing would be learned")
    if not any(part.loss_weight for part in parts):
        raise RecipeError("each group has a loss_weight of 0, so nothing would be learned")
    return Mix(parts)


def cache_folder() -> Path:
    """Return where the user keeps what can be made again: $SYPHUS_CACHE, else the operating system's place for it."""
    if given := os.environ.get("SYPHUS_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "syphus"


def draws_of(group: Group, records: int) -> int:
    """Return how many records an epoch takes of a group that has so many."""
    if group.num_samples is not None:
        return group.num_samples
    return max(1, round(group.weight * records)) if group.weight else 0


def _open_group(
    group: Group,
    data: Data,
    *,
    name: str,
    dataset: Path,
    seed: int,
    without: str | None,
    cache: Path,
    pins: Pins,
) -> Source:
    opened: Callable[..., Source]
    if group.shards:
        from trainer.sources.pairs import open_pairs as opened
    elif group.documents:
        from trainer.sources.documents import open_documents as opened
    else:
        return _open_selection(
            group, data, name=name, dataset=dataset, seed=seed, without=without, pins=pins
        )
    return opened(group, name=name, base=dataset, cache=cache)


def _open_selection(
    group: Group,
    data: Data,
    *,
    name: str,
    dataset: Path,
    seed: int,
    without: str | None,
    pins: Pins,
) -> SnapshotSource:
    pictures = group.pictures or data.pictures
    if group.frames and pictures == "media":
        raise RecipeError(
            f'data.groups.{name}.frames are those of one clip, but data.pictures = "media" makes each picture a medium of its own; '
            f'set data.groups.{name}.pictures = "frames"'
        )
    store = Store.open(Path(group.dataset) if group.dataset else dataset)
    context = OWN if group.in_context else None
    snapshot = pins.freeze(name, store, where=group.where, context=context, without=without)
    if pictures == "media" and group.turns == "single":
        check_marks(snapshot, allowed=data.skip_bad)
    return SnapshotSource(
        snapshot,
        pictures=pictures,
        frames=group.frames,
        turns=group.turns,
        in_context=group.in_context,
        descriptions=group.task_description,
        seed=seed,
    )


def check_marks(snapshot: Snapshot, *, allowed: int) -> None:
    """Find before the first step that questions say `<image>` as often as they have pictures, or not at all.

    Raises:
        TrainingError: more than `allowed` do not; some are named.
    """
    found = snapshot.manifest.get("uneven_marks", {"records": 0, "ids": []})
    if found["records"] <= allowed:
        return
    more = " …" if found["records"] > len(found["ids"]) else ""
    raise TrainingError(
        f"{found['records']:,} records of {str(snapshot.dataset)!r} say <image> another number of times than they have pictures "
        f"({', '.join(found['ids'])}{more}); correct them, leave them out with where, or allow data.skip_bad = {found['records']} of them"
    )
