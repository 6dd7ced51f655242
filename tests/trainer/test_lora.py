"""Adapters learn in the language model alone, are saved, loaded by peft's own classes too, and merged away."""

import io
import json
import re
import sys

import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

from mimicit.errors import MissingExtraError, RecipeError  # noqa: E402
from tests.trainer.families import FAMILIES, batch, changed, learn, make, weights  # noqa: E402
from tests.trainer.runs import state_of  # noqa: E402
from tests.trainer.stopping import StopAfter  # noqa: E402
from trainer import checkpoint  # noqa: E402
from trainer.build import make_trainable  # noqa: E402
from trainer.config import Lora, Optim  # noqa: E402
from trainer.errors import CheckpointError  # noqa: E402
from trainer.lora import (  # noqa: E402
    add_adapters,
    has_adapters,
    load_adapters,
    merge,
    save_adapters,
)
from trainer.models.otter import Otter  # noqa: E402
from trainer.optim import make_optimizer  # noqa: E402
from trainer.recipe import read_recipe  # noqa: E402
from trainer.report import Progress  # noqa: E402
from trainer.train import train  # noqa: E402
from trainer.trainable import NEVER, choose, parts_of, table  # noqa: E402

from .conftest import SMALL  # noqa: E402

torch.set_num_threads(1)

BESIDE = dict.fromkeys(FAMILIES, ("perceiver", "gates")) | {"fuyu": ("vision",)}
"""What is trained in full beside the adapters."""

