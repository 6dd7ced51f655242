"""Write conversations as rows of JSON, one file a split, with their pictures beside them.

    train.json  validation.json     rows, in the order of their ids
    images/<picture's id>.jpg       every picture once, its bytes as they were given

The pictures are written first, and a file of rows appears when it is whole: whoever sees one has all that it names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from mimicit.formats.base import WriteOptions, Written
from mimicit.formats.chat_links import SQL as LINKS_SQL
from mimicit.formats.chat_links import links
from mimicit.formats.chats import PLACEHOLDER, ROLES, usual_places
from mimicit.formats.exporting import Conversation, Export
from mimicit.formats.files import staged
from mimicit.formats.ordering import Lines, OutOfOrder
from mimicit.store import Store

_ROLES = frozenset(ROLES.values())

RowOf = Callable[[Export, Conversation], tuple[str, dict[str, Any]]]
"""A conversation -> what is added to the name of its file, and its row there."""


def write_rows(
    store: Store,
    folder: Path,
    options: WriteOptions,
    row_of: RowOf,
    *,
    suffix: str,
    plain: str | None = None,
    with_pictures: bool = True,
    filled: dict[Path, set[str]] | None = None,
) -> list[Written]:
    """Write every split; `.json` is an array, `.jsonl` has one row a line.

    Args:
        store: The dataset.
        folder: Where the files go.
        options: What is chosen.
        row_of: The format.
        suffix: Of the files.
        plain: The format in SQL, for most records; see `Export.rows`.
        with_pictures: Write them beside the rows.
        filled: Learns of each file in which columns some row has a value.

    Raises:
        QueryError: the predicate is not valid SQL over the view `accepted`.
        DatasetError: a record names a picture that the dataset does not have.
    """
    written: list[Written] = []
    with Export(store, options) as export:
        for split in export.splits:
            pictures = write_pictures(export, split, folder) if with_pictures else 0
            filled_here = {} if filled is None else filled
            files = _Files(folder, split, suffix, {"images"} if pictures else set(), filled_here)
            try:
                _write_split(export, files, plain, row_of, as_they_lie=True)
            except OutOfOrder:
                _write_split(export, files, plain, row_of, as_they_lie=False)
            written += files.written
            if pictures:
                written.append(Written(folder / "images", pictures))
    return written


def _write_split(
    export: Export, files: _Files, plain: str | None, row_of: RowOf, *, as_they_lie: bool
) -> None:
    """Write the rows of a split; its files appear when they are whole."""
    with files:
        if plain is not None:
            plain = files.between(plain)
        for found in export.rows(files.split, plain, as_they_lie=as_they_lie):
            if isinstance(found, Lines):
                files.add_lines(found)
            else:
                files.add(*row_of(export, found))


def write_pictures(export: Export, split: str, folder: Path) -> int:
    """Write a split's pictures as files, and count them."""
    count = 0
    for found in export.picture_places(split):
        if not count:
            (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / found.name).write_bytes(export.read(found))
        count += 1
    return count


class _Files:
    """The files of one split; the plain one is there also when it has no rows."""

    def __init__(
        self,
        folder: Path,
        split: str,
        suffix: str,
        plain_keys: set[str],
        filled: dict[Path, set[str]],
    ) -> None:
        self.split = split
        self._folder = folder
        self._suffix = suffix
        self._plain_keys = plain_keys
        """Columns in which some plain row has a value."""
        self._filled = filled
        self._open: dict[str, IO[bytes]] = {}
        self._counts: dict[str, int] = {}
        self._stack = ExitStack()

    @property
    def written(self) -> list[Written]:
        return [Written(self.path(name), count) for name, count in sorted(self._counts.items())]

    def __enter__(self) -> _Files:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._open, self._counts = {}, {}
        self._file("")
        return self

    def __exit__(self, *error: Any) -> None:
        if not error[0]:
            for name, file in self._open.items():
                if self._suffix == ".json":
                    file.write(b"\n]\n" if self._counts[name] else b"]\n")
        self._stack.__exit__(*error)

    def add(self, name: str, row: dict[str, Any]) -> None:
        file = self._file(name)
        if self._suffix == ".json":
            file.write(b",\n" if self._counts[name] else b"\n")
            file.write(dumped(row))
        else:
            file.write(dumped(row) + b"\n")
        self._count(name, 1, {key for key in row if row[key]})

    def add_lines(self, lines: Lines) -> None:
        """Add rows with what `between` put between them."""
        file = self._file("")
        first = self._suffix == ".json" and not self._counts[""]
        file.write(lines.text[1:] if first else lines.text)  # no comma before the first one
        self._count("", lines.rows, self._plain_keys)

    def between(self, row: str) -> str:
        """Add what stands between rows to the parts of an SQL `concat` that make one."""
        return f"',' || chr(10), {row}" if self._suffix == ".json" else f"{row}, chr(10)"

    def _count(self, name: str, rows: int, keys: set[str]) -> None:
        self._counts[name] += rows
        self._filled.setdefault(self.path(name), set()).update(keys)

    def _file(self, name: str) -> IO[bytes]:
        if name not in self._open:
            self._open[name] = self._stack.enter_context(staged(self.path(name)))
            self._counts[name] = 0
            if self._suffix == ".json":
                self._open[name].write(b"[")
        return self._open[name]

    def path(self, name: str) -> Path:
        return self._folder / f"{self.split}{name}{self._suffix}"


