"""What is trained learns, and what is not stays bit for bit."""

import io
import json
import re

import pytest

torch = pytest.importorskip("torch")

from accelerate.state import AcceleratorState  # noqa: E402

from mimicit.errors import RecipeError  # noqa: E402
from tests.trainer.backbones import ANSWER, END, IMAGE  # noqa: E402
from tests.trainer.families import FAMILIES, batch, changed, learn, make, weights  # noqa: E402
from trainer.build import make_trainable  # noqa: E402
from trainer.config import Optim  # noqa: E402
from trainer.lora import DECODER_LAYERS  # noqa: E402
from trainer.optim import make_optimizer  # noqa: E402
from trainer.recipe import read_recipe  # noqa: E402
from trainer.report import Progress  # noqa: E402
from trainer.train import train  # noqa: E402
from trainer.trainable import (  # noqa: E402
    NEVER,
    as_lines,
    available,
    choose,
    family_of,
    parts_of,
    table,
)

from .conftest import SMALL  # noqa: E402

torch.set_num_threads(1)
ROWS = [IMAGE, ANSWER, END]

# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", FAMILIES)
def test_two_steps_change_the_chosen_part_and_nothing_else(name):
    for part in available(make(name)):
        if part == "new_tokens":
            continue
        model = make(name)
        choose(model, [part])
        before, parts = weights(model), parts_of(model)

        learn(model, name)

        wanted = {
            key
            for key, own in parts.items()
            if part in (own, "all") and not NEVER.match(key) and key not in UNTAUGHT.get(name, ())
        }
        assert changed(model, before) == wanted, part


UNTAUGHT: dict[str, tuple[str, ...]] = {}
"""Parameters that this batch gives no gradient."""


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_has_one_part_and_all_parts_are_found(name):
    parts = set(parts_of(make(name)).values())

    here = {"vision", "embeddings", "language"}
    assert parts == (here if name == "fuyu" else here | {"perceiver", "gates"})


@pytest.mark.parametrize("name", ["llama", "llama_tied", "mpt"])
def test_new_tokens_learn_and_the_rows_of_all_others_stay_bit_for_bit(name):
    """Also through AdamW with weight decay, an untied head, clipping, and more than one batch a step."""
    model = make(name)
    choose(model, ["new_tokens"])
    before = weights(model)
    ends = {model.get_input_embeddings().weight, model.get_output_embeddings().weight}
    optimizer = make_optimizer(model, Optim(lr=1e-2, weight_decay=0.1))

    for step in range(3):
        for micro in range(2):
            model(**batch(name, seed=2 * step + micro)).loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)
        rows = torch.cat([weight.grad[ROWS] for weight in ends])
        torch.testing.assert_close(norm, rows.norm())
        assert norm > 0
        optimizer.step()
        optimizer.zero_grad()

    others = [row for row in range(len(next(iter(ends)))) if row not in ROWS]
    touched = changed(model, before)
    assert len(touched) == len(ends)
    for key in touched:
        now = model.get_parameter(key).detach()
        assert torch.equal(now[others], before[key][others])
        assert not torch.equal(now[IMAGE], before[key][IMAGE])


def test_new_tokens_of_idefics_are_its_tables_of_additional_words():
    model = make("idefics")
    choose(model, ["new_tokens"])
    before = weights(model)

    learn(model, "idefics")

    assert changed(model, before) == {
        "model.embed_tokens.additional_embedding.weight",
        "lm_head.additional_fc.weight",
    }


def test_choosing_again_forgets_the_rows():
    model = make("llama")
    choose(model, ["new_tokens"])
    choose(model, ["embeddings"])
    before = weights(model)

    learn(model, "llama")

    head = "lang_encoder.lm_head.weight"
    assert (model.get_parameter(head) != before[head]).any(dim=1).all()


