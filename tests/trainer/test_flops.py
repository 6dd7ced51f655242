"""Counted operations beside PyTorch's own counter, product by product."""

import pytest

torch = pytest.importorskip("torch")

from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig,
    AutoModelForCausalLM,
    CLIPVisionConfig,
    FuyuConfig,
    FuyuForCausalLM,
    IdeficsConfig,
)

from trainer.flops import Sample, mfu, peak_flops, step_flops  # noqa: E402
from trainer.models.fuyu import Fuyu  # noqa: E402
from trainer.models.idefics import Idefics  # noqa: E402
from trainer.models.otter import Otter, OtterConfig  # noqa: E402

V = 96
TEXTS = {
    "llama": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
                  "num_key_value_heads": 2},
    "qwen3": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
                  "num_key_value_heads": 2, "head_dim": 16},
    "gpt_neox": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4},
    "persimmon": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 3},
}  # fmt: skip


def decoder(name):
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, vocab_size=V, **TEXTS[name])
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def otter(every=2, text="llama"):
    torch.manual_seed(0)
    config = OtterConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
            image_size=28, patch_size=14,
        ),
        text_config={"model_type": text, "vocab_size": V, **TEXTS[text]},
        perceiver={"depth": 2, "heads": 2, "dim_head": 8, "num_latents": 4},
        cross_attention={"heads": 2, "dim_head": 8},
        cross_attn_every_n_layers=every, gate_init=0.5, image_token_id=3,
    )  # fmt: skip
    return Otter(config)


def counted(model, backward=True, **inputs):
    """Return what PyTorch counts, there and back, without the rotations (which some models write as products)."""
    # The kernel that is written as plain products, for the counter does not know the others on a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as there:
        output = model(**inputs)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as back:
        if backward:
            output.loss.backward()
    rotations = {
        name: sum(counts.values())
        for name, counts in there.get_flop_counts().items()
        if name.endswith("rotary_emb")
    }
    # Each module is counted once under its full name.
    return there.get_total_flops() - sum(rotations.values()), back.get_total_flops()


def text(rows=2, tokens=11):
    ids = torch.arange(rows * tokens).view(rows, tokens) % (V - 4) + 4
    return {"input_ids": ids, "labels": ids.clone()}


def seen(media=2, frames=1):
    inputs = text()
    inputs["input_ids"][:, :media] = 3
    inputs["pixel_values"] = torch.randn(2, media, frames, 3, 28, 28)
    return inputs


@pytest.mark.parametrize("name", TEXTS)
def test_a_decoder_costs_what_pytorch_counts_there_and_back(name):
    model = decoder(name)

    flops = step_flops(model, [Sample(tokens=11)] * 2, attention="full")

    there, back = counted(model, **text())
    assert sum(flops.forward.values()) == there
    assert sum(flops.backward.values()) == back


@pytest.mark.parametrize(
    "trained",
    [
        pytest.param((), id="all"),
        pytest.param(("perceiver", "gated_cross", "embed"), id="as published"),
        pytest.param(("perceiver", "gated_cross"), id="without embeddings"),
        pytest.param(("gated_cross",), id="gates alone"),
        pytest.param(("lang_encoder",), id="language alone"),
        pytest.param(("vision_encoder",), id="vision alone"),
        pytest.param(("lm_head",), id="head alone"),
    ],
)
def test_frozen_parts_of_otter_cost_what_pytorch_counts(trained):
    model = otter()
    if trained:
        for name, weight in model.named_parameters():
            weight.requires_grad_(any(part in name for part in trained))
    model.vision_encoder.post_layernorm.requires_grad_(False)

    flops = step_flops(model, [Sample(tokens=11, taught=10, media=(1, 1))] * 2, attention="full")

    there, back = counted(model, **seen())
    assert sum(flops.forward.values()) == there
    assert sum(flops.backward.values()) == back


@pytest.mark.parametrize("backbone", ["llama", "mpt", "gpt_neox"])
def test_frames_and_few_taught_tokens_cost_what_pytorch_counts(backbone):
    model = otter(text=backbone)
    inputs = seen(media=1, frames=3)
    inputs["labels"][:, :-2] = -100

    flops = step_flops(model, [Sample(tokens=11, taught=2, media=(3,))] * 2, attention="full")

    assert (sum(flops.forward.values()), sum(flops.backward.values())) == counted(model, **inputs)


# peft still asks transformers by a name that will go.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_adapters_are_counted():
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        decoder("llama"), LoraConfig(r=2, target_modules=["q_proj", "v_proj"], lora_dropout=0.0)
    )

    flops = step_flops(model, [Sample(tokens=11)] * 2, attention="full")

    there, back = counted(model, **text())
    assert sum(flops.forward.values()) == there
    # The first layer's products need no gradient of their input, which is not known product by product.
    assert sum(flops.backward.values()) == pytest.approx(back, rel=0.05)


