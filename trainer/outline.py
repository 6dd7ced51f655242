"""A run's model before there is any: on the meta device, all shapes and no weights, made from a recipe alone.

The same code builds it that builds the model, so nothing is counted twice in two ways. What cannot be known yet is taken at its most:
a tokenizer that is to be trained has as many words as it may have.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import PreTrainedModel

from trainer import hub
from trainer.build import make_trainable
from trainer.config import TrainConfig
from trainer.errors import CheckpointError
from trainer.families import family
from trainer.families.saved import need_room
from trainer.loading import FAMILIES, model_folder
from trainer.model_config import Model, Published, SavedModel
from trainer.quiet import quiet


def outline(config: TrainConfig) -> PreTrainedModel:
    """Return the model that a recipe trains, frozen and adapted as it says, on the meta device.

    Raises:
        MimicitError: a model to start from is not there, or not what the recipe needs.
    """
    with quiet(), torch.device("meta"):
        model = _bare(config)
        make_trainable(model, config)
    if here := starts(config):
        need_room(model, config.data, here)
    return model


def starts(config: TrainConfig) -> str | None:
    """Name what says of itself how long a text it reads; None: the recipe says it, and has been checked."""
    described = config.model
    if isinstance(described, SavedModel):
        return f"model.start {described.start!r}"
    text = getattr(described, "text", None)
    return f"model.text.start {text.start!r}" if isinstance(text, Published) else None


def _bare(config: TrainConfig) -> PreTrainedModel:
    described = config.model
    if isinstance(described, SavedModel):
        return _saved(described.start)
    kind = family(described.family)
    made: Any
    if isinstance(described, Model) and isinstance(described.text, Published):
        made = _Words()  # a published language model has room for more
    else:
        with torch.device("cpu"):
            made = kind.make_processor(described, lambda: _texts(described.vocab_size))
    return kind.make_model(described, made)


def _saved(start: str) -> PreTrainedModel:
    at = start if hub.is_name(start) else str(model_folder(Path(start).expanduser()))
    values = hub.config_of(at)
    kind = values.get("model_type")
    if kind not in FAMILIES:
        raise CheckpointError(
            f"model.start {start!r} is of the family {kind!r}; families are {', '.join(FAMILIES)}"
        )
    model_class, _ = FAMILIES[kind].classes()
    try:
        made: PreTrainedModel = model_class(model_class.config_class.from_dict(dict(values)))
    except Exception as error:  # values of wrong types raise whatever they meet
        said = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"the config of model.start {start!r} is of no use: {said}"
        ) from error
    return made


def _texts(words: int) -> Iterator[str]:
    """Yield texts of which a tokenizer learns as many words as it may."""
    draw = random.Random(0)
    for _ in range(words):
        yield " ".join("".join(draw.choices("abcdefghijklmnop", k=4)) for _ in range(8))


class _Words(SimpleNamespace):
    """Stands where a processor is asked for its tokenizer's ids: it has none yet."""

    @property
    def tokenizer(self) -> "_Words":
        return self

    def __len__(self) -> int:
        return 0

    def __getattr__(self, name: str) -> int:
        if name.endswith("_id"):
            return 0
        raise AttributeError(name)
