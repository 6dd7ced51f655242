"""Folders that can be asked, and those that must not be loaded."""

import json
import pickle
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from trainer import loading  # noqa: E402
from trainer.chat import Sampling, start  # noqa: E402
from trainer.errors import RunFolderError  # noqa: E402
from trainer.models.otter_processor import OtterProcessor  # noqa: E402

from .tiny_otter import GOLDEN, make_model  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture
def copy(tmp_path):
    """A model as `save_pretrained` leaves it."""
    path = tmp_path / "model"
    processor = OtterProcessor(
        AutoTokenizer.from_pretrained(GOLDEN / "otter_mpt" / "tokenizer"), 16
    )
    make_model(processor).save_pretrained(path)
    processor.save_pretrained(path)
    return path


def test_what_an_older_processor_does_not_say_is_the_models(copy):
    model, processor = loading.load(copy)

    assert processor.max_frames == model.config.max_num_frames == 4
    assert not model.training


def make_fuyu(path):
    from transformers import FuyuConfig

    from trainer.models.fuyu import Fuyu
    from trainer.models.fuyu_processor import FuyuProcessor

    processor = FuyuProcessor(AutoTokenizer.from_pretrained(GOLDEN / "fuyu" / "tokenizer"))
    model = Fuyu(
        FuyuConfig(
            vocab_size=457,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=512,
            image_token_id=processor.patch_id,
        )
    )
    model.save_pretrained(path)
    processor.save_pretrained(path)


def make_idefics(path):
    from transformers import IdeficsConfig, IdeficsImageProcessorPil

    from trainer.models.idefics import Idefics
    from trainer.models.idefics_processor import IdeficsChatProcessor

    tokenizer = AutoTokenizer.from_pretrained(GOLDEN / "otter_llama" / "tokenizer_base")
    words = len(tokenizer)
    IdeficsChatProcessor.add_special_tokens(tokenizer)
    processor = IdeficsChatProcessor(IdeficsImageProcessorPil(image_size=16), tokenizer)
    model = Idefics(
        IdeficsConfig(
            vocab_size=words,
            additional_vocab_size=2,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            cross_layer_interval=2,
            max_position_embeddings=512,
            vision_config={
                "embed_dim": 16,
                "image_size": 16,
                "patch_size": 8,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 16,
            },
            perceiver_config={"resampler_n_latents": 2, "resampler_depth": 1},
        )
    )
    model.fit(tokenizer)
    model.save_pretrained(path)
    processor.save_pretrained(path)


@pytest.mark.parametrize("make", [make_fuyu, make_idefics])
def test_folders_of_other_families_are_asked_the_same_way(make, tmp_path, square):
    torch.manual_seed(0)
    make(tmp_path / "model")
    pieces = []

    for one in (
        *start(tmp_path / "model", [square("red"), square("blue")], sampling=Sampling(5)),
        *start(tmp_path / "model", sampling=Sampling(5)),
    ):
        first = one.ask("What?", pieces.append)
        second = one.ask("Why?")
        assert "".join(pieces) == first.answer
        assert 1 <= first.new_tokens <= 5
        assert second.prompt_tokens > first.prompt_tokens
        pieces.clear()


def test_a_model_of_another_family_is_refused_by_its_name(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))

    with pytest.raises(RunFolderError, match="of the family 'gpt2'"):
        loading.load(copy)


def test_a_config_that_is_none_is_refused(copy):
    (copy / "config.json").write_text("[")

    with pytest.raises(RunFolderError, match="is no model's config"):
        loading.load(copy)


class Harm:
    def __reduce__(self):
        return (Path.touch, (Path("harm"),))


def test_a_pickle_is_never_read(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (copy / "model.safetensors").unlink()
    with pytest.raises(RunFolderError, match=r"has a config\.json but no weights"):
        loading.load(copy)

    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(RunFolderError, match=r"are a pickle \(pytorch_model.bin\)"):
        loading.load(copy)
    assert not Path("harm").exists()


def test_code_in_a_folder_is_never_run(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    harm = "import pathlib; pathlib.Path('harm').touch()"
    for name in copy.glob("*.py"):
        name.write_text(harm)
    (copy / "bad.py").write_text(harm)
    for name, auto in (("config.json", "AutoConfig"), ("tokenizer_config.json", "AutoTokenizer")):
        values = json.loads((copy / name).read_text())
        classes = ["bad.A", "bad.B"] if auto == "AutoTokenizer" else "bad.A"
        (copy / name).write_text(json.dumps(values | {"auto_map": {auto: classes}}))

    loading.load(copy)

    assert not Path("harm").exists()


@pytest.mark.parametrize("kind", ["missing", "unexpected"])
def test_weights_that_do_not_fit_are_refused_by_name(copy, kind):
    weights = load_file(copy / "model.safetensors")
    if kind == "missing":
        del weights["perceiver.latents"]
    else:
        weights["perceiver.latents_2"] = torch.zeros(1)
    save_file(weights, copy / "model.safetensors", {"format": "pt"})

    with pytest.raises(RunFolderError, match=f"{kind} are perceiver.latents"):
        loading.load(copy)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model_type": ["otter"]}, r"of the family \['otter'\]"),
        ({"text_config": 5}, "cannot be read: "),
        ({"cross_attn_every_n_layers": "x"}, "cannot be read: "),
        ({"perceiver": {"depth": 1, "heads": 2, "dim_head": 8, "num_latents": 6}}, r"perceiver\.latents \(4×32 and not 6×32\)"),
    ],
)  # fmt: skip
def test_a_config_of_wrong_values_is_refused_in_one_line(copy, change, sentence, capfd):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | change))

    with pytest.raises(RunFolderError, match=sentence) as raised:
        loading.load(copy)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""


def test_a_config_that_is_nested_without_end_is_refused(copy):
    (copy / "config.json").write_text("[" * 100_000)

    with pytest.raises(RunFolderError, match="is no model's config"):
        loading.load(copy)


def test_weights_that_break_off_are_refused(copy):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(RunFolderError, match="cannot be read"):
        loading.load(copy)
