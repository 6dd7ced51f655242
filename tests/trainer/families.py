"""A tiny model of every family with one batch to train it on: Otters with different language models, Fuyu, Idefics."""

import torch
from transformers import FuyuConfig, IdeficsConfig

from tests.trainer.backbones import IMAGE, WORDS, tiny

OTTERS = ("llama", "llama_tied", "qwen3", "gemma3", "gpt_neox", "mpt", "mosaic_gpt")
FAMILIES = (*OTTERS, "fuyu", "idefics")


def make(name, *, seed=0):
    if name in OTTERS:
        return tiny(name, seed=seed)
    torch.manual_seed(seed)
    model = _fuyu() if name == "fuyu" else _idefics()
    return model.eval()


def _fuyu():
    from trainer.models.fuyu import Fuyu

    text = {
        "vocab_size": WORDS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 64,
    }  # fmt: skip
    config = FuyuConfig(
        text_config={"model_type": "persimmon", **text},
        patch_size=4,
        image_token_id=IMAGE,
        pad_token_id=0,
    )
    return Fuyu(config)


def _idefics():
    from trainer.models.idefics import Idefics

    config = IdeficsConfig(
        vocab_size=WORDS - 4,
        additional_vocab_size=4,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        cross_layer_interval=2,
        alpha_initializer="ones",
        use_resampler=True,
        vision_config={
            "embed_dim": 24, "image_size": 8, "patch_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 32,
        },
        perceiver_config={
            "resampler_depth": 1, "resampler_head_dim": 8, "resampler_n_heads": 2, "resampler_n_latents": 3,
            "use_resampler": True,
        },
    )  # fmt: skip
    return Idefics(config)


def batch(name, *, seed=1):
    """Return the arguments of forward: two rows of 12 tokens, each with a picture."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, IMAGE - 2, (2, 12), generator=generator)
    labels = ids.clone()
    labels[:, :5] = -100
    if name == "fuyu":
        ids[:, :4] = IMAGE
        pixels = torch.randn(2, 4, 4 * 4 * 3, generator=generator)
        return {"input_ids": ids, "pixel_values": pixels, "labels": labels}
    if name == "idefics":
        ids[:, 2] = WORDS - 1
        seen = torch.ones(2, 12, 1, dtype=torch.long)
        pixels = torch.randn(2, 1, 3, 8, 8, generator=generator)
        return {
            "input_ids": ids,
            "pixel_values": pixels,
            "image_attention_mask": seen,
            "labels": labels,
        }
    ids[:, 2] = IMAGE
    pixels = torch.randn(2, 1, 1, 3, 8, 8, generator=generator)
    return {"input_ids": ids, "pixel_values": pixels, "labels": labels}


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def changed(model, before):
    """Return the names of the parameters that are not bit for bit what they were."""
    return {
        name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])
    }


def learn(model, name, *, steps=2, lr=1e-2, weight_decay=0.1):
    """Take some steps as the trainer does, and return the norms of the gradients before clipping."""
    from trainer.config import Optim
    from trainer.optim import make_optimizer

    optimizer = make_optimizer(model, Optim(lr=lr, weight_decay=weight_decay))
    model.train()
    norms = []
    for step in range(steps):
        model(**batch(name, seed=step)).loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    return norms
