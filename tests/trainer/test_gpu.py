"""On a GPU in 16 bits: every way to attend gives what float32 gives, packed rows what padded ones give, and compiled what eager gives."""

from importlib.util import find_spec

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from transformers import FuyuConfig  # noqa: E402

from trainer.batch import Example, collate, one_row  # noqa: E402
from trainer.models.attention import packed_attention_forward, packed_mask  # noqa: E402
from trainer.models.fuyu import Fuyu  # noqa: E402
from trainer.models.fuyu_batch import Sample, packed, padded  # noqa: E402
from trainer.models.otter import Otter, OtterConfig  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
    # PyTorch's compiler warns of its own insides.
    pytest.mark.filterwarnings("ignore"),
]
CUTS = [0, 5, 133, 134, 400, 512]
TOLERANCE = 1e-2
"""Relative error of a whole tensor: bfloat16 keeps 8 bits, 4e-3 of a number, and a product of many rounds a few times."""
IMAGE, PAD, WORDS = 3, 0, 128


def off(found, true):
    found, true = found.detach().float(), true.detach().float()
    return float((found - true).norm() / true.norm())


def there_and_back(attend, q, k, v):
    parts = [part.detach().requires_grad_() for part in (q, k, v)]
    seen = attend(*parts)
    return [seen, *torch.autograd.grad(seen.float().square().sum(), parts)]


def samplewise(q, k, v):
    """Attend in each sample by itself: the definition."""
    groups = q.shape[1] // k.shape[1]
    k, v = (part.repeat_interleave(groups, dim=1) for part in (k, v))
    lengths = torch.tensor(CUTS).diff().tolist()
    parts = zip(*(part.split(lengths, dim=2) for part in (q, k, v)), strict=True)
    return torch.cat([F.scaled_dot_product_attention(*p, is_causal=True) for p in parts], dim=2)


def by_packed(q, k, v):
    ends = torch.tensor(CUTS, dtype=torch.int32, device=q.device)
    seen, _ = packed_attention_forward(
        nn.Identity(), q, k, v, None, cu_seq_lens_q=ends, cu_seq_lens_k=ends,
        max_length_q=266, max_length_k=266,
    )  # fmt: skip
    return seen.transpose(1, 2)


def by_mask(q, k, v):
    ends = torch.tensor(CUTS, dtype=torch.int32, device=q.device)
    mask = packed_mask("sdpa", ends, tokens=CUTS[-1], dtype=q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


def by_flex(q, k, v):
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    ends = torch.tensor(CUTS, device=q.device)
    sample = torch.bucketize(torch.arange(CUTS[-1], device=q.device), ends[1:], right=True)
    blocks = create_block_mask(
        lambda b, h, at, to: (sample[at] == sample[to]) & (at >= to),
        None, None, CUTS[-1], CUTS[-1], device="cuda",
    )  # fmt: skip
    return torch.compile(flex_attention)(q, k, v, block_mask=blocks, enable_gqa=True)


@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("groups", [8, 2], ids=["all heads", "grouped keys"])
@pytest.mark.parametrize("attend", [by_packed, by_mask, by_flex, samplewise])
def test_attention_in_16_bits_is_that_of_float32_there_and_back(attend, groups, width):
    torch.manual_seed(0)
    q, k, v = (
        torch.randn(1, heads, CUTS[-1], width, device="cuda").bfloat16()
        for heads in (8, groups, groups)
    )

    found = there_and_back(attend, q, k, v)

    true = there_and_back(samplewise, *(part.float() for part in (q, k, v)))
    assert [off(mine, exact) for mine, exact in zip(found, true, strict=True)] == pytest.approx(
        [0] * 4, abs=TOLERANCE
    )


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash-attn is installed")
def test_without_flash_attn_the_kernel_is_pytorchs(monkeypatch):
    from torch.nn.attention import varlen

    called = []
    kernel = varlen.varlen_attn
    monkeypatch.setattr(
        varlen, "varlen_attn", lambda *args, **kwargs: called.append(1) or kernel(*args, **kwargs)
    )

    by_packed(*(torch.randn(1, 4, CUTS[-1], 64, device="cuda").bfloat16() for _ in range(3)))

    assert called


def make_fuyu(dtype):
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3,
             "num_attention_heads": 2, "vocab_size": WORDS}  # fmt: skip
    config = FuyuConfig(
        patch_size=4, num_channels=3, image_token_id=IMAGE, pad_token_id=PAD,
        text_config={"model_type": "persimmon", "pad_token_id": PAD, **sizes}, **sizes,
    )  # fmt: skip
    return Fuyu._from_config(config).to("cuda", dtype)


