"""A published config.json as ours.

Published ones hold what transformers of their time held, generation settings included, and do not say the sizes of the perceiver
and the cross-attention. What a config class of today knows is kept; the rest of the sizes comes from the weights.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from transformers import CLIPVisionConfig, FuyuConfig, GenerationConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from trainer.errors import CheckpointError
from trainer.models.mpt_config import MptConfig
from trainer.models.otter import OtterConfig
from trainer.published import keys
from trainer.published.reading import Weights
from trainer.published.sizes import Sizes, heads

ARCHITECTURES = {
    "MPTForCausalLM": "mpt",
    "MptForCausalLM": "mpt",
    "MosaicGPT": "mosaic_gpt",
    "LlamaForCausalLM": "llama",
    "LLaMAForCausalLM": "llama",
    "GPTNeoXForCausalLM": "gpt_neox",
}
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_MPT = ("mpt", "mosaic_gpt")
_GENERAL = {field.name for field in fields(PreTrainedConfig)} | {"model_type", "torch_dtype"}
_GENERATION = set(GenerationConfig().to_dict()) - {*_IDS, "use_cache"} | {
    "is_decoder", "is_encoder_decoder", "add_cross_attention", "cross_attention_hidden_size", "pruned_heads",
    "tie_encoder_decoder", "finetuning_task", "tokenizer_class", "prefix", "sep_token_id", "task_specific_params",
    "torchscript", "use_bfloat16", "tf_legacy_loss", "auto_map", "_name_or_path", "_commit_hash",
}  # fmt: skip
"""What transformers of 2023 wrote into every config.json, and no model of today reads there."""


def is_ours(published: Mapping[str, Any]) -> bool:
    """Say whether a config.json is one that our models wrote."""
    return published.get("model_type") == "otter" and published.get("image_token_id") is not None


def otter_config(
    published: Mapping[str, Any],
    ours: Weights,
    sizes: Sizes,
    *,
    overrides: Mapping[str, Mapping[str, int]],
    where: str,
) -> OtterConfig:
    """Turn a published config into ours, sizes from the weights included; special tokens are not known yet.

    Raises:
        CheckpointError: it contradicts the weights, or is of a language model that is not known.
    """
    if is_ours(published):
        return OtterConfig.from_dict(dict(published))
    text = published.get("text_config")
    vision = published.get("vision_config")
    if not isinstance(text, Mapping) or not isinstance(vision, Mapping):
        raise CheckpointError(f"{where} has no text_config and vision_config, so it is no Otter's")
    part_sizes: dict[str, Any] = {}
    shown = {
        "perceiver": (sizes.perceiver_inner, {"depth": sizes.depth, "num_latents": sizes.latents}),
        "cross_attention": (sizes.cross_inner, {}),
    }
    mults = {"perceiver": sizes.perceiver_ff_mult, "cross_attention": sizes.cross_ff_mult}
    for part, (inner, others) in shown.items():
        said = dict(published.get(part) or {}) | dict(overrides.get(part, {}))
        seen = others | {"ff_mult": mults[part]}
        for name, value in seen.items():
            _agree(f"{part}.{name}", said.get(name), value, where)
        part_sizes[part] = seen | heads(part, inner, said)
    every = published.get("cross_attn_every_n_layers")
    _agree("cross_attn_every_n_layers", every, sizes.every, where)
    _agree("max_num_frames", published.get("max_num_frames"), sizes.frames, where)
    return OtterConfig(
        vision_config=kept(vision, CLIPVisionConfig),
        text_config=text_config(_width(text, sizes) | dict(text), ours, where),
        cross_attn_every_n_layers=sizes.every,
        max_num_frames=sizes.frames,
        **part_sizes,
    )


def text_config(published: Mapping[str, Any], ours: Weights, where: str) -> PreTrainedConfig:
    """Turn the config of a published language model into one of today; without weights it is believed.

    Raises:
        CheckpointError: it is not known, has options that are not, or the weights are another's.
    """
    seen = keys.backbone(stored.name for stored in ours.values())
    kind = text_model_type(published) or seen or ""
    if kind not in (*CONFIG_MAPPING, *_MPT):
        raise CheckpointError(
            f"{where} has a language model that is not known: architectures {published.get('architectures')}, "
            f"model_type {published.get('model_type')!r}"
        )
    told_apart = {*_MPT, "gpt_neox"}
    if ours and seen != kind and {seen, kind} & told_apart:
        raise CheckpointError(
            f"{where} says that the language model is {kind}, but the weights are named as {seen or 'something else'}"
        )
    try:
        if kind in _MPT:
            # It refuses by itself what it does not know, so it is told all.
            values: dict[str, Any] = {"model_type": kind}
            return MptConfig(**values, **without(published, _GENERAL | _GENERATION))
        return CONFIG_MAPPING[kind](**kept(published, CONFIG_MAPPING[kind]))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{where} has a text_config of no use: {error}") from error


def text_model_type(published: Mapping[str, Any]) -> str | None:
    """Say which language model a config is of: by its architecture, else its model_type."""
    for name in published.get("architectures") or ():
        if name in ARCHITECTURES:
            return ARCHITECTURES[name]
    said = published.get("model_type")
    return str(said) if said else None


def kept(published: Mapping[str, Any], known_by: type[PreTrainedConfig]) -> dict[str, Any]:
    """Keep what a config class of today knows of an older config.json."""
    names = {field.name for field in fields(known_by)} - _GENERAL
    names |= {*known_by.attribute_map, *_IDS, "tie_word_embeddings", "architectures"}
    # Renamed since, and still taken: how positions turn into angles.
    names |= {"rope_theta", "partial_rotary_factor", "rotary_pct", "rotary_emb_base"}
    found = {name: value for name, value in published.items() if name in names}
    if scaling := published.get("rope_scaling"):
        found["rope_parameters"] = {"rope_type": scaling.get("type"), **scaling} | {
            name: published[name]
            for name in ("rope_theta", "partial_rotary_factor")
            if name in published
        }
    elif found.get("rope_parameters", {}) is None:
        del found["rope_parameters"]
    return found


def without(published: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in published.items() if name not in names}


def fuyu_config(published: Mapping[str, Any], image_token_id: int | None) -> FuyuConfig:
    """Turn a Fuyu's config of any age into today's: the decoder's values were beside the model's before."""
    # Fuyu's own defaults, not Persimmon's; they hold beside a scaling, too.
    angles = {"rope_theta": 25000.0, "partial_rotary_factor": 0.5}
    text = angles | dict(published.get("text_config") or published)
    own: dict[str, Any] = {
        name: published[name]
        for name in ("image_size", "patch_size", "num_channels", "initializer_range", *_IDS)
        if name in published
    }
    if image_token_id is not None:
        own["image_token_id"] = image_token_id
    decoder = CONFIG_MAPPING["persimmon"]
    values = kept(text, decoder)
    defaults = FuyuConfig().text_config
    for field in fields(decoder):
        if field.name not in _GENERAL | {"rope_parameters"}:
            values.setdefault(field.name, getattr(defaults, field.name))
    if "rope_parameters" in values:
        del values["rope_theta"], values["partial_rotary_factor"]
    return FuyuConfig(
        text_config={"model_type": "persimmon"} | values,
        tie_word_embeddings=False,
        **own,
    )


def _width(text: Mapping[str, Any], sizes: Sizes) -> dict[str, int]:
    """Return the width of the text if the config is silent: MosaicGPT's may be."""
    return {} if "hidden_size" in text or "d_model" in text else {"hidden_size": sizes.text_width}


def _agree(name: str, said: object, seen: object, where: str) -> None:
    if said is not None and said != seen:
        raise CheckpointError(f"{where} says {name} = {said}, but the weights show {seen}")
