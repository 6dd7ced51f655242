"""One optimizer update: every process does its rows, and all learn the mean over the whole step."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from trainer.config import TrainConfig
from trainer.errors import NonFiniteLossError
from trainer.objectives import Objective
from trainer.plan import Plan
from trainer.report import StepLog
from trainer.rows import Rows


def train_step(
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: Any,
    batches: Iterator[list[Rows]],
    plan: Plan,
    config: TrainConfig,
    objective: Objective,
    *,
    step: int,
    lr: float,
) -> StepLog:
    """Update the weights once. The loss is a mean over the whole step, however it is cut into forwards and spread over processes.

    Raises:
        NonFiniteLossError: it is NaN or infinite; nothing was updated.
    """
    began = time.perf_counter()
    # What dropout leaves out is a function of the step and the process, so that a resumed run does the same.
    torch.manual_seed(step_seed(config.run.seed, step, accelerator.process_index))
    group = [rows for _ in plan.micro_batches(step) for rows in next(batches)]
    waited = time.perf_counter() - began

    mine = [
        sum(objective.amount(rows) for rows in group),
        sum(rows.taught for rows in group),
        sum(rows.tokens for rows in group),
        sum(rows.pictures for rows in group),
        len(group),
    ]
    counts_W5 = accelerator.gather(
        torch.tensor([mine], device=accelerator.device, dtype=torch.float64)
    )
    amount, taught, tokens, pictures, _ = counts_W5.sum(dim=0).tolist()
    # Devices wait for each other, so each does as many forwards as the one with the most rows.
    fewest = min(group, key=lambda rows: rows.size)
    group += [fewest.untaught()] * (int(counts_W5[:, -1].max()) - len(group))

    loss, figures = _back(accelerator, model, objective, group, whole=amount)
    if not math.isfinite(loss):
        ids = [record_id for rows in group for record_id in rows.record_ids]
        raise NonFiniteLossError(loss, step + 1, ids)

    grad_norm = accelerator.clip_grad_norm_(model.parameters(), config.optim.max_grad_norm)
    for parameters in optimizer.param_groups:
        parameters["lr"] = lr
    if amount:  # else weights would still decay, and go on as they went
        optimizer.step()
    optimizer.zero_grad()

    seconds = time.perf_counter() - began
    return StepLog(
        step=step + 1,
        loss=loss,
        lr=lr,
        grad_norm=float(grad_norm),
        taught=int(taught),
        tokens=int(tokens),
        seconds=seconds,
        waited=waited / seconds,
        pictures=int(pictures),
        figures=figures,
    )


def _back(
    accelerator: Accelerator,
    model: torch.nn.Module,
    objective: Objective,
    group: Sequence[Rows],
    *,
    whole: float,
) -> tuple[float, dict[str, float]]:
    """Go there and back with each of the rows; return the step's loss and figures, over all processes."""
    sums: dict[str, torch.Tensor] = {"loss": torch.zeros((), device=accelerator.device)}
    for nth, rows in enumerate(group, start=1):
        is_last = nth == len(group)
        with nullcontext() if is_last else accelerator.no_sync(model):
            part = objective.loss(model, rows.to(accelerator.device), whole=whole or 1.0)
            # Data parallel averages gradients over the processes; their number makes it a sum.
            accelerator.backward(part.total * accelerator.num_processes)
        for name, value in ({"loss": part.total} | part.figures).items():
            sums[name] = sums.get(name, 0.0) + value.detach().float()
    found = accelerator.reduce(sums)
    loss = float(found.pop("loss"))
    return loss, {name: float(value) for name, value in found.items()}


def step_seed(seed: int, step: int, process: int) -> int:
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1, np.uint64)[0])
