"""Our MPT against transformers' own where that can do it, and against a plain formula where it cannot."""

import json
import math

import pytest

torch = pytest.importorskip("torch")

import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from trainer.models.attention import packed_kwargs, packed_mask  # noqa: E402
from trainer.models.mpt import MptConfig, MptForCausalLM, mosaic_names  # noqa: E402
from trainer.models.mpt_attention import alibi_slopes  # noqa: E402

SMALL = {
    "d_model": 48, "n_heads": 4, "n_layers": 2, "vocab_size": 97, "max_seq_len": 640, "no_bias": True,
}  # fmt: skip

OPTIONS = {
    "plain": {},
    "alibi_bias_max": {"n_heads": 6, "attn_config": {"alibi_bias_max": 5}},
    "qk_ln": {"attn_config": {"qk_ln": True}},
    "learned_positions": {"attn_config": {"alibi": False}},
    "biases": {"no_bias": False, "attn_config": {"qk_ln": True}},
    "multi_query": {"attn_config": {"attn_type": "multiquery_attention", "qk_ln": True}},
    "grouped_query": {
        "attn_config": {"attn_type": "grouped_query_attention", "kv_n_heads": 2, "qk_ln": True}
    },
    "logit_scale": {"logit_scale": "inv_sqrt_d_model"},
    "logit_number": {"logit_scale": 0.3, "expansion_ratio": 2},
    "rmsnorm": {"norm_type": "low_precision_rmsnorm", "attn_config": {"clip_qkv": 0.5}},
    "softmax_scale": {"attn_config": {"softmax_scale": 0.7, "alibi": False}, "no_bias": False},
}

MOSAIC = {
    "model_type": "mosaic_gpt", "architectures": ["MosaicGPT"], "d_model": 48, "hidden_size": 48, "n_heads": 6,
    "n_layers": 2, "mlp_ratio": 4, "max_seq_len": 640, "vocab_size": 97, "attn_pdrop": 0, "resid_pdrop": 0,
    "emb_pdrop": 0, "attn_impl": "torch", "attn_qk_ln": True, "attn_clip_qkv": None, "softmax_scale": None,
    "prefix_lm": False, "attn_uses_sequence_id": False, "alibi": True, "alibi_bias_max": 8, "init_device": "cpu",
    "logit_scale": None, "no_bias": True, "verbose": 0, "param_init_fn": "kaiming_normal_", "init_std": 0.02,
    "init_div_is_residual": True, "emb_init_std": None, "emb_init_uniform_lim": None, "fan_mode": "fan_in",
    "init_gain": 0, "init_nonlinearity": "relu", "embedding_fraction": 1.0, "low_precision_layernorm": True,
    "use_cache": False, "tokenizer_name": "EleutherAI/gpt-neox-20b", "torch_dtype": "float32",
}  # fmt: skip
"""The flat config.json of mpt-1b-redpajama, with small sizes."""


def config_of(name):
    return MptConfig(**MOSAIC) if name == "mosaic" else MptConfig(**{**SMALL, **OPTIONS[name]})


def build(config, seed=0, **options):
    """Return a model whose norms and biases differ from their fresh values, too."""
    torch.manual_seed(seed)
    model = MptForCausalLM._from_config(config, **options).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


@pytest.fixture(scope="module", params=[*OPTIONS, "mosaic"])
def model(request):
    return build(config_of(request.param))


@pytest.fixture(scope="module", params=["biases", "mosaic"])
def one_of_two(request):
    """Return a model for tests that no option concerns."""
    return build(config_of(request.param))


def some_ids(rows, tokens, seed=1):
    return torch.randint(0, 97, (rows, tokens), generator=torch.Generator().manual_seed(seed))


def padded(ids, pads, side):
    mask = torch.ones_like(ids)
    for row, count in enumerate(pads):
        mask[row, slice(0, count) if side == "left" else slice(ids.shape[1] - count, None)] = 0
    return mask


def slopes_of(config):
    heads, most = config.n_heads, config.attn_config["alibi_bias_max"]
    if not config.attn_config["alibi_interleaved"]:
        return [2 ** (-most * h / heads) for h in range(1, heads + 1)]
    n = 2 ** math.ceil(math.log2(heads))
    all_slopes = [2 ** (-most * h / n) for h in range(1, n + 1)]
    return all_slopes if n == heads else (all_slopes[1::2] + all_slopes[::2])[:heads]


