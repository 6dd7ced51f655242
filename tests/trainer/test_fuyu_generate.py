"""Fuyu writes: cached, padded on the left, in beams and samples, in many threads."""

from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch")

from transformers import FuyuForCausalLM, TextStreamer  # noqa: E402

from tests.trainer.fuyu import END, PATCH, fuyu, noise, processor_of, with_implementation  # noqa: E402
from tests.trainer.fuyu import config as tiny  # noqa: E402
from trainer.models.fuyu import Fuyu  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return fuyu()


@pytest.fixture(scope="module")
def processor():
    return processor_of()


# Writing


@pytest.fixture(scope="module")
def prompts(processor):
    """Return a batch of prompts with one, two and no pictures."""
    return processor(
        images=[[noise(9, 6)], [noise(8, 8, 1), noise(5, 12, 2)], []],
        text=["what", "is <image> cat <image> in many how", "red"],
    )


def alone(prompts, row):
    """Return one row of the batch, without its padding."""
    real = prompts["attention_mask"][row].bool()
    counts = (prompts["input_ids"] == PATCH).sum(1)
    start = int(counts[:row].sum())
    ids = prompts["input_ids"][row][real][None]
    one = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if counts[row]:
        one["pixel_values"] = prompts["pixel_values"][start : start + int(counts[row])]
    return one


@torch.no_grad()
def said(model, one, written):
    """Return the logits of written tokens, computed at once without a cache."""
    ids = torch.cat((one["input_ids"], written[None]), 1)
    inputs = one | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    prompt = one["input_ids"].shape[1]
    if "pixel_values" in one:
        places = (one["input_ids"][0] == PATCH).nonzero().flatten()
        inputs["patch_positions"] = places
    return model(**inputs).logits[0, prompt - 1 : -1]


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager", "packed"])
def test_left_padded_prompts_are_written_on_as_if_alone(model, prompts, use_cache, implementation):
    with_implementation(model, implementation)
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}

    together = model.generate(**prompts, **options, use_cache=use_cache)

    length = prompts["input_ids"].shape[1]
    for row in range(3):
        one = alone(prompts, row)
        written = model.generate(**one, **options)[0, one["input_ids"].shape[1] :]
        assert together[row, length:].tolist() == written.tolist()
        assert said(model, one, written).argmax(-1).tolist() == written.tolist()


def test_a_placeholder_that_the_model_writes_shows_nothing(model, prompts):
    with_implementation(model, "sdpa")
    options = {
        "max_new_tokens": 4,
        "do_sample": False,
        "prefix_allowed_tokens_fn": lambda _row, _ids: [PATCH],
        "eos_token_id": None,
        "pad_token_id": 0,
        "return_dict_in_generate": True,
        "output_logits": True,
    }

    cached, uncached = (
        model.generate(**prompts, **options, use_cache=use_cache) for use_cache in (True, False)
    )

    assert (uncached.sequences[:, -4:] == PATCH).all()
    torch.testing.assert_close(
        torch.stack(cached.logits), torch.stack(uncached.logits), atol=1e-4, rtol=1e-4
    )


def test_pictures_decide_what_is_written(model, prompts):
    with_implementation(model, "sdpa")
    changed = dict(prompts) | {"pixel_values": prompts["pixel_values"].flip(0)}
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}

    before, after = (model.generate(**given, **options) for given in (dict(prompts), changed))

    assert before[2].tolist() == after[2].tolist()
    assert before[0].tolist() != after[0].tolist()


def test_beams_see_whole_pictures(model, prompts):
    with_implementation(model, "sdpa")
    found = model.generate(
        **prompts, num_beams=3, num_return_sequences=2, max_new_tokens=6, do_sample=False,
        eos_token_id=None, pad_token_id=0, return_dict_in_generate=True, output_scores=True, length_penalty=0.0,
    )  # fmt: skip

    length = prompts["input_ids"].shape[1]
    for number, (sequence, score) in enumerate(
        zip(found.sequences, found.sequences_scores, strict=True)
    ):
        one, written = alone(prompts, number // 2), sequence[length:]
        logits = said(model, one, written).log_softmax(-1)
        likelihood = logits.gather(1, written[:, None]).sum()
        torch.testing.assert_close(score, likelihood, atol=1e-4, rtol=1e-4)


def test_samples_of_one_prompt_see_its_picture(model, prompts):
    with_implementation(model, "sdpa")
    torch.manual_seed(3)
    found = model.generate(
        **prompts, num_return_sequences=2, max_new_tokens=6, do_sample=True, top_k=0,
        eos_token_id=None, pad_token_id=0, return_dict_in_generate=True, output_logits=True,
    )  # fmt: skip

    length = prompts["input_ids"].shape[1]
    logits = torch.stack(found.logits, 1)
    for number, sequence in enumerate(found.sequences):
        again = said(model, alone(prompts, number // 2), sequence[length:])
        torch.testing.assert_close(logits[number], again, atol=1e-4, rtol=1e-4)
    assert found.sequences[0].tolist() != found.sequences[1].tolist()


def test_a_streamer_gets_what_is_written(model, prompts, processor, capsys):
    one = alone(prompts, 0)
    streamer = TextStreamer(processor.tokenizer, skip_prompt=True)

    written = model.generate(
        **one, max_new_tokens=5, do_sample=False, streamer=streamer, pad_token_id=0
    )

    text = processor.tokenizer.decode(written[0, one["input_ids"].shape[1] :])
    assert capsys.readouterr().out.strip() == text.strip()


def test_requests_in_many_threads_see_their_own_pictures(model, processor):
    with_implementation(model, "sdpa")
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    requests = [
        processor(
            images=[[noise(9 + seed, 6, seed)], [noise(4, 4, seed + 50)] * (seed % 3)],
            text=["what is in many", "red"],
        )
        for seed in range(12)
    ]
    one_by_one = [model.generate(**request, **options).tolist() for request in requests]

    with ThreadPoolExecutor(6) as pool:
        together = list(
            pool.map(lambda request: model.generate(**request, **options).tolist(), requests * 2)
        )

    assert together == one_by_one * 2
    assert len({str(written) for written in one_by_one}) > 6


def test_fitted_to_a_tokenizer_it_ends_where_taught_answers_end(tmp_path, processor):
    config = tiny()
    config.image_token_id, config.text_config.eos_token_id = 5, 2  # as published
    model = Fuyu(config).eval()
    model.fit(processor.tokenizer)
    torch.nn.init.zeros_(model.lm_head.weight)
    model.model.language_model.final_layernorm.bias.data.fill_(1)
    model.lm_head.weight.data[PATCH] = 2
    model.lm_head.weight.data[END] = 1
    prompt = processor(images=noise(9, 6), text="what")
    length = prompt["input_ids"].shape[1]

    model.save_pretrained(tmp_path)
    theirs = FuyuForCausalLM.from_pretrained(tmp_path)

    for one in (model, Fuyu.from_pretrained(tmp_path), theirs):
        assert one.config.image_token_id == PATCH
        written = one.generate(**prompt, max_new_tokens=5, do_sample=False)
        assert written[0, length:].tolist() == [END]


def test_a_tokenizer_that_does_not_fit_is_refused(processor):
    with pytest.raises(ValueError, match="457 words, but the model has 400; call resize"):
        Fuyu(tiny(vocab_size=400)).fit(processor.tokenizer)


def test_patches_of_another_size_are_refused(model):
    prompt = processor_of(patch_size=8)(images=noise(9, 6), text="what")

    with pytest.raises(
        ValueError, match=r"192 numbers, but the model's has 4 × 4 × 3.*patch_size=4"
    ):
        model(**prompt)
