"""LoRA adapters inside a checkpoint, merged into the weights that they adapt.

W' = W + alpha/r · B·A (Hu et al., 2021, https://arxiv.org/abs/2106.09685, §4.1), with A (r, in) and B (out, r).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trainer.errors import CheckpointError
from trainer.published.reading import Reader, Stored, some
from trainer.published.sources import Sources

_ADAPTER = re.compile(r"^(?P<module>.+)\.lora_(?P<side>[AB])(?:\.\w+)?\.weight$")
_OTHER = re.compile(r"\.lora_|\.modules_to_save\.|\.original_module\.|\.ia3_")


@dataclass(frozen=True, slots=True)
class Adapter:
    a: Stored
    b: Stored
    scale: float
    """alpha / r."""

    def merged(self, reader: Reader, weight: Tensor) -> Tensor:
        """Return the adapted weight, added up in float32."""
        # Each is let go before the next file is opened.
        b, a = reader.tensor(self.b).float(), reader.tensor(self.a).float()
        return weight.float().addmm(b, a, alpha=self.scale)


def take_adapters(sources: Sources, settings: Mapping[str, Any] | None) -> dict[str, Adapter]:
    """Take the adapters out of what a checkpoint holds, and return them by the weight that each adapts.

    Args:
        sources: Left with the weights alone, under the names that they have without adapters.
        settings: `r` and `lora_alpha`: a config's lora_config.

    Raises:
        CheckpointError: they are of a kind that cannot be merged, incomplete, or not those that the config describes.
    """
    pairs: dict[str, dict[str, Stored]] = {}
    for name in list(sources.stacks):
        if match := _ADAPTER.match(name):
            pairs.setdefault(match["module"], {})[match["side"]] = sources.stacks.pop(name)[-1]
    if odd := {name for name in sources.stacks if _OTHER.search(name)}:
        raise CheckpointError(
            f"{sources.where} holds adapters of a kind that is not merged here: {some(odd)}; merge them with peft first"
        )
    for name in [name for name in sources.stacks if ".base_layer." in name]:
        plain = name.replace(".base_layer.", ".")
        sources.stacks[plain] = sources.stacks.get(plain, []) + sources.stacks.pop(name)
    if not pairs:
        return {}
    if single := {name for name, sides in pairs.items() if len(sides) < 2}:
        raise CheckpointError(f"{sources.where} holds half of the adapters of {some(single)}")
    rank, alpha = _settings(sources, settings)
    for name, sides in pairs.items():
        if len(sides["A"].shape) != 2 or sides["A"].shape[0] != rank:
            raise CheckpointError(
                f"{sources.where} holds an adapter of {name} with the shape {sides['A'].shape}, but lora_config says r = {rank}"
            )
    return {
        f"{name}.weight": Adapter(sides["A"], sides["B"], alpha / rank)
        for name, sides in pairs.items()
    }


def _settings(sources: Sources, settings: Mapping[str, Any] | None) -> tuple[int, float]:
    if not settings or not settings.get("r") or settings.get("lora_alpha") is None:
        raise CheckpointError(
            f"{sources.where} holds LoRA adapters, but no lora_config with r and lora_alpha says how strong they are: "
            "say it with --set lora_config.r=16 --set lora_config.lora_alpha=32"
        )
    return int(settings["r"]), float(settings["lora_alpha"])