def formula(model, ids):
    """Write MPT out in float64 for one row without padding."""
    config, T = model.config, len(ids)
    w = {name: value.double() for name, value in model.state_dict().items()}

    def norm(x, name, eps=1e-5):
        bias = w.get(f"{name}.bias", 0)
        if "rms" in config.norm_type and not name.endswith(("q_ln", "k_ln")):
            return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * w[f"{name}.weight"]
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * w[f"{name}.weight"] + bias

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)

    attention, H, D = config.attn_config, config.n_heads, config.d_model // config.n_heads
    G = {"multiquery_attention": 1, "grouped_query_attention": attention["kv_n_heads"]}.get(
        attention["attn_type"], H
    )
    x = w["transformer.wte.weight"][ids]
    if not attention["alibi"]:
        x = x + w["transformer.wpe.weight"][:T]
    distance = (torch.arange(T)[:, None] - torch.arange(T)).double()
    for n in range(config.n_layers):
        block = f"transformer.blocks.{n}"
        qkv = linear(norm(x, f"{block}.norm_1"), f"{block}.attn.Wqkv")
        if attention["clip_qkv"]:
            qkv = qkv.clamp(-attention["clip_qkv"], attention["clip_qkv"])
        q, k, v = qkv.split([H * D, G * D, G * D], dim=-1)
        if attention["qk_ln"]:
            q, k = norm(q, f"{block}.attn.q_ln"), norm(k, f"{block}.attn.k_ln")
        heads = []
        for h in range(H):
            g = h // (H // G)
            qh, kh, vh = q[:, h * D : h * D + D], k[:, g * D : g * D + D], v[:, g * D : g * D + D]
            scores = qh @ kh.T * (attention["softmax_scale"] or D**-0.5)
            if attention["alibi"]:
                scores = scores - slopes_of(config)[h] * distance
            heads.append(scores.masked_fill(distance < 0, -torch.inf).softmax(-1) @ vh)
        x = x + linear(torch.cat(heads, -1), f"{block}.attn.out_proj")
        thought = F.gelu(linear(norm(x, f"{block}.norm_2"), f"{block}.ffn.up_proj"))
        x = x + linear(thought, f"{block}.ffn.down_proj")
    logits = norm(x, "transformer.norm_f") @ w["transformer.wte.weight"].T
    scale = {None: 1, "inv_sqrt_d_model": config.d_model**-0.5}
    return logits * (
        scale[config.logit_scale] if config.logit_scale in scale else config.logit_scale
    )


# Parity with transformers


