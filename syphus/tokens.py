"""How many tokens a text, a message or a picture is, by the model's own vocabulary where that is at hand.

    gpt-…, o3, chatgpt-…   OpenAI's o200k_base or cl100k_base, through tiktoken          exact
    claude-…               the vocabulary of Claude 2, the last one that was published    approximate
    deepseek-…             DeepSeek's                                                     approximate
    anything else          four bytes a token                                             a guess

LiteLLM ships the vocabularies; they are read from its folder, and nothing is fetched. They take half a second and 80 MB, so a plan
uses them and a run does not: what a run was billed, its replies say.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from syphus.prices import estimate_tokens, is_local

if TYPE_CHECKING:
    from syphus.request import Message

T = TypeVar("T")

USUAL_PICTURE = 765
"""Tokens of a picture where nobody says how they are counted: 1,024 × 1,024 pixels in OpenAI's tiles."""

_BLOBS = "https://openaipublic.blob.core.windows.net/encodings/"
_PUBLISHED = {"claude": "anthropic_tokenizer.json", "deepseek": "deepseek_tokenizer.json"}


@dataclass(frozen=True, slots=True)
class Counter:
    name: str
    """The vocabulary, for people."""
    is_exact: bool
    """Whether it is the model's own."""
    count: Callable[[str], int]
    """Count the tokens of a text."""
    per_message: int = 4
    """Tokens around a message's text: three, and the name of its role."""
    per_request: int = 3
    """Tokens with which the reply is begun."""

    def count_messages(self, messages: Iterable[Message]) -> int:
        """Count a request's messages as a provider does."""
        return self.per_request + sum(
            self.per_message + self.count(message.content) for message in messages
        )


@cache
def counter(model: str) -> Counter:
    """Return what counts a model's tokens."""
    name = model.rpartition("/")[2].lower()
    if not is_local(model):
        if found := _openai_encoding(model, name):
            encoding, is_exact = found
            if encode := _tiktoken(encoding):
                return Counter(encoding, is_exact, lambda text: len(encode(text)))
        for part, file in _PUBLISHED.items():
            if part in name and (count := _published(file)):
                return Counter(file.removesuffix(".json"), False, count)
    return Counter("four bytes a token", False, estimate_tokens)


def _openai_encoding(model: str, name: str) -> tuple[str, bool] | None:
    """Return the encoding of an OpenAI model, and whether that is certain."""
    from tiktoken.model import encoding_name_for_model

    try:
        encoding = encoding_name_for_model(name)
    except KeyError:
        is_openai = model.startswith(("openai/", "azure/", "gpt-"))
        return ("o200k_base", False) if is_openai else None
    if encoding == "o200k_harmony":  # the same texts, other words around them
        return "o200k_base", False
    return encoding, True


def _tiktoken(encoding: str) -> Callable[[str], list[int]] | None:
    """Return an encoding that LiteLLM ships; None if it does not."""
    import tiktoken

    folder = _folder()
    cached = hashlib.sha1(f"{_BLOBS}{encoding}.tiktoken".encode(), usedforsecurity=False)
    if folder is None or not (folder / cached.hexdigest()).is_file():
        return None
    with _tiktoken_reads(folder):
        return tiktoken.get_encoding(encoding).encode_ordinary


@contextmanager
def _tiktoken_reads(folder: Path) -> Iterator[None]:
    """Let tiktoken read a folder instead of the network."""
    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before


def _published(file: str) -> Callable[[str], int] | None:
    """Return a vocabulary that its maker published; None without the package that reads it."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    folder = _folder()
    if folder is None or not (folder / file).is_file():
        return None
    encode = Tokenizer.from_file(str(folder / file)).encode
    return lambda text: len(encode(text, add_special_tokens=False).ids)


def _folder() -> Path | None:
    spec = importlib.util.find_spec("litellm")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "litellm_core_utils" / "tokenizers"


# Pictures

# OpenAI's guide "Images and vision": tiles of 512 × 512 pixels, (tokens of a picture, tokens of each tile); the longest beginning wins.
_TILES = {
    "gpt-4o": (85, 170),
    "gpt-4.1": (85, 170),
    "gpt-4.5": (85, 170),
    "gpt-4-turbo": (85, 170),
    "chatgpt-4o": (85, 170),
    "gpt-4o-mini": (2_833, 5_667),
    "o1": (75, 150),
    "o3": (75, 150),
    "gpt-5": (70, 140),
}
# The same guide: patches of 32 × 32 pixels, 1,536 at most, times a model's factor.
_PATCHES = {
    "gpt-4.1-mini": 1.62,
    "gpt-4.1-nano": 2.46,
    "o4-mini": 1.72,
    "gpt-5-mini": 1.62,
    "gpt-5-nano": 2.46,
}
_MOST_PATCHES = 1_536
_CLAUDE_LONGEST = 1_568
_CLAUDE_MOST = 1_600
_GEMINI_TILE = 258
_MOST_OF_UNKNOWN = 16_384


def picture_tokens(model: str, width: int, height: int) -> int:
    """Count the tokens of a picture as its provider says that it does.

    OpenAI: the guide "Images and vision" (tiles after the picture was made to fit 2,048 pixels and its shorter side 768; or
    patches). Anthropic: the guide "Vision" (width × height / 750, after the longer side was made to fit 1,568 pixels).
    Gemini: the guide "Token counting" (258 for each tile of 768 × 768; one if both sides have 384 pixels at most).
    """
    name = model.rpartition("/")[2].lower()
    if factor := _of_longest(_PATCHES, name):
        patches = math.ceil(width / 32) * math.ceil(height / 32)
        return math.ceil(min(patches, _MOST_PATCHES) * factor)
    if tiles := _of_longest(_TILES, name):
        shrunk = min(1.0, 2_048 / max(width, height))
        shrunk *= min(1.0, 768 / (min(width, height) * shrunk))
        return tiles[0] + tiles[1] * _tiles(width * shrunk, height * shrunk, 512)
    if "claude" in name:
        shrunk = min(1.0, _CLAUDE_LONGEST / max(width, height))
        return min(math.ceil(width * height * shrunk**2 / 750), _CLAUDE_MOST)
    if "gemini" in name:
        if max(width, height) <= 384:
            return _GEMINI_TILE
        return _GEMINI_TILE * _tiles(width, height, 768)
    return USUAL_PICTURE


def most_picture_tokens(model: str) -> int:
    """Return how many tokens a picture can have that a run sends: its longer side has 1,024 pixels at most.

    Four times what a square of that size has, since guides leave open whether a narrow picture is made larger.
    """
    name = model.rpartition("/")[2].lower()
    if _is_openai(name) or "claude" in name or "gemini" in name:
        return 4 * picture_tokens(model, 1_024, 1_024)
    return _MOST_OF_UNKNOWN


def _is_openai(name: str) -> bool:
    return _of_longest(_TILES, name) is not None or _of_longest(_PATCHES, name) is not None


def _of_longest(table: dict[str, T], name: str) -> T | None:
    """Return what belongs to the longest beginning of a name, over both tables of OpenAI's models."""
    beginnings = [key for key in (*_TILES, *_PATCHES) if name == key or name.startswith(key + "-")]
    return table.get(max(beginnings, key=len)) if beginnings else None


def _tiles(width: float, height: float, side: int) -> int:
    # Rounded: 768.0000001 pixels are no tile more.
    return math.ceil(round(width / side, 6)) * math.ceil(round(height / side, 6))
