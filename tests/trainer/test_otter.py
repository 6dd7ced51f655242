from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedTokenizerFast,
)

from trainer.models.gated_attention import MediaAttention, media_mask  # noqa: E402
from trainer.models.otter import Otter, OtterConfig  # noqa: E402
from trainer.models.otter_processor import OtterProcessor  # noqa: E402
from trainer.models.perceiver import PerceiverResampler  # noqa: E402

torch.set_num_threads(1)
END, IMAGE, ANSWER = 30, 31, 32


def make_config(**changes):
    values = {
        "vision_config": {
            "hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 8,
            "patch_size": 4,
        },
        "text_config": {
            "model_type": "llama",
            "vocab_size": 40,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
        },
        "perceiver": {"depth": 1, "heads": 2, "dim_head": 8, "num_latents": 3},
        "cross_attention": {"heads": 2, "dim_head": 8},
        "cross_attn_every_n_layers": 2,
        "gate_init": 1.0,
        "image_token_id": IMAGE,
        "answer_token_id": ANSWER,
        "endofchunk_token_id": END,
        "pad_token_id": 0,
    }
    return OtterConfig(**values | changes)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Otter(make_config()).eval()


def pictures(seed, *, media=1, frames=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, media, frames, 3, 8, 8, generator=generator)


PROMPT = torch.tensor([[5, 6, IMAGE, 7, 8, 9, ANSWER]])


@torch.no_grad()
def test_the_picture_matters(model):
    one = model(PROMPT, pixel_values=pictures(1)).logits
    other = model(PROMPT, pixel_values=pictures(2)).logits

    assert (one - other)[:, 2:].abs().max() > 1e-3


@torch.no_grad()
def test_text_before_a_picture_gets_exactly_nothing_from_it(model):
    one = model(PROMPT, pixel_values=pictures(1)).logits
    other = model(PROMPT, pixel_values=pictures(2)).logits

    assert torch.equal(one[:, :2], other[:, :2])


@torch.no_grad()
def test_text_alone_is_the_same_with_and_without_a_blank_picture(model):
    text = torch.tensor([[5, 6, 7, ANSWER]])

    blank = torch.zeros(1, 1, 1, 3, 8, 8)
    torch.testing.assert_close(model(text).logits, model(text, pixel_values=blank).logits)


def test_each_token_looks_at_the_last_medium_before_it():
    text_time = torch.tensor([[0, 1, 1, 2, 3]])

    mask = media_mask(text_time, media=2, latents=2)

    assert mask.int().tolist() == [
        [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]
    ]


@torch.no_grad()
def test_a_token_before_the_first_or_after_a_surplus_medium_sees_exactly_nothing():
    attention = MediaAttention(8, 6, heads=2, dim_head=4)
    mask = media_mask(torch.tensor([[0, 1, 2]]), media=1, latents=3)

    kv = attention.to_kv(torch.randn(1, 3, 6))
    seen = attention(torch.randn(1, 3, 8), kv, mask)

    assert not seen[0, 0].any()
    assert seen[0, 1].any()
    assert not seen[0, 2].any()


def test_closed_gates_leave_the_language_model_as_it_is():
    model = Otter(make_config(gate_init=0.0)).eval()

    with torch.no_grad():
        one = model(PROMPT, pixel_values=pictures(1)).logits
        other = model(PROMPT).logits

    assert torch.equal(one, other)


@torch.no_grad()
def test_frames_that_fill_up_a_batch_are_not_seen():
    torch.manual_seed(0)
    perceiver = PerceiverResampler(8, depth=2, heads=2, dim_head=4, num_latents=3, max_num_frames=4)
    patches = torch.randn(1, 1, 4, 5, 8)

    mask = torch.tensor([[[True, True, False, False]]])
    torch.testing.assert_close(perceiver(patches, mask), perceiver(patches[:, :, :2]))


@torch.no_grad()
def test_the_order_of_frames_matters_with_frame_embeddings():
    perceiver = PerceiverResampler(8, depth=1, heads=2, dim_head=4, num_latents=3, max_num_frames=2)
    patches = torch.randn(1, 1, 2, 5, 8)

    assert not torch.allclose(perceiver(patches), perceiver(patches.flip(2)))


@pytest.mark.parametrize("beams", [1, 3])
def test_cached_decoding_gives_the_logits_of_uncached_decoding(model, beams):
    def write(use_cache):
        return model.generate(
            PROMPT,
            pixel_values=pictures(1),
            attention_mask=torch.ones_like(PROMPT),
            max_new_tokens=6,
            min_new_tokens=6,
            num_beams=beams,
            do_sample=False,
            use_cache=use_cache,
            output_logits=True,
            return_dict_in_generate=True,
        )

    cached, uncached = write(use_cache=True), write(use_cache=False)

    assert torch.equal(cached.sequences, uncached.sequences)
    torch.testing.assert_close(torch.stack(cached.logits), torch.stack(uncached.logits))


