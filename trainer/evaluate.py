"""Records that a run never learns (`evaluate.where`): what it thinks of them while it goes on.

    held_out.jsonl    one line a look: step, loss, taught tokens, records
    samples.jsonl     one line for each question that was answered: step, record, question, expected, said
    samples.html      the same with the pictures, for people (`trainer.samples`)

A look is at the same records each time, drawn by their number; all processes share them. The loss is the objective's, a mean over
taught tokens or pairs as in training, but with nothing left out by dropout. What a preference compares with is what the starting
model said of these records, kept in `held_out/` as that of the learned ones is. A look changes nothing of what is learned: gradients,
modes and random numbers are afterwards what they were.
"""

import base64
import io
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mimicit.errors import DatasetError, MimicitError, QueryError, RecipeError
from mimicit.media.picture import decode
from mimicit.store import Store
from trainer import report
from trainer.chat import Chat, Sampling
from trainer.config import TrainConfig
from trainer.data import Examples, Told, laid
from trainer.loading import FAMILIES, Message
from trainer.machine import of_all, raise_together
from trainer.models.otter_processor import IMAGE
from trainer.objectives import Beginning, make_objective
from trainer.order import shuffled
from trainer.plan import FILLER, Plan
from trainer.rows import Rows
from trainer.run_folder import left_out
from trainer.samples import Asked, write_page
from trainer.sources.base import Conversation, Shown
from trainer.sources.mix import Mix, Part
from trainer.sources.pins import NO_PINS, Pins
from trainer.sources.snapshot import SnapshotSource
from trainer.strategy import Strategy

HELD_OUT = "evaluate.where"
"""What the held-out records are called beside the parts of a mix."""
THUMBNAIL = 160
"""Pixels of the longer side of a picture in samples.html."""
PICTURES = 4
"""Of a record, there."""
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
WINDOW = 16
"""Forwards whose rows are in memory at the same time."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was found after a step; one line of `held_out.jsonl`."""

    step: int
    loss: float
    """Mean over the taught tokens."""
    taught: int
    records: int
    seconds: float
    figures: dict[str, float] = field(default_factory=dict)
    """What the objective measures beside its loss."""
    left_out: int = 0
    """Records that cannot be an example."""


def open_held_out(config: TrainConfig, dataset: Path, pins: Pins = NO_PINS) -> Mix | None:
    """Freeze what is held out, if anything is.

    Args:
        config: Of the run.
        dataset: The command's dataset folder.
        pins: Of the run, if it goes on: it looks at the records that it began with.

    Raises:
        RecipeError: nothing is, though it should.
        QueryError: evaluate.where is no predicate.
    """
    if not config.evaluate.where:
        return None
    try:
        snapshot = replace(pins, say=None).freeze(
            HELD_OUT, Store.open(dataset), where=config.evaluate.where
        )
    except DatasetError as error:
        raise RecipeError(f"evaluate.where holds nothing out: {error}") from error
    except QueryError as error:
        raise QueryError(f"evaluate.where: {error}") from error
    source = SnapshotSource(snapshot, pictures=config.data.pictures)
    return Mix([Part(HELD_OUT, source, draws=len(source))])