ADAPTED = {
    "gpt_neox": {"query_key_value"},
    "mpt": {"Wqkv"},
    "mosaic_gpt": {"Wqkv"},
    "fuyu": {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"},
}


def adapted(name, *, r=4, dropout=0.0, parts=None, seed=0):
    model = make(name, seed=seed)
    torch.manual_seed(seed)
    add_adapters(model, Lora(r=r, alpha=8, dropout=dropout))
    choose(model, BESIDE[name] if parts is None else parts)
    return model


@torch.no_grad()
def logits(model, name, *, seed=1):
    return model(
        **{key: value for key, value in batch(name, seed=seed).items() if key != "labels"}
    ).logits


@pytest.mark.parametrize("name", FAMILIES)
def test_adapters_stand_in_every_decoder_layer_and_nowhere_else(name):
    model = adapted(name)

    found = {
        key.removesuffix(".lora_A.default")
        for key, part in model.named_modules()
        if key.endswith(".lora_A.default")
    }
    layers = 2 if name == "fuyu" else 4
    targets = ADAPTED.get(name, {"q_proj", "v_proj"})
    assert len(found) == layers * len(targets)
    assert {key.rpartition(".")[2] for key in found} == targets
    assert not [
        key
        for key in found
        if re.search("vision|perceiver|resampler|gated_cross_attn|lm_head", key)
    ]


@pytest.mark.parametrize("name", FAMILIES)
def test_fresh_adapters_change_nothing(name):
    assert torch.equal(logits(adapted(name), name), logits(make(name), name))


@pytest.mark.parametrize("name", FAMILIES)
def test_two_steps_change_adapters_and_chosen_parts_and_nothing_else(name):
    model = adapted(name, dropout=0.1)
    before, parts = weights(model), parts_of(model)

    learn(model, name)

    assert changed(model, before) == {
        key
        for key, part in parts.items()
        if part in {"lora", *BESIDE[name]} and not NEVER.match(key)
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_a_merged_model_is_a_plain_one_that_says_the_same(name):
    model = adapted(name)
    learn(model, name, steps=3)
    said = logits(model, name)
    assert not torch.allclose(said, logits(make(name), name), atol=1e-2)

    merge(model)

    torch.testing.assert_close(logits(model, name), said, atol=1e-5, rtol=1e-5)
    assert model.state_dict().keys() == make(name).state_dict().keys()
    assert not has_adapters(model)
    assert not hasattr(model, "peft_config")


@pytest.mark.parametrize("name", FAMILIES)
def test_saved_adapters_are_loaded_with_all_that_was_trained_beside_them(name, tmp_path):
    model = adapted(name)
    learn(model, name)
    save_adapters(model, tmp_path)

    again = make(name)
    load_adapters(again, tmp_path)

    assert torch.equal(logits(again, name), logits(model, name))
    assert not changed(again, weights(model))
    assert all(weight.requires_grad for key, weight in again.named_parameters() if ".lora_" in key)


# peft 0.21.2 asks transformers for a property that is to go.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("name", FAMILIES)
def test_peft_alone_loads_what_was_saved(name, tmp_path):
    model = adapted(name)
    learn(model, name)
    save_adapters(model, tmp_path)

    theirs = peft.PeftModel.from_pretrained(make(name), str(tmp_path)).eval()

    assert not torch.allclose(logits(model, name), logits(make(name), name), atol=1e-2)
    torch.testing.assert_close(logits(theirs, name), logits(model, name), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ["llama", "llama_tied", "mpt"])
def test_new_tokens_beside_adapters_are_saved(name, tmp_path):
    model = adapted(name, parts=("gates", "new_tokens"))
    learn(model, name)
    save_adapters(model, tmp_path)

    again = make(name)
    load_adapters(again, tmp_path)

    assert torch.equal(logits(again, name), logits(model, name))


@pytest.mark.parametrize("name", FAMILIES)
def test_an_adapted_model_writes_what_the_merged_one_writes(name):
    model = adapted(name)
    learn(model, name, steps=3)
    asked = {key: value for key, value in batch(name).items() if key != "labels"}

    def write():
        return model.generate(**asked, max_new_tokens=6, do_sample=False).tolist()

    written = write()
    merge(model)

    assert write() == written


@pytest.mark.parametrize("name", ["llama", "mpt", "fuyu", "idefics"])
def test_a_checkpoint_continues_adapters_and_frozen_parts(name, tmp_path):
    def step(model, optimizer, seed):
        model.train()
        model(**batch(name, seed=seed)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def begin(seed):
        model = adapted(name, seed=seed)
        return model, make_optimizer(model, Optim(lr=1e-2))

    model, optimizer = begin(0)
    step(model, optimizer, 1)
    state = state_of(model, {"optimizer": optimizer.state_dict()})
    checkpoint.save(tmp_path, state, step=1, keep=1)
    step(model, optimizer, 2)

    again, its = begin(5)
    newest = checkpoint.newest(tmp_path, say=pytest.fail)
    newest.load_weights(again)
    newest.load_training(its.load_state_dict)
    assert newest.step == 1
    step(again, its, 2)

    assert all(
        torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items()
    )


@pytest.mark.parametrize("name", ["llama", "mpt", "fuyu", "idefics"])
def test_gradient_checkpointing_gives_adapters_the_same_gradients(name):
    found = []
    for switch in ("false", "true"):
        model = make(name)
        torch.manual_seed(0)
        overrides = ["lora.r=4", "lora.dropout=0", f"run.gradient_checkpointing={switch}"]
        make_trainable(model, read_recipe("otter_tiny", [*overrides, "trainable.parts=[]"]))
        for key, weight in model.named_parameters():
            if "lora_B" in key:  # at 0 they would keep all gradients from A
                torch.nn.init.constant_(weight, 0.1)
        model.train()
        model(**batch(name)).loss.backward()
        found.append(
            {
                key: weight.grad
                for key, weight in model.named_parameters()
                if weight.grad is not None
            }
        )

    plain, saving = found
    assert plain.keys() == saving.keys() == {key for key in weights(model) if ".lora_" in key}
    for key, grad in plain.items():
        assert grad.abs().max() > 0
        torch.testing.assert_close(saving[key], grad, atol=1e-6, rtol=1e-5)


def test_adapters_learn_in_float32_beside_weights_of_half_the_size():
    model = make("llama").bfloat16()
    add_adapters(model, Lora(r=2))
    choose(model, [])

    row = {row.part: row for row in table(model)}
    assert (row["lora"].dtype, row["language"].dtype) == ("float32", "bfloat16")
    assert row["whole"].trained == row["lora"].parameters == 4 * 2 * 2 * (32 + 32)


@pytest.mark.parametrize("name", ["llama", "fuyu"])
def test_a_layer_that_is_not_there_is_refused_with_what_there_is(name):
    there = {"llama": "down_proj, gate_proj, k_proj", "fuyu": "dense, dense_4h_to_h"}[name]
    with pytest.raises(RecipeError, match=f"names fc1, .* have only {there}"):
        add_adapters(make(name), Lora(r=2, targets=("fc1",)))


def test_chosen_targets_never_reach_the_vision_tower():
    """CLIP's layers, too, are called k_proj and out_proj."""
    model = make("llama")
    add_adapters(model, Lora(r=2, targets=("k_proj", "o_proj")))

    found = [key for key in weights(model) if "lora_A" in key]
    assert len(found) == 8
    assert all(key.startswith("lang_encoder.model.layers.") for key in found)


@pytest.mark.parametrize("other", ["mpt", "fuyu"])
def test_adapters_of_another_model_are_refused(other, tmp_path):
    save_adapters(adapted("llama"), tmp_path)

    with pytest.raises(CheckpointError, match="of another model"):
        load_adapters(make(other), tmp_path)


def test_adapters_for_layers_of_another_width_are_refused(tmp_path):
    save_adapters(adapted("llama"), tmp_path)

    with pytest.raises(CheckpointError, match="of another model"):
        load_adapters(make("qwen3"), tmp_path)


def test_without_peft_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)

    with pytest.raises(MissingExtraError, match=re.escape('pip install "mimicit[train]"')):
        add_adapters(make("llama"), Lora(r=2))


# ── a whole run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def run(dataset, out, *overrides, progress=None):
    progress = progress or Progress(io.StringIO())
    train(
        recipe="otter_tiny",
        dataset=dataset,
        out=out,
        overrides=[*SMALL, "run.steps=4", *overrides],
        progress=progress,
    )
    return progress.stream.getvalue()


WITH_ADAPTERS = ("lora.r=4", "trainable.parts=perceiver,gates")


def test_a_run_with_adapters_resumes_and_leaves_a_plain_model_and_the_adapters(dataset, tmp_path):
    told = run(dataset, tmp_path / "whole", *WITH_ADAPTERS)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, tmp_path / "halves", *WITH_ADAPTERS, progress=StopAfter(2))
    run(dataset, tmp_path / "halves", *WITH_ADAPTERS)

    whole, halves = (
        Otter.from_pretrained(tmp_path / name / "model") for name in ("whole", "halves")
    )
    assert all(
        torch.equal(value, halves.state_dict()[key]) for key, value in whole.state_dict().items()
    )
    assert not any(".lora_" in key for key in whole.state_dict())
    assert peft.LoraConfig.from_pretrained(str(tmp_path / "whole" / "adapters")).r == 4
    assert re.search(r"^lora +8 .* 100\.0% +float32", told, flags=re.MULTILINE)
    assert re.search(r"^language .* 0\.0% ", told, flags=re.MULTILINE)

    summary = json.loads((tmp_path / "whole" / "run.json").read_text())
    parts = {row["part"]: row for row in summary["parts"]}
    assert parts["whole"]["trained"] == summary["trained_parameters"]
    assert (
        parts["language"]["trained"]
        == 0
        < parts["gates"]["trained"]
        == parts["gates"]["parameters"]
    )


def test_a_run_leaves_frozen_parts_as_they_began(dataset, tmp_path):
    models = []
    for lr in ("1e-3", "1e-2"):
        run(
            dataset,
            tmp_path / lr,
            "trainable.parts=gates,new_tokens",
            f"optim.lr={lr}",
            "optim.weight_decay=0.1",
        )
        models.append(Otter.from_pretrained(tmp_path / lr / "model"))

    one, other = models
    rows = [one.config.image_token_id, one.config.answer_token_id, one.config.endofchunk_token_id]
    for key, part in parts_of(one).items():
        mine, its = one.get_parameter(key).detach(), other.get_parameter(key).detach()
        if part == "embeddings":
            assert not torch.equal(mine[rows], its[rows])
            mine[rows] = its[rows] = 0
        assert torch.equal(mine, its) == (part != "gates"), key
