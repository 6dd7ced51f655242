"""Published layouts, written from their description: tiny models with the names, files and configs that checkpoints have.

The renamings here go from our names to published ones and share nothing with the converter's.
"""

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from trainer.models.otter import Otter, OtterConfig

FIXTURES = Path(__file__).parents[2] / "fixtures" / "golden"
WORDS = 304
"""Of the tiny GPT-NeoX-like tokenizer: 300, and then <|endofchunk|> 300, <image> 301, <answer> 302, <PAD> 303."""
BARE_TOKENIZER = FIXTURES / "otter_mpt" / "tokenizer_base"
TOKENIZER = FIXTURES / "otter_mpt" / "tokenizer"
VISION = {
    "model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "image_size": 28, "patch_size": 14, "hidden_act": "quick_gelu", "projection_dim": 16,
}  # fmt: skip
TEXT = {
    "mpt": {
        "architectures": ["MPTForCausalLM"], "model_type": "mpt", "d_model": 48, "hidden_size": 48, "n_heads": 4, "n_layers": 4,
        "expansion_ratio": 4, "max_seq_len": 128, "no_bias": True, "attn_config": {"alibi": True, "attn_impl": "torch"},
    },
    "mosaic_gpt": {
        "architectures": ["MosaicGPT"], "model_type": "mosaic_gpt", "d_model": 48, "n_heads": 4, "n_layers": 4, "mlp_ratio": 4,
        "max_seq_len": 128, "no_bias": True, "alibi": True, "alibi_bias_max": 8, "attn_qk_ln": True, "attn_impl": "torch",
        "low_precision_layernorm": True, "param_init_fn": "kaiming_normal_",
    },
    "llama": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 48, "intermediate_size": 64,
        "num_attention_heads": 4, "num_hidden_layers": 4, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "rope_theta": 500.0, "rope_scaling": None,
    },
    "gpt_neox": {
        "architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "hidden_size": 48, "intermediate_size": 64,
        "num_attention_heads": 4, "num_hidden_layers": 4, "max_position_embeddings": 128, "rotary_pct": 0.5,
        "rotary_emb_base": 10000, "tie_word_embeddings": False,
    },
}  # fmt: skip
PARTS = {
    "perceiver": {"depth": 2, "heads": 2, "dim_head": 8, "num_latents": 4, "ff_mult": 2},
    "cross_attention": {"heads": 3, "dim_head": 8, "ff_mult": 2},
}
HEADS = {part: {"heads": sizes["heads"]} for part, sizes in PARTS.items()}


def otter(backbone, words, *, every=2, seed=0, text=None, **options):
    """Make a tiny Otter with random weights in which everything matters: gates are open, norms are not 1."""
    torch.manual_seed(seed)
    config = OtterConfig(
        vision_config=VISION,
        text_config=TEXT[backbone] | {"vocab_size": words} | (text or {}),
        cross_attn_every_n_layers=every,
        image_token_id=301,
        answer_token_id=302,
        endofchunk_token_id=300,
        pad_token_id=303,
        **PARTS,
        **options,
    )
    model = Otter(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (parameter.shape[-1] ** -0.5))
    return model


def state_of(model):
    """Return a model's tensors, a tied output head left out, as files of MPT have it."""
    tied = model.all_tied_weights_keys
    return {n: t.clone() for n, t in model.state_dict().items() if n not in tied}


