"""The published code's own answers, made with random weights: see meta.json for what each case holds."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from trainer.models.otter import Otter, OtterConfig  # noqa: E402

GOLDEN = Path(__file__).parent.parent / "fixtures" / "otter_llama"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Load the published layout as a user would: a folder with a config and weights."""
    folder = tmp_path_factory.mktemp("otter_llama")
    ids = json.loads((GOLDEN / "meta.json").read_text())["token_ids"]
    OtterConfig(
        **json.loads((GOLDEN / "config_minimal.json").read_text()),
        image_token_id=ids["image"],
        answer_token_id=ids["answer"],
        endofchunk_token_id=ids["endofchunk"],
        pad_token_id=ids["pad"],
    ).save_pretrained(folder)
    weights = {
        name: value.float() for name, value in load_file(GOLDEN / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model, report = Otter.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model


def inputs_of(case):
    return {
        "input_ids": case["in.lang_x"],
        "attention_mask": case["in.attention_mask"],
        "pixel_values": case["in.vision_x"].float(),
    }


@pytest.mark.parametrize("name", ["single", "in_context", "text_only"])
@torch.no_grad()
def test_logits_and_loss_are_the_published_ones(model, name):
    case = load_file(GOLDEN / f"{name}.safetensors")
    real = case["in.attention_mask"].bool()

    logits = model(**inputs_of(case)).logits
    loss = model(**inputs_of(case), labels=case["in.labels"]).loss

    torch.testing.assert_close(logits[real], case["out.logits"][real], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(loss, case["out.loss"][0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
def test_greedy_decoding_sees_the_picture_to_the_end(model, use_cache):
    case = load_file(GOLDEN / "generate.safetensors")

    written = model.generate(
        **inputs_of(case), max_new_tokens=14, do_sample=False, use_cache=use_cache
    )

    assert written.tolist() == case["out.greedy_nocache"].tolist()
