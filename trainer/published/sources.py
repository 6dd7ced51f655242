"""What a checkpoint is made of, under our names: a whole folder, trained tensors over a base, or OpenFlamingo's three parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainer.errors import CheckpointError
from trainer.published import keys
from trainer.published.reading import Stored, Weights, read_json, some, weights_of
from trainer.published.tokens import folder_with_tokenizer

Family = Literal["otter", "fuyu"]
MODEL_TYPES: dict[str, Family] = {"otter": "otter", "flamingo": "otter", "fuyu": "fuyu"}


@dataclass(frozen=True, slots=True)
class Beside:
    """What else was given."""

    base: Path | None = None
    """Folder of a whole model that a file of trained tensors goes over."""
    vision: Path | None = None
    """Folder of a CLIP."""
    language: Path | None = None
    """Folder of a causal language model."""
    tokenizer: Path | None = None


@dataclass(slots=True)
class Sources:
    where: str
    """The checkpoint, for messages."""
    home: Path
    """Folder of its settings."""
    family: Family
    flamingo: bool
    """Taught by OpenFlamingo: no `<answer>`, other texts."""
    config: Mapping[str, Any]
    """A published config.json, or what would be in it."""
    tokenizer: Path | None
    grows: bool = False
    """Whether its words may be fewer than its tokenizer's: it was not an Otter before."""
    stacks: dict[str, list[Stored]] = field(default_factory=dict)
    """Our names, and the tensors under each; the last is the one that counts."""

    def add(self, weights: Mapping[str, Stored]) -> None:
        for name, stored in weights.items():
            self.stacks.setdefault(name, []).append(stored)

    @property
    def top(self) -> Weights:
        return {name: stack[-1] for name, stack in self.stacks.items()}


def gather(path: Path, beside: Beside) -> Sources:
    """Find the parts of a checkpoint.

    Raises:
        CheckpointError: it is none that is known, a part is missing, or one was given that is not needed.
    """
    if path.is_dir():
        _not_needed(path, beside, "base", "vision", "language")
        return _folder(path, beside.tokenizer)
    weights = weights_of(path)
    found = keys.family(weights)
    if found is None:
        raise CheckpointError(
            f"{str(path)!r} holds tensors of no Otter, OpenFlamingo or Fuyu: {some(weights)}"
        )
    if found == "openflamingo" and not beside.base:
        return _openflamingo(path, weights, beside)
    _not_needed(path, beside, "vision", "language")
    if not beside.base:
        raise CheckpointError(
            f"{str(path)!r} holds what was trained and nothing else; give the folder of the whole model that it was "
            "trained from with --base"
        )
    sources = _folder(beside.base, beside.tokenizer)
    if (found == "fuyu") != (sources.family == "fuyu"):
        raise CheckpointError(
            f"{str(path)!r} is of the family {found}, but the base {str(beside.base)!r} is {sources.family}"
        )
    sources.where = f"{str(path)!r} over {str(beside.base)!r}"
    sources.add(keys.renamed(weights, keys.FUYU if found == "fuyu" else keys.OTTER))
    return sources


def family_of(config: Mapping[str, Any], weights: Weights, where: str) -> Family:
    """Decide by the config's model_type, else by the names of the weights."""
    said = config.get("model_type")
    seen = keys.family(weights)
    family = MODEL_TYPES.get(str(said or seen))
    if family is None:
        raise CheckpointError(
            f"{where} is a checkpoint of the family {said!r}; otter, flamingo and fuyu can be converted"
        )
    if (family == "fuyu") != (seen == "fuyu"):
        raise CheckpointError(
            f"the config of {where} says {said!r}, but its weights are those of {seen or 'another model'}"
        )
    return family


def _folder(path: Path, tokenizer: Path | None) -> Sources:
    if not path.is_dir():
        raise CheckpointError(f"there is no folder {str(path)!r}")
    config = read_json(path / "config.json")
    weights = weights_of(path)
    family = family_of(config, weights, repr(str(path)))
    flamingo = config.get("model_type") == "flamingo"
    sources = Sources(
        where=repr(str(path)),
        home=path,
        family=family,
        flamingo=flamingo,
        config=config,
        tokenizer=folder_with_tokenizer(tokenizer, path),
        grows=flamingo,
    )
    sources.add(keys.renamed(weights, keys.FUYU if family == "fuyu" else keys.OTTER))
    return sources


def _openflamingo(path: Path, weights: Weights, beside: Beside) -> Sources:
    """Put together what OpenFlamingo trained, and the CLIP and the language model that it left as they were."""
    vision, language = beside.vision, beside.language
    if not vision or not language:
        raise CheckpointError(
            f"{str(path)!r} is an OpenFlamingo checkpoint, which holds what was trained and nothing else; give the folder of "
            "its CLIP with --vision and that of its language model with --language"
        )
    vision_config = read_json(vision / "config.json")
    language_config = read_json(language / "config.json")
    sources = Sources(
        where=repr(str(path)),
        home=path.parent,
        family="otter",
        flamingo=True,
        config={
            "model_type": "flamingo",
            "vision_config": vision_config.get("vision_config", vision_config),
            "text_config": language_config,
        },
        tokenizer=folder_with_tokenizer(beside.tokenizer, path.parent, language),
        grows=True,
    )
    towers = {n: s for n, s in weights_of(vision).items() if not keys.NOT_VISION.search(n)}
    sources.add(keys.renamed(towers, keys.VISION))
    sources.add(keys.renamed(weights_of(language), keys.LANGUAGE))
    sources.add(keys.renamed(weights, keys.OTTER))
    return sources


def _not_needed(path: Path, beside: Beside, *names: str) -> None:
    given = [f"--{name}" for name in names if getattr(beside, name)]
    if given:
        raise CheckpointError(
            f"{str(path)!r} has all parts or is no OpenFlamingo checkpoint: leave {' and '.join(given)} away"
        )