class Looks:
    """Held-out records, and all looks at them so far."""

    def __init__(self, mix: Mix, strategy: Strategy, run: Beginning, *, processor: Any) -> None:
        """Go on after the steps that were taken; what was seen later is forgotten, for those steps are taken again.

        Args:
            mix: Of the held-out records.
            strategy: Of the run.
            run: Before its next step.
            processor: Of the model, to ask it.
        """
        self.mix = mix
        self.strategy = strategy
        self.config = run.config
        self.processor = processor
        self.folder = run.folder
        self._say = run.say
        self._leads = strategy.accelerator.is_main_process
        self._encoder = run.encoder
        self.objective = make_objective(run.config)
        """Another one than the run's: it compares other records."""
        met = self.objective.mix(mix)
        self._told = Told(Examples(met, run.encoder), skips=True)
        self.objective.prepare(_once(run, met))
        self._shown: dict[str, list[str]] = {}
        self._log, self._samples = self.folder / "held_out.jsonl", self.folder / "samples.jsonl"
        self.page = self.folder / "samples.html"
        self._last: Look | None = None
        self.losses: dict[int, float] = {}
        """By the steps that were learned before."""
        self._asked: list[Asked] = []
        for row in report.lines_up_to(self._log, run.start):
            self.losses[int(row["step"])] = float(row["loss"])
        for row in report.lines_up_to(self._samples, run.start):
            self._asked.append(Asked(**row))
        for path in (self._log, self._samples) if self._leads else ():
            with left_out(path, say=self._say):
                report.keep_up_to(path, run.start)

    def are_due(self, step: int, *, will_save: bool, is_last: bool) -> bool:
        """Say whether to look after a step: every so many, at the end, and where the best checkpoint is chosen by it."""
        every = self.config.evaluate.every
        is_due = bool(every and step % every == 0) or (will_save and self.config.run.keep_best)
        return (is_due or is_last) and step > 0 and step not in self.losses

    def look(self, model: nn.Module, step: int) -> Look:
        """Look at a part of the records, and answer some questions. All processes must call it."""
        wanted = min(self.config.evaluate.records, len(self.mix))
        numbers = self._drawn(wanted)
        with at_rest(model):
            look = self._measure(model, numbers, step)
            asked = self._ask(model, numbers[: self.config.evaluate.answers], step)
        self.losses[step] = look.loss
        self._last = look
        left_out = f", {look.left_out} cannot be examples" if look.left_out else ""
        page = f" · answers in {str(self.page)!r}" if asked and not self._asked else ""
        if self._leads:
            self._write(look, asked)
        self._say(
            f"step {step:,} · held-out loss {look.loss:.4g} · {look.records:,} records{left_out}{page}"
        )
        return look

    def whole(self, model: nn.Module, step: int) -> Look:
        """Look at all records, unless the last look was at them. All processes must call it."""
        last = self._last
        if last and last.step == step and last.records + last.left_out == len(self.mix):
            return last
        with at_rest(model):
            return self._measure(model, list(range(len(self.mix))), step)

    def _drawn(self, count: int) -> list[int]:
        return [int(one) for one in shuffled(np.arange(count), len(self.mix), 0, len(self.mix))]

    def _measure(self, model: nn.Module, numbers: Sequence[int], step: int) -> Look:
        began = time.perf_counter()
        sums = dict.fromkeys(("loss", "amount", "taught", "records", "left_out"), 0.0)
        figures: dict[str, float] = {}
        forwards = self._dealt(numbers)
        for at in range(0, len(forwards), WINDOW):
            group, found = self._rows(forwards[at : at + WINDOW])
            part = self._losses(model, group, found["amount"])
            for name, value in found.items():
                sums[name] += value
            sums["loss"] += part.pop("loss") * found["amount"]
            for name, value in part.items():
                figures[name] = figures.get(name, 0.0) + value * found["amount"]
        amount = sums["amount"] or 1.0
        return Look(
            step=step,
            loss=sums["loss"] / amount,
            taught=int(sums["taught"]),
            records=int(sums["records"]),
            seconds=round(time.perf_counter() - began, 3),
            figures={name: value / amount for name, value in figures.items()},
            left_out=int(sums["left_out"]),
        )

    def _dealt(self, numbers: Sequence[int]) -> list[list[int]]:
        """Return this process's forwards: records of like lengths together, and as many as each other process has."""
        accelerator = self.strategy.accelerator
        world, size = accelerator.num_processes, self.config.run.micro_batch_size
        lengths = self.mix.lengths(numbers)
        order = [numbers[at] for at in np.argsort(-lengths, kind="stable")]
        order += [FILLER] * (-len(order) % world)
        mine = order[accelerator.process_index :: world]
        return [mine[at : at + size] for at in range(0, len(mine), size)]

    def _rows(self, forwards: Sequence[Sequence[int]]) -> tuple[list[Rows], dict[str, float]]:
        """Return this process's rows, as many as the others have, and what all have together."""
        group: list[Rows] = []
        trouble, skipped = None, 0
        for numbers in forwards:
            made = laid(self._told.__getitems__(numbers), encoder=self._encoder)
            if isinstance(made, MimicitError):
                trouble = made
                break
            group += made
            skipped += len(made.skipped)
        real = sum(number != FILLER for numbers in forwards for number in numbers)
        counts = {
            "amount": sum(self.objective.amount(rows) for rows in group),
            "taught": sum(rows.taught for rows in group),
            "records": real - skipped,
            "left_out": skipped,
            "rows": len(group),
            "trouble": trouble is not None,
        }
        each = of_all(self.strategy.accelerator, counts)
        if any(each.pop("trouble")):
            raise_together(self.strategy.accelerator, trouble)
        fewest = min(group, key=lambda rows: rows.size)
        group += [fewest.untaught()] * (int(max(each.pop("rows"))) - len(group))
        return group, {name: sum(of_one) for name, of_one in each.items()}

    def _losses(self, model: nn.Module, group: Sequence[Rows], whole: float) -> dict[str, float]:
        """Return the loss of all processes' rows, and figures beside it."""
        accelerator = self.strategy.accelerator
        self.objective.begin(accelerator, model, group)
        sums: dict[str, float] = {"loss": 0.0}
        for rows in group:
            part = self.objective.loss(model, rows.to(accelerator.device), whole=whole or 1.0)
            for name, value in ({"loss": part.total} | part.figures).items():
                sums[name] = sums.get(name, 0.0) + float(value)
        return {name: sum(each) for name, each in of_all(accelerator, sums).items()}

    # Questions

    def _ask(self, model: nn.Module, numbers: Sequence[int], step: int) -> list[Asked]:
        """Answer questions, on the leading process. Where a model lies in pieces, all must help to put it together."""
        if not numbers:
            return []
        whole = self.strategy.whole(model)
        if whole is None or whole.config.model_type not in FAMILIES:
            return []
        found = []
        with at_rest(_placed(whole, self.strategy.accelerator.device)):
            for number in numbers:
                record, _ = self.mix[number]
                if not isinstance(record, Conversation):
                    continue
                last = record.turns[-1]
                try:
                    said = self._answer(whole, record)
                except (MimicitError, ValueError) as error:
                    said = f"({error})"
                asked = (
                    last.question.replace(IMAGE, " ").strip() if record.marked else last.question
                )
                found.append(Asked(step, record.id, asked, last.answer, said))
                if record.id not in self._shown:
                    self._shown[record.id] = thumbnails(record)
        return found

    def _answer(self, model: Any, record: Conversation) -> str:
        family = FAMILIES[model.config.model_type]
        asked = messages_of(record, has_clips=family.has_clips)
        inputs = family.inputs(self.processor, asked)
        sampling = Sampling(max_new_tokens=self.config.evaluate.max_new_tokens)
        half = HALF.get(self.strategy.accelerator.mixed_precision)
        # `generate` does some of its work before the forward, around which accelerate puts the precision of the run.
        with torch.autocast(model.device.type, dtype=half, enabled=half is not None):
            answer, _ = Chat(model, self.processor, sampling).written(inputs)
        return answer

    def _write(self, look: Look, asked: Sequence[Asked]) -> None:
        with left_out(self._log, say=self._say), self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(look)) + "\n")
        if not asked:
            return
        self._asked += asked
        lines = [json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in asked]
        with (
            left_out(self._samples, say=self._say),
            self._samples.open("a", encoding="utf-8") as file,
        ):
            file.writelines(lines)
        for record_id in {one.record for one in self._asked} - self._shown.keys():
            self._shown[record_id] = []
        name = self.folder.resolve().name
        with left_out(self.page, say=self._say):
            write_page(self.page, self._asked, self._shown, self.losses, name=name)


