import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional as F
from transformers import IdeficsForVisionText2Text, LlamaConfig

from tests.trainer.idefics import (
    CLOSE,
    ask,
    make_model,
    make_processor,
    picture,
    prompts,
    samples_of,
    say,
)
from trainer.models.idefics import Idefics
from trainer.models.loss import IGNORED


@pytest.fixture(scope="module")
def processor():
    return make_processor()


@pytest.fixture(scope="module")
def model(processor):
    return make_model(processor)


def logits_of(model, batch):
    """Return the logits of the real tokens, row by row."""
    with torch.no_grad():
        logits = model(**{name: part for name, part in batch.items() if name != "labels"}).logits
    return [row[mask.bool()] for row, mask in zip(logits, batch["attention_mask"], strict=True)]


def by_hand(logits_BTV, labels_BT):
    return F.cross_entropy(
        logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten(), ignore_index=IGNORED
    )


@pytest.mark.parametrize("attention", ["sdpa", "eager", "packed"])
@pytest.mark.parametrize("resampler", [True, False])
def test_weights_and_logits_are_those_of_transformers_own_class(
    processor, tmp_path, attention, resampler
):
    model = make_model(processor, resampler=resampler)
    model.save_pretrained(tmp_path / "ours")
    theirs = IdeficsForVisionText2Text.from_pretrained(tmp_path / "ours").eval()
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"] == [
        "IdeficsForVisionText2Text"
    ]
    theirs.save_pretrained(tmp_path / "theirs")
    ours = Idefics.from_pretrained(tmp_path / "theirs").eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    batch = processor.collate(samples_of(processor), always_pictures=True)
    theirs.set_attn_implementation("sdpa" if attention == "packed" else attention)
    ours.set_attn_implementation(attention)
    expected = logits_of(theirs, batch)
    for found in (logits_of(ours, batch), logits_of(model, batch)):
        torch.testing.assert_close(found, expected, **CLOSE)


def test_the_loss_is_over_all_words_at_taught_positions(processor, model):
    batch = processor.collate(samples_of(processor))
    assert model.words == len(processor.tokenizer) == 263
    with torch.no_grad():
        logits = model(**{**batch, "labels": None}).logits
        loss = model(**batch).loss
        summed = model(**batch, num_items_in_batch=10).loss
    assert logits.shape[-1] == 263
    torch.testing.assert_close(loss, by_hand(logits, batch["labels"]))
    taught = int((batch["labels"] != IGNORED).sum())
    torch.testing.assert_close(summed * 10, loss * taught)
    # END is an additional word, and taught: where transformers' own loss cannot count it, ours must.
    assert int((batch["labels"] >= model.config.vocab_size).sum()) == 5
    batch["labels"].fill_(IGNORED)
    assert model(**batch).loss == 0


def test_a_row_does_not_depend_on_what_else_is_in_the_batch(processor, model):
    samples = samples_of(processor)
    for side in ("right", "left"):
        together = logits_of(model, processor.collate(samples, side=side))
        for sample, row in zip(samples, together, strict=True):
            (alone,) = logits_of(model, processor.collate([sample]))
            torch.testing.assert_close(row, alone, **CLOSE)


@pytest.mark.parametrize("cls", [Idefics, IdeficsForVisionText2Text])
def test_a_token_sees_its_latest_picture_and_no_other(processor, model, cls):
    """Also transformers' own: in 4.35 a token that attends to no picture saw the mean of all."""
    other = cls(model.config).eval()
    other.load_state_dict(model.state_dict())
    batch = processor.collate(samples_of(processor), always_pictures=True)
    del batch["labels"]
    seen = batch["image_attention_mask"]
    pixels = batch["pixel_values"].requires_grad_()
    logits = other(**batch).logits
    weight = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    places = torch.arange(seen.shape[1])
    for row, first in enumerate([seen[row].any(-1).long().argmax() for row in range(len(seen))]):
        blind = (places < first) if seen[row].any() else places >= 0
        (grad,) = torch.autograd.grad(
            (logits[row, blind] * weight[row, blind]).sum(), pixels, retain_graph=True
        )
        assert not grad.any(), f"row {row} sees a picture before there is one"
    at_first = seen[0, :, 0] & batch["attention_mask"][0].bool()
    (grad,) = torch.autograd.grad((logits[0, at_first] * weight[0, at_first]).sum(), pixels)
    assert grad[0, 0].any()
    assert not grad[0, 1].any()
    assert not grad[1:].any()


