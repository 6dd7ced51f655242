"""A whole training run, from a dataset folder to a model, top to bottom: whose run it is, what it is made of, step after step, the end."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from trainer import checkpoint, machine, memory, report, trainable
from trainer.ahead import Ahead
from trainer.build import (
    begun_in_files,
    make_batches,
    make_encoder,
    make_parts,
    make_plan,
    make_trainable,
)
from trainer.ending import Enough, bad_gradients, need_answers
from trainer.errors import RunFolderError
from trainer.evaluate import Looks, open_held_out
from trainer.interrupt import Interrupt
from trainer.measure import Meter
from trainer.objectives import Beginning, make_objective
from trainer.optim import with_steps
from trainer.pauses import Pauses
from trainer.recipe import read_recipe
from trainer.result import TrainResult, finish
from trainer.run_folder import RunFolder
from trainer.skipping import Skips
from trainer.sources.opening import open_mix
from trainer.sources.pins import Pins
from trainer.state import Frozen
from trainer.step import train_step
from trainer.steps import Steps
from trainer.telling import Telling
from trainer.trackers import need
from trainer.workers import missed


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
    if not folder.is_finished:
        with machine.told_once():
            there = memory.There.found(accelerator.device, accelerator.num_processes)
            progress.say(memory.require(config, there, recipe=recipe))
    with machine.leader_first(accelerator):
        newest = None
        if folder.has_begun and not folder.is_finished:
            if leads:  # before a checkpoint is moved
                folder.lock()
            newest = checkpoint.newest(folder.checkpoints, say=progress.say, check=leads)
        if resume and newest is None and not folder.is_finished:
            raise RunFolderError(f"{str(out)!r} has nothing to resume; leave out --resume to start")
        pins = Pins(folder.sources, say=progress.say if leads else None)
        held_out = open_held_out(config, dataset, pins)
        mix = open_mix(
            config.data, dataset, seed=config.run.seed, without=config.evaluate.where, pins=pins
        )
        folder.claim(config, mix.digest, Pins.of(mix, held_out).digests, leads=leads)
    if folder.is_finished:
        progress.say(f"{str(out)!r} already holds this run, finished")
        machine.part(accelerator)
        return TrainResult.of(folder, was_finished=True)

    # What is it made of?
    torch.manual_seed(config.run.seed)
    with machine.leader_first(accelerator):
        processor, model = make_parts(folder, config, mix)
    start = 0 if newest is None else newest.step
    with machine.told_once():
        make_trainable(model, config)
        frozen = Frozen.of(model, begun_in_files(model, config))
        if newest is not None:
            newest.load_weights(model, frozen)
    log = report.read(folder.log, up_to=start)
    parts = trainable.table(model)
    objective = make_objective(config)
    encoder = objective.encoder(make_encoder(processor, model, config))
    precision = machine.precision_of(config.run)
    meter = Meter(model, accelerator.device, precision, accelerator.num_processes)
    with machine.told_once():
        strategy, chosen = machine.choose_strategy(accelerator, config.run, parts[-1])
        progress.say(chosen)
        placed, optimizer = strategy.place(model, config)
        if newest is not None:
            newest.load_training(partial(strategy.load_optimizer, placed, optimizer))
    plan = make_plan(config, mix, accelerator)
    config = replace(config, run=with_steps(config.run, plan.steps_per_epoch))
    run = Beginning(
        accelerator=accelerator,
        model=placed,
        mix=objective.mix(mix),
        encoder=encoder,
        plan=plan,
        config=config,
        folder=folder.path,
        start=start,
        log=log,
        say=progress.say,
    )
    objective.prepare(run)
    skips = Skips(out, accelerator, allowed=config.data.skip_bad, start=start)
    # Worker processes begin here, before there is a thread.
    ahead = Ahead(make_batches(config, run.mix, encoder, plan, start=start))
    batches = skips.watch(ahead)
    steps = Steps(dataset, out, mix.digest, plan, say=progress.say, mix=mix, until=config.run.steps)
    telling = Telling(run, folder, steps, progress, meter.clock)
    telling.begin(mix, parts, why_no_mfu=meter.why_no_mfu)
    looks = Looks(held_out, strategy, run, processor=processor) if held_out else None
    state = partial(strategy.state, placed, optimizer, frozen)
    pauses = Pauses(run, folder, state, looks=looks, telling=telling, clock=meter.clock)

    # Step after step.
    is_enough = Enough(log, config, plan)
    placed.train()
    with telling, missed(config.data), Interrupt() as interrupt, ahead:
        # A run that was stopped after its last step has only to be finished.
        last = start if is_enough() else config.run.steps
        pauses.before(start, is_last=start == last)
        for step in range(start, last):
            entry = train_step(
                strategy, placed, optimizer, batches, plan, config, objective, step=step, meter=meter,
            )  # fmt: skip
            log.append(entry)
            objective.learned(entry.figures)
            if looks:
                looks.objective.learned(entry.figures)
            with machine.told_once():
                skipped = skips.settle(entry.step)
                need_answers(log, config, plan)
                if trouble := bad_gradients(log, config, plan, mix, precision=precision):
                    progress.say(trouble)
            telling.step(entry, skipped=skipped)
            is_asked, is_done = machine.on_any(accelerator, interrupt.requested, is_enough())
            if is_asked:
                pauses.save(entry.step)
                progress.say(f"stopped after step {entry.step}; the same command continues")
                raise KeyboardInterrupt
            pauses.after(entry.step, is_last=is_done or entry.step == last)
            if is_done:
                break
        telling.finish()

    # The end.
    final = pauses.whole(log[-1].step if log else start)
    learned = strategy.whole(placed)
    with machine.leader_first(accelerator):
        if learned is not None:
            finish(
                folder, config, mix, learned, processor,
                log=log, meter=meter, held_out=looks.losses if looks else {}, final=final,
            )  # fmt: skip
            steps.end()
    machine.part(accelerator)
    result = TrainResult.of(folder)
    progress.say(str(result))
    return result
