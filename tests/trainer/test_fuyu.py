"""Fuyu: packed, of any picture size, and interchangeable with transformers' own."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from transformers import AutoModelForCausalLM, AutoProcessor, FuyuForCausalLM, LlamaConfig  # noqa: E402
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS  # noqa: E402

from tests.trainer.fuyu import (  # noqa: E402
    CLOSE,
    config,
    fuyu,
    noise,
    processor_of,
    samples_of,
    with_implementation,
)
from trainer.models.attention import packed_attention_forward  # noqa: E402
from trainer.models.fuyu import Fuyu  # noqa: E402
from trainer.models.fuyu_batch import IGNORED, normalised, packed, padded  # noqa: E402
from trainer.models.fuyu_layers import rotated, squared_relu  # noqa: E402
from trainer.models.fuyu_processor import FuyuProcessor  # noqa: E402
from trainer.published.configs import fuyu_config  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return fuyu()


@pytest.fixture(scope="module")
def processor():
    return processor_of()


@pytest.fixture(scope="module")
def samples(processor):
    return samples_of(processor)


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


def test_under_autocast_attention_gets_16_bits_though_norms_give_float32(samples, monkeypatch):
    model = with_implementation(fuyu(), "packed")
    for layer in model.model.language_model.layers:
        for norm in (layer.self_attn.q_layernorm, layer.self_attn.k_layernorm):
            # As autocast does on CUDA; on a CPU it leaves norms in 16 bits.
            norm.register_forward_hook(lambda _norm, _given, out: out.float())
    seen = []

    def told(module, query, key, value, *args, **kwargs):
        seen.append({query.dtype, key.dtype, value.dtype})
        return packed_attention_forward(module, query, key, value, *args, **kwargs)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "packed", told)
    with torch.autocast("cpu", torch.bfloat16):
        model(**packed(samples)).loss.backward()

    assert seen == [{torch.bfloat16}] * 3


@torch.no_grad()
def test_hidden_states_and_single_logits_are_given_when_asked_for(model, samples):
    batch = padded(samples[:1], pad_id=0)
    del batch["labels"]

    output = model(**batch, output_hidden_states=True, logits_to_keep=1)

    assert output.logits.shape == (1, 1, 457)
    assert [tuple(h.shape) for h in output.hidden_states] == [(1, len(samples[0]), 64)] * 4


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


def test_a_flat_config_of_old_keeps_fuyus_angles_beside_a_scaling():
    scaling = {"rope_scaling": {"type": "linear", "factor": 2.0}}

    angles = fuyu_config({"hidden_size": 64, "patch_size": 6} | scaling, 5).text_config

    found = angles.rope_parameters
    assert (found["rope_theta"], found["partial_rotary_factor"]) == (25000.0, 0.5)
    assert (found["rope_type"], found["factor"]) == ("linear", 2.0)


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


def test_the_example_in_the_documents_runs(tmp_path, monkeypatch, model, capsys):
    page = (Path(__file__).parent.parent.parent / "docs" / "models.md").read_text(encoding="utf-8")
    example = page.split("## OtterHD and Fuyu")[1].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    with_implementation(model, "sdpa").save_pretrained("otterhd")
    processor_of(max_pixels=500).save_pretrained("otterhd")
    noise(40, 30).save("cat.jpg")
    noise(30, 50, 1).save("dog.jpg")

    exec(compile(example, "models.md", "exec"), {})

    assert len(eval(capsys.readouterr().out)) == 2
    taught = Fuyu.from_pretrained("taught")
    assert taught.generation_config.eos_token_id == processor_of().end_id
    assert not torch.equal(taught.lm_head.weight, model.lm_head.weight)
