"""What the Otter processor makes of texts, pictures and conversations."""

import io
import json
import re
import subprocess
import sys
import sysconfig
import textwrap
from functools import cache
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import AutoTokenizer, CLIPImageProcessorPil  # noqa: E402

from trainer.models.otter_processor import (  # noqa: E402
    ROUNDED_MEAN,
    ROUNDED_STD,
    OtterProcessor,
    Turn,
)

SIDE = 8
OURS = Path(__file__).parent.parent / "fixtures" / "golden" / "otter_mpt"


def picture(seed, size=(12, 9), mode="RGB"):
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], len(mode)), np.uint8)
    return Image.fromarray(values)


def make(folder=OURS, **settings):
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    return OtterProcessor(tokenizer, **{"image_size": SIDE} | settings)


make_once = cache(make)


@pytest.fixture(scope="module")
def processor():
    return make_once()


def read(processor, ids):
    return processor.tokenizer.decode(ids)


# Conversations


def test_a_conversation_is_the_published_layout_with_media_where_they_are_shown(processor):
    ids, media = processor.conversation(
        [
            Turn("What ?", "A cat.", media=[picture(1)]),
            Turn("And now?", "A dog.", media=[[picture(2), picture(3)]]),
            Turn(" Why? "),
        ]
    )

    assert read(processor, ids) == (
        "<|endoftext|><image>User:What ? GPT:<answer>A cat.<|endofchunk|>"
        "<image>User:And now? GPT:<answer>A dog.<|endofchunk|>User:Why? GPT:<answer>"
    )
    assert [isinstance(medium, list) for medium in media] == [False, True]


def test_one_turn_is_the_prompt_and_the_reply(processor):
    ids, _ = processor.conversation([Turn("What?", "A cat.", media=[picture(1)])])

    assert ids == processor.prompt("What?", picture=True) + processor.reply("A cat.")


def test_marks_that_people_write_stay_text_in_a_conversation(processor):
    ids, _ = processor.conversation([Turn("say <image>", "<|endofchunk|><answer>"), Turn("<PAD>")])

    assert [ids.count(token) for token in (processor.image_id, processor.end_id)] == [0, 1]
    assert ids.count(processor.answer_id) == 2
    assert processor.pad_id not in ids


@settings(deadline=None, derandomize=True)
@given(question=st.text(max_size=40), answer=st.text(max_size=40))
def test_whatever_people_write_is_text_and_comes_back(question, answer):
    processor = make_once()

    ids, _ = processor.conversation([Turn(question, answer, [picture(1)]), Turn(question)])

    special = processor.tokenizer.all_special_ids
    assert [token for token in ids if token in special] == [
        processor.tokenizer.bos_token_id,
        processor.image_id,
        processor.answer_id,
        processor.end_id,
        processor.answer_id,
    ]
    assert processor.answer(ids[: ids.index(processor.end_id) + 1]) == _plain(answer)


def _plain(text):
    return text.strip().replace("\r\n", "\n")


def test_a_template_given_as_text_has_tokens_for_its_marks(processor):
    text = "<image>User:What? GPT:<answer>"

    inputs = processor(text=text, images=picture(1))

    assert inputs["input_ids"].tolist() == [processor.prompt("What?", picture=True)]


def test_only_the_last_turn_may_be_without_an_answer(processor):
    with pytest.raises(ValueError, match="turn 1 of 2 has no answer"):
        processor.conversation([Turn("What?"), Turn("Why?", "So.")])
    with pytest.raises(ValueError, match="needs a question"):
        processor.conversation([])


def test_openflamingo_captions_need_no_answer_token():
    tokenizer = AutoTokenizer.from_pretrained(OURS / "tokenizer_base")
    OtterProcessor.add_special_tokens(tokenizer, layout="flamingo")
    processor = OtterProcessor(tokenizer, SIDE, layout="flamingo", geometry="crop")

    ids, media = processor.conversation(
        [
            Turn("Output:", "the cat", media=[picture(1)]),
            Turn("Output:", media=[picture(2)]),
        ]
    )

    assert read(processor, ids) == "<|endoftext|><image>Output:the cat<|endofchunk|><image>Output:"
    assert not hasattr(processor, "answer_id")
    assert "<answer>" not in tokenizer.get_vocab()
    assert processor(text=ids, images=media)["pixel_values"].shape == (1, 2, 1, 3, SIDE, SIDE)
    assert processor.answer([*processor.reply("a dog"), 5, 6]) == "a dog"