def test_the_mask_is_counted_from_the_tokens_where_it_is_left_out(processor, model):
    batch = processor.collate(samples_of(processor))
    expected = logits_of(model, batch)
    del batch["image_attention_mask"]
    torch.testing.assert_close(logits_of(model, batch), expected)
    with pytest.raises(ValueError, match="'<image>' tokens but there are no pictures"):
        logits_of(model, batch | {"pixel_values": None})
    batch["pixel_values"] = batch["pixel_values"][:, :1]
    with pytest.raises(ValueError, match="2 '<image>' tokens but only 1 pictures"):
        logits_of(model, batch)


def test_a_mask_for_another_number_of_pictures_is_refused(processor, model):
    batch = processor.collate(samples_of(processor))
    batch["image_attention_mask"] = batch["image_attention_mask"][..., :1]
    with pytest.raises(ValueError, match=r"shape \(4, \d+, 1\), but there are .* 2 pictures a row"):
        logits_of(model, batch)


def test_texts_alone_need_no_pictures(processor, model):
    sample = samples_of(processor)[1]
    without, with_zeros = (
        processor.collate([sample]),
        processor.collate([sample], always_pictures=True),
    )
    assert "pixel_values" not in without
    torch.testing.assert_close(logits_of(model, without), logits_of(model, with_zeros))


def test_a_step_on_texts_alone_gives_every_parameter_a_gradient(processor):
    model = make_model(processor).train()
    samples = samples_of(processor)
    reached = []
    for chosen in (samples[:1], samples[1:2]):
        model.zero_grad(set_to_none=True)
        model(**processor.collate(chosen)).loss.backward()
        reached.append({name for name, part in model.named_parameters() if part.grad is not None})
    assert reached[0] == reached[1]


@pytest.mark.parametrize("attention", ["sdpa", "eager", "packed"])
def test_the_packed_loss_is_the_sum_of_the_separate_ones(processor, attention):
    model = make_model(processor)
    model.set_attn_implementation(attention)
    samples = samples_of(processor)
    losses, grads = [], []
    for groups in ([[sample] for sample in samples], [samples]):
        model.zero_grad()
        batches = [
            processor.pack(group) if len(groups) == 1 else processor.collate(group)
            for group in groups
        ]
        parts = [model(**batch, num_items_in_batch=1).loss for batch in batches]
        sum(parts).backward()
        losses.append(sum(parts).detach())
        grads.append(
            {
                name: part.grad.clone()
                for name, part in model.named_parameters()
                if part.grad is not None
            }
        )
    torch.testing.assert_close(losses[1], losses[0])
    assert grads[1].keys() == grads[0].keys()
    for name, expected in grads[0].items():
        torch.testing.assert_close(grads[1][name], expected, atol=1e-3, rtol=1e-3, msg=name)


def test_packed_logits_are_those_of_the_samples(processor, model):
    samples = samples_of(processor)
    packed = processor.pack(samples)
    del packed["labels"], packed["position_ids"]
    with torch.no_grad():
        found = model(**packed).logits[0].split([len(sample.ids_T) for sample in samples])
    for sample, row in zip(samples, found, strict=True):
        (alone,) = logits_of(model, processor.collate([sample]))
        torch.testing.assert_close(row, alone, **CLOSE)


# ── generation ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def written(model, inputs, **options):
    settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None} | options
    output = model.generate(**inputs, **settings, output_logits=True, return_dict_in_generate=True)
    return output.sequences[:, inputs["input_ids"].shape[1] :], torch.stack(output.logits, dim=1)


@pytest.mark.parametrize("resampler", [True, False])
@pytest.mark.parametrize("beams", [1, 3])
def test_cached_generation_is_uncached_generation(processor, resampler, beams):
    model = make_model(processor, resampler=resampler)
    inputs = processor(prompts())
    (ids, logits), (plain_ids, plain_logits) = (
        written(model, inputs, num_beams=beams, use_cache=cached) for cached in (True, False)
    )
    assert torch.equal(ids, plain_ids)
    torch.testing.assert_close(logits, plain_logits, **CLOSE)
    for row, messages in enumerate(prompts()):
        alone, alone_logits = written(model, processor(messages), num_beams=beams)
        assert torch.equal(alone[0], ids[row])
        torch.testing.assert_close(
            alone_logits[:beams], logits[row * beams : (row + 1) * beams], **CLOSE
        )


def test_transformers_own_class_writes_the_same(processor, model, tmp_path):
    model.save_pretrained(tmp_path)
    theirs = IdeficsForVisionText2Text.from_pretrained(tmp_path).eval()
    inputs = processor(prompts())
    ids, logits = written(model, inputs)
    their_ids, their_logits = written(theirs, inputs)
    assert torch.equal(ids, their_ids)
    torch.testing.assert_close(logits, their_logits, **CLOSE)


