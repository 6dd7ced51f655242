"""The published layout of a mix, a YAML file of groups, as parts of ours.

    IMAGE_TEXT:                  a question about its pictures, which are the frames of one medium
      LADD:                      any name
        mimicit_path: LADD_instructions.json
        images_path: LA.parquet
        train_config_path: LADD_train.json      optional: which records, and which come before each
        num_samples: 5000                       optional: 0, -1 and none are all
        task_description: ["Describe it."]      optional: one of them comes first
    TEXT_ONLY:                   pictures are not shown
    VIDEO_TEXT:                  frames, `data.video_frames` of them, evenly
    IMAGE_TEXT_IN_CONTEXT:       records before each as examples, with their own pictures

Files are read by the importers of datasets, once: into a dataset folder in the cache, under a name of the files' paths, sizes and
times. Pictures that several sets share are imported once, and linked.

What is other than it was, because it was a fault: each epoch takes its `num_samples` where the last one ended, in place of the same
ones each time; each set's ids are its own; examples in context show their own pictures; a description that is one text is taken
whole. What comes before a record in another group than IMAGE_TEXT_IN_CONTEXT are earlier questions about its pictures, which are
shown before the first. Without a `train_config_path` only IMAGE_TEXT_IN_CONTEXT has such records, those of their `rel_ins_ids`.

A run that goes on keeps to what it began with, as long as the cache has it: other files are other folders there.
"""

import difflib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimicit.errors import MimicitError, RecipeError
from mimicit.exchange import LIST, import_files
from mimicit.snapshot import OWN, Snapshot, freeze
from mimicit.store import Store
from trainer.config import Data
from trainer.errors import TrainingError
from trainer.sources.mix import Part
from trainer.sources.pins import NO_PINS, Pins
from trainer.sources.snapshot import SnapshotSource

IN_CONTEXT = "IMAGE_TEXT_IN_CONTEXT"
GROUPS = ("IMAGE_TEXT", "TEXT_ONLY", "VIDEO_TEXT", IN_CONTEXT)
FIELDS = ("mimicit_path", "images_path", "train_config_path", "num_samples", "task_description")
MADE = "published.json"
"""What an import says last, in its dataset folder."""
LAYOUT = 1
"""Counted up when the same files become another folder."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One set of a YAML file."""

    group: str
    name: str
    mimicit: Path
    images: Path | None
    train: Path | None
    num_samples: int
    descriptions: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.group}.{self.name}"

    @property
    def files(self) -> list[Path]:
        """Return what it is made of: its texts come first."""
        return [path for path in (self.mimicit, self.train, self.images) if path]


def open_published(
    data: Data,
    path: Path,
    *,
    seed: int,
    cache: Path,
    without: str | None = None,
    pins: Pins = NO_PINS,
) -> list[Part]:
    """Open what a YAML file names; imports what was not yet.

    Args:
        data: Of the recipe.
        path: The YAML file; its relative paths begin at its folder, or, if nothing is there, at the working directory.
        seed: Of the run.
        cache: The folder that keeps imported files.
        without: SQL over the view `accepted`: records that are held out.
        pins: The snapshots with which a run began that goes on now.

    Raises:
        RecipeError: it is no such file, or names files that there are not.
        TrainingError, DatasetError: what it names cannot be taught.
    """
    cache /= "published"
    parts = []
    for entry in read_yaml(path):
        snapshot = _pinned(entry, cache, pins) or _frozen(entry, data, cache, without)
        parts.append(_part(entry, snapshot, data, seed))
    return parts