def test_causal_attention_is_about_half_of_full_and_samples_do_not_see_each_other():
    model = decoder("llama")

    def attention(convention, *lengths):
        samples = [Sample(tokens=length) for length in lengths]
        return step_flops(model, samples, attention=convention).forward["attention"]

    assert attention("causal", 100) == attention("full", 100) * 101 / 200
    assert attention("full", 50, 50) == attention("full", 100) / 2
    assert attention("causal", 30, 70) < attention("causal", 100)


def test_a_sliding_window_is_heeded():
    config = AutoConfig.for_model(
        "gemma3_text", vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)

    flops = step_flops(model, [Sample(tokens=10)])

    pairs = sum(min(4, token) for token in range(1, 11)) + sum(range(1, 11))
    assert flops.forward["attention"] == 4 * pairs * 4 * 16


def fuyu(kind):
    torch.manual_seed(0)
    sizes = {key: value for key, value in TEXTS["persimmon"].items() if key != "hidden_size"}
    config = FuyuConfig(
        vocab_size=V, hidden_size=32, patch_size=4, num_channels=3, image_token_id=3,
        text_config={"model_type": "persimmon", "vocab_size": V, **TEXTS["persimmon"]}, **sizes,
    )  # fmt: skip
    return kind._from_config(config, attn_implementation="eager")


def with_patches():
    inputs = text()
    inputs["input_ids"][:, 1:5] = 3
    inputs["pixel_values"] = torch.randn(2, 4, 48)
    return inputs


def test_transformers_fuyu_costs_what_pytorch_counts():
    model = fuyu(FuyuForCausalLM)

    flops = step_flops(model, [Sample(tokens=11, patches=4)] * 2, attention="full")

    expected = counted(model, **with_patches())
    assert (sum(flops.forward.values()), sum(flops.backward.values())) == expected


def test_our_fuyu_costs_what_pytorch_counts_also_where_few_tokens_are_taught():
    model = fuyu(Fuyu)
    inputs = with_patches()
    inputs["labels"][:, :-3] = -100

    flops = step_flops(model, [Sample(tokens=11, taught=3, patches=4)] * 2, attention="full")

    expected = counted(model, **inputs)
    assert (sum(flops.forward.values()), sum(flops.backward.values())) == expected


@pytest.mark.parametrize("resampler", [True, False], ids=["resampler", "patches"])
@pytest.mark.parametrize("trained", ["", "gated_cross"], ids=["all", "gates alone"])
def test_idefics_costs_what_pytorch_counts(trained, resampler):
    torch.manual_seed(0)
    config = IdeficsConfig(
        vocab_size=V, additional_vocab_size=2, hidden_size=32, intermediate_size=48, num_hidden_layers=4,
        num_attention_heads=4, cross_layer_interval=2, use_resampler=resampler, alpha_initializer="ones",
        vision_config={"embed_dim": 32, "image_size": 28, "patch_size": 14, "intermediate_size": 48,
                       "num_hidden_layers": 2, "num_attention_heads": 2},
        perceiver_config={"resampler_depth": 2, "resampler_n_heads": 2, "resampler_head_dim": 8,
                          "resampler_n_latents": 4, "qk_layer_norms_perceiver": False},
    )  # fmt: skip
    model = Idefics(config)
    for name, weight in model.named_parameters():
        weight.requires_grad_(trained in name)
    inputs = text()
    inputs["pixel_values"] = torch.randn(2, 2, 3, 28, 28)
    inputs["image_attention_mask"] = torch.zeros(2, 11, 2, dtype=torch.long)
    inputs["image_attention_mask"][:, 1:, 0] = 1

    flops = step_flops(model, [Sample(tokens=11, taught=10, media=(1, 1))] * 2, attention="full")

    expected = counted(model, **inputs)
    assert (sum(flops.forward.values()), sum(flops.backward.values())) == expected


def test_the_published_otter_is_counted_without_its_weights():
    text_config = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
                   "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32004}  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        image_size=224, patch_size=14,
    )  # fmt: skip
    with torch.device("meta"):
        model = Otter(OtterConfig(vision_config=vision, text_config=text_config))

    flops = step_flops(model, [Sample(tokens=512, media=(1,))])

    # 2 operations a weight and token, by hand: 32 layers; 8 blocks.
    assert flops.forward["language"] == 2 * 512 * 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    gates = 512 * (2 * 4096 * 512 + 8 * 4096**2 + 2 * 64 * 512) + 64 * 1024 * 1024
    assert flops.forward["gates"] == 2 * 8 * gates
    assert 150e9 < flops.forward["vision"] < 170e9


