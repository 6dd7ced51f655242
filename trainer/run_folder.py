"""A run is a folder, and a folder is one run.

    runs/demo/
      settings.json    the recipe with its overrides, and the snapshots' digests: whose folder this is
      .lock            held by the process that trains
      processor/       the tokenizer and how pictures are prepared
      log.jsonl        one line a step
      held_out.jsonl   one line for each look at records that are not learned; samples.jsonl, samples.html: its answers
      reference/       with an objective that compares answers: what the starting model said of them
      checkpoints/     step-000100/ … and `latest`, the name of the newest whole one
      model/           what was learned, for from_pretrained       ┐
      adapters/        with LoRA: what was learned, for peft       │
      loss.png         its curve                                   ├ when the run has ended
      run.json         settings, versions, figures                 ┘

The same command on the same folder continues an interrupted run and leaves a finished one alone. What it learns, and how, stays as
it began: other settings or records need another folder, but for settings that change nothing but speed and what is kept (FREE).

A file or a folder in it that has its name is whole.
"""

import fcntl
import json
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from mimicit.errors import MimicitError
from trainer.config import TrainConfig
from trainer.errors import RunFolderError

FREE = (
    "data.workers",
    "data.worker_timeout",
    "data.picture_cache_mb",
    "data.skip_bad",
    "optim.max_bad_steps",
    "report",
    "evaluate.every",
    "evaluate.answers",
    "evaluate.max_new_tokens",
    "run.micro_batch_size",
    "run.gradient_checkpointing",
    "run.strategy",
    "run.max_seconds",
    "run.save_every",
    "run.keep",
    "run.keep_best",
)
"""Settings with which a run may go on otherwise than it began: what is learned stays the same, the last digits of sums apart."""


class RunFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / "settings.json"
        self.processor = path / "processor"
        self.log = path / "log.jsonl"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        self.curve = path / "loss.png"
        self.summary = path / "run.json"
        self._is_locked = False

    @property
    def has_begun(self) -> bool:
        return self.settings.exists()

    @property
    def is_finished(self) -> bool:
        return self.summary.exists()

    @property
    def sources(self) -> dict[str, str]:
        """Return the snapshots that the run began with, by the parts of its mix; none, if it has not begun."""
        if not self.has_begun:
            return {}
        theirs = self._theirs()
        sources: dict[str, str] = theirs.get("sources") or {"accepted": theirs["snapshot"]}
        return sources

    def claim(
        self,
        config: TrainConfig,
        snapshot: str,
        sources: Mapping[str, str] | None = None,
        *,
        leads: bool = True,
    ) -> None:
        """Make the folder this run's, or find that it is.

        Args:
            config: Of the run.
            snapshot: Digest of all that is learned from.
            sources: Those of its snapshots, by the parts of the mix.
            leads: Write; other processes only look.

        Raises:
            RunFolderError: it belongs to another run, holds other things, or a process is training in it.
        """
        mine = _plain({**asdict(config), "snapshot": snapshot, "sources": dict(sources or {})})
        if leads:
            self._need_no_other()
            self.lock()
        if leads and not self.has_begun:
            write_json(self.settings, mine)
            return
        theirs = self._theirs()
        _fill_in(theirs, config)
        if changes := [change for key, change in _changes(theirs, mine) if not _is_free(key)]:
            raise RunFolderError(
                f"{str(self.path)!r} holds a run with other settings ({'; '.join(changes[:3])}); "
                "choose another output folder, or delete this one"
            )
        if theirs["snapshot"] != snapshot:
            raise RunFolderError(
                f"the run in {str(self.path)!r} began with other records ({theirs['snapshot'][:12]}…, now {snapshot[:12]}…): "
                "files of the mix have changed since, or a snapshot of a changed dataset is gone from its folder snapshots/; put them "
                "back to go on, or choose another output folder to learn from what there is now"
            )
        if leads and theirs != mine:
            write_json(self.settings, mine)

    def _theirs(self) -> dict[str, Any]:
        try:
            theirs: dict[str, Any] = json.loads(self.settings.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunFolderError(
                f"{str(self.settings)!r} cannot be read ({error}), so nobody knows whose run this is; restore it, or choose another "
                "output folder"
            ) from None
        return theirs

    def _need_no_other(self) -> None:
        if self.has_begun or not self.path.exists():
            return
        # A kill may have left what comes before the settings.
        mine = {".lock", f".{self.settings.name}"}
        if not self.path.is_dir() or {path.name for path in self.path.iterdir()} - mine:
            raise RunFolderError(
                f"{str(self.path)!r} holds something that is not a training run; "
                "choose another output folder"
            )

    def lock(self) -> None:
        """Let no other process train here until this one ends.

        The lock is the process's and not its children's, so that a run can go on at once where a killed one's workers still end.

        Raises:
            RunFolderError: another one does.
        """
        if self._is_locked:
            return
        with written(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            held = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        weakref.finalize(self, os.close, held)
        try:
            fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise RunFolderError(
                f"another process is training in {str(self.path)!r}; wait until it ends, or choose another output folder"
            ) from None
        except OSError:
            pass  # a file system without locks
        self._is_locked = True

    def read_summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads(self.summary.read_text(encoding="utf-8"))
        return summary


def write_json(path: Path, value: Any) -> None:
    """Write beside, bring to disk and rename, so that a file that exists is whole.

    Raises:
        RunFolderError: it cannot be written.
    """
    staged = path.with_name(f".{path.name}")
    with written(path):
        staged.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        sync(staged)
        staged.replace(path)
        sync(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a folder to write into, which then takes a name, and the place of what had it.

    Raises:
        RunFolderError: it cannot be written; what was there stays.
    """
    staged = path.with_name(f".{path.name}")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        with written(path):
            staged.mkdir()
            yield staged
            for file in staged.rglob("*"):
                sync(file)
            sync(staged)
            if path.exists():
                shutil.rmtree(path)
            staged.rename(path)
            sync(path.parent)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def left_out(path: Path, *, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Go on without a file that cannot be written, where the log has all that it shows."""
    try:
        yield
    except OSError as error:
        if say is not None:
            say(f"{str(path)!r} cannot be written ({error.strerror}); training goes on without")


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Say in a sentence that a file or folder cannot be written.

    Raises:
        RunFolderError: it cannot.
    """
    try:
        yield
    except MimicitError:
        raise
    except Exception as error:
        # The libraries for weights and tokenizers tell of the disk in errors of their own.
        if not isinstance(error, OSError) and "(os error" not in str(error):
            raise
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RunFolderError(
            f"{str(path)!r} cannot be written ({why}); make room or change its owner, and give the same command again"
        ) from error


def sync(path: Path) -> None:
    """Bring a file, or which names a folder holds, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def in_bytes(count: int) -> str:
    """Say a number of bytes as people do."""
    for power, unit in ((30, "GiB"), (20, "MiB")):
        if count >> power:
            return f"{count / (1 << power):,.1f} {unit}"
    return f"{count / 1024:,.0f} KiB"


def _plain(value: Any) -> Any:
    """Return settings as JSON gives them back."""
    return json.loads(json.dumps(value, default=asdict))


def _fill_in(theirs: dict[str, Any], settings: Any) -> None:
    """Add the settings that did not exist when a folder was made: what was done then is their default now."""
    for setting in fields(settings):
        mine = getattr(settings, setting.name)
        if is_dataclass(mine) and isinstance(theirs.get(setting.name), dict):
            _fill_in(theirs[setting.name], mine)
        elif setting.name not in theirs:
            if setting.default is not MISSING:
                theirs[setting.name] = _plain(setting.default)
            elif setting.default_factory is not MISSING:
                theirs[setting.name] = _plain(setting.default_factory())


def _changes(
    old: dict[str, Any], new: dict[str, Any], above: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield the settings that differ, and how."""
    for name in old | new:
        key, before, after = above + name, old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _changes(before, after, f"{key}.")
        elif before != after:
            yield key, f"{key} is {before!r} there and {after!r} here"


def _is_free(key: str) -> bool:
    of_records = key in ("snapshot", "sources") or key.startswith("sources.")
    return of_records or any(key == free or key.startswith(f"{free}.") for free in FREE)
