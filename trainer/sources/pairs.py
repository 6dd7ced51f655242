"""Pictures with captions in tar files, as img2dataset and WebDataset write them: CC3M, CC12M, LAION.

    00000.tar    000000000.jpg  000000000.txt  000000000.json      a picture, its caption, what else is known
                 000000003.jpg  000000003.txt  000000003.json      a download that failed is not here

The members of a key may stand in any order and far from each other. A caption is in the `.txt`, or else what the `.json` calls
`caption`. Left out and counted are pictures without a caption, captions without a picture, and what does not begin as a picture does.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mimicit.formats.tar_members import BLOCK, Member
from mimicit.media.picture import MAX_BYTES
from trainer.group_config import Group
from trainer.sources import tars
from trainer.sources.base import Document, Shown
from trainer.sources.shards import Files, Index, LeftOut, Scanned, build, find
from trainer.sources.snapshot import PICTURE_CHARACTERS

MOST_TEXT_BYTES = 1 << 20
"""Of a caption, or of the JSON beside it."""
MOST_CHARACTERS = (1 << 16) - 1
"""That a row can tell of a caption; what is longer is about as long."""
ROW = np.dtype(
    [
        ("picture", "<u4"),  # where its bytes begin, in blocks of 512
        ("picture_bytes", "<u4"),
        ("caption", "<u4"),  # in blocks of 512
        ("caption_bytes", "<u4"),
        ("characters", "<u2"),
        ("is_json", "<u2"),
    ]
)
_NO_PICTURE, _NO_CAPTION = "has no picture", "has no caption"
_NOT_A_PICTURE = "does not begin as a picture does"
_TOO_LARGE = "is too large"
_TWICE = "comes a second time in its file"
_UNSAID, _UNLIKE = "says no similarity", "is less like its caption than min_similarity"
_FAR = "lies beyond 2 TiB"


def open_pairs(group: Group, *, name: str, base: Path, cache: Path) -> "Pairs":
    """Open pictures with captions; look through tar files that were not yet.

    Args:
        group: Whose `shards` name them.
        name: Of the group.
        base: The folder that relative paths begin at.
        cache: The folder that keeps indexes.

    Raises:
        RecipeError: there are no such files.
        FormatError, TrainingError: they cannot be read, or hold no pair.
    """
    setting = f"data.groups.{name}.shards"
    files, missing = find(group.shards or "", base, setting=setting)
    least = group.min_similarity
    index = build(
        files,
        partial(scan, min_similarity=least),
        kind="pairs",
        options=[least],
        dtype=ROW,
        cache=cache,
        name=name,
    )
    return Pairs(index, max_tokens=group.max_tokens, name=name, missing=missing)


class Pairs:
    """Pictures with captions by number."""

    def __init__(
        self, index: Index, *, max_tokens: int | None = None, name: str = "pairs", missing: int = 0
    ) -> None:
        self.index = index
        self.max_tokens = max_tokens
        self.digest = index.digest
        self.files = Files(index)
        self.notes = notes(name, index, "pairs", missing)
        """What a run says of it when it begins."""

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Document:
        path, row = self.index[index]
        start, size = int(row["picture"]) * BLOCK, int(row["picture_bytes"])
        name = self._name(path, start)
        data = self.files.read(path, int(row["caption"]) * BLOCK, int(row["caption_bytes"]))
        caption = _caption(tars.json_object(data) or {}) if row["is_json"] else _text(data)
        shown = Shown((path, start), name, partial(self._picture, path, start, size, name))
        return Document(name, (shown, caption), max_tokens=self.max_tokens)

    def lengths(self, indices: Sequence[int]) -> np.ndarray:
        found: np.ndarray = self.index.rows["characters"][
            np.asarray(indices, dtype=np.int64)
        ].astype(np.int64)
        return found + PICTURE_CHARACTERS

    def names(self, indices: Sequence[int]) -> list[tuple[str]]:
        """Return the ids of pairs; reads no more than these."""
        rows = (self.index[index] for index in indices)
        return [(self._name(path, int(row["picture"]) * BLOCK),) for path, row in rows]

    def _name(self, path: str, start: int) -> str:
        return f"{Path(path).name}/{tars.key_at(self.files, path, start)}"

    def _picture(self, path: str, start: int, size: int, name: str) -> bytes:
        return tars.picture_bytes(self.files.read(path, start, size), name=name)


def notes(name: str, index: Index, what: str, missing: int) -> tuple[str, ...]:
    """Return what a run says of a source: what there is, and what was left out."""
    files = len(index.files)
    lines = [f"{name} · {len(index):,} {what} in {files:,} {'file' if files == 1 else 'files'}"]
    if missing:
        lines.append(f"{name} · files of the pattern that are not there: {missing:,}")
    return (*lines, *(f"{name} · left out: {one}" for one in index.left_out.sentences()))


@dataclass(slots=True)
class _Sample:
    """What members of one key say, while a file is looked through."""

    picture: tuple[int, int] | None = None
    """Where it begins, and bytes."""
    caption: tuple[int, int, int] | None = None
    """Where it begins, bytes, characters."""
    described: tuple[int, int, int] | None = None
    """The same of the JSON, if it has a caption."""
    similarity: float | None = None
    problem: str | None = None


def scan(path: Path, *, min_similarity: float | None) -> Scanned:
    """Look through a tar file once. Takes memory for the samples of this one file, about 300 bytes each."""
    samples: dict[str, _Sample] = {}
    left_out = LeftOut()
    said = hashlib.blake2b(digest_size=16)
    for member in tars.plain_members(path, left_out):
        key, kind = tars.key_and_kind(member.name)
        if kind in tars.PICTURES or kind in ("txt", "json"):
            sample = samples.setdefault(key, _Sample())
            problem = _take(sample, member, kind, said)
            if problem:
                sample.problem = sample.problem or problem
    rows = []
    for key, sample in samples.items():
        caption = sample.caption or sample.described
        problem = _problem(sample, min_similarity)
        if problem or not (sample.picture and caption):
            left_out.add(problem or "", f"{path.name}/{key}")
            continue
        start, size = sample.picture
        place, length, characters = caption
        row = (start // BLOCK, size, place // BLOCK, length, characters, sample.caption is None)
        rows.append(row)
        said.update(repr((key, *row)).encode())
    return Scanned(path, np.array(rows, dtype=ROW), left_out, said.hexdigest())


def _take(sample: _Sample, member: Member, kind: str, said: Any) -> str | None:
    """Note where a member is and what it says; return what is wrong with it."""
    if member.start // BLOCK >= 1 << 32:
        return _FAR
    if kind in tars.PICTURES:
        if sample.picture is not None:
            return _TWICE
        sample.picture = member.start, member.size
        if member.size > MAX_BYTES:
            return _TOO_LARGE
        return None if tars.begins_picture(member.read(tars.HEAD)) else _NOT_A_PICTURE
    if member.size > MOST_TEXT_BYTES:
        return _TOO_LARGE if kind == "txt" else None
    data = member.read()
    said.update(data)
    if kind == "txt":
        if sample.caption is not None:
            return _TWICE
        characters = len(_text(data))
        if characters:
            sample.caption = member.start, member.size, min(characters, MOST_CHARACTERS)
        return None
    table = tars.json_object(data) or {}
    sample.similarity = tars.finite(table.get("similarity"))
    characters = len(_caption(table))
    if characters:
        sample.described = member.start, member.size, min(characters, MOST_CHARACTERS)
    return None


def _problem(sample: _Sample, min_similarity: float | None) -> str | None:
    if sample.problem or sample.picture is None:
        return sample.problem or _NO_PICTURE
    if not (sample.caption or sample.described):
        return _NO_CAPTION
    if min_similarity is None:
        return None
    if sample.similarity is None:
        return _UNSAID
    return _UNLIKE if sample.similarity < min_similarity else None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip()


def _caption(table: dict[str, Any]) -> str:
    caption = table.get("caption")
    return caption.strip() if isinstance(caption, str) else ""
