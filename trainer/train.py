"""A whole training run, from a dataset folder to a model, top to bottom."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from mimicit.progress import duration
from trainer import checkpoint, lora, report, trainable
from trainer.build import make_batches, make_encoder, make_parts, make_trainable
from trainer.config import TrainConfig
from trainer.errors import RunFolderError, TrainingError
from trainer.interrupt import Interrupt
from trainer.objectives import make_objective
from trainer.optim import learning_rate, make_optimizer
from trainer.plan import Plan
from trainer.recipe import read_recipe
from trainer.run_folder import RunFolder, write_json
from trainer.sources.mix import Mix
from trainer.sources.opening import open_mix
from trainer.step import train_step
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
    accelerator = new_accelerator(precision_of(config))
    leads = accelerator.is_main_process
    progress = progress if progress and leads else report.Progress(silent=not leads)
    folder = RunFolder(out)

    # Whose run is this?
    newest = checkpoint.newest(folder.checkpoints)
    if resume and newest is None and not folder.is_finished:
        raise RunFolderError(f"{str(out)!r} has nothing to resume; leave out --resume to start")
    with accelerator.main_process_first():
        mix = open_mix(config.data, dataset)
        folder.claim(config, mix.digest)
    if folder.is_finished:
        progress.say(f"{str(out)!r} already holds this run, finished")
        return _result(folder, was_finished=True)

    # Build.
    torch.manual_seed(config.run.seed)
    with accelerator.main_process_first():
        processor, model = make_parts(folder, config, mix)
    make_trainable(model, config)
    optimizer = make_optimizer(model, config.optim)
    start = 0 if newest is None else checkpoint.restore(newest, model, optimizer)
    log = report.read(folder.log, up_to=start)
    parts = trainable.table(model)
    objective = make_objective(config.objective)
    encoder = objective.encoder(make_encoder(processor, model, config))
    model, optimizer = accelerator.prepare(model, optimizer)
    plan = Plan(
        records=sum(draws for _, draws in mix.shares),
        batch_size=config.run.batch_size,
        micro_batch_size=config.run.micro_batch_size,
        seed=config.run.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        shares=mix.shares,
        lengths=mix.lengths,
    )
    batches = make_batches(config, mix, encoder, plan, start=start)
    steps = Steps(dataset, out, mix.digest, plan, say=progress.say)
    if leads:
        report.rewrite(folder.log, log)
        steps.begin(log)
    progress.say(
        f"{'continuing' if start else 'starting'} at step {start + 1} · {len(mix):,} records · "
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
                accelerator, model, optimizer, batches, plan, config, objective, step=step, lr=lr
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
        finish(folder, config, mix, accelerator.unwrap_model(model), processor, log)
        steps.end()
    accelerator.wait_for_everyone()
    result = _result(folder)
    progress.say(
        f"learned in {result.steps:,} steps, {duration(result.seconds)} · "
        f"loss {result.first_loss:.3g} → {result.last_loss:.3g} · model in {str(folder.model)!r}"
    )
    return result


def precision_of(config: TrainConfig) -> str:
    if config.run.precision != "auto":
        return config.run.precision
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"


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
    mix: Mix,
    model: PreTrainedModel,
    processor: Any,
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
            "records": len(mix),
            "snapshot": mix.digest,
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
