"""Recipes: what ships, what is refused and where, and that what is printed says the same."""

import dataclasses
import re
import string
import tomllib

import pytest

pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mimicit.errors import RecipeError
from syphus.cli import app
from trainer import trainable
from trainer.config import Data, Group
from trainer.outline import outline
from trainer.recipe import RECIPES, read_recipe
from trainer.recipe_text import as_toml, shipped

NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))
LARGE = [name for name in NAMES if re.search(r"_\d+b|_mpt7b|_llama7b", name)]


def read(name):
    """Read a shipped recipe, and give one that needs a folder to start from the name of some."""
    is_told = 'start = ""' in (RECIPES / f"{name}.toml").read_text()
    return read_recipe(name, ["model.start=somewhere"] if is_told else [])


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_says_what_it_is_and_is_read_back_as_printed(name, tmp_path):
    config = read(name)
    assert len(dict(shipped())[name]) > 30
    printed = tmp_path / "printed.toml"
    printed.write_text(as_toml(config))
    assert read_recipe(str(printed)) == config


@pytest.mark.parametrize("name", LARGE)
def test_the_head_of_a_large_recipe_has_what_it_needs_and_its_command(name):
    head = re.match(r"(#.*\n)+", (RECIPES / f"{name}.toml").read_text())[0]
    assert "What it needs" in head
    assert f"train {name} " in head
    assert "figures" in head


@pytest.mark.parametrize(
    ("name", "billions", "trained"),
    [
        ("otter_mpt7b", 8.131, 1.3854),  # 1.3854: as published
        ("otter_llama7b", 8.220, 1.441),
        ("openflamingo_3b", 2.662, 0.944),
        ("openflamingo_4b", 4.040, 0.961),
        ("openflamingo_9b", 8.338, 1.179),
        ("otterhd_8b", 9.408, 9.408),
        ("idefics_9b", 8.930, 1.560),
        ("otter_mpt7b_24gb", 8.140, 0.071),
        ("otterhd_8b_24gb", 9.559, 0.151),
        ("idefics_9b_24gb", 8.938, 0.134),
    ],
)
def test_a_large_recipe_trains_a_model_of_the_published_size(name, billions, trained):
    model = outline(read_recipe(name))
    weights = list(model.parameters())
    assert {weight.device.type for weight in weights} == {"meta"}
    assert sum(w.numel() for w in weights) / 1e9 == pytest.approx(billions, abs=1e-3)
    chosen = sum(w.numel() for w in weights if w.requires_grad and trainable.taught_rows(w) is None)
    assert chosen / 1e9 == pytest.approx(trained, abs=1e-3)


@pytest.mark.parametrize("name", ["openflamingo_3b", "openflamingo_4b", "openflamingo_9b"])
def test_pretraining_has_the_published_figures(name):
    config = read_recipe(name)
    pairs, documents = config.data.groups["laion"], config.data.groups["mmc4"]
    assert (pairs.loss_weight, documents.loss_weight) == (0.2, 1.0)
    assert config.data.loss_mean == "groups"
    assert (pairs.max_tokens, config.data.max_tokens) == (32, 256)
    assert config.data.loss_mean == "groups"
    assert (documents.min_similarity, documents.max_pictures, documents.keep_lone) == (0.24, 6, 0.5)
    assert config.trainable.parts == ("perceiver", "gates", "new_tokens")
    assert config.model.layout == "flamingo"
    assert (config.optim.lr, config.optim.schedule) == (1e-4, "constant")
    every = {"openflamingo_3b": 1, "openflamingo_4b": 2, "openflamingo_9b": 4}
    assert config.model.cross_attn_every_n_layers == every[name]


@pytest.mark.parametrize(
    "name",
    ["otter_mpt7b", "otter_llama7b", "idefics_9b", *(f"openflamingo_{n}b" for n in (3, 4, 9))],
)
def test_published_recipes_decay_what_the_published_code_did(name):
    optim = read_recipe(name).optim
    assert (optim.weight_decay, optim.decay) == (0.1, "published")


# What is printed

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text(string.ascii_letters + "äß \"'.#=[]\\\n\t\x7f", min_size=1, max_size=8)
numbers = st.floats(min_value=0, max_value=1e300, allow_nan=False)
groups = st.builds(
    Group,
    where=words,
    weight=numbers,
    num_samples=st.none() | st.integers(1, 10**12),
    loss_weight=numbers,
    in_context=st.integers(0, 5),
    task_description=st.lists(words, max_size=3).map(tuple),
    dataset=st.none() | words,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(names, groups, max_size=3), numbers, st.lists(words, max_size=2))
def test_any_settings_are_read_back_as_they_were_printed(tmp_path_factory, many, number, texts):
    config = read_recipe("otter_tiny")
    config = dataclasses.replace(
        config,
        data=Data(groups=many, max_tokens=200),
        optim=dataclasses.replace(config.optim, lr=number, schedule="linear"),
        trainable=dataclasses.replace(config.trainable, parts=("perceiver", "gates")),
        lora=dataclasses.replace(config.lora, r=3, targets=("q_proj", *texts)),
    )
    path = tmp_path_factory.mktemp("printed") / "recipe.toml"
    path.write_text(as_toml(config), encoding="utf-8")
    assert read_recipe(str(path)) == config


def test_every_setting_is_printed_with_what_it_means_above():
    text = as_toml(read_recipe("otter_tiny", ["data.groups.some.weight=2"]))
    assert "[data.groups.some]" in text
    assert "# SQL over the view `accepted`" in text
    assert "# yaml is absent" in text
    assert "max_row_tokens = 1024\n" in text
    assert "One of 'frames', 'media'." in text
    config = read_recipe("otter_tiny")
    for section in ("data", "optim", "run", "evaluate", "report", "lora", "objective"):
        for setting in dataclasses.fields(getattr(config, section)):
            if setting.name != "groups":
                assert re.search(rf"^(# )?{setting.name} (=|is absent)", text, re.MULTILINE), (
                    setting.name
                )


