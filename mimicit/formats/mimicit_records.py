"""Records of MIMIC-IT: the members of `data`, thousands at once, and each alone where something is odd.

What pydantic checks of one `Instruction` is checked of a whole block, while it is laid out as Arrow's columns: types by putting all
strings of a field together, ids by one search in all of them. A block that does not pass is gone through record by record,
and the odd ones become bad rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mimicit.columns import Rows, as_column, as_lists, as_strings
from mimicit.formats.aliases import are_old, begin_with, picture_id
from mimicit.formats.base import BadRow
from mimicit.formats.items import Block
from mimicit.formats.json_members import Repeats
from mimicit.schema import Instruction, text_schema

if TYPE_CHECKING:
    import pyarrow

TASKS = {"LACONV": "la_conversation", "LADD": "la_detail", "LACR": "la_reasoning"}
"""Published record prefixes whose task has another name here; any other prefix becomes the task, in lower case."""
OURS = ("translation_of", "conversation", "turn", "rejected", "meta")
"""What our files add to a record that has it."""

_FIELDS = itemgetter("instruction", "answer", "image_ids", "rel_ins_ids")
_PREFIX = re.compile(r"(?P<prefix>[A-Za-z0-9]+?)(?:_[A-Z0-9]+)??(?:_\d\d)?")
_CONTROL = bytes(range(0x20)) + b"\x7f"
_LONGEST_ID = 512
_MANY = 4096
"""Prefixes whose task is kept; whoever has more gives each record one of its own."""


@dataclass
class Records:
    """Make records of the members of one file's `data`."""

    name: str
    """Of the file, for messages and as the records' source."""
    task: str | None
    """None: found from each id."""
    language: str
    _tasks: dict[str, str] = field(default_factory=dict)

    def prepare(self, members: dict[str, Any]) -> tuple[int, Block | Rows]:
        """Make records, and count the quotation marks that their JSON has."""
        made = self._at_once(members)
        if made is not None:
            return made
        rows = [self.one(id_, row) for id_, row in members.items()]
        records = [row for row in rows if isinstance(row, Instruction)]
        return quotes(members), Block(records, [row for row in rows if isinstance(row, BadRow)])

    def _at_once(self, members: dict[str, Any]) -> tuple[int, Rows] | None:
        """Lay all of them out as columns; None if one of them needs a look of its own."""
        ids, rows = list(members), list(members.values())
        try:
            if set(map(type, rows)) != {dict} or sum(map(len, rows)) != 4 * len(ids):
                return None
            instructions, answers, images, related = zip(*map(_FIELDS, rows), strict=True)
            if not _only(list, images, related):
                return None
            pictures, others = list(chain.from_iterable(images)), list(chain.from_iterable(related))
            texts = [as_strings(cells) for cells in (instructions, answers)]
            names = [as_strings(cells) for cells in (ids, pictures, others)]
            if not all(_fit(*one) for one in names):
                return None
            columns = {
                "id": names[0][1],
                "task": self._all_tasks(ids),
                "instruction": texts[0][1],
                "answer": texts[1][1],
                "image_ids": (images, _of_today(pictures, names[1][1])),
                "rel_ins_ids": (related, names[2][1]),
                "language": self.language,
                "source": self.name,
            }
            table = _laid_out(columns, len(ids))
        except (KeyError, TypeError, UnicodeEncodeError):
            return None
        strings = 7 * len(ids) + len(pictures) + len(others)
        inside = sum(data.count(b'"') for data, _ in texts + names)
        return 2 * strings + inside, Rows(ids, table, sum(len(data) for data, _ in texts))

    def one(self, id_: str, row: Any) -> Instruction | BadRow:
        """Make a record, or say why not."""
        where = f"{self.name}: {shown(id_)}"
        if not isinstance(row, dict):
            return BadRow(where, "not an object")
        if isinstance(row, Repeats):
            return BadRow(where, "a key stands twice in it")
        if not is_unicode((id_, row)):
            return BadRow(where, "it holds bytes that are not UTF-8, or half of a character")
        try:
            return Instruction(
                id=id_,
                task=self.task or self._task(id_),
                instruction=row["instruction"],
                answer=row["answer"],
                image_ids=tuple(map(picture_id, _names(row, "image_ids"))),
                rel_ins_ids=_names(row, "rel_ins_ids"),
                language=self.language,
                source=self.name,
                **{name: row[name] for name in OURS if row.get(name) is not None},
            )
        except KeyError as error:
            return BadRow(where, f"it has no {error}")
        except ValidationError as error:
            return BadRow(where, problem(error))
        except (TypeError, ValueError) as error:
            return BadRow(where, str(error))

    def _all_tasks(self, ids: Sequence[str]) -> str | list[str]:
        """Return the task of each; one, if all have it: a file's records hardly ever have several."""
        start = ids[0].partition("_INS_")[0] + "_INS_"
        if self.task or begin_with(ids, start):
            return self.task or self._task(ids[0])
        return list(map(self._task, ids))

    def _task(self, id_: str) -> str:
        prefix, found, _ = id_.partition("_INS_")
        if not found:
            prefix = id_.partition("_")[0]
        task = self._tasks.get(prefix)
        if task is None:
            named = _PREFIX.fullmatch(prefix)
            plain = named["prefix"] if named else prefix
            task = TASKS.get(plain, plain.lower())
            if len(self._tasks) < _MANY:
                self._tasks[prefix] = task
        return task


