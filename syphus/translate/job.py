"""What a run is asked to translate, and what became of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from mimicit.store import Store
from syphus.annotations.context import Context, Problem
from syphus.asking import SAMPLES, Tally
from syphus.fit import query_limit
from syphus.render import render_prompt, render_request
from syphus.request import Prompt, Request
from syphus.task import Task
from syphus.translate.cells import Cell, Chunk, Open
from syphus.translate.faithful import has_term
from syphus.translate.languages import ENGLISH, Language
from syphus.translate.sources import Sources

_DETAIL = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|<[^>\s]*>|\{[^}\s]*\}|https?://\S+|\d+")


@dataclass(frozen=True)
class Job:
    task: Task
    """`translate`."""
    model: str
    languages: tuple[Language, ...]
    origin: Language = ENGLISH
    """The language of the records that are translated."""
    where: str = "true"
    keep: tuple[str, ...] = ()
    """Terms that stay as they are."""
    limit: int | None = None
    """Records, at most."""
    seed: int = 0
    arguments: Sequence[str] = ()
    """The command line, for the ledger."""

    def sources(self, store: Store) -> Sources:
        return Sources(store, self.origin, self.languages, self.where, self.limit)

    def prompt(self) -> Prompt:
        """Render what all its requests begin with."""
        return render_prompt(self.task)

    def room(self, prompt: Prompt) -> int:
        """Return how many tokens one reply should have: fewer than it may have, since they are estimated.

        Raises:
            TaskError: the prompt and a reply are too long for the model.
        """
        return min(
            self.task.sampling.max_tokens * 3 // 4, query_limit(self.task, prompt, self.model)
        )

    def context_id(self, prompt: Prompt, chunk: Chunk) -> str:
        """Return what a chunk's requests are known by, which no other job has."""
        said = (self.model, self.seed, prompt.digest, self.origin.code, *self.keep)
        return chunk.context_id("\n".join(map(str, said)))

    def opened(self, prompt: Prompt, chunk: Chunk) -> list[Open]:
        """Return the cells that are missing, and those that this job itself has brought.

        The latter are asked for where the reply is in the ledger: so the job goes through its earlier rounds again, at no cost,
        and from there goes on as if it had never been interrupted.
        """
        room, context = self.room(prompt), self.context_id(prompt, chunk)
        return [
            Open(cell, room)
            for cell in chunk.cells
            if not cell.is_there or cell.source.there[cell.language.code] == context
        ]

    def question(
        self,
        prompt: Prompt,
        context: str,
        some: Sequence[Open],
        attempt: int,
        is_known: Callable[[str], bool],
    ) -> tuple[list[Open], Request | None]:
        """Return what to ask for, and the request; cells that are there are asked for only if it is in the ledger."""
        cells = list(some)
        request = self._request(prompt, context, cells, attempt)
        if any(open_.cell.is_there for open_ in cells) and not is_known(request.key):
            cells = [open_ for open_ in cells if not open_.cell.is_there]
            if not cells:
                return [], None
            request = self._request(prompt, context, cells, attempt)
        return cells, request

    def _request(self, prompt: Prompt, context: str, some: Sequence[Open], attempt: int) -> Request:
        rows = list(dict.fromkeys(open_.cell.source for open_ in some))
        texts = [text for source in rows for text in (source.question, source.answer)]
        languages = dict.fromkeys(open_.cell.language for open_ in some)
        facts = {
            "records": [{"question": source.question, "answer": source.answer} for source in rows],
            "languages": [{"code": one.code, "name": one.name} for one in languages],
            "keep": [term for term in self.keep if any(has_term(text, term) for text in texts)],
            "notes": [
                {
                    "number": rows.index(open_.cell.source) + 1,
                    "language": open_.cell.language.code,
                    "problem": open_.note,
                }
                for open_ in some
                if open_.note
            ],
        }
        # Each round draws anew, beyond the seeds that the samples of the one before may have had.
        seed = self.seed + attempt * SAMPLES
        return render_request(
            self.task, prompt, Context(context, facts=facts), model=self.model, seed=seed
        )


@dataclass
class Completeness:
    """How much of one language is there."""

    language: str
    name: str
    wanted: int = 0
    before: int = 0
    """Translations that were there."""
    new: int = 0
    missing: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Why, without details."""

    @property
    def reason(self) -> str:
        """Return the main reason."""
        return self.reasons.most_common(1)[0][0] if self.reasons else ""


@dataclass
class Report(Tally):
    """What became of a job."""

    records: int = 0
    languages: list[Completeness] = field(default_factory=list)

    @classmethod
    def of(cls, languages: Iterable[Language]) -> Report:
        return cls(languages=[Completeness(one.code, one.name) for one in languages])

    @property
    def missing(self) -> int:
        return sum(row.missing for row in self.languages)

    def row(self, language: Language) -> Completeness:
        return next(row for row in self.languages if row.language == language.code)

    def want(self, cells: Iterable[Cell]) -> None:
        for cell in cells:
            row = self.row(cell.language)
            row.wanted += 1
            row.before += cell.is_there

    def miss(self, cell: Cell, reason: str) -> None:
        row = self.row(cell.language)
        row.missing += 1
        row.reasons[_DETAIL.sub("…", reason)] += 1
        self.note(Problem(f"{cell.source.id} in {cell.language.name}", reason))