def test_the_command_prints_a_recipe_and_needs_no_dataset(tmp_path):
    made = CliRunner().invoke(
        app, ["train", "otter_mpt7b", "--print-config", "--set", "optim.lr=3e-4"]
    )
    assert made.exit_code == 0
    assert tomllib.loads(made.stdout)["optim"]["lr"] == 3e-4
    again = tmp_path / "again.toml"
    again.write_text(made.stdout)
    assert read_recipe(str(again)) == read_recipe("otter_mpt7b", ["optim.lr=3e-4"])


def test_the_command_lists_what_ships():
    made = CliRunner().invoke(app, ["train", "--list"])
    assert made.exit_code == 0
    assert [line.split()[0] for line in made.stdout.splitlines()] == NAMES


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "RECIPE and -d and -o missing"),
        (["otter_tiny", "-d", "x"], "-o missing"),
        (["--print-config"], "needs a recipe"),
    ],
)
def test_the_command_says_what_is_missing(arguments, said):
    made = CliRunner().invoke(app, ["train", *arguments])
    assert made.exit_code == 2
    assert said in " ".join(made.output.replace("│", "").split())


# What is refused

GROUPS = """# a mix
[model]
tokenizer = "train"
[model.vision]
start = "a/clip"
[model.text]
start = "a/text"
[data]
max_tokens = 64
[data.groups.laion]
shards = "*.tar"
{line}
[optim]
lr = 1e-4
[run]
steps = 5
batch_size = 4
micro_batch_size = 4
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("loss_wieght = 0.2", r"line 12: there is no setting 'data\.groups\.laion\.loss_wieght'; did you mean 'data\.groups\.laion\.loss_weight'"),
        ('loss_weight = "much"', r"line 12: 'data\.groups\.laion\.loss_weight' must be a number, not 'much'"),
        ("num_samples = 1.5", r"line 12: .*num_samples' must be a whole number, not 1\.5"),
        ("num_samples = true", r"line 12: .*num_samples' must be a whole number, not True"),
        ("loss_weight = -1", r"line 12: data\.groups\.laion\.loss_weight is -1\.0, but must be at least 0"),
        ('documents = "*.jsonl"', r"line 10: a group is of one kind, but this one has shards and documents"),
        ('task_description = ["a", 3]', r"line 12: .*task_description' must be a text, not 3"),
        ('turns = "both"', r"line 12: .*turns' must be one of 'single', 'conversation', not 'both'"),
        ('[data.groups."my mix"]\nweight = -2', r"line 13: data\.groups\.my mix\.weight is -2\.0"),
        ("[data.groups]\nother = 3", r"'data\.groups' holds sections with names of their own"),
        ("loss_weight = nan", r"line 12: .*must be a number, not nan"),
    ],
)  # fmt: skip
def test_a_wrong_line_in_a_group_is_named(tmp_path, line, said):
    recipe = tmp_path / "mix.toml"
    recipe.write_text(GROUPS.format(line=line))
    with pytest.raises(RecipeError, match=said):
        read_recipe(str(recipe))


@pytest.mark.parametrize(
    ("recipe", "override", "said"),
    [
        ("otter_tiny", "model.hidden_size=3", r"'model\.hidden_size'; models of another family have it"),
        ("fuyu_tiny", "model.hiden_size=3", r"did you mean 'model\.hidden_size'"),
        ("fuyu_tiny", "model.vision.image_size=3", r"'model\.vision'; models of another family"),
        ("idefics_tiny", "model.cross_layer_intervall=3", r"did you mean 'model\.cross_layer_interval'"),
        ("otter_tiny", "model.text.num_heads=3", r"did you mean 'model\.text\.num_\w+_heads'"),
        ("otter_mpt7b", "model.tokenizer=x", r"there is no setting|names a saved model"),
        ("otter_tiny", "model.family=gpt", r"model\.family must be one of 'otter', 'fuyu', 'idefics'"),
        ("otter_tiny", "optim.lr=fast", r"^--set: 'optim\.lr' must be a number, not 'fast'"),
        ("otter_tiny", "run.frozen=bf16", r'^--set: run\.frozen is bf16, but run\.precision is auto'),
        ("otter_tiny", "lora.r=4", r"^--set: lora\.r is 4, but trainable\.parts"),
    ],
)  # fmt: skip
def test_what_a_family_does_not_have_is_refused_with_the_nearest(recipe, override, said):
    with pytest.raises(RecipeError, match=said):
        read_recipe(recipe, [override])


def test_settings_that_cannot_go_together_are_refused_at_their_line(tmp_path):
    """The line of the first of them that the recipe writes, however it writes it."""
    recipe = tmp_path / "mine.toml"
    text = as_toml(read_recipe("otter_tiny"))
    recipe.write_text(re.sub(r"^max_tokens = 256$", "max_tokens = 999", text, flags=re.MULTILINE))
    line = recipe.read_text().splitlines().index("max_tokens = 999") + 1
    with pytest.raises(
        RecipeError, match=rf"mine\.toml, line {line}: data\.max_tokens is 999, but"
    ):
        read_recipe(str(recipe))
    recipe.write_text(
        'optim = {lr = 1e-3, beta1 = 2.0}\nrun = {steps = 1, batch_size = 1, micro_batch_size = 1}\nmodel.start = "x"\n'
    )
    with pytest.raises(RecipeError, match=r"mine\.toml, line 1: optim\.beta1 is 2\.0"):
        read_recipe(str(recipe))
