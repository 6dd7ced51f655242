"""Every published layout, made of tiny models: converted, it gives the logits of the model that it was made of."""

import json

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from tests.trainer.published.layouts import (  # noqa: E402
    BARE_TOKENIZER,
    FIXTURES,
    HEADS,
    TEXT,
    TOKENIZER,
    VISION,
    WORDS,
    logits,
    otter,
    published_clip,
    published_config,
    published_language,
    published_openflamingo,
    published_otter,
    state_of,
    write_folder,
)
from trainer.errors import CheckpointError  # noqa: E402
from trainer.models.otter import Otter  # noqa: E402
from trainer.models.otter_processor import OtterProcessor  # noqa: E402
from trainer.published.convert import convert  # noqa: E402
from trainer.published.sources import Beside  # noqa: E402
from trainer.published.tokens import load_tokenizer  # noqa: E402

EMBEDDING = {
    "mpt": "lang_encoder.transformer.wte.weight",
    "mosaic_gpt": "lang_encoder.transformer.wte.weight",
    "llama": "lang_encoder.model.embed_tokens.weight",
    "gpt_neox": "lang_encoder.gpt_neox.embed_in.weight",
}
EXACT = {"atol": 0, "rtol": 0}


def loaded(folder):
    model, report = Otter.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


def same(model, other, words=None):
    torch.testing.assert_close(logits(model, words), logits(other, words), **EXACT)


@pytest.mark.parametrize("files", ["bin", "safetensors"])
@pytest.mark.parametrize("backbone", ["mpt", "mosaic_gpt", "llama", "gpt_neox"])
def test_a_folder_of_an_otter(backbone, files, tmp_path):
    original = otter(backbone, 320, every=1 if backbone == "mosaic_gpt" else 2)
    config = published_config(backbone, 320, every=original.config.cross_attn_every_n_layers)
    state = published_otter(state_of(original), backbone)
    source = write_folder(tmp_path / "published", state, config, files=files, shards=2)

    convert(source, tmp_path / "ours")

    model = loaded(tmp_path / "ours")
    same(model, original)
    assert model.config.image_token_id == 301
    processor = OtterProcessor.from_pretrained(tmp_path / "ours")
    assert (processor.layout, processor.geometry, processor.image_size) == ("otter", "squash", 28)
    assert processor.answer_id == 302


def test_a_folder_of_a_video_otter_without_sizes_in_its_config(tmp_path):
    """Frames, depth, latents and widths of feed-forwards show in the weights; heads do not."""
    original = otter("mpt", 320, max_num_frames=5)
    config = published_config("mpt", 320)
    del config["perceiver"], config["cross_attention"], config["cross_attn_every_n_layers"]
    source = write_folder(
        tmp_path / "published", published_otter(state_of(original), "mpt"), config
    )

    with pytest.raises(CheckpointError, match=r"heads · dim_head is 16.*--set perceiver\.heads=N"):
        convert(source, tmp_path / "ours")
    convert(source, tmp_path / "ours", overrides=HEADS)

    model = loaded(tmp_path / "ours")
    same(model, original)
    assert model.config.max_num_frames == 5
    assert OtterProcessor.from_pretrained(tmp_path / "ours").max_frames == 5


def test_a_mosaic_gpt_whose_config_is_silent_about_its_width(tmp_path):
    original = otter("mosaic_gpt", 320)
    config = published_config("mosaic_gpt", 320)
    config["text_config"] = {n: v for n, v in config["text_config"].items() if n != "d_model"}
    state = published_otter(state_of(original), "mosaic_gpt")

    convert(write_folder(tmp_path / "published", state, config), tmp_path / "ours")

    same(loaded(tmp_path / "ours"), original)


@pytest.mark.parametrize("backbone", ["mpt", "llama", "gpt_neox"])
def test_a_backbone_without_architectures_is_told_by_its_names(backbone, tmp_path):
    original = otter(backbone, 320)
    config = published_config(backbone, 320)
    left = {"architectures", "model_type"}
    config["text_config"] = {n: v for n, v in config["text_config"].items() if n not in left}
    state = published_otter(state_of(original), backbone)

    convert(write_folder(tmp_path / "published", state, config), tmp_path / "ours")

    same(loaded(tmp_path / "ours"), original)