def dumped(row: dict[str, Any]) -> bytes:
    import orjson

    try:
        return orjson.dumps(row)
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def texts(conversation: Conversation, *, glue: str) -> list[tuple[str, str]]:
    """Return questions and answers with a placeholder for each picture.

    Args:
        conversation: What is exported.
        glue: What stands between a placeholder and the text: a line end, or nothing.
    """
    turns = [(turn.instruction, turn.answer) for turn in conversation.turns]
    pictures = len(conversation.image_ids)
    inside = sum(ask.count(PLACEHOLDER) + say.count(PLACEHOLDER) for ask, say in turns)
    if inside > pictures:  # somebody speaks of the word itself
        turns = [tuple(text.replace(PLACEHOLDER, "< image>") for text in turn) for turn in turns]  # type: ignore[misc]
        inside = 0
    if not pictures:
        return turns
    places: Any = conversation.meta.get("_places")
    if not _fits(places, len(turns), pictures - inside):
        places = usual_places(pictures - inside, len(turns))
    return [
        (_placed(ask, front, behind, glue), say)
        for (ask, say), (front, behind) in zip(turns, places, strict=True)
    ]


def _fits(places: Any, turns: int, pictures: int) -> bool:
    """Say whether places, which come from a file, are those of this conversation."""
    return (
        isinstance(places, list)
        and len(places) == turns
        and all(isinstance(pair, list) and len(pair) == 2 for pair in places)
        and all(isinstance(count, int) and count >= 0 for pair in places for count in pair)
        and sum(map(sum, places)) == pictures
    )


def _placed(text: str, front: int, behind: int, glue: str) -> str:
    if front:
        # A reader takes one space or line end away with a placeholder.
        last = "\n" if text[:1] in (" ", "\n") and text else glue
        text = (PLACEHOLDER + glue) * (front - 1) + PLACEHOLDER + last + text
    if behind:
        first = "\n" if text[-1:] in (" ", "\n") else glue
        text += first + PLACEHOLDER + (glue + PLACEHOLDER) * (behind - 1)
    return text


def roles(conversation: Conversation) -> list[tuple[str, str]]:
    """Return the roles of each turn's two messages, as they are called here."""
    return [
        (ask, say) if {ask, say} <= _ROLES else ("user", "assistant")
        for ask, say in _pairs(conversation, "_roles", str, ("user", "assistant"))
    ]


def fields(conversation: Conversation) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return what each turn's two messages have beside."""
    return _pairs(conversation, "_fields", dict, ({}, {}))


def _pairs(
    conversation: Conversation, name: str, kind: type, usual: tuple[Any, Any]
) -> list[tuple[Any, Any]]:
    """Return two values a turn from the meta, which may come from anywhere."""
    said = conversation.meta.get(name)
    turns = len(conversation.turns)
    if not isinstance(said, list) or len(said) != turns:
        return [usual] * turns
    return [
        tuple(pair)
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, kind) for x in pair)
        else usual
        for pair in said
    ]


def columns(conversation: Conversation, name: str, *taken: str) -> dict[str, Any]:
    """Return what a row has beside its messages: task, language, what was in its columns before, and `links`.

    Args:
        conversation: What is exported.
        name: Of the format, whose records need not say their task.
        taken: Columns that the format writes itself.
    """
    beside = {
        key: value
        for key, value in conversation.meta.items()
        if not key.startswith("_") and key not in taken
    }
    if conversation.task != name:
        beside["task"] = conversation.task
    if conversation.language != "en":
        beside["language"] = conversation.language
    return beside | links(conversation)


def plain_columns(name: str) -> str:
    """Return what `columns` returns of a single question with no meta, as parts of an SQL `concat`."""
    return (
        f"if(task = '{name}', '', concat(',\"task\":', {quoted('task')})), "
        f"if(language = 'en', '', concat(',\"language\":', {quoted('language')})), {LINKS_SQL}"
    )


def quoted(text: str) -> str:
    """Return an SQL expression that makes JSON of a text."""
    return f"to_json({text})::VARCHAR"
