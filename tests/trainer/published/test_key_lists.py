"""The key lists of the real checkpoints, built from their description, against our models of full size on the meta device."""

import pytest

torch = pytest.importorskip("torch")

from trainer.published import keys  # noqa: E402
from trainer.published.assemble import assemble_sources  # noqa: E402
from trainer.published.reading import Stored  # noqa: E402
from trainer.published.sources import Sources  # noqa: E402

CLIP_L = {
    "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
    "num_attention_heads": 16, "image_size": 224, "patch_size": 14, "hidden_act": "quick_gelu",
}  # fmt: skip


def linear(name, rows, columns):
    return {f"{name}.weight": (rows, columns)}


def norm(name, width, *, bias=True):
    return {f"{name}.weight": (width,)} | ({f"{name}.bias": (width,)} if bias else {})


def affine(name, rows, columns):
    return linear(name, rows, columns) | {f"{name}.bias": (rows,)}


def vision():
    root = "vision_encoder.vision_model."
    found = {
        root + "embeddings.class_embedding": (1024,),
        root + "embeddings.patch_embedding.weight": (1024, 3, 14, 14),
        root + "embeddings.position_embedding.weight": (257, 1024),
        **norm(root + "pre_layrnorm", 1024),
        **norm(root + "post_layernorm", 1024),
    }
    for nth in range(24):
        layer = f"{root}encoder.layers.{nth}."
        for part in ("q", "k", "v", "out"):
            found |= affine(f"{layer}self_attn.{part}_proj", 1024, 1024)
        found |= affine(layer + "mlp.fc1", 4096, 1024) | affine(layer + "mlp.fc2", 1024, 4096)
        found |= norm(layer + "layer_norm1", 1024) | norm(layer + "layer_norm2", 1024)
    return found


def feed_forward(name, width):
    return (
        norm(f"{name}.0", width)
        | linear(f"{name}.1", 4 * width, width)
        | linear(f"{name}.3", width, 4 * width)
    )


def perceiver(frames=None):
    found = {"perceiver.latents": (64, 1024), **norm("perceiver.norm", 1024)}
    if frames:
        found["perceiver.frame_embs"] = (frames, 1024)
    for nth in range(6):
        layer = f"perceiver.layers.{nth}."
        found |= norm(layer + "norm_media", 1024) | norm(layer + "norm_latents", 1024)
        found |= linear(layer + "to_q", 512, 1024) | linear(layer + "to_kv", 1024, 1024)
        found |= linear(layer + "to_out", 1024, 512) | feed_forward(layer + "feed_forward", 1024)
    return found


def gated(blocks, layers, every, width):
    found = {}
    for nth in range(every - 1, layers, every):
        layer = f"{blocks}.{nth}.gated_cross_attn_layer."
        found |= {
            layer + "attn_gate": (1,),
            layer + "ff_gate": (1,),
            **norm(layer + "attn.norm", width),
        }
        found |= linear(layer + "attn.to_q", 512, width) | linear(layer + "attn.to_kv", 1024, 1024)
        found |= linear(layer + "attn.to_out", width, 512) | feed_forward(
            layer + "feed_forward", width
        )
    return found


def mpt(layers, width):
    root = "lang_encoder.transformer."
    found = {root + "wte.weight": (50432, width), root + "norm_f.weight": (width,)}
    for nth in range(layers):
        layer = f"{root}blocks.{nth}.decoder_layer."
        found |= norm(layer + "norm_1", width, bias=False) | norm(
            layer + "norm_2", width, bias=False
        )
        found |= linear(layer + "attn.Wqkv", 3 * width, width) | linear(
            layer + "attn.out_proj", width, width
        )
        found |= linear(layer + "ffn.up_proj", 4 * width, width) | linear(
            layer + "ffn.down_proj", width, 4 * width
        )
    return found


def mosaic(layers, width):
    root = "lang_encoder.transformer."
    found = {root + "wte.weight": (50432, width), root + "ln_f.weight": (width,)}
    for nth in range(layers):
        layer = f"{root}blocks.{nth}.decoder_layer."
        for part in ("ln_1", "ln_2", "attn.q_ln", "attn.k_ln"):
            found |= norm(layer + part, width, bias=False)
        found |= linear(layer + "attn.Wqkv", 3 * width, width) | linear(
            layer + "attn.out_proj", width, width
        )
        found |= linear(layer + "mlp.mlp_up", 4 * width, width) | linear(
            layer + "mlp.mlp_down", width, 4 * width
        )
    return found


