"""Annotations for pictures that nobody annotated: a vision model notes what it sees, a reader of text what can be read.

    pictures ─► decoded, made smaller ─► workers: ask until it can be read ─► text that can be read ─► a row at the end of the file

Rows are the generic JSONL that `generate` reads. A reply is in the ledger beside the file before it is parsed, and a picture that has a row
is not looked at again: killed at any moment and run again, it goes on, and nothing is paid twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mimicit.errors import PictureError
from mimicit.media import picture
from mimicit.schema import ImageRecord
from syphus.annotate.reading import Annotation, UnclearBoxesError, read_annotation
from syphus.annotate.rows import Found, Rows, names, pictures
from syphus.annotations.context import Context, Problem
from syphus.asking import KEPT_PROBLEMS, Asker, Tally
from syphus.errors import ProviderError, ReplyError, StopError
from syphus.ledger import Ledger, Reading, Reply
from syphus.ocr import Text, TextReader
from syphus.pacing.endpoints import Endpoints
from syphus.pictures import seen
from syphus.prices import Facts, facts_of, is_local
from syphus.providers.base import Provider
from syphus.render import render_prompt, render_request
from syphus.request import Prompt, SeenPicture
from syphus.running import as_endpoints, budget_of, recorded, work
from syphus.task import Task


@dataclass(frozen=True)
class Job:
    """What a run is asked to do."""

    task: Task
    paths: Sequence[Path]
    """Pictures, and folders of pictures."""
    out: Path
    model: str
    """Not asked anything where there is no provider."""
    reader: TextReader | None = None
    """None leaves text in pictures unread."""
    seed: int = 0
    limit: int | None = None
    """Pictures, at most, those that have a row included."""
    arguments: Sequence[str] = ()
    """The command line, for the ledger."""


@dataclass
class Report(Tally):
    """What became of it."""

    pictures: int = 0
    """Those looked at, and those that had a row."""
    rows: int = 0
    """New ones."""
    known: int = 0
    """Pictures that had a row before."""
    captions: int = 0
    objects: int = 0
    texts: int = 0
    remarks: list[Problem] = field(default_factory=list)
    """What was left out of rows; the first ones, `remark_count` counts all."""
    remark_count: int = 0

    def remark(self, where: str, reason: str) -> None:
        self.remark_count += 1
        if len(self.remarks) < KEPT_PROBLEMS:
            self.remarks.append(Problem(where, reason))


def check_sight(model: str, *, sees: bool = False) -> None:
    """Refuse a model that is known not to see pictures; of an unknown one the best is hoped.

    Args:
        model: As LiteLLM names it.
        sees: Whether the user says that it can see: LiteLLM's table does not know that of every model.

    Raises:
        StopError: it cannot.
    """
    if is_local(model):
        raise StopError(
            "the embedded model cannot see pictures; name a vision model, for example openai/gpt-4o-mini, "
            "or `-m none` to only read the text in them"
        )
    facts = facts_of(model)
    if not sees and facts != Facts() and not facts.has_vision:
        raise StopError(
            f"{model!r} cannot see pictures, as far as LiteLLM's table knows; name a vision model, or add --sees "
            "if this one can see all the same"
        )


def count_pictures(paths: Sequence[Path]) -> int:
    """Count what there is to look at."""
    return sum(1 for _ in names(Path("/").absolute(), paths))


class _Run:
    """The state that the workers of one run share."""

    def __init__(
        self,
        job: Job,
        rows: Rows,
        folder: Path,
        ledger: Ledger,
        asker: Asker | None,
        prompt: Prompt,
        report: Report,
    ) -> None:
        self.job = job
        self.rows = rows
        self.folder = folder
        self.ledger = ledger
        self.asker = asker
        self.prompt = prompt
        self.report = report
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ocr")

    async def handle(self, found: Found) -> None:
        """Bring one picture to its end: a row, or a problem."""
        reply, noted = None, Annotation()
        try:
            image, shown, size = await asyncio.to_thread(self._look, found)
            if self.asker:
                reply, noted = await self._ask(self.asker, found, shown, size)
        except StopError:
            raise
        except (PictureError, ProviderError, ReplyError) as error:
            self.report.note(Problem(found.name, str(error)))
            return
        texts = await self._texts(image)
        self._write(found, noted, texts)
        if reply:
            self.ledger.read([Reading(reply.id, len(noted.captions))])

    def _look(self, found: Found) -> tuple[ImageRecord, SeenPicture, tuple[int, int]]:
        """Read and decode a picture, and make what a model is shown of it."""
        data = picture.read(self.folder, found.name)
        image = picture.measure(data, id=found.id, name=found.name)
        shown = seen(image)
        return image, shown, picture.decode(shown.data, name=found.name).size

    async def _ask(
        self, asker: Asker, found: Found, shown: SeenPicture, size: tuple[int, int]
    ) -> tuple[Reply | None, Annotation]:
        """Ask until a reply can be read; captions count also where nobody can tell what the boxes mean.

        Raises:
            ReplyError: none could be read.
            ProviderError: the model did not answer.
        """
        rest: Annotation | None = None

        def read(reply: Reply) -> Annotation:
            nonlocal rest
            try:
                return read_annotation(reply.text, size, finish_reason=reply.finish_reason)
            except UnclearBoxesError as error:
                rest = error.rest
                raise

        request = render_request(
            self.job.task,
            self.prompt,
            Context(found.id),
            model=self.job.model,
            seed=self.job.seed,
            pictures=(shown,),
        )
        answer = await asker.ask(request, read)
        if answer.reply:
            # Read before, but its row is not there: the file is another one, or the same picture is there twice.
            return answer.reply, answer.value or read(answer.reply)
        if rest:
            return None, rest
        raise ReplyError(answer.problem, "")

    async def _texts(self, image: ImageRecord) -> tuple[Text, ...]:
        reader = self.job.reader
        if reader is None:
            return ()

        def read() -> tuple[Text, ...]:
            return reader.read(picture.decode(image.image, name=image.id))

        return await asyncio.get_running_loop().run_in_executor(self.pool, read)

    def _write(self, found: Found, noted: Annotation, texts: Sequence[Text]) -> None:
        facts = {"text": [asdict(text) for text in texts]} if self.job.reader else {}
        self.rows.append(
            {
                "id": found.id,
                "image": found.name,
                "captions": noted.captions,
                "objects": [asdict(thing) for thing in noted.objects],
                "facts": facts,
            }
        )
        report = self.report
        report.rows += 1
        report.captions += len(noted.captions)
        report.objects += len(noted.objects)
        report.texts += len(texts)
        for remark in noted.remarks:
            report.remark(found.name, remark)


def annotate(
    job: Job,
    model: Provider | Endpoints | None,
    *,
    concurrency: int | None = None,
    budget: float | None = None,
    progress: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Write a row for every picture that has none.

    Args:
        job: What to do.
        model: Who is asked; None asks none, and rows hold only what the reader of text found.
        concurrency: Pictures at once, where `model` is a provider.
        budget: USD that all runs for this file may have cost.
        progress: Called after each picture.

    Raises:
        StopError: the provider will not answer anything; what came before is written.
        LockedError: another run writes to the file.
        AnnotationError: the file holds something else, or other pictures.
        PictureError: one of the paths does not exist.
    """
    report, prompt = Report(), render_prompt(job.task)
    path = Rows.ledger_folder(job.out) / "ledger.sqlite"
    with (
        Rows.writing(job.out) as rows,
        recorded(path, report, prompt, model=job.model, arguments=job.arguments) as found,
    ):
        ledger, run_id = found
        folder = rows.folder(job.paths)
        asker = None
        if model:
            endpoints = as_endpoints(model, job.model, concurrency=concurrency)
            limit = budget_of(ledger, prompt.task, budget)
            asker = Asker(endpoints, ledger, report, run=run_id, budget=limit)
        run = _Run(job, rows, folder, ledger, asker, prompt, report)

        async def handle(found: Found) -> None:
            await run.handle(found)
            progress(report)

        async def alone() -> None:
            for found in _to_do(run):
                await handle(found)

        with run.pool:
            asyncio.run(work(asker, _to_do(run), handle) if asker else alone())
    return report


def _to_do(run: _Run) -> Iterator[Found]:
    """Pass on the pictures without a row, and count the others."""
    report = run.report
    for item in pictures(run.rows, run.folder, run.job.paths):
        if report.pictures == run.job.limit:
            return
        report.pictures += 1
        if isinstance(item, Problem):
            report.note(item)
        elif not item.id:
            report.known += 1
        else:
            yield item
