"""Tiny models of every family made from their recipes, and records of all kinds for them."""

import io
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from trainer.families import family
from trainer.models.loss import IGNORED
from trainer.recipe import read_recipe
from trainer.sources.base import Conversation, Document, Said, Shown

from .conftest import SMALL

_RUN = (
    "optim.lr=5e-3",
    "optim.warmup_steps=2",
    "run.steps=8",
    "run.batch_size=4",
    "run.micro_batch_size=4",
)
SETTINGS = {
    "otter": SMALL,
    "flamingo": SMALL,
    "fuyu": (
        "model.vocab_size=300",
        "model.patch_size=8",
        "model.hidden_size=48",
        "model.intermediate_size=96",
        "model.num_hidden_layers=2",
        "model.num_attention_heads=4",
        *_RUN,
    ),
    "idefics": (
        "model.vocab_size=300",
        "model.vision.image_size=16",
        "model.vision.patch_size=8",
        "model.vision.hidden_size=32",
        "model.vision.intermediate_size=32",
        "model.vision.num_hidden_layers=1",
        "model.perceiver.depth=1",
        "model.perceiver.num_latents=4",
        "model.text.hidden_size=48",
        "model.text.intermediate_size=64",
        "model.text.num_hidden_layers=2",
        *_RUN,
    ),
}
"""Overrides that make the tiny recipe of a kind take milliseconds a step."""
KINDS = tuple(SETTINGS)
TEXTS = (
    "User:What colour is it? GPT:",
    "It is red.",
    "And here? It is blue, I think.",
    "Compare <image> with <image>.",
    "A long page begins, and after the first picture there is more to read.",
)


@dataclass
class Made:
    kind: str
    config: Any
    processor: Any
    model: Any
    family: Any

    def encoder(self, **data):
        settings = self.config.data
        values = {name: getattr(settings, name) for name in settings.__slots__}
        settings = type(settings)(**values | data)
        return self.family.encoder(self.processor, self.model.config, settings, seed=0)


@cache
def _made(kind):
    config = read_recipe(f"{kind}_tiny", SETTINGS[kind])
    module = family(config.model.family)
    processor = module.make_processor(config.model, lambda: iter(TEXTS))
    return config, processor, module


def make(kind, *, seed=0):
    config, processor, module = _made(kind)
    torch.manual_seed(seed)
    model = module.make_model(config.model, processor)
    # Larger weights, so that it matters to a loss what is seen.
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "alpha" not in name:
            torch.nn.init.normal_(weight, std=0.15)
    return Made(kind, config, processor, model.eval(), module)


def png(seed, size=(24, 20)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, format="PNG")
    return encoded.getvalue()


def shown(seed, size=(24, 20)):
    return Shown((seed, size), f"{seed}.png", partial(png, seed, size))


def example_of(encoder, record):
    return encoder.encode(record, lambda one: encoder.picture(one.read(), name=one.name))


def talk(*, picture=1):
    """Two turns with a picture each, between them one without."""
    return Conversation(
        f"talk{picture}",
        (
            Said("What colour is it?", "It is red.", ((shown(picture),),)),
            Said("Really?", "Yes."),
            Said("And here?", "It is blue, I think.", ((shown(picture + 50),),)),
        ),
    )


def one(*, picture=7, id="one"):
    return Conversation(id, (Said("What colour is it?", "It is red.", ((shown(picture),),)),))


def text_alone():
    return Conversation("alone", (Said("Why so?", "I think it is."),))


def marked():
    return Conversation(
        "marked",
        (
            Said(
                "Compare <image> with <image>.",
                "It is red, it is blue.",
                ((shown(3),), (shown(4, (9, 30)),)),
            ),
        ),
        marked=True,
    )


def page(*, pictures=2):
    """A document with text before, between and behind its pictures."""
    parts = ["A long page begins."]
    for number in range(pictures):
        parts += [shown(20 + number), f" After picture {number} there is more."]
    return Document("page", tuple(parts))


def records():
    return [talk(), one(), text_alone(), marked()]


def ids_of(example):
    sample = getattr(example, "sample", None)
    if callable(sample) or sample is None:
        return list(example.ids_T)
    return [int(token) for token in sample.ids_T]


def labels_of(example):
    sample = getattr(example, "sample", None)
    source = example if callable(sample) or sample is None else sample
    return [int(label) for label in source.labels_T]


def features_of(kind, example):
    """Return how many features of pictures an example has, and none of them zeros."""
    if kind == "fuyu":
        assert example.sample.patches_PC.float().abs().sum(1).gt(0).all()
        return len(example.sample.patches_PC)
    pixels = example.sample.pixels_NCHW if kind == "idefics" else example.pixels_NFCHW
    assert all(one.float().abs().sum() > 0 for one in pixels)
    return len(pixels)


def places_of(made, ids):
    place = made.processor.patch_id if made.kind == "fuyu" else made.processor.image_id
    return ids.count(place)


def layout_ids(made):
    """Return the ids that stand for pictures, and are never taught."""
    names = {
        "fuyu": ("patch_id", "row_end_id", "start_id", "answer_id"),
        "idefics": ("image_id", "fake_id", "answer_id"),
        "otter": ("image_id", "answer_id"),
        "flamingo": ("image_id",),
    }[made.kind]
    return {getattr(made.processor, name) for name in names}


def loss_of(model, rows, *, items=1):
    return sum(model(**one.inputs(), num_items_in_batch=items).loss for one in rows)


def pieces(labels):
    """Return the taught stretches of a row of labels."""
    found, was = [], False
    for label in labels:
        if label != IGNORED and not was:
            found.append([])
        if label != IGNORED:
            found[-1].append(label)
        was = label != IGNORED
    return found