def llama(layers, width, inner, words):
    root = "lang_encoder."
    found = {
        root + "model.embed_tokens.weight": (words, width),
        root + "lm_head.weight": (words, width),
        root + "model.norm.weight": (width,),
    }
    for nth in range(layers):
        layer = f"{root}model.layers.{nth}.decoder_layer."
        for part in ("q", "k", "v", "o"):
            found |= linear(f"{layer}self_attn.{part}_proj", width, width)
        found |= linear(layer + "mlp.gate_proj", inner, width) | linear(
            layer + "mlp.up_proj", inner, width
        )
        found |= linear(layer + "mlp.down_proj", width, inner)
        found |= norm(layer + "input_layernorm", width, bias=False)
        found |= norm(layer + "post_attention_layernorm", width, bias=False)
    return found


def fuyu():
    root, width = "language_model.model.", 4096
    found = {
        root + "embed_tokens.weight": (262144, width),
        "language_model.lm_head.weight": (262144, width),
        **norm(root + "final_layernorm", width),
        **affine("vision_embed_tokens", width, 2700),
    }
    for nth in range(36):
        layer = f"{root}layers.{nth}."
        found |= affine(layer + "self_attn.query_key_value", 3 * width, width)
        found |= affine(layer + "self_attn.dense", width, width)
        found |= norm(layer + "self_attn.q_layernorm", 64) | norm(
            layer + "self_attn.k_layernorm", 64
        )
        found |= affine(layer + "mlp.dense_h_to_4h", 4 * width, width)
        found |= affine(layer + "mlp.dense_4h_to_h", width, 4 * width)
        found |= norm(layer + "input_layernorm", width) | norm(
            layer + "post_attention_layernorm", width
        )
    return found


ALIBI = {"alibi": True, "alibi_bias_max": 8, "attn_impl": "torch", "qk_ln": False}
MODELS = {
    "OTTER-MPT7B": (
        mpt(32, 4096) | gated("lang_encoder.transformer.blocks", 32, 4, 4096) | perceiver(),
        {"every": 4, "text": {"architectures": ["MPTForCausalLM"], "d_model": 4096, "hidden_size": 4096, "n_heads": 32, "n_layers": 32,
                              "max_seq_len": 2048, "vocab_size": 50432, "no_bias": True, "attn_config": ALIBI, "use_cache": False}},
        742,
    ),
    "OTTER-Video-MPT7B": (
        mpt(32, 4096) | gated("lang_encoder.transformer.blocks", 32, 4, 4096) | perceiver(frames=128),
        {"every": 4, "max_num_frames": 128,
         "text": {"architectures": ["MPTForCausalLM"], "d_model": 4096, "n_heads": 32, "n_layers": 32,
                  "max_seq_len": 2048, "vocab_size": 50432, "no_bias": True, "attn_config": ALIBI}},
        743,
    ),
    "MPT-30B": (
        mpt(48, 7168) | gated("lang_encoder.transformer.blocks", 48, 7, 7168) | perceiver(),
        {"every": 7, "text": {"architectures": ["MPTForCausalLM"], "d_model": 7168, "n_heads": 64, "n_layers": 48,
                              "max_seq_len": 8192, "vocab_size": 50432, "no_bias": True, "attn_config": ALIBI}},
        391 + 69 + 11 * 6 + 6 * 48 + 2,
    ),
    "MPT-1B-redpajama": (
        mosaic(24, 2048) | gated("lang_encoder.transformer.blocks", 24, 1, 2048) | perceiver(),
        {"every": 1, "text": {"architectures": ["MosaicGPT"], "model_type": "mosaic_gpt", "hidden_size": 2048, "n_heads": 16,
                              "n_layers": 24, "mlp_ratio": 4, "vocab_size": 50432, "no_bias": True, "alibi": True, "attn_qk_ln": True}},
        391 + 69 + 11 * 24 + 8 * 24 + 2,
    ),
    "LLaMA-7B": (
        llama(32, 4096, 11008, 32004) | gated("lang_encoder.model.layers", 32, 4, 4096) | perceiver(),
        {"every": 4, "text": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
                              "intermediate_size": 11008, "num_attention_heads": 32, "num_hidden_layers": 32,
                              "vocab_size": 32000, "tie_word_embeddings": False}},
        391 + 69 + 11 * 8 + 9 * 32 + 3,
    ),
}  # fmt: skip


