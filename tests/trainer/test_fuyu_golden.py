"""Fuyu and its processor against the published code's own answers, on every fixture there is."""

import re
import shutil

import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import FuyuForCausalLM  # noqa: E402

from tests.trainer.golden import TOLERANCE, folders, label, meta  # noqa: E402
from trainer.models.fuyu import Fuyu  # noqa: E402
from trainer.models.fuyu_batch import (  # noqa: E402
    IGNORED,
    normalised,
    packed,
    padded,
)
from trainer.models.fuyu_processor import FuyuProcessor  # noqa: E402
from trainer.published_labels import otterhd_end, otterhd_labels  # noqa: E402

# The published config.json says "rope_scaling": null.
pytestmark = pytest.mark.filterwarnings("ignore:`rope_scaling` is deprecated:FutureWarning")

FOLDERS = folders("fuyu")
every_folder = pytest.mark.parametrize("folder", FOLDERS, ids=label)


def numbered(*names):
    """Return a case for each member of a list in meta.json's subcases."""
    return [
        pytest.param(folder, number, id=f"{folder.name}-{number}")
        for folder in FOLDERS
        for number in range(len(meta(folder)["subcases"][names[0]]))
    ]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Return the folder of a case in the published layout: config, weights, tokenizer and settings of the processor."""
    made = {}

    def make(folder):
        if folder not in made:
            target = made[folder] = tmp_path_factory.mktemp(folder.name)
            weights = load_file(folder / "model.safetensors")
            weights = {name: value.float() for name, value in weights.items()}
            save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
            copied = (folder / "config.json", folder / "preprocessor_config.json")
            for path in (*copied, *(folder / "tokenizer").iterdir()):
                shutil.copy(path, target)
        return made[folder]

    return make


@pytest.fixture(scope="module")
def load(published):
    """Return a case's model of a class."""
    made = {}

    def make(folder, kind=Fuyu):
        if (folder, kind) not in made:
            model, report = kind.from_pretrained(published(folder), output_loading_info=True)
            assert not any(report.values()), report
            model.config.image_token_id = meta(folder)["ids"]["speaker"]
            made[folder, kind] = model
        return made[folder, kind]

    return make


@pytest.fixture
def processor(published):
    return lambda folder: FuyuProcessor.from_pretrained(published(folder))


def picture(case, name):
    return Image.fromarray(case[name].numpy())


def question_and_answer(text):
    return re.fullmatch(r"User:(.*?) Assistant:\x04 (.*)", text, re.DOTALL).groups()


def patches_of_batch(folder):
    case = load_file(folder / "processor.safetensors")
    numbers = meta(folder)["subcases"]["forward"]["images"]
    return torch.cat([case[f"out.image_patches.{number}"] for number in numbers])


@pytest.mark.parametrize(("folder", "number"), numbered("processor"))
def test_golden_tokens_and_patches_of_a_picture(processor, folder, number):
    case = load_file(folder / "processor.safetensors")
    text = meta(folder)["subcases"]["processor"][number]["text"]

    inputs = processor(folder)(images=picture(case, f"in.image.{number}"), text=text)

    assert inputs["input_ids"].tolist() == case[f"out.input_ids.{number}"].tolist()
    assert inputs["attention_mask"].tolist() == case[f"out.attention_mask.{number}"].tolist()
    torch.testing.assert_close(
        inputs["pixel_values"], case[f"out.image_patches.{number}"], **TOLERANCE
    )


@pytest.mark.parametrize(("folder", "number"), numbered("processor"))
def test_golden_patches_stand_where_the_published_indices_say(processor, folder, number):
    case = load_file(folder / "processor.safetensors")
    text = meta(folder)["subcases"]["processor"][number]["text"]

    sample = processor(folder).prompt([picture(case, f"in.image.{number}"), text])

    index_T = case[f"out.image_patches_indices.{number}"][0]
    assert sample.positions_P.tolist() == (index_T >= 0).nonzero().flatten().tolist()
    assert index_T[sample.positions_P].tolist() == list(range(len(sample.patches_PC)))


@pytest.mark.parametrize(("folder", "number"), numbered("processor"))
def test_golden_one_turn_is_taught_as_published(processor, folder, number):
    case = load_file(folder / "processor.safetensors")
    text = meta(folder)["subcases"]["processor"][number]["text"]
    question, answer = question_and_answer(text)

    sample = processor(folder).sample([([picture(case, f"in.image.{number}"), question], answer)])

    assert [sample.ids_T.tolist()] == case[f"out.train_input_ids.{number}"].tolist()
    assert [sample.labels_T.tolist()] == case[f"out.train_labels.{number}"].tolist()


@pytest.mark.parametrize(("folder", "number"), numbered("processor"))
def test_golden_published_labels_of_a_text(folder, number):
    case, ids = load_file(folder / "processor.safetensors"), meta(folder)["ids"]
    before = case[f"out.input_ids.{number}"][0].tolist()

    labels = otterhd_labels(before, answer=ids["boa"])
    after = otterhd_end(before, labels, answer=ids["boa"], end=ids["eos"])

    assert [labels] == case[f"out.labels_raw.{number}"].tolist()
    assert [after[0]] == case[f"out.train_input_ids.{number}"].tolist()
    assert [after[1]] == case[f"out.train_labels.{number}"].tolist()


