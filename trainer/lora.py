"""Low-rank adapters in the language model (Hu et al. 2021, arXiv 2106.09685), through peft.

    add_adapters ─► train ─► save_adapters   a folder that peft's own PeftModel.from_pretrained reads, parts trained in full included
                          └► merge           a plain model again, that needs no peft

Adapters go into the linear layers of decoder layers and nowhere else: CLIP and Idefics' perceiver also have layers called
`q_proj`, which a search by that name alone would find. The model stays what it is, with its own forward, generate and
save_pretrained; only the adapted layers are wrapped.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mimicit.errors import MissingExtraError, RecipeError
from trainer.config import Lora
from trainer.errors import CheckpointError
from trainer.trainable import family_of, parts_of

if TYPE_CHECKING:
    from peft import LoraConfig

DECODER_LAYERS = {
    "otter": r"lang_encoder\..*\.decoder_layer\.",
    "fuyu": r"(model\.)?language_model\..*layers\.\d+\.",
    "idefics": r"model\.layers\.\d+\.",
}
"""By family: how the names of what may be adapted begin."""

TARGETS = {
    "mpt": ("Wqkv",),
    "mosaic_gpt": ("Wqkv",),
    "gpt_neox": ("query_key_value",),
    "fuyu": ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
}
"""By a language model's `model_type`: what is usually adapted. The output head is not: train `embeddings` in full for that."""
USUAL_TARGETS = ("q_proj", "v_proj")
"""Of LLaMA and all that are built like it: Gemma, Qwen, Mistral, Idefics."""

PEFT_PREFIX = "base_model.model."
WEIGHTS = "adapter_model.safetensors"


def add_adapters(model: nn.Module, config: Lora) -> None:
    """Put adapters into the language model. They change nothing until they are trained.

    Raises:
        RecipeError: the language model has no layer of these names.
        MissingExtraError: peft is not installed.
    """
    targets = usual_targets(model) if config.targets is None else config.targets
    there = linear_names(model)
    if unknown := sorted(set(targets) - there):
        raise RecipeError(
            f"lora.targets names {', '.join(unknown)}, but the decoder layers of this model of type "
            f"{family_of(model)!r} have only {', '.join(sorted(there))}"
        )
    peft = import_peft()
    adapter = peft.LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=pattern(model, targets),
    )
    _inject(model, adapter)


def usual_targets(model: nn.Module) -> tuple[str, ...]:
    family = family_of(model)
    text: Any = model.config.text_config if family == "otter" else model.config  # type: ignore[union-attr]
    return TARGETS.get(text.model_type, USUAL_TARGETS)


def linear_names(model: nn.Module) -> set[str]:
    """Return the last names of the linear layers in decoder layers, such as q_proj."""
    start = DECODER_LAYERS[family_of(model)]
    return {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and re.match(start, name)
        and "gated_cross_attn_layer" not in name
    }


def pattern(model: nn.Module, targets: Sequence[str]) -> str:
    """Return what the whole name of an adapted layer must match."""
    start = DECODER_LAYERS[family_of(model)]
    return rf"{start}(.*\.)?({'|'.join(map(re.escape, targets))})"


def has_adapters(model: nn.Module) -> bool:
    return "lora" in parts_of(model).values()


