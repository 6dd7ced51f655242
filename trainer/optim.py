"""What moves the weights, and how fast."""

import math
import re
from dataclasses import replace

import torch
from torch import nn

from trainer.config import Optim, Run
from trainer.trainable import taught_rows

PUBLISHED = re.compile(r"gated_cross_attn_layer(?!.*(ff_gate|attn_gate|norm|bias))")
"""Names of what the published code decayed: so in Otter the norm before a feed-forward, too, and in Idefics the gates; of Fuyu nothing."""


def make_optimizer(model: nn.Module, config: Optim) -> torch.optim.AdamW:
    """Decay what `optim.decay` says; norms, gates, biases, embeddings and latents keep their size."""
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    seen: set[nn.Parameter] = set()
    names = {parameter: name for name, parameter in model.named_parameters()}
    # Embeddings first, so that an output layer that shares their weight is not decayed either.
    for module in sorted(model.modules(), key=lambda part: not isinstance(part, nn.Embedding)):
        for parameter in module.parameters(recurse=False):
            if parameter in seen or not parameter.requires_grad:
                continue
            seen.add(parameter)
            if config.decay == "published":
                decays = PUBLISHED.search(names[parameter]) is not None
            else:
                is_map = isinstance(module, nn.Linear | nn.Conv2d) and parameter.ndim >= 2
                # Decay would move the rows that are not taught.
                decays = is_map and taught_rows(parameter) is None
            (decayed if decays else kept).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": kept, "weight_decay": 0.0},
        ],
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        # One pass over each weight, where PyTorch would make a dozen.
        fused=True,
    )


def learning_rate(step: int, *, steps: int, config: Optim) -> float:
    """Rise in a line over the warm-up, then fall to min_lr_ratio of the highest, or stay there. Steps are counted from 0."""
    warmup = config.warmup_steps or math.ceil(config.warmup_ratio * steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    left = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
    return config.lr * (config.min_lr_ratio + (1 - config.min_lr_ratio) * left[config.schedule])


def with_steps(run: Run, steps_per_epoch: int) -> Run:
    """Return the settings of a run with the steps that its epochs take; unchanged where it counts in steps."""
    if run.epochs is None:
        return run
    return replace(run, steps=max(1, round(run.epochs * steps_per_epoch)), epochs=None)
