"""A tiny Fuyu whose pictures matter, its processor, and samples of all kinds."""

from functools import cache
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoTokenizer, FuyuConfig

from trainer.models.fuyu import Fuyu
from trainer.models.fuyu_processor import FuyuProcessor

TOKENIZER = Path(__file__).parent.parent / "fixtures" / "golden" / "fuyu" / "tokenizer"
PATCH, ROW_END, START, ANSWER, END = 455, 456, 1, 7, 454
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
"""Between implementations of attention, and between packed and separate rows, in float32."""


def config(**text):
    values = {
        "model_type": "persimmon",
        "vocab_size": 457,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "bos_token_id": START,
        "eos_token_id": END,
    }
    return FuyuConfig(patch_size=4, image_token_id=PATCH, text_config=values | text)


def fuyu(kind=Fuyu, **text):
    """Make a model whose pictures matter."""
    torch.manual_seed(0)
    model = kind(config(**text))
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


@cache
def tokenizer():
    return AutoTokenizer.from_pretrained(TOKENIZER)


def processor_of(**settings):
    return FuyuProcessor(tokenizer(), **{"patch_size": 4} | settings)


def noise(width, height, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def samples_of(processor):
    """Return a sample with a picture, one without, and one of two turns with three pictures of different sizes."""
    return [
        processor.sample([([noise(9, 6), "cat in what image"], "ball red")]),
        processor.sample([("how many", "red")]),
        processor.sample(
            [
                ([noise(8, 8, 1), noise(5, 12, 2), "is ball"], "a cat"),
                (["red in", noise(4, 4, 3)], "in"),
            ]
        ),
    ]


def with_implementation(model, name):
    model.set_attn_implementation(name)
    return model
