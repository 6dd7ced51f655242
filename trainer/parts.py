"""An Otter put together from published parts, as OpenFlamingo was: a CLIP, a causal language model, and fresh weights between them.

    [model.vision]                              [model.text]
    start = "openai/clip-vit-large-patch14"     start = "mosaicml/mpt-7b"
         │                                           │
         ▼ vision_encoder     perceiver, gates: new  ▼ lang_encoder; words that the tokenizer adds begin as the mean of all words

The parts' weights are read by name, one tensor at a time; a missing, unknown or misshapen one is named. MPT and MosaicGPT become
our own class; nothing that lies beside weights is run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPVisionConfig, PreTrainedConfig

from trainer import hub
from trainer.model_config import Model, Published
from trainer.models.gated_attention import GatedCrossAttention
from trainer.models.otter import Otter
from trainer.models.perceiver import PerceiverResampler
from trainer.published import keys
from trainer.published.configs import kept, text_config
from trainer.published.planning import Target, fit, plan
from trainer.published.reading import Reader, weights_of
from trainer.published.sources import Sources


def has_parts(described: Model) -> bool:
    return isinstance(described.vision, Published) or isinstance(described.text, Published)


def vision_of(part: Published) -> CLIPVisionConfig:
    """Return the config of a CLIP's vision tower, of a whole CLIP's, too.

    Raises:
        CheckpointError: there is no such model.
    """
    values = _config(part)
    inner: Any = values.get("vision_config", values)
    return CLIPVisionConfig(**kept(inner, CLIPVisionConfig))


def text_of(part: Published, *, words: int) -> PreTrainedConfig:
    """Return the config of a language model with room for a tokenizer of so many words.

    Raises:
        CheckpointError: there is no such model, or it is of a kind that is not known.
    """
    config = text_config(_config(part), {}, f"model.text.start {part.start!r}")
    config.vocab_size = max(words, config.vocab_size)
    return config


def image_size(described: Model) -> int:
    """Return how many pixels the sides of a picture have."""
    vision = described.vision
    size: Any = (vision_of(vision) if isinstance(vision, Published) else vision).image_size
    return int(size)


def fill(model: Otter, described: Model) -> None:
    """Read the published parts' weights into a model, and give the rest fresh ones.

    Raises:
        CheckpointError: a part does not fit the model, or is damaged.
    """
    vision, text = described.vision, described.text
    if isinstance(vision, Published):
        found = weights_of(hub.local(vision.start))
        towers = {name: s for name, s in found.items() if not keys.NOT_VISION.search(name)}
        _read(model, "vision", vision.start, keys.renamed(towers, keys.VISION))
    if isinstance(text, Published):
        found = weights_of(hub.local(text.start))
        _read(model, "text", text.start, keys.renamed(found, keys.LANGUAGE))
    for part in model.modules():
        if isinstance(part, PerceiverResampler | GatedCrossAttention):
            part.reset_parameters()
    model.tie_weights()  # made without fresh weights, it was not yet


def _config(part: Published) -> Mapping[str, Any]:
    return hub.config_of(part.start)


def _read(model: Otter, part: str, start: str, weights: Mapping[str, Any]) -> None:
    where = f"model.{part}.start {start!r}"
    prefix = "vision_encoder." if part == "vision" else "lang_encoder."
    whole = Target.of(model)
    mine = {
        name: shape
        for name, shape in whole.shapes.items()
        if name.startswith(prefix) and ".gated_cross_attn_layer." not in name
    }
    target = Target(mine, whole.tied, whole.word_tables)
    # It grows: its words may be fewer than the tokenizer's.
    sources = Sources(where, Path(start), "otter", False, {}, None, grows=True)
    sources.add(weights)
    fit(sources, {}, target).check(where)
    reader, state = Reader(), model.state_dict()
    with torch.no_grad():
        for planned in plan(sources, {}, target, dtype=torch.float32):
            state[planned.name].copy_(planned.make(reader))
    reader.close()
