"""A whole training run, from a dataset folder to a model, top to bottom."""

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers.utils import logging as transformers_logging

from mimicit.progress import duration
from mimicit.snapshot import Snapshot, freeze
from mimicit.store import Store
from trainer import checkpoint, lora, report, trainable
from trainer.batch import Batch
from trainer.build import let_pack, make_batches, make_parts, make_trainable
from trainer.config import TrainConfig
from trainer.data import Plan
from trainer.errors import NonFiniteLossError, RunFolderError, TrainingError
from trainer.interrupt import Interrupt
from trainer.models.otter import Otter
from trainer.models.otter_processor import OtterProcessor
from trainer.optim import learning_rate, make_optimizer
from trainer.recipe import read_recipe
from trainer.run_folder import RunFolder, write_json
from trainer.steps import Steps


@dataclass(frozen=True, slots=True)
class TrainResult:
    run: Path
    steps: int
    first_loss: float
    last_loss: float
    seconds: float
    """Of training, over all sessions."""
    was_finished: bool = False
    """The folder held this very run, finished; nothing was done."""


def train(
    *,
    recipe: str,
    dataset: Path,
    out: Path,
    overrides: Sequence[str] = (),
    resume: bool = False,
    progress: report.Progress | None = None,
) -> TrainResult:
    """Train a model on a dataset folder's accepted records, or continue an interrupted run.

    `recipe` is a name in trainer/recipes or the path of a TOML file, changed by overrides such as `optim.lr=1e-3`. With
    `resume` there must be something to continue; without, a run is continued where there is one.

    Raises:
        KeyboardInterrupt: after a checkpoint was saved; the same command continues.
    """
    transformers_logging.disable_progress_bar()
    config = read_recipe(recipe, overrides)
    accelerator = new_accelerator(config.run.precision)
    leads = accelerator.is_main_process
    progress = progress if progress and leads else report.Progress(silent=not leads)
    folder = RunFolder(out)

    # Whose run is this?
    newest = checkpoint.newest(folder.checkpoints)
    if resume and newest is None and not folder.is_finished:
        raise RunFolderError(f"{str(out)!r} has nothing to resume; leave out --resume to start")
    with accelerator.main_process_first():
        snapshot = freeze(Store.open(dataset), where=config.data.where)
        folder.claim(config, snapshot.digest)
    if folder.is_finished:
        progress.say(f"{str(out)!r} already holds this run, finished")
        return _result(folder, was_finished=True)

    # Build.
    torch.manual_seed(config.run.seed)
    with accelerator.main_process_first():
        processor, model = make_parts(folder, config, snapshot)
    if config.data.max_row_tokens:
        let_pack(model)
    make_trainable(model, config)
    optimizer = make_optimizer(model, config.optim)
    start = 0 if newest is None else checkpoint.restore(newest, model, optimizer)
    log = report.read(folder.log, up_to=start)
    parts, max_frames = trainable.table(model), model.config.max_num_frames
    model, optimizer = accelerator.prepare(model, optimizer)
    plan = Plan(
        records=len(snapshot),
        batch_size=config.run.batch_size,
        micro_batch_size=config.run.micro_batch_size,
        seed=config.run.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    batches = make_batches(config, snapshot, processor, plan, max_frames=max_frames, start=start)
    steps = Steps(dataset, out, snapshot.digest, plan, say=progress.say)
    if leads:
        report.rewrite(folder.log, log)
        steps.begin(log)
    progress.say(
        f"{'continuing' if start else 'starting'} at step {start + 1} · {len(snapshot):,} records · "
        f"{parts[-1].parameters / 1e6:.1f} M parameters · {accelerator.device}"
    )
    for line in trainable.as_lines(parts):
        progress.say(line)

    # Go.
    def save(step: int) -> None:
        if leads:
            bare = accelerator.unwrap_model(model)
            checkpoint.save(folder.checkpoints, bare, optimizer, step=step, keep=config.run.keep)

    model.train()
    with Interrupt() as interrupt:
        for step in range(start, config.run.steps):
            lr = learning_rate(step, steps=config.run.steps, config=config.optim)
            entry = train_step(
                accelerator, model, optimizer, batches, plan, config, step=step, lr=lr
            )
            log.append(entry)
            need_answers(log, config, plan)
            if leads:
                report.append(folder.log, entry)
                steps.add(entry)
            progress.step(entry, steps=config.run.steps)
            if on_any(accelerator, interrupt.requested):
                save(step + 1)
                progress.say(f"stopped after step {step + 1}; the same command continues")
                raise KeyboardInterrupt
            if on_any(accelerator, is_enough(log, config, plan)):
                break
            if (step + 1) % config.run.save_every == 0:
                save(step + 1)

    if leads:
        finish(folder, config, snapshot, accelerator.unwrap_model(model), processor, log)
        steps.end()
    accelerator.wait_for_everyone()
    result = _result(folder)
    progress.say(
        f"learned in {result.steps:,} steps, {duration(result.seconds)} · "
        f"loss {result.first_loss:.3g} → {result.last_loss:.3g} · model in {str(folder.model)!r}"
    )
    return result


def new_accelerator(precision: str) -> Accelerator:
    """Join the other processes of the run.

    Raises:
        TrainingError: they were started, but do not know each other, so that each would train alone in the same folder.
    """
    # accelerate keeps the precision of a process's first run.
    AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision=precision)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != world:
        raise TrainingError(
            f"{world} processes were started, but each trains for itself on {accelerator.device}; "
            "on a machine without GPUs set ACCELERATE_USE_CPU=true"
        )
    return accelerator