def sources(shapes, config, path):
    """Return a checkpoint of these shapes: names and sizes, without files."""
    weights = {name: Stored(name, path, shape, torch.float16) for name, shape in shapes.items()}
    is_fuyu = config["model_type"] == "fuyu"
    found = Sources(
        where="it",
        home=path,
        family="fuyu" if is_fuyu else "otter",
        flamingo=False,
        config=config,
        tokenizer=None,
    )
    found.add(keys.renamed(weights, keys.FUYU if is_fuyu else keys.OTTER))
    return found


@pytest.mark.parametrize("name", MODELS)
def test_every_key_of_a_real_otter_is_one_of_ours_with_its_shape(name, tmp_path):
    rest, options, count = MODELS[name]
    shapes = vision() | rest
    assert len(shapes) == count
    config = {
        "model_type": "otter",
        "cross_attn_every_n_layers": options["every"],
        "vision_config": CLIP_L,
        "text_config": options["text"],
    } | {n: options[n] for n in ("max_num_frames",) if n in options}
    # As files of 2023 have them, with a buffer and an old name of the positions' angles.
    buffers = {
        "vision_encoder.vision_model.embeddings.position_ids": (1, 257),
        "lang_encoder.model.layers.0.decoder_layer.self_attn.rotary_emb.inv_freq": (64,),
    }

    made = assemble_sources(sources(shapes | buffers, config, tmp_path), {})

    assert (made.fit.missing, made.fit.unknown, made.fit.misshapen) == ((), (), ())
    assert len(made.target.shapes) == count
    assert {made.sources.top[n].shape for n in made.target.shapes} == set(shapes.values())
    assert made.config.perceiver == {
        "depth": 6,
        "num_latents": 64,
        "ff_mult": 4,
        "heads": 8,
        "dim_head": 64,
    }


def test_the_trained_part_of_otter_mpt7b_has_the_published_size():
    """1.3854 billion parameters: gated blocks 1115.8 M, perceiver 63.0 M, embedding 206.6 M."""
    rest, _, _ = MODELS["OTTER-MPT7B"]
    sizes = {"gated": 0, "perceiver": 0, "wte": 0}
    for name, shape in rest.items():
        for part in sizes:
            if part in name:
                sizes[part] += torch.Size(shape).numel()
    assert {part: round(size / 1e6, 1) for part, size in sizes.items()} == {
        "gated": 1115.8,
        "perceiver": 63.0,
        "wte": 206.6,
    }


@pytest.mark.parametrize("nested", [True, False], ids=["with a text_config", "flat"])
def test_every_key_of_fuyu_8b_and_otterhd_8b_is_one_of_ours_with_its_shape(nested, tmp_path):
    text = {
        "vocab_size": 262144, "hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 36, "num_attention_heads": 64,
        "max_position_embeddings": 16384, "hidden_act": "relu2", "qk_layernorm": True, "rope_theta": 25000.0,
        "partial_rotary_factor": 0.5, "layer_norm_eps": 1e-5,
    }  # fmt: skip
    config = {
        "model_type": "fuyu",
        "patch_size": 30,
        "image_size": 300,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    config |= {"text_config": {"model_type": "persimmon", **text}} if nested else text
    shapes = fuyu()
    buffers = {
        f"language_model.model.layers.{nth}.self_attn.rotary_emb.inv_freq": (16,)
        for nth in range(36)
    }

    made = assemble_sources(sources(shapes | buffers, config, tmp_path), {})

    assert (made.fit.missing, made.fit.unknown, made.fit.misshapen) == ((), (), ())
    assert len(made.target.shapes) == len(shapes) == 36 * 16 + 6
    assert {n: s.shape for n, s in made.sources.top.items()} == made.target.shapes
    assert made.config.text_config.rope_parameters["rope_theta"] == 25000.0
    assert made.config.text_config.rope_parameters["partial_rotary_factor"] == 0.5


def test_no_rule_touches_a_name_of_ours():
    """A checkpoint that was converted already passes through: our names are no published ones."""
    for rest, _, _ in MODELS.values():
        ours = {keys.apply(name, keys.OTTER) for name in vision() | rest}
        assert {keys.apply(name, keys.OTTER) for name in ours} == ours
    ours = {keys.apply(name, keys.FUYU) for name in fuyu()}
    assert {keys.apply(name, keys.FUYU) for name in ours} == ours
