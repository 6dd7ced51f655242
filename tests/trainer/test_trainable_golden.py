"""What is trained, and how it learns in three steps, are the published code's, in every case that `golden.py` finds."""

import json
import re

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from tests.trainer import golden  # noqa: E402
from trainer.config import Optim  # noqa: E402
from trainer.models.mpt import mosaic_names  # noqa: E402
from trainer.models.otter import Otter, OtterConfig  # noqa: E402
from trainer.optim import make_optimizer  # noqa: E402
from trainer.trainable import NEVER, PUBLISHED, choose, table  # noqa: E402

torch.set_num_threads(1)

PUBLISHED_FLAGS = {
    "{}": PUBLISHED["Otter"],
    '{"train_vision_encoder": true}': (*PUBLISHED["Otter"], "vision"),
    '{"train_lang_encoder": true}': (*PUBLISHED["Otter"], "language"),
    '{"train_full_model": true}': ("all",),
}


def ours(name):
    """Return our name of a published parameter; transformers' CLIP has lost its inner `vision_model`."""
    return mosaic_names(name.replace("vision_encoder.vision_model.", "vision_encoder."))


def published(folder):
    ids = golden.meta(folder)["token_ids"]
    model = Otter(
        OtterConfig(
            **json.loads((folder / "config_minimal.json").read_text()),
            image_token_id=ids["image"],
            answer_token_id=ids["answer"],
            endofchunk_token_id=ids["endofchunk"],
            pad_token_id=ids["pad"],
        )
    )
    loaded = load_file(folder / "model.safetensors")
    kept = {
        ours(name): weight.float()
        for name, weight in loaded.items()
        if not re.search(r"position_ids$|inv_freq$", name)
    }
    names = model.load_state_dict(kept, strict=False)
    assert not names.unexpected_keys
    assert all("lm_head" in name for name in names.missing_keys)  # where it is tied
    return model


@pytest.mark.parametrize("flag", PUBLISHED_FLAGS)
@pytest.mark.parametrize("folder", golden.folders("otter"), ids=golden.label)
def test_golden_parts_are_what_the_published_flags_trained(folder, flag):
    """All but CLIP's last norm, which the published code trains in name only: nothing comes after it."""
    path = folder / "trainable.json"
    if not path.exists():
        pytest.skip("this case does not say what was trained")
    model = published(folder)

    choose(model, PUBLISHED_FLAGS[flag])

    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    wanted = {ours(name) for name in json.loads(path.read_text())[flag]}
    assert trained == {name for name in wanted if not NEVER.match(name)}


@pytest.mark.parametrize(
    ("folder", "name"), golden.subcases("otter", "train_step"), ids=golden.label
)
def test_golden_three_steps_of_adamw(folder, name):
    said = golden.meta(folder)["subcases"][name]
    case, shown = (
        load_file(folder / f"{name}.safetensors"),
        load_file(folder / "in_context.safetensors"),
    )
    model = published(folder).train()
    choose(model, PUBLISHED["Otter"])
    trained = {key: weight for key, weight in model.named_parameters() if weight.requires_grad}
    optimizer = make_optimizer(
        model, Optim(lr=1e-3, beta2=0.999, weight_decay=0.1, decay="published")
    )
    decayed, _ = (set(group["params"]) for group in optimizer.param_groups)
    assert {key for key, weight in trained.items() if weight in decayed} == {
        ours(key) for key in said["decayed"]
    }

    for step, (loss, norm) in enumerate(
        zip(said["losses"], said["total_grad_norm_before_clip"], strict=True)
    ):
        output = model(
            input_ids=shown["in.lang_x"],
            attention_mask=shown.get("in.attention_mask"),
            pixel_values=shown["in.vision_x"].float(),
            labels=shown["in.labels"],
        )
        assert output.loss.item() == pytest.approx(loss, rel=1e-4, abs=1e-4)
        optimizer.zero_grad()
        output.loss.backward()
        if step == 0:
            norms = {key: weight.grad.norm().item() for key, weight in trained.items()}
            theirs = {ours(key): value for key, value in said["grad_norms_step0"].items()}
            assert norms == pytest.approx(theirs, rel=1e-3, abs=1e-4)
            for key, grad in case.items():
                if key.startswith("grad."):
                    mine = trained[ours(key.removeprefix("grad."))].grad
                    torch.testing.assert_close(mine, grad, atol=1e-4, rtol=1e-3)
        total = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        assert total.item() == pytest.approx(norm, rel=1e-3)
        optimizer.step()

    for key, gate in case.items():
        if key.startswith("after3."):
            mine = trained[ours(key.removeprefix("after3."))].detach()
            torch.testing.assert_close(mine, gate, atol=1e-4, rtol=1e-3)


def test_golden_parameters_of_the_published_otter_with_mpt_7b():
    """1.3854 billion were trained of OTTER-MPT7B: 1115.8 million in gates, 63.0 in the perceiver, 206.6 in the embedding."""
    with torch.device("meta"):
        model = Otter(
            OtterConfig(
                vision_config={
                    "hidden_size": 1024,
                    "intermediate_size": 4096,
                    "num_hidden_layers": 24,
                    "num_attention_heads": 16,
                    "image_size": 224,
                    "patch_size": 14,
                },
                text_config={
                    "model_type": "mpt",
                    "d_model": 4096,
                    "n_heads": 32,
                    "n_layers": 32,
                    "max_seq_len": 2048,
                    "vocab_size": 50432,
                    "attn_config": {"alibi": True},
                },
            )
        )
    choose(model, PUBLISHED["Otter"])

    trained = {row.part: round(row.trained / 1e6, 1) for row in table(model)}

    assert trained == {
        "vision": 0,
        "perceiver": 63.0,
        "gates": 1115.8,
        "embeddings": 206.6,
        "language": 0,
        "whole": 1385.4,
    }