@pytest.mark.parametrize(
    ("name", "parts", "said"),
    [
        ("fuyu", ["gates"], "'gates'.*'fuyu'.*has only vision, language, embeddings, all"),
        ("fuyu", ["new_tokens"], "new_tokens"),
        ("llama", ["adapters"], "'adapters'.*has only perceiver, gates, vision, language"),
        ("llama", ["embeddings", "new_tokens"], "only one of them"),
    ],
)
def test_a_part_that_is_not_there_is_refused_with_what_there_is(name, parts, said):
    with pytest.raises(RecipeError, match=said):
        choose(make(name), parts)


def test_a_new_token_beyond_the_embeddings_is_refused():
    with pytest.raises(RecipeError, match=r"token 5000 .* only 96 rows"):
        choose(make("llama"), ["new_tokens"], new_token_ids=[5000])


def test_a_model_of_another_family_is_refused():
    from transformers import LlamaConfig, LlamaForCausalLM

    other = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            vocab_size=9,
        )
    )
    with pytest.raises(RecipeError, match="'llama'; known are otter, fuyu, idefics"):
        choose(other, ["all"])


@pytest.mark.parametrize("checkpointing", ["false", "true"])
def test_nothing_is_kept_for_what_lies_among_frozen_parts(checkpointing):
    """CLIP and the layers before the first gate must not cost memory for gradients nobody wants."""
    model = make("llama").train()
    make_trainable(
        model, recipe(["perceiver", "gates"], f"run.gradient_checkpointing={checkpointing}")
    )
    kept = {}

    def watch(name):
        return lambda module, inputs, output: kept.update({name: output})

    model.vision_encoder.register_forward_hook(watch("vision"))
    layers = model.get_decoder().layers
    layers[0].register_forward_hook(watch("before the gate"))
    layers[1].register_forward_hook(watch("after the gate"))

    model(**batch("llama"))

    assert kept["vision"].last_hidden_state.grad_fn is None
    assert kept["before the gate"].grad_fn is None
    assert kept["after the gate"].grad_fn is not None


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_counts_every_parameter_once():
    model = make("llama_tied")
    choose(model, ["perceiver", "gates", "new_tokens"])

    rows = {row.part: row for row in table(model)}

    whole = rows.pop("whole")
    assert whole.parameters == sum(weight.numel() for weight in model.parameters())
    assert whole.parameters == sum(row.parameters for row in rows.values())
    assert whole.trained == sum(row.trained for row in rows.values())
    assert rows["embeddings"].trained == 3 * 32
    assert rows["embeddings"].training_bytes == 3 * 96 * 32 * 4
    assert rows["gates"].trained == rows["gates"].parameters
    assert rows["vision"].trained == rows["language"].trained == 0


def test_the_table_foretells_what_the_optimizer_takes():
    model = make("llama")
    choose(model, ["gates", "embeddings"])
    optimizer = make_optimizer(model, Optim(lr=1e-3))
    model(**batch("llama")).loss.backward()
    optimizer.step()

    grads = sum(weight.grad.nbytes for weight in model.parameters() if weight.grad is not None)
    averages = sum(
        value.nbytes
        for state in optimizer.state.values()
        for key, value in state.items()
        if key.startswith("exp_avg")
    )
    assert table(model)[-1].training_bytes == grads + averages


def test_the_table_reads_well():
    model = make("fuyu")
    choose(model, ["vision"])

    lines = as_lines(table(model))

    assert lines[0].split()[:5] == ["part", "tensors", "parameters", "trained", "share"]
    assert [line.split()[0] for line in lines[1:]] == ["vision", "embeddings", "language", "whole"]
    assert lines[1].split()[:6] == ["vision", "2", "1,568", "1,568", "100.0%", "float32"]
    assert len({len(line) for line in lines}) == 1


