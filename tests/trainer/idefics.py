"""Small models, tokenizers and conversations of Idefics for tests."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    IdeficsConfig,
    IdeficsImageProcessorPil,
    PreTrainedTokenizerFast,
)

from trainer.models.idefics import Idefics
from trainer.models.idefics_processor import FAKE, IMAGE, IdeficsChatProcessor

SIDE = 8
CLOSE = {"atol": 2e-5, "rtol": 1e-4}
IMAGES = f"{FAKE}{IMAGE}{FAKE}"


def byte_tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<unk>", "<s>", "</s>", *alphabet]
    tokenizer = Tokenizer(
        models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _fast(tokenizer)


def marking_tokenizer():
    """One that puts a space before a text, and not before what follows a special token (LLaMA since 2023)."""
    letters = [chr(code) for code in range(32, 127)]
    words = ["<unk>", "<s>", "</s>", "▁", "\n", *letters]
    tokenizer = Tokenizer(
        models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    return _fast(tokenizer)


def llama_tokenizer():
    """One that puts a space before every part."""
    path = Path(__file__).parent.parent / "fixtures" / "golden" / "text" / "tokenizer_llama"
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.clean_up_tokenization_spaces = False
    return tokenizer


def _fast(tokenizer):
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def make_processor(tokenizer=None, *, answer=True):
    tokenizer = tokenizer or byte_tokenizer()
    IdeficsChatProcessor.add_special_tokens(tokenizer, answer=answer)
    return IdeficsChatProcessor(IdeficsImageProcessorPil(image_size=SIDE), tokenizer)


def make_model(processor=None, *, resampler=True, merged=False, seed=0, **settings):
    torch.manual_seed(seed)
    config = IdeficsConfig(
        vocab_size=259, additional_vocab_size=2, hidden_size=32, intermediate_size=48,
        num_hidden_layers=4, num_attention_heads=4, cross_layer_interval=2, qk_layer_norms=True,
        use_resampler=resampler, alpha_initializer="ones", initializer_range=0.2, max_position_embeddings=512,
        vision_config={
            "embed_dim": 24, "image_size": SIDE, "patch_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 32,
        },
        perceiver_config={
            "use_resampler": resampler, "resampler_n_latents": 3, "resampler_depth": 1, "resampler_n_heads": 2,
            "resampler_head_dim": 8,
        },
        **{"freeze_text_layers": False, "freeze_vision_layers": False} | settings,
    )  # fmt: skip
    model = Idefics(config).eval()
    model.fit((processor or make_processor()).tokenizer)
    return model.merge_head() if merged else model


def picture(number):
    pixels = np.random.default_rng(number).integers(0, 256, (11, 9, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def ask(*parts):
    content = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image", "image": part}
        for part in parts
    ]
    return {"role": "user", "content": content}


def say(text):
    return {"role": "assistant", "content": text}


def conversations():
    """Two pictures in two turns; text alone; one picture after the text; two side by side."""
    return [
        [ask(picture(1), "What?"), say("A cat"), ask("And", picture(2), "here?"), say("A dog.")],
        [ask("Why?"), say("So")],
        [ask("Who is this", picture(3)), say("Me, I think")],
        [ask(picture(4), picture(5), "Same?"), say("No")],
    ]


def samples_of(processor):
    return [processor.encode(messages) for messages in conversations()]


def prompts():
    return [messages[:-1] for messages in conversations()]
