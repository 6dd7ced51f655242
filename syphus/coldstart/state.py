"""The work folder: candidates and decisions as lines of JSON, one process at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mimicit.errors import DatasetError, LockedError
from syphus.annotations.notes import Notes
from syphus.forms import Pair

Row = TypeVar("Row", bound=BaseModel)


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Candidate(_Row):
    """A readable reply to a context."""

    key: str
    """Of the context's first request; names the candidate."""
    request: str
    """Key of the request that this is the reply to: another one, if the first reply could not be read."""
    model: str
    context: Notes
    pairs: tuple[Pair, ...]
    rating: float | None = None
    """A judge's, 1 to 5."""
    score: float = 0.0
    """0 to 1."""
    parts: dict[str, float] = Field(default_factory=dict)
    """What the score is made of."""
    reasons: tuple[str, ...] = ()
    """What it lost points for."""


class Decision(_Row):
    action: Literal["accept", "edit", "reject", "undo"]
    candidate: str
    time: str
    """As ISO 8601 writes it, UTC."""
    score: float = 0.0
    """Of what was accepted."""
    example: dict[str, Any] | None = None
    """What was accepted instead of the reply, as an example's YAML has it."""


class State:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextmanager
    def open(cls, folder: Path, task: str) -> Iterator[Self]:
        """Open a work folder, or make it; it belongs to this process for as long as the block runs.

        Raises:
            DatasetError: the folder is another task's, or is none.
            LockedError: another process has it.
        """
        import filelock

        head = folder / "coldstart.json"
        if folder.exists() and not head.is_file() and (folder.is_file() or any(folder.iterdir())):
            raise DatasetError(
                f"{str(folder)!r} is no work folder of a cold start; name another one with --state"
            )
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise LockedError(
                f"another `syphus coldstart` works in {str(folder)!r}; wait until it is done"
            ) from None
        try:
            if not head.exists():
                write_whole(head, json.dumps({"version": 1, "task": task}) + "\n")
            owner = _owner(head)
            if owner != task:
                raise DatasetError(
                    f"{str(folder)!r} holds candidates of the task {owner!r}, not of {task!r}; "
                    "name another folder with --state"
                )
            yield cls(folder)
        finally:
            lock.release()

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.sqlite"

    @property
    def draft(self) -> Path:
        """Where an example lies while a person edits it."""
        return self.folder / "edit.yaml"

    def candidates(self) -> dict[str, Candidate]:
        return {row.key: row for row in _rows(self.folder / "candidates.jsonl", Candidate)}

    def add(self, candidate: Candidate) -> None:
        _append(self.folder / "candidates.jsonl", candidate)

    def rewrite(self, candidates: Iterable[Candidate]) -> None:
        """Write all candidates anew, as their scores depend on each other."""
        lines = (_line(candidate) for candidate in candidates)
        write_whole(self.folder / "candidates.jsonl", "".join(lines))

    def decisions(self) -> tuple[Decision, ...]:
        return tuple(_rows(self.folder / "decisions.jsonl", Decision))

    def decide(self, decision: Decision) -> None:
        _append(self.folder / "decisions.jsonl", decision)


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its name and rename it: there is the old one, or the new one, and never half of it."""
    staged = path.with_name(f".{path.name}.staged")
    with staged.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def _line(row: BaseModel) -> str:
    return row.model_dump_json(exclude_defaults=True) + "\n"


def _append(path: Path, row: BaseModel) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(row))
        file.flush()
        os.fsync(file.fileno())


def _rows(path: Path, kind: type[Row]) -> list[Row]:
    """Read a file's lines; a last one without an end was cut off by a kill, and is taken away.

    Raises:
        DatasetError: a line is not what it should be.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    found = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            found.append(kind.model_validate_json(line))
        except ValidationError as error:
            raise DatasetError(
                f"line {number} of {str(path)!r} is damaged ({error.errors()[0]['msg']}); remove that line"
            ) from None
    return found


def _owner(head: Path) -> str | None:
    """Return the task that a work folder belongs to.

    Raises:
        DatasetError: its file is damaged.
    """
    try:
        owner: str | None = json.loads(head.read_text(encoding="utf-8"))["task"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f'{str(head)!r} is damaged ({error}); write {{"task": "NAME"}} into it, or name '
            "another folder with --state"
        ) from None
    return owner
