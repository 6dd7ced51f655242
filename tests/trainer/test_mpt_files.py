"""MPT's files, names, options and refusals, and layers wrapped around its blocks."""

import json

import pytest

torch = pytest.importorskip("torch")

import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from tests.trainer.mpt_models import MOSAIC, SMALL, build, config_of, some_ids  # noqa: E402
from trainer.models.attention import packed_kwargs  # noqa: E402
from trainer.models.mpt import MptConfig, MptForCausalLM, mosaic_names  # noqa: E402


@pytest.fixture(scope="module", params=["biases", "mosaic"])
def one_of_two(request):
    """Return a model for tests that no option concerns."""
    return build(config_of(request.param))


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


def test_files_of_transformers_with_a_head_of_their_own_load(tmp_path):
    torch.manual_seed(3)
    theirs = transformers.MptForCausalLM(transformers.MptConfig(**SMALL)).eval()
    theirs.config.save_pretrained(tmp_path)
    weights = {name: value.clone() for name, value in theirs.state_dict().items()}
    assert "lm_head.weight" in weights
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})

    again, report = MptForCausalLM.from_pretrained(tmp_path, output_loading_info=True)

    assert not any(report.values()), report
    logits = theirs(some_ids(1, 9)).logits
    torch.testing.assert_close(again.eval()(some_ids(1, 9)).logits, logits, atol=1e-5, rtol=0)


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
