"""Otter gives the published code's numbers: every case with a Perceiver, found by `golden.py`."""

import json

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from tests.trainer import golden  # noqa: E402
from trainer.models.gated_attention import GatedCrossAttention  # noqa: E402
from trainer.models.mpt import mosaic_names  # noqa: E402
from trainer.models.otter import Otter, OtterConfig, decoder_layers  # noqa: E402

FORWARD = ("single", "in_context", "odd_media", "text_only", "no_attention_mask")
GREEDY = [
    (folder, name, use_cache)
    for folder, name in golden.subcases("otter", "generate")
    for use_cache in (True, False)
]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Load the published layout as a user would: a folder with a config and weights."""
    loaded = {}

    def load(folder, *, legacy=False):
        if (folder, legacy) not in loaded:
            target = tmp_path_factory.mktemp(folder.name)
            ids = golden.meta(folder)["token_ids"]
            OtterConfig(
                **json.loads((folder / "config_minimal.json").read_text()),
                image_token_id=ids["image"],
                answer_token_id=ids["answer"],
                endofchunk_token_id=ids["endofchunk"],
                pad_token_id=ids["pad"],
                legacy=legacy,
            ).save_pretrained(target)
            weights = load_file(folder / "model.safetensors")
            if any(".ln_1." in name for name in weights):
                weights = {mosaic_names(name): value for name, value in weights.items()}
            weights = {name: value.float() for name, value in weights.items()}
            save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
            model, report = Otter.from_pretrained(target, output_loading_info=True)
            assert not any(report.values()), report
            loaded[folder, legacy] = model.eval()
        return loaded[folder, legacy]

    return load


def inputs_of(case):
    return {
        "input_ids": case["in.lang_x"],
        "attention_mask": case.get("in.attention_mask"),
        "pixel_values": case["in.vision_x"].float(),
    }


def real(case):
    return case.get("in.attention_mask", torch.ones_like(case["in.lang_x"])).bool()


def surplus(model, case):
    """Return where text follows more `<image>` than there are media (BT)."""
    return model.text_time(case["in.lang_x"]) > case["in.vision_x"].shape[1]


@pytest.mark.parametrize(("folder", "name"), golden.subcases("otter", *FORWARD), ids=golden.label)
@torch.no_grad()
def test_logits_and_loss_are_the_published_ones(published, folder, name):
    case = load_file(folder / f"{name}.safetensors")
    model = published(folder, legacy=True)

    logits = model(**inputs_of(case)).logits

    torch.testing.assert_close(
        logits[real(case)], case["out.logits"][real(case)], **golden.TOLERANCE
    )
    if "in.labels" in case:
        loss = model(**inputs_of(case), labels=case["in.labels"]).loss
        torch.testing.assert_close(loss, case["out.loss"][0], **golden.TOLERANCE)


@pytest.mark.parametrize(("folder", "name"), golden.subcases("otter", *FORWARD), ids=golden.label)
@torch.no_grad()
def test_only_what_follows_a_surplus_image_differs_from_the_published_logits(
    published, folder, name
):
    """Ours sees nothing there, the published code an even mixture of all media."""
    case = load_file(folder / f"{name}.safetensors")
    model = published(folder)

    logits = model(**inputs_of(case)).logits

    behind = surplus(model, case).cummax(dim=-1).values
    asked = real(case) & ~behind
    torch.testing.assert_close(logits[asked], case["out.logits"][asked], **golden.TOLERANCE)
    changed = real(case) & behind
    if changed.any():
        assert (logits[changed] - case["out.logits"][changed]).abs().max() > 1e-2


@pytest.mark.parametrize(("folder", "name"), golden.subcases("otter", "single"), ids=golden.label)
@torch.no_grad()
def test_what_happens_inside_is_what_was_published(published, folder, name):
    case = load_file(folder / f"{name}.safetensors")
    model = published(folder)
    found = {}
    layers = decoder_layers(model.lang_encoder)
    hooks = [
        model.perceiver.register_forward_hook(
            lambda _, args, out: found.update({"perceiver_in": args[0], "perceiver_out": out})
        )
    ]
    for index, layer in enumerate(layers):
        for part, key in ((layer, "layer_out"), (layer.gated_cross_attn_layer, "xattn_out")):
            if part is not None:

                def keep(_, args, out, key=f"{key}.{index}"):
                    found[key] = out[0] if isinstance(out, tuple) else out

                hooks.append(part.register_forward_hook(keep))

    model(**inputs_of(case))

    for hook in hooks:
        hook.remove()
    wanted = {key.removeprefix("mid."): value for key, value in case.items() if "mid." in key}
    assert wanted
    for key, value in wanted.items():
        mine, theirs = found[key], value
        if "perceiver" not in key:
            mine, theirs = mine[real(case)], theirs[real(case)]
        torch.testing.assert_close(
            mine, theirs, **golden.TOLERANCE, msg=lambda m, k=key: f"{k}: {m}"
        )


def write(model, case, **settings):
    """Write as the fixtures were: greedily, filled up with the end token."""
    return model.generate(
        **inputs_of(case),
        do_sample=False,
        pad_token_id=model.config.endofchunk_token_id,
        **settings,
    )


@pytest.mark.parametrize(("folder", "name", "use_cache"), GREEDY, ids=golden.label)
def test_greedy_decoding_sees_the_media_to_the_end(published, folder, name, use_cache):
    """With a cache, too: there the published code goes blind after the prompt."""
    case = load_file(folder / f"{name}.safetensors")
    new = golden.meta(folder)["subcases"][name]["new_tokens"]

    written = write(published(folder), case, max_new_tokens=new, use_cache=use_cache)

    assert written.tolist() == case["out.greedy_nocache"].tolist()


@pytest.mark.parametrize(("folder", "name", "use_cache"), GREEDY, ids=golden.label)
def test_the_legacy_switch_writes_what_the_published_code_writes(
    published, folder, name, use_cache
):
    case = load_file(folder / f"{name}.safetensors")
    new = golden.meta(folder)["subcases"][name]["new_tokens"]
    model = published(folder, legacy=True)

    written = write(model, case, max_new_tokens=new, use_cache=use_cache)

    theirs = case["out.greedy_cache" if use_cache else "out.greedy_nocache"]
    assert written.tolist() == theirs.tolist()


@pytest.mark.parametrize(("folder", "name"), golden.subcases("otter", "generate"), ids=golden.label)
@torch.no_grad()
def test_the_logits_of_a_prompt_and_the_scores_of_its_answer_are_the_published_ones(
    published, folder, name
):
    case = load_file(folder / f"{name}.safetensors")
    model = published(folder, legacy=True)
    new = golden.meta(folder)["subcases"][name]["new_tokens"]

    logits = model(**inputs_of(case)).logits

    torch.testing.assert_close(
        logits[real(case)], case["out.logits"][real(case)], **golden.TOLERANCE
    )
    for use_cache, key in ((True, "out.greedy_scores_cache"), (False, "out.greedy_scores_nocache")):
        if key in case:
            result = write(
                model, case, max_new_tokens=new, use_cache=use_cache,
                return_dict_in_generate=True, output_scores=True,
            )  # fmt: skip
            scores = torch.stack(result.scores, dim=1)
            torch.testing.assert_close(scores, case[key], **golden.TOLERANCE)


@pytest.mark.parametrize(("folder", "name"), golden.subcases("otter", "generate"), ids=golden.label)
def test_beams_find_the_same_with_and_without_a_cache_in_golden_prompts(published, folder, name):
    case = load_file(folder / f"{name}.safetensors")
    model = published(folder)
    settings = {"num_beams": 3, "no_repeat_ngram_size": 3, "max_new_tokens": 14}

    cached = write(model, case, use_cache=True, **settings)

    assert cached.tolist() == write(model, case, use_cache=False, **settings).tolist()


@pytest.mark.parametrize("folder", golden.folders("otter"), ids=golden.label)
def test_golden_checkpoints_have_exactly_our_names_and_shapes(published, folder):
    model = published(folder)
    names = golden.meta(folder)["state_dict"]
    if any(".ln_1." in name for name in names):
        names = {mosaic_names(name): shape for name, shape in names.items()}

    # transformers 5 has no inner vision_model; a tied output layer is not in the files.
    theirs = {
        name.replace("vision_encoder.vision_model.", "vision_encoder."): shape
        for name, shape in names.items()
        if not name.endswith(("position_ids", "rotary_emb.inv_freq"))
    }
    ours = {
        name: list(value.shape)
        for name, value in model.state_dict().items()
        if name in theirs or not name.endswith("lm_head.weight")
    }
    assert ours == theirs
    looks = [part for part in model.modules() if isinstance(part, GatedCrossAttention)]
    assert len(looks) == len(model.cross_attentions()) > 0