# ── recipes ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["perceiver,gates", "perceiver, gates", '["perceiver", "gates"]'])
def test_a_list_on_the_command_line_is_written_with_commas_or_as_toml(text):
    recipe = read_recipe("otter_tiny", [f"trainable.parts={text}"])

    assert recipe.trainable.parts == ("perceiver", "gates")
    assert read_recipe("otter_tiny").trainable.parts == ("all",)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["trainable.parts=gate"], "must be one of 'perceiver'.* not 'gate'"),
        (["trainable.parts=3"], "must be one of 'perceiver'.* not '3'"),
        (["trainable.parts=all,gates"], "all means every part"),
        (["trainable.parts=[]"], "nothing would be trained"),
        (["lora.r=4"], "trains the language model in full"),
        (["lora.r=-1"], "lora.r is -1"),
        (["lora.dropout=1"], "lora.dropout is 1.0"),
        (["lora.targets=[]"], "lora.targets is empty"),
    ],
)
def test_an_impossible_choice_is_refused_before_torch_is_needed(overrides, said):
    with pytest.raises(RecipeError, match=said):
        read_recipe("otter_tiny", overrides)


# ── memory and precision ─────────────────────────────────────────────────────────────────────────────────────────────────


def linear_layers(model):
    return [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)]


def recipe(parts, *overrides):
    return read_recipe("otter_tiny", [f"trainable.parts={','.join(parts)}", *overrides])


def gradients(model, name, *, dtype=None):
    model.train()
    model.zero_grad()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        loss = model(**batch(name)).loss
    loss.backward()
    return {
        key: weight.grad.clone()
        for key, weight in model.named_parameters()
        if weight.grad is not None
    }


@pytest.mark.parametrize(
    "parts", [("all",), ("perceiver", "gates"), ("gates", "new_tokens")], ids=str
)
@pytest.mark.parametrize("name", ["llama", "mpt", "gpt_neox", "gemma3", "mosaic_gpt"])
def test_gradient_checkpointing_gives_the_same_gradients(name, parts):
    model = make(name)
    choose(model, parts)
    wanted = gradients(model, name)
    make_trainable(model, recipe(parts, "run.gradient_checkpointing=true"))
    runs = []
    in_layers = [
        key for key in linear_layers(model) if re.match(DECODER_LAYERS[family_of(model)], key)
    ]
    last_layer = re.match(r".*\.(layers|blocks)\.\d+\.", in_layers[-1])[0]
    first = next(key for key in in_layers if key.startswith(last_layer))
    model.get_submodule(first).register_forward_hook(lambda *_: runs.append(first))

    found = gradients(model, name)

    assert len(runs) == 2  # there, and once more on the way back

    assert found.keys() == wanted.keys()
    for key in wanted:
        torch.testing.assert_close(found[key], wanted[key], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["fuyu", "idefics"])
def test_gradient_checkpointing_gives_the_same_gradients_without_otter(name):
    test_gradient_checkpointing_gives_the_same_gradients(name, ("vision", "embeddings"))


@pytest.mark.parametrize("name", FAMILIES)
def test_bf16_gives_the_gradients_of_float32_within_a_tenth(name):
    """bf16 keeps 8 bits, so one rounding is off by up to 1/256; a dozen layers of them add up to less than a tenth."""
    model = make(name)
    choose(model, ("all",))
    exact = gradients(model, name)

    rounded = gradients(model, name, dtype=torch.bfloat16)

    assert rounded.keys() == exact.keys()
    difference = torch.cat([(rounded[key] - exact[key]).flatten() for key in exact]).norm()
    whole = torch.cat([grad.flatten() for grad in exact.values()]).norm()
    assert 0 < difference < 0.1 * whole


@pytest.fixture
def other_precision():
    """Let accelerate, which keeps the precision of the first run of a process, forget it; before and after."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("other_precision")
def test_a_run_in_bf16_with_gradient_checkpointing_learns_as_in_float32(dataset, tmp_path):
    losses = []
    for name, precision, saving in (("exact", "no", "false"), ("rounded", "bf16", "true")):
        AcceleratorState._reset_state()
        train(
            recipe="otter_tiny",
            dataset=dataset,
            out=tmp_path / name,
            overrides=[
                *SMALL,
                f"run.precision={precision}",
                f"run.gradient_checkpointing={saving}",
            ],
            progress=Progress(io.StringIO()),
        )
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])

    exact, rounded = losses
    assert rounded[-1] < 0.8 * rounded[0]
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.05)
