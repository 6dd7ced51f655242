"""How the values of an Otter's config are read and checked.

The config class itself stands beside the model: transformers takes a file that is named in `auto_map`, and all that it imports,
for a package of its own, so that classes imported by two of them would be two.
"""

from collections.abc import Mapping
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from .mpt_config import MptConfig

MPT_TYPES = ("mpt", "mosaic_gpt")
# The published sizes, which no published config.json mentions.
CROSS_ATTENTION = {"heads": 8, "dim_head": 64, "ff_mult": 4}
PERCEIVER = CROSS_ATTENTION | {"depth": 6, "num_latents": 64}


def read_text_config(values: Mapping[str, Any]) -> PreTrainedConfig:
    """Return the config of a language model; of LLaMA, where no `model_type` is given.

    Raises:
        ValueError: nobody knows the `model_type`.
    """
    text = {"model_type": "llama"} | dict(values)
    if text["model_type"] in MPT_TYPES:
        return MptConfig(**text)
    if text["model_type"] not in CONFIG_MAPPING:
        raise ValueError(
            f"text_config.model_type is {text['model_type']!r}, which transformers does not know; it may be 'mpt', "
            "'mosaic_gpt', or a causal language model of transformers, such as 'llama' or 'qwen3'"
        )
    made: PreTrainedConfig = AutoConfig.for_model(**text)
    return made


def sizes(part: str, known: dict[str, int], given: Mapping[str, int] | None) -> dict[str, int]:
    """Return the sizes of a part, the known ones where none are given.

    Raises:
        ValueError: a size has another name, or is not at least 1.
    """
    found = known | dict(given or {})
    for name, size in found.items():
        if name not in known:
            raise ValueError(f"{part}.{name} is no size; there are {', '.join(known)}")
        if size < 1:
            raise ValueError(f"{part}.{name} is {size!r}; it must be at least 1")
    return found


def check_every(every: int, layers: int) -> None:
    """Check that at least one layer looks.

    Raises:
        ValueError: none would.
    """
    if not 1 <= every <= layers:
        raise ValueError(
            f"cross_attn_every_n_layers is {every}; of {layers} layers, one in 1 to {layers} can look"
        )