def test_a_tokenizer_without_the_special_tokens_is_refused():
    tokenizer = AutoTokenizer.from_pretrained(OURS / "tokenizer_base")

    with pytest.raises(ValueError, match=r"lacks '<\|endofchunk\|>'; call OtterProcessor.add_sp"):
        OtterProcessor(tokenizer)


def test_messages_in_the_form_of_transformers_are_a_conversation(processor):
    shown = {"type": "image", "image": picture(1)}
    messages = [
        {"role": "user", "content": [shown, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "A <answer>."},
        {"role": "user", "content": "Why?"},
    ]
    ids, media = processor.conversation([Turn("What?", "A <answer>.", [picture(1)]), Turn("Why?")])

    inputs = processor.apply_chat_template(messages, tokenize=True, return_dict=True)

    assert inputs["input_ids"].tolist() == [ids]
    assert torch.equal(inputs["pixel_values"], processor(text=ids, images=media)["pixel_values"])
    assert processor.apply_chat_template(messages) == read(processor, ids)


def test_two_users_in_a_row_are_refused(processor):
    with pytest.raises(ValueError, match="message 1 is of the 'user'"):
        processor.apply_chat_template([{"role": "user", "content": "a"}] * 2)


def test_a_message_with_an_address_instead_of_a_picture_is_refused(processor):
    shown = {"type": "image", "url": "https://example.org/cat.png"}

    with pytest.raises(ValueError, match="message 0 shows something that is not a picture in mem"):
        processor.apply_chat_template([{"role": "user", "content": [shown]}])


# Batches


def test_texts_with_different_media_and_frames_make_one_batch(processor):
    clip = [picture(number) for number in range(3)]
    texts = [
        "<image>User:a GPT:<answer>",
        "<image>User:b GPT:<answer>c<|endofchunk|><image>User:d GPT:<answer>",
        "User:e GPT:<answer>",
    ]

    inputs = processor(text=texts, images=[[picture(7)], [picture(8), clip], None])

    assert inputs["pixel_values"].shape == (3, 2, 3, 3, SIDE, SIDE)
    assert inputs["frame_mask"].tolist() == [
        [[True, False, False], [False] * 3],
        [[True, False, False], [True] * 3],
        [[False] * 3] * 2,
    ]
    assert torch.equal(inputs["pixel_values"][1, 1, 2], processor.pixels(clip[2]))
    assert not inputs["pixel_values"][2].any()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_stands_where_it_is_asked_for(processor, side):
    inputs = processor(text=["User:a GPT:<answer>", "a"], padding_side=side)

    short, mask = inputs["input_ids"][1].tolist(), inputs["attention_mask"][1].tolist()
    tokens = processor(text="a")["input_ids"][0].tolist()
    pads = [processor.pad_id] * (len(short) - len(tokens))
    assert short == (pads + tokens if side == "left" else tokens + pads)
    assert [token for token, real in zip(short, mask, strict=True) if real] == tokens
    assert "pixel_values" not in inputs


def test_a_batch_in_which_each_text_has_one_picture_has_no_frame_mask(processor):
    inputs = processor(text=["<image>a", "<image>b"], images=[picture(1), picture(2)])

    assert set(inputs) == {"input_ids", "attention_mask", "pixel_values"}


def test_as_many_tokens_as_asked_for(processor):
    assert processor(text="a", padding="max_length", max_length=9)["input_ids"].shape == (1, 9)
    with pytest.raises(ValueError, match="fit no tensor without padding"):
        processor(text=["a", "a a a"], padding=False)


@pytest.mark.parametrize(
    ("text", "images", "sentence"),
    [
        ("<image>a", [], "record 'R1' has 1 <image> but 0 media"),
        ("a", [picture(1)], "record 'R1' has 0 <image> but 1 media"),
        (["<image><image>a"], [[picture(1)]], "record 'R1' has 2 <image> but 1 media"),
        (["<image>a"], [[[]]], "a medium of record 'R1' has no frames"),
        (["<image>a"], [["cat.png"]], "record 'R1' cannot be read: a picture is a PIL.Image, not"),
        (["a", "b"], [[]], "there are 2 texts, but media for 1"),
        ([], None, "there is no text"),
        (None, [picture(1)], "there is no text"),
    ],
)
def test_media_that_do_not_match_are_refused_by_the_record(processor, text, images, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        processor(text=text, images=images, record_ids=["R1"])


def test_a_picture_that_breaks_off_is_refused_by_the_record(processor):
    whole = io.BytesIO()
    picture(1, (64, 64)).save(whole, format="PNG")
    broken = Image.open(io.BytesIO(whole.getvalue()[:4000]))

    with pytest.raises(ValueError, match="a picture of record 'R1' cannot be read"):
        processor(text="<image>a", images=[broken], record_ids=["R1"])


def test_a_text_longer_than_the_model_reads_is_refused_with_both_numbers(processor):
    with pytest.raises(ValueError, match="text 1 has 31 tokens, but the model reads 20"):
        processor(text=["a", [5] * 31], max_length=20)
    with pytest.raises(ValueError, match="has 3,000 tokens, but the model reads 2,048"):
        processor(text=[[5] * 3000])


def test_more_frames_than_the_model_takes_are_refused_or_taken_evenly_as_asked():
    processor = make(max_frames=3)
    clip = [picture(number) for number in range(8)]

    with pytest.raises(ValueError, match="has 8 frames, but the model takes 3"):
        processor(text="<image>a", images=[clip])

    taken = processor(text="<image>a", images=[clip], frames="resample")["pixel_values"][0, 0]
    assert torch.equal(taken, torch.stack([processor.pixels(clip[i]) for i in (0, 3, 7)]))


# Answers


def test_an_answer_stands_after_the_last_mark_and_before_the_end(processor):
    ids, _ = processor.conversation([Turn("a?", "one"), Turn("b?")])
    written = ids + processor.reply("two <answer>") + [processor.pad_id] * 3

    assert processor.answer(torch.tensor(written)) == "two <answer>"
    assert processor.post_process_image_text_to_text(torch.tensor([written])) == ["two <answer>"]
    assert processor.answer(processor.reply("alone")) == "alone"


# Pictures


def test_cropping_gives_what_transformers_clip_gives():
    processor = make(geometry="crop", image_size=14)
    published = CLIPImageProcessorPil(
        size={"shortest_edge": 14}, crop_size={"height": 14, "width": 14}
    )

    for seed, size in enumerate([(40, 30), (30, 41), (14, 14), (9, 29), (15, 14)]):
        wanted = published(picture(seed, size), return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close(processor.pixels(picture(seed, size)), wanted)


def test_squashing_keeps_the_edges_and_cropping_does_not():
    wide = Image.new("RGB", (90, 30))
    wide.paste("white", (0, 0, 20, 30))

    squashed, cropped = (make(geometry=name).resized(wide) for name in ("squash", "crop"))

    assert squashed.max() == 255
    assert cropped.max() == 0


def test_pictures_of_any_kind_become_rgb_upright_on_white(processor):
    clear = Image.new("RGBA", (5, 5), (9, 9, 9, 0))
    deep = Image.fromarray(np.full((5, 5), 0x8000, np.uint16))
    turned = Image.new("RGB", (20, 10))
    turned.paste("white", (0, 0, 10, 10))
    turned.getexif()[0x0112] = 6  # lies on its side: a quarter to the right

    assert processor.resized(clear).min() == 255
    assert processor.resized(deep).unique().tolist() == [128]
    upright = processor.resized(turned)
    assert upright[:, 0].min() == 255
    assert upright[:, -1].max() == 0


def test_an_unknown_setting_is_refused_by_name():
    with pytest.raises(ValueError, match="geometry is 'squash' or 'crop', not 'fit'"):
        make(geometry="fit")


# Folders


def test_a_saved_processor_has_all_its_settings(tmp_path):
    saved = make(geometry="crop", max_frames=5, image_mean=ROUNDED_MEAN, image_std=ROUNDED_STD)
    saved.save_pretrained(tmp_path)

    loaded = OtterProcessor.from_pretrained(tmp_path)

    assert loaded.to_dict().items() <= saved.to_dict().items()
    assert loaded.max_frames == 5
    assert torch.equal(loaded.pixels(picture(1)), saved.pixels(picture(1)))


def test_a_processor_saved_before_there_were_settings_still_loads(tmp_path):
    make().tokenizer.save_pretrained(tmp_path)
    settings = {"processor_class": "OtterProcessor", "image_size": 8}
    (tmp_path / "processor_config.json").write_text(json.dumps(settings))

    assert OtterProcessor.from_pretrained(tmp_path).image_size == 8


def test_a_folder_loads_with_transformers_alone(tmp_path):
    processor = make(max_frames=2)
    processor.save_pretrained(tmp_path / "saved")
    picture(3).save(tmp_path / "picture.png")
    script = textwrap.dedent(
        """
        import importlib.util, json, sys
        sys.path.append(sys.argv[1])
        assert importlib.util.find_spec("trainer") is None
        from PIL import Image
        from transformers import AutoProcessor
        processor = AutoProcessor.from_pretrained("saved", trust_remote_code=True)
        shown = {"type": "image", "image": Image.open("picture.png")}
        said = {"type": "text", "text": "What <answer>?"}
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": [shown, said]}], tokenize=True, return_dict=True
        )
        processor.save_pretrained("again")
        print(json.dumps([inputs["input_ids"].tolist(), inputs["pixel_values"].sum().item()]))
        """
    )

    ran = subprocess.run(
        # Without site: the packages, but nothing that is installed for editing.
        [sys.executable, "-I", "-S", "-c", script, sysconfig.get_path("purelib")],
        cwd=tmp_path,
        env={"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    ids, total = json.loads(ran.stdout.splitlines()[-1])
    assert ids == [processor.prompt("What <answer>?", picture=True)]
    assert total == pytest.approx(processor.pixels(picture(3)).sum().item(), rel=1e-4)
    copied = {path.name for path in (tmp_path / "again").glob("*.py")}
    assert copied == {"otter_processor.py", "pictures.py", "turns.py"}


def test_the_middle_of_a_strip_is_taken_without_making_it_as_long_as_it_would_be():
    """Enlarged as a whole this one would have six billion pixels."""
    crop = make(geometry="crop", image_size=28)
    strip = Image.new("L", (8_000_000, 1), 0)
    strip.paste(255, (3_999_000, 0, 4_001_000, 1))

    assert crop.resized(strip).unique().tolist() == [255]


@pytest.mark.parametrize("tokens", [torch.tensor([5, 6]), torch.tensor([5, 6]).numpy(), (5, 6)])
def test_tokens_come_in_any_kind_of_list(processor, tokens):
    assert processor(text=tokens)["input_ids"].tolist() == [[5, 6]]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ({"text": "<image>a", "images": "cat.png"}, "images are PIL.Image, in lists, not str"),
        ({"text": "<image>a", "images": torch.zeros(3, 2, 2)}, "in lists, not Tensor"),
        ({"text": "a", "padding": "longst"}, "not 'longst'"),
    ],
)
def test_a_call_that_means_nothing_is_refused(processor, call, sentence):
    with pytest.raises(ValueError, match=sentence):
        processor(**call)


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([], "needs a question"),
        ([{"content": "x"}], "message 0 is of the None"),
        ([{"role": "user", "content": None}], "the content of message 0 is no text"),
        ([{"role": "user", "content": [5]}], "the content of message 0 is no text"),
    ],
)
def test_messages_of_another_form_are_refused(processor, messages, sentence):
    with pytest.raises(ValueError, match=sentence):
        processor.apply_chat_template(messages, tokenize=True)
