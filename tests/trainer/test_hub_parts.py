"""An Otter put together from a published CLIP and a published language model: small ones, in folders as save_pretrained writes them."""

import json
import os
import shutil
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

import transformers  # noqa: E402

from mimicit.errors import RecipeError  # noqa: E402
from trainer.build import make_trainable  # noqa: E402
from trainer.errors import CheckpointError, TrainingError  # noqa: E402
from trainer.families import otter  # noqa: E402
from trainer.loading import load  # noqa: E402
from trainer.models.mpt import MptConfig, MptForCausalLM  # noqa: E402
from trainer.outline import outline  # noqa: E402
from trainer.recipe import read_recipe  # noqa: E402
from trainer.tokenizer import train_tokenizer  # noqa: E402
from trainer.train import train  # noqa: E402

torch.set_num_threads(1)

WORDS = 300
"""Of the language models; the tokenizer has two more and its special ones."""
VISION = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 16, "patch_size": 8,
}  # fmt: skip
SIZES = {
    "vocab_size": WORDS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "max_position_embeddings": 128,
}  # fmt: skip
MPT = {
    "d_model": 32,
    "n_heads": 4,
    "n_layers": 4,
    "max_seq_len": 128,
    "vocab_size": WORDS,
    "no_bias": True,
}


def llama():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES))


def llama_tied():
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**SIZES, tie_word_embeddings=True)
    )


def gpt_neox():
    return transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**SIZES))


def qwen3():
    return transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(**SIZES, head_dim=8, num_key_value_heads=2)
    )


def mpt():
    """Transformers' own class, with the names of the published files."""
    return transformers.MptForCausalLM(transformers.MptConfig(**MPT))


