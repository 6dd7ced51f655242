"""Which snapshot a selection was frozen to, as long as the dataset folder's parts are the same files.

    snapshots/.known/<key>    the digest of the snapshot

The key covers the selection and the names, sizes and times of all files that it can look into, so it says the same only of the same
files. It is noted by whoever froze, if the catalog that was frozen from had loaded just these files. A selection whose SQL reads
other tables looks into annotations and splits, too; one that reads any further table, or may say another thing tomorrow, is frozen
each time. What counts is whether a word occurs: a predicate that has it in a text is frozen each time, which costs time alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mimicit.catalog_tables import CATALOG_VERSION, statements
from mimicit.parts import parts_of

FREEZING = 1
"""Counted up when the same files are frozen to something else than before."""
CHOSEN = ("text", "verdicts", "images", "relations")
"""Folders of what a predicate over the view `accepted`, and the examples in context, are made of."""
OTHERS = ("annotations", "splits")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_TABLES = re.compile(r"\b(select|from|table|values|pivot|unpivot|summarize)\b", re.IGNORECASE)
_MADE_OF_THEM = frozenset(
    {*("instructions", "images", "verdicts", "relations", "accepted", "rejected")}
    | {*("_annotations", "annotations", "_splits", "splits")}
)
"""Tables and views that hold nothing but what is in these folders. One that is not named here is a further one, also if it is new."""
_FURTHER = sorted(
    set(re.findall(r"CREATE (?:TABLE|VIEW) (\w+)", ";".join(statements()))) - _MADE_OF_THEM
)
_OF_TABLES = re.compile(rf"\b({'|'.join(_FURTHER)}|sample|tablesample)\b", re.IGNORECASE)
"""Words after which a selection that reads tables may say another thing though these files are the same."""
_CHANGES = re.compile(
    r"\b(random\w*|setseed|\w*uuid\w*|now|today|age|current\w*|local\w*|transaction_timestamp|get_current\w*|"
    r"nextval|currval|txid_current|getenv|getvariable|version|pg_\w+|duckdb_\w+|pragma_\w+|query\w*)\b",
    re.IGNORECASE,
)


class Frozen:
    def __init__(self, folder: Path, where: str, rest: Sequence[Any]) -> None:
        """Look at the files that a selection looks into.

        Args:
            folder: The dataset folder.
            where: The predicate.
            rest: What else decides what is frozen.
        """
        self._folder = folder
        self._said = [FREEZING, CATALOG_VERSION, where, *rest]
        reads_tables = bool(_TABLES.search(where))
        self._folders = (*CHOSEN, *OTHERS) if reads_tables else CHOSEN
        changes = _CHANGES.search(where) or (reads_tables and _OF_TABLES.search(where))
        self._is_lasting = not changes
        self._files = self._look() if self._is_lasting else []

    def find(self) -> str | None:
        """Return the digest of the snapshot that was frozen from these files, if it is still there."""
        if not self._is_lasting:
            return None
        with suppress(OSError):
            digest = self._note.read_text(encoding="ascii", errors="replace").strip()
            manifest = self._folder / "snapshots" / digest / "manifest.json"
            if _DIGEST.fullmatch(digest) and manifest.is_file():
                return digest
        return None

    def is_of(self, parts: Iterable[str]) -> bool:
        """Say whether a catalog that has loaded these parts has loaded just these files."""
        loaded = {part for part in parts if part.partition("/")[0] in self._folders}
        return loaded == {name for name, *_ in self._files}

    def note(self, digest: str) -> None:
        """Note what they were frozen to, unless they changed meanwhile, or nothing can be written here."""
        if not self._is_lasting or self._look() != self._files:
            return
        with suppress(OSError):
            self._note.parent.mkdir(exist_ok=True)
            handle, staged = tempfile.mkstemp(prefix=".", dir=self._note.parent)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(digest)
            Path(staged).replace(self._note)

    @property
    def _note(self) -> Path:
        text = json.dumps([*self._said, self._files], ensure_ascii=True)
        key = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return self._folder / "snapshots" / ".known" / key

    def _look(self) -> list[tuple[str, int, int]]:
        return sorted(self._stamps())

    def _stamps(self) -> Iterator[tuple[str, int, int]]:
        for folder in self._folders:
            for path in parts_of(self._folder / folder):
                with suppress(FileNotFoundError):  # merged meanwhile
                    stat = path.stat()
                    yield f"{folder}/{path.name}", stat.st_size, stat.st_mtime_ns
