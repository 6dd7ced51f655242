"""What a step costs in floating point operations, and how much of a GPU's peak a run gets out of it (MFU).

Only matrix products count, two operations for each multiply-add; norms, activations, softmax and rotations are a few
thousandths of them. The rules, so that figures can be compared:

    frozen weights   a product costs once on the way there, once on the way back for its input, and once for its weight;
                     what needs no gradient is not counted: a frozen vision tower 1 time, a frozen language model below
                     trained gates 2 times, what is trained 3 times, and frozen layers below all that is trained 1 time
    recomputing      what gradient checkpointing computes again is not counted
    padding          nor is padding, nor a picture that only fills a place: a sample has its own tokens and media
    attention        "causal" counts the pairs of tokens that see each other, about half of "full", which counts all pairs of a
                     sample (the convention of most published figures); a token looks at the latents of one medium, "full":
                     at all of its sample's
    output head      counted for the positions that are taught, as `taught_loss` computes it, and so is what our Fuyu's last
                     layer does after its attention; give `taught=None` for the convention that all of a sample's tokens
                     meet the vocabulary

Figures come from a model's own weights, by their shapes and `requires_grad`, so adapters (LoRA) are in them, and every
decoder that keeps its layers in one list is understood. A model on the meta device is enough:

    with torch.device("meta"):
        model = Otter(config)
    step_flops(model, [Sample(tokens=1024, taught=256, media=(1, 1))])

Without norms or embeddings to train, the first trained layer is counted up to one product too much or too little.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from trainer.models.gated_attention import GatedCrossAttention, SeeingLayer

Convention = Literal["causal", "full"]


@dataclass(frozen=True, slots=True)
class Sample:
    tokens: int
    """Without padding; the places of patches and line ends of Fuyu are tokens, too."""
    taught: int | None = None
    """Tokens that are taught; None: all meet the vocabulary."""
    media: tuple[int, ...] = ()
    """Frames of each medium (Otter), or 1 for each picture (Idefics)."""
    patches: int = 0
    """Of all pictures together (Fuyu)."""
    looking: int | None = None
    """Tokens from the first `<image>` on, which see a medium; None: all, where there is one."""


@dataclass(slots=True)
class Flops:
    """Operations by part: vision, perceiver, gates, language, attention (of the language model), head."""

    forward: dict[str, float] = field(default_factory=dict)
    backward: dict[str, float] = field(default_factory=dict)

    @property
    def step(self) -> float:
        """There and back."""
        return sum(self.forward.values()) + sum(self.backward.values())

    def add(self, part: str, there: float, *, back: float) -> None:
        """Count a product; `back` says how many times its cost the way back has."""
        self.forward[part] = self.forward.get(part, 0.0) + there
        self.backward[part] = self.backward.get(part, 0.0) + there * back


def step_flops(
    model: nn.Module, samples: Sequence[Sample], *, attention: Convention = "causal"
) -> Flops:
    """Count one step of Otter, Fuyu, Idefics or a causal language model over samples, packed or not.

    `forward` alone is what a pass without gradients costs.

    Raises:
        ValueError: the model has no list of layers.
    """
    flops = Flops()
    base: Any = model
    if hasattr(base, "get_base_model"):  # below peft's adapters
        base = base.get_base_model()
    layers = _layers(base)
    latents, media_flow = _media(base, samples, flops)
    flows = _trains(base.get_input_embeddings())
    for name, part in base.named_modules():
        if name.endswith("vision_embed_tokens"):
            patches = sum(sample.patches for sample in samples)
            _linear(part, patches, "vision", flops, flows=False)
            flows = flows or _trains(part)

    config = base.config.get_text_config(decoder=True)
    tokens = sum(sample.tokens for sample in samples)
    taught = sum(sample.tokens if sample.taught is None else sample.taught for sample in samples)
    layer: Any
    for index, (look, layer) in enumerate(layers):
        if look is not None:
            flows = _gates(
                look, samples, latents, flops, attention, flows=flows, media_flow=media_flow
            )
        if getattr(layer, "is_last", False):  # our Fuyu's
            flows = flows or _norms_train(layer)
            _linear(layer.self_attn.query_key_value, tokens, "language", flops, flows=flows)
            flows = flows or _trains(layer)
            for part in (layer.self_attn.dense, layer.mlp):
                _linear(part, taught, "language", flops, flows=flows)
        else:
            flows = _products(layer, tokens, "language", flops, flows=flows)
        pairs = sum(_pairs(sample.tokens, _window(config, index), attention) for sample in samples)
        flops.add("attention", 4.0 * pairs * _width(config), back=2.0 * flows)

    head = base.get_output_embeddings()
    of_head = {id(weight) for weight in head.parameters()}
    below = any(w.requires_grad for w in base.parameters() if id(w) not in of_head)
    _linear(head, taught, "head", flops, flows=flows or below)
    return flops


@dataclass(frozen=True, slots=True)
class _Look:
    """Attention over what is not the text itself, in Otter's or in Idefics' names."""

    before: nn.Module
    """What the queries go through first."""
    query: Any
    keys: tuple[nn.Module, ...]
    out: nn.Module
    think: nn.Module
    block: nn.Module
    """All of it."""


def _layers(base: Any) -> list[tuple[_Look | None, nn.Module]]:
    """Return the decoder's layers, each with what looks before it."""
    wrapped = [part for part in base.modules() if isinstance(part, SeeingLayer)]
    if wrapped:
        return [
            (None if gates is None else _otter_look(gates), layer.decoder_layer)
            for layer in wrapped
            for gates in [layer.gated_cross_attn_layer]
        ]
    decoder = getattr(base, "model", None)
    if hasattr(decoder, "gated_cross_attn_layers"):
        assert decoder is not None
        every = base.config.cross_layer_interval
        looks = decoder.gated_cross_attn_layers
        return [
            (_idefics_look(looks[index // every]) if index % every == 0 else None, layer)
            for index, layer in enumerate(decoder.layers)
        ]
    lists = [list(part) for part in base.modules() if isinstance(part, nn.ModuleList)]
    if not lists:
        raise ValueError(f"{type(base).__name__} has no list of layers, so its cost is not known")
    return [(None, layer) for layer in max(lists, key=len)]


def _otter_look(block: GatedCrossAttention) -> _Look:
    attn = block.attn
    return _Look(attn.norm, attn.to_q, (attn.to_kv,), attn.to_out, block.feed_forward, block)


def _idefics_look(block: Any) -> _Look:
    attn = block.cross_attn
    keys = (attn.k_proj, attn.v_proj)
    return _Look(block.input_layernorm, attn.q_proj, keys, attn.o_proj, block.mlp, block)


def _media(base: Any, samples: Sequence[Sample], flops: Flops) -> tuple[int, bool]:
    """Count tower and resampler; return the vectors that a medium becomes, and whether gradients flow out of them."""
    decoder = getattr(base, "model", None)
    tower = getattr(base, "vision_encoder", getattr(decoder, "vision_model", None))
    if tower is None:
        return 0, False
    flows = _vision(tower, samples, flops)
    patches = (tower.config.image_size // tower.config.patch_size) ** 2
    if hasattr(base, "vision_encoder"):
        blocks = [
            _Look(layer.norm_latents, layer.to_q, (layer.to_kv,), layer.to_out, layer.feed_forward, layer)
            for layer in base.perceiver.layers
        ]  # fmt: skip
        seen = [frames * patches for sample in samples for frames in sample.media]
        return _resampler(base.perceiver, blocks, seen, flops, flows=flows)
    if not base.config.use_resampler:
        return patches + 1, flows
    blocks = [
        _Look(attn.latents_layer_norm, attn.q_proj, (attn.k_proj, attn.v_proj), attn.output_proj, think, block)
        for block in decoder.perceiver_resampler.blocks  # type: ignore[union-attr]
        for attn, think in [block]
    ]  # fmt: skip
    seen = [frames * (patches + 1) for sample in samples for frames in sample.media]
    return _resampler(decoder.perceiver_resampler, blocks, seen, flops, flows=flows)  # type: ignore[union-attr]


def _vision(tower: Any, samples: Sequence[Sample], flops: Flops) -> bool:
    """Count a CLIP tower, and say whether gradients flow out of it."""
    config = tower.config
    frames = sum(sum(sample.media) for sample in samples)
    patches = (config.image_size // config.patch_size) ** 2
    flows = False
    for part in tower.modules():
        if isinstance(part, nn.Conv2d):
            there = 2.0 * part.weight.numel() * frames * patches
            flops.add("vision", there, back=float(part.weight.requires_grad))
            flows = _trains(tower.embeddings) or _trains(tower.pre_layrnorm)
    for layer in tower.encoder.layers:
        flows = _products(layer, frames * (patches + 1), "vision", flops, flows=flows)
        pairs = frames * (patches + 1) ** 2
        flops.add("vision", 4.0 * pairs * config.hidden_size, back=2.0 * flows)
    return flows


def _resampler(
    resampler: Any, blocks: Sequence[_Look], seen: Sequence[int], flops: Flops, *, flows: bool
) -> tuple[int, bool]:
    """Count a resampler that is shown so many vectors of each medium; see `_media`."""
    latents = resampler.latents.shape[0]
    rows = len(seen) * latents
    patch_flow, flows = flows, resampler.latents.requires_grad
    for look in blocks:
        flows = flows or _norms_train(look.block)
        _linear(look.query, rows, "perceiver", flops, flows=flows)
        for keys in look.keys:
            _linear(keys, sum(seen) + rows, "perceiver", flops, flows=flows or patch_flow)
        back = _attention_back(
            query=flows or _trains(look.query),
            keys=flows or patch_flow or any(map(_trains, look.keys)),
        )
        pairs = sum(latents * (vectors + latents) for vectors in seen)
        flops.add("perceiver", 4.0 * pairs * look.query.weight.shape[0], back=back)
        flows = flows or patch_flow or _trains(look.block)
        for part in (look.out, look.think):
            _linear(part, rows, "perceiver", flops, flows=flows)
    return latents, flows or _trains(resampler)


def _gates(
    look: _Look,
    samples: Sequence[Sample],
    latents: int,
    flops: Flops,
    attention: Convention,
    *,
    flows: bool,
    media_flow: bool,
) -> bool:
    """Count a gated cross-attention block, and say whether gradients flow out of it."""
    # A text alone meets the feed-forward block, and nothing of the attention.
    seeing = sum(sample.tokens for sample in samples if sample.media)
    media = sum(len(sample.media) for sample in samples)
    flows = flows or _trains(look.before)
    _linear(look.query, seeing, "gates", flops, flows=flows)
    for keys in look.keys:
        _linear(keys, media * latents, "gates", flops, flows=media_flow)
    back = _attention_back(
        query=flows or _trains(look.query), keys=media_flow or any(map(_trains, look.keys))
    )
    pairs = sum(_looks(sample, attention) * latents for sample in samples)
    flops.add("gates", 4.0 * pairs * look.query.weight.shape[0], back=back)
    flows = flows or media_flow or _trains(look.block)
    _linear(look.out, seeing, "gates", flops, flows=flows)
    tokens = sum(sample.tokens for sample in samples)
    return _products(look.think, tokens, "gates", flops, flows=flows)


def _attention_back(*, query: bool, keys: bool) -> float:
    """Return the way back's cost, the two products on the way there being 1: of four, those that a gradient needs."""
    return 0.5 * ((query or keys) + query + 2 * keys)


def _looks(sample: Sample, attention: Convention) -> int:
    if attention == "full":
        return sample.tokens * len(sample.media)
    if not sample.media:
        return 0
    return sample.tokens if sample.looking is None else sample.looking


def _products(block: nn.Module, rows: int, part: str, flops: Flops, *, flows: bool) -> bool:
    """Count all linear maps of a block for so many rows, and say whether gradients flow out of it."""
    flows = flows or _norms_train(block)
    for linear in _linears(block):
        _linear(linear, rows, part, flops, flows=flows)
        flows = flows or _trains(linear)
    return flows


def _linear(block: nn.Module, rows: int, part: str, flops: Flops, *, flows: bool) -> None:
    """Count a linear map for so many rows, with all that is fixed to it (adapters, additional words)."""
    for linear in _linears(block):
        there = 2.0 * linear.weight.numel() * rows
        flops.add(part, there, back=float(flows) + float(linear.weight.requires_grad))


def _pairs(tokens: int, window: int | None, attention: Convention) -> int:
    if attention == "full":
        return tokens * tokens
    if window is None or tokens <= window:
        return tokens * (tokens + 1) // 2
    return window * (window + 1) // 2 + (tokens - window) * window


def _window(config: Any, index: int) -> int | None:
    """Return how many tokens a layer sees, itself included; None: all before it."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and kinds[index] != "sliding_attention":
        return None
    window: int | None = getattr(config, "sliding_window", None)
    return window


def _width(config: Any) -> int:
    """Return the width of all heads' queries together, which need not be the text's (Gemma)."""
    heads = config.num_attention_heads
    return int(heads * (getattr(config, "head_dim", None) or config.hidden_size // heads))


def _linears(block: nn.Module) -> Iterator[nn.Linear]:
    return (part for part in block.modules() if isinstance(part, nn.Linear))


def _norms_train(block: nn.Module) -> bool:
    """Say whether anything but matrices is trained here, which lies before them."""
    linear = {id(weight) for part in _linears(block) for weight in part.parameters()}
    return any(w.requires_grad for w in block.parameters() if id(w) not in linear)


def _trains(part: nn.Module) -> bool:
    return any(weight.requires_grad for weight in part.parameters())


# The peak

PEAKS: tuple[tuple[str, float], ...] = (
    (r"\bB200\b", 2250e12),
    (r"\bGH200\b", 989e12),
    (r"\bH200 NVL\b", 835e12),
    (r"\bH200\b", 989e12),
    (r"\bH100 PCIe\b", 756e12),
    (r"\bH100 NVL\b", 835e12),
    (r"\bH[18]00\b.*\bHBM3\b", 989e12),
    (r"\bA[18]00\b", 312e12),
    (r"\bA40\b", 149.7e12),
    (r"\bA10\b", 125e12),
    (r"\bL40S\b", 362e12),
    (r"\bL4\b", 121e12),
)
"""Dense products of bfloat16 and float16 in FLOP/s, from NVIDIA's data sheets, by the name that PyTorch gives a GPU."""


def peak_flops(device_name: str, dtype: torch.dtype = torch.bfloat16) -> float | None:
    """Return a GPU's peak in FLOP/s, or None where it is not known: a guess would be no measure.

    Only for 16 bits, where the peak does not depend on settings, and for whole GPUs.
    """
    if dtype not in (torch.bfloat16, torch.float16) or "MIG" in device_name:
        return None
    return next((peak for name, peak in PEAKS if re.search(name, device_name)), None)


def mfu(
    flops: float,
    seconds: float,
    *,
    device_name: str,
    dtype: torch.dtype = torch.bfloat16,
    devices: int = 1,
) -> float | None:
    """Return the share of the peak that a run used, from 0 to 1; None where the peak is not known.

    Args:
        flops: Of all devices together.
        seconds: Wall clock from step to step, waiting for data included.
        device_name: As PyTorch gives it.
        dtype: Of the products.
        devices: How many shared the work.
    """
    peak = peak_flops(device_name, dtype)
    return None if peak is None else flops / seconds / peak / devices
