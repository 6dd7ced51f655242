"""Tiny MPTs with every option, and the formula that they follow."""

import math
from contextlib import contextmanager

import torch
from torch.nn import functional as F

from trainer.models.mpt import MptConfig, MptForCausalLM

SMALL = {
    "d_model": 48, "n_heads": 4, "n_layers": 2, "vocab_size": 97, "max_seq_len": 640, "no_bias": True,
}  # fmt: skip

OPTIONS = {
    "plain": {},
    "alibi_bias_max": {"n_heads": 6, "attn_config": {"alibi_bias_max": 5}},
    "qk_ln": {"attn_config": {"qk_ln": True}},
    "learned_positions": {"attn_config": {"alibi": False}},
    "biases": {"no_bias": False, "attn_config": {"qk_ln": True}},
    "multi_query": {"attn_config": {"attn_type": "multiquery_attention", "qk_ln": True}},
    "grouped_query": {
        "attn_config": {"attn_type": "grouped_query_attention", "kv_n_heads": 2, "qk_ln": True}
    },
    "logit_scale": {"logit_scale": "inv_sqrt_d_model"},
    "logit_number": {"logit_scale": 0.3, "expansion_ratio": 2},
    "rmsnorm": {"norm_type": "low_precision_rmsnorm", "attn_config": {"clip_qkv": 0.5}},
    "softmax_scale": {"attn_config": {"softmax_scale": 0.7, "alibi": False}, "no_bias": False},
}

MOSAIC = {
    "model_type": "mosaic_gpt", "architectures": ["MosaicGPT"], "d_model": 48, "hidden_size": 48, "n_heads": 6,
    "n_layers": 2, "mlp_ratio": 4, "max_seq_len": 640, "vocab_size": 97, "attn_pdrop": 0, "resid_pdrop": 0,
    "emb_pdrop": 0, "attn_impl": "torch", "attn_qk_ln": True, "attn_clip_qkv": None, "softmax_scale": None,
    "prefix_lm": False, "attn_uses_sequence_id": False, "alibi": True, "alibi_bias_max": 8, "init_device": "cpu",
    "logit_scale": None, "no_bias": True, "verbose": 0, "param_init_fn": "kaiming_normal_", "init_std": 0.02,
    "init_div_is_residual": True, "emb_init_std": None, "emb_init_uniform_lim": None, "fan_mode": "fan_in",
    "init_gain": 0, "init_nonlinearity": "relu", "embedding_fraction": 1.0, "low_precision_layernorm": True,
    "use_cache": False, "tokenizer_name": "EleutherAI/gpt-neox-20b", "torch_dtype": "float32",
}  # fmt: skip
"""The flat config.json of mpt-1b-redpajama, with small sizes."""


def config_of(name):
    return MptConfig(**MOSAIC) if name == "mosaic" else MptConfig(**{**SMALL, **OPTIONS[name]})


def build(config, seed=0, **options):
    """Return a model whose norms and biases differ from their fresh values, too."""
    torch.manual_seed(seed)
    model = MptForCausalLM._from_config(config, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


@contextmanager
def attending(model, implementation):
    """Change how a model attends for a while."""
    model.set_attn_implementation(implementation)
    assert model.get_decoder().config._attn_implementation == implementation
    try:
        yield
    finally:
        model.set_attn_implementation("sdpa")


def some_ids(rows, tokens, seed=1):
    return torch.randint(0, 97, (rows, tokens), generator=torch.Generator().manual_seed(seed))


def padded(ids, pads, side):
    mask = torch.ones_like(ids)
    for row, count in enumerate(pads):
        mask[row, slice(0, count) if side == "left" else slice(ids.shape[1] - count, None)] = 0
    return mask


def slopes_of(config):
    heads, most = config.n_heads, config.attn_config["alibi_bias_max"]
    if not config.attn_config["alibi_interleaved"]:
        return [2 ** (-most * h / heads) for h in range(1, heads + 1)]
    n = 2 ** math.ceil(math.log2(heads))
    all_slopes = [2 ** (-most * h / n) for h in range(1, n + 1)]
    return all_slopes if n == heads else (all_slopes[1::2] + all_slopes[::2])[:heads]


def formula(model, ids):
    """Write MPT out in float64 for one row without padding."""
    config, T = model.config, len(ids)
    w = {name: value.double() for name, value in model.state_dict().items()}

    def norm(x, name, eps=1e-5):
        bias = w.get(f"{name}.bias", 0)
        if "rms" in config.norm_type and not name.endswith(("q_ln", "k_ln")):
            return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * w[f"{name}.weight"]
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * w[f"{name}.weight"] + bias

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)

    attention, H, D = config.attn_config, config.n_heads, config.d_model // config.n_heads
    G = {"multiquery_attention": 1, "grouped_query_attention": attention["kv_n_heads"]}.get(
        attention["attn_type"], H
    )
    x = w["transformer.wte.weight"][ids]
    if not attention["alibi"]:
        x = x + w["transformer.wpe.weight"][:T]
    distance = (torch.arange(T)[:, None] - torch.arange(T)).double()
    for n in range(config.n_layers):
        block = f"transformer.blocks.{n}"
        qkv = linear(norm(x, f"{block}.norm_1"), f"{block}.attn.Wqkv")
        if attention["clip_qkv"]:
            qkv = qkv.clamp(-attention["clip_qkv"], attention["clip_qkv"])
        q, k, v = qkv.split([H * D, G * D, G * D], dim=-1)
        if attention["qk_ln"]:
            q, k = norm(q, f"{block}.attn.q_ln"), norm(k, f"{block}.attn.k_ln")
        heads = []
        for h in range(H):
            g = h // (H // G)
            qh, kh, vh = q[:, h * D : h * D + D], k[:, g * D : g * D + D], v[:, g * D : g * D + D]
            scores = qh @ kh.T * (attention["softmax_scale"] or D**-0.5)
            if attention["alibi"]:
                scores = scores - slopes_of(config)[h] * distance
            heads.append(scores.masked_fill(distance < 0, -torch.inf).softmax(-1) @ vh)
        x = x + linear(torch.cat(heads, -1), f"{block}.attn.out_proj")
        thought = F.gelu(linear(norm(x, f"{block}.norm_2"), f"{block}.ffn.up_proj"))
        x = x + linear(thought, f"{block}.ffn.down_proj")
    logits = norm(x, "transformer.norm_f") @ w["transformer.wte.weight"].T
    scale = {None: 1, "inv_sqrt_d_model": config.d_model**-0.5}
    return logits * scale.get(config.logit_scale, config.logit_scale)
