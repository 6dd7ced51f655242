"""Our MPT against transformers' own where that can do it, and against a plain formula where it cannot."""

import sys
import types

import pytest

torch = pytest.importorskip("torch")

import transformers  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from tests.trainer.mpt_models import (  # noqa: E402
    OPTIONS,
    SMALL,
    attending,
    build,
    config_of,
    formula,
    padded,
    some_ids,
)
from trainer.models import mpt_attention  # noqa: E402
from trainer.models.attention import packed_kwargs, packed_mask  # noqa: E402
from trainer.models.mpt import MptConfig, MptForCausalLM  # noqa: E402


@pytest.fixture(scope="module", params=[*OPTIONS, "mosaic"])
def model(request):
    return build(config_of(request.param))


@pytest.fixture(scope="module", params=["biases", "mosaic"])
def one_of_two(request):
    """Return a model for tests that no option concerns."""
    return build(config_of(request.param))


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
    mask = padded(ids, (0, 37), "left")
    for model in pair:
        model.zero_grad()
        labels = ids.masked_fill(mask.cumsum(1) <= 1, -100)
        model(ids, attention_mask=mask, labels=labels).loss.backward()

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
    with attending(model, implementation):
        logits = model(ids, attention_mask=mask).logits

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
    mask = None
    if implementation != "flex_attention":
        mask = packed_mask(implementation, cuts, tokens=306, dtype=torch.float32)
    with attending(model, implementation):
        row = model(
            torch.cat(samples, dim=1),
            attention_mask=mask,
            position_ids=torch.cat([torch.arange(n) for n in lengths])[None],
            **packed_kwargs(cuts, 270),
        ).logits

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


def alibi_by_flash(q, k, v, softmax_scale, dropout_p, causal, alibi_slopes):
    """Do what flash-attn's README says of `flash_attn_func`: -slope · |i - j| is added to the scores."""
    assert causal
    assert not dropout_p
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    k, v = (part.repeat_interleave(q.shape[1] // part.shape[1], dim=1) for part in (k, v))
    behind = torch.arange(q.shape[2])[:, None] - torch.arange(q.shape[2])
    scores = q @ k.mT * softmax_scale
    if alibi_slopes is not None:
        scores = scores - alibi_slopes[:, None, None] * behind.abs()
    return (scores.masked_fill(behind < 0, -torch.inf).softmax(-1) @ v).transpose(1, 2)


def alibi_by_flash_varlen(q, k, v, cu_seqlens_q, cu_seqlens_k, longest_q, longest_k, **options):
    lengths = cu_seqlens_q.diff().tolist()
    assert cu_seqlens_q.dtype == torch.int32
    assert max(lengths) == longest_q
    samples = zip(*(part.split(lengths) for part in (q, k, v)), strict=True)
    return torch.cat([alibi_by_flash(*(x[None] for x in each), **options)[0] for each in samples])


@torch.no_grad()
def test_flash_attention_is_called_as_its_readme_says(model, monkeypatch):
    ids = some_ids(2, 60)
    mask = padded(ids, (0, 23), "left")
    packed = packed_kwargs(torch.tensor([0, 20, 21, 60], dtype=torch.int32), 39)
    asked = [
        ({"input_ids": ids}, slice(None)),
        ({"input_ids": ids, "attention_mask": mask}, mask.bool()),
        ({"input_ids": ids, "attention_mask": mask.flip(1)}, mask.flip(1).bool()),
        ({"input_ids": ids[:1], **packed}, slice(None)),
    ]
    expected = [model(**inputs).logits[real] for inputs, real in asked]
    package = types.ModuleType("flash_attn")
    package.flash_attn_func = alibi_by_flash
    package.flash_attn_varlen_func = alibi_by_flash_varlen
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    monkeypatch.setattr(mpt_attention, "_flash_can", lambda implementation, like: True)

    for (inputs, real), other in zip(asked, expected, strict=True):
        torch.testing.assert_close(model(**inputs).logits[real], other, atol=1e-5, rtol=1e-5)


# The cache


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@torch.no_grad()
def test_cached_steps_give_the_logits_of_the_whole_text(model, implementation):
    ids = some_ids(2, 40)
    mask = padded(ids, (0, 11), "left")
    cache, parts = None, []

    with attending(model, implementation):
        whole = model(ids, attention_mask=mask).logits
        for start, end in ((0, 20), (20, 27), (27, 28), (28, 40)):
            output = model(
                ids[:, start:end], attention_mask=mask[:, :end], cache=cache, use_cache=True
            )
            cache = output.cache
            parts.append(output.logits)

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
            mpt_attention.alibi_slopes(heads, bias_max=8, interleaved=interleaved, device=device)
            .log2()
            .tolist()
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
