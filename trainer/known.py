"""What published models say of their sizes in config.json, for those that the shipped recipes start from.

With it a recipe's memory is known before anything is fetched (docs/recipes.md). Nothing is built from these values where a model is
trained: then its own config.json counts.
"""

from typing import Any

CLIP_L: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "quick_gelu",
}
MPT_7B: dict[str, Any] = {
    "architectures": ["MPTForCausalLM"],
    "model_type": "mpt",
    "d_model": 4096,
    "n_heads": 32,
    "n_layers": 32,
    "expansion_ratio": 4,
    "max_seq_len": 2048,
    "vocab_size": 50432,
    "no_bias": True,
    "attn_config": {"alibi": True, "alibi_bias_max": 8},
}
MPT_1B: dict[str, Any] = {
    "architectures": ["MosaicGPT"],
    "model_type": "mosaic_gpt",
    "d_model": 2048,
    "n_heads": 16,
    "n_layers": 24,
    "mlp_ratio": 4,
    "max_seq_len": 2048,
    "vocab_size": 50432,
    "no_bias": True,
    "alibi": True,
    "alibi_bias_max": 8,
    "attn_qk_ln": True,
}
REDPAJAMA_3B: dict[str, Any] = {
    "architectures": ["GPTNeoXForCausalLM"],
    "model_type": "gpt_neox",
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "vocab_size": 50432,
    "tie_word_embeddings": False,
}
LLAMA_7B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
}


def _otter(text: dict[str, Any], *, every: int, words: int) -> dict[str, Any]:
    return {
        "model_type": "otter",
        "vision_config": CLIP_L,
        "text_config": text | {"vocab_size": words},
        "cross_attn_every_n_layers": every,
        # GPT-NeoX's vocabulary, or LLaMA's, and Otter's words behind it.
        "endofchunk_token_id": words - 4 if words < 50000 else 50277,
        "image_token_id": words - 3 if words < 50000 else 50278,
        "answer_token_id": words - 2 if words < 50000 else 50279,
    }


KNOWN: dict[str, dict[str, Any]] = {
    "openai/clip-vit-large-patch14": CLIP_L,
    "mosaicml/mpt-7b": MPT_7B,
    "mosaicml/mpt-7b-instruct": MPT_7B,
    "anas-awadalla/mpt-1b-redpajama-200b": MPT_1B,
    "togethercomputer/RedPajama-INCITE-Base-3B-v1": REDPAJAMA_3B,
    "luodian/OTTER-MPT7B-Init": _otter(MPT_7B, every=4, words=50432),
    "luodian/OTTER-Image-MPT7B": _otter(MPT_7B, every=4, words=50432),
    "luodian/OTTER-9B-INIT": _otter(LLAMA_7B, every=4, words=32004),
    "adept/fuyu-8b": {
        "model_type": "fuyu",
        "patch_size": 30,
        "image_token_id": 71011,
        "text_config": {
            "model_type": "persimmon",
            "hidden_size": 4096,
            "intermediate_size": 16384,
            "num_hidden_layers": 36,
            "num_attention_heads": 64,
            "max_position_embeddings": 16384,
            "vocab_size": 262144,
            "tie_word_embeddings": False,
        },
    },
    "HuggingFaceM4/idefics-9b-instruct": {
        "model_type": "idefics",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
        "vocab_size": 32000,
        "additional_vocab_size": 3,
        "cross_layer_interval": 4,
        "qk_layer_norms": True,
        "use_resampler": True,
        "vision_config": {
            "model_type": "idefics_vision",
            "embed_dim": 1280,
            "image_size": 224,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "patch_size": 14,
        },
        "perceiver_config": {
            "model_type": "idefics_perciever",
            "use_resampler": True,
            "resampler_n_latents": 64,
            "resampler_depth": 6,
            "resampler_n_heads": 16,
            "resampler_head_dim": 96,
            "qk_layer_norms_perceiver": True,
        },
    },
}
"""By the name on the Hub."""
