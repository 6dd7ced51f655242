"""The tokenizer of a checkpoint, and the ids of its special tokens.

Published configs do not say these ids: they are those of the tokenizer that came along. Otter adds `<|endofchunk|>`, `<image>`,
`<answer>` in this order, and `<PAD>` if there is no padding yet; a tokenizer that has some of them keeps the ids it has.
OpenFlamingo knows no `<answer>`: with its language model's tokenizer `<answer>` gets the id that was its `<PAD>`.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from trainer.errors import CheckpointError
from trainer.models.otter_processor import OtterProcessor

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True, slots=True)
class SpecialIds:
    image: int
    answer: int
    endofchunk: int
    pad: int

    def check(self, rows: int, where: str) -> None:
        """Demand an embedding for each.

        Raises:
            CheckpointError: the tokenizer is of another checkpoint, or the tokens were added in another order.
        """
        named = {
            "<image>": self.image,
            "<answer>": self.answer,
            "<|endofchunk|>": self.endofchunk,
            "padding": self.pad,
        }
        if beyond := {name: id for name, id in named.items() if id >= rows}:
            listed = ", ".join(f"{name} is {id}" for name, id in beyond.items())
            raise CheckpointError(
                f"the tokenizer {where!r} does not belong to these weights: {listed}, but there are embeddings for "
                f"{rows:,} ids; give the checkpoint's own with --tokenizer"
            )
        if len({self.image, self.answer, self.endofchunk}) < 3:
            raise CheckpointError(f"the tokenizer {where!r} has one id for several special tokens")


def folder_with_tokenizer(*folders: Path | None) -> Path | None:
    """Return the first folder that holds a tokenizer, itself or under `tokenizer`."""
    for folder in folders:
        for place in (folder, folder / "tokenizer") if folder else ():
            if any((place / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
                return place
    return None


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer as it is, from its own files only.

    Raises:
        CheckpointError: it cannot be loaded.
    """
    with _only_tokenizer(folder) as alone:
        try:
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                alone, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # its tokenizers raise no narrower one
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(
                f"the tokenizer in {str(folder)!r} cannot be loaded: {said}"
            ) from error
    return tokenizer


def load_otter_tokenizer(folder: Path) -> tuple[PreTrainedTokenizerBase, SpecialIds]:
    """Load a tokenizer, with Otter's special tokens added where it lacks them."""
    tokenizer = load_tokenizer(folder)
    OtterProcessor.add_special_tokens(tokenizer)
    ids: Any = tokenizer.convert_tokens_to_ids(
        ["<image>", "<answer>", "<|endofchunk|>", str(tokenizer.pad_token)]
    )
    return tokenizer, SpecialIds(*ids)


@contextmanager
def _only_tokenizer(folder: Path) -> Iterator[Path]:
    """Copy a tokenizer's files to where no model's config.json misleads transformers."""
    with tempfile.TemporaryDirectory() as name:
        for file in FILES:
            if (folder / file).is_file():
                shutil.copyfile(folder / file, Path(name) / file)
        yield Path(name)
