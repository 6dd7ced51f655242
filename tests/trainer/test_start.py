"""Runs that start from a saved model, and language models of each family that a recipe can describe."""

import io
import json

import pytest

torch = pytest.importorskip("torch")

from mimicit.errors import RecipeError  # noqa: E402
from tests.trainer.stopping import StopAfter  # noqa: E402
from trainer.chat import answer  # noqa: E402
from trainer.errors import RunFolderError  # noqa: E402
from trainer.models.otter import Otter  # noqa: E402
from trainer.models.otter_processor import OtterProcessor  # noqa: E402
from trainer.recipe import read_recipe  # noqa: E402
from trainer.report import Progress  # noqa: E402
from trainer.train import train  # noqa: E402

from .conftest import SMALL  # noqa: E402

torch.set_num_threads(1)

FURTHER = (
    "run.steps=6",
    "run.batch_size=4",
    "run.micro_batch_size=2",
    "run.precision=no",
    "run.save_every=2",
    "data.max_tokens=64",
    "optim.lr=1e-3",
    "optim.warmup_steps=0",
)


def run(recipe, dataset, out, *overrides, progress=None):
    return train(
        recipe=recipe,
        dataset=dataset,
        out=out,
        overrides=overrides,
        progress=progress or Progress(io.StringIO()),
    )


def further(dataset, out, start, *overrides, progress=None):
    settings = (*FURTHER, f"model.start={start}", *overrides)
    return run("otter_tune", dataset, out, *settings, progress=progress)


def weights(out):
    return Otter.from_pretrained(out / "model").state_dict()


@pytest.fixture(scope="module")
def saved(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "saved"
    run("otter_tiny", dataset, out, *SMALL, "run.steps=40")
    return out


@pytest.mark.parametrize("kind", ["a run", "a folder of save_pretrained"])
def test_a_run_goes_on_from_a_saved_model_with_its_words_and_weights(
    dataset, saved, tmp_path, kind
):
    start = saved
    if kind != "a run":
        start = tmp_path / "copy"
        Otter.from_pretrained(saved / "model").save_pretrained(start)
        OtterProcessor.from_pretrained(saved / "model").save_pretrained(start)
    last = json.loads((saved / "run.json").read_text())["last_loss"]

    result = further(dataset, tmp_path / "more", start)

    assert result.first_loss == pytest.approx(last, rel=0.5)
    before, after = weights(saved), weights(tmp_path / "more")
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    frozen = [name for name in before if ".decoder_layer." in name or "vision_encoder" in name]
    assert changed == {"perceiver", "lang_encoder"}
    assert all(torch.equal(before[name], after[name]) for name in frozen)


def test_a_run_with_adapters_and_dropout_on_a_saved_model_resumes_to_the_bit(
    dataset, saved, tmp_path, square
):
    lora = ("lora.r=2", "lora.dropout=0.5", "trainable.parts=perceiver,gates,new_tokens")
    further(dataset, tmp_path / "whole", saved, *lora)
    with pytest.raises(KeyboardInterrupt):
        further(dataset, tmp_path / "halves", saved, *lora, progress=StopAfter(3))
    torch.manual_seed(1234)  # another process has drawn other numbers
    further(dataset, tmp_path / "halves", saved, *lora)

    whole, halves = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    assert answer(tmp_path / "halves", square("red"), "What colour is it?")


def test_dropout_leaves_out_other_values_in_each_step_and_process():
    from trainer.step import step_seed

    seeds = {step_seed(0, step, process) for step in range(8) for process in range(4)}
    assert len(seeds) == 32
    assert step_seed(0, 3, 1) == step_seed(0, 3, 1) != step_seed(1, 3, 1)


def test_a_saved_model_that_cannot_be_taught_is_refused(dataset, saved, tmp_path):
    def refused(error, said, change):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        model = Otter.from_pretrained(saved / "model")
        processor = OtterProcessor.from_pretrained(saved / "model")
        change(model, processor)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        with pytest.raises(error, match=said):
            further(dataset, tmp_path / f"run of {folder.name}", folder)

    def more_words(_, processor):
        processor.tokenizer.add_tokens(["<one>", "<more>"])

    def larger_pictures(_, processor):
        processor.image_size = 32

    def other_marks(model, _):
        model.config.answer_token_id -= 1

    refused(RecipeError, r"tokenizer of \d+ tokens, but embeddings of \d+", more_words)
    refused(RecipeError, "pictures of 32 pixels, but its vision tower takes 16", larger_pictures)
    refused(RecipeError, r"answer_token_id is \d+ in its config, but \d+", other_marks)
    with pytest.raises(RecipeError, match=r"data\.max_tokens is 9999, but the language model of"):
        further(dataset, tmp_path / "long", saved, "data.max_tokens=9999")
    for nothing in (tmp_path / "nowhere", dataset):
        with pytest.raises(
            RunFolderError, match="is not a training run, nor a folder with a model"
        ):
            further(dataset, tmp_path / "none", nothing)


@pytest.mark.parametrize(
    ("recipe", "overrides", "said"),
    [
        ("otter_tune", (), r"model\.start is empty; name the folder"),
        ("otter_tiny", ("model.start=a",), r"leave out model\.tokenizer, .*such as otter_tune"),
        ("otter_tune", ("model.start=a", "model.vocab_size=9"), r"leave out model\.vocab_size"),
        (
            "otter_tune",
            ("model.strat=a",),
            r"no setting 'model\.strat'; did you mean 'model\.start'",
        ),
    ],
)
def test_a_recipe_describes_a_model_or_names_a_folder(recipe, overrides, said):
    with pytest.raises(RecipeError, match=said):
        read_recipe(recipe, overrides)


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3", "gemma3_text", "gpt_neox", "mpt"])
def test_each_language_model_of_a_recipe_learns_packed_and_is_read_back(dataset, tmp_path, kind):
    heads = () if kind == "gpt_neox" else ("model.text.num_key_value_heads=2",)
    settings = (
        *SMALL, *heads, f"model.text.model_type={kind}", "model.text.intermediate_size=96",
        "run.steps=16", "data.max_row_tokens=256",
    )  # fmt: skip
    result = run("otter_tiny", dataset, tmp_path / kind, *settings)

    model = Otter.from_pretrained(tmp_path / kind / "model")
    text = model.config.text_config
    assert result.last_loss < 0.85 * result.first_loss
    assert text.model_type == kind
    assert (text.hidden_size, text.num_hidden_layers, text.num_attention_heads) == (48, 2, 6)
    assert text.max_position_embeddings == 256
    if heads:
        assert (text.kv_heads if kind == "mpt" else text.num_key_value_heads) == 2


@pytest.mark.parametrize(
    ("kind", "override", "said"),
    [
        ("gpt_neox", "num_key_value_heads=2", "gpt_neox has as many as"),
        ("gpt_neox", "head_dim=7", r"head_dim is 7, but a head of gpt_neox has .* = 32"),
        ("mpt", "intermediate_size=100", "hidden_size is 192, which does not divide"),
        ("opt", "head_dim=8", r"'model\.text\.model_type' must be one of 'llama', .* not 'opt'"),
    ],
)
def test_what_a_family_does_not_have_is_refused(kind, override, said):
    with pytest.raises(RecipeError, match=said):
        read_recipe("otter_tiny", [f"model.text.model_type={kind}", f"model.text.{override}"])