@pytest.fixture(scope="module", params=["4_heads", "6_heads", "clip", "scale"])
def pair(request):
    """Return transformers' model and ours with the same weights."""
    attention = {"clip": {"clip_qkv": 0.4}, "scale": {"softmax_scale": 0.3}}.get(request.param, {})
    heads = 6 if request.param == "6_heads" else 4
    theirs_config = transformers.MptConfig(**{**SMALL, "n_heads": heads}, attn_config=attention)
    torch.manual_seed(3)
    theirs = transformers.MptForCausalLM(theirs_config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.mul_(3 if parameter.ndim > 1 else 1.2)
    ours = MptForCausalLM(MptConfig(**theirs_config.to_dict())).eval()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_parity_of_logits_and_loss_with_transformers(pair, side):
    theirs, ours = pair
    ids = some_ids(3, 530)  # more than two blocks
    mask = padded(ids, (0, 37, 290), side)
    # Nothing precedes the first token of a row but padding, from which nothing is to be foretold.
    labels = ids.masked_fill(mask.cumsum(1) <= 1, -100).masked_fill(mask == 0, -100)

    expected = theirs(ids, attention_mask=mask, labels=labels)
    logits = ours(ids, attention_mask=mask).logits
    loss = ours(ids, attention_mask=mask, labels=labels).loss

    real = mask.bool()
    torch.testing.assert_close(logits[real], expected.logits[real], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss, expected.loss, atol=1e-5, rtol=0)


def test_parity_of_gradients_with_transformers(pair):
    theirs, ours = pair
    ids = some_ids(2, 300)
    for model in pair:
        model.zero_grad()
        model(ids, labels=ids).loss.backward()

    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"use_cache": True},
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"num_beams": 3},
    ],
    ids=["cached", "uncached", "static", "beams"],
)
def test_parity_of_decoding_with_transformers(pair, options):
    theirs, ours = pair
    ids = some_ids(3, 9)
    mask = padded(ids, (0, 3, 6), "left")
    common = {"attention_mask": mask, "max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    beams = {"num_beams": options.get("num_beams", 1)}

    expected = theirs.generate(ids, **common, use_cache=True, **beams)

    assert ours.generate(ids, **common, **options).tolist() == expected.tolist()


# Parity with the formula


@torch.no_grad()
def test_parity_of_each_option_with_its_formula(model):
    ids = some_ids(1, 300)

    logits = model(ids).logits[0]

    torch.testing.assert_close(logits.double(), formula(model, ids[0]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("implementation", ["eager", "sdpa", "packed", "flex_attention"])
@pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile")
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_padding_changes_nothing_in_any_implementation(model, implementation, side):
    ids, pads = some_ids(2, 280), (0, 130)
    mask = padded(ids, pads, side)
    model.set_attn_implementation(implementation)
    try:
        logits = model(ids, attention_mask=mask).logits
    finally:
        model.set_attn_implementation("sdpa")

    for row, pad in enumerate(pads):
        real = mask[row].bool()
        alone = formula(model, ids[row, real])
        torch.testing.assert_close(
            logits[row, real].double(), alone, atol=1e-5, rtol=1e-5, msg=f"{pad} pads"
        )


@torch.no_grad()
def test_a_hole_in_the_mask_hides_that_token_and_keeps_the_distances(one_of_two):
    model = one_of_two
    ids = some_ids(1, 40)
    mask = torch.ones_like(ids)
    mask[0, 10:13] = 0
    other = ids.clone()
    other[0, 10:13] = (other[0, 10:13] + 1) % 97
    real = mask[0].bool()

    logits, same = (model(x, attention_mask=mask).logits[0, real] for x in (ids, other))

    assert torch.equal(logits, same)
    assert not torch.allclose(logits[12:], model(other).logits[0, real][12:], atol=1e-3)


@pytest.mark.parametrize("implementation", ["eager", "sdpa", "packed", "flex_attention"])
@pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile")
@torch.no_grad()
def test_packed_samples_do_not_see_each_other(model, implementation):
    samples = [some_ids(1, n, seed=n) for n in (1, 270, 5, 30)]
    lengths = [sample.shape[1] for sample in samples]
    cuts = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    model.set_attn_implementation(implementation)
    mask = None
    if implementation != "flex_attention":
        mask = packed_mask(implementation, cuts, tokens=306, dtype=torch.float32)
    try:
        row = model(
            torch.cat(samples, dim=1),
            attention_mask=mask,
            position_ids=torch.cat([torch.arange(n) for n in lengths])[None],
            **packed_kwargs(cuts, 270),
        ).logits
    finally:
        model.set_attn_implementation("sdpa")

    alone = torch.cat([model(sample).logits for sample in samples], dim=1)
    torch.testing.assert_close(row, alone, atol=1e-5, rtol=1e-5)


def test_the_packed_loss_has_the_gradients_of_the_separate_ones(model):
    samples = [some_ids(1, n, seed=n) for n in (40, 7, 300)]
    labels = [sample.index_fill(1, torch.tensor([0]), -100) for sample in samples]
    model.zero_grad()
    for sample, label in zip(samples, labels, strict=True):
        model(sample, labels=label, num_items_in_batch=344).loss.backward()
    expected = {name: value.grad.clone() for name, value in model.named_parameters()}
    model.zero_grad()

    model(
        torch.cat(samples, dim=1),
        labels=torch.cat(labels, dim=1),
        position_ids=torch.cat([torch.arange(n) for n in (40, 7, 300)])[None],
        num_items_in_batch=344,
        **packed_kwargs(torch.tensor([0, 40, 47, 347], dtype=torch.int32), 300),
    ).loss.backward()

    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4)


# The cache


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@torch.no_grad()
def test_cached_steps_give_the_logits_of_the_whole_text(model, implementation):
    ids = some_ids(2, 40)
    mask = padded(ids, (0, 11), "left")
    model.set_attn_implementation(implementation)
    whole = model(ids, attention_mask=mask).logits
    cache, parts = None, []

    try:
        for start, end in ((0, 20), (20, 27), (27, 28), (28, 40)):
            output = model(
                ids[:, start:end], attention_mask=mask[:, :end], cache=cache, use_cache=True
            )
            cache = output.cache
            parts.append(output.logits)
    finally:
        model.set_attn_implementation("sdpa")

    real = mask.bool()
    torch.testing.assert_close(torch.cat(parts, dim=1)[real], whole[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"cache_implementation": "static"}], ids=["dynamic", "static"]
)
def test_decoding_with_a_cache_writes_what_decoding_without_it_does(model, options):
    ids = some_ids(2, 8)
    common = {
        "attention_mask": padded(ids, (0, 5), "left"), "max_new_tokens": 10, "do_sample": False, "pad_token_id": 0,
    }  # fmt: skip

    cached = model.generate(ids, **common, **options)

    assert cached.tolist() == model.generate(ids, **common, use_cache=False).tolist()


@torch.no_grad()
def test_a_finished_mask_of_four_dimensions_is_heeded(one_of_two):
    model = one_of_two
    ids = some_ids(2, 20)
    mask = padded(ids, (0, 6), "left")
    expected = model(ids, attention_mask=mask).logits[mask.bool()]
    may_look = torch.ones(20, 20).tril().bool() & mask.bool()[:, None, None]
    added = torch.zeros(2, 1, 20, 20).masked_fill(~may_look, torch.finfo(torch.float32).min)
    positions = (mask.cumsum(1) - 1).clamp(min=0)

    for finished in (may_look, added):
        logits = model(ids, attention_mask=finished, position_ids=positions).logits
        torch.testing.assert_close(logits[mask.bool()], expected, atol=1e-5, rtol=1e-5)


# Numbers


def test_slopes_go_on_in_the_order_of_the_published_weights():
    def slopes(heads, interleaved):
        device = torch.device("cpu")
        return (
            alibi_slopes(heads, bias_max=8, interleaved=interleaved, device=device).log2().tolist()
        )

    assert slopes(8, interleaved=True) == slopes(8, interleaved=False) == [-h for h in range(1, 9)]
    assert slopes(6, interleaved=True) == [-2, -4, -6, -8, -1, -3]
    assert slopes(6, interleaved=False) == pytest.approx([-8 * h / 6 for h in range(1, 7)])


@pytest.mark.parametrize("autocast", [False, True], ids=["weights", "autocast"])
@torch.no_grad()
def test_bfloat16_stays_near_float32_far_from_the_end_of_a_text(autocast):
    config = MptConfig(**SMALL | {"max_seq_len": 1024, "n_heads": 8, "d_model": 64})
    ids = some_ids(1, 1024)
    model = build(config)
    exact = F.log_softmax(model(ids).logits, dim=-1)

    if autocast:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(ids).logits
    else:
        rough = model.bfloat16()(ids).logits

    error = (F.log_softmax(rough.float(), dim=-1) - exact).abs()
    # The absolute form of ALiBi, as a mask of 16 bits, is off by 1 and more.
    assert error.mean() < 0.02
    assert error.max() < 0.2


@pytest.mark.parametrize("frozen", [False, True], ids=["all", "frozen_below"])
def test_gradient_checkpointing_changes_no_gradient(one_of_two, frozen):
    model = one_of_two
    ids = some_ids(2, 30)
    mask = padded(ids, (0, 9), "left")
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not frozen or "blocks.1" in name)
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        model.zero_grad()
        model(ids, attention_mask=mask, labels=ids).loss.backward()
        found.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    model.activation_checkpointing_disable()
    model.eval().requires_grad_(True)

    assert len(found[0]) == len(found[1]) > 0
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_embedding_fraction_scales_the_gradient_and_not_the_logits():
    ids = some_ids(1, 12)
    grads, logits = [], []
    for share in (1.0, 0.25):
        model = build(MptConfig(**SMALL, embedding_fraction=share))
        embeds = model.get_input_embeddings()(ids).detach().requires_grad_()
        output = model(inputs_embeds=embeds).logits
        output.square().sum().backward()
        grads.append(embeds.grad)
        logits.append(output)

    torch.testing.assert_close(logits[0], logits[1])
    torch.testing.assert_close(grads[0] * 0.25, grads[1])