def read_yaml(path: Path) -> list[Entry]:
    """Read a YAML file of the published layout.

    Raises:
        RecipeError: it is none; says where.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"data.yaml {str(path)!r} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise RecipeError(f"data.yaml {str(path)!r} is not YAML: {said}") from None
    groups = _mapping(found, f"{str(path)!r}", "groups: " + ", ".join(GROUPS))
    entries = []
    for group, sets in groups.items():
        if group not in GROUPS:
            raise RecipeError(
                f"{str(path)!r} has a group {group!r}; there are {', '.join(GROUPS)}{_nearest(group, GROUPS)}"
            )
        for name, fields in _mapping(sets or {}, f"{str(path)!r}: {group}", "sets by name").items():
            where = f"{str(path)!r}: {group}.{name}"
            of_set = _mapping(fields, where, ", ".join(FIELDS))
            entries.append(_entry(group, str(name), of_set, where, path.parent))
    if not entries:
        raise RecipeError(f"{str(path)!r} names no set of records")
    return entries


def _entry(group: str, name: str, said: Mapping[str, Any], where: str, base: Path) -> Entry:
    for field in said:
        if field not in FIELDS:
            raise RecipeError(
                f"{where} says {field!r}; a set has {', '.join(FIELDS)}{_nearest(field, FIELDS)}"
            )
    paths = {field: _path(said.get(field), f"{where}.{field}", base) for field in FIELDS[:3]}
    if paths["mimicit_path"] is None:
        raise RecipeError(f"{where} has no mimicit_path, which names its records")
    number = said.get("num_samples")
    if number is not None and type(number) is not int:
        raise RecipeError(f"{where}.num_samples must be a whole number, not {number!r}")
    descriptions = said.get("task_description") or ()
    if isinstance(descriptions, str):
        descriptions = (descriptions,)
    if not isinstance(descriptions, list | tuple) or not all(
        isinstance(one, str) for one in descriptions
    ):
        raise RecipeError(f"{where}.task_description must be a list of texts")
    return Entry(
        group,
        name,
        paths["mimicit_path"],
        None if group == "TEXT_ONLY" else paths["images_path"],
        paths["train_config_path"],
        max(0, number or 0),
        tuple(descriptions),
    )


def _part(entry: Entry, snapshot: Snapshot, data: Data, seed: int) -> Part:
    is_video = entry.group == "VIDEO_TEXT"
    source = SnapshotSource(
        snapshot,
        pictures="frames" if is_video else data.pictures,
        frames=data.video_frames if is_video else None,
        in_context=None if _context(entry) else 0,
        own_pictures=entry.group == IN_CONTEXT,
        descriptions=entry.descriptions,
        seed=seed,
    )
    return Part(entry.title, source, draws=entry.num_samples or len(source))


def _context(entry: Entry) -> str | None:
    """Return whose lists say what comes before a record (`mimicit.snapshot.freeze`)."""
    if entry.train:
        return LIST
    return OWN if entry.group == IN_CONTEXT else None


def _frozen(entry: Entry, data: Data, cache: Path, without: str | None) -> Snapshot:
    folder = _imported(entry, cache, allowed=data.skip_bad)
    listed = f"id IN (SELECT record FROM relations WHERE strategy = '{LIST}')"
    try:
        return freeze(
            Store.open(folder),
            where=listed if entry.train else "true",
            context=_context(entry),
            pictures=entry.group != "TEXT_ONLY",
            without=without,
        )
    except MimicitError as error:
        raise TrainingError(f"{entry.title} cannot be opened: {error}") from error


def _pinned(entry: Entry, cache: Path, pins: Pins) -> Snapshot | None:
    """Return the snapshot of a set with which a run began, if it is in the cache; say so where the set's files are other ones now."""
    digest = pins.digests.get(entry.title)
    if not digest:
        return None
    here = _folder(entry.files, cache)
    held = Path("snapshots", digest, "manifest.json")
    found = [folder for folder in (here, *sorted(cache.glob("*"))) if (folder / held).is_file()]
    if not found:
        return None
    snapshot = Snapshot(found[0], digest)
    if found[0] != here and pins.say:
        pins.say(
            f"the files of {entry.title} have changed since this run began; it goes on with its own {len(snapshot):,} records "
            f"({str(found[0])!r}), and one in another folder learns from what there is now"
        )
    return snapshot


# Importing