def conversations():
    torch.manual_seed(1)
    for patches in (0, 6, 20):
        ids = torch.cat([torch.full((patches,), IMAGE), torch.randint(8, WORDS, (40,))])
        labels = ids.clone()
        labels[:-12] = -100
        yield Sample(ids, labels, torch.rand(patches, 48), torch.arange(patches))


def on_gpu(batch):
    return {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


def learn(model, batch):
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    return loss.detach(), torch.cat(
        [w.grad.flatten().float() for w in model.parameters() if w.grad is not None]
    )


@pytest.mark.parametrize("implementation", ["packed", "sdpa", "flex_attention"])
def test_fuyu_learns_from_a_packed_row_in_16_bits_what_float32_learns_from_padded_ones(
    implementation,
):
    samples = list(conversations())
    exact = learn(make_fuyu(torch.float32), on_gpu(padded(samples, pad_id=PAD)))
    model = make_fuyu(torch.bfloat16)
    model.set_attn_implementation(implementation)

    loss, gradients = learn(model, on_gpu(packed(samples)))

    assert float(loss) == pytest.approx(float(exact[0]), rel=TOLERANCE)
    assert off(gradients, exact[1]) < 0.05


def test_compiled_layers_of_fuyu_learn_the_same():
    samples = list(conversations())
    model = make_fuyu(torch.bfloat16)
    model.set_attn_implementation("packed")
    batch = on_gpu(packed(samples))
    loss, gradients = learn(model, batch)

    for layer in model.model.language_model.layers:
        layer.compile(dynamic=True)

    found = learn(model, batch)
    assert float(found[0]) == pytest.approx(float(loss), rel=TOLERANCE)
    assert off(found[1], gradients) < 0.05


@pytest.mark.parametrize("backbone", ["llama", "mpt"])
def test_otter_learns_from_a_packed_row_in_16_bits_what_float32_learns_from_padded_ones(backbone):
    text = {
        "llama": {"model_type": "llama", "hidden_size": 128, "intermediate_size": 256,
                  "num_hidden_layers": 2, "num_attention_heads": 2},
        "mpt": {"model_type": "mpt", "d_model": 128, "n_heads": 2, "n_layers": 2},
    }[backbone]  # fmt: skip
    config = OtterConfig(
        vision_config={"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
                       "num_attention_heads": 2, "image_size": 16, "patch_size": 8},
        text_config={"vocab_size": WORDS, **text},
        perceiver={"depth": 1, "heads": 2, "dim_head": 32, "num_latents": 4},
        cross_attention={"heads": 2, "dim_head": 32},
        cross_attn_every_n_layers=1, gate_init=1.0, image_token_id=IMAGE, pad_token_id=PAD,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Otter(config).cuda()
    rng = torch.Generator().manual_seed(2)
    examples = []
    for nth, length in enumerate((30, 50, 9)):
        ids = torch.randint(8, WORDS, (length,), generator=rng)
        ids[0] = IMAGE
        labels = torch.where(torch.arange(length) < length // 2, -100, ids)
        pixels = torch.randn(1, 1, 3, 16, 16, generator=rng)
        examples.append(Example(str(nth), ids.tolist(), labels.tolist(), pixels))

    exact = learn(model, collate(examples, pad=PAD, image=IMAGE).to("cuda").inputs())
    model.to(torch.bfloat16).set_attn_implementation({"text_config": "packed"})
    loss, gradients = learn(model, one_row(examples, image=IMAGE).to("cuda").inputs())

    assert float(loss) == pytest.approx(float(exact[0]), rel=TOLERANCE)
    assert off(gradients, exact[1]) < 0.1
