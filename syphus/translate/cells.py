"""Records times languages: which cells of that table are asked for together. Pure.

    all records, in order of id ─pack─► chunks of at most 8 records, by what their translations may cost
    a chunk's cells that are missing ─group─► requests: records that lack the same languages go together

The borders of chunks depend on the records and languages of the job alone, never on what is there already: so a job that was
interrupted packs as before, and its earlier replies fit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from syphus.prices import estimate_tokens
from syphus.translate.languages import Language

MOST_RECORDS = 8
"""Of one request: models lose count of more."""
CELL_TOKENS = 25
"""What the JSON around one translation costs."""
_TOKENS = {"Latin": 1.5}
_TOKENS_OTHER = 2.5
"""Tokens of a translation for each token of English, rather high: a reply that is cut off costs more."""


@dataclass(frozen=True, eq=False)
class Source:
    """A record that is translated."""

    id: str
    task: str
    question: str
    answer: str
    image_ids: tuple[str, ...] = ()
    rel_ins_ids: tuple[str, ...] = ()
    source: str | None = None
    there: Mapping[str, str | None] = field(default_factory=dict)
    """Codes of languages in which it is there, and the context of the request that brought it."""


@dataclass(frozen=True)
class Cell:
    """One record in one language."""

    source: Source
    language: Language

    @property
    def id(self) -> str:
        """Return the id of its translation."""
        return f"{self.source.id}_{self.language.code}"

    @property
    def is_there(self) -> bool:
        return self.language.code in self.source.there

    @property
    def tokens(self) -> int:
        """Estimate what its translation costs."""
        text = estimate_tokens(self.source.question) + estimate_tokens(self.source.answer)
        script = self.language.scripts[0] if self.language.scripts else ""
        return CELL_TOKENS + round(text * _TOKENS.get(script, _TOKENS_OTHER))


@dataclass(frozen=True)
class Open:
    """A cell that has to be asked for, and how."""

    cell: Cell
    room: int
    """Tokens that the reply may have, estimated; it shrinks after a reply that was cut off."""
    note: str = ""
    """What was wrong with an earlier translation."""
    alone: bool = False
    """Whether its record is asked about by itself, because a request with others was refused."""


@dataclass(frozen=True)
class Chunk:
    """Some records, and the languages they are wanted in."""

    sources: tuple[Source, ...]
    languages: tuple[Language, ...]

    @property
    def cells(self) -> Iterator[Cell]:
        return (Cell(source, language) for source in self.sources for language in self.languages)

    def context_id(self, job: str) -> str:
        """Return what its requests are known by in the ledger: the job, and the texts."""
        said = [job, *((s.id, s.question, s.answer) for s in self.sources)]
        said += [language.code for language in self.languages]
        text = json.dumps(said, ensure_ascii=False)
        digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8)
        return f"translate_{digest.hexdigest()}"


def pack(sources: Iterable[Source], languages: tuple[Language, ...], room: int) -> Iterator[Chunk]:
    """Put records together as long as all their translations fit in one reply."""
    held: list[Source] = []
    used = 0
    for source in sources:
        tokens = sum(Cell(source, language).tokens for language in languages)
        if held and (used + tokens > room or len(held) == MOST_RECORDS):
            yield Chunk(tuple(held), languages)
            held, used = [], 0
        held.append(source)
        used += tokens
    if held:
        yield Chunk(tuple(held), languages)


def group(cells: Sequence[Open]) -> Iterator[list[Open]]:
    """Put cells into requests: records that lack the same languages together, as many as there is room for.

    A record that is too long for one reply is asked for in some of its languages at a time.
    """
    by_record: dict[Source, list[Open]] = {}
    for open_ in cells:
        by_record.setdefault(open_.cell.source, []).append(open_)
    alike: dict[tuple[object, ...], list[list[Open]]] = {}
    for source, row in by_record.items():
        codes = tuple(open_.cell.language.code for open_ in row)
        alone = source.id if any(open_.alone for open_ in row) else ""
        alike.setdefault((codes, min(open_.room for open_ in row), alone), []).append(row)
    for (_, room, _), rows in alike.items():
        assert isinstance(room, int)
        yield from _split(rows, room)


def _split(rows: Iterable[list[Open]], room: int) -> Iterator[list[Open]]:
    held: list[Open] = []
    count = 0
    for row in rows:
        if held and (tokens_of(held) + tokens_of(row) > room or count == MOST_RECORDS):
            yield held
            held, count = [], 0
        if tokens_of(row) > room:
            yield from _by_language(row, room)
            continue
        held, count = held + row, count + 1
    if held:
        yield held


def _by_language(row: list[Open], room: int) -> Iterator[list[Open]]:
    held: list[Open] = []
    for open_ in row:
        if held and tokens_of([*held, open_]) > room:
            yield held
            held = []
        held.append(open_)
    if held:
        yield held


def tokens_of(cells: Iterable[Open]) -> int:
    """Estimate what the translations of some cells cost."""
    return sum(open_.cell.tokens for open_ in cells)