def _imported(entry: Entry, cache: Path, *, allowed: int) -> Path:
    """Return the dataset folder that holds a set's files.

    Raises:
        TrainingError: more than `allowed` of its rows cannot be used.
    """
    texts = [path for path in entry.files if path != entry.images]

    def make(folder: Path) -> dict[str, Any]:
        store = Store.open(folder, create=True)
        if entry.images:
            _link_pictures(_pictures(entry.images, cache), folder)
        found = import_files(texts, store, format_name="mimicit")
        if not found.records:
            raise TrainingError(f"{str(entry.mimicit)!r} ({entry.title}) holds no records")
        listed = str(found.bad_file.relative_to(folder)) if found.bad_file else None
        first = [f"{row.where}: {row.reason}" for row in found.bad[:3]]
        return {"records": found.records, "bad": found.bad_count, "first": first, "list": listed}

    folder, made = _once(entry.files, cache, make)
    if made["bad"] > allowed:
        raise TrainingError(
            f"{made['bad']:,} rows of {entry.title} cannot be used ({'; '.join(made['first'])}); "
            f"{str(folder / made['list'])!r} lists them; mend them, or allow data.skip_bad = {made['bad']} of them"
        )
    return folder


def _pictures(images: Path, cache: Path) -> Path:
    """Return the dataset folder that holds a file of pictures."""

    def make(folder: Path) -> dict[str, Any]:
        found = import_files([images], Store.open(folder, create=True), format_name="mimicit")
        if not found.images:
            raise TrainingError(f"{str(images)!r} holds no pictures")
        return {"images": found.images, "bad": found.bad_count}

    return _once([images], cache, make)[0]


def _link_pictures(there: Path, here: Path) -> None:
    """Have the shards of another dataset folder; they are never written again."""
    for shard in sorted((there / "images").glob("*.parquet")):
        try:
            os.link(shard, here / "images" / shard.name)
        except OSError:  # a file system without links
            shutil.copy2(shard, here / "images" / shard.name)


def _once(
    files: Sequence[Path], cache: Path, make: Callable[[Path], dict[str, Any]]
) -> tuple[Path, dict[str, Any]]:
    """Make a folder of files, unless it is there; a process that comes meanwhile waits."""
    import filelock

    folder = _folder(files, cache)
    if not (folder / MADE).exists():
        cache.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache / f".{folder.name}.lock"):
            if not (folder / MADE).exists():
                staged = cache / f".{folder.name}"
                shutil.rmtree(staged, ignore_errors=True)  # a killed process left it
                try:
                    made = make(staged)
                    (staged / MADE).write_text(
                        json.dumps({"files": list(map(str, files))} | made), encoding="utf-8"
                    )
                    staged.rename(folder)
                finally:
                    shutil.rmtree(staged, ignore_errors=True)
    return folder, json.loads((folder / MADE).read_text(encoding="utf-8"))


def _folder(files: Sequence[Path], cache: Path) -> Path:
    said = json.dumps([LAYOUT, *map(_identity, files)], ensure_ascii=True)
    return cache / hashlib.blake2b(said.encode(), digest_size=12).hexdigest()


def _identity(path: Path) -> list[Any]:
    """Return a file's path, size and time; of a folder of parts, each one's."""
    if path.is_dir():
        return [str(path.resolve()), *(_identity(one) for one in sorted(path.iterdir()))]
    stat = path.stat()
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]


# Checking


def _mapping(value: Any, where: str, what: str) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise RecipeError(f"{where} must hold {what}; it is {value!r:.80}")
    return value


def _path(value: Any, where: str, base: Path) -> Path | None:
    if value in (None, ""):
        return None
    if not isinstance(value, str):
        raise RecipeError(f"{where} must be a path, not {value!r}")
    for path in (base / value, Path(value)):
        if path.exists():
            return path
    raise RecipeError(f"{where} names {value!r}, but {str(base / value)!r} is not there")


def _nearest(word: Any, words: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(word), words, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
