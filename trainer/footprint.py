"""What one forward and the way back keep in memory, from a model's shapes: an estimate, which `docs/recipes.md` says the error of.

Autograd keeps what it needs for gradients, so what lies before all that is trained costs nothing, and a frozen map between trained
parts costs its output and not its input. Per token, or vector of a picture:

    linear map     its output (of a gate, twice), and its input where its weight is trained, in the precision of activations
    norm           its input, in float32
    checkpointed   of a layer only what enters it; the largest of them is there in full while it is computed again, and so are its
                   gradients
    vocabulary     of each taught token a logit for each word: in the precision of activations, in float32, and its gradient
    autocast       beside float32 weights, copies in 16 bits of those that autograd goes through

Attention is counted as fused: no scores of all pairs lie in memory.

Letters: D width.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from trainer import trainable
from trainer.models.gated_attention import SeeingLayer
from trainer.models.loss import PIECE


@dataclass(frozen=True, slots=True)
class Shown:
    """What goes through a model at once."""

    tokens: int
    """Padding included."""
    taught: int
    frames: int
    """Pictures, those of clips one by one."""
    media: int
    """Pictures and clips."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes on one device."""

    activations: int
    copies: int
    """Of weights, in 16 bits, for autocast."""
    largest: int
    """Parameters of the largest block: what is whole for a moment where weights are shared out."""


@dataclass(frozen=True, slots=True)
class _Block:
    part: str
    name: str
    module: nn.Module


def footprint(model: nn.Module, shown: Shown, *, half: bool) -> Footprint:
    """Estimate a forward and its way back.

    Args:
        model: With what is trained chosen; on the meta device it is enough.
        shown: To it at once.
        half: Activations are in 16 bits.
    """
    width = 2 if half else 4
    config: Any = model.config
    rows = _Rows(config, shown)
    flows = {"vision": False, "media": False, "text": _trains(model.get_input_embeddings())}  # type: ignore[operator]
    if rows.is_in_text and _trains_part(model, "vision"):
        flows["text"] = True
    kept, copies, recomputed, largest = 0, 0, 0, 0
    blocks = list(_blocks(model))
    for block in blocks:
        stream = {"vision": "vision", "perceiver": "media"}.get(block.part, "text")
        if block.part == "perceiver":
            flows["media"] |= flows["vision"] or _trains_part(model, "perceiver")
        if block.part == "gates":
            flows["text"] |= flows["media"]
        flows[stream] |= _trains(block.module)
        largest = max(largest, sum(weight.numel() for weight in block.module.parameters()))
        if not flows[stream]:
            continue
        inside, enters, cast = _inside(block, rows, width)
        if half:
            copies += cast
        if _is_checkpointed(block.module):
            # What enters it is kept in float32 where the stream is.
            kept += enters * (4 if half else width)
            recomputed = max(recomputed, inside)
        else:
            kept += inside
    head = model.get_output_embeddings()  # type: ignore[operator]
    words = int(sum(weight.numel() for weight in head.parameters())) // int(
        config.get_text_config().hidden_size
    )
    logits = min(shown.taught * words, PIECE)
    kept += logits * ((width if half else 0) + 8) if any(flows.values()) or _trains(head) else 0
    return Footprint(kept + 2 * recomputed, copies, largest)


class _Rows:
    """How many vectors each part of a model works on."""

    def __init__(self, config: Any, shown: Shown) -> None:
        self.tokens = shown.tokens
        vision = getattr(config, "vision_config", None)
        self.is_in_text = vision is None
        """Pictures are among the tokens (Fuyu)."""
        side = 0 if vision is None else vision.image_size // vision.patch_size
        self.patches = shown.frames * (side * side + 1)
        resampler = getattr(config, "perceiver", None) or {}
        other = getattr(config, "perceiver_config", None)
        latents = resampler.get("num_latents", 0) if other is None else other.resampler_n_latents
        self.latents: int = shown.media * latents

    def of(self, block: _Block, name: str) -> int:
        """Return the rows that a map or norm inside a block is given."""
        if block.part == "vision":
            return self.tokens if self.is_in_text else self.patches
        is_of_media = re.search(r"to_kv|norm_media|k_proj|v_proj|context_layer_norm", name)
        if block.part == "perceiver":
            return self.patches + self.latents if is_of_media else self.latents
        return self.latents if block.part == "gates" and is_of_media else self.tokens


def _inside(block: _Block, rows: _Rows, width: int) -> tuple[int, int, int]:
    """Return the bytes that a block keeps, the numbers that enter it, and the bytes of its weights' copies in 16 bits."""
    kept, enters, copies = 0, 0, 0
    for name, part in block.module.named_modules():
        many = rows.of(block, name)
        if isinstance(part, nn.Linear):
            ins = part.in_features if part.weight.requires_grad else 0
            kept += many * (part.out_features + ins) * width
            if name.endswith("gate_proj"):  # what it opens is multiplied: both are kept
                kept += many * part.out_features * width
            if part.weight.element_size() == 4:
                trained = part.weight.requires_grad
                is_lasting = trained or not _is_checkpointed(block.module)
                copies += 2 * part.weight.numel() * is_lasting
        elif "norm" in type(part).__name__.lower():
            size = sum(
                weight.numel() for name, weight in part.named_parameters() if "weight" in name
            )
            kept += many * size * 4
            enters = enters or many * size
    return kept, enters, copies


def _blocks(model: nn.Module) -> Iterator[_Block]:
    """Yield what a model is a stack of, about in the order in which it is gone through."""
    family = trainable.FAMILIES[trainable.family_of(model)]
    found = []
    for name, parent in model.named_modules():
        if not isinstance(parent, nn.ModuleList):
            continue
        for nth, child in enumerate(parent):
            inner = [("", child)]
            if isinstance(child, SeeingLayer):
                inner = [(f".{one}", part) for one, part in child.named_children()]
            for suffix, module in inner:
                whole = f"{name}.{nth}{suffix}."
                part = next((p for p, start in family.items() if re.match(start, whole)), None)
                if part and not isinstance(module, nn.ModuleList):
                    found.append(_Block(part, whole, module))
    order = {"vision": 0, "perceiver": 1}
    if trainable.family_of(model) == "idefics":  # looks stand in a list of their own
        order |= {"gates": 2}
    yield from sorted(found, key=lambda block: order.get(block.part, 3))


def _is_checkpointed(module: nn.Module) -> bool:
    return isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing


def _trains(module: nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())


def _trains_part(model: nn.Module, part: str) -> bool:
    parts = trainable.parts_of(model)
    return any(p == part and model.get_parameter(name).requires_grad for name, p in parts.items())