def _once(run: Beginning, mix: Mix) -> Beginning:
    """Return a run over held-out records, each met once, for what an objective does beforehand."""
    plan = Plan(
        records=len(mix),
        batch_size=run.plan.batch_size,
        micro_batch_size=run.plan.micro_batch_size,
        seed=0,
        rank=run.plan.rank,
        world=run.plan.world,
        shares=mix.shares,
        lengths=mix.lengths,
    )
    steps = replace(run.config.run, steps=plan.steps_per_epoch, epochs=None)
    # What cannot be an example is left out of looks, whatever training does with it.
    config = replace(run.config, run=steps, data=replace(run.config.data, skip_bad=len(mix)))
    return replace(run, mix=mix, plan=plan, config=config, folder=run.folder / "held_out")


def _placed(whole: Any, device: torch.device) -> Any:
    """Put a model that was gathered into memory on the GPU, if there is room beside what is there; else it answers where it is."""
    if device.type == "cuda" and whole.device.type == "cpu":
        free, _ = torch.cuda.mem_get_info(device)
        if free > 1.2 * sum(weight.nbytes for weight in whole.parameters()):
            return whole.to(device)
    return whole


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Let a model answer without learning, and leave each of its parts in the mode that it was in."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def messages_of(record: Conversation, *, has_clips: bool) -> list[Message]:
    """Return a record as a conversation that waits for its last answer, in transformers' form, with decoded pictures.

    Raises:
        PictureError: a picture cannot be read.
    """
    messages: list[Message] = []
    for turn in record.turns:
        media = [_medium(clip, has_clips=has_clips) for clip in turn.media]
        content: list[dict[str, Any]] = []
        if record.marked and turn.question.count(IMAGE) == len(media):
            before, *after = turn.question.split(IMAGE)
            pieces = [before, *after]
            for nth, piece in enumerate(pieces):
                content += media[nth - 1] if nth else []
                content += [{"type": "text", "text": piece}] if piece else []
        else:
            content = [part for one in media for part in one]
            content.append({"type": "text", "text": turn.question})
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": turn.answer})
    return messages[:-1]


def _medium(clip: Sequence[Shown], *, has_clips: bool) -> list[dict[str, Any]]:
    frames = [decode(shown.read(), name=shown.name) for shown in clip]
    if len(frames) > 1 and has_clips:
        return [{"type": "video", "video": frames}]
    return [{"type": "image", "image": frame} for frame in frames]


def thumbnails(record: Conversation) -> list[str]:
    """Return a record's first pictures, small, as data: URLs."""
    every = [shown for turn in record.turns for clip in turn.media for shown in clip]
    found = []
    for shown in every[:PICTURES]:
        try:
            picture = decode(shown.read(), name=shown.name)
        except (MimicitError, OSError):
            continue
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        data = io.BytesIO()
        picture.convert("RGB").save(data, format="JPEG", quality=85)
        found.append(f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}")
    return found
