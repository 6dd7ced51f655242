"""Models of random weights in the published shapes, cut down to what fits, for the benchmarks of training and answering."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

import trainer  # noqa: E402, F401 - before torch: it tells OpenMP's threads not to spin

# isort: split
import torch  # noqa: E402

IMAGE, ANSWER, END, PAD = 3, 4, 5, 6
"""Ids of the special tokens in the made vocabularies."""
FIRST_WORD = 16

VISION = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
    "num_attention_heads": 16, "image_size": 224, "patch_size": 14, "hidden_act": "quick_gelu",
}  # fmt: skip
"""CLIP ViT-L/14."""
SMALL_VISION = {
    "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4,
    "num_attention_heads": 4, "image_size": 224, "patch_size": 14, "hidden_act": "quick_gelu",
}  # fmt: skip
TINY_VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "image_size": 32, "patch_size": 16,
}  # fmt: skip


def text_config(kind: str, *, width: int, layers: int, heads: int, vocab: int) -> dict[str, Any]:
    """Return the config of an MPT or LLaMA decoder in the proportions of the published ones."""
    if kind == "mpt":
        return {
            "model_type": "mpt", "d_model": width, "n_layers": layers, "n_heads": heads,
            "expansion_ratio": 4, "vocab_size": vocab, "max_seq_len": 2048, "no_bias": True,
        }  # fmt: skip
    return {
        "model_type": "llama", "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "intermediate_size": round(width * 2.6875 / 64) * 64,
        "vocab_size": vocab, "max_position_embeddings": 4096,
    }  # fmt: skip


def otter(
    text: dict[str, Any],
    vision: dict[str, Any],
    *,
    every: int = 4,
    dtype: torch.dtype = torch.float32,
) -> Any:
    """Make an Otter with open gates, so that what it sees counts."""
    from transformers import CLIPVisionConfig

    from trainer.models.otter import Otter, OtterConfig

    torch.manual_seed(0)
    config = OtterConfig(
        vision_config=CLIPVisionConfig(**vision), text_config=text, cross_attn_every_n_layers=every,
        gate_init=0.5, image_token_id=IMAGE, answer_token_id=ANSWER, endofchunk_token_id=END,
        pad_token_id=PAD,
    )  # fmt: skip
    return Otter._from_config(config, dtype=dtype)


def fuyu_config(
    *, width: int, layers: int, heads: int, mlp: int, vocab: int, patch: int = 30
) -> Any:
    """Return a config in Fuyu's shape; the published one: 4096, 36, 64, 16384, 262144."""
    from transformers import FuyuConfig

    sizes = {
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": mlp, "vocab_size": vocab, "max_position_embeddings": 16384,
    }  # fmt: skip
    return FuyuConfig(
        patch_size=patch, num_channels=3, image_token_id=IMAGE, pad_token_id=PAD,
        text_config={"model_type": "persimmon", **sizes, "pad_token_id": PAD}, **sizes,
    )  # fmt: skip