@torch.no_grad()
def test_only_the_logits_asked_for_are_made(one_of_two):
    model = one_of_two
    ids = some_ids(2, 15)
    whole = model(ids).logits

    torch.testing.assert_close(model(ids, logits_to_keep=2).logits, whole[:, -2:])
    torch.testing.assert_close(model(ids, logits_to_keep=torch.tensor([3])).logits, whole[:, 3:4])


@torch.no_grad()
def test_hidden_states_come_when_asked_for(one_of_two):
    model = one_of_two
    output = model(some_ids(1, 6), output_hidden_states=True)

    assert len(output.hidden_states) == 3
    torch.testing.assert_close(model.lm_head(output.hidden_states[-1]), output.logits)
    assert model(some_ids(1, 6)).hidden_states is None


# Layers that look at something


def test_what_the_model_does_not_know_reaches_every_block():
    model = build(MptConfig(**SMALL))
    found = []

    class Looking(torch.nn.Module):
        def __init__(self, block):
            super().__init__()
            self.decoder_layer = block

        def forward(self, hidden, *args, media, **kwargs):
            found.append(media)
            return self.decoder_layer(hidden, *args, **kwargs)

    blocks = model.get_decoder().blocks
    for index, block in enumerate(blocks):
        blocks[index] = Looking(block)
    plain = build(MptConfig(**SMALL))

    logits = model(some_ids(1, 5), media="a picture").logits

    assert found == ["a picture"] * 2
    assert torch.equal(logits, plain(some_ids(1, 5)).logits)