def test_weights_of_more_words_than_the_config_says_are_taken_as_they_are(tmp_path):
    original = otter("llama", WORDS)
    config = published_config("llama", 300)
    state = published_otter(state_of(original), "llama")

    result = convert(write_folder(tmp_path / "published", state, config), tmp_path / "ours")

    same(loaded(tmp_path / "ours"), original)
    assert result.notes == (
        "the config says 300 words, the weights have 304: taken from the weights",
    )


@pytest.mark.parametrize("nest", [None, "model_state_dict", "model"])
@pytest.mark.parametrize("kind", ["published", "ours"])
def test_trained_tensors_over_a_base(nest, kind, tmp_path):
    """`final_weights.pt` over the folder that it was trained from, which may have been converted before."""
    base, trained = otter("mpt", 320, seed=1), otter("mpt", 320, seed=2)
    published = write_folder(
        tmp_path / "base", published_otter(state_of(base), "mpt"), published_config("mpt", 320)
    )
    if kind == "ours":
        convert(published, tmp_path / "base of ours")
        published = tmp_path / "base of ours"
    own = {
        name: value
        for name, value in state_of(trained).items()
        if name.startswith("perceiver.")
        or ".gated_cross_attn_layer." in name
        or name.endswith("wte.weight")
    }
    expected = otter("mpt", 320)
    expected.load_state_dict(state_of(base) | own, strict=False)
    saved = own if nest is None else {nest: own, "epoch": 3, "optimizer_state_dict": {"step": 7}}
    torch.save(saved, tmp_path / "final_weights.pt")

    convert(tmp_path / "final_weights.pt", tmp_path / "out", Beside(base=published))

    same(loaded(tmp_path / "out"), expected)
    with pytest.raises(CheckpointError, match=r"holds what was trained and nothing else.*--base"):
        convert(tmp_path / "final_weights.pt", tmp_path / "other")


def openflamingo(
    folder, backbone, *, language_words, trained_words, whole_clip, nest="model_state_dict"
):
    """Write OpenFlamingo's three parts, and return them with the tensors that they were made of."""
    language, trained = (
        otter(backbone, language_words, seed=3),
        state_of(otter(backbone, trained_words, seed=4)),
    )
    frozen = state_of(language)
    saved = published_openflamingo(trained)
    if nest == "model_state_dict":  # as its training script saves it
        saved = {f"module.{name}": value for name, value in saved.items()}
    folder.mkdir()
    torch.save({nest: saved} if nest else saved, folder / "checkpoint.pt")
    text = {"vocab_size": language_words, **TEXT[backbone]}
    alone = published_language(frozen, backbone)
    write_folder(folder / "language", alone, text, files="safetensors", tokenizer=BARE_TOKENIZER)
    vision = {"model_type": "clip", "vision_config": VISION} if whole_clip else VISION
    clip = published_clip(frozen, whole=whole_clip)
    write_folder(folder / "clip", clip, vision, tokenizer=None)
    beside = Beside(vision=folder / "clip", language=folder / "language")
    return beside, frozen, trained


@pytest.mark.parametrize(
    ("backbone", "whole_clip", "nest"),
    [
        ("mpt", True, "model_state_dict"),
        ("mosaic_gpt", False, None),
        ("llama", False, "model"),
        ("gpt_neox", True, "model_state_dict"),
    ],
)
def test_an_openflamingo_checkpoint_with_its_clip_and_language_model(
    backbone, whole_clip, nest, tmp_path
):
    """The language model has 320 words; 303 were trained, of which the last, `<PAD>`, becomes `<answer>`; the rest stay."""
    beside, frozen, trained = openflamingo(
        tmp_path / "parts", backbone, language_words=320, trained_words=303, whole_clip=whole_clip, nest=nest
    )  # fmt: skip
    name = EMBEDDING[backbone]
    words = torch.cat([trained[name], frozen[name][303:]])
    own = {
        n: v
        for n, v in trained.items()
        if n.startswith("perceiver.") or ".gated_cross_attn_layer." in n
    }
    expected = otter(backbone, 320)
    expected.load_state_dict(frozen | own | {name: words}, strict=False)

    source = tmp_path / "parts" / "checkpoint.pt"
    convert(source, tmp_path / "ours", beside, overrides=HEADS)

    model = loaded(tmp_path / "ours")
    same(model, expected)
    assert model.config.text_config.vocab_size == 320
    assert (model.config.answer_token_id, model.config.pad_token_id) == (302, 303)
    processor = OtterProcessor.from_pretrained(tmp_path / "ours")
    assert (processor.layout, processor.geometry) == ("flamingo", "crop")


