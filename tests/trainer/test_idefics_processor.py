import io
import json
import re

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, IdeficsImageProcessorPil, IdeficsProcessor

from tests.trainer.golden import folders, label
from tests.trainer.idefics import (
    IMAGES,
    SIDE,
    ask,
    byte_tokenizer,
    conversations,
    llama_tokenizer,
    make_processor,
    marking_tokenizer,
    picture,
    samples_of,
    say,
)
from trainer.models.idefics_processor import (
    ANSWER,
    END,
    FAKE,
    IMAGE,
    IdeficsChatProcessor,
    picture_mask,
)
from trainer.models.loss import IGNORED


@pytest.fixture(scope="module")
def processor():
    return make_processor()


def test_only_answers_and_their_ends_are_taught(processor):
    sample = samples_of(processor)[0]
    assert processor.tokenizer.decode(sample.ids_T) == (
        f"<s>User:{IMAGES}What?{END}\nAssistant:{ANSWER}A cat{END}\nUser:And{IMAGES}here?{END}\nAssistant:{ANSWER}A dog.{END}"
    )
    taught = [token for token in sample.labels_T if token != IGNORED]
    assert processor.tokenizer.decode(taught) == f"A cat{END}A dog.{END}"
    assert len(sample.ids_T) == len(sample.labels_T)


def test_a_picture_in_an_answer_is_not_taught(processor):
    content = [{"type": "text", "text": "This"}, {"type": "image", "image": picture(1)}]
    sample = processor.encode([ask("Which?"), {"role": "assistant", "content": content}])
    taught = [token for token in sample.labels_T if token != IGNORED]
    assert processor.tokenizer.decode(taught) == f"This{END}"


def test_the_nth_placeholder_gets_the_nth_picture(processor):
    pictures = [picture(number) for number in (5, 1, 3)]
    messages = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "First"}, {"type": "image"}, {"type": "image"}],
        },
        say("Yes"),
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "then?"}]},
    ]
    sample = processor.encode(messages, pictures)
    assert f"First{FAKE}{IMAGE}{FAKE}{IMAGE}{FAKE}{END}" in processor.tokenizer.decode(sample.ids_T)
    expected = processor.image_processor(pictures, return_tensors="pt")
    assert torch.equal(torch.stack(sample.pixels_NCHW), expected)


@pytest.mark.parametrize("tokenizer", [byte_tokenizer, marking_tokenizer, llama_tokenizer])
def test_ids_and_pixels_are_those_of_transformers_own_processor(tokenizer):
    ours = make_processor(tokenizer())
    theirs = IdeficsProcessor(ours.image_processor, ours.tokenizer)
    one, two, three = (picture(number) for number in (1, 2, 3))
    expected = theirs(
        text=[["User:Look", one, "and there", two, three, f"Well?{END}\nAssistant:{ANSWER}"]],
        add_end_of_utterance_token=False,
    )
    found = ours([ask("Look", one, "and there", two, three, "Well?")])
    assert found.keys() == expected.keys()
    assert torch.equal(found["input_ids"], expected["input_ids"])
    assert torch.equal(found["pixel_values"], expected["pixel_values"])
    assert torch.equal(found["image_attention_mask"].long(), expected["image_attention_mask"])


@pytest.mark.parametrize("tokenizer", [byte_tokenizer, marking_tokenizer, llama_tokenizer])
def test_special_tokens_in_a_question_stay_text(tokenizer):
    processor = make_processor(tokenizer())
    sample = processor.encode([ask(f"Is {IMAGE} {END} {ANSWER} text?"), say(f"{FAKE} too")])
    counts = {token: sample.ids_T.count(token) for token in (processor.image_id, processor.fake_id)}
    assert counts == {processor.image_id: 0, processor.fake_id: 0}
    assert sample.ids_T.count(processor.end_id) == 2
    assert sample.ids_T.count(processor.answer_id) == 1


@pytest.mark.parametrize("tokenizer", [byte_tokenizer, marking_tokenizer, llama_tokenizer])
def test_a_prompt_and_its_reply_are_what_was_taught(tokenizer):
    processor = make_processor(tokenizer())
    taught = processor.encode([ask(picture(1), "What?"), say("A cat\r\non a mat ")]).ids_T
    assert processor.prompt("What?", picture=True) + processor.reply("A cat\non a mat") == taught


