"""What is unsafe, incomplete or contradictory is refused by name, and leaves nothing behind."""

import fcntl
import json
import os
import pickle
import shutil
import zipfile

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from tests.trainer.published.layouts import (  # noqa: E402
    BARE_TOKENIZER,
    FIXTURES,
    otter,
    published_config,
    published_otter,
    state_of,
    write_folder,
)
from trainer.errors import CheckpointError  # noqa: E402
from trainer.published.convert import convert  # noqa: E402
from trainer.published.describe import describe  # noqa: E402
from trainer.published.reading import Reader, weights_of  # noqa: E402
from trainer.published.sources import Beside  # noqa: E402

WTE = "lang_encoder.transformer.wte.weight"


@pytest.fixture(scope="module")
def state():
    return published_otter(state_of(otter("mpt", 320)), "mpt")


@pytest.fixture
def refused(tmp_path):
    """Convert a folder that must be refused, and return why; nothing may be left."""

    def convert_it(source, beside=None, **options):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(CheckpointError) as raised:
            convert(source, tmp_path / "ours", beside, **options)
        assert sorted(tmp_path.rglob("*")) == before
        return str(raised.value)

    return convert_it


class Evil:
    """A pickle that runs a command when it is opened."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("place", ["beside the tensors", "in the nested table"])
def test_a_malicious_pickle_is_refused_and_not_run(place, state, tmp_path, refused):
    traces = tmp_path / "traces"
    evil = Evil(f"touch {traces}")
    folder = write_folder(tmp_path / "published", state, published_config("mpt", 320))
    path = folder / "pytorch_model.bin"
    torch.save({**state, "x": evil} if place.startswith("beside") else {"model": {"x": evil}}, path)

    said = refused(folder)

    assert f"{str(path)!r} is not safe to open" in said
    assert "posix.system" in said
    assert not traces.exists()
    torch.load(path, weights_only=False)  # the trap was real
    assert traces.exists()


def test_a_bare_pickle_is_refused_and_not_run(tmp_path):
    traces = tmp_path / "traces"
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(pickle.dumps(Evil(f"touch {traces}")))

    with pytest.raises(CheckpointError, match=r"checkpoint\.pt"):
        describe(path, Beside())
    assert not traces.exists()


@pytest.mark.parametrize(
    "name", ["../elsewhere.bin", "/etc/passwd", "a/../../x.bin", "..\\x.bin", "C:\\x.bin", 7, ""]
)
def test_an_index_that_leads_out_of_its_folder_is_refused(name, state, tmp_path, refused):
    shutil.copyfile(__file__, tmp_path / "elsewhere.bin")
    folder = write_folder(tmp_path / "published", state, published_config("mpt", 320), shards=2)
    path = folder / "pytorch_model.bin.index.json"
    index = json.loads(path.read_text())
    index["weight_map"][WTE] = name
    path.write_text(json.dumps(index))

    said = refused(folder)

    assert repr(name) in said
    assert "outside of its folder" in said


def test_an_index_that_names_a_tensor_twice_is_refused(state, tmp_path, refused):
    folder = write_folder(tmp_path / "published", state, published_config("mpt", 320), shards=2)
    path = folder / "pytorch_model.bin.index.json"
    text = path.read_text()
    path.write_text(text.replace('"weight_map": {', f'"weight_map": {{"{WTE}": "x.bin", '))

    assert f"it has {WTE} twice" in refused(folder)


def test_a_tensor_in_two_files_is_refused(state, tmp_path, refused):
    folder = write_folder(tmp_path / "published", state, published_config("mpt", 320), shards=2)
    second = folder / "pytorch_model-00002-of-00002.bin"
    torch.save(torch.load(second, weights_only=True) | {WTE: state[WTE]}, second)

    said = refused(folder)

    assert "pytorch_model-00002-of-00002.bin' holds tensors that" in said
    assert WTE in said


def test_an_index_and_files_that_disagree_are_refused(state, tmp_path, refused):
    folder = write_folder(tmp_path / "published", state, published_config("mpt", 320), shards=2)
    path = folder / "pytorch_model.bin.index.json"
    whole = json.loads(path.read_text())

    def change(weight_map):
        path.write_text(json.dumps(whole | {"weight_map": weight_map}))

    change(whole["weight_map"] | {"ghost": "pytorch_model-00001-of-00002.bin"})
    assert "lists tensors that no file has: ghost" in refused(folder)
    change({n: f for n, f in whole["weight_map"].items() if n != WTE})
    assert f"does not list: {WTE}" in refused(folder)
    change(dict(zip(whole["weight_map"], reversed(whole["weight_map"].values()), strict=True)))
    assert "tensors are in other files than" in refused(folder)
    change(whole["weight_map"] | {"ghost": "pytorch_model-00003-of-00003.bin"})
    assert "'pytorch_model-00003-of-00003.bin', which is not there" in refused(folder)


def test_missing_unknown_and_misshapen_tensors_are_named(state, tmp_path, refused):
    gate = "lang_encoder.transformer.blocks.3.gated_cross_attn_layer.ff_gate"
    odd = dict(state)
    del odd[WTE.replace("wte", "norm_f")]
    for nth in range(7):
        odd[f"lang_encoder.extra.{nth}"] = torch.ones(2)
    odd[gate] = torch.ones(2)
    odd["perceiver.norm.bias"] = torch.ones(32, dtype=torch.int64)
    folder = write_folder(tmp_path / "published", odd, published_config("mpt", 320))

    said = refused(folder)

    assert "it lacks lang_encoder.transformer.norm_f.weight;" in said
    assert "that the model has not: lang_encoder.extra.0, lang_encoder.extra.1" in said
    assert "… (7 in all)" in said
    assert f"{gate} is 2 and should be 1" in said
    assert "perceiver.norm.bias holds torch.int64" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cross_attn_every_n_layers": 4}, "says cross_attn_every_n_layers = 4, but the weights show 2"),
        ({"max_num_frames": 8}, "says max_num_frames = 8, but the weights show None"),
        ({"perceiver": {"depth": 6}}, "says perceiver.depth = 6, but the weights show 2"),
        ({"perceiver": {"heads": 3, "dim_head": 8}}, "3 heads that are 8 wide were asked of the perceiver"),
        ({"model_type": "llava"}, "is a checkpoint of the family 'llava'; otter, flamingo and fuyu can be converted"),
        ({"model_type": "fuyu"}, "says 'fuyu', but its weights are those of otter"),
        ({"text_config": {"architectures": ["RWForCausalLM"], "model_type": "RefinedWebModel"}}, "is not known: architectures"),
        ({"text_config": {"architectures": ["LlamaForCausalLM"]}}, "says that the language model is llama, but the weights are named as mpt"),
        ({"text_config": None}, "has no text_config and vision_config"),
    ],
)  # fmt: skip
def test_a_config_that_contradicts_the_weights_is_refused(change, said, state, tmp_path, refused):
    config = published_config("mpt", 320) | change
    folder = write_folder(tmp_path / "published", state, config)

    assert said in refused(folder)


def test_an_option_of_mpt_that_is_not_computed_is_refused(state, tmp_path, refused):
    config = published_config("mpt", 320)
    config["text_config"] = config["text_config"] | {
        "attn_config": {"alibi": True, "prefix_lm": True}
    }

    said = refused(write_folder(tmp_path / "published", state, config))

    assert "attn_config.prefix_lm = True" in said


def test_the_tokenizer_must_be_there_and_belong_to_the_weights(state, tmp_path, refused):
    config = published_config("mpt", 320)
    bare = write_folder(tmp_path / "bare", state, config, tokenizer=None)
    assert "comes without a tokenizer" in refused(bare)

    small = state | {WTE: state[WTE][:303]}
    few = write_folder(tmp_path / "few", small, published_config("mpt", 303))
    assert "padding is 303, but there are embeddings for 303 ids" in refused(few)

    # One without special tokens gets them, in the published order.
    convert(bare, tmp_path / "with", Beside(tokenizer=BARE_TOKENIZER))
    saved = json.loads((tmp_path / "with" / "config.json").read_text())
    assert [saved[f"{name}_token_id"] for name in ("endofchunk", "image", "answer", "pad")] == [
        300,
        301,
        302,
        303,
    ]


def test_the_tokenizer_that_came_along_is_believed(state, tmp_path):
    """An old conversion added `<PAD>` before `<answer>`: the two ids are the other way round."""
    folder = write_folder(tmp_path / "published", state, published_config("mpt", 320))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text()
        text = (
            text.replace("<PAD>", "<other>")
            .replace("<answer>", "<PAD>")
            .replace("<other>", "<answer>")
        )
        if name == "tokenizer_config.json":
            settings = json.loads(text)
            settings |= {
                "additional_special_tokens": ["<|endofchunk|>", "<image>", "<answer>"],
                "pad_token": "<PAD>",
            }
            text = json.dumps(settings)
        (folder / name).write_text(text)

    convert(folder, tmp_path / "ours")

    saved = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert (saved["pad_token_id"], saved["answer_token_id"]) == (302, 303)


def test_a_fuyu_with_the_tokenizer_of_an_otter_is_refused(tmp_path, refused):
    folder = tmp_path / "published"
    folder.mkdir()
    for name in ("model.safetensors", "config.json"):
        shutil.copy(FIXTURES / "fuyu" / name, folder)

    assert "has no '|SPEAKER|'" in refused(folder, Beside(tokenizer=BARE_TOKENIZER))


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_damaged_file_is_named(name, damage, tmp_path):
    path = tmp_path / name
    if name.endswith(".bin"):
        torch.save({"a": torch.ones(1000)}, path)
    else:
        save_file({"a": torch.ones(1000)}, path)
    whole = path.read_bytes()
    path.write_bytes(
        {"cut": whole[:2000], "empty": b"", "text": b"version https://git-lfs"}[damage]
    )

    with pytest.raises(CheckpointError, match=rf"{name}' (cannot be read|is a pointer of Git LFS)"):
        weights_of(tmp_path)


def test_a_shard_that_is_missing_is_noticed_without_an_index(state, tmp_path):
    folder = write_folder(tmp_path / "published", state, published_config("mpt", 320), shards=3)
    (folder / "pytorch_model.bin.index.json").unlink()
    (folder / "pytorch_model-00002-of-00003.bin").unlink()

    with pytest.raises(CheckpointError, match="has 2 of the 3 files"):
        weights_of(folder)


def test_values_that_are_no_tensors_are_named(tmp_path):
    torch.save({"a": torch.ones(2), "step": 3}, tmp_path / "x.pt")

    with pytest.raises(CheckpointError, match="not plain tensors: step"):
        weights_of(tmp_path / "x.pt")


def test_a_folder_that_is_there_is_not_written_over(state, tmp_path):
    folder = write_folder(tmp_path / "published", state, published_config("mpt", 320))
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "thesis.txt").write_text("mine")

    with pytest.raises(CheckpointError, match="is there already"):
        convert(folder, tmp_path / "ours")
    assert (tmp_path / "ours" / "thesis.txt").read_text() == "mine"


def test_parts_that_are_not_needed_are_refused(state, tmp_path, refused):
    folder = write_folder(tmp_path / "published", state, published_config("mpt", 320))

    assert "leave --base and --vision away" in refused(folder, Beside(base=folder, vision=folder))


def test_nothing_of_a_tensor_is_read_before_it_is_wanted(tmp_path):
    """A table of contents is enough: the bytes of this file's tensor are not even there."""
    torch.save({"a": torch.ones(1 << 20)}, tmp_path / "x.pt")
    save_file({"a": torch.ones(1 << 20)}, tmp_path / "x.safetensors")

    for name in ("x.pt", "x.safetensors"):
        stored = weights_of(tmp_path / name)["a"]
        assert stored.shape == (1 << 20,)
        assert stored.dtype == torch.float32
        assert Reader().tensor(stored).sum() == 1 << 20


