"""What moves the weights, and how fast."""

import math

import torch
from torch import nn

from trainer.config import Optim
from trainer.trainable import taught_rows


def make_optimizer(model: nn.Module, config: Optim) -> torch.optim.AdamW:
    """Decay the weights of linear maps and convolutions; norms, gates, biases, embeddings and latents keep their size."""
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    seen: set[nn.Parameter] = set()
    # Embeddings first, so that an output layer that shares their weight is not decayed either.
    for module in sorted(model.modules(), key=lambda part: not isinstance(part, nn.Embedding)):
        for parameter in module.parameters(recurse=False):
            if parameter in seen or not parameter.requires_grad:
                continue
            seen.add(parameter)
            is_map = isinstance(module, nn.Linear | nn.Conv2d) and parameter.ndim >= 2
            # Decay would move the rows that are not taught.
            is_map = is_map and taught_rows(parameter) is None
            (decayed if is_map else kept).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": kept, "weight_decay": 0.0},
        ],
        lr=config.lr,
        betas=(config.beta1, config.beta2),
    )


def learning_rate(step: int, *, steps: int, config: Optim) -> float:
    """Rise in a line over the warm-up, then fall along a cosine. Steps are counted from 0."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return config.lr * (config.min_lr_ratio + (1 - config.min_lr_ratio) * fall)
