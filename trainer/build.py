"""What a run is made of: a processor, a model, and batches, as the recipe wants them."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from mimicit.snapshot import Snapshot
from trainer.batch import Batch
from trainer.config import Model, TrainConfig
from trainer.data import Examples, MicroBatches, Plan, Told, laid, or_raise
from trainer.interrupt import leave_to_parent
from trainer.lora import add_adapters
from trainer.models.attention import PACKED
from trainer.models.otter import Otter, OtterConfig
from trainer.models.otter_processor import OtterProcessor
from trainer.packing import batches
from trainer.run_folder import RunFolder
from trainer.tokenizer import make_tokenizer
from trainer.trainable import choose


def make_processor(folder: RunFolder, config: Model, snapshot: Snapshot) -> OtterProcessor:
    """Make the tokenizer once, and read it back each time: a resumed run must not depend on training it the same again."""
    if not folder.processor.exists():
        tokenizer = make_tokenizer(config.tokenizer, snapshot, vocab_size=config.vocab_size)
        staged = folder.processor.with_name(".processor")
        OtterProcessor(
            tokenizer, image_size=config.vision.image_size, max_frames=config.max_num_frames
        ).save_pretrained(staged)
        staged.rename(folder.processor)
    return OtterProcessor.from_pretrained(folder.processor)


def make_model(config: Model, processor: OtterProcessor) -> Otter:
    """Build an Otter with random weights."""
    text = {
        "vocab_size": len(processor.tokenizer),
        "bos_token_id": processor.tokenizer.bos_token_id,
        "eos_token_id": processor.end_id,
        "pad_token_id": processor.pad_id,
    }
    return Otter(
        OtterConfig(
            vision_config=asdict(config.vision),
            text_config=asdict(config.text) | text,
            perceiver=asdict(config.perceiver),
            cross_attention=asdict(config.cross_attention),
            cross_attn_every_n_layers=config.cross_attn_every_n_layers,
            max_num_frames=config.max_num_frames,
            gate_init=config.gate_init,
            image_token_id=processor.image_id,
            answer_token_id=processor.answer_id,
            endofchunk_token_id=processor.end_id,
            pad_token_id=processor.pad_id,
        )
    )


def make_trainable(model: PreTrainedModel, config: TrainConfig) -> None:
    """Add adapters, freeze what the recipe does not train, and save memory on the way back if it wants that."""
    if config.lora.r:
        add_adapters(model, config.lora)
    choose(model, config.trainable.parts)
    if config.run.gradient_checkpointing:
        # The older, reentrant kind drops the gradients of a layer whose input needs none. Against that transformers makes
        # all embeddings' output need one, and autograd would keep what lies among frozen parts.
        model.activation_checkpointing_enable({"use_reentrant": False})
        model.disable_input_require_grads()


def let_pack(model: PreTrainedModel) -> None:
    """Let the language model attend within each sample of a row, as packed rows need it."""
    model.set_attn_implementation({"text_config": PACKED})


def make_batches(
    config: TrainConfig, snapshot: Snapshot, processor: OtterProcessor, plan: Plan, *, start: int
) -> Iterator[list[Batch]]:
    """Make what each of the plan's micro batches is to a model: one padded batch, or packed rows."""
    examples = Examples(
        snapshot,
        processor,
        max_tokens=config.data.max_tokens,
        max_frames=config.model.max_num_frames,
        pictures=config.data.pictures,
        decode=config.data.decode,
        cache_bytes=config.data.picture_cache_mb << 20,
    )
    lay = partial(
        batches,
        pad=processor.pad_id,
        image=processor.image_id,
        max_row_tokens=config.data.max_row_tokens,
    )
    loader = DataLoader(
        Told(examples),
        batch_sampler=MicroBatches(plan, start, config.run.steps),
        collate_fn=partial(laid, lay=lay),
        num_workers=config.data.workers,
        worker_init_fn=leave_to_parent,
        # Its own, so that starting a loader does not move the random state that a checkpoint restores.
        generator=torch.Generator(),
    )
    return or_raise(iter(loader))