def save_adapters(model: nn.Module, folder: Path) -> None:
    """Write the adapters, and the parts that were trained in full beside them, as peft does.

    What was trained in full stands in the config as `modules_to_save`, by the modules' full names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    full = modules_trained_in_full(model)
    adapter = model.peft_config["default"]  # type: ignore[index]
    config = import_peft().LoraConfig(
        **{
            key: getattr(adapter, key)
            for key in ("r", "lora_alpha", "lora_dropout", "target_modules")
        },
        modules_to_save=full or None,
        inference_mode=True,
    )
    config.save_pretrained(str(folder))
    weights = {
        # A copy of each, for a tied weight has two names and a file of safetensors knows no such thing.
        PEFT_PREFIX + name.replace(".default.", "."): weight.detach().cpu().clone().contiguous()
        for name, weight in _kept(model, full)
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def load_adapters(model: nn.Module, folder: Path) -> None:
    """Put saved adapters, and what was trained in full beside them, into the model they were trained on.

    Raises:
        CheckpointError: they are of another model.
    """
    config = import_peft().LoraConfig.from_pretrained(str(folder))
    full = config.modules_to_save or []
    config.modules_to_save, config.inference_mode = None, False
    if not any(re.fullmatch(str(config.target_modules), name) for name, _ in model.named_modules()):
        raise CheckpointError(
            f"the adapters in {str(folder)!r} are of another model: it adapts {config.target_modules!r}, "
            f"and a model of type {family_of(model)!r} has no layer of such a name"
        )
    _inject(model, config)
    saved = {
        name.removeprefix(PEFT_PREFIX): weight
        for name, weight in load_file(folder / WEIGHTS).items()
    }
    wanted = {name.replace(".default.", "."): weight for name, weight in _kept(model, full)}
    unlike = sorted(
        name
        for name in saved.keys() | wanted.keys()
        if name not in saved or name not in wanted or saved[name].shape != wanted[name].shape
    )
    if unlike:
        raise CheckpointError(
            f"the adapters in {str(folder)!r} are of another model: {len(unlike)} tensors are missing, "
            f"surplus or of another shape, the first is {unlike[0]!r}"
        )
    with torch.no_grad():
        for name, weight in wanted.items():
            weight.copy_(saved[name])


def merge(model: nn.Module) -> None:
    """Add what the adapters learned to the weights they stand beside, and take them out. The model is a plain one again."""
    tuner = import_peft().tuners.tuners_utils.BaseTunerLayer
    adapted = [(name, part) for name, part in model.named_modules() if isinstance(part, tuner)]
    for name, layer in adapted:
        layer.merge(safe_merge=True)
        model.set_submodule(name, layer.get_base_layer())
    if adapted:
        del model.peft_config


def modules_trained_in_full(model: nn.Module) -> list[str]:
    """Return the names of the largest modules of which every parameter is trained, adapters apart.

    Of a module of which only a part is trained (or only some rows), the whole is named where a parameter is its own.
    """
    chosen = {
        name
        for name, weight in model.named_parameters(remove_duplicate=False)
        if weight.requires_grad and ".lora_" not in name
    }

    def below(module: nn.Module, name: str) -> Iterator[str]:
        inside = [f"{name}.{own}" for own, _ in module.named_parameters()]
        own = [f"{name}.{part}" for part, _ in module.named_parameters(recurse=False)]
        is_list = isinstance(module, nn.ModuleList)  # peft wraps what has a forward
        if inside and not is_list and (chosen.issuperset(inside) or chosen.intersection(own)):
            yield name
            return
        for part, child in module.named_children():
            yield from below(child, f"{name}.{part}" if name else part)

    return sorted(name for part, child in model.named_children() for name in below(child, part))


def import_peft() -> Any:
    try:
        import peft
    except ModuleNotFoundError:
        raise MissingExtraError("peft", "train") from None
    return peft


def _inject(model: nn.Module, config: "LoraConfig") -> None:
    peft = import_peft()
    before = {name: weight.requires_grad for name, weight in model.named_parameters()}
    peft.inject_adapter_in_model(config, model)
    # Adapters learn in float32 also beside weights of half the size.
    peft.tuners.tuners_utils.cast_adapter_dtype(model, "default")
    model.peft_config = {"default": config}  # type: ignore[assignment]
    # peft froze all else; what is trained in full is not its to say.
    for name, weight in model.named_parameters():
        weight.requires_grad_(".lora_" in name or before[name.replace(".base_layer.", ".")])


def _kept(model: nn.Module, full: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Return the adapters, and all parameters and buffers of what was trained in full."""
    starts = tuple(f"{name}." for name in full)
    for name, weight in model.state_dict(keep_vars=True).items():
        if ".lora_" in name or name.startswith(starts):
            yield name, weight
