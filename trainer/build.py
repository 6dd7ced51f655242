"""What a run is made of: a processor, a model, and rows of examples, as the recipe wants them."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from trainer.config import TrainConfig
from trainer.data import Examples, Told, laid, or_raise
from trainer.families import Encoder, Family, family
from trainer.interrupt import leave_to_parent
from trainer.loading import load
from trainer.lora import add_adapters
from trainer.model_config import SavedModel
from trainer.plan import MicroBatches, Plan
from trainer.rows import Rows
from trainer.run_folder import RunFolder
from trainer.sources.mix import Mix
from trainer.trainable import choose


def make_parts(folder: RunFolder, config: TrainConfig, mix: Mix) -> tuple[Any, PreTrainedModel]:
    """Make the processor and the model of a run, or take those that it starts from.

    Raises:
        RunFolderError: there is no model to start from.
        RecipeError: it is of a family that is not taught, or not made for what is to be taught.
    """
    described = config.model
    if isinstance(described, SavedModel):
        # A folder is read by its own family, whose name is in it.
        model, saved = load(Path(described.start), device="cpu")
        kind = family(model.config.model_type)
        kind.check(model, saved, f"model.start {described.start!r}", config.data)
        return keep_processor(folder, kind, lambda: saved), model.float()
    kind = family(described.family)
    processor = keep_processor(folder, kind, lambda: kind.make_processor(described, mix.texts))
    return processor, kind.make_model(described, processor)


def keep_processor(folder: RunFolder, kind: Family, make: Callable[[], Any]) -> Any:
    """Make the tokenizer once, and read it back each time: a resumed run must not depend on training it the same again."""
    if not folder.processor.exists():
        staged = folder.processor.with_name(".processor")
        make().save_pretrained(staged)
        staged.rename(folder.processor)
    return kind.read_processor(folder.processor)


def make_trainable(model: PreTrainedModel, config: TrainConfig) -> None:
    """Add adapters, freeze what the recipe does not train, and save memory on the way back if it wants that."""
    if config.data.max_row_tokens:
        family(model.config.model_type).let_pack(model)
    if config.lora.r:
        add_adapters(model, config.lora)
    choose(model, config.trainable.parts)
    if config.run.gradient_checkpointing:
        # The older, reentrant kind drops the gradients of a layer whose input needs none. Against that transformers makes
        # all embeddings' output need one, and autograd would keep what lies among frozen parts.
        model.activation_checkpointing_enable({"use_reentrant": False})
        model.disable_input_require_grads()


def make_encoder(processor: Any, model: PreTrainedModel, config: TrainConfig) -> Encoder:
    return family(model.config.model_type).encoder(processor, model.config, config.data)


def make_batches(
    config: TrainConfig, mix: Mix, encoder: Encoder, plan: Plan, *, start: int
) -> Iterator[list[Rows]]:
    """Make what each of the plan's micro batches is to a model, from step `start` (counted from 0) on."""
    examples = Examples(mix, encoder, cache_bytes=config.data.picture_cache_mb << 20)
    loader = DataLoader(
        Told(examples),
        batch_sampler=MicroBatches(plan, start, config.run.steps),
        collate_fn=partial(laid, encoder=encoder),
        num_workers=config.data.workers,
        worker_init_fn=leave_to_parent,
        # Its own, so that starting a loader does not move the random state of the run.
        generator=torch.Generator(),
    )
    return or_raise(iter(loader))
