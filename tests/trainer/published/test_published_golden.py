"""Published checkpoints, converted: the logits are those that the published code gave."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText  # noqa: E402

from tests.trainer import golden  # noqa: E402
from tests.trainer.published.layouts import write_folder  # noqa: E402
from trainer.models.fuyu import Fuyu  # noqa: E402
from trainer.models.otter import Otter  # noqa: E402
from trainer.published.convert import convert  # noqa: E402
from trainer.published.sources import Beside  # noqa: E402

CONFIGS = ("config.json", "config_minimal.json")


def converted(case, config, out, *, files="safetensors", shards=1, **options):
    """Convert a golden case: its weights and one of its configs, in files as they were published."""
    state = {n: t.float() for n, t in load_file(case / "model.safetensors").items()}
    published = json.loads((case / config).read_text())
    published.setdefault("model_type", "fuyu" if "vision_embed_tokens.weight" in state else "otter")
    if files == "bin" and "vision_embed_tokens.weight" not in state:
        state["vision_encoder.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    source = write_folder(
        out.with_name("published"), state, published, files=files, shards=shards, tokenizer=None
    )
    if (case / "preprocessor_config.json").exists():
        shutil.copy(case / "preprocessor_config.json", source)
    parts = ("perceiver", "cross_attention")
    heads = {
        part: {"heads": golden.meta(case)[part]["heads"]}
        for part in parts
        if part in golden.meta(case)
    }
    if "perceiver" in published:
        heads = {}  # it says them
    return convert(source, out, Beside(tokenizer=case / "tokenizer"), overrides=heads, **options)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("case", golden.folders("otter"), ids=golden.label)
@torch.no_grad()
def test_a_converted_golden_otter_gives_the_published_logits(case, config, tmp_path):
    result = converted(case, config, tmp_path / "ours")
    model, report = Otter.from_pretrained(tmp_path / "ours", output_loading_info=True)

    assert not any(report.values()), report
    kept = [
        name
        for name in golden.meta(case)["state_dict"]
        if not name.endswith(("position_ids", "inv_freq"))
        and name not in model.all_tied_weights_keys
    ]
    assert result.tensors == len(kept)
    ids = golden.meta(case)["token_ids"]
    assert model.config.image_token_id == ids["image"]
    assert model.config.answer_token_id == ids["answer"]
    assert model.config.endofchunk_token_id == ids["endofchunk"]
    assert model.config.pad_token_id == ids["pad"]
    for name in ("single", "in_context"):
        tensors = load_file(case / f"{name}.safetensors")
        real = tensors["in.attention_mask"].bool()
        logits = model(
            input_ids=tensors["in.lang_x"],
            attention_mask=tensors["in.attention_mask"],
            pixel_values=tensors["in.vision_x"].float(),
        ).logits
        torch.testing.assert_close(logits[real], tensors["out.logits"][real], **golden.TOLERANCE)


@pytest.mark.parametrize("case", golden.folders("otter"), ids=golden.label)
@torch.no_grad()
def test_a_golden_otter_in_bin_shards_becomes_safetensors_shards(case, tmp_path):
    out = tmp_path / "ours"
    weights = load_file(case / "model.safetensors").values()
    an_eighth = sum(tensor.numel() for tensor in weights) * 4 // 8
    converted(case, "config_minimal.json", out, files="bin", shards=3, shard_bytes=an_eighth)

    files = sorted(out.glob("model-*.safetensors"))
    index = json.loads((out / "model.safetensors.index.json").read_text())
    held = {name: file.name for file in files for name in load_file(file)}
    assert len(files) > 2
    assert held == index["weight_map"]
    assert index["metadata"]["total_size"] == sum(
        t.nbytes for file in files for t in load_file(file).values()
    )
    # By who has transformers alone: with the code that lies in the folder.
    model = AutoModelForImageTextToText.from_pretrained(out, trust_remote_code=True)
    tensors = load_file(case / "single.safetensors")
    real = tensors["in.attention_mask"].bool()
    logits = model(
        input_ids=tensors["in.lang_x"],
        attention_mask=tensors["in.attention_mask"],
        pixel_values=tensors["in.vision_x"].float(),
    ).logits
    torch.testing.assert_close(logits[real], tensors["out.logits"][real], **golden.TOLERANCE)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("case", golden.folders("fuyu"), ids=golden.label)
@torch.no_grad()
def test_a_converted_golden_fuyu_gives_the_published_logits(case, config, tmp_path):
    out = tmp_path / "ours"
    converted(case, config, out, files="bin", shards=2)

    inputs = load_file(case / "forward.safetensors")
    pictures = load_file(case / "processor.safetensors")
    shown = golden.meta(case)["subcases"]["forward"]["images"]
    patches = torch.cat([pictures[f"out.image_patches.{nth}"] for nth in shown])
    real = inputs["in.attention_mask"].bool()
    for kind in (Fuyu, AutoModelForCausalLM):
        model, report = kind.from_pretrained(out, output_loading_info=True)
        assert not any(report.values()), report
        logits = model(
            input_ids=inputs["in.input_ids"],
            attention_mask=inputs["in.attention_mask"],
            pixel_values=patches if kind is Fuyu else patches[None],
        ).logits
        torch.testing.assert_close(logits[real], inputs["out.logits"][real], **golden.TOLERANCE)
    ends = json.loads((out / "generation_config.json").read_text())["eos_token_id"]
    assert golden.meta(case)["ids"]["eos"] in ends
