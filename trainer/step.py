"""One optimizer update: every process does its rows, and all learn the mean over the whole step."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object

from mimicit.errors import MimicitError
from trainer.config import TrainConfig
from trainer.errors import NonFiniteLossError
from trainer.machine import of_all, raise_together
from trainer.measure import Meter
from trainer.objectives import Objective
from trainer.optim import learning_rate
from trainer.plan import Plan
from trainer.report import StepLog
from trainer.rows import Rows
from trainer.strategy import Strategy


def train_step(
    strategy: Strategy,
    model: torch.nn.Module,
    optimizer: Any,
    batches: Iterator[list[Rows]],
    plan: Plan,
    config: TrainConfig,
    objective: Objective,
    *,
    step: int,
    meter: Meter,
) -> StepLog:
    """Update the weights once. The loss is a mean over the whole step, however it is cut into forwards and spread over processes.

    Raises:
        NonFiniteLossError: it is NaN or infinite; nothing was updated.
        MimicitError: a process has no data, and says why; all of them stop.
    """
    accelerator = strategy.accelerator
    lr = learning_rate(step, steps=config.run.steps, config=config.optim)
    began = time.perf_counter()
    # What dropout leaves out is a function of the step and the process, so that a resumed run does the same.
    torch.manual_seed(step_seed(config.run.seed, step, accelerator.process_index))
    group, trouble = _rows(batches, len(plan.micro_batches(step)))
    waited = time.perf_counter() - began

    counts = {
        "amount": sum(objective.amount(rows) for rows in group),
        "taught": sum(rows.taught for rows in group),
        "tokens": sum(rows.tokens for rows in group),
        "pictures": sum(rows.pictures for rows in group),
        "rows": len(group),
        "waited": waited,
        "trouble": trouble is not None,
        **meter.counts(group),
    }
    each = of_all(accelerator, counts)
    if any(each["trouble"]):
        raise_together(accelerator, trouble)
    whole = {name: sum(of_one) for name, of_one in each.items()}
    # Devices wait for each other, so each does as many forwards as the one with the most rows.
    fewest = min(group, key=lambda rows: rows.size)
    group += [fewest.untaught()] * (int(max(each["rows"])) - len(group))

    objective.begin(accelerator, model, group)
    loss, figures = _back(strategy, model, objective, group, whole=whole["amount"])
    if not math.isfinite(loss):
        mine = [record_id for rows in group for record_id in rows.record_ids]
        ids = [record_id for ids in gather_object([mine]) for record_id in ids]
        raise_together(accelerator, NonFiniteLossError(loss, step + 1, ids))

    if whole["amount"]:
        longest = config.optim.max_grad_norm
        grad_norm = strategy.update(model, optimizer, lr=lr, longest=longest)
    else:
        strategy.skip(model, optimizer)
        grad_norm = 0.0

    seconds, aside = meter.clock.lap()
    return StepLog(
        step=step + 1,
        loss=loss,
        lr=lr,
        grad_norm=grad_norm,
        taught=int(whole["taught"]),
        tokens=int(whole["tokens"]),
        seconds=seconds,
        waited=min(1.0, max(each["waited"]) / seconds),  # all wait for the slowest
        pictures=int(whole["pictures"]),
        figures=figures,
        aside=aside,
        flops=whole["flops"],
        mfu=meter.mfu(whole["flops"], seconds),
        memory=int(max(each["memory"])),
    )


def _rows(batches: Iterator[list[Rows]], forwards: int) -> tuple[list[Rows], MimicitError | None]:
    """Return a step's rows, or why there are none: the others must hear of it, or they wait for ever."""
    try:
        return [rows for _ in range(forwards) for rows in next(batches)], None
    except MimicitError as error:
        return [], error


def _back(
    strategy: Strategy,
    model: torch.nn.Module,
    objective: Objective,
    group: Sequence[Rows],
    *,
    whole: float,
) -> tuple[float, dict[str, float]]:
    """Go there and back with each of the rows; return the step's loss and figures, over all processes."""
    device = strategy.accelerator.device
    sums: dict[str, torch.Tensor] = {"loss": torch.zeros((), device=device)}
    for nth, rows in enumerate(group, start=1):
        is_last = nth == len(group)
        with strategy.share(model, last=is_last):
            part = objective.loss(model, rows.to(device), whole=whole or 1.0)
            strategy.back(model, part.total, last=is_last)
        for name, value in ({"loss": part.total} | part.figures).items():
            sums[name] = sums.get(name, 0.0) + value.detach().float()
    found = strategy.accelerator.reduce(torch.stack(list(sums.values()))).tolist()
    loss, *figures = found
    return loss, dict(zip(list(sums)[1:], figures, strict=True))


def step_seed(seed: int, step: int, process: int) -> int:
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1, np.uint64)[0])
