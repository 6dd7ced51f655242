"""Fuyu: packed, cached, of any picture size, and interchangeable with transformers' own."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from safetensors import safe_open  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    FuyuConfig,
    FuyuForCausalLM,
    LlamaConfig,
    TextStreamer,
)

from trainer.models.fuyu import Fuyu  # noqa: E402
from trainer.models.fuyu_batch import IGNORED, Sample, normalised, packed, padded  # noqa: E402
from trainer.models.fuyu_layers import rotated, squared_relu  # noqa: E402
from trainer.models.fuyu_pictures import fitted  # noqa: E402
from trainer.models.fuyu_processor import FuyuProcessor  # noqa: E402

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


@pytest.fixture(scope="module")
def model():
    return fuyu()


@pytest.fixture(scope="module")
def processor():
    return FuyuProcessor(AutoTokenizer.from_pretrained(TOKENIZER), patch_size=4)


def noise(width, height, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


@pytest.fixture(scope="module")
def samples(processor):
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


# Pictures


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((3000, 4000), {"size": None, "max_pixels": None}, (3000, 4000)),
        ((30, 20), {"size": (1080, 1920), "max_pixels": None}, (30, 20)),
        ((2160, 1920), {"size": (1080, 1920), "max_pixels": None}, (1080, 960)),
        ((400, 100), {"size": None, "max_pixels": 10_000}, (200, 50)),
        ((1, 5000), {"size": (100, 100), "max_pixels": None}, (1, 100)),
    ],
)
def test_a_picture_keeps_its_size_or_else_its_aspect(size, limits, expected):
    assert fitted(*size, **limits) == expected


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK"])
def test_a_picture_of_any_mode_is_padded_to_whole_patches_only(processor, mode):
    shown = processor.cut(noise(9, 6).convert(mode))

    assert (shown.rows, shown.columns) == (2, 3)
    assert shown.bytes_PC.shape == (6, 4 * 4 * 3)
    last = shown.bytes_PC[-1].view(4, 4, 3)
    assert (last[2:] == 1).all()
    assert (last[:, 1:] == 1).all()


def test_a_patch_is_rows_then_columns_then_colours(processor):
    picture = noise(8, 4)

    first, second = processor.cut(picture).bytes_PC

    whole = torch.stack((first, second)).view(2, 4, 4, 3)
    for x, y in ((0, 0), (3, 2), (5, 1)):
        assert whole[x // 4, y, x % 4].tolist() == list(picture.getpixel((x, y)))


def test_max_pixels_of_one_call_limits_that_picture(processor):
    assert processor.cut(noise(40, 40), max_pixels=64).columns == 2
    assert processor.cut(noise(40, 40)).columns == 10


# Texts and labels


def test_of_many_turns_every_answer_and_an_end_is_taught_and_no_question(processor):
    turns = [(f"what is in {n}", f"red ball {n}") for n in range(4)]

    sample = processor.sample(turns)

    taught = [int(token) for token in sample.labels_T if token != IGNORED]
    expected = []
    for _, answer in turns:
        whole = processor.text_ids(f"\x04 {answer}")
        expected += [*whole[whole.index(ANSWER) + 1 :], END]
    assert taught == expected
    assert torch.equal(
        sample.ids_T[sample.labels_T != IGNORED], sample.labels_T[sample.labels_T != IGNORED]
    )
    assert (sample.ids_T == ANSWER).sum() == len(turns)
    assert sample.labels_T[sample.ids_T == ANSWER].tolist() == [IGNORED] * len(turns)


def test_pictures_stand_where_they_are_meant_and_each_ends_with_a_start(processor):
    two, one = noise(8, 8), noise(4, 4)

    sample = processor.sample([([two, one, "red", one, "cat"], "a"), ([one, "how"], "in")])

    marks = {PATCH: "p", ROW_END: "n", START: "s", ANSWER: "a", END: "e"}
    layout = "".join(marks.get(int(token), ".") for token in sample.ids_T)
    squeezed = "".join(c for n, c in enumerate(layout) if c != "." or layout[n - 1] != ".")
    assert squeezed == "ppnppns" + "pns" + "." + "pns" + ".a.e" + "pns" + ".a.e"
    assert (sample.ids_T[sample.positions_P] == PATCH).all()
    assert len(sample.patches_PC) == 4 + 1 + 1 + 1


def test_a_text_without_a_picture_begins_with_a_start(processor):
    sample = processor.sample([("how many", "red")])

    assert sample.ids_T[0] == START
    assert len(sample.patches_PC) == 0


def test_a_prompt_is_its_sample_without_the_answer(processor):
    picture = noise(9, 6)
    whole = processor.sample([([picture, "what"], "red"), ("how many", "a")])

    prompt = processor.sample([([picture, "what"], "red"), ("how many", None)])

    assert prompt.ids_T[-1] == ANSWER
    assert torch.equal(prompt.ids_T, whole.ids_T[: len(prompt)])


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "no turn"),
        ([("a", None), ("b", "c")], "turn 1 of 2 has no answer"),
        ([("a\x04b", "c")], "an answer begins"),
        ([("a", "c<0x04>")], "an answer begins"),
        ([("|SPEAKER|", "c")], "token of the layout"),
        ([("a", "|ENDOFTEXT| b")], "token of the layout"),
        ([("<box>1, 2, 3, 9000000</box>", "c")], "no token '4500000'"),
    ],
)
def test_texts_that_would_change_the_layout_are_refused(processor, turns, message):
    with pytest.raises(ValueError, match=message):
        processor.sample(turns)


def test_a_sample_longer_than_the_context_is_refused(processor):
    with pytest.raises(ValueError, match=r"\(100 of them patches\) are more than 90"):
        processor.sample([([noise(40, 40), "what"], "red")], max_tokens=90)


def test_boxes_are_about_the_picture_before_them_and_come_back(processor):
    small = FuyuProcessor(processor.tokenizer, patch_size=4, size={"height": 20, "width": 20})
    box = "<box>8, 16, 24, 32</box>"

    sample = small.sample([([noise(40, 40), f"what {box}"], box), ([noise(8, 8), box], "a")])

    assert small.decode(sample.ids_T, scale=0.5).count(box) == 2
    assert "<box>16, 32, 48, 64</box>" in small.decode(sample.ids_T, scale=0.5)


def test_called_like_transformers_own_it_takes_pictures_for_each_text(processor):
    one, two = noise(8, 8), noise(4, 4)

    batch = processor(images=[[one], [one, two]], text=["what", "is <image> cat <image> in"])

    assert batch["attention_mask"].sum(1).tolist() == [
        len(processor.prompt([one, "what"])),
        len(processor.prompt(["is ", one, " cat ", two, " in"])),
    ]
    assert batch["attention_mask"][0, 0] == 0
    assert batch["pixel_values"].shape == (9, 48)


@pytest.mark.parametrize(
    ("images", "text", "message"),
    [
        ([[noise(4, 4)]], ["a <image> <image>"], "2 <image> and 1 pictures"),
        ([[noise(4, 4)]], ["a", "b"], "for 2 texts"),
    ],
)
def test_pictures_that_do_not_fit_the_texts_are_refused(processor, images, text, message):
    with pytest.raises(ValueError, match=message):
        processor(images=images, text=text)


def test_a_tokenizer_of_another_family_is_refused():
    other = AutoTokenizer.from_pretrained(TOKENIZER.parent.parent / "otter_llama" / "tokenizer")

    with pytest.raises(ValueError, match=r"no tokenizer of Fuyu.*\|SPEAKER\|"):
        FuyuProcessor(other)


def test_patches_cut_off_with_their_text_are_refused(samples):
    whole = samples[0]

    with pytest.raises(ValueError, match="was the text cut"):
        Sample(whole.ids_T[:3], whole.labels_T[:3], whole.patches_PC, whole.positions_P[:3])


# Packing


@pytest.mark.parametrize("implementation", ["packed", "sdpa", "eager"])
def test_packed_loss_is_the_sum_of_separate_losses(model, samples, implementation):
    with_implementation(model, implementation)

    in_one_row = model(**packed(samples), num_items_in_batch=1).loss
    separate = [model(**padded([one], pad_id=0), num_items_in_batch=1).loss for one in samples]
    side_by_side = model(**padded(samples, pad_id=0), num_items_in_batch=1).loss

    torch.testing.assert_close(in_one_row, sum(separate), **CLOSE)
    torch.testing.assert_close(side_by_side, sum(separate), **CLOSE)


@pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch's own compiler
@pytest.mark.parametrize("implementation", ["packed", "sdpa", "eager", "flex_attention"])
@torch.no_grad()
def test_packed_logits_are_those_of_each_sample_alone(model, samples, implementation):
    with_implementation(model, implementation)
    batch = packed(samples)
    del batch["labels"]

    # Compiled, FlexAttention would take half a minute on a CPU.
    with torch.compiler.set_stance("force_eager"):
        in_one_row = model(**batch).logits[0]

    with_implementation(model, "sdpa")
    separate = []
    for one in samples:
        alone = padded([one], pad_id=0)
        del alone["labels"]
        separate.append(model(**alone).logits[0])
    torch.testing.assert_close(in_one_row, torch.cat(separate), **CLOSE)


@torch.no_grad()
def test_a_sample_in_a_row_knows_nothing_of_its_neighbour(model, samples, processor):
    with_implementation(model, "packed")
    other = processor.sample([([noise(9, 6, 9), "is ball cat in"], "many")])
    alone = len(samples[2])

    seen = []
    for first in (samples[0], other):
        batch = packed([first, samples[2]])
        del batch["labels"]
        seen.append(model(**batch).logits[0, -alone:])

    assert torch.equal(seen[0], seen[1])


def test_packed_gradients_are_those_of_padded_rows(model, samples):
    gradients = []
    for batch, name in ((packed(samples), "packed"), (padded(samples, pad_id=0), "sdpa")):
        with_implementation(model, name).zero_grad()
        model(**batch).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])

    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


def test_a_packed_batch_of_two_rows_is_refused(model, samples):
    batch = packed(samples)
    batch["input_ids"] = batch["input_ids"].expand(2, -1)
    del batch["pixel_values"]

    with pytest.raises(ValueError, match="has one row, not 2"):
        model(**batch)


# Numbers


def test_squared_relu_has_the_right_gradient():
    x = torch.randn(50, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(squared_relu, x)
    assert torch.equal(squared_relu(x), torch.relu(x) ** 2)


def test_rotation_has_the_right_gradient():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 2, 8, dtype=torch.float64, requires_grad=True)
    cos, sin = torch.randn(2, 2, 3, 1, 2, dtype=torch.float64)

    assert torch.autograd.gradcheck(lambda x: rotated(x, cos, sin), x)


@pytest.mark.parametrize(
    "text",
    [
        {},
        {"qk_layernorm": False},
        {"hidden_act": "gelu"},
        {"num_attention_heads": 2, "num_hidden_layers": 1},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.25}},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 25.0, "partial_rotary_factor": 1.0}},
        {"hidden_size": 60, "num_attention_heads": 5},
    ],
    ids=str,
)  # fmt: skip
def test_parity_of_loss_and_gradients_with_transformers(samples, text):
    batch = padded(samples, pad_id=0)
    batch["pixel_values"] = normalised(batch["pixel_values"])
    theirs, ours = fuyu(FuyuForCausalLM, **text), fuyu(**text)
    ours.load_state_dict(theirs.state_dict())
    losses = []
    for model in (theirs, ours):
        given = dict(batch)
        if model is theirs:
            del given["patch_positions"], given["taught_positions"]
        losses.append(model(**given).loss)
        losses[-1].backward()

    torch.testing.assert_close(losses[1], losses[0], **CLOSE)
    theirs = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, atol=1e-5, rtol=1e-4)


def test_positions_counted_beforehand_change_nothing(model, samples):
    batch = padded(samples, pad_id=0)
    sought = {name: value for name, value in batch.items() if not name.endswith("_positions")}

    assert torch.equal(model(**batch).loss, model(**sought).loss)


def test_nothing_taught_is_a_loss_of_zero(model, samples):
    batch = padded(samples[:1], pad_id=0)
    batch["labels"].fill_(IGNORED)
    del batch["taught_positions"]

    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()

    assert loss == 0
    assert all((p.grad == 0).all() for p in model.parameters() if p.grad is not None)


@torch.no_grad()
def test_patches_of_each_row_or_of_all_rows_are_the_same_to_it(model, samples):
    batch = padded(samples, pad_id=0)
    counts = [len(one.patches_PC) for one in samples]
    by_row = torch.zeros(len(samples), max(counts), 48, dtype=torch.uint8)
    for row, one in enumerate(samples):
        by_row[row, : counts[row]] = one.patches_PC
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}

    flat = model(**inputs, pixel_values=batch["pixel_values"]).logits
    rows = model(**inputs, pixel_values=by_row).logits

    assert torch.equal(flat, rows)
    with pytest.raises(ValueError, match="another number of placeholders"):
        model(**inputs, pixel_values=batch["pixel_values"][:-1])


def test_text_alone_leaves_no_parameter_without_a_gradient(samples):
    model = with_implementation(fuyu(), "packed")

    model(**packed([samples[1]])).loss.backward()

    assert all(parameter.grad is not None for parameter in model.parameters())
    assert (model.model.vision_embed_tokens.weight.grad == 0).all()


def test_a_prompt_of_text_alone_is_written_on(model, processor):
    with_implementation(model, "sdpa")
    batch = padded([processor.sample([("how many", None)])], pad_id=0, side="left")
    del batch["labels"], batch["taught_positions"]
    options = {"max_new_tokens": 3, "do_sample": False, "num_beams": 2, "pad_token_id": 0}

    written = model.generate(**batch, **options)

    bare = {name: batch[name] for name in ("input_ids", "attention_mask")}
    assert written.tolist() == model.generate(**bare, **options).tolist()


def test_gradient_checkpointing_gives_the_same_gradients(samples):
    gradients = []
    for is_checkpointed in (False, True):
        model = with_implementation(fuyu(), "packed").train()
        if is_checkpointed:
            model.activation_checkpointing_enable()
        model(**packed(samples)).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])

    for plain, again in zip(*gradients, strict=True):
        assert torch.equal(plain, again)


def test_bfloat16_teaches_about_the_same(samples):
    model = with_implementation(fuyu(), "packed")
    exact = model(**packed(samples)).loss

    loss = model.to(torch.bfloat16)(**packed(samples)).loss
    loss.backward()

    torch.testing.assert_close(loss, exact, atol=0, rtol=0.02)
    assert loss.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@torch.no_grad()
def test_hidden_states_and_single_logits_are_given_when_asked_for(model, samples):
    batch = padded(samples[:1], pad_id=0)
    del batch["labels"]

    output = model(**batch, output_hidden_states=True, logits_to_keep=1)

    assert output.logits.shape == (1, 1, 457)
    assert [tuple(h.shape) for h in output.hidden_states] == [(1, len(samples[0]), 64)] * 4


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


# Files


@torch.no_grad()
def test_transformers_loads_what_it_saves_and_the_other_way_round(tmp_path, model, samples):
    batch = padded(samples, pad_id=0)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    inputs["pixel_values"] = normalised(batch["pixel_values"])
    with_implementation(model, "sdpa").save_pretrained(tmp_path / "ours")

    theirs, report = FuyuForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    theirs.save_pretrained(tmp_path / "theirs")
    again, report = Fuyu.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert not any(report.values()), report

    names = []
    for folder in ("ours", "theirs"):
        with safe_open(tmp_path / folder / "model.safetensors", "pt") as file:
            names.append(sorted(file.keys()))
    assert names[0] == names[1]
    assert any(name.startswith("language_model.model.layers.0.") for name in names[0])
    expected = model(**inputs).logits
    assert torch.equal(again(**inputs).logits, expected)
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(theirs(**inputs).logits[real], expected[real], **CLOSE)


def test_saved_beside_its_code_it_loads_with_transformers_alone(tmp_path, model, processor):
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)

    alien = AutoModelForCausalLM.from_pretrained(tmp_path)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path, trust_remote_code=True)
    cutter = AutoProcessor.from_pretrained(tmp_path, trust_remote_code=True)

    assert type(alien) is FuyuForCausalLM
    assert type(AutoProcessor.from_pretrained(tmp_path)).__module__.startswith(
        "transformers.models"
    )
    assert type(ours).__name__ == "Fuyu"
    assert type(ours).__module__.startswith("transformers_modules.")
    sample = cutter.sample([([noise(9, 6), "what"], "red")])
    assert (
        sample.ids_T.tolist() == processor.sample([([noise(9, 6), "what"], "red")]).ids_T.tolist()
    )
    batch = {"input_ids": sample.ids_T[None], "pixel_values": sample.patches_PC}
    with torch.no_grad():
        assert torch.equal(ours(**batch).logits, with_implementation(model, "sdpa")(**batch).logits)


def test_the_processor_keeps_its_settings(tmp_path, processor):
    FuyuProcessor(processor.tokenizer, patch_size=4, size=None, max_pixels=99).save_pretrained(
        tmp_path
    )

    loaded = FuyuProcessor.from_pretrained(tmp_path)
    changed = FuyuProcessor.from_pretrained(tmp_path, max_pixels=7)

    assert (loaded.patch_size, loaded.size, loaded.max_pixels) == (4, None, 99)
    assert changed.max_pixels == 7


def test_a_model_of_another_family_is_refused(tmp_path):
    LlamaConfig().save_pretrained(tmp_path)

    with pytest.raises(ValueError, match="a model of type 'llama', not 'fuyu'"):
        Fuyu.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="not 'llama'"):
        Fuyu(LlamaConfig())


def test_it_is_built_without_memory_on_the_meta_device():
    with torch.device("meta"):
        model = Fuyu(config())

    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
