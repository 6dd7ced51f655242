"""Fuyu's pictures, texts and labels: what becomes which token."""

import io
import json
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from tests.trainer.fuyu import (  # noqa: E402
    ANSWER,
    END,
    PATCH,
    ROW_END,
    START,
    TOKENIZER,
    noise,
    processor_of,
    samples_of,
)
from trainer.models.fuyu_batch import IGNORED, Sample  # noqa: E402
from trainer.models.fuyu_pictures import SIDES, drawn_side, fitted  # noqa: E402
from trainer.models.fuyu_processor import FuyuProcessor, placed  # noqa: E402


@pytest.fixture(scope="module")
def processor():
    return processor_of()


@pytest.fixture(scope="module")
def samples(processor):
    return samples_of(processor)


# Pictures


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((3000, 4000), {"size": None, "max_pixels": None}, (3000, 4000)),
        ((30, 20), {"size": (1080, 1920), "max_pixels": None}, (30, 20)),
        ((2160, 1920), {"size": (1080, 1920), "max_pixels": None}, (1080, 960)),
        ((400, 100), {"size": None, "max_pixels": 10_000}, (200, 50)),
        ((1, 5000), {"size": (100, 100), "max_pixels": None}, (1, 100)),
    ],
)
def test_a_picture_keeps_its_size_or_else_its_aspect(size, limits, expected):
    assert fitted(*size, **limits) == expected


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK"])
def test_a_picture_of_any_mode_is_padded_to_whole_patches_only(processor, mode):
    shown = processor.cut(noise(9, 6).convert(mode))

    assert (shown.rows, shown.columns) == (2, 3)
    assert shown.bytes_PC.shape == (6, 4 * 4 * 3)
    last = shown.bytes_PC[-1].view(4, 4, 3)
    assert (last[2:] == 1).all()
    assert (last[:, 1:] == 1).all()


