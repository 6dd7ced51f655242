"""One reviewer's decisions, a line each, on disk before anybody is told that they are saved.

    {"n": 1, "time": 1764340000.1, "do": "accept", "record": "LA_INS_1"}
    {"n": 2, "time": …, "do": "reject", "record": "LA_INS_2", "reason": "wrong count"}
    {"n": 3, "time": …, "do": "edit", "record": "LA_INS_3", "new": {"id": "LA_INS_3~2", "answer": …, …}}
    {"n": 4, "time": …, "do": "undo", "of": 3}

Lines are only ever added. What stands is what was decided and not undone; of several decisions about one record, the last.
Whoever is killed while writing leaves half a line, of which nobody was told; it is passed over, as is a line that makes no sense.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mimicit.errors import DatasetError
from mimicit.schema import Instruction, is_id

FOLDER = "reviews"
MOST_TEXT = 100_000
"""Characters of a question, an answer or a reason."""
_LINE_BYTES = 4 << 20
_FLAGS = (
    os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
)
"""A link in a stranger's dataset leads to no other file."""
_NAME = re.compile(r"\w(?:[\w .-]{0,38}\w)?")

Kind = Literal["accept", "reject", "edit"]


@dataclass(frozen=True, slots=True)
class Decision:
    number: int
    time: float
    """Seconds since 1970."""
    kind: Kind
    record: str
    reason: str = ""
    new: Instruction | None = None
    """What an edit made of the record."""


@dataclass
class Journal:
    """A reviewer's decisions: those on disk, in memory."""

    path: Path
    standing: dict[int, Decision] = field(default_factory=dict)
    """Number -> decision that was not undone, in their order."""
    undone: list[Decision] = field(default_factory=list)
    """Edits that were undone: what they made stays in the dataset, rejected."""
    made: dict[str, Decision] = field(default_factory=dict)
    """Id of what an edit made, undone or not -> the edit."""
    unreadable: int = 0
    """Lines that were passed over."""
    _last: int = 0
    _of_record: dict[str, list[Decision]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Journal:
        """Read a journal, which may be a stranger's, or not there yet."""
        journal = cls(path)
        if path.is_file():
            for line in _lines(path):
                journal._take(line)
        return journal

    @property
    def name(self) -> str:
        return self.path.stem

    def about(self, record: str) -> Decision | None:
        """Return what stands about a record."""
        found = self._of_record.get(record)
        return found[-1] if found else None

    def records(self) -> Iterator[str]:
        """Yield the records about which something stands."""
        return (record for record, found in self._of_record.items() if found)

    def edits(self) -> Iterator[Decision]:
        """Yield the edits that stand."""
        return (decision for decision in self.standing.values() if decision.new)

    def edits_of(self, record: str) -> list[Decision]:
        """Return the edits of a record that stand."""
        return [decision for decision in self._of_record.get(record, ()) if decision.new]

    def last(self) -> Decision | None:
        return next(reversed(self.standing.values()), None)

    def recent(self, count: int = 20) -> list[float]:
        """Return when the last decisions were made."""
        numbers = list(self.standing)[-count:]
        return [self.standing[number].time for number in numbers]

    def decide(
        self, time: float, kind: Kind, record: str, reason: str = "", new: Instruction | None = None
    ) -> Decision:
        """Write a decision; it is on disk when this returns.

        Raises:
            DatasetError: it could not be written, and nothing was.
        """
        decision = Decision(self._last + 1, time, kind, record, reason, new)
        line: dict[str, Any] = {"n": decision.number, "time": time, "do": kind, "record": record}
        line |= {"reason": reason} if reason else {}
        line |= {"new": new.model_dump(exclude_none=True)} if new else {}
        self._write(line)
        self._add(decision)
        return decision

    def undo(self, time: float) -> Decision | None:
        """Take the last decision back, and return it; None if there is none left."""
        decision = self.last()
        if decision is not None:
            self._write({"n": self._last + 1, "time": time, "do": "undo", "of": decision.number})
            self._last += 1
            self._remove(decision)
        return decision

    def _write(self, line: dict[str, Any]) -> None:
        import orjson

        data = orjson.dumps(line) + b"\n"
        self.path.parent.mkdir(exist_ok=True)
        is_new = not self.path.exists()
        try:
            file = os.open(self.path, _FLAGS, 0o666)
            try:
                _append(file, data)
            finally:
                os.close(file)
        except OSError as error:
            raise DatasetError(
                f"{str(self.path)!r} cannot be written ({error.strerror}), so nothing was saved; "
                "make room, and decide again"
            ) from None
        if is_new and os.name == "posix":
            _sync_folder(self.path.parent)

    def _take(self, line: bytes) -> None:
        """Go one line further."""
        import orjson

        try:
            said = orjson.loads(line)
            number, what = int(said["n"]), said["do"]
            if number <= self._last:  # two journals in one file
                self.unreadable += 1
            elif what == "undo":
                self._remove(self.standing[said["of"]])
                self._last = number
            else:
                self._add(_decision(number, said))
        except (ValueError, TypeError, KeyError, AttributeError):
            self.unreadable += 1

    def _add(self, decision: Decision) -> None:
        self._last = decision.number
        self.standing[decision.number] = decision
        self._of_record.setdefault(decision.record, []).append(decision)
        if decision.new:
            self.made[decision.new.id] = decision

    def _remove(self, decision: Decision) -> None:
        del self.standing[decision.number]
        self._of_record[decision.record].remove(decision)
        if decision.new:
            self.undone.append(decision)


def journal_path(folder: Path, name: str) -> Path:
    """Return where a reviewer's journal is.

    Args:
        folder: The dataset folder.
        name: As somebody typed it.

    Raises:
        DatasetError: it is no name, or one that would lead elsewhere.
    """
    plain = unicodedata.normalize("NFC", name.strip())
    if not _NAME.fullmatch(plain):
        raise DatasetError(
            f"{name[:60]!r} cannot be a reviewer's name: take up to 40 letters, digits, spaces, dots and dashes"
        )
    return folder / FOLDER / f"{plain}.jsonl"


def journals(folder: Path) -> dict[str, Journal]:
    """Read all journals of a dataset folder, by reviewer."""
    found = sorted((folder / FOLDER).glob("*.jsonl"))
    return {
        path.stem: Journal.read(path)
        for path in found
        if _NAME.fullmatch(path.stem) and not path.is_symlink()
    }


def _lines(path: Path) -> Iterator[bytes]:
    """Yield whole lines; one of a size that no decision has is cut, and makes no sense then."""
    with path.open("rb") as file:
        while line := file.readline(_LINE_BYTES):
            if line.strip() and line.endswith(b"\n"):
                yield line


def _decision(number: int, said: dict[str, Any]) -> Decision:
    """Read a line.

    Raises:
        ValueError: it makes no sense.
    """
    kind, record, reason = said["do"], said["record"], said.get("reason", "")
    if kind not in ("accept", "reject", "edit") or not (
        isinstance(record, str) and is_id(record) and isinstance(reason, str)
    ):
        raise ValueError("no decision")
    new = Instruction.model_validate(said["new"]) if kind == "edit" else None
    return Decision(number, float(said["time"]), kind, record, reason[:MOST_TEXT], new)


def _append(file: int, data: bytes) -> None:
    """Add a line and wait until it is on disk; if that fails, the file is what it was."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        data = b"\n" + data  # after the half of a line that a killed process left
    try:
        while data:  # a disk that fills up takes a part of it, and refuses the rest
            data = data[os.write(file, data) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
