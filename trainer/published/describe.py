"""What a checkpoint is, told from its files without converting it."""

from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from trainer.errors import CheckpointError
from trainer.published import keys
from trainer.published.assemble import Overrides, assemble
from trainer.published.reading import Weights, weights_of
from trainer.published.sizes import Sizes, sizes_of
from trainer.published.sources import Beside


@dataclass(frozen=True, slots=True)
class Description:
    path: str
    family: str
    """otter, openflamingo (its file of trained tensors), fuyu."""
    backbone: str | None
    files: int
    tensors: int
    parameters: int
    bytes: int
    dtypes: dict[str, int]
    """Tensors of each."""
    layers: int
    """Of the language model, as far as they are here."""
    words: int | None
    """Rows of the embedding."""
    adapters: int
    """Weights that LoRA adapts."""
    sizes: Sizes | None
    """Of an Otter."""
    complete: bool
    """It can be converted, with the folders that were given."""
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str | None = None
    """Why what is missing cannot be told, or what else stands in the way."""


def describe(path: Path, beside: Beside, overrides: Overrides | None = None) -> Description:
    """Say what a checkpoint is.

    Raises:
        CheckpointError: its files cannot be read, or are of no model that is known.
    """
    weights = weights_of(path)
    found = keys.family(weights)
    if found is None:
        raise CheckpointError(f"{str(path)!r} holds no Otter, OpenFlamingo or Fuyu")
    plain = _outline(path, found, weights)
    try:
        made = assemble(path, beside, overrides or {})
    except CheckpointError as error:
        return Description(**plain, complete=False, problem=str(error))
    fits = made.fit
    problem = None
    if made.tokenizer is None:
        problem = "it comes without a tokenizer: give the folder of its own with --tokenizer"
    return Description(
        **plain | {"backbone": made.config.text_config.model_type},
        complete=not (fits.missing or fits.unknown or fits.misshapen or problem),
        missing=fits.missing,
        unknown=fits.unknown,
        misshapen=fits.misshapen,
        notes=made.notes,
        problem=problem,
    )


def _outline(path: Path, family: str, weights: Weights) -> dict[str, Any]:
    """Return what shows without a config."""
    ours = keys.renamed(weights, keys.FUYU if family == "fuyu" else keys.OTTER)
    layers = {int(match[1]) for name in weights if (match := keys.LAYER.search(name))}
    words = [s.shape[0] for name, s in ours.items() if keys.WORDS.search(name) and s.shape]
    return {
        "path": str(path),
        "family": family,
        "backbone": keys.backbone(weights),
        "files": len({stored.file for stored in weights.values()}),
        "tensors": len(weights),
        "parameters": sum(prod(stored.shape) for stored in weights.values()),
        "bytes": sum(prod(stored.shape) * stored.dtype.itemsize for stored in weights.values()),
        "dtypes": dict(
            Counter(str(stored.dtype).removeprefix("torch.") for stored in weights.values())
        ),
        "layers": max(layers, default=-1) + 1,
        "words": max(words, default=None),
        "adapters": sum(".lora_A." in name for name in weights),
        "sizes": _sizes(ours) if family != "fuyu" else None,
    }


def _sizes(ours: Weights) -> Sizes | None:
    """Return the sizes, if all tensors that they show in are here."""
    try:
        return sizes_of(ours, "")
    except CheckpointError:
        return None