# Files


def test_saved_weights_come_back_with_one_tensor_for_both_ends(one_of_two, tmp_path):
    model = one_of_two
    model.save_pretrained(tmp_path)

    again, report = MptForCausalLM.from_pretrained(tmp_path, output_loading_info=True)

    names = set(load_file(tmp_path / "model.safetensors"))
    assert "lm_head.weight" not in names
    assert names == {name for name, _ in model.named_parameters()}
    assert not any(report.values()), report
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "mpt"
    assert again.lm_head.weight is again.transformer.wte.weight
    ids = some_ids(1, 20)
    assert torch.equal(again.eval()(ids).logits, model(ids).logits)


def test_files_of_transformers_with_a_head_of_their_own_load(pair, tmp_path):
    theirs, ours = pair
    theirs.config.save_pretrained(tmp_path)
    weights = {name: value.clone() for name, value in theirs.state_dict().items()}
    assert "lm_head.weight" in weights
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})

    again, report = MptForCausalLM.from_pretrained(tmp_path, output_loading_info=True)

    assert not any(report.values()), report
    assert torch.equal(again.eval()(some_ids(1, 9)).logits, ours(some_ids(1, 9)).logits)


def test_a_model_made_without_memory_gets_all_its_weights(one_of_two, tmp_path):
    model = one_of_two
    model.save_pretrained(tmp_path)
    with torch.device("meta"):
        empty = MptForCausalLM(model.config)
    assert all(value.is_meta for value in empty.state_dict().values())
    assert not dict(empty.named_buffers())

    empty.load_state_dict(model.state_dict(), assign=True)

    ids = some_ids(1, 20)
    assert torch.equal(empty.eval()(ids).logits, model(ids).logits)


@pytest.mark.parametrize("infix", ["", ".decoder_layer"])
def test_names_of_mosaic_become_ours(infix):
    model = build(MptConfig(**MOSAIC))
    ours = [name.replace(".1.", f".1{infix}.") for name, _ in model.named_parameters()]
    published = [
        f"transformer.blocks.1{infix}.{name}.weight"
        for name in (
            "ln_1", "attn.Wqkv", "attn.out_proj", "attn.q_ln", "attn.k_ln", "ln_2", "mlp.mlp_up", "mlp.mlp_down",
        )
    ]  # fmt: skip
    published += ["transformer.wte.weight", "transformer.ln_f.weight"]

    assert {mosaic_names(name) for name in published} == {n for n in ours if "blocks.0" not in n}
    assert [mosaic_names(name) for name in ours] == ours


def test_words_can_be_added():
    before = build(config_of("logit_scale"))
    grown = build(config_of("logit_scale"))
    grown.resize_token_embeddings(105, mean_resizing=False)

    assert grown.config.vocab_size == 105
    assert grown.lm_head.weight is grown.transformer.wte.weight
    logits = grown(some_ids(1, 9)).logits[..., :97]
    torch.testing.assert_close(logits, before(some_ids(1, 9)).logits)


def test_fresh_weights_are_kaiming_normal_and_smaller_where_they_are_added_up():
    model = MptForCausalLM(MptConfig(**SMALL | {"d_model": 256, "n_layers": 8, "vocab_size": 500}))
    std = {name: value.std().item() for name, value in model.named_parameters()}

    block = "transformer.blocks.3"
    assert std[f"{block}.attn.Wqkv.weight"] == pytest.approx((2 / 256) ** 0.5, rel=0.05)
    assert std[f"{block}.attn.out_proj.weight"] == pytest.approx((2 / 256) ** 0.5 / 4, rel=0.05)
    assert std[f"{block}.ffn.down_proj.weight"] == pytest.approx((2 / 1024) ** 0.5 / 4, rel=0.05)
    assert std["transformer.wte.weight"] == pytest.approx((2 / 256) ** 0.5, rel=0.05)