TEXTS = {"llama": llama, "llama_tied": llama_tied, "gpt_neox": gpt_neox, "qwen3": qwen3, "mpt": mpt}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Folders by name: a whole CLIP, a vision tower, language models, a tokenizer."""
    torch.manual_seed(1)
    root = tmp_path_factory.mktemp("hub")
    text = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 50,
    }
    made = {
        "clip": transformers.CLIPModel(transformers.CLIPConfig(vision_config=VISION, text_config=text)),
        "tower": transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**VISION)),
        **{name: make() for name, make in TEXTS.items()},
    }  # fmt: skip
    for name, model in made.items():
        # Norms start as ones, which would hide it if they were not read.
        for weight in model.parameters():
            weight.data += 0.05 * torch.randn(weight.shape)
        model.save_pretrained(root / name)
    tokenizer = train_tokenizer(["What colour is it? It is red."], vocab_size=WORDS)
    tokenizer.add_tokens([f"word{nth}" for nth in range(WORDS + 2 - len(tokenizer))])
    tokenizer.save_pretrained(root / "words")
    return root


def settings(parts, *, vision="tower", text="llama", **more):
    given = {
        "model.tokenizer": parts / "words",
        "model.cross_attn_every_n_layers": 2,
        "model.perceiver.depth": 1,
        "model.perceiver.num_latents": 4,
        "model.vision.start": parts / vision,
        "model.text.start": parts / text,
        "data.max_tokens": 100,
        **more,
    }
    return [f"{key}={value}" for key, value in given.items()]


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "parts.toml"
    path.write_text(
        '[model]\ntokenizer = ""\n[model.vision]\nstart = ""\n[model.text]\nstart = ""\n'
        '[trainable]\nparts = ["perceiver", "gates", "new_tokens"]\n'
        "[optim]\nlr = 1e-3\n[run]\nsteps = 2\nbatch_size = 4\nmicro_batch_size = 2\n"
    )
    return str(path)


def built(recipe, parts, **more):
    described = read_recipe(recipe, settings(parts, **more)).model
    processor = otter.make_processor(described, list)
    return otter.make_model(described, processor), processor


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("vision", ["clip", "tower"])
def test_a_model_of_parts_says_what_the_parts_say(parts, recipe, text, vision):
    """With closed gates the text is the language model's own, and what is seen is the tower's."""
    model, processor = built(recipe, parts, text=text, vision=vision)
    alone = transformers.AutoModelForCausalLM.from_pretrained(parts / text)
    ids = torch.randint(0, WORDS, (2, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = model.eval()(input_ids=ids).logits[..., :WORDS]
        theirs = alone.eval()(input_ids=ids).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)

    tower = transformers.CLIPVisionModel.from_pretrained(parts / "tower")
    if vision == "clip":
        tower = transformers.CLIPModel.from_pretrained(parts / "clip").vision_model
    pixels = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = model.vision_encoder(pixels).last_hidden_state
        torch.testing.assert_close(ours, tower.eval()(pixels).last_hidden_state)
    assert model.config.image_token_id == processor.image_id
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


@pytest.mark.parametrize("text", ["llama", "mpt"])
def test_new_words_begin_as_the_mean_of_all_and_old_ones_stay(parts, recipe, text):
    model, processor = built(recipe, parts, text=text)
    rows = model.get_input_embeddings().weight
    old = transformers.AutoModelForCausalLM.from_pretrained(parts / text)
    theirs = old.get_input_embeddings().weight
    assert len(rows) == len(processor.tokenizer) > WORDS
    assert torch.equal(rows[:WORDS], theirs)
    torch.testing.assert_close(rows[WORDS:], theirs.mean(dim=0).expand(len(rows) - WORDS, -1))
    head = model.get_output_embeddings().weight
    torch.testing.assert_close(head[:WORDS], old.get_output_embeddings().weight)


def test_what_lies_between_the_parts_is_fresh_and_closed(parts, recipe):
    torch.manual_seed(0)
    model, _ = built(recipe, parts)
    gates = [w for name, w in model.named_parameters() if name.endswith(("attn_gate", "ff_gate"))]
    assert len(gates) == 4
    assert not any(gate.any() for gate in gates)
    assert 0.8 < model.perceiver.latents.std() < 1.2
    norms = [m for m in model.perceiver.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)


def test_a_mosaic_gpt_of_torch_save_is_read_with_its_published_names(parts, recipe, tmp_path):
    """MPT-1B is published so: `ln_1`, `mlp.mlp_up`, a config of its own, and no safetensors."""
    torch.manual_seed(2)
    values = {
        "model_type": "mosaic_gpt", "d_model": 32, "n_heads": 4, "n_layers": 4, "max_seq_len": 128, "mlp_ratio": 4,
        "vocab_size": WORDS, "alibi": True, "attn_qk_ln": True, "no_bias": True,
    }  # fmt: skip
    alone = MptForCausalLM(MptConfig(**values)).eval()
    renames = (
        ("norm_1", "ln_1"),
        ("norm_2", "ln_2"),
        ("norm_f", "ln_f"),
        ("ffn.up_proj", "mlp.mlp_up"),
        ("ffn.down_proj", "mlp.mlp_down"),
    )
    published = {}
    for name, weight in alone.state_dict().items():
        for ours, theirs in renames:
            name = name.replace(ours, theirs)
        published[name] = weight
    folder = tmp_path / "mosaic"
    folder.mkdir()
    torch.save(published, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(
        json.dumps(
            values | {"architectures": ["MosaicGPT"], "auto_map": {"AutoConfig": "evil.Config"}}
        )
    )
    (folder / "evil.py").write_text("raise SystemExit('this must not run')")
    model, _ = built(recipe, parts, **{"model.text.start": folder})
    ids = torch.randint(0, WORDS, (1, 10), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            model.eval()(input_ids=ids).logits[..., :WORDS], alone(input_ids=ids).logits
        )


def test_a_pickle_that_runs_something_is_not_opened(parts, recipe, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch " + str(tmp_path / "ran"),)

    folder = tmp_path / "evil"
    shutil.copytree(parts / "llama", folder)
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="is not safe to open"):
        built(recipe, parts, **{"model.text.start": folder})
    assert not (tmp_path / "ran").exists()


def edited(parts, tmp_path, name, edit):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / name
    shutil.copytree(parts / name, folder)
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda w: w.pop("model.norm.weight"), r"lacks lang_encoder\.model\.norm\.weight"),
        (lambda w: w.update(extra=torch.ones(2)), r"has tensors that the model has not: extra"),
        (lambda w: w.update({"model.norm.weight": torch.ones(7)}), r"norm\.weight is 7 and should be 32"),
    ],
    ids=["missing", "unknown", "misshapen"],
)  # fmt: skip
def test_a_part_that_does_not_fit_its_config_is_refused_by_name(
    parts, recipe, tmp_path, edit, said
):
    folder = edited(parts, tmp_path, "llama", edit)
    with pytest.raises(CheckpointError, match=rf"model\.text\.start .*{said}"):
        built(recipe, parts, **{"model.text.start": folder})


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"model.text.start": "nowhere"}, CheckpointError, r"no folder 'nowhere', and it is no name on the Hub"),
        ({"model.text.start": "''"}, RecipeError, r"start is empty; name a folder"),
        ({"model.tokenizer": "nowhere"}, TrainingError, r"model\.tokenizer 'nowhere' cannot be loaded"),
        ({"model.text.hidden_size": 64}, RecipeError, r"leave out model\.text\.hidden_size$"),
    ],
    ids=["no folder", "empty", "no tokenizer", "start beside sizes"],
)  # fmt: skip
def test_a_part_that_is_not_there_is_refused(parts, recipe, changes, error, said):
    with pytest.raises(error, match=said):
        built(recipe, parts, **changes)


def test_a_text_longer_than_the_language_model_reads_is_refused_before_it_is_loaded(parts, recipe):
    config = read_recipe(recipe, settings(parts, **{"data.max_tokens": 200}))
    with pytest.raises(
        RecipeError, match=r"max_tokens is 200, but .*model\.text\.start .*only room for 128"
    ):
        outline(config)


def test_one_part_may_be_published_and_the_other_random(parts, tmp_path):
    recipe = tmp_path / "half.toml"
    sizes = "\n".join(f"{key} = {value}" for key, value in VISION.items())
    recipe.write_text(
        f'[model]\ntokenizer = "{parts / "words"}"\n[model.text]\nstart = "{parts / "llama"}"\n[model.vision]\n{sizes}\n'
        "[data]\nmax_tokens = 64\n[optim]\nlr = 1e-3\n[run]\nsteps = 1\nbatch_size = 1\nmicro_batch_size = 1\n"
    )
    described = read_recipe(str(recipe)).model
    torch.manual_seed(0)
    model = otter.make_model(described, otter.make_processor(described, list))
    assert 0 < model.vision_encoder.encoder.layers[0].mlp.fc1.weight.std() < 0.3


@pytest.mark.parametrize("layout", ["otter", "flamingo"])
def test_training_parts_leaves_them_as_they_were(parts, recipe, dataset, tmp_path, layout):
    overrides = settings(parts, text="mpt", **{"model.layout": layout, "optim.weight_decay": 0.1})
    train(recipe=recipe, dataset=dataset, out=tmp_path / "run", overrides=overrides)
    learned, processor = load(tmp_path / "run")
    fresh, _ = built(recipe, parts, text="mpt", **{"model.layout": layout})
    before, after = fresh.state_dict(), learned.state_dict()
    new = slice(WORDS, None)
    for name, weight in after.items():
        if name.startswith("vision_encoder.") or ".decoder_layer." in name or "norm_f" in name:
            assert torch.equal(weight, before[name]), name
        if name.endswith("wte.weight"):
            assert torch.equal(weight[:WORDS], before[name][:WORDS])
            assert not torch.equal(weight[new], before[name][new])
    assert processor.layout == layout


def test_the_outline_has_the_shapes_of_the_model(parts, recipe):
    config = read_recipe(recipe, settings(parts, text="gpt_neox"))
    seen = outline(config)
    assert {weight.device.type for weight in seen.parameters()} == {"meta"}
    model, processor = built(recipe, parts, text="gpt_neox")
    make_trainable(model, config)
    words = len(processor.tokenizer) - WORDS  # the tokenizer is not read for an outline
    sizes = {name: weight.numel() for name, weight in seen.named_parameters()}
    for name, weight in model.named_parameters():
        grown = (
            words * 32
            if name.endswith(("embed_in.weight", "lm_head.weight", "embed_out.weight"))
            else 0
        )
        assert sizes[name] + grown == weight.numel(), name


OFFLINE = """
import sys
import torch
from trainer import hub
from trainer.families import otter
from trainer.recipe import read_recipe
described = read_recipe(sys.argv[1], sys.argv[2:]).model
model = otter.make_model(described, otter.make_processor(described, list))
print(type(model.lang_encoder).__name__, sum(w.numel() for w in model.parameters()))
for ask in (hub.local, hub.saved):
    try:
        ask("someone/else" if ask is hub.local else "someone/otter")
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_names_on_the_hub_are_read_from_its_cache(parts, recipe, tmp_path):
    """As after `hf download`: the cache's folders, and no network. Only what is needed is taken."""
    cache = tmp_path / "hf" / "hub"
    (parts / "otter").mkdir(exist_ok=True)
    (parts / "otter" / "config.json").write_text('{"model_type": "otter"}')
    for name in ("tower", "llama", "words", "otter"):
        home = cache / f"models--someone--{name}"
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text("0" * 40)
        shutil.copytree(parts / name, home / "snapshots" / ("0" * 40))
    names = {
        "model.vision.start": "someone/tower",
        "model.text.start": "someone/llama",
        "model.tokenizer": "someone/words",
    }
    made = subprocess.run(
        [sys.executable, "-c", OFFLINE, recipe, *settings(parts, **names)],
        env=os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    model, _ = built(recipe, parts)
    whole = sum(weight.numel() for weight in model.parameters())
    first, second, third = made.stdout.splitlines()
    assert first == f"LlamaForCausalLM {whole}"
    assert second.startswith(
        "CheckpointError there is no folder 'someone/else', and it cannot be had from the Hub"
    )
    assert third.startswith(
        "CheckpointError 'someone/otter' on the Hub is of the published layout: `hf download"
    )
