"""What of a model is trained, and what keeps its weights bit for bit.

A model's parameters fall into parts, each into one: those of `FAMILIES` by name, and `embeddings` (the input embedding and, where
it is not tied to it, the output head) by what the model says they are. `choose` sets what needs a gradient; a part left out is
frozen, and autograd keeps nothing of what lies only among frozen parts. `new_tokens` is of the embeddings only the rows of the
tokens that the family added to its tokenizer.

Letters: V words, D width.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mimicit.errors import RecipeError

FAMILIES: dict[str, dict[str, str]] = {
    "otter": {
        "perceiver": r"perceiver\.",
        "gates": r"lang_encoder\..*\.gated_cross_attn_layer\.",
        "vision": r"vision_encoder\.",
        "language": r"lang_encoder\.",
    },
    "fuyu": {
        "vision": r"(model\.)?vision_embed_tokens\.",
        "language": r"(model\.)?language_model\.",
    },
    "idefics": {
        "perceiver": r"model\.perceiver_resampler\.",
        "gates": r"model\.gated_cross_attn_layers\.",
        "vision": r"model\.vision_model\.",
        "language": r"model\.(layers|norm)\.",
    },
}
"""By a config's `model_type`: how the parameters of each part begin; the first that matches counts."""

NEW_TOKENS = {"otter": ("image_token_id", "answer_token_id", "endofchunk_token_id")}
"""The config's fields that name added tokens. Idefics keeps its own in tables of their own (ADDED)."""
ADDED = re.compile(r".*\.additional_(embedding|fc)\.")

NEVER = re.compile(r"(vision_encoder|model\.vision_model)\.(vision_model\.)?post_layernorm\.")
"""CLIP's last norm: the perceiver takes the patches before it, so it cannot get a gradient and is never trained."""

PUBLISHED = {
    "Otter": ("perceiver", "gates", "embeddings"),
    "OpenFlamingo": ("perceiver", "gates", "new_tokens"),
}
"""Parts that the published weights were trained with."""


def parts_of(model: nn.Module) -> dict[str, str]:
    """Return the part of each parameter, by name: one of FAMILIES', `embeddings`, or `lora` for an adapter."""
    family = FAMILIES[family_of(model)]
    ends = {id(parameter) for end in _ends(model) for parameter in end.parameters()}
    found = {}
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            found[name] = "lora"
        elif id(parameter) in ends:
            found[name] = "embeddings"
        else:
            found[name] = next(part for part, start in family.items() if re.match(start, name))
    return found


def family_of(model: nn.Module) -> str:
    model_type: str = model.config.model_type  # type: ignore[union-attr,assignment]
    if model_type not in FAMILIES:
        raise RecipeError(
            f"there are no parts of a model of type {model_type!r}; known are {', '.join(FAMILIES)}"
        )
    return model_type


def choose(
    model: nn.Module, parts: Sequence[str], *, new_token_ids: Sequence[int] | None = None
) -> None:
    """Let these parts be trained, and adapters where there are any; freeze all else.

    With FSDP call it after `fully_shard`, which makes other parameters of them, and before making the optimizer.

    `new_token_ids` are the rows that `new_tokens` means; None: what the family adds.

    Raises:
        RecipeError: no such part, or the model has none of it.
    """
    rows = ids_of_new_tokens(model) if new_token_ids is None else list(new_token_ids)
    _refuse(model, parts, [*available(model), *(["new_tokens"] if rows else [])])
    for name, part in parts_of(model).items():
        parameter = model.get_parameter(name)
        _forget_rows(parameter)
        is_added = "new_tokens" in parts and ADDED.match(name) is not None
        is_chosen = part == "lora" or part in parts or "all" in parts or is_added
        parameter.requires_grad_(is_chosen and not NEVER.match(name))
    if "new_tokens" in parts and rows:
        for end in _ends(model):
            _teach_rows(end.get_parameter("weight"), rows)


def ids_of_new_tokens(model: nn.Module) -> list[int]:
    """Return the rows of the embeddings that belong to added tokens."""
    config: Any = model.config
    ids = [getattr(config, field) for field in NEW_TOKENS.get(family_of(model), ())]
    return sorted({int(token) for token in ids if token is not None})


def available(model: nn.Module) -> list[str]:
    """Return the parts that a model has, as a recipe may name them."""
    found = parts_of(model)
    has_added = ids_of_new_tokens(model) or any(ADDED.match(name) for name in found)
    parts = [*FAMILIES[family_of(model)], "embeddings"]
    here = [part for part in parts if part in found.values()]
    return [*here, *(["new_tokens"] if has_added else []), "all"]


def _refuse(model: nn.Module, parts: Sequence[str], there: Sequence[str]) -> None:
    if "new_tokens" in parts and {"embeddings", "all"} & set(parts):
        raise RecipeError(
            "trainable.parts names new_tokens beside all embeddings, whose rows they are; name only one of them"
        )
    for part in parts:
        if part not in there:
            raise RecipeError(
                f"trainable.parts names {part!r}, but this model of type {family_of(model)!r} "
                f"has only {', '.join(dict.fromkeys(there))}"
            )