def test_a_patch_is_rows_then_columns_then_colours(processor):
    picture = noise(8, 4)

    first, second = processor.cut(picture).bytes_PC

    whole = torch.stack((first, second)).view(2, 4, 4, 3)
    for x, y in ((0, 0), (3, 2), (5, 1)):
        assert whole[x // 4, y, x % 4].tolist() == list(picture.getpixel((x, y)))


def test_max_pixels_of_one_call_limits_that_picture(processor):
    assert processor.cut(noise(40, 40), max_pixels=64).columns == 2
    assert processor.cut(noise(40, 40)).columns == 10


@pytest.mark.parametrize("size", [(60, 90), (200, 100), (13, 400), (700, 500)])
@pytest.mark.parametrize("side", [100, 448])
def test_a_side_gives_pictures_of_all_sizes_one_area_and_keeps_their_aspect(size, side):
    height, width = fitted(*size, min_pixels=side**2, max_pixels=side**2)

    assert height * width <= side**2
    assert (height + 1) * (width + 1) > side**2
    assert abs(height * size[1] - width * size[0]) <= max(size)


def test_a_square_becomes_just_that_side():
    found = {fitted(n, n, min_pixels=768**2, max_pixels=768**2) for n in range(30, 1500, 7)}

    assert found == {(768, 768)}


def test_where_limits_contradict_each_other_the_smaller_picture_is_right():
    assert fitted(10, 10, min_pixels=400, max_pixels=49) == (7, 7)
    assert fitted(10, 20, min_pixels=20_000, size=(50, 50)) == (25, 50)


def test_a_sample_is_shown_at_its_side_within_the_limits_of_the_processor():
    turns = [([noise(9, 6), "what"], "red"), ([noise(40, 20), "how"], "a")]

    small = processor_of().sample(turns, side=8)
    large = processor_of().sample(turns, side=16)
    limited = processor_of(max_pixels=64).sample(turns, side=16)

    assert [len(one.patches_PC) for one in (small, large, limited)] == [6 + 6, 20 + 18, 6 + 6]
    assert limited.ids_T.tolist() == small.ids_T.tolist()


def test_a_prompt_is_shown_at_its_side_as_a_sample_is(processor):
    pictures = [noise(9, 6), noise(30, 10)]

    batch = processor(images=[pictures], text=["what"], side=12)

    patches = sum(len(processor.cut(one, side=12).bytes_PC) for one in pictures)
    assert batch["pixel_values"].shape == (patches, 48)
    assert len(processor.prompt([*pictures, "what"], side=12).patches_PC) == patches


def test_sides_are_drawn_anew_in_each_epoch_and_the_same_in_each_process():
    drawn = [
        [drawn_side(SIDES, seed=1, epoch=epoch, index=index) for index in range(300)]
        for epoch in range(3)
    ]
    program = (
        "from trainer.models.fuyu_pictures import *;"
        "print([drawn_side(SIDES, seed=1, epoch=2, index=n) for n in range(300)])"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert str(drawn[2]) == elsewhere.stdout.strip()
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]
    assert [drawn_side(SIDES, seed=2, epoch=0, index=index) for index in range(300)] != drawn[0]
    for sides in drawn:
        assert all(70 < sides.count(side) < 130 for side in SIDES)


@pytest.mark.parametrize("sides", [[], [448, 0]])
def test_sides_that_are_none_are_refused(sides):
    with pytest.raises(ValueError, match="give at least one, in pixels"):
        drawn_side(sides, seed=0, epoch=0, index=0)


def test_an_array_of_bytes_is_the_picture_it_came_from(processor):
    picture = noise(9, 6)

    assert torch.equal(processor.cut(np.array(picture)).bytes_PC, processor.cut(picture).bytes_PC)


@pytest.mark.parametrize(
    "picture",
    [
        np.random.default_rng(0).random((6, 9, 3)),
        np.zeros((3, 6, 9), dtype=np.uint8),
        np.zeros((2, 6, 9, 3), dtype=np.uint8),
        torch.zeros(3, 6, 9),
        b"GIF89a",
    ],
    ids=["0 to 1", "colours first", "frames", "tensor", "file"],
)
def test_what_would_be_another_picture_than_meant_is_refused(processor, picture):
    with pytest.raises(ValueError, match="an array of bytes"):
        processor.sample([([picture, "what"], "red")])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_damaged_picture_is_refused_with_its_record(processor, kind):
    file = io.BytesIO()
    noise(40, 40).save(file, format=kind)
    whole = file.getvalue()
    damaged = Image.open(io.BytesIO(whole[: len(whole) // 2]))

    with pytest.raises(
        ValueError, match=r"record 'A_1' cannot be encoded: a picture cannot be read"
    ):
        processor.sample([([damaged, "what"], "red")], record_id="A_1")


# Texts and labels


def test_of_many_turns_every_answer_and_an_end_is_taught_and_no_question(processor):
    turns = [(f"what is in {n}", f"red ball {n}") for n in range(4)]

    sample = processor.sample(turns)

    taught = [int(token) for token in sample.labels_T if token != IGNORED]
    expected = []
    for _, answer in turns:
        whole = processor.text_ids(f"\x04 {answer}")
        expected += [*whole[whole.index(ANSWER) + 1 :], END]
    assert taught == expected
    assert torch.equal(
        sample.ids_T[sample.labels_T != IGNORED], sample.labels_T[sample.labels_T != IGNORED]
    )
    assert (sample.ids_T == ANSWER).sum() == len(turns)
    assert sample.labels_T[sample.ids_T == ANSWER].tolist() == [IGNORED] * len(turns)


def test_pictures_stand_where_they_are_meant_and_each_ends_with_a_start(processor):
    two, one = noise(8, 8), noise(4, 4)

    sample = processor.sample([([two, one, "red", one, "cat"], "a"), ([one, "how"], "in")])

    marks = {PATCH: "p", ROW_END: "n", START: "s", ANSWER: "a", END: "e"}
    layout = "".join(marks.get(int(token), ".") for token in sample.ids_T)
    squeezed = "".join(c for n, c in enumerate(layout) if c != "." or layout[n - 1] != ".")
    assert squeezed == "ppnppns" + "pns" + "." + "pns" + ".a.e" + "pns" + ".a.e"
    assert (sample.ids_T[sample.positions_P] == PATCH).all()
    assert len(sample.patches_PC) == 4 + 1 + 1 + 1


def test_a_text_without_a_picture_begins_with_a_start(processor):
    sample = processor.sample([("how many", "red")])

    assert sample.ids_T[0] == START
    assert len(sample.patches_PC) == 0


def test_a_prompt_is_its_sample_without_the_answer(processor):
    picture = noise(9, 6)
    whole = processor.sample([([picture, "what"], "red"), ("how many", "a")])

    prompt = processor.sample([([picture, "what"], "red"), ("how many", None)])

    assert prompt.ids_T[-1] == ANSWER
    assert torch.equal(prompt.ids_T, whole.ids_T[: len(prompt)])


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "no turn"),
        ([("a", None), ("b", "c")], "turn 1 of 2 has no answer"),
        ([("a\x04b", "c")], "an answer begins"),
        ([("a", "c<0x04>")], "an answer begins"),
        ([("|SPEAKER|", "c")], "token of the layout"),
        ([("a", "|ENDOFTEXT| b")], "token of the layout"),
        ([("<box>1, 2, 3, 9000000</box>", "c")], "no token '4500000'"),
    ],
)
def test_texts_that_would_change_the_layout_are_refused(processor, turns, message):
    with pytest.raises(ValueError, match=message):
        processor.sample(turns)


def test_a_sample_longer_than_the_context_is_refused(processor):
    with pytest.raises(ValueError, match=r"\(100 of them patches\) are more than 90"):
        processor.sample([([noise(40, 40), "what"], "red")], max_tokens=90)


def test_boxes_are_about_the_picture_before_them_and_come_back(processor):
    small = FuyuProcessor(processor.tokenizer, patch_size=4, size={"height": 20, "width": 20})
    box = "<box>8, 16, 24, 32</box>"

    sample = small.sample([([noise(40, 40), f"what {box}"], box), ([noise(8, 8), box], "a")])

    assert small.decode(sample.ids_T, scale=0.5).count(box) == 2
    assert "<box>16, 32, 48, 64</box>" in small.decode(sample.ids_T, scale=0.5)


def test_called_like_transformers_own_it_takes_pictures_for_each_text(processor):
    one, two = noise(8, 8), noise(4, 4)

    batch = processor(images=[[one], [one, two]], text=["what", "is <image> cat <image> in"])

    assert batch["attention_mask"].sum(1).tolist() == [
        len(processor.prompt([one, "what"])),
        len(processor.prompt(["is ", one, " cat ", two, " in"])),
    ]
    assert batch["attention_mask"][0, 0] == 0
    assert batch["pixel_values"].shape == (9, 48)


@pytest.mark.parametrize(
    ("images", "text", "message"),
    [
        ([[noise(4, 4)]], ["a <image> <image>"], "2 <image> and 1 pictures"),
        ([[noise(4, 4)]], ["a", "b"], "for 2 texts"),
    ],
)
def test_pictures_that_do_not_fit_the_texts_are_refused(processor, images, text, message):
    with pytest.raises(ValueError, match=message):
        processor(images=images, text=text)


def test_a_tokenizer_of_another_family_is_refused():
    other = AutoTokenizer.from_pretrained(TOKENIZER.parent.parent / "otter_llama" / "tokenizer")

    with pytest.raises(ValueError, match=r"no tokenizer of Fuyu.*\|SPEAKER\|"):
        FuyuProcessor(other)


def test_patches_cut_off_with_their_text_are_refused(samples):
    whole = samples[0]

    with pytest.raises(ValueError, match="was the text cut"):
        Sample(whole.ids_T[:3], whole.labels_T[:3], whole.patches_PC, whole.positions_P[:3])


def test_marks_in_a_question_say_where_its_pictures_stand(processor):
    one, two = noise(8, 8), noise(4, 4)

    assert placed("is <image> like <image>?", [one, two]) == ["is ", one, " like ", two, "?"]
    assert placed("<image>What?", [one]) == [one, "What?"]
    assert placed("What?", [one, two]) == [one, two, "What?"]
    with pytest.raises(ValueError, match="2 <image> and 1 pictures"):
        placed("<image> <image>", [one])


def test_text_alone_shows_no_picture(processor):
    sample = processor.sample([("how many", "red"), ("what", "a")], side=448)
    batch = processor(text=["how many"], side=448)

    assert sample.patches_PC.shape == (0, 48)
    assert not {PATCH, ROW_END} & set(sample.ids_T.tolist())
    assert set(batch) == {"input_ids", "attention_mask"}


def test_a_record_that_is_too_long_is_named(processor):
    with pytest.raises(ValueError, match=r"record 'A_2' cannot be encoded: \d+ tokens"):
        processor.sample([("how many", "red")], max_tokens=5, record_id="A_2")


@pytest.mark.parametrize(
    "setting",
    [{"image_mean": [0.48, 0.45, 0.4]}, {"padding_value": 0.0}, {"resample": 3}, {"do_pad": False}],
    ids=lambda setting: next(iter(setting)),
)
def test_settings_of_other_pictures_than_fuyus_are_refused(tmp_path, processor, setting):
    processor.tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    settings = {
        "image_mean": 0.5,
        "image_std": [0.5, 0.5, 0.5],
        "rescale_factor": 0.00392156862745098,
    }
    size = {"size": {"height": 8, "width": 12}, "patch_size": {"height": 4, "width": 4}}
    path.write_text(json.dumps(settings | size))
    assert FuyuProcessor.from_pretrained(tmp_path).size == size["size"]

    path.write_text(json.dumps(settings | size | setting))
    with pytest.raises(ValueError, match=f"say {next(iter(setting))} = "):
        FuyuProcessor.from_pretrained(tmp_path)