@pytest.mark.parametrize(("folder", "number"), numbered("label_edge_cases"))
def test_golden_published_labels_of_odd_rows(folder, number):
    case, ids = meta(folder)["subcases"]["label_edge_cases"][number], meta(folder)["ids"]
    rows = case["input_ids"]
    if "error" in case:
        with pytest.raises(ValueError, match="need it twice"):
            [otterhd_labels(row, answer=ids["boa"]) for row in rows]
        return

    labels = [otterhd_labels(row, answer=ids["boa"]) for row in rows]
    after = [
        otterhd_end(row, its, answer=ids["boa"], end=ids["eos"])
        for row, its in zip(rows, labels, strict=True)
    ]

    assert labels == case["labels"]
    assert [list(part) for part in zip(*after, strict=True)] == [
        case["after_ids"],
        case["after_labels"],
    ]


@pytest.mark.parametrize(("folder", "number"), numbered("coordinates"))
def test_golden_boxes_and_points(processor, folder, number):
    case = meta(folder)["subcases"]["coordinates"][number]

    assert processor(folder).text_ids(case["text"], scale=case["scale"]) == case["ids"]


@every_folder
@pytest.mark.parametrize("name", ["forward", "forward_hf_left_padded"])
@torch.no_grad()
def test_golden_logits_and_loss(load, folder, name):
    case = load_file(folder / f"{name}.safetensors")
    real = case["in.attention_mask"].bool()
    inputs = {
        "input_ids": case["in.input_ids"],
        "attention_mask": case["in.attention_mask"],
        "pixel_values": patches_of_batch(folder),
    }

    logits = load(folder)(**inputs).logits

    torch.testing.assert_close(logits[real], case["out.logits"][real], **TOLERANCE)
    if "in.labels" in case:
        loss = load(folder)(**inputs, labels=case["in.labels"]).loss
        torch.testing.assert_close(loss, case["out.loss"][0], **TOLERANCE)


@every_folder
@torch.no_grad()
def test_golden_loss_of_samples_made_here_padded_and_packed(load, processor, folder):
    case = load_file(folder / "processor.safetensors")
    expected = load_file(folder / "forward.safetensors")
    subcases, made = meta(folder)["subcases"], processor(folder)
    samples = []
    for number in subcases["forward"]["images"]:
        question, answer = question_and_answer(subcases["processor"][number]["text"])
        shown = picture(case, f"in.image.{number}")
        samples.append(made.sample([([shown, question], answer)]))

    side_by_side = load(folder)(**padded(samples, pad_id=made.pad_id)).loss
    load(folder).set_attn_implementation("packed")
    in_one_row = load(folder)(**packed(samples)).loss
    load(folder).set_attn_implementation("sdpa")

    torch.testing.assert_close(side_by_side, expected["out.loss"][0], **TOLERANCE)
    torch.testing.assert_close(in_one_row, expected["out.loss"][0], **TOLERANCE)


@every_folder
@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
def test_golden_greedy_decoding(load, processor, folder, use_cache):
    case = load_file(folder / "generate.safetensors")
    text = meta(folder)["subcases"]["generate"]["text"]
    inputs = processor(folder)(images=picture(case, "in.image"), text=text)
    assert inputs["input_ids"].tolist() == case["in.input_ids"].tolist()
    new = case["out.greedy"].shape[1] - case["in.input_ids"].shape[1]

    written = load(folder).generate(
        **inputs,
        max_new_tokens=new,
        do_sample=False,
        use_cache=use_cache,
        output_logits=True,
        return_dict_in_generate=True,
    )

    assert written.sequences.tolist() == case["out.greedy"].tolist()
    torch.testing.assert_close(torch.stack(written.logits, 1), case["out.scores"], **TOLERANCE)


@every_folder
@torch.no_grad()
def test_golden_prepared_batch_of_the_dataset(load, processor, folder):
    case = load_file(folder / "prepare_fuyu.safetensors")
    subcase = meta(folder)["subcases"]["prepare_fuyu"]
    samples = []
    for number, text in enumerate(subcase["texts"]):
        question, answer = question_and_answer(text)
        squashed = picture(case, f"in.image.{number}").resize(subcase["resolution_width_height"])
        samples.append(processor(folder).sample([([squashed, question], answer)]))

    batch = padded(samples, pad_id=meta(folder)["ids"]["pad"])

    for name in ("input_ids", "attention_mask", "labels"):
        expected = case[f"out.{name}"]
        assert batch[name].tolist() == expected.tolist()
    patches = case["out.image_patches"].flatten(0, 1)
    torch.testing.assert_close(normalised(batch["pixel_values"]), patches, **TOLERANCE)
    loss = load(folder)(**batch).loss
    torch.testing.assert_close(loss, case["out.loss"][0], **TOLERANCE)


@every_folder
def test_golden_gradients_are_those_of_transformers(load, folder):
    case = load_file(folder / "forward.safetensors")
    inputs = {
        "input_ids": case["in.input_ids"],
        "attention_mask": case["in.attention_mask"],
        "pixel_values": patches_of_batch(folder),
        "labels": case["in.labels"],
    }
    assert (case["in.labels"] != IGNORED).any()
    gradients = []
    for kind in (Fuyu, FuyuForCausalLM):
        model = load(folder, kind)
        model.zero_grad()
        model(**inputs).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})

    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4)
