"""Which family a checkpoint is of, before any of it is loaded."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig

WHERE = ("cache_dir", "revision", "token", "subfolder", "local_files_only")
"""Arguments of `from_pretrained` that say where its files are."""


def check_family(name: Any, wanted: str, options: Mapping[str, Any]) -> None:
    """Refuse the files of another family.

    Args:
        name: A folder, or a name on the Hub.
        wanted: The `model_type` of the config.
        options: Those of `from_pretrained`; a config given among them needs no question.

    Raises:
        ValueError: they are of another family.
    """
    if isinstance(options.get("config"), PreTrainedConfig):
        return
    where = {key: options[key] for key in WHERE if options.get(key) is not None}
    found, _ = PreTrainedConfig.get_config_dict(name, **where)
    check_type(repr(str(name)), found.get("model_type", wanted), wanted)


def check_type(what: str, kind: str, wanted: str) -> None:
    """Refuse a model of another family, `what` being its config or its files."""
    if kind != wanted:
        raise ValueError(
            f"{what} is of a model of type {kind!r}, not {wanted!r}; load that with its own class"
        )
