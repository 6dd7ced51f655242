"""What a run is made of: a processor, a model, and batches, as the recipe wants them."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from mimicit.errors import RecipeError
from mimicit.snapshot import Snapshot
from trainer.batch import Batch
from trainer.config import Model, SavedModel, Text, TrainConfig
from trainer.data import Examples, MicroBatches, Plan, Told, laid, or_raise
from trainer.interrupt import leave_to_parent
from trainer.loading import load
from trainer.lora import add_adapters
from trainer.models.attention import PACKED
from trainer.models.otter import Otter, OtterConfig
from trainer.models.otter_processor import OtterProcessor
from trainer.packing import batches
from trainer.run_folder import RunFolder
from trainer.tokenizer import make_tokenizer
from trainer.trainable import choose


def make_parts(
    folder: RunFolder, config: TrainConfig, snapshot: Snapshot
) -> tuple[OtterProcessor, Otter]:
    """Make the processor and the model of a run, or take those that it starts from."""
    described = config.model
    if isinstance(described, SavedModel):
        saved, model = load_saved(described, max_tokens=config.data.max_tokens)
        return keep_processor(folder, lambda: saved), model
    processor = keep_processor(folder, lambda: make_processor(described, snapshot))
    return processor, make_model(described, processor)


def keep_processor(folder: RunFolder, make: Callable[[], OtterProcessor]) -> OtterProcessor:
    """Make the tokenizer once, and read it back each time: a resumed run must not depend on training it the same again."""
    if not folder.processor.exists():
        staged = folder.processor.with_name(".processor")
        make().save_pretrained(staged)
        staged.rename(folder.processor)
    processor: OtterProcessor = OtterProcessor.from_pretrained(
        folder.processor, trust_remote_code=False
    )
    return processor


def make_processor(config: Model, snapshot: Snapshot) -> OtterProcessor:
    tokenizer = make_tokenizer(config.tokenizer, snapshot, vocab_size=config.vocab_size)
    size = config.vision.image_size
    return OtterProcessor(tokenizer, image_size=size, max_frames=config.max_num_frames)


def load_saved(config: SavedModel, *, max_tokens: int) -> tuple[OtterProcessor, Otter]:
    """Read the Otter that a run starts from, in float32.

    Raises:
        RunFolderError: there is none in the folder.
        RecipeError: it is of another kind, or not made for what is to be taught.
    """
    model, processor = load(Path(config.start), device="cpu")
    here = f"model.start {config.start!r}"
    if not isinstance(model, Otter):
        raise RecipeError(
            f"{here} is of the family {model.config.model_type!r}, but `syphus train` teaches models of the family 'otter'"
        )
    if processor.layout != "otter":
        raise RecipeError(
            f"{here} is an OpenFlamingo, whose texts have no mark where an answer begins; `syphus train` teaches Otter's"
        )
    words, rows = len(processor.tokenizer), model.get_input_embeddings().num_embeddings
    if words > rows:
        raise RecipeError(
            f"{here} has a tokenizer of {words:,} tokens, but embeddings of {rows:,}; "
            "call model.resize_token_embeddings(…) and save it again"
        )
    for name in ("image", "answer", "end"):
        field = f"{'endofchunk' if name == 'end' else name}_token_id"
        theirs, ours = getattr(processor, f"{name}_id"), getattr(model.config, field)
        if theirs != ours:
            raise RecipeError(
                f"{here} has a tokenizer of another model: {field} is {ours} in its config, but {theirs} in the tokenizer"
            )
    size = model.config.vision_config.image_size
    if processor.image_size != size:
        raise RecipeError(
            f"{here} prepares pictures of {processor.image_size} pixels, but its vision tower takes {size}"
        )
    room = getattr(model.config.text_config, "max_position_embeddings", max_tokens)
    if max_tokens > room:
        raise RecipeError(
            f"data.max_tokens is {max_tokens}, but the language model of {here} has only room for {room}"
        )
    return processor, model.float()  # type: ignore[no-untyped-call]


def make_model(config: Model, processor: OtterProcessor) -> Otter:
    """Build an Otter with random weights."""
    special = {
        "vocab_size": len(processor.tokenizer),
        "bos_token_id": processor.tokenizer.bos_token_id,
        "eos_token_id": processor.end_id,
        "pad_token_id": processor.pad_id,
    }
    return Otter(
        OtterConfig(
            vision_config=asdict(config.vision),
            text_config=text_values(config.text) | special,
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


def text_values(config: Text) -> dict[str, Any]:
    """Return what transformers takes as the config of a language model."""
    values = {name: value for name, value in asdict(config).items() if value is not None}
    heads = config.num_attention_heads
    if config.model_type == "mpt":
        return {
            "model_type": "mpt",
            "d_model": config.hidden_size,
            "n_heads": heads,
            "n_layers": config.num_hidden_layers,
            "max_seq_len": config.max_position_embeddings,
            "expansion_ratio": config.intermediate_size // config.hidden_size,
            "attn_config": {"attn_type": "grouped_query_attention", "kv_n_heads": config.kv_heads}
            if config.kv_heads != heads
            else {},
            "init_config": {"name": "baseline_", "init_std": config.initializer_range},
        }
    if config.model_type == "gpt_neox":
        return {
            name: value
            for name, value in values.items()
            if name not in ("num_key_value_heads", "head_dim")
        }
    # Some families have defaults of their own for these, made for one size.
    head_dim = config.head_dim or config.hidden_size // heads
    values |= {"num_key_value_heads": config.kv_heads, "head_dim": head_dim}
    if config.model_type == "gemma3_text":
        values["query_pre_attn_scalar"] = head_dim
    return values


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
    config: TrainConfig,
    snapshot: Snapshot,
    processor: OtterProcessor,
    plan: Plan,
    *,
    max_frames: int | None,
    start: int,
) -> Iterator[list[Batch]]:
    """Make what each of the plan's micro batches is to a model: one padded batch, or packed rows.

    `max_frames` are those that the model takes of one medium; None: any number. `start` is the step to begin with, from 0.
    """
    examples = Examples(
        snapshot,
        processor,
        max_tokens=config.data.max_tokens,
        max_frames=max_frames,
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