def train_step(
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[list[Batch]],
    plan: Plan,
    config: TrainConfig,
    *,
    step: int,
    lr: float,
) -> report.StepLog:
    """Update the weights once. The loss is a mean over all taught tokens of the step, however they are cut into batches."""
    began = time.perf_counter()
    # What dropout leaves out is a function of the step and the process, so that a resumed run does the same.
    torch.manual_seed(step_seed(config.run.seed, step, accelerator.process_index))
    group = [batch for _ in plan.micro_batches(step) for batch in next(batches)]
    waited = time.perf_counter() - began

    counts = [
        sum(batch.taught for batch in group),
        sum(batch.tokens for batch in group),
        len(group),
    ]
    counts_W3 = accelerator.gather(torch.tensor([counts], device=accelerator.device))
    taught, tokens, _ = counts_W3.sum(dim=0).tolist()
    # Devices wait for each other, so each does as many forwards as the one with the most rows.
    fewest = min(group, key=lambda batch: batch.ids_BT.numel())
    group += [fewest.untaught()] * (int(counts_W3[:, 2].max()) - len(group))

    loss = torch.zeros((), device=accelerator.device)
    for nth, batch in enumerate(group, start=1):
        is_last = nth == len(group)
        with nullcontext() if is_last else accelerator.no_sync(model):
            inputs = batch.to(accelerator.device).inputs()
            part = model(**inputs, num_items_in_batch=max(1, taught)).loss
            # Data parallel averages gradients over the processes; their number makes it a sum.
            accelerator.backward(part * accelerator.num_processes)
        loss += part.detach()
    loss = accelerator.reduce(loss)
    if not math.isfinite(loss):
        ids = [record_id for batch in group for record_id in batch.record_ids]
        raise NonFiniteLossError(float(loss), step + 1, ids)

    grad_norm = accelerator.clip_grad_norm_(model.parameters(), config.optim.max_grad_norm)
    for parameters in optimizer.param_groups:
        parameters["lr"] = lr
    if taught:  # else weights would still decay, and go on as they went
        optimizer.step()
    optimizer.zero_grad()

    seconds = time.perf_counter() - began
    return report.StepLog(
        step=step + 1,
        loss=float(loss),
        lr=lr,
        grad_norm=float(grad_norm),
        taught=taught,
        tokens=tokens,
        seconds=seconds,
        waited=waited / seconds,
    )


def step_seed(seed: int, step: int, process: int) -> int:
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1, np.uint64)[0])


def need_answers(log: Sequence[report.StepLog], config: TrainConfig, plan: Plan) -> None:
    """Refuse to go on where a whole pass through the data taught nothing.

    Raises:
        TrainingError: all answers were cut away.
    """
    if len(log) == min(plan.steps_per_epoch, config.run.steps) and not any(e.taught for e in log):
        raise TrainingError(
            f"no answer of {plan.records:,} records begins within data.max_tokens = {config.data.max_tokens}, "
            "so nothing is taught; raise it"
        )


def on_any(accelerator: Accelerator, flag: bool) -> bool:
    """Tell whether it is so on any process: all must stop after the same step, or the others wait for ever."""
    return bool(accelerator.reduce(torch.tensor(int(flag), device=accelerator.device)))


def is_enough(log: Sequence[report.StepLog], config: TrainConfig, plan: Plan) -> bool:
    """Tell whether the loss over the last epoch, or the time, has reached what the recipe says."""
    recent = [entry.loss for entry in log[-plan.steps_per_epoch :]]
    has_learned = (
        config.run.stop_below is not None
        and len(recent) == plan.steps_per_epoch
        and sum(recent) / len(recent) < config.run.stop_below
    )
    is_over = config.run.max_seconds is not None and (
        sum(entry.seconds for entry in log) >= config.run.max_seconds
    )
    return has_learned or is_over


def finish(
    folder: RunFolder,
    config: TrainConfig,
    snapshot: Snapshot,
    model: Otter,
    processor: OtterProcessor,
    log: Sequence[report.StepLog],
) -> None:
    """Write what was learned and how; `run.json` comes last, for it says that the rest is whole."""
    parts = trainable.table(model)
    if lora.has_adapters(model):
        lora.save_adapters(model, folder.path / "adapters")
        lora.merge(model)
    model.save_pretrained(folder.model)
    processor.save_pretrained(folder.model)
    report.draw_curve(folder.curve, log, title=f"Training loss of {folder.path.resolve().name}")
    packages = ("torch", "transformers", "accelerate", "tokenizers", "safetensors")
    write_json(
        folder.summary,
        {
            "steps": len(log),
            "first_loss": log[0].loss,
            "last_loss": log[-1].loss,
            "seconds": round(sum(entry.seconds for entry in log), 2),
            "records": len(snapshot),
            "snapshot": snapshot.digest,
            "parameters": sum(p.numel() for p in model.parameters()),
            "trained_parameters": parts[-1].trained,
            "parts": [asdict(row) for row in parts],
            "device": str(model.device),
            "versions": {package: version(package) for package in packages},
            "config": asdict(config),
        },
    )


def _result(folder: RunFolder, *, was_finished: bool = False) -> TrainResult:
    summary = folder.read_summary()
    figures = {key: summary[key] for key in ("steps", "first_loss", "last_loss", "seconds")}
    return TrainResult(run=folder.path, was_finished=was_finished, **figures)
