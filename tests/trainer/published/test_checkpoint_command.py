"""`syphus checkpoint`, as it is typed."""

import json

import pytest

torch = pytest.importorskip("torch")

from typer.testing import CliRunner  # noqa: E402

from syphus.cli import application  # noqa: E402
from tests.trainer.published.layouts import (  # noqa: E402
    logits,
    otter,
    published_config,
    published_openflamingo,
    published_otter,
    state_of,
    write_folder,
)
from trainer.errors import CheckpointError  # noqa: E402
from trainer.models.otter import Otter  # noqa: E402


def call(*arguments):
    return CliRunner().invoke(application("checkpoint"), ["checkpoint", *map(str, arguments)])


@pytest.fixture(scope="module")
def original():
    return otter("mpt", 320, max_num_frames=3)


@pytest.fixture
def published(original, tmp_path):
    config = published_config("mpt", 320, max_num_frames=3)
    return write_folder(tmp_path / "published", published_otter(state_of(original), "mpt"), config)


def test_convert_writes_a_folder_that_loads(original, published, tmp_path):
    result = call("convert", published, "-o", tmp_path / "ours", "--shard-gb", "0.001")

    assert result.exit_code == 0, result.output
    assert "is an Otter on mpt: " in result.stdout
    model = Otter.from_pretrained(tmp_path / "ours")
    torch.testing.assert_close(logits(model), logits(original), atol=0, rtol=0)


def test_convert_says_the_same_as_json(published, tmp_path):
    result = call("convert", published, "-o", tmp_path / "ours", "--dtype", "bf16", "--json")

    said = json.loads(result.stdout)
    size = (tmp_path / "ours" / "model.safetensors").stat().st_size
    assert said["family"] == "otter"
    assert said["bytes"] == 2 * said["parameters"]
    assert said["bytes"] < size < said["bytes"] + 30_000


def test_inspect_tells_family_backbone_and_sizes(published):
    result = call("inspect", published, "--json")

    said = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (said["family"], said["backbone"], said["layers"], said["words"]) == (
        "otter",
        "mpt",
        4,
        320,
    )
    assert (
        said["sizes"]
        | {"text_width": 48, "looking_layers": [1, 3], "latents": 4, "depth": 2, "frames": 3}
        == said["sizes"]
    )
    assert said["complete"]
    shown = call("inspect", published).stdout
    assert "an Otter on mpt" in shown
    assert "before every 2nd layer (2 in all), 24 wide" in shown
    assert "2 rounds, 4 latents, 16 wide; frame embeddings: 3" in shown
    assert shown.endswith("  can be converted\n")


def test_inspect_lists_what_is_missing_and_unknown(original, tmp_path):
    state = published_otter(state_of(original), "mpt")
    del state["perceiver.norm.bias"]
    state["lang_encoder.surprise"] = torch.ones(3)
    folder = write_folder(tmp_path / "published", state, published_config("mpt", 320))

    result = call("inspect", folder)

    assert result.exit_code == 1
    assert "  missing: perceiver.norm.bias\n" in result.stdout
    assert "  unknown: lang_encoder.surprise\n" in result.stdout
    assert result.stdout.endswith("  cannot be converted as it is\n")


def test_inspect_tells_what_an_openflamingo_file_needs(original, tmp_path):
    torch.save(
        {"model_state_dict": published_openflamingo(state_of(original))}, tmp_path / "checkpoint.pt"
    )

    result = call("inspect", tmp_path / "checkpoint.pt")

    assert result.exit_code == 1
    assert "an OpenFlamingo on a language model that is not in it" in result.stdout
    assert "--vision" in result.stdout


def test_a_size_that_is_none_is_wrong_usage(published, tmp_path):
    for setting in ("perceiver.depth=3", "perceiver.heads=x", "heads=3", "perceiver.heads=0"):
        result = call("convert", published, "-o", tmp_path / "ours", "--set", setting)
        assert result.exit_code == 2
        assert not (tmp_path / "ours").exists()


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path):
    result = call("inspect", tmp_path / "nowhere")

    assert isinstance(result.exception, CheckpointError)
    assert "there is no checkpoint at" in str(result.exception)