def test_the_picture_stays_visible_to_what_is_written(processor, model):
    inputs = processor(prompts()[0])
    _, logits = written(model, inputs)
    inputs["pixel_values"] = inputs["pixel_values"].clone()
    inputs["pixel_values"][:, 0] = 0  # seen by the earlier turn
    forced = written(model, inputs)[1]
    inputs["pixel_values"][:, 1] = 0  # seen by the answer
    assert not torch.allclose(written(model, inputs)[1][:, -1], forced[:, -1], atol=1e-3)
    assert logits.shape == forced.shape


def test_pictures_are_looked_at_once(processor, model):
    calls = {"vision": 0, "keys": 0}

    def counts(name):
        return lambda *_: calls.__setitem__(name, calls[name] + 1)

    hooks = [
        model.model.vision_model.register_forward_hook(counts("vision")),
        model.model.gated_cross_attn_layers[1].cross_attn.k_proj.register_forward_hook(
            counts("keys")
        ),
    ]
    written(model, processor(prompts()))
    for hook in hooks:
        hook.remove()
    assert calls == {"vision": 1, "keys": 1}


def test_a_placeholder_is_never_written(processor):
    model = make_model(processor)
    with torch.no_grad():
        model.lm_head.additional_fc.weight[processor.image_id - model.config.vocab_size] *= 1000
    ids, _ = written(model, processor(prompts()), max_new_tokens=20)
    assert not torch.isin(ids, torch.tensor([processor.image_id, processor.fake_id])).any()


def test_requests_at_the_same_time_do_not_see_each_others_pictures(processor, model):
    requests = [
        [ask(picture(number), "Which is it?", *[picture(number + 1)] * (number % 2))]
        for number in range(6)
    ]
    inputs = [processor(messages) for messages in requests]
    alone = [written(model, given, max_new_tokens=12) for given in inputs]
    with ThreadPoolExecutor(max_workers=len(inputs)) as pool:
        together = list(pool.map(lambda given: written(model, given, max_new_tokens=12), inputs))
    assert len({tuple(ids[0].tolist()) for ids, _ in alone}) > 1
    for (ids, logits), (expected_ids, expected) in zip(together, alone, strict=True):
        assert torch.equal(ids, expected_ids)
        torch.testing.assert_close(logits, expected, **CLOSE)


def test_prompts_padded_on_the_right_are_refused(processor, model):
    inputs = processor.collate([processor.encode(messages) for messages in prompts()])
    del inputs["labels"]
    with pytest.raises(ValueError, match="padded on the left"):
        model.generate(**inputs)


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tied", [False, True])
def test_new_words_fit_and_old_logits_stay(processor, tied):
    model = make_model(processor, tie_word_embeddings=tied)
    batch = processor.collate(samples_of(processor))
    before = logits_of(model, batch)
    model.resize_token_embeddings(270)
    after = logits_of(model, batch)
    assert (model.config.vocab_size, model.config.additional_vocab_size) == (259, 11)
    assert after[0].shape[-1] == model.words == 270
    torch.testing.assert_close([row[:, :263] for row in after], before)
    assert (
        model.lm_head.additional_fc.weight is model.model.embed_tokens.additional_embedding.weight
    ) == tied
    model.resize_token_embeddings(pad_to_multiple_of=64)
    assert model.words == 320
    with pytest.raises(ValueError, match="cannot be cut to 200"):
        model.resize_token_embeddings(200)


def test_a_taught_answer_mark_has_an_embedding_of_its_own(processor):
    model = make_model(processor)
    model(**processor.collate(samples_of(processor))).loss.backward()
    row = model.model.embed_tokens.additional_embedding.weight.grad[processor.answer_id - 259]
    assert row.abs().sum() > 0


