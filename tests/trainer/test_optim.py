"""What moves the weights: which of them decay, and how fast they learn."""

import math
import re

import pytest

torch = pytest.importorskip("torch")

from trainer.config import Optim  # noqa: E402
from trainer.optim import learning_rate, make_optimizer  # noqa: E402
from trainer.recipe import read_recipe  # noqa: E402

from . import families  # noqa: E402

torch.set_num_threads(1)

DECAYED = {
    "llama": r"lang_encoder\.lm_head|.*\.(mlp|self_attn)\.\w+|.*\.(to_\w+|feed_forward\.[13])|vision_encoder\.embeddings\.patch_embedding",
    "mpt": r"lang_encoder\..*\.(Wqkv|out_proj|up_proj|down_proj)|.*\.(to_\w+|feed_forward\.[13])|"
    r"vision_encoder\..*(_proj|fc[12]|patch_embedding)",
    "fuyu": r"lm_head|.*\.dense\w*|.*\.query_key_value|model\.vision_embed_tokens",
    "idefics": r"lm_head(\.additional_fc)?|.*_proj|.*\.fc[12]?|.*\.patch_embedding",
}
"""Names of linear maps and convolutions. All else keeps its size: norms, biases, gates, latents, embeddings."""


AS_PUBLISHED = {
    "llama": r".*\.gated_cross_attn_layer\..*(\.to_\w+|feed_forward\.[013])\.weight",
    "mpt": r".*\.gated_cross_attn_layer\..*(\.to_\w+|feed_forward\.[013])\.weight",
    "fuyu": "nothing",
    "idefics": r"model\.gated_cross_attn_layers\..*(_proj\.weight|alpha_\w+)",
}
"""Names that hold `gated_cross_attn_layer`, and none of ff_gate, attn_gate, norm and bias."""


@pytest.mark.parametrize("name", AS_PUBLISHED)
def test_decay_as_published_is_of_gated_cross_attention_alone(name):
    model = families.make(name).requires_grad_(True)
    optimizer = make_optimizer(model, Optim(lr=1e-3, weight_decay=0.1, decay="published"))
    names = {weight: name for name, weight in model.named_parameters()}

    decayed, kept = (
        {names[weight] for weight in group["params"]} for group in optimizer.param_groups
    )

    assert decayed | kept == set(names.values())
    assert decayed == {found for found in names.values() if re.fullmatch(AS_PUBLISHED[name], found)}
    assert bool(decayed) == (name != "fuyu")


@pytest.mark.parametrize("name", DECAYED)
def test_only_maps_are_decayed(name):
    model = families.make(name).requires_grad_(True)
    optimizer = make_optimizer(model, Optim(lr=1e-3, weight_decay=0.1))
    names = {weight: name for name, weight in model.named_parameters()}

    (decayed, rate), (kept, none) = (
        ({names[weight] for weight in group["params"]}, group["weight_decay"])
        for group in optimizer.param_groups
    )

    assert (rate, none) == (0.1, 0.0)
    assert decayed | kept == set(names.values())
    assert decayed == {
        found for found in names.values() if re.fullmatch(rf"({DECAYED[name]})\.weight", found)
    }
    assert not [found for found in kept if re.search(r"(proj|fc\d|dense\w*|Wqkv)\.weight", found)]


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"warmup_steps": 4}, lambda s: 0.5 * (1 + math.cos(math.pi * (s - 4) / 36))),
        ({"warmup_ratio": 0.1, "schedule": "linear"}, lambda s: 1 - (s - 4) / 36),
        ({"warmup_ratio": 0.1, "schedule": "constant"}, lambda s: 1.0),
        ({"schedule": "constant", "min_lr_ratio": 0.5}, lambda s: 1.0),
    ],
)
def test_schedules(settings, wanted):
    config = Optim(**({"lr": 2.0, "min_lr_ratio": 0.0} | settings))
    warmup = 4 if "warmup_steps" in settings or "warmup_ratio" in settings else 0

    rates = [learning_rate(step, steps=40, config=config) for step in range(41)]

    assert rates[:warmup] == [2.0 * (step + 1) / 4 for step in range(warmup)]
    assert rates[warmup:] == pytest.approx([2.0 * wanted(s) for s in range(warmup, 41)])


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["run.epochs=2"], r"run\.steps is 200 and run\.epochs is 2\.0; say only one"),
        (["run.steps=0", "run.epochs=0"], r"run\.epochs is 0\.0, but must be above 0"),
        (["optim.warmup_ratio=0.1"], r"warmup_steps is 10 and optim\.warmup_ratio is 0\.1; say only"),
        (["optim.warmup_steps=0", "optim.warmup_ratio=2"], r"warmup_ratio is 2\.0, but must be at most 1"),
        (["optim.schedule=stairs"], r"one of 'cosine', 'linear', 'constant', not 'stairs'"),
        (["run.keep_best=true"], r"set evaluate\.every and evaluate\.where"),
        (["data.worker_timeout=-1"], r"data\.worker_timeout is -1\.0"),
    ],
)  # fmt: skip
def test_a_wrong_schedule_is_a_sentence(overrides, sentence):
    with pytest.raises(Exception, match=sentence):
        read_recipe("otter_tiny", overrides)
