"""Idefics learns and writes, beside transformers' own class with the same weights, in turns on this machine's processors.

Learning: samples of 40 to 400 tokens with 0 to 4 pictures, packed into one row, the head at taught positions only; there a
padded batch, and the loss over all logits outside the model, which cannot count its additional words. Writing: a conversation
with 4 pictures, greedy; there the pictures are resampled, and their keys and values computed, for every token. Weights are random.

    python benchmarks/train/idefics_step.py [--quick]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from common import save  # noqa: E402

# isort: split
import torch  # noqa: E402
from torch.nn.functional import cross_entropy, pad  # noqa: E402
from transformers import IdeficsConfig, IdeficsForVisionText2Text  # noqa: E402

from trainer.models.idefics import Idefics  # noqa: E402
from trainer.models.idefics_processor import Sample, picture_mask  # noqa: E402
from trainer.models.loss import IGNORED  # noqa: E402

FIRST_WORD = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a tiny model and few tokens; nothing is saved"
    )
    quick = parser.parse_args().quick
    config = make_config(width=64, layers=2, words=500) if quick else make_config()
    theirs, ours = models(config)
    samples, new, rounds = (made(config, 3), 4, 1) if quick else (made(config, 12), 64, 5)
    rows = [learning(theirs, ours, samples, rounds), writing(theirs, ours, new, rounds)]
    if quick:
        print(*rows, sep="\n")
    else:
        save("train_idefics_step", rows)


def make_config(width: int = 512, layers: int = 8, words: int = 32000) -> IdeficsConfig:
    """Return the proportions of the published 9B model, smaller: 224 pixels, 64 latents a picture, a look before every fourth layer."""
    return IdeficsConfig(
        vocab_size=words, additional_vocab_size=4, hidden_size=width, intermediate_size=width * 11 // 4,
        num_hidden_layers=layers, num_attention_heads=8, cross_layer_interval=min(4, layers), qk_layer_norms=True,
        use_resampler=True, alpha_initializer="ones", freeze_text_layers=False, freeze_vision_layers=True,
        vision_config={
            "embed_dim": width // 2, "image_size": 224, "patch_size": 14, "num_hidden_layers": 4,
            "num_attention_heads": 8, "intermediate_size": width * 2,
        },
        perceiver_config={
            "use_resampler": True, "resampler_n_latents": 64, "resampler_depth": 2, "resampler_n_heads": 8,
            "resampler_head_dim": 32,
        },
    )  # fmt: skip


def models(config: IdeficsConfig) -> tuple[Any, Idefics]:
    torch.manual_seed(0)
    ours = Idefics(config)
    theirs = IdeficsForVisionText2Text(config)
    theirs.load_state_dict(ours.state_dict())
    ours.set_attn_implementation("packed")
    return theirs, ours


def made(config: Any, number: int) -> list[Sample]:
    """Make samples of random words, the last third taught, their pictures at the beginning."""
    torch.manual_seed(1)
    samples = []
    for nth in range(number):
        length, pictures = int(torch.randint(40, 401, ())), (0, 1, 1, 4)[nth % 4]
        ids = torch.randint(FIRST_WORD, config.vocab_size, (length,))
        ids[:pictures] = config.vocab_size + 1
        labels = torch.where(torch.arange(length) < length * 2 // 3, IGNORED, ids)
        pixels = list(torch.randn(pictures, 3, 224, 224))
        samples.append(Sample(ids.tolist(), labels.tolist(), pixels))
    return samples


def padded(samples: list[Sample], image: int) -> dict[str, torch.Tensor]:
    rows, longest = len(samples), max(len(sample.ids_T) for sample in samples)
    most = max(1, *(len(sample.pixels_NCHW) for sample in samples))
    ids, mask = (
        torch.zeros(rows, longest, dtype=torch.long),
        torch.zeros(rows, longest, dtype=torch.long),
    )
    labels, pixels = torch.full((rows, longest), IGNORED), torch.zeros(rows, most, 3, 224, 224)
    for row, sample in enumerate(samples):
        length, pictures = len(sample.ids_T), len(sample.pixels_NCHW)
        ids[row, :length], mask[row, :length] = torch.tensor(sample.ids_T), 1
        labels[row, :length] = torch.tensor(sample.labels_T)
        if pictures:
            pixels[row, :pictures] = torch.stack(sample.pixels_NCHW)
    seen = picture_mask(ids, image=image, pictures=most)
    return {
        "input_ids": ids, "attention_mask": mask, "labels": labels, "pixel_values": pixels, "image_attention_mask": seen,
    }  # fmt: skip


def packed(samples: list[Sample], image: int) -> dict[str, torch.Tensor]:
    """Pack as the processor does, without its tokenizer."""
    ends = torch.tensor([len(sample.ids_T) for sample in samples]).cumsum(0)
    masks = [
        picture_mask(torch.tensor([sample.ids_T]), image=image, pictures=len(sample.pixels_NCHW))[0]
        for sample in samples
    ]
    return {
        "input_ids": torch.tensor([[token for sample in samples for token in sample.ids_T]]),
        "labels": torch.tensor([[label for sample in samples for label in sample.labels_T]]),
        "cu_seq_lens": pad(ends, (1, 0)).int(),
        "pixel_values": torch.stack([one for sample in samples for one in sample.pixels_NCHW])[
            None
        ],
        "image_attention_mask": torch.block_diag(*masks).bool()[None],
    }


def learning(theirs: Any, ours: Idefics, samples: list[Sample], rounds: int) -> dict[str, object]:
    image = ours.config.vocab_size + 1
    batch, row = padded(samples, image), packed(samples, image)
    labels = batch.pop("labels")
    theirs.train()
    ours.train()

    def their_step() -> torch.Tensor:
        logits = theirs(**batch, use_cache=False).logits[:, :-1].flatten(0, 1)
        return cross_entropy(logits.float(), labels[:, 1:].flatten(), ignore_index=IGNORED)

    def step(model: Any, loss: Callable[[], torch.Tensor]) -> float:
        model.zero_grad()
        value = loss()
        value.backward()
        return float(value.detach())

    (slow, their_loss), (fast, our_loss) = turns(
        rounds, lambda: step(theirs, their_step), lambda: step(ours, lambda: ours(**row).loss)
    )
    assert abs(their_loss - our_loss) < 1e-3, (their_loss, our_loss)
    taught = int((labels[:, 1:] != IGNORED).sum())
    return line(f"a step, {taught} taught tokens", slow, fast, "same loss")


def writing(theirs: Any, ours: Idefics, new: int, rounds: int) -> dict[str, object]:
    image = ours.config.vocab_size + 1
    torch.manual_seed(2)
    ids = torch.randint(FIRST_WORD, ours.config.vocab_size, (1, 80))
    ids[0, ::20] = image
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.randn(1, 4, 3, 224, 224),
        "image_attention_mask": picture_mask(ids, image=image, pictures=4),
    }

    def write(model: Any) -> list[int]:
        model.eval()
        written = model.generate(**inputs, max_new_tokens=new, min_new_tokens=new, do_sample=False)
        return [int(token) for token in written[0]]

    (slow, their_ids), (fast, our_ids) = turns(rounds, lambda: write(theirs), lambda: write(ours))
    assert their_ids == our_ids
    return line(f"{new} tokens, 4 pictures", slow, fast, "same ids")


def turns(rounds: int, *calls: Callable[[], Any]) -> list[tuple[float, Any]]:
    """Call in turns, once more for what is made at the first call; return the median seconds and the last answer of each."""
    found: list[Any] = [call() for call in calls]
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for nth, call in enumerate(calls):
            started = time.perf_counter()
            found[nth] = call()
            times[nth].append(time.perf_counter() - started)
    return [(median(seconds), answer) for seconds, answer in zip(times, found, strict=True)]


def line(what: str, slow: float, fast: float, agreed: str) -> dict[str, object]:
    return {
        "what": what,
        "transformers, s": f"{slow:.3g}",
        "ours, s": f"{fast:.3g}",
        "ratio": f"{slow / fast:.3g}x",
        "agreed": agreed,
    }


if __name__ == "__main__":
    main()
