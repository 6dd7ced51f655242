"""A checkpoint and the model that it is to be, before any tensor is read.

gather ─► take_adapters ─► sizes, config, tokenizer ─► the model on the meta device ─► fit
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from mimicit.inline import short
from trainer.errors import CheckpointError
from trainer.models.fuyu import Fuyu
from trainer.models.otter import Otter
from trainer.published import configs, keys
from trainer.published.lora import Adapter, take_adapters
from trainer.published.planning import Fit, Target, fit
from trainer.published.sizes import sizes_of
from trainer.published.sources import Beside, Sources, gather
from trainer.published.tokens import SpecialIds, load_otter_tokenizer, load_tokenizer
from trainer.quiet import quiet

SPEAKER = "|SPEAKER|"
"""Fuyu's placeholder for a patch."""
Overrides = Mapping[str, Mapping[str, int]]
"""Sizes that no file says: {"perceiver": {"heads": 8}}."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """A checkpoint and the model that it is to be."""

    sources: Sources
    adapters: dict[str, Adapter]
    config: Any
    tokenizer: PreTrainedTokenizerBase | None
    """None where there is none: then it can be looked at, and not be converted."""
    kind: Any
    """Otter or Fuyu, the class."""
    target: Target
    notes: tuple[str, ...]

    @property
    def fit(self) -> Fit:
        return fit(self.sources, self.adapters, self.target)


def assemble(source: Path, beside: Beside, overrides: Overrides) -> Assembled:
    """Find out what a checkpoint is to be, without reading a tensor.

    Raises:
        CheckpointError: that cannot be told.
    """
    return assemble_sources(gather(source, beside), overrides)


def assemble_sources(sources: Sources, overrides: Overrides) -> Assembled:
    """Find out what gathered parts are to be; see `assemble`."""
    try:
        settings = dict(sources.config.get("lora_config") or {}) | dict(
            overrides.get("lora_config", {})
        )
        adapters = take_adapters(sources, settings)
        if sources.family == "fuyu":
            return _fuyu(sources, adapters)
        return _otter(sources, adapters, overrides)
    except CheckpointError:
        raise
    except (
        Exception
    ) as error:  # a value of another type can come to light in any layer that is made
        said = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(
            f"{sources.where} has a config of no use: {short(said, 300)}"
        ) from error


def _otter(sources: Sources, adapters: dict[str, Adapter], overrides: Overrides) -> Assembled:
    top = sources.top
    sizes = sizes_of(top, sources.where)
    config = configs.otter_config(
        sources.config, top, sizes, overrides=overrides, where=sources.where
    )
    tokenizer, ids = None, None
    if sources.tokenizer:
        tokenizer, ids = load_otter_tokenizer(sources.tokenizer)
    rows, notes = _rows(sources, config, ids)
    config.text_config.vocab_size = rows
    if ids:
        ids.check(rows, str(sources.tokenizer))
        config.image_token_id = ids.image
        config.answer_token_id = ids.answer
        config.endofchunk_token_id = ids.endofchunk
        config.pad_token_id = ids.pad
    _check_layers(sources, config.text_config, "lang_encoder")
    _check_layers(sources, config.vision_config, "vision_encoder")
    if config.perceiver["depth"] > sizes.depth:
        raise CheckpointError(
            f"{sources.where} says perceiver.depth = {config.perceiver['depth']:,}, but the weights show {sizes.depth}"
        )
    return Assembled(
        sources, adapters, config, tokenizer, Otter, _target(Otter, config), tuple(notes)
    )


def _fuyu(sources: Sources, adapters: dict[str, Adapter]) -> Assembled:
    where = str(sources.tokenizer)
    tokenizer = load_tokenizer(sources.tokenizer) if sources.tokenizer else None
    words = tokenizer.get_vocab() if tokenizer else {}
    if tokenizer and SPEAKER not in words:
        raise CheckpointError(
            f"the tokenizer {where!r} has no {SPEAKER!r}, so it is no Fuyu's; give the checkpoint's own with --tokenizer"
        )
    config: Any = configs.fuyu_config(sources.config, words.get(SPEAKER))
    rows = config.text_config.vocab_size
    if beyond := [id for id in words.values() if id >= rows]:
        raise CheckpointError(
            f"the tokenizer {where!r} does not belong to these weights: it has the id {max(beyond)}, but there are "
            f"embeddings for {rows:,} ids; give the checkpoint's own with --tokenizer"
        )
    _check_layers(sources, config.text_config, "model")
    return Assembled(sources, adapters, config, tokenizer, Fuyu, _target(Fuyu, config), ())


def _check_layers(sources: Sources, config: Any, part: str) -> None:
    """Refuse more layers than there are weights for, before the time and memory go into making them."""
    layers = re.compile(rf"^{part}\.(?:\w+\.)*?(?:layers|blocks)\.(\d+)\.")
    seen = max((int(m[1]) + 1 for name in sources.stacks if (m := layers.match(name))), default=0)
    if config.num_hidden_layers > seen:
        raise CheckpointError(
            f"{sources.where} says in its config that {part} has {config.num_hidden_layers:,} layers, but the weights have {seen:,}"
        )


def _rows(sources: Sources, config: Any, ids: SpecialIds | None) -> tuple[int, list[str]]:
    """Return how many words the model is to know, and what there is to say about it."""
    tables = [
        stored
        for name, stack in sources.stacks.items()
        if keys.WORDS.search(name) or name == "lang_encoder.lm_head.weight"
        for stored in stack
        if stored.shape
    ]
    rows = max((table.shape[0] for table in tables), default=config.text_config.vocab_size)
    notes = []
    highest = max(ids.image, ids.answer, ids.endofchunk, ids.pad) if ids else 0
    if sources.grows and highest >= rows:
        new = highest + 1 - rows
        notes.append(
            f"{new} {'word was' if new == 1 else 'words were'} added to the {rows:,} that there are; each begins as the mean of all words"
        )
        rows = highest + 1
    said = config.text_config.vocab_size
    if said != rows and not sources.grows:
        notes.append(
            f"the config says {said:,} words, the weights have {rows:,}: taken from the weights"
        )
    return rows, notes


def _target(kind: Any, config: Any) -> Target:
    with quiet(), torch.device("meta"):
        return Target.of(kind(config))