def test_a_file_of_an_old_torch_is_refused_with_what_to_do(tmp_path):
    """It cannot be mapped, only read whole."""
    path = tmp_path / "old.pt"
    torch.save({"perceiver.latents": torch.ones(2)}, path, _use_new_zipfile_serialization=False)

    with pytest.raises(CheckpointError, match=r"old\.pt' cannot be read .*torch 1\.6 or later"):
        weights_of(path)


def squeezed(path):
    """Compress a file of torch.save, which leaves its table of contents as it was."""
    with zipfile.ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def test_a_compressed_file_is_refused_since_its_tensors_would_be_the_compressed_bytes(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"perceiver.latents": torch.arange(1000.0)}, path)
    squeezed(path)

    with pytest.raises(CheckpointError, match=r"x\.pt' is compressed"):
        weights_of(path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**9, 48),
        torch.zeros(2).to(torch.float8_e4m3fn),
        torch.ones(2).to_sparse(),
    ],
    ids=["one number for many", "eight bits", "sparse"],
)
def test_tensors_that_cannot_be_kept_are_refused_by_name(tensor, tmp_path):
    torch.save({"perceiver.latents": tensor}, tmp_path / "x.pt")

    with pytest.raises(CheckpointError, match=r"not plain tensors: perceiver\.latents"):
        weights_of(tmp_path / "x.pt")


