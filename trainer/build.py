"""What a run is made of: a processor, a model, and rows of examples, as the recipe wants them."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from trainer import hub
from trainer.config import TrainConfig
from trainer.data import Examples, Laid, Told, laid, or_raise
from trainer.families import Encoder, Family, family
from trainer.loading import load
from trainer.lora import add_adapters
from trainer.model_config import Published, SavedModel
from trainer.plan import MicroBatches, Plan
from trainer.run_folder import RunFolder, whole_folder
from trainer.sources.mix import Mix
from trainer.trainable import choose, parts_of
from trainer.workers import as_sentences, leave_to_parent


def make_parts(folder: RunFolder, config: TrainConfig, mix: Mix) -> tuple[Any, PreTrainedModel]:
    """Make the processor and the model of a run, or take those that it starts from.

    Raises:
        CheckpointError: the model to start from cannot be had from the Hub, or is of the published layout.
        RunFolderError: there is no model in its folder.
        RecipeError: it is of a family that is not taught, or not made for what is to be taught.
    """
    described = config.model
    if isinstance(described, SavedModel):
        # A folder is read by its own family, whose name is in it.
        model, saved = load(hub.saved(described.start), device="cpu")
        kind = family(model.config.model_type)
        kind.check(model, saved, f"model.start {described.start!r}", config.data)
        if config.run.frozen == "float32":
            model.float()
        return keep_processor(folder, kind, lambda: saved), model
    kind = family(described.family)
    processor = keep_processor(folder, kind, lambda: kind.make_processor(described, mix.texts))
    return processor, kind.make_model(described, processor)


def keep_processor(folder: RunFolder, kind: Family, make: Callable[[], Any]) -> Any:
    """Make the tokenizer once, and read it back each time: a resumed run must not depend on training it the same again."""
    if not folder.processor.exists():
        made = make()
        with whole_folder(folder.processor) as staged:
            made.save_pretrained(staged)
    return kind.read_processor(folder.processor)


def make_trainable(model: PreTrainedModel, config: TrainConfig) -> None:
    """Add adapters, freeze what the recipe does not train, and save memory on the way back if it wants that."""
    if config.data.max_row_tokens:
        family(model.config.model_type).let_pack(model)
    if config.lora.r:
        add_adapters(model, config.lora)
    choose(model, config.trainable.parts)
    if config.run.frozen == "bf16":
        # Norms and biases are small, and beside a stream in float32 a norm must be, too.
        for weight in model.parameters():
            is_small = weight.requires_grad or weight.ndim < 2
            weight.data = weight.data.to(torch.float32 if is_small else torch.bfloat16)
    if config.run.gradient_checkpointing:
        # The older, reentrant kind drops the gradients of a layer whose input needs none. Against that transformers makes
        # all embeddings' output need one, and autograd would keep what lies among frozen parts.
        model.activation_checkpointing_enable({"use_reentrant": False})
        model.disable_input_require_grads()


def begun_in_files(model: PreTrainedModel, config: TrainConfig) -> frozenset[str]:
    """Return the frozen parameters that are there again whenever the model is made: those that were read, and nothing was drawn for."""
    described = config.model
    if isinstance(described, SavedModel):
        parts = {"vision", "perceiver", "gates", "embeddings", "language"}
    else:
        read = {"vision": "vision", "text": "language"}  # embeddings grow by words that are drawn
        named = {section: getattr(described, section, None) for section in read}
        parts = {read[section] for section, part in named.items() if isinstance(part, Published)}
    return frozenset(
        name
        for name, part in parts_of(model).items()
        if part in parts and not model.get_parameter(name).requires_grad
    )


def make_encoder(processor: Any, model: PreTrainedModel, config: TrainConfig) -> Encoder:
    return family(model.config.model_type).encoder(
        processor, model.config, config.data, seed=config.run.seed
    )


def make_plan(config: TrainConfig, mix: Mix, accelerator: Accelerator) -> Plan:
    """Make the plan by which this process learns its part of the records."""
    return Plan(
        records=sum(draws for _, draws in mix.shares),
        batch_size=config.run.batch_size,
        micro_batch_size=config.run.micro_batch_size,
        seed=config.run.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        shares=mix.shares,
        lengths=mix.lengths,
    )


def make_batches(
    config: TrainConfig, mix: Mix, encoder: Encoder, plan: Plan, *, start: int
) -> Iterator[Laid]:
    """Make what each of the plan's micro batches is to a model, from step `start` (counted from 0) on.

    Worker processes begin at once. What is returned may be gone through by another thread.
    """
    # A tokenizer is set before each text to take special tokens for text or not, so a thread needs one of its own.
    if not config.data.workers:
        encoder = deepcopy(encoder)
    examples = Examples(mix, encoder, cache_bytes=config.data.picture_cache_mb << 20)
    loader = DataLoader(
        Told(examples, skips=config.data.skip_bad > 0),
        batch_sampler=MicroBatches(plan, start, config.run.steps),
        collate_fn=partial(laid, encoder=encoder, by_group=config.data.loss_mean == "groups"),
        num_workers=config.data.workers,
        worker_init_fn=leave_to_parent,
        timeout=config.data.worker_timeout if config.data.workers else 0,
        # Its own, so that starting a loader does not move the random state of the run.
        generator=torch.Generator(),
    )
    return or_raise(as_sentences(iter(loader), config.data))
