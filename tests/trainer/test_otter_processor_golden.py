"""The Otter processor against the published code's own tokens, pixels and frames."""

import base64
import io
import json

import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from tests.trainer import golden  # noqa: E402
from trainer.models.otter_processor import (  # noqa: E402
    ROUNDED_MEAN,
    ROUNDED_STD,
    OtterProcessor,
    Turn,
)
from trainer.models.pictures import evenly  # noqa: E402


def _texts():
    return [
        pytest.param(folder, name, id=f"{folder.name}-{name}")
        for folder, name in golden.subcases("otter", "")
        if golden.meta(folder).get("subcases", {}).get(name, {}).get("texts")
    ]


@pytest.mark.parametrize(("folder", "name"), _texts())
def test_golden_texts_have_the_published_tokens(folder, name):
    processor = OtterProcessor(AutoTokenizer.from_pretrained(folder / "tokenizer"), 8)
    ids_BT = load_file(folder / f"{name}.safetensors")["in.lang_x"]
    mask_BT = load_file(folder / f"{name}.safetensors")["in.attention_mask"].bool()

    for text, ids_T, mask_T in zip(
        golden.meta(folder)["subcases"][name]["texts"], ids_BT, mask_BT, strict=True
    ):
        blank = [Image.new("RGB", (4, 4))] * text.count("<image>")
        wanted = ids_T[mask_T].tolist()
        # Taught texts have a beginning, and those of the demos have none.
        begins = wanted[0] == processor.tokenizer.bos_token_id
        inputs = processor(text=text, images=blank, add_special_tokens=begins)
        found = inputs["input_ids"][0].tolist()
        # Where it was taught, an end-of-text follows.
        assert found == wanted[: len(found)]
        assert wanted[len(found) :] in ([], [processor.tokenizer.eos_token_id])
        laid, _ = processor.conversation(_turns(text))
        if text.startswith(("<image>", "User:")):
            assert laid[not begins :] == found


def _turns(text):
    """Take a text of the published layout apart."""
    turns = []
    for part in text.split("<|endofchunk|>"):
        question, _, answer = part.partition(" GPT:<answer>")
        if question:
            shown = [Image.new("RGB", (4, 4))] * question.count("<image>")
            turns.append(Turn(question.replace("<image>", "").removeprefix("User:"), answer, shown))
    if not text.endswith("<|endofchunk|>"):
        turns[-1] = Turn(turns[-1].question, None, turns[-1].media)
    return turns


@pytest.mark.parametrize("folder", golden.folders("otter"), ids=golden.label)
def test_golden_special_tokens_get_the_published_ids(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer_base")
    OtterProcessor.add_special_tokens(tokenizer)
    processor = OtterProcessor(tokenizer)

    wanted = golden.meta(folder)["token_ids"]
    assert [processor.answer_id, processor.end_id, processor.image_id, processor.pad_id] == [
        wanted[name] for name in ("answer", "endofchunk", "image", "pad")
    ]


@pytest.mark.parametrize("folder", golden.folders("text"), ids=golden.label)
def test_golden_pictures_are_prepared_as_for_teaching(folder):
    transformed = {
        name.removeprefix("image_transform."): pixels
        for name, pixels in load_file(folder / "collate.safetensors").items()
        if name.startswith("image_transform.")
    }
    encoded = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["images"]
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer_neox")
    assert transformed

    for name, wanted in transformed.items():
        processor = OtterProcessor(
            tokenizer, wanted.shape[-1], image_mean=ROUNDED_MEAN, image_std=ROUNDED_STD
        )
        found = processor.pixels(Image.open(io.BytesIO(base64.urlsafe_b64decode(encoded[name]))))
        torch.testing.assert_close(found, wanted, **golden.TOLERANCE)


@pytest.mark.parametrize("folder", golden.folders("text"), ids=golden.label)
def test_golden_records_are_laid_out_as_for_teaching(folder):
    """Of records without marks in their text, where the published code and ours differ on purpose."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer_neox")
    processor = OtterProcessor(tokenizer)
    marks = [str(token) for token in tokenizer.all_special_tokens]
    compared = 0
    for case in json.loads((folder / "process_general.json").read_text(encoding="utf-8")):
        if case["format"] != "simple" or case["with_task_description"]:
            continue
        for row in case["rows"]:
            text = row["full_text"]
            turns = _turns(text)
            if len(row["ids"]) >= case["max_seq_len"] or _is_odd(text, turns, marks):
                continue
            laid, media = processor.conversation(turns)
            assert [*laid, tokenizer.eos_token_id] == row["ids"]
            assert len(media) == text.count("<image>")
            compared += 1
    assert compared


def _is_odd(text, turns, marks):
    """Say whether a text has marks of its own, or spaces at edges that the published code kept."""
    said = [part for turn in turns for part in (turn.question, turn.answer)]
    return (
        any(mark in part for mark in marks for part in said)
        or any(part != part.strip() for part in said)
        or text.count("User:") != len(turns)
        or text.count("<answer>") != len(turns)
        or any(len(turn.media) > 1 for turn in turns)
    )


@pytest.mark.parametrize("folder", golden.folders("text"), ids=golden.label)
def test_golden_frames_are_taken_evenly(folder):
    cases = json.loads((folder / "resample.json").read_text(encoding="utf-8"))["resample_frames"]

    assert cases
    for case in cases:
        assert evenly(case["n"], case["resample_frames"]) == case["output_indices"]