@torch.no_grad()
def logits(model, words=None):
    """Return logits for fixed inputs: two rows that show two pictures each; of the first `words` words."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(3, 290, (2, 12), generator=generator)
    ids[:, [2, 7]] = 301
    pixels = torch.randn(2, 2, 1, 3, 28, 28, generator=generator)
    return model(input_ids=ids, pixel_values=pixels).logits[..., :words]


def published_otter(state, backbone):
    """Rename tensors as an Otter checkpoint has them, and add the buffers of its time."""
    renamed = {}
    for name, value in state.items():
        new = name.replace("vision_encoder.", "vision_encoder.vision_model.", 1)
        if backbone == "mosaic_gpt":
            new = re.sub(r"\.norm_([12])\.", r".ln_\1.", new)
            new = re.sub(r"\.ffn\.(up|down)_proj\.", r".mlp.mlp_\1.", new)
            new = new.replace("transformer.norm_f.", "transformer.ln_f.")
        if backbone == "gpt_neox":
            new = new.replace("lang_encoder.lm_head.", "lang_encoder.embed_out.")
        renamed[new] = value
    renamed["vision_encoder.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    if backbone == "llama":
        for layer in range(4):
            name = f"lang_encoder.model.layers.{layer}.decoder_layer.self_attn.rotary_emb.inv_freq"
            renamed[name] = torch.ones(6)
    return renamed


def published_openflamingo(state):
    """Return what OpenFlamingo saves (the perceiver, the gated blocks, the embedding), with its names and its second names."""
    saved = {}
    for name, value in state.items():
        if name.startswith("perceiver.layers."):
            new = re.sub(r"^(perceiver\.layers\.\d+)\.feed_forward\.", r"\1.1.", name)
            new = new if new != name else re.sub(r"^(perceiver\.layers\.\d+)\.", r"\1.0.", name)
            saved[new] = value
        elif name.startswith("perceiver.") or re.search(r"\.(wte|embed_tokens|embed_in)\.", name):
            saved[name] = value
        elif ".gated_cross_attn_layer." in name:
            new = name.replace(
                ".gated_cross_attn_layer.feed_forward.", ".gated_cross_attn_layer.ff."
            )
            saved[new] = value
            layer, _, rest = re.sub(r"^.*?(\d+)\.gated", r"\1.gated", new).partition(
                ".gated_cross_attn_layer."
            )
            saved[f"lang_encoder.gated_cross_attn_layers.{layer}.{rest}"] = value
    return saved


def published_language(state, backbone):
    """Return the language model alone, as its own checkpoint has it."""
    alone = {
        name.removeprefix("lang_encoder.").replace(".decoder_layer.", "."): value
        for name, value in published_otter(state, backbone).items()
        if name.startswith("lang_encoder.") and ".gated_cross_attn_layer." not in name
    }
    if backbone == "gpt_neox":
        for layer in range(4):
            name = f"gpt_neox.layers.{layer}.attention."
            alone |= {
                name + "bias": torch.ones(1, 1, 8, 8, dtype=torch.bool),
                name + "masked_bias": torch.tensor(-1e9),
                name + "rotary_emb.inv_freq": torch.ones(3),
            }
    return alone


def published_clip(state, *, whole):
    """Return the CLIP: the vision tower alone, or with the text tower and the projections beside it."""
    tower = {
        name.replace("vision_encoder.", "vision_model.", 1): value
        for name, value in state.items()
        if name.startswith("vision_encoder.")
    }
    if whole:
        tower |= {
            "logit_scale": torch.tensor(2.0),
            "visual_projection.weight": torch.ones(16, 32),
            "text_projection.weight": torch.ones(16, 24),
            "text_model.embeddings.token_embedding.weight": torch.ones(9, 24),
            "text_model.embeddings.position_ids": torch.arange(7)[None],
        }
    return tower


def published_config(backbone, words, *, every=2, **more):
    return {
        "model_type": "otter",
        "architectures": ["OtterForConditionalGeneration"],
        "cross_attn_every_n_layers": every,
        "use_media_placement_augmentation": True,
        "only_attend_previous": True,
        "torch_dtype": "float32",
        "text_config": TEXT[backbone] | {"vocab_size": words},
        "vision_config": VISION,
        **PARTS,
        **more,
    }


def write_folder(folder, state, config, *, files="bin", shards=1, tokenizer=TOKENIZER):
    """Write a folder as transformers 4 did: files of torch.save or safetensors, with an index if there are several."""
    folder.mkdir(parents=True)
    stem, end = ("pytorch_model", ".bin") if files == "bin" else ("model", ".safetensors")
    names = list(state)
    parts = [names[nth::shards] for nth in range(shards)]
    weight_map = {}
    for nth, part in enumerate(parts, 1):
        name = f"{stem}{end}" if shards == 1 else f"{stem}-{nth:05d}-of-{shards:05d}{end}"
        tensors = {key: state[key].contiguous() for key in part}
        if files == "bin":
            torch.save(tensors, folder / name)
        else:
            save_file(tensors, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    if shards > 1:
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (folder / f"{stem}{end}.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config))
    if tokenizer:
        for path in tokenizer.iterdir():
            shutil.copy(path, folder)
    return folder
