"""Otter on every family of language models: it sees, it writes with a cache what it writes without, it packs, it is saved."""

import json
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from tests.trainer.backbones import (  # noqa: E402
    ANSWER,
    BACKBONES,
    END,
    IMAGE,
    PAD,
    WORDS,
    pictures,
    tiny,
)
from trainer.models.loss import IGNORED  # noqa: E402
from trainer.models.otter import Otter, OtterConfig  # noqa: E402

EXACT = {"atol": 1e-5, "rtol": 1e-5}
PROMPT = torch.tensor([[5, 6, IMAGE, 7, 8, 9, 10, 11, ANSWER]])
SAMPLES = [  # ids, media
    ([IMAGE, 5, 6, 7, ANSWER, 8, 9, END], 1),
    ([10, 11, 12, ANSWER, 13, END], 0),
    ([14, IMAGE, 15, IMAGE, 16, 17, 18, 19, 20, ANSWER, 21, 22, 23, END], 2),
]
"""One picture; none; text before the first of two."""


@pytest.fixture(scope="module", params=BACKBONES)
def model(request):
    return tiny(request.param)


def labels_of(ids):
    answer = ids.index(ANSWER)
    return [IGNORED] * (answer + 1) + ids[answer + 1 :]


def alone(nth):
    """Return a sample's inputs, with a blank medium where it has none."""
    ids, media = SAMPLES[nth]
    pixels = pictures(nth, media) if media else None
    return {
        "input_ids": torch.tensor([ids]),
        "labels": torch.tensor([labels_of(ids)]),
        "pixel_values": pixels,
    }


def packed(order):
    """Return samples as one row."""
    ids, labels, positions, time, cuts, pixels, shown = [], [], [], [], [0], [], 0
    for nth in order:
        sample, media = SAMPLES[nth]
        ids += sample
        labels += labels_of(sample)
        positions += range(len(sample))
        seen = 0
        for token in sample:
            seen += token == IMAGE
            time.append(shown + seen if seen else 0)
        shown += media
        cuts.append(len(ids))
        if media:
            pixels.append(pictures(nth, media))
    return {
        "input_ids": torch.tensor([ids]),
        "labels": torch.tensor([labels]),
        "position_ids": torch.tensor([positions]),
        "text_time": torch.tensor([time]),
        "cu_seq_lens": torch.tensor(cuts, dtype=torch.int32),
        "pixel_values": torch.cat(pixels, dim=1),
    }


@torch.no_grad()
def test_a_token_sees_its_medium_and_none_before_it(model):
    one = model(PROMPT, pixel_values=pictures(1)).logits
    other = model(PROMPT, pixel_values=pictures(2)).logits

    assert torch.equal(one[:, :2], other[:, :2])
    assert (one - other)[:, 2:].abs().amax(dim=-1).min() > 1e-4


@torch.no_grad()
def test_the_loss_is_that_of_the_logits(model):
    inputs = alone(2)
    labels = inputs.pop("labels")

    loss = model(**inputs, labels=labels).loss

    logits = model(**inputs).logits
    wanted = F.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=IGNORED)
    torch.testing.assert_close(loss, wanted, **EXACT)


def write(model, ids, use_cache, **settings):
    return model.generate(
        ids,
        attention_mask=(ids != PAD).long(),
        max_new_tokens=8,
        min_new_tokens=8,
        use_cache=use_cache,
        output_logits=True,
        return_dict_in_generate=True,
        **{"do_sample": False, **settings},
    )


def assert_same(one, other):
    assert one.sequences.tolist() == other.sequences.tolist()
    torch.testing.assert_close(torch.stack(one.logits), torch.stack(other.logits), **EXACT)


@pytest.mark.parametrize("beams", [1, 3])
def test_cached_logits_are_the_uncached_ones(model, beams):
    settings = {"pixel_values": pictures(1), "num_beams": beams}
    assert_same(write(model, PROMPT, True, **settings), write(model, PROMPT, False, **settings))