def _ends(model: nn.Module) -> list[nn.Module]:
    """Return where words enter and leave the model; the same weight twice if they are tied."""
    inlet, outlet = model.get_input_embeddings(), model.get_output_embeddings()  # type: ignore[operator]
    return [end for end in (inlet, outlet) if end is not None]


def _teach_rows(weight_VD: nn.Parameter, rows: Sequence[int]) -> None:
    """Let only some rows have a gradient.

    The others' is 0 before anything reads it, so that they do not count in the norm that gradients are clipped by, are not sent
    to other processes, and leave AdamW's averages, and with them the weights, at exactly what they were. That holds only
    without weight decay, so `make_optimizer` does not decay a weight with `taught_rows`.
    """
    if taught_rows(weight_VD) is not None:  # tied, and met before
        return
    if max(rows) >= len(weight_VD):
        raise RecipeError(
            f"trainable.parts names new_tokens, and token {max(rows)} is one, "
            f"but the embeddings have only {len(weight_VD)} rows"
        )
    kept = torch.tensor(sorted(set(rows)))

    def keep_rows(weight: Tensor) -> None:
        assert weight.grad is not None
        grad, first = _own_rows(weight.grad)
        here = kept[(kept >= first) & (kept < first + len(grad))].to(grad.device) - first
        taught = grad[here]
        grad.zero_()[here] = taught

    weight_VD.requires_grad_(True)
    weight_VD.taught_rows = kept  # type: ignore[attr-defined]
    weight_VD.row_hook = weight_VD.register_post_accumulate_grad_hook(keep_rows)  # type: ignore[attr-defined,no-untyped-call]


def _own_rows(grad_VD: Tensor) -> tuple[Tensor, int]:
    """Return the rows that lie on this process, and the number of the first: all, but for a weight sharded by FSDP."""
    if not hasattr(grad_VD, "to_local"):
        return grad_VD, 0
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    sharded: Any = grad_VD
    _, offset = compute_local_shape_and_global_offset(
        sharded.shape, sharded.device_mesh, sharded.placements
    )
    return sharded.to_local(), offset[0]


def _forget_rows(weight: nn.Parameter) -> None:
    if taught_rows(weight) is not None:
        weight.row_hook.remove()  # type: ignore[attr-defined]
        del weight.taught_rows, weight.row_hook  # type: ignore[attr-defined]


def taught_rows(weight: nn.Parameter) -> Tensor | None:
    """Return the rows of a weight that are trained, if only some are."""
    return getattr(weight, "taught_rows", None)


@dataclass(frozen=True, slots=True)
class PartRow:
    """One line of the table of trainable parameters."""

    part: str
    tensors: int
    parameters: int
    trained: int
    """Parameters with a gradient; of `new_tokens` only those of the taught rows."""
    dtype: str
    weight_bytes: int
    training_bytes: int
    """Gradients and AdamW's two averages; whole tensors, also where only some rows are taught."""


def table(model: nn.Module) -> list[PartRow]:
    """Count what each part holds and what training it takes, before anything is sharded; the last row is the whole model."""
    sums: dict[str, list[nn.Parameter]] = {}
    for name, part in parts_of(model).items():
        sums.setdefault(part, []).append(model.get_parameter(name))
    order = ["vision", "perceiver", "gates", "embeddings", "language", "lora"]
    rows = [_row(part, sums[part]) for part in order if part in sums]
    return [*rows, _row("whole", [weight for weights in sums.values() for weight in weights])]


def _row(part: str, weights: Sequence[nn.Parameter]) -> PartRow:
    def count(weight: nn.Parameter) -> int:
        rows = taught_rows(weight)
        return weight.numel() if rows is None else len(rows) * weight[0].numel()

    trained = [weight for weight in weights if weight.requires_grad]
    return PartRow(
        part=part,
        tensors=len(weights),
        parameters=sum(weight.numel() for weight in weights),
        trained=sum(map(count, trained)),
        dtype="+".join(sorted({str(weight.dtype).removeprefix("torch.") for weight in weights})),
        weight_bytes=sum(weight.nbytes for weight in weights),
        training_bytes=sum(3 * weight.nbytes for weight in trained),
    )


def _share(trained: int, parameters: int) -> str:
    return "< 0.1%" if 0 < 1000 * trained < parameters else f"{trained / max(1, parameters):.1%}"


def as_lines(rows: Sequence[PartRow]) -> list[str]:
    """Lay the table out for people, one line a part."""
    cells = [("part", "tensors", "parameters", "trained", "share", "dtype", "weights", "training")]
    cells += [
        (
            row.part,
            f"{row.tensors:,}",
            f"{row.parameters:,}",
            f"{row.trained:,}",
            _share(row.trained, row.parameters),
            row.dtype,
            f"{row.weight_bytes / 2**20:,.1f} MiB",
            f"{row.training_bytes / 2**20:,.1f} MiB",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in cells
    ]
