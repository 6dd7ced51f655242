"""A whole training run, from a dataset folder to a model, top to bottom."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from mimicit.progress import duration
from trainer import checkpoint, curve, lora, machine, memory, report, trainable
from trainer.ahead import Ahead
from trainer.build import begun_in_files, make_batches, make_encoder, make_parts, make_trainable
from trainer.config import Report, TrainConfig
from trainer.errors import CheckpointError, NonFiniteGradError, RunFolderError, TrainingError
from trainer.evaluate import Looks, open_held_out
from trainer.interrupt import Interrupt
from trainer.log_file import LogFile
from trainer.measure import CONVENTIONS, Meter
from trainer.objectives import Beginning, make_objective
from trainer.optim import learning_rate, with_steps
from trainer.plan import Plan
from trainer.recipe import read_recipe
from trainer.run_folder import RunFolder, left_out, whole_folder, write_json
from trainer.skipping import Skips
from trainer.sources.mix import Mix
from trainer.sources.opening import open_mix
from trainer.sources.pins import Pins
from trainer.state import Frozen
from trainer.step import train_step
from trainer.steps import Steps
from trainer.trackers import Trackers, need
from trainer.workers import missed


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
    held_out: float | None = None
    """The loss of all held-out records (`evaluate.where`) at the end."""

    def json(self) -> str:
        """Return it as one line, with the places of what it made."""
        run = str(self.run)
        places = {"run": run, "model": f"{run}/model", "curve": f"{run}/loss.png"}
        return json.dumps(asdict(self) | places)


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
    with machine.told_once():
        config = read_recipe(recipe, overrides)
        need(config.report.to)
    accelerator = machine.join(config.run)
    leads = accelerator.is_main_process
    progress = progress if progress and leads else report.Progress(silent=not leads)
    folder = RunFolder(out)

    # Whose run is this?
    with machine.leader_first(accelerator):
        newest = checkpoint.newest(folder.checkpoints, say=progress.say, check=leads)
        if resume and newest is None and not folder.is_finished:
            raise RunFolderError(f"{str(out)!r} has nothing to resume; leave out --resume to start")
        pins = Pins(folder.sources, say=progress.say if leads else None)
        mix = open_mix(
            config.data, dataset, seed=config.run.seed, without=config.evaluate.where, pins=pins
        )
        held_out = open_held_out(config, dataset)
        folder.claim(config, mix.digest, Pins.of(mix).digests, leads=leads)
    if folder.is_finished:
        progress.say(f"{str(out)!r} already holds this run, finished")
        machine.part(accelerator)
        return _result(folder, was_finished=True)

    with machine.told_once():
        there = memory.There.found(accelerator.device, accelerator.num_processes)
        progress.say(memory.require(config, there, recipe=recipe))

    # Build.
    torch.manual_seed(config.run.seed)
    with machine.leader_first(accelerator):
        processor, model = make_parts(folder, config, mix)
    make_trainable(model, config)
    frozen = Frozen.of(model, begun_in_files(model, config))
    start = 0 if newest is None else newest.step
    if newest is not None:
        newest.load_weights(model, frozen)
    told = report.last_step(folder.log)
    log = report.read(folder.log, up_to=start)
    parts = trainable.table(model)
    objective = make_objective(config)
    encoder = objective.encoder(make_encoder(processor, model, config))
    meter = Meter(model, accelerator.device, machine.precision_of(config.run), accelerator.num_processes)
    strategy, chosen = machine.choose_strategy(accelerator, config.run, parts[-1])
    progress.say(chosen)
    model, optimizer = strategy.place(model, config)
    if newest is not None:
        newest.load_training(partial(strategy.load_optimizer, model, optimizer))
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
    config = replace(config, run=with_steps(config.run, plan.steps_per_epoch))
    met = objective.mix(mix)
    beginning = Beginning(
        accelerator=accelerator,
        model=model,
        mix=met,
        encoder=encoder,
        plan=plan,
        config=config,
        folder=folder.path,
        start=start,
        log=log,
        say=progress.say,
    )
    objective.prepare(beginning)
    skips = Skips(out, accelerator, allowed=config.data.skip_bad, start=start)
    # Worker processes begin here, before there is a thread.
    ahead = Ahead(make_batches(config, met, encoder, plan, start=start))
    batches = skips.watch(ahead)
    steps = Steps(dataset, out, mix.digest, plan, say=progress.say, mix=mix, until=config.run.steps)
    log_file = LogFile(folder.log, log, say=progress.say) if leads else None
    if leads:
        steps.begin(log)
    progress.say(
        f"{'continuing' if start else 'starting'} at step {start + 1} · {len(mix):,} records · "
        f"{parts[-1].parameters / 1e6:.1f} M parameters"
    )
    for line in (*mix.notes, *trainable.as_lines(parts)):
        progress.say(line)

    looks = held_out and Looks(held_out, strategy, beginning, processor=processor)
    picture = curve.Curve(folder.curve)
    progress.each = config.report.every

    # Go.
    def look(step: int, *, will_save: bool, is_last: bool) -> float | None:
        """Look at held-out records if it is time, and draw the curve; return their loss."""
        found = None
        if looks and looks.are_due(step, will_save=will_save, is_last=is_last):
            with meter.clock.aside("evaluating"):
                found = looks.look(model, step)
            trackers.held_out(step, found.loss, found.figures)
        if leads and log and picture.is_due(looked=found is not None):
            with meter.clock.aside("drawing"), left_out(folder.curve, say=progress.say):
                picture.draw(log, looks.losses if looks else {})
        return found.loss if found else None

    def save(step: int, held_out: float | None = None) -> None:
        """Write a checkpoint. Where that is impossible training goes on, and those before are kept."""
        state = strategy.state(model, optimizer, frozen)
        with machine.leader_first(accelerator):
            if log_file is None:
                return
            log_file.flush()
            keep, keep_best = config.run.keep, config.run.keep_best
            try:
                checkpoint.save(
                    folder.checkpoints, state, step=step, keep=keep, held_out=held_out, keep_best=keep_best
                )
            except CheckpointError as error:
                progress.say(str(error))

    model.train()
    to = config.report if leads else Report()
    trackers = Trackers(to, folder.path, asdict(config), start=start, told=told, say=progress.say)
    with trackers, missed(config.data), Interrupt() as interrupt, ahead:
        # A run that was stopped after its last step has only to be finished.
        last = start if is_enough(log, config, plan) else config.run.steps
        # A run is stopped without a look that would have been due.
        look(start, will_save=False, is_last=start == last)
        for step in range(start, last):
            lr = learning_rate(step, steps=config.run.steps, config=config.optim)
            entry = train_step(
                strategy, model, optimizer, batches, plan, config, objective, step=step, lr=lr, meter=meter
            )
            log.append(entry)
            objective.learned(entry.figures)
            if looks:
                looks.objective.learned(entry.figures)
            skipped = skips.settle(entry.step)
            need_answers(log, config, plan)
            if told_of := bad_gradients(log, config, plan, mix):
                progress.say(told_of)
            if log_file is not None:
                log_file.add(entry)
                steps.add(entry, skipped=skipped)
                trackers.step(entry)
            progress.step(entry, steps=config.run.steps)
            is_asked, is_done = machine.on_any(
                accelerator, interrupt.requested, is_enough(log, config, plan)
            )
            if is_asked:
                save(step + 1)
                progress.say(f"stopped after step {step + 1}; the same command continues")
                raise KeyboardInterrupt
            # The last step, too: what is left to do then may fail.
            is_last = is_done or step + 1 == last
            will_save = is_last or (step + 1) % config.run.save_every == 0
            loss = look(step + 1, will_save=will_save, is_last=is_last)
            if will_save:
                with meter.clock.aside("saving"):
                    save(step + 1, loss)
            if is_done:
                break
        trackers.finish()

    final = looks and looks.whole(model, len(log))
    learned = strategy.whole(model)
    with machine.leader_first(accelerator):
        if learned is not None:
            seen = {
                "speed": {**report.means(log), "peak_flops": meter.peak, "why_no_mfu": meter.why_no_mfu},
                "conventions": CONVENTIONS,
                "aside": report.asides(log, meter.clock.lap()[1]),
                "held_out": final and asdict(final),
            }
            losses = looks.losses if looks else {}
            finish(folder, config, mix, learned, processor, log, seen, losses)
            steps.end()
    machine.part(accelerator)
    result = _result(folder)
    progress.say(
        f"learned in {result.steps:,} steps, {duration(result.seconds)} · "
        f"loss {result.first_loss:.3g} → {result.last_loss:.3g} · model in {str(folder.model)!r}"
    )
    return result


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


def bad_gradients(
    log: Sequence[report.StepLog], config: TrainConfig, plan: Plan, mix: Mix
) -> str | None:
    """Say that the last step's gradient was not finite, so that no weight moved, and name its records.

    Raises:
        NonFiniteGradError: that were too many steps in a row.
    """
    bad = list(takewhile(lambda entry: not math.isfinite(entry.grad_norm), reversed(log)))
    if not bad:
        return None
    step, most = log[-1].step, config.optim.max_bad_steps
    ids = ", ".join(mix[number][0].id for number in plan.step(step - 1))
    if len(bad) > most:
        raise NonFiniteGradError(
            f"the gradient of step {step} is not finite, as of the {most:,} steps before (optim.max_bad_steps), so training stopped; no "
            f"weight has moved since. Lower optim.lr, leave fp16 for bf16, or look at these records: {ids}"
        )
    return f"the gradient of step {step} is not finite, so no weight moved; its records: {ids}"


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
    seen: Mapping[str, Any],
    held_out: Mapping[int, float],
) -> None:
    """Write what was learned and how; `run.json` comes last, for it says that the rest is whole."""
    parts = trainable.table(model)
    if lora.has_adapters(model):
        with whole_folder(folder.path / "adapters") as staged:
            lora.save_adapters(model, staged)
        lora.merge(model)
    with whole_folder(folder.model) as staged:
        model.save_pretrained(staged)
        processor.save_pretrained(staged)
    with left_out(folder.curve):
        curve.Curve(folder.curve).draw(log, held_out)
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
            **seen,
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
    held_out = (summary.get("held_out") or {}).get("loss")
    return TrainResult(run=folder.path, was_finished=was_finished, held_out=held_out, **figures)
