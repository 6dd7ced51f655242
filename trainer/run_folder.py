"""A run is a folder, and a folder is one run.

    runs/demo/
      settings.json    the recipe with its overrides, and the snapshot's digest: whose folder this is
      processor/       the tokenizer and how pictures are prepared
      log.jsonl        one line a step
      checkpoints/     step-000100/ … and `latest`, the name of the newest whole one
      model/           what was learned, for from_pretrained       ┐
      adapters/        with LoRA: what was learned, for peft       │
      loss.png         its curve                                   ├ when the run has ended
      run.json         settings, versions, figures                 ┘

The same command on the same folder continues an interrupted run and leaves a finished one alone. Different settings or records
need another folder.
"""

import json
from collections.abc import Iterator
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from trainer.config import TrainConfig
from trainer.errors import RunFolderError


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

    @property
    def is_finished(self) -> bool:
        return self.summary.exists()

    def claim(self, config: TrainConfig, snapshot: str) -> None:
        """Make the folder this run's, or find that it is.

        Raises:
            RunFolderError: it belongs to another run, or holds other things.
        """
        mine = _plain({**asdict(config), "snapshot": snapshot})
        if self.settings.exists():
            theirs = json.loads(self.settings.read_text(encoding="utf-8"))
            _fill_in(theirs, config)
            if changes := list(_changes(theirs, mine)):
                raise RunFolderError(
                    f"{str(self.path)!r} holds a run with other settings ({'; '.join(changes[:3])}); "
                    "choose another output folder, or delete this one"
                )
            return
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunFolderError(
                f"{str(self.path)!r} holds something that is not a training run; "
                "choose another output folder"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.settings, mine)

    def read_summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads(self.summary.read_text(encoding="utf-8"))
        return summary


def write_json(path: Path, value: Any) -> None:
    """Write beside and rename, so that a file that exists is whole."""
    staged = path.with_name(f".{path.name}")
    staged.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    staged.replace(path)


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


def _changes(old: dict[str, Any], new: dict[str, Any], above: str = "") -> Iterator[str]:
    for key in old | new:
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _changes(before, after, f"{above}{key}.")
        elif before != after:
            yield f"{above}{key} is {before!r} there and {after!r} here"