PACKED = torch.tensor([0, 3, 7], dtype=torch.int32)
WRONG = {
    "no rows of media": ({"pixel_values": pictures(1)[0]}, "must be .rows, media, frames"),
    "another size": (
        {"pixel_values": torch.randn(1, 1, 1, 3, 9, 9)},
        "vision tower takes .3, 8, 8",
    ),
    "raw pixels": ({"pixel_values": pictures(1).to(torch.uint8)}, "processor"),
    "nothing": ({"pixel_values": pictures(1)[:, :0]}, "no picture at all"),
    "other rows": (
        {"pixel_values": torch.cat([pictures(1)] * 2)},
        "1 row.s. of text and 2 of pict",
    ),
    "a mask of other frames": (
        {"pixel_values": pictures(1), "frame_mask": torch.ones(1, 1, 2).bool()},
        r"frame_mask has the shape \(1, 1, 2\)",
    ),
    "only filling": (
        {"pixel_values": pictures(1), "frame_mask": torch.zeros(1, 1, 1).bool()},
        "no frame is real",
    ),
    "media of another model": ({"media": torch.randn(1, 1, 4, 24)}, "3 latents"),
    "keys of another model": ({"media_kv": torch.randn(1, 1, 3, 32)}, "2 layers"),
    "a cached step": (
        {"pixel_values": pictures(1), "attention_mask": torch.ones(1, 9)},
        "needs text_time",
    ),
    "packed, uncounted": ({"pixel_values": pictures(1), "cu_seq_lens": PACKED}, "needs text_time"),
    "packed, cut elsewhere": ({"cu_seq_lens": PACKED[:2]}, "from 0 to 3 in a row of 7 tokens"),
    "labels of another text": ({"labels": PROMPT[:, 1:]}, r"labels have the shape \(1, 6\)"),
}


@pytest.mark.parametrize("what", WRONG)
def test_inputs_that_do_not_fit_are_refused(model, what):
    inputs, sentence = WRONG[what]
    with pytest.raises(ValueError, match=sentence):
        model(PROMPT, **inputs)


def test_a_clip_of_more_frames_than_the_model_knows_is_refused():
    model = Otter(make_config(max_num_frames=2))
    with pytest.raises(ValueError, match="3 frames and the model knows 2"):
        model(PROMPT, pixel_values=pictures(1, frames=3))


def test_a_model_that_does_not_know_the_image_token_refuses_pictures():
    model = Otter(make_config(image_token_id=None))
    with pytest.raises(ValueError, match="set image_token_id"):
        model(PROMPT, pixel_values=pictures(1))


@pytest.mark.parametrize(
    ("ids", "pixels", "sentence"),
    [
        (PROMPT, None, "1 times in a prompt that has 0 picture"),
        (PROMPT, pictures(1, media=2), r"has 2 picture\(s\), and <image> stands in it 1 times"),
        (PROMPT[:, 3:], pictures(1), r"has 1 picture\(s\), and <image> stands in it 0 times"),
        (torch.cat([PROMPT, PROMPT], 1), pictures(1), "2 times in a prompt that has 1 picture"),
    ],
)
def test_a_prompt_has_as_many_marks_as_pictures(model, ids, pixels, sentence):
    with pytest.raises(ValueError, match=sentence):
        model.generate(ids, pixel_values=pixels, max_new_tokens=1)


def test_a_prompt_of_text_alone_may_have_a_blank_picture(model):
    settings = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    blank = torch.zeros(1, 1, 1, 3, 8, 8)

    written = model.generate(PROMPT[:, 3:], pixel_values=blank, **settings)

    assert written.tolist() == model.generate(PROMPT[:, 3:], **settings).tolist()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"cross_attn_every_n_layers": 0}, "is 0; of 4 layers, one in 1 to 4"),
        ({"cross_attn_every_n_layers": 5}, "is 5; of 4 layers"),
        ({"perceiver": {"dept": 2}}, "perceiver.dept is no size"),
        ({"cross_attention": {"heads": 0}}, "cross_attention.heads is 0"),
        ({"text_config": {"model_type": "lama"}}, "'lama', which transformers does not know"),
        ({"text_config": {"model_type": "t5"}}, "'t5', which is no causal"),
        ({"model_type": "fuyu"}, "'fuyu', not 'otter'"),
    ],
)
def test_configs_that_make_no_otter_are_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        Otter(make_config(**values))


@torch.no_grad()
def test_a_compiled_model_gives_the_same_logits(model):
    compiled = torch.compile(model, backend="eager")

    logits = compiled(PROMPT, pixel_values=pictures(1)).logits

    torch.testing.assert_close(logits, model(PROMPT, pixel_values=pictures(1)).logits)


@torch.no_grad()
def test_a_model_without_memory_says_the_shapes():
    with torch.device("meta"):
        model = Otter(make_config())
        logits = model(PROMPT.to("meta"), pixel_values=pictures(1).to("meta")).logits

    assert logits.shape == (1, 7, 40)
    assert {value.device.type for value in model.state_dict().values()} == {"meta"}