def test_a_name_does_nothing_to_the_terminal_that_it_is_shown_on(state, tmp_path, refused):
    odd = state | {"perceiver.\x1b[2Jx\n": torch.ones(1)}
    folder = write_folder(tmp_path / "published", odd, published_config("mpt", 320))

    assert r"perceiver.\x1b[2Jx" in refused(folder)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("lora_config",), "x"),
        (("perceiver",), 5),
        (("text_config", "architectures"), 5),
        (("text_config", "n_layers"), 10**9),
        (("text_config", "n_heads"), 0),
        (("text_config", "resid_pdrop"), []),
        (("text_config", "vocab_size"), None),
        (("vision_config", "hidden_act"), 3),
        (("vision_config", "num_hidden_layers"), 10**9),
        (("vision_config", "patch_size"), 0),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_config_of_wrong_values_is_refused_in_one_line(place, value, state, tmp_path, refused):
    config = json.loads(json.dumps(published_config("mpt", 320)))
    inner = config
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    folder = write_folder(tmp_path / "published", state, config)

    said = refused(folder)

    assert str(folder) in said
    assert "\n" not in said


def test_what_a_killed_process_left_is_thrown_away_and_what_a_running_one_writes_is_not(
    state, tmp_path, refused
):
    folder = write_folder(tmp_path / "published", state, published_config("mpt", 320))
    left = tmp_path / ".ours.partial"
    left.mkdir()
    (left / "model-00009-of-00010.safetensors").write_text("half")
    lock = os.open(left, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(CheckpointError, match="another process is converting to"):
        convert(folder, tmp_path / "ours")
    assert [path.name for path in left.iterdir()] == ["model-00009-of-00010.safetensors"]
    os.close(lock)

    convert(folder, tmp_path / "ours")

    assert not left.exists()
    assert not list((tmp_path / "ours").glob("model-*"))