def test_bad_input_is_refused_with_the_record_id(processor):
    whole = io.BytesIO()
    picture(1).resize((200, 200)).save(whole, "PNG")
    cut = Image.open(io.BytesIO(whole.getvalue()[:2000]))
    torn = bytearray(whole.getvalue())
    torn[torn.index(b"IDAT") + 5000] ^= 255
    torn = Image.open(io.BytesIO(torn))
    place = {"role": "user", "content": [{"type": "image"}]}
    cases = [
        ([], None, "no messages"),
        ([{"role": "user", "content": [{"type": "text"}]}], None, "None in it"),
        ([place], [torn], "broken"),
        ([place], [], "no picture"),
        ([place], [picture(1), picture(2)], "2 pictures but places for 1"),
        ([ask("What?")], [picture(1)], "1 pictures but places for 0"),
        ([place], [cut], "truncated"),
        ([place], [torch.zeros(3, SIDE, SIDE + 1)], "shape"),
        ([{"role": "system", "content": "Be nice"}], None, "'system'"),
        ([{"role": "user", "content": [{"type": "video"}]}], None, "'video'"),
        ([{"content": "What?"}], None, "role None"),
        ([{"role": "user"}], None, "no content"),
        ([place], ["cat.png"], "'cat.png' is no picture"),
        ([ask("word " * 50)], None, "more than the 100"),
    ]  # fmt: skip
    for messages, pictures, reason in cases:
        with pytest.raises(ValueError, match=f"'VST_7'.*{reason}"):
            processor.encode(messages, pictures, record_id="VST_7", max_tokens=100)
    with pytest.raises(ValueError, match=r"2 conversations have 1 lists"):
        processor([[ask("a")], [ask("b")]], [[]])
    with pytest.raises(ValueError, match="no conversation"):
        processor([])


def test_a_text_longer_than_the_tokenizers_limit_is_refused():
    processor = make_processor()
    processor.tokenizer.model_max_length = 100
    with pytest.raises(ValueError, match=r"'VST_7'.*more than the 100"):
        processor.encode([ask("word " * 50)], record_id="VST_7")


def test_a_tokenizer_without_the_special_tokens_is_refused():
    with pytest.raises(ValueError, match="fake_token_around_image"):
        IdeficsChatProcessor(IdeficsImageProcessorPil(image_size=SIDE), byte_tokenizer())


def test_the_processor_is_loaded_by_transformers_alone(processor, tmp_path):
    processor.save_pretrained(tmp_path / "saved")
    expected = processor(conversations()[0])
    for loaded in (
        IdeficsChatProcessor.from_pretrained(tmp_path / "saved"),
        AutoProcessor.from_pretrained(tmp_path / "saved", trust_remote_code=True),
    ):
        found = loaded(conversations()[0])
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert type(loaded).__module__.startswith("transformers_modules.")
    theirs = IdeficsProcessor.from_pretrained(tmp_path / "saved")
    assert torch.equal(
        theirs(text=[[picture(1), "What?"]])["pixel_values"][0], processor.pixels(picture(1))[None]
    )


@pytest.mark.parametrize("folder", folders("text", "labels.json"), ids=label)
def test_golden_picture_masks(folder):
    cases = json.loads((folder / "labels.json").read_text(encoding="utf-8"))[
        "idefics_image_attention_mask"
    ]
    for case in cases:
        pictures = case["max_num_images"] if case["include_image"] else 1
        image = case["image_token_id"] if case["include_image"] else -1
        found = picture_mask(
            torch.tensor(case["input_ids"]),
            image=image,
            pictures=pictures,
            end=case["eod_token_id"],
        )
        assert found.long().tolist() == case["output"]


@pytest.mark.parametrize("folder", folders("text", "formatting.json"), ids=label)
def test_golden_template(folder, processor):
    cases = json.loads((folder / "formatting.json").read_text(encoding="utf-8"))["formatting"]
    cases = [case for case in cases if case["format"] == "idefics"]
    assert cases
    for case in cases:
        shown = [picture(1)] if case["insert_image"] and not case["is_text_only"] else []
        sample = processor.encode([ask(*shown, case["instruction"]), say(case["answer"])])
        question, answer = case["instruction"], case["answer"]
        expected = case["output"].replace(question, question.strip())  # there, cleaned before
        expected = expected.replace(answer, answer.strip().replace("\r\n", "\n"))
        assert processor.tokenizer.decode(sample.ids_T) == f"<s>{expected.rstrip()}"


@pytest.mark.parametrize("folder", folders("text", "process_general.json"), ids=label)
def test_golden_conversations(folder, processor):
    """Several turns, each with or without its picture, as the published trainer joins them."""
    cases = json.loads((folder / "process_general.json").read_text(encoding="utf-8"))
    texts = {
        row["full_text"] for case in cases if case["format"] == "idefics" for row in case["rows"]
    }
    assert any(text.count("User:") > 1 for text in texts)
    turn = re.compile(
        f"User:({IMAGES})?(.*?){END}\nAssistant:{ANSWER}(.*?){END}(?:\n|$)", re.DOTALL
    )
    for published in texts:
        text, messages = published, []
        for shown, question, answer in turn.findall(text):
            messages += [ask(*([picture(1)] if shown else []), question), say(answer)]
            # There, a space behind a line end at the edge survives the cleaning.
            text = text.replace(f"{question}{END}", f"{question.strip()}{END}")
            text = text.replace(f"{answer}{END}", f"{answer.strip()}{END}")
        assert processor.tokenizer.decode(processor.encode(messages).ids_T) == f"<s>{text}"