def shown(id_: str) -> str:
    """Write an id on one line, whatever it holds."""
    text = id_ if id_.isprintable() else ascii(id_)[1:-1]
    return text if len(text) <= _LONGEST_ID else f"{text[:_LONGEST_ID]}…"


def is_unicode(value: Any) -> bool:
    """Say whether the strings of a value from JSON can be stored: bytes that were not UTF-8 stand in them as half characters."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def problem(error: ValidationError) -> str:
    """Say what is wrong with a record."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}"


def _names(row: dict[str, Any], key: str) -> tuple[str, ...]:
    """Return a list of ids; files of the first days have one alone, or null."""
    value = row.get(key)
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not _only(str, value):
        raise TypeError(f"{key}: no list of ids")
    return tuple(value)


def _only(kind: type, *columns: Sequence[Any]) -> bool:
    return all(set(map(type, column)) <= {kind} for column in columns)


def _fit(data: bytes, ids: pyarrow.StringArray) -> bool:
    """Say whether ids are what the schema allows; `data` is them with a zero byte between each and the next."""
    import pyarrow.compute as pc

    if not len(ids):
        return True
    if len(data.translate(None, _CONTROL)) != len(data) - len(ids) + 1:
        return False
    sizes = pc.min_max(pc.binary_length(ids)).as_py()
    longest: int = sizes["max"]
    if longest > _LONGEST_ID:  # in bytes; what counts is letters
        longest = pc.max(pc.utf8_length(ids)).as_py()
    return bool(sizes["min"] > 0 and longest <= _LONGEST_ID)


def _of_today(pictures: Sequence[str], column: pyarrow.StringArray) -> pyarrow.StringArray:
    """Return ids of pictures as the last release has them."""
    return as_strings([*map(picture_id, pictures)])[1] if are_old(pictures) else column


def _laid_out(columns: Mapping[str, Any], count: int) -> pyarrow.Table:
    """Make a table of columns, of strings for each row, of strings for all of them, and of lists with their cells."""
    import pyarrow as pa

    def column(kind: pyarrow.DataType, value: Any) -> pyarrow.Array:
        if isinstance(value, pa.Array):
            return value
        if isinstance(value, tuple):
            lists, cells = value
            return as_lists(lists, cells, kind)
        if isinstance(value, list):
            return as_column(value, kind)
        return pa.nulls(count, kind) if value is None else pa.repeat(pa.scalar(value, kind), count)

    schema = text_schema()
    made = [column(field.type, columns.get(field.name)) for field in schema]
    return pa.table(made, schema=schema)


def quotes(value: Any) -> int:
    """Count the quotation marks of a value's JSON."""
    if isinstance(value, str):
        return 2 + value.count('"')
    if isinstance(value, dict):
        return sum(map(quotes, value)) + sum(map(quotes, value.values()))
    if isinstance(value, list):
        return sum(map(quotes, value))
    return 0