# The config


def test_the_published_flat_config_of_mosaic_is_read():
    config = MptConfig(**MOSAIC)

    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (48, 2, 6)
    assert (config.vocab_size, config.expansion_ratio, config.max_position_embeddings) == (
        97,
        4,
        640,
    )
    assert config.attn_config["qk_ln"] is True
    assert config.attn_config["alibi_interleaved"] is False
    again = MptConfig(**config.to_dict())
    assert again.to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"attn_config": {"prefix_lm": True}}, "attn_config.prefix_lm = True"),
        ({"attn_config": {"attn_uses_sequence_id": True}}, "attn_uses_sequence_id = True"),
        ({"attn_config": {"rope": True}}, "rotary"),
        ({"attn_config": {"sliding_window_size": 9}}, "sliding_window_size = 9"),
        ({"attn_config": {"attn_type": "odd"}}, "attn_type is 'odd'"),
        ({"attn_config": {"attn_type": "grouped_query_attention"}}, "kv_n_heads"),
        (
            {"attn_config": {"attn_type": "grouped_query_attention", "kv_n_heads": 3}},
            r"n_heads \(4\) is no multiple of kv_n_heads \(3\)",
        ),
        ({"norm_type": "batchnorm"}, "norm_type is 'batchnorm'"),
        ({"logit_scale": "sqrt"}, "logit_scale is 'sqrt'"),
        ({"n_heads": 5}, r"d_model \(48\)"),
        ({"ffn_config": {"ffn_type": "mptgeglu"}}, "ffn_type is 'mptgeglu'"),
        ({"model_type": "llama"}, "'llama'"),
    ],
    ids=lambda value: None if isinstance(value, str) else json.dumps(value),
)
def test_what_cannot_be_kept_is_refused_by_name(changed, message):
    with pytest.raises(ValueError, match=message):
        MptConfig(**SMALL | changed)


def test_a_text_longer_than_the_context_is_refused():
    model = build(MptConfig(**SMALL | {"max_seq_len": 12}))
    cache = model(some_ids(1, 10), use_cache=True).cache

    with pytest.raises(ValueError, match=r"13 tokens are more than the context of 12"):
        model(some_ids(1, 13))
    with pytest.raises(ValueError, match=r"13 tokens are more than the context of 12"):
        model(some_ids(1, 3), cache=cache)


def test_requests_that_make_no_sense_are_refused():
    model = build(MptConfig(**SMALL))
    cuts = torch.tensor([0, 3, 5], dtype=torch.int32)
    cache = model(some_ids(1, 2), use_cache=True).cache

    with pytest.raises(ValueError, match="from 0 to 5 in a row of 6"):
        model(some_ids(1, 6), **packed_kwargs(cuts, 3))
    with pytest.raises(ValueError, match="cannot continue"):
        model(some_ids(1, 5), cache=cache, **packed_kwargs(cuts, 3))
    with pytest.raises(ValueError, match="output_attentions"):
        model(some_ids(1, 5), output_attentions=True)
    with pytest.raises(ValueError, match="either"):
        model()


# On a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "implementation", ["sdpa", "flex_attention", "packed", "flash_attention_2"]
)
def test_implementations_agree_on_cuda(implementation, packed):
    if implementation == "flash_attention_2":
        pytest.importorskip("flash_attn")
    config = MptConfig(**SMALL | {"d_model": 256, "n_heads": 4})
    reference, model = build(config).cuda(), build(config).cuda().bfloat16()
    model.set_attn_implementation(implementation)
    ids, options = some_ids(1, 600).cuda(), {}
    if packed:
        cuts = torch.tensor([0, 100, 103, 600], dtype=torch.int32, device="cuda")
        options = packed_kwargs(cuts, 497)

    expected = reference(ids, labels=ids, **options).loss
    loss = model(ids, labels=ids, **options).loss
    expected.backward()
    loss.backward()

    torch.testing.assert_close(loss, expected, atol=0.03, rtol=0)
    for (name, mine), other in zip(model.named_parameters(), reference.parameters(), strict=True):
        cosine = F.cosine_similarity(mine.grad.float().flatten(), other.grad.flatten(), dim=0)
        assert cosine > 0.98, name