def test_otter_mpt7b_is_what_is_counted_by_hand():
    text_config = {"model_type": "mpt", "d_model": 4096, "n_heads": 32, "n_layers": 32, "vocab_size": 50432,
                   "no_bias": True}  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        image_size=224, patch_size=14,
    )  # fmt: skip
    with torch.device("meta"):
        model = Otter(OtterConfig(vision_config=vision, text_config=text_config))
    for name, weight in model.named_parameters():
        weight.requires_grad_(any(part in name for part in ("perceiver", "gated_cross", "wte")))
    T, K = 1000, 100

    flops = step_flops(model, [Sample(tokens=T, taught=K, media=(1,))])

    # Multiply-adds of the way there: 12 D² a token and layer, in the tower 12 V² and attention over all patches.
    D, V, L, P, E = 4096, 1024, 64, 256, 512
    tower = 24 * ((P + 1) * 12 * V**2 + 2 * (P + 1) ** 2 * V) + P * 3 * 14**2 * V
    keys = P + L
    perceiver = 6 * (L * 2 * V * E + keys * V * 2 * E + 2 * L * keys * E + L * 8 * V**2)
    gates = 8 * (T * 2 * D * E + L * V * 2 * E + 2 * T * L * E + T * 8 * D**2)
    expected = {
        "vision": tower,
        "perceiver": perceiver,
        "gates": gates,
        "language": T * 32 * 12 * D**2,
        "attention": 32 * 2 * D * T * (T + 1) // 2,
        "head": K * D * 50432,
    }
    assert flops.forward == {part: 2 * count for part, count in expected.items()}
    # On the way back: nothing below what is trained, once through what is frozen above it, and twice all that is trained. The
    # patches are no gradient's way, but the norms before the Perceiver's products are trained.
    times = {"vision": 0, "perceiver": 2, "gates": 2, "language": 1, "attention": 2, "head": 2}
    assert flops.backward == {part: times[part] * count for part, count in flops.forward.items()}


def test_otterhd_8b_is_what_is_counted_by_hand():
    sizes = {"hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 36,
             "num_attention_heads": 64, "vocab_size": 262_144}  # fmt: skip
    config = FuyuConfig(
        patch_size=30, num_channels=3, text_config={"model_type": "persimmon", **sizes}, **sizes
    )
    with torch.device("meta"):
        ours, theirs = Fuyu._from_config(config), FuyuForCausalLM._from_config(config)
    # A picture of 448 pixels: 225 patches and 15 line ends.
    T, K, P, D = 400, 60, 225, 4096

    mine, all_words = (
        step_flops(model, [Sample(tokens=T, taught=taught, patches=P)])
        for model, taught in ((ours, K), (theirs, None))
    )

    for flops, last, words in (
        (mine, T * 3 * D**2 + K * 9 * D**2, K),
        (all_words, T * 12 * D**2, T),
    ):
        assert flops.forward == {
            "vision": 2 * P * 2700 * D,
            "language": 2 * (T * 35 * 12 * D**2 + last),
            "attention": 2 * 36 * 2 * D * T * (T + 1) // 2,
            "head": 2 * words * D * 262_144,
        }
        # All is trained: twice on the way back, but the pixels need no gradient.
        backward = {part: 2 * count for part, count in flops.forward.items()}
        assert flops.backward == backward | {"vision": flops.forward["vision"]}


def test_a_text_alone_costs_nothing_of_vision():
    flops = step_flops(otter(), [Sample(tokens=11)])

    assert flops.forward["vision"] == 0
    assert flops.forward["perceiver"] == 0
    assert flops.forward["gates"] > 0


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L40", None),
        ("NVIDIA A1000 Laptop GPU", None),
        ("Some other device", None),
    ],
)
def test_an_unknown_gpu_has_no_peak(name, peak):
    assert peak_flops(name) == peak


def test_mfu_is_the_share_of_all_devices_and_unknown_without_a_peak():
    assert mfu(989e12, 2.0, device_name="NVIDIA H200") == 0.5
    assert mfu(989e12, 2.0, device_name="NVIDIA H200", devices=2) == 0.25
    assert mfu(989e12, 2.0, device_name="NVIDIA H200", dtype=torch.float32) is None
    assert mfu(989e12, 2.0, device_name="cpu") is None


def test_a_model_without_layers_is_refused():
    class Flat(torch.nn.Module):
        config = AutoConfig.for_model("llama", vocab_size=V, **TEXTS["llama"])

        def __init__(self):
            super().__init__()
            self.words = torch.nn.Embedding(V, 32)

        def get_input_embeddings(self):
            return self.words

    with pytest.raises(ValueError, match="no list of layers"):
        step_flops(Flat(), [Sample(tokens=1)])
