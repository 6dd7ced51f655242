"""Pages of MMC4: sentences, and pictures each of which belongs to one of them.

    docs_shard_0_v2.jsonl           a page is a line; pictures lie in a folder by their `image_name`
    docs_shard_0_v2.jsonl.zip/.gz   the same, unpacked once into the cache
    000000000.tar                   a page is a member KEY.json, which holds its pictures as `image_base64` (OpenFlamingo, Otter)

A picture stands before *its* sentence, the one that it is matched to, whatever the order in which the page lists its pictures; of
several for one sentence the most similar stays. Which pictures a page shows is decided when the files are looked through, and kept in
the index: a page without any is left out and counted. So every number is a page that teaches something.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache as cached
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mimicit.errors import PictureError, RecipeError
from mimicit.formats.tar_members import BLOCK
from mimicit.media.picture import MAX_BYTES
from trainer.group_config import Group
from trainer.sources import tars
from trainer.sources.base import Document, Shown
from trainer.sources.pages import MIN_SIMILARITY, NONE, PageError, Rules, assignment, row_of
from trainer.sources.pairs import notes
from trainer.sources.shards import CHANGED, Files, Index, LeftOut, Scanned, build, find
from trainer.sources.snapshot import PICTURE_CHARACTERS
from trainer.sources.unpacking import unpacked

MOST_PAGE_BYTES = 256 << 20
_TOO_LARGE = f"is larger than {MOST_PAGE_BYTES >> 20} MiB"


def open_documents(group: Group, *, name: str, base: Path, cache: Path) -> "Documents":
    """Open pages with pictures; look through files that were not yet.

    Args:
        group: Whose `documents` name them.
        name: Of the group.
        base: The folder that relative paths begin at.
        cache: The folder that keeps indexes, and what was unpacked.

    Raises:
        RecipeError: there are no such files, or no folder of pictures.
        FormatError, TrainingError: they cannot be read, or hold no page with a picture.
        MissingExtraError: `matching` is `assigned`, but scipy is not installed.
    """
    setting = f"data.groups.{name}"
    files, missing = find(group.documents or "", base, setting=f"{setting}.documents")
    images = None if group.images is None else (base / group.images).resolve()
    if images is not None and not images.is_dir():
        raise RecipeError(f"{setting}.images is {group.images!r}, but {str(images)!r} is no folder")
    if group.matching == "assigned":
        assignment()
    least = group.min_similarity
    rules = Rules(
        images=None if images is None else str(images),
        min_similarity=MIN_SIMILARITY if least is None else least,
        max_pictures=group.max_pictures,
        min_picture_bytes=group.min_picture_bytes,
        matching=group.matching,
        keep_lone=group.keep_lone,
    )
    index = build(
        files,
        partial(scan, rules=rules, cache=cache),
        kind="documents",
        options=[getattr(rules, one) for one in Rules.__slots__],
        dtype=rules.row(),
        cache=cache,
        name=name,
        # Where the folder lies says nothing of what is learned.
        told=[getattr(rules, one) for one in Rules.__slots__ if one != "images"],
    )
    return Documents(index, images, max_tokens=group.max_tokens, name=name, missing=missing)


class Documents:
    """Pages by number."""

    def __init__(
        self,
        index: Index,
        images: Path | None = None,
        *,
        max_tokens: int | None = None,
        name: str = "documents",
        missing: int = 0,
    ) -> None:
        self.index = index
        self.images = images
        self.max_tokens = max_tokens
        self.digest = index.digest
        self.files = Files(index)
        self.notes = notes(name, index, "documents", missing)
        """What a run says of it when it begins."""

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Document:
        path, row = self.index[index]
        at, name = int(row["at"]), self._name(path, int(row["at"]))
        page = tars.json_object(self.files.read(path, at, int(row["bytes"])))
        if page is None:
            raise PictureError(f"{path!r} {CHANGED}")
        shown: dict[int, Shown] = {}
        for number, sentence in zip(
            row["pictures"].tolist(), row["sentences"].tolist(), strict=True
        ):
            if number != NONE:
                info = page["image_info"][number]
                shown[sentence] = self._shown(info, (path, at, number), f"{name}, picture {number}")
        return Document(name, _parts(page["text_list"], shown), max_tokens=self.max_tokens)

    def lengths(self, indices: Sequence[int]) -> np.ndarray:
        rows = self.index.rows[np.asarray(indices, dtype=np.int64)]
        shown = (rows["pictures"] != NONE).sum(axis=1)
        found: np.ndarray = rows["characters"].astype(np.int64) + PICTURE_CHARACTERS * shown
        return found

    def names(self, indices: Sequence[int]) -> list[tuple[str]]:
        """Return the ids of pages; reads no more than these."""
        rows = (self.index[index] for index in indices)
        return [(self._name(path, int(row["at"])),) for path, row in rows]

    def _name(self, path: str, at: int) -> str:
        key = tars.key_at(self.files, path, at) if _is_tar(path) else str(at)
        return f"{Path(path).name}/{key}"

    def _shown(self, info: dict[str, Any], key: tuple[str, int, int], name: str) -> Shown:
        if self.images is None:
            return Shown(key, name, partial(tars.from_base64, info["image_base64"], name=name))
        image = self.images / info["image_name"]
        return Shown(str(image), name, partial(_file_bytes, image))


def _file_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _parts(sentences: Sequence[str], shown: dict[int, Shown]) -> tuple[str | Shown, ...]:
    """Put pictures before their sentences, and what stands between two of them into one text."""
    parts: list[str | Shown] = []
    text: list[str] = []
    for number, sentence in enumerate(sentences):
        if number in shown:
            if text:
                parts.append(" ".join(text))
            parts.append(shown[number])
            text = []
        if said := sentence.strip():
            text.append(said)
    return (*parts, " ".join(text)) if text else tuple(parts)


# Looking through


def scan(path: Path, *, rules: Rules, cache: Path) -> Scanned:
    """Look through a file of pages once, one page in memory at a time."""
    left_out = LeftOut()
    data = unpacked(path, cache, left_out)
    said = hashlib.blake2b(digest_size=16)
    dtype = rules.row()
    found = np.empty(0, dtype)
    count = 0
    for at, key, page_bytes in _pages(data, left_out):
        name = f"{path.name}/{key}"
        try:
            row = row_of(at, name, page_bytes, rules, left_out)
        except PageError as error:
            left_out.add(str(error), name)
            continue
        if count == len(found):
            found = np.resize(found, max(1024, 2 * count))
        found[count] = row
        count += 1
        said.update(page_bytes)
        said.update(repr(row).encode())
    return Scanned(data, found[:count], left_out, said.hexdigest())


def _pages(path: Path, left_out: LeftOut) -> Iterator[tuple[int, str, bytes]]:
    """Yield where each page begins, its name in the file, and its JSON."""
    if _is_tar(str(path)):
        for member in tars.plain_members(path, left_out):
            key, kind = tars.key_and_kind(member.name)
            if kind == "json" and member.size <= MOST_PAGE_BYTES:
                yield member.start, key, member.read()
            elif kind == "json":
                left_out.add(_TOO_LARGE, f"{path.name}/{key}")
        return
    with path.open("rb") as file:
        at = 0
        while line := file.readline(MOST_PAGE_BYTES):
            size = len(line)
            while not line.endswith(b"\n") and (more := file.readline(MOST_PAGE_BYTES)):
                size += len(more)
                line = line[:1] + more[-1:]  # too long, and passed over
            if size > MOST_PAGE_BYTES:
                left_out.add(_TOO_LARGE, f"{path.name}/{at}")
            elif line.strip():
                yield at, str(at), line
            at += size


@cached
def _is_tar(path: str) -> bool:
    with open(path, "rb") as file:  # noqa: PTH123
        head = file.read(BLOCK)
    return head[257:262] == b"ustar" or path.endswith(".tar")