@pytest.mark.parametrize("tied", [False, True])
def test_a_merged_head_gives_the_same_logits_everywhere(processor, tmp_path, tied):
    model = make_model(processor, tie_word_embeddings=tied)
    batch = processor.collate(samples_of(processor), always_pictures=True)
    expected, loss = logits_of(model, batch), model(**batch).loss
    ids, _ = written(model, processor(prompts()))
    model.merge_head()
    assert type(model.get_input_embeddings()) is torch.nn.Embedding
    assert type(model.get_output_embeddings()) is torch.nn.Linear
    assert (model.config.vocab_size, model.config.additional_vocab_size) == (263, 0)
    torch.testing.assert_close(logits_of(model, batch), expected)
    torch.testing.assert_close(model(**batch).loss, loss)
    # What a fused loss does:
    inputs = {name: part for name, part in batch.items() if name != "labels"}
    hidden = model.model(**inputs).last_hidden_state
    by_weight = hidden @ model.get_output_embeddings().weight.T
    torch.testing.assert_close(by_weight[0], model(**inputs).logits[0], **CLOSE)
    model.save_pretrained(tmp_path)
    for cls in (Idefics, IdeficsForVisionText2Text):
        loaded = cls.from_pretrained(tmp_path).eval()
        torch.testing.assert_close(logits_of(loaded, batch), expected, **CLOSE)
        assert torch.equal(written(loaded, processor(prompts()))[0], ids)
        assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
    # Transformers' own loss can count all words now.
    torch.testing.assert_close(loaded(**batch).loss, loss, **CLOSE)
    model.resize_token_embeddings(265)
    assert model.words == 265
    torch.testing.assert_close([row[:, :263] for row in logits_of(model, batch)], expected, **CLOSE)


def test_a_model_in_a_folder_of_a_folder_is_found(processor, model, tmp_path):
    model.save_pretrained(tmp_path / "best")
    loaded = Idefics.from_pretrained(tmp_path, subfolder="best").eval()
    batch = processor.collate(samples_of(processor))
    torch.testing.assert_close(logits_of(loaded, batch), logits_of(model, batch))


def test_several_rows_are_no_packed_row(processor, model):
    packed = processor.pack([processor.encode([ask("Why?"), say(answer)]) for answer in "ab"])
    with pytest.raises(ValueError, match="one row, not 2"):
        model(packed["input_ids"].expand(2, -1), cu_seq_lens=packed["cu_seq_lens"])


def test_another_family_is_refused(tmp_path):
    config = LlamaConfig(hidden_size=32, num_hidden_layers=1)
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"'llama', not 'idefics'"):
        Idefics.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"'llama', not 'idefics'"):
        Idefics(config)


# ── training ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_gradient_checkpointing_gives_the_same_gradients(processor):
    batch = processor.pack(samples_of(processor))
    grads = []
    for checkpointing in (False, True):
        model = make_model(processor).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        model(**batch).loss.backward()
        grads.append([part.grad for part in model.parameters() if part.grad is not None])
    torch.testing.assert_close(grads[1], grads[0])


def test_bfloat16_is_close_to_float32(processor, tmp_path):
    model = make_model(processor)
    samples = samples_of(processor)
    model.save_pretrained(tmp_path)
    half = Idefics.from_pretrained(tmp_path, dtype=torch.bfloat16)
    for batch in (
        processor.collate(samples),
        processor.pack(samples),
        processor.collate(samples[1:2]),
    ):
        expected = model(**batch).loss
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(**batch).loss
        for loss in (half(**batch).loss, mixed):
            assert loss.dtype == torch.float32
            torch.testing.assert_close(loss, expected, atol=0.3, rtol=0.05)
            loss.backward()


# peft 0.21 still reads the old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_lora_learns_is_saved_and_writes(processor, tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    model = make_model(processor, merged=True, freeze_text_layers=True, freeze_vision_layers=True)
    model.save_pretrained(tmp_path / "base")
    settings = LoraConfig(r=4, target_modules=["q_proj", "k_proj", "v_proj"], task_type="CAUSAL_LM")
    lora = get_peft_model(model, settings).train()
    lora.enable_input_require_grads()
    lora.activation_checkpointing_enable()
    batch = processor.collate(samples_of(processor))
    optimizer = torch.optim.AdamW(
        [part for part in lora.parameters() if part.requires_grad], lr=2e-2
    )
    losses = []
    for _ in range(12):
        loss = lora(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    lora.activation_checkpointing_disable()
    lora.eval()
    inputs = processor(prompts())
    ids, logits = written(lora, inputs)
    lora.save_pretrained(tmp_path / "adapter")
    base = Idefics.from_pretrained(tmp_path / "base")
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    again, again_logits = written(loaded, inputs)
    assert torch.equal(again, ids)
    torch.testing.assert_close(again_logits, logits, **CLOSE)
    torch.testing.assert_close(
        logits_of(loaded.merge_and_unload(), batch), logits_of(lora, batch), **CLOSE
    )


def test_a_conversation_is_learnt_by_heart(processor):
    model = make_model(processor).train()
    samples = samples_of(processor)[2:]
    batch = processor.pack(samples)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(80):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    inputs = processor(prompts()[2:])
    output = model.eval().generate(**inputs, max_new_tokens=20, do_sample=False)
    answers = [processor.decode(row[inputs["input_ids"].shape[1] :]) for row in output]
    assert answers == ["Me, I think", "No"]