def test_a_batch_padded_on_the_left_is_answered_as_each_row_alone(model):
    """Rows of different lengths, with different numbers of media and of frames."""
    long = torch.tensor([[IMAGE, 5, 6, IMAGE, 7, 8, 9, ANSWER]])
    short = torch.tensor([[11, IMAGE, 12, ANSWER]])
    both = torch.cat([long, F.pad(short, (4, 0), value=PAD)])
    pixels, mask = torch.zeros(2, 2, 2, 3, 8, 8), torch.zeros(2, 2, 2, dtype=torch.bool)
    pixels[0], mask[0] = pictures(1, 2, 2)[0], True
    pixels[1, :1, :1], mask[1, :1, :1] = pictures(2)[0], True

    together = write(model, both, True, pixel_values=pixels, frame_mask=mask)

    first = write(model, long, True, pixel_values=pictures(1, 2, 2))
    second = write(model, short, True, pixel_values=pictures(2))
    assert together.sequences[0].tolist() == first.sequences[0].tolist()
    assert together.sequences[1, 4:].tolist() == second.sequences[0].tolist()
    for row, single in enumerate((first, second)):
        torch.testing.assert_close(
            torch.stack(together.logits)[:, row], torch.stack(single.logits)[:, 0], **EXACT
        )


def test_a_cache_of_fixed_size_gives_the_same_logits_behind_padding(model):
    padded = F.pad(PROMPT, (3, 0), value=PAD)
    settings = {"pixel_values": pictures(1), "cache_implementation": "static"}

    fixed = write(model, padded, True, **settings)

    growing = write(model, PROMPT, True, pixel_values=pictures(1))
    assert fixed.sequences[:, 3:].tolist() == growing.sequences.tolist()
    torch.testing.assert_close(torch.stack(fixed.logits), torch.stack(growing.logits), **EXACT)


def test_answers_written_at_the_same_time_are_each_about_their_own_pictures(model):
    def answer(seed):
        settings = {"pixel_values": pictures(seed), "num_beams": 1 + seed % 2}
        return torch.stack(write(model, PROMPT, True, **settings).logits)

    alone = [answer(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(answer, [0, 1, 2, 3] * 2))

    assert not torch.equal(alone[0], alone[2])
    assert all(torch.equal(logits, alone[i % 4]) for i, logits in enumerate(together))


def test_samples_of_one_prompt_are_those_without_a_cache(model):
    def sampled(use_cache):
        torch.manual_seed(0)
        return write(
            model, PROMPT, use_cache,
            pixel_values=pictures(1), do_sample=True, num_return_sequences=3, temperature=1.5,
        )  # fmt: skip

    assert_same(sampled(True), sampled(False))


@torch.no_grad()
def test_keys_and_values_of_media_made_once_give_the_same_logits(model):
    media = model.see(pictures(1))

    torch.testing.assert_close(
        model(PROMPT, media_kv=model.keys_values(media)).logits,
        model(PROMPT, media=media).logits,
        **EXACT,
    )


def implementations(model):
    names = ["packed", "sdpa", "eager"]
    return [
        name
        for name in names
        if name != "eager" or model.config.text_config.model_type not in ("mpt", "mosaic_gpt")
    ]


@torch.no_grad()
@pytest.mark.parametrize("nth", range(3))
def test_a_packed_sample_has_the_logits_it_has_alone(model, nth):
    order = [2, 0, 1]
    row = packed(order)
    row.pop("labels")
    sample = alone(nth)
    sample.pop("labels")
    at = sum(len(SAMPLES[before][0]) for before in order[: order.index(nth)])
    wanted = model(**sample).logits[0]

    for name in implementations(model):
        model.set_attn_implementation({"text_config": name})
        logits = model(**row).logits[0, at : at + len(wanted)]
        model.set_attn_implementation({"text_config": "sdpa"})
        torch.testing.assert_close(logits, wanted, **EXACT, msg=lambda m, n=name: f"{n}: {m}")


def test_the_loss_and_gradients_of_a_packed_row_are_the_sums_of_the_separate_ones(model):
    model.set_attn_implementation({"text_config": "packed"})
    model(**packed([0, 1, 2]), num_items_in_batch=1).loss.backward()
    together = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    losses = [model(**alone(nth), num_items_in_batch=1).loss for nth in range(3)]
    sum(losses).backward()
    with torch.no_grad():
        loss = model(**packed([0, 1, 2]), num_items_in_batch=1).loss
    model.set_attn_implementation({"text_config": "sdpa"})

    torch.testing.assert_close(loss, sum(losses).detach(), **EXACT)
    apart = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert together.keys() == apart.keys()
    for name, gradient in apart.items():
        torch.testing.assert_close(together[name], gradient, atol=1e-4, rtol=1e-4)
    model.zero_grad()


@torch.no_grad()
def test_nothing_of_one_packed_sample_reaches_another(model):
    model.set_attn_implementation({"text_config": "packed"})
    row = packed([0, 1, 2])
    row.pop("labels")
    before = model(**row).logits
    row["input_ids"][0, 1:4] = torch.tensor([50, 51, 52])
    row["pixel_values"][:, 0] += 1

    after = model(**row).logits
    model.set_attn_implementation({"text_config": "sdpa"})

    cut = len(SAMPLES[0][0])
    assert torch.equal(before[:, cut:], after[:, cut:])
    assert not torch.allclose(before[:, :cut], after[:, :cut])


@torch.no_grad()
def test_positions_in_a_packed_row_are_counted_where_they_are_not_given(model):
    row = packed([2, 0, 1])
    row.pop("labels")
    wanted = model(**row).logits

    del row["position_ids"]

    assert torch.equal(model(**row).logits, wanted)


@torch.no_grad()
def test_more_words_leave_what_is_said_as_it_was(model, tmp_path):
    grown = deepcopy(model)
    wanted = model(PROMPT, pixel_values=pictures(1)).logits

    grown.resize_token_embeddings(WORDS + 8, mean_resizing=False)
    grown.save_pretrained(tmp_path)
    loaded = Otter.from_pretrained(tmp_path)
    logits = loaded.eval()(PROMPT, pixel_values=pictures(1)).logits

    assert loaded.config.text_config.vocab_size == logits.shape[-1] == WORDS + 8
    torch.testing.assert_close(logits[..., :WORDS], wanted, **EXACT)


def test_gradient_checkpointing_changes_no_gradient(model):
    def gradients():
        model.train()
        model.zero_grad()
        model(**alone(2)).loss.backward()
        model.eval()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    plain = gradients()
    model.activation_checkpointing_enable()
    again = gradients()
    model.activation_checkpointing_disable()
    model.zero_grad()

    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, **EXACT)


