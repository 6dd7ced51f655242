"""Tiny Otters, one for each family of language models."""

import torch

from trainer.models.otter import Otter, OtterConfig

IMAGE, ANSWER, END, PAD, WORDS = 90, 91, 92, 93, 96

_SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": END,
    "pad_token_id": PAD,
}
_MPT = {
    "model_type": "mpt",
    "vocab_size": WORDS,
    "d_model": 32,
    "n_heads": 4,
    "n_layers": 4,
    "max_seq_len": 128,
    "attn_config": {"alibi": True},
}

BACKBONES = {
    "llama": _SIZES | {"model_type": "llama"},
    "llama_grouped": _SIZES | {"model_type": "llama", "num_key_value_heads": 2},
    "llama_tied": _SIZES | {"model_type": "llama", "tie_word_embeddings": True},
    "mistral": _SIZES | {"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": 6},
    "qwen3": _SIZES | {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 8},
    "gemma3": _SIZES
    | {
        "model_type": "gemma3_text",
        "num_key_value_heads": 1,
        "head_dim": 8,
        "sliding_window": 6,
        "query_pre_attn_scalar": 8,
        "tie_word_embeddings": True,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    },
    "gpt_neox": _SIZES | {"model_type": "gpt_neox", "tie_word_embeddings": False},
    "mpt": _MPT,
    "mpt_qk_norm_positions_biases": _MPT
    | {"attn_config": {"alibi": False, "qk_ln": True}, "learned_pos_emb": True, "no_bias": False},
    "mpt_one_key_head": _MPT
    | {"attn_config": {"alibi": True, "attn_type": "multiquery_attention"}, "logit_scale": 0.5},
    "mosaic_gpt": {
        "model_type": "mosaic_gpt",
        "vocab_size": WORDS,
        "d_model": 32,
        "hidden_size": 32,
        "n_heads": 4,
        "n_layers": 4,
        "max_seq_len": 128,
        "mlp_ratio": 4,
        "alibi": True,
        "attn_qk_ln": True,
        "no_bias": True,
    },
}
"""Values of a text_config, by name."""


def tiny(name, *, seed=0, **settings):
    """Return an Otter whose gates are open, so that what it sees matters."""
    torch.manual_seed(seed)
    config = OtterConfig(
        vision_config={
            "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 8, "patch_size": 4,
        },
        text_config=BACKBONES[name],
        perceiver={"depth": 1, "heads": 2, "dim_head": 8, "num_latents": 3, "ff_mult": 2},
        cross_attention={"heads": 2, "dim_head": 8, "ff_mult": 2},
        image_token_id=IMAGE,
        answer_token_id=ANSWER,
        endofchunk_token_id=END,
        pad_token_id=PAD,
        **{"gate_init": 1.0, "cross_attn_every_n_layers": 2, **settings},
    )  # fmt: skip
    return Otter(config).eval()


def pictures(seed, media=1, frames=1):
    """Return pixels_1NFCHW."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, media, frames, 3, 8, 8, generator=generator)
