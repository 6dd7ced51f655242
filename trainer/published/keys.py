"""The names of published tensors, and ours.

Ours are those of the Otter checkpoints as transformers 5 would save them: CLIP without its inner `vision_model.`, and each
layer of the language model wrapped, hence `….layers.3.decoder_layer.…` beside `….layers.3.gated_cross_attn_layer.…`. Each rule
matches only published names, so that a checkpoint of ours passes through unchanged.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from trainer.errors import CheckpointError
from trainer.models.mpt import mosaic_names
from trainer.published.reading import Stored, Weights, some

Rules = tuple[tuple[re.Pattern[str], str], ...]


def _rules(*pairs: tuple[str, str]) -> Rules:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in pairs)


_HOMES = r"(?:transformer\.blocks|model\.layers|gpt_neox\.layers)"
"""Where a language model keeps its layers: MPT and MosaicGPT; LLaMA, what followed it, and Fuyu; GPT-NeoX."""
LAYER = re.compile(rf"(?:^|\.){_HOMES}\.(\d+)\.")
WORDS = re.compile(r"\.(?:wte|embed_tokens|embed_in)\.weight$")
"""The embedding."""

NO_WEIGHTS = re.compile(
    r"embeddings\.position_ids$"  # counted, not learned
    r"|rotary_emb\.inv_freq$"  # computed from the config
    r"|\.attention\.(?:masked_)?bias$"  # GPT-NeoX: a causal mask
    # OpenFlamingo: other names of tensors that are also under their layers'
    r"|^lang_encoder\.(?:gated_cross_attn_layers|old_decoder_blocks)\."
)
"""Buffers and second names of older files, which no model of today has."""

_PEFT = (r"^(lang_encoder\.|)base_model\.model\.", r"\1")
OTTER = _rules(
    _PEFT,
    (r"^vision_encoder\.vision_model\.", "vision_encoder."),
    (r"^perceiver\.layers\.(\d+)\.0\.", r"perceiver.layers.\1."),  # OpenFlamingo
    (r"^perceiver\.layers\.(\d+)\.1\.(?=[013]\.)", r"perceiver.layers.\1.feed_forward."),
    (r"\.gated_cross_attn_layer\.ff\.(?=[013]\.)", ".gated_cross_attn_layer.feed_forward."),
    (r"^lang_encoder\.embed_out\.", "lang_encoder.lm_head."),  # GPT-NeoX before transformers 5
)
LANGUAGE = (
    *_rules((rf"^({_HOMES}\.\d+)\.", r"\1.decoder_layer."), (r"^", "lang_encoder.")),
    *OTTER,
)
"""A causal language model alone, to be an Otter's."""
VISION = _rules((r"^(?:vision_model\.)?", "vision_encoder."))
NOT_VISION = re.compile(r"^(?:text_model\.|text_projection|visual_projection|logit_scale)")
"""What a whole CLIP has that its vision tower has not."""
FUYU = _rules(
    _PEFT,
    (r"^language_model\.lm_head\.", "lm_head."),
    (r"^language_model\.model\.", "model.language_model."),
    (r"^vision_embed_tokens\.", "model.vision_embed_tokens."),
)


def renamed(weights: Mapping[str, Stored], rules: Rules) -> Weights:
    """Return weights under our names, without what no model of today has.

    Raises:
        CheckpointError: two of them get the same name.
    """
    ours: Weights = {}
    for name, stored in weights.items():
        if NO_WEIGHTS.search(name):
            continue
        new = mosaic_names(apply(name, rules))
        if new in ours:
            raise CheckpointError(
                f"{str(stored.file)!r} holds one tensor under two names: {some({stored.name, ours[new].name})}"
            )
        ours[new] = stored
    return ours


def apply(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = pattern.sub(replacement, name, count=1)
    return name


def family(names: Iterable[str]) -> str | None:
    """Tell what a checkpoint is from its published names; None: something else."""
    names = list(names)
    has = _finder(names)
    if has(r"^perceiver\.layers\.\d+\.[01]\."):
        return "openflamingo"
    if has(r"^perceiver\.|\.gated_cross_attn_layer\.|^lang_encoder\."):
        return "otter"
    if has(r"(?:^|\.)vision_embed_tokens\.|^(?:base_model\.model\.)?language_model\.model\."):
        return "fuyu"
    return None


def backbone(names: Iterable[str]) -> str | None:
    """Tell which language model an Otter has from its names: our `model_type`, or None where they do not show it."""
    has = _finder(list(names))
    if has(r"\.mlp\.mlp_up\."):
        return "mosaic_gpt"
    if has(r"\.attn\.Wqkv\."):
        return "mpt"
    if has(r"gpt_neox\.layers\."):
        return "gpt_neox"
    if has(r"model\.layers\.\d+\..*self_attn\.q_proj\."):
        return "llama"
    return None


def _finder(names: list[str]) -> Callable[[str], bool]:
    return lambda pattern: any(re.search(pattern, name) for name in names)
