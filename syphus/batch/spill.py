"""Requests on their way into batches: on disk, as they are sent, and cut where a provider's limits are.

Each chunk is two files: what is sent, byte for byte, and what the ledger notes of each request. The second has no pictures, and no prompt,
which all requests of a run share.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from syphus.request import Message, Prompt, Request, Sampling, SeenPicture, Shape


@dataclass(frozen=True, slots=True)
class Framing:
    """What stands before, between and after the requests of a file."""

    start: bytes = b""
    between: bytes = b"\n"
    end: bytes = b"\n"


@dataclass(frozen=True)
class Chunk:
    """A file of requests that is complete."""

    path: Path
    requests: int
    size: int
    """Bytes."""
    digest: str
    prompts: dict[str, Prompt]

    @property
    def notes(self) -> Path:
        return _notes(self.path)

    def read(self) -> Iterator[Request]:
        """Read its requests back, without the pictures' bytes."""
        with self.notes.open("rb") as file:
            for line in file:
                yield _request(orjson.loads(line), self.prompts)


class Spill:
    """Write requests to chunks; at most one is open."""

    def __init__(
        self, folder: Path, prefix: str, framing: Framing, most_requests: int, most_bytes: int
    ) -> None:
        self.folder = folder
        self.prefix = prefix
        self.framing = framing
        self.most_requests = most_requests
        self.most_bytes = most_bytes
        self.full: list[Chunk] = []
        self._count = 0
        self._size = 0
        self._prompts: dict[str, Prompt] = {}
        self._path = folder
        self._file: BinaryIO | None = None
        self._notes: BinaryIO | None = None

    def __len__(self) -> int:
        return self._count + sum(chunk.requests for chunk in self.full)

    def holds(self, line: bytes) -> bool:
        """Return whether a file can hold a request of this size at all."""
        frame = len(self.framing.start) + len(self.framing.end)
        return len(line) + frame <= self.most_bytes

    def add(self, request: Request, line: bytes) -> None:
        needed = len(line) + len(self.framing.between) + len(self.framing.end)
        if self._count == self.most_requests or self._size + needed > self.most_bytes:
            self.close()
        if self._file is None or self._notes is None:
            self._open()
        assert self._file is not None
        assert self._notes is not None
        self._write(self.framing.between + line if self._count else line)
        self._prompts.setdefault(request.prompt.digest, request.prompt)
        self._notes.write(orjson.dumps(_noted(request)) + b"\n")
        self._count += 1

    def close(self) -> None:
        """Finish the open chunk; it is on the disk then, even if the machine stops."""
        if self._file is None or self._notes is None:
            return
        self._write(self.framing.end)
        for file in (self._file, self._notes):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        digest = self._hash.hexdigest()
        self.full.append(Chunk(self._path, self._count, self._size, digest, self._prompts))
        self._file = self._notes = None
        self._count = self._size = 0

    def discard(self) -> None:
        """Remove what was not sent."""
        self.close()
        for chunk in self.full:
            remove(chunk.path)
        self.full.clear()

    def _open(self) -> None:
        self._path = self.folder / f"{self.prefix}{uuid.uuid4().hex}.jsonl"
        self._file, self._notes = self._path.open("wb"), _notes(self._path).open("wb")
        self._hash = hashlib.blake2b(digest_size=16)
        self._write(self.framing.start)

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)


def remove(path: Path) -> None:
    """Remove a chunk's files."""
    path.unlink(missing_ok=True)
    _notes(path).unlink(missing_ok=True)


def remove_all_but(folder: Path, prefix: str, kept: set[Path]) -> None:
    """Remove what a killed run left of chunks that it did not come to send."""
    for path in folder.glob(f"{prefix}*"):
        if not any(path.name.startswith(keep.name) for keep in kept):
            path.unlink(missing_ok=True)


def _notes(path: Path) -> Path:
    return path.with_name(path.name + ".notes")


def _noted(request: Request) -> dict[str, Any]:
    return {
        "context_id": request.context_id,
        "model": request.model,
        "prompt": request.prompt.digest,
        "query": request.query,
        "sampling": request.sampling,
        "shape": request.shape,
        "sample": request.sample,
        "form": request.form,
        "schema": request.schema,
        "pictures": [[picture.sha256, picture.mime] for picture in request.pictures],
        "repair": request.repair,
    }


def _request(noted: dict[str, Any], prompts: dict[str, Prompt]) -> Request:
    return Request(
        **{
            **noted,
            "prompt": prompts[noted["prompt"]],
            "sampling": Sampling(**noted["sampling"]),
            "shape": Shape(**noted["shape"]),
            "pictures": tuple(SeenPicture(sha, mime, b"") for sha, mime in noted["pictures"]),
            "repair": tuple(Message(**message) for message in noted["repair"]),
        }
    )