@torch.no_grad()
def test_a_saved_model_is_the_same(model, tmp_path):
    model.save_pretrained(tmp_path)

    loaded, report = Otter.from_pretrained(tmp_path, output_loading_info=True)

    assert not any(report.values()), report
    torch.testing.assert_close(
        loaded.eval()(PROMPT, pixel_values=pictures(1)).logits,
        model(PROMPT, pixel_values=pictures(1)).logits,
        **EXACT,
    )


@torch.no_grad()
def test_bf16_sees_what_float32_sees(model):
    half = Otter(model.config)
    half.load_state_dict(model.state_dict())
    logits = half.to(torch.bfloat16).eval()(PROMPT, pixel_values=pictures(1)).logits.float()

    wanted = model(PROMPT, pixel_values=pictures(1)).logits
    assert (logits - wanted).abs().max() < 0.05 * wanted.abs().max()


def test_a_saved_model_needs_nothing_but_transformers(tmp_path):
    """The folder takes its own code along, once more when it is saved from there; the project cannot be imported."""
    wanted = []
    for name in ("llama", "mpt"):
        model = tiny(name)
        model.save_pretrained(tmp_path / name)
        with torch.no_grad():
            wanted += [model(PROMPT, pixel_values=pictures(1)).logits[0, -1, :8].tolist()] * 2
    script = textwrap.dedent(f"""
        import sys
        class Nothing:
            def find_spec(self, name, *_):
                if name.partition(".")[0] in ("trainer", "mimicit", "syphus"):
                    raise ImportError(name)
        sys.meta_path.insert(0, Nothing())
        import torch
        from transformers import AutoModelForImageTextToText
        pixels = torch.randn(1, 1, 1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        for name in ("llama", "mpt"):
            for folder in (name, name + "_again"):
                model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True).eval()
                with torch.no_grad():
                    print(model(torch.tensor({PROMPT.tolist()}), pixel_values=pixels).logits[0, -1, :8].tolist())
                model.save_pretrained(name + "_again")
    """)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, cwd=tmp_path, check=False,
        env={"HF_HOME": str(tmp_path / "hub"), "PATH": str(Path(sys.executable).parent), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    found = torch.tensor([json.loads(line) for line in done.stdout.splitlines()])
    torch.testing.assert_close(found, torch.tensor(wanted), **EXACT)


def test_a_language_model_that_cannot_be_shown_pictures_is_refused():
    text = {
        "model_type": "falcon", "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "new_decoder_architecture": False, "multi_query": True,
    }  # fmt: skip
    config = tiny("llama").config.to_dict() | {"text_config": text}
    model = Otter(OtterConfig(**config))

    with pytest.raises(ValueError, match=r"Falcon.* cannot be shown pictures"):
        model(PROMPT, pixel_values=pictures(1))


def test_prompts_padded_on_the_right_are_refused(model):
    mask = torch.ones_like(PROMPT)
    mask[:, -1] = 0
    with pytest.raises(ValueError, match="padded on the left"):
        model.generate(PROMPT, attention_mask=mask, pixel_values=pictures(1))