def test_weights_are_loaded_in_the_asked_dtype(model, tmp_path):
    model.save_pretrained(tmp_path)

    loaded = AutoModelForImageTextToText.from_pretrained(
        tmp_path, dtype=torch.bfloat16, device_map="cpu"
    )

    assert {weight.dtype for weight in loaded.parameters()} == {torch.bfloat16}
    assert loaded(PROMPT, pixel_values=pictures(1)).logits.dtype == torch.bfloat16


def test_prompts_padded_on_the_left_are_answered_as_if_alone(model):
    short = PROMPT[:, 2:]
    both = torch.cat([PROMPT, torch.cat([torch.zeros_like(PROMPT[:, :2]), short], dim=1)])
    mask = torch.ones_like(both)
    mask[1, :2] = 0
    settings = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}

    together = model.generate(
        both,
        pixel_values=torch.cat([pictures(1), pictures(2)]),
        attention_mask=mask,
        **settings,
    )
    alone = model.generate(
        short, pixel_values=pictures(2), attention_mask=torch.ones_like(short), **settings
    )

    assert together[1, 2:].tolist() == alone[0].tolist()


def test_concurrent_requests_do_not_see_each_others_pictures(model):
    def ask(seed):
        with torch.no_grad():
            return model(PROMPT, pixel_values=pictures(seed)).logits

    alone = [ask(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(ask, list(range(8)) * 4))

    assert all(torch.equal(logits, alone[i % 8]) for i, logits in enumerate(together))


def test_recomputing_layers_in_the_backward_pass_gives_the_same_gradients():
    torch.manual_seed(0)
    model = Otter(make_config()).train()

    def gradients():
        model.zero_grad()
        model(PROMPT, pixel_values=pictures(1), labels=PROMPT).loss.backward()
        return [p.grad.clone() for p in model.parameters() if p.requires_grad]

    plain = gradients()
    new_name = "activation_checkpointing_enable"  # of transformers 5.24
    getattr(model, new_name, model.gradient_checkpointing_enable)()

    assert all(map(torch.equal, plain, gradients()))


def test_every_trainable_weight_gets_a_gradient_even_from_text_alone():
    model = Otter(make_config()).train()

    model(
        PROMPT[:, 3:], pixel_values=torch.zeros(1, 1, 1, 3, 8, 8), labels=PROMPT[:, 3:]
    ).loss.backward()

    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@torch.no_grad()
def test_a_saved_model_gives_the_same_logits(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)

    assert isinstance(loaded, Otter)
    expected = model(PROMPT, pixel_values=pictures(1)).logits
    assert torch.equal(loaded(PROMPT, pixel_values=pictures(1)).logits, expected)


def test_weights_that_a_checkpoint_lacks_start_fresh(model, tmp_path):
    """As when a language model is loaded that has never seen: gates must be what the config says."""
    from safetensors.torch import load_file, save_file

    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    seeing = {name for name in weights if "gated_cross_attn" in name or "perceiver" in name}
    rest = {name: value for name, value in weights.items() if name not in seeing}
    save_file(rest, tmp_path / "model.safetensors", metadata={"format": "pt"})

    loaded, report = Otter.from_pretrained(tmp_path, gate_init=0.25, output_loading_info=True)

    assert set(report["missing_keys"]) == seeing
    layer = loaded.lang_encoder.get_decoder().layers[1].gated_cross_attn_layer
    assert layer.attn_gate.item() == layer.ff_gate.item() == 0.25
    assert 0.5 < loaded.perceiver.latents.std() < 2
    assert layer.attn.norm.weight.eq(1).all()


@pytest.fixture(scope="module")
def processor():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    OtterProcessor.add_special_tokens(fast)
    return OtterProcessor(fast, image_size=8)


def test_special_tokens_follow_the_base_in_the_published_order(processor):
    assert processor.tokenizer.convert_ids_to_tokens([256, 257, 258, 259]) == [
        "<|endofchunk|>",
        "<image>",
        "<answer>",
        "<PAD>",
    ]


def test_an_example_is_the_published_template(processor):
    ids = processor.prompt(" What? ", picture=True) + processor.reply("A cat.\r\n")

    text = processor.tokenizer.decode(ids)
    assert text == "<image>User:What? GPT:<answer>A cat.<|endofchunk|>"


def test_marks_in_a_users_text_stay_text(processor):
    ids = processor.prompt("say <answer> or <image>", picture=False)

    assert processor.image_id not in ids
    assert ids.count(processor.answer_id) == 1


def test_a_saved_processor_prepares_the_same(processor, tmp_path):
    make_config().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    picture = Image.linear_gradient("L").resize((30, 17))

    assert isinstance(loaded, OtterProcessor)
    assert loaded.prompt("Ça va?", picture=True) == processor.prompt("Ça va?", picture=True)
    assert torch.equal(loaded.pixels(picture), processor.pixels(picture))
    assert processor.pixels(picture).shape == (3, 8, 8)