def test_words_that_no_part_has_begin_as_the_mean_of_all(tmp_path):
    beside, frozen, trained = openflamingo(
        tmp_path / "parts", "llama", language_words=300, trained_words=303, whole_clip=False
    )
    source = tmp_path / "parts" / "checkpoint.pt"

    result = convert(source, tmp_path / "ours", beside, overrides=HEADS)

    model = loaded(tmp_path / "ours")
    words = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    given, old_head = trained[EMBEDDING["llama"]], frozen["lang_encoder.lm_head.weight"]
    assert words.shape == head.shape == (WORDS, 48)
    torch.testing.assert_close(words[:303], given, **EXACT)
    torch.testing.assert_close(words[303], given.mean(dim=0))
    torch.testing.assert_close(head[:300], old_head, **EXACT)
    torch.testing.assert_close(head[300:], old_head.mean(dim=0).expand(4, -1))
    assert "1 word was added to the 303" in result.notes[0]


def test_an_openflamingo_checkpoint_asks_for_its_parts_by_name(tmp_path):
    openflamingo(tmp_path / "parts", "mpt", language_words=320, trained_words=303, whole_clip=False)

    with pytest.raises(
        CheckpointError, match=r"is an OpenFlamingo checkpoint.*--vision.*--language"
    ):
        convert(tmp_path / "parts" / "checkpoint.pt", tmp_path / "ours")


def adapted(state, *, style, rank=4):
    """Wrap the attention of an MPT in adapters, as peft names them, old style or new."""
    generator = torch.Generator().manual_seed(5)
    wrapped, merged = {}, dict(state)
    for name, value in state.items():
        new = name.replace("lang_encoder.", "lang_encoder.base_model.model.", 1)
        if not name.endswith(".attn.Wqkv.weight"):
            wrapped[new] = value
            continue
        module = new.removesuffix(".weight")
        wrapped[f"{module}.base_layer.weight" if style == "new" else new] = value
        a = torch.randn(rank, value.shape[1], generator=generator)
        b = torch.randn(value.shape[0], rank, generator=generator)
        wrapped |= {f"{module}.lora_A.default.weight": a, f"{module}.lora_B.default.weight": b}
        merged[name] = value + 32 / rank * (b @ a)
    return wrapped, merged


@pytest.mark.parametrize("style", ["old", "new"])
def test_lora_adapters_inside_an_otter_are_merged(style, tmp_path):
    original = otter("mpt", 320)
    wrapped, merged = adapted(state_of(original), style=style)
    config = published_config(
        "mpt", 320, lora_config={"r": 4, "lora_alpha": 32, "lora_dropout": 0.05}
    )
    source = write_folder(tmp_path / "published", published_otter(wrapped, "mpt"), config)
    original.load_state_dict(merged, strict=False)

    convert(source, tmp_path / "ours")

    torch.testing.assert_close(
        logits(loaded(tmp_path / "ours")), logits(original), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (None, "no lora_config with r and lora_alpha"),
        ({"r": 8, "lora_alpha": 32}, "lora_config says r = 8"),
    ],
)
def test_lora_adapters_of_unknown_strength_are_refused(settings, said, tmp_path):
    wrapped, _ = adapted(state_of(otter("mpt", 320)), style="new")
    config = published_config("mpt", 320, lora_config=settings)
    source = write_folder(tmp_path / "published", published_otter(wrapped, "mpt"), config)

    with pytest.raises(CheckpointError, match=said):
        convert(source, tmp_path / "ours")


