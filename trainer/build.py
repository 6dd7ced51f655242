"""What a run is made of: a processor, a model, and batches, as the recipe wants them."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

import torch
from torch.utils.data import DataLoader

from mimicit.snapshot import Snapshot
from trainer.batch import Batch, collate
from trainer.config import Model, TrainConfig
from trainer.data import Examples, MicroBatches, Plan
from trainer.interrupt import leave_to_parent
from trainer.models.otter import Otter, OtterConfig, OtterProcessor
from trainer.run_folder import RunFolder
from trainer.tokenizer import make_tokenizer


def make_processor(folder: RunFolder, config: Model, snapshot: Snapshot) -> OtterProcessor:
    """Make the tokenizer once, and read it back each time: a resumed run must not depend on training it the same again."""
    if not folder.processor.exists():
        tokenizer = make_tokenizer(config.tokenizer, snapshot, vocab_size=config.vocab_size)
        staged = folder.processor.with_name(".processor")
        OtterProcessor(tokenizer, image_size=config.vision.image_size).save_pretrained(staged)
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


def make_batches(
    config: TrainConfig, snapshot: Snapshot, processor: OtterProcessor, plan: Plan, *, start: int
) -> Iterator[Batch]:
    examples = Examples(
        snapshot,
        processor,
        max_tokens=config.data.max_tokens,
        max_frames=config.model.max_num_frames,
        decode=config.data.decode,
        cache_bytes=config.data.picture_cache_mb << 20,
    )
    return iter(
        DataLoader(
            examples,
            batch_sampler=MicroBatches(plan, start, config.run.steps),
            collate_fn=partial(collate, pad=processor.pad_id),
            num_workers=config.data.workers,
            worker_init_fn=leave_to_parent,
            # Its own, so that starting a loader does not move the random state that a checkpoint restores.
            generator=torch.Generator(),
        )
    )
