"""Models by name: a folder on this machine, or one of the Hugging Face Hub, of which only what is needed is fetched.

Weights come as safetensors; only where a repository has none, as the files of `torch.save`, which `published.reading` opens without
running what is in them. Python that lies beside weights is never fetched.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from trainer.errors import CheckpointError
from trainer.known import KNOWN
from trainer.published.configs import is_ours
from trainer.published.reading import read_json

SETTINGS = ["*.json", "*.txt", "tokenizer.model"]
"""Configs and tokenizers."""
_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_FOLDERS = ["*/*"]
"""What repositories keep beside the model: other formats, intermediate checkpoints."""


def is_folder(name: str) -> bool:
    return Path(name).expanduser().is_dir()


def is_name(name: str) -> bool:
    """Tell whether this can only be a name on the Hub."""
    return not is_folder(name) and _NAME.fullmatch(name) is not None


def local(name: str, *, weights: bool = True) -> Path:
    """Return the folder of a model, fetched if need be.

    Args:
        name: A folder, or a name such as openai/clip-vit-large-patch14.
        weights: False for its config and tokenizer alone.

    Raises:
        CheckpointError: there is no such folder, and it cannot be fetched.
    """
    if is_folder(name):
        return Path(name).expanduser()
    if not weights:
        return _fetched(name, SETTINGS)
    folder = _fetched(name, [*SETTINGS, "*.safetensors"])
    if not any(folder.glob("*.safetensors")):
        folder = _fetched(name, [*SETTINGS, "*.bin"])
    return folder


def saved(name: str) -> Path:
    """Return the folder of a whole model that loads as it is, fetched if need be; who reads it says if there is none.

    Raises:
        CheckpointError: it is not there; or it is an Otter of the published layout, which is not fetched in vain.
    """
    if is_name(name):
        config = read_json(local(name, weights=False) / "config.json")
        if config.get("model_type") in ("otter", "flamingo") and not is_ours(config):
            raise CheckpointError(
                f"{name!r} on the Hub is of the published layout: `hf download {name} --local-dir published`, then "
                "`syphus checkpoint convert published -o converted`, and start from that: --set model.start=converted"
            )
    return local(name) if is_name(name) else Path(name).expanduser()


def config_of(name: str) -> Mapping[str, Any]:
    """Return a model's config.json; of those that our recipes start from without asking the Hub.

    Raises:
        CheckpointError: it cannot be read.
    """
    if is_folder(name):
        return read_json(local(name) / "config.json")
    if name in KNOWN:
        return KNOWN[name]
    return read_json(_asked(name, lambda: Path(hf_hub_download(name, "config.json"))))


def _fetched(name: str, patterns: list[str]) -> Path:
    return _asked(
        name,
        lambda: Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=_FOLDERS)),
    )


def _asked(name: str, ask: Callable[[], Path]) -> Path:
    if not _NAME.fullmatch(name):
        raise CheckpointError(
            f"there is no folder {name!r}, and it is no name on the Hub, such as openai/clip-vit-large-patch14"
        )
    try:
        return ask()
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        said = " ".join(str(error).split())
        raise CheckpointError(
            f"there is no folder {name!r}, and it cannot be had from the Hub: {said[:200]}"
        ) from error