def test_adapters_that_are_no_lora_are_refused_by_name(tmp_path):
    state = published_otter(state_of(otter("mpt", 320)), "mpt")
    name = "lang_encoder.transformer.blocks.0.decoder_layer.attn.Wqkv"
    state[f"{name}.lora_magnitude_vector.default.weight"] = torch.ones(144)
    source = write_folder(tmp_path / "published", state, published_config("mpt", 320))

    with pytest.raises(CheckpointError, match=r"not merged here: .*lora_magnitude_vector"):
        convert(source, tmp_path / "ours")


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("keep", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)],
)
def test_weights_are_written_in_the_wanted_type(dtype, expected, tmp_path):
    state = {n: v.half() for n, v in state_of(otter("mpt", 320)).items()}
    source = write_folder(tmp_path / "published", state, published_config("mpt", 320))

    convert(source, tmp_path / "ours", dtype=dtype)

    written = load_file(tmp_path / "ours" / "model.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {expected}
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["dtype"] == str(expected)[6:]
    for name, value in state.items():
        torch.testing.assert_close(written[name], value.to(expected), **EXACT)


def test_mixed_types_are_kept_and_every_tensor_begins_at_a_multiple_of_its_size(tmp_path):
    """A gate of 2 bytes would shift what comes after it."""
    state = state_of(otter("mpt", 320))
    state = {n: v.bfloat16() if n.endswith(".ff_gate") else v for n, v in state.items()}
    source = write_folder(tmp_path / "published", state, published_config("mpt", 320))

    convert(source, tmp_path / "ours")

    path = tmp_path / "ours" / "model.safetensors"
    written, raw = load_file(path), path.read_bytes()
    for name, value in state.items():
        torch.testing.assert_close(written[name], value, **EXACT)
    table = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    starts = {name: table[name]["data_offsets"][0] for name in state}
    assert not {name for name, start in starts.items() if start % state[name].itemsize}


def test_a_view_that_is_marked_as_negative_keeps_its_sign(tmp_path):
    state = state_of(otter("mpt", 320))
    name = "perceiver.latents"
    marked = torch.complex(state[name], -state[name]).conj().imag
    assert marked.is_neg()
    source = write_folder(
        tmp_path / "published", state | {name: marked}, published_config("mpt", 320)
    )

    convert(source, tmp_path / "ours")

    written = load_file(tmp_path / "ours" / "model.safetensors")
    torch.testing.assert_close(written[name], state[name], **EXACT)


def test_numbers_that_are_none_are_told_by_name(tmp_path):
    state = state_of(otter("mpt", 320))
    state["perceiver.latents"][0, 0] = float("nan")
    source = write_folder(tmp_path / "published", state, published_config("mpt", 320))

    result = convert(source, tmp_path / "ours")

    assert result.notes == ("not all numbers are finite in perceiver.latents",)


def test_a_copy_of_the_embedding_as_output_head_is_left_out_and_another_head_refused(tmp_path):
    state = published_otter(state_of(otter("mpt", 320)), "mpt")
    head = state["lang_encoder.transformer.wte.weight"].clone()
    same_head = state | {"lang_encoder.lm_head.weight": head}
    other_head = state | {"lang_encoder.lm_head.weight": head + 1}
    good = write_folder(tmp_path / "good", same_head, published_config("mpt", 320))
    bad = write_folder(tmp_path / "bad", other_head, published_config("mpt", 320))

    convert(good, tmp_path / "ours")
    assert loaded(tmp_path / "ours")
    with pytest.raises(CheckpointError, match=r"lm_head\.weight and .*wte\.weight are one tensor"):
        convert(bad, tmp_path / "other")


def test_a_flamingo_folder_gets_a_row_for_the_answer_token(tmp_path):
    """Its tokenizer has `<PAD>` where an Otter's has `<answer>`, which comes behind it."""
    original = otter("llama", 303)
    config = published_config("llama", 303) | {"model_type": "flamingo"}
    state = published_otter(state_of(original), "llama")
    source = write_folder(tmp_path / "published", state, config, tokenizer=BARE_TOKENIZER)
    tokenizer = load_tokenizer(source)
    OtterProcessor.add_special_tokens(tokenizer, layout="flamingo")
    tokenizer.save_pretrained(source)

    convert(source, tmp_path / "ours")

    model = loaded(tmp_path / "ours")
    same(model, original, words=303)
    assert model.get_input_embeddings().weight.shape[0] == 304
    assert (model.config.pad_token_id, model.config.answer_token_id) == (302, 303)
    assert OtterProcessor.from_pretrained(tmp_path / "ours").layout == "flamingo"


def test_a_fuyu_with_adapters_over_a_base(tmp_path):
    """As OtterHD's LoRA training saves them: adapters alone, under the names of 2023."""
    base = FIXTURES / "fuyu"
    state = {n: t.float() for n, t in load_file(base / "model.safetensors").items()}
    config = json.loads((base / "config.json").read_text())
    folder = write_folder(tmp_path / "base", state, config, tokenizer=base / "tokenizer")
    names = [
        "language_model.model.layers.1.self_attn.query_key_value",
        "language_model.model.layers.2.mlp.dense_4h_to_h",
        "language_model.lm_head",
    ]
    torch.manual_seed(0)
    saved, merged = {}, {}
    for name in names:
        rows, columns = state[f"{name}.weight"].shape
        a, b = torch.randn(2, columns), torch.randn(rows, 2)
        saved |= {
            f"base_model.model.{name}.lora_A.weight": a,
            f"base_model.model.{name}.lora_B.weight": b,
        }
        merged[f"{name}.weight"] = state[f"{name}.weight"] + 3 / 2 * (b @ a)
    save_file(saved, tmp_path / "adapter_model.safetensors")
    strength = {"lora_config": {"r": 2, "lora_alpha": 3}}

    source, beside = tmp_path / "adapter_model.safetensors", Beside(base=folder)
    with pytest.raises(CheckpointError, match=r"--set lora_config\.r=16"):
        convert(source, tmp_path / "ours", beside)
    convert(source, tmp_path / "ours", beside, overrides=strength)

    written = load_file(tmp_path / "ours" / "model.safetensors")
    for name, value in (state | merged).items():
        ours = name.replace("language_model.lm_head", "lm_head")
        ours = ours.replace("language_model.model", "model.language_model")
        ours = ours.replace("vision_embed_tokens", "model.vision_embed_tokens")
        torch.testing.assert_close(written[ours], value)


@pytest.mark.parametrize("family", ["otter", "fuyu"])
def test_a_folder_of_ours_is_converted_to_itself(family, tmp_path):
    """To another type, say; nothing else changes."""
    if family == "fuyu":
        state = load_file(FIXTURES / "fuyu" / "model.safetensors")
        config = json.loads((FIXTURES / "fuyu" / "config.json").read_text())
        tokenizer = FIXTURES / "fuyu" / "tokenizer"
    else:
        state, tokenizer = (
            published_otter(state_of(otter("mosaic_gpt", 320)), "mosaic_gpt"),
            TOKENIZER,
        )
        config = published_config("mosaic_gpt", 320)
    write_folder(tmp_path / "published", state, config, tokenizer=tokenizer)
    convert(tmp_path / "published", tmp_path / "ours", dtype="fp32")

    convert(tmp_path / "ours", tmp_path / "again")

    first = {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()}
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert first == again


@pytest.mark.parametrize("backbone", ["llama", "gpt_neox"])
def test_stretched_positions_stay_stretched(backbone, tmp_path):
    """`rope_scaling`, as configs of 2023 say it."""
    stretched = {"rope_scaling": {"type": "linear", "factor": 4.0}}
    original, plain = otter(backbone, 320, text=stretched), otter(backbone, 320)
    config = published_config(backbone, 320)
    config["text_config"] = config["text_config"] | stretched
    state = published_otter(state_of(original), backbone)

    convert(write_folder(tmp_path / "published", state, config), tmp_path / "ours")

    same(loaded(tmp_path / "ours"), original)
    assert (logits(original) - logits(plain)).abs().max() > 1e-3
