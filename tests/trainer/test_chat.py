"""Asking models, with a small Otter that has learned four colours."""

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    pipeline,
)
from typer.testing import CliRunner  # noqa: E402

from mimicit.errors import PictureError  # noqa: E402
from syphus.cli import _write, application  # noqa: E402
from tests.trainer.labels import answer_labels  # noqa: E402
from trainer import chat, loading  # noqa: E402
from trainer.chat import Sampling, evenly_of, start  # noqa: E402
from trainer.errors import TrainingError  # noqa: E402
from trainer.models.otter_processor import OtterProcessor, Turn  # noqa: E402

from .conftest import COLOURS  # noqa: E402
from .tiny_otter import GOLDEN, make_model  # noqa: E402

torch.set_num_threads(1)
FIRST, SECOND = "What colour is it?", "And once more?"


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A model that names the colour of one picture twice, and the last colour of a clip."""
    processor = OtterProcessor(
        AutoTokenizer.from_pretrained(GOLDEN / "otter_mpt" / "tokenizer"), 16, max_frames=4
    )
    model = make_model(processor)
    squares = {name: Image.new("RGB", (20, 16), colour) for name, colour in COLOURS.items()}
    lessons = [
        [Turn(FIRST, f"It is {name}.", [medium]), Turn(SECOND, f"Still {name}.")]
        for name, square in squares.items()
        for medium in (square, [squares["white"], square])
    ] + [
        [Turn(FIRST, "It is blue.", [squares["blue"]]), Turn(FIRST, f"It is {name}.", [square])]
        for name, square in squares.items()
    ]
    laid = [processor.conversation(turns) for turns in lessons]
    inputs = processor(
        text=[ids for ids, _ in laid],
        images=[media for _, media in laid],
        padding_side="right",
    )
    labels = torch.tensor(
        [
            answer_labels(ids, answer=processor.answer_id, end=processor.end_id)
            for ids in inputs["input_ids"].tolist()
        ]
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3)
    for _ in range(200):
        loss = model(**inputs, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if loss < 0.01:
            break
    assert loss < 0.01
    path = tmp_path_factory.mktemp("models") / "colours"
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A video of ten frames whose last is blue, and whose frames before it are red; its sound would be longer."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(10):
            picture = Image.new("RGB", (64, 64), COLOURS["blue" if number == 9 else "red"])
            for packet in stream.encode(av.VideoFrame.from_image(picture)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def colour_of(picture):
    pixel = picture.getpixel((32, 32))
    return min(
        COLOURS, key=lambda name: sum(abs(a - b) for a, b in zip(COLOURS[name], pixel, strict=True))
    )


# What is answered


@pytest.mark.parametrize("name", COLOURS)
def test_a_later_question_still_sees_the_picture(folder, square, name):
    [one] = start(folder, [square(name)])

    assert one.ask(FIRST).answer == f"It is {name}."
    assert one.ask(SECOND).answer == f"Still {name}."


def test_several_pictures_are_one_clip_or_each_its_own_conversation(folder, square):
    paths = [square("white"), square("green")]

    [together] = start(folder, paths)
    each = start(folder, paths, each=True)

    assert together.ask(FIRST).answer == "It is green."
    assert [one.ask(FIRST).answer for one in each] == ["It is white.", "It is green."]
    assert [one.names for one in each] == [(str(path),) for path in paths]


def test_examples_with_pictures_of_their_own_come_before_the_question(folder, square):
    [one] = start(folder, [square("red")])
    processor = one.processor
    alone = one.ask(FIRST)
    one.messages = [
        {
            "role": "user",
            "content": [
                {"type": "image", "image": Image.open(square("blue"))},
                {"type": "text", "text": FIRST},
            ],
        },
        {"role": "assistant", "content": "It is blue."},
    ]
    one.show([Image.open(square("red"))], ["red.png"])

    reply = one.ask(FIRST)

    assert reply.answer == alone.answer == "It is red."
    assert reply.prompt_tokens == 2 * alone.prompt_tokens - 1 + len(processor.reply("It is blue."))


def test_text_alone_can_be_asked(folder):
    [one] = start(folder)

    assert isinstance(one.ask(FIRST).answer, str)


def test_a_run_and_its_model_are_the_same(folder, square, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder, run / "model")

    assert chat.answer(run, square("blue"), FIRST) == "It is blue."


def test_transformers_own_pipeline_gives_the_same_answer(folder, square):
    asked = pipeline(
        "image-text-to-text",
        model=AutoModelForImageTextToText.from_pretrained(folder),
        processor=AutoProcessor.from_pretrained(folder),
        device="cpu",
    )
    shown = {"type": "image", "image": Image.open(square("green"))}
    messages = [{"role": "user", "content": [shown, {"type": "text", "text": FIRST}]}]

    [said] = asked(text=messages, max_new_tokens=20, return_full_text=False)

    assert said["generated_text"] == "It is green."


def test_photographs_of_any_size_are_taken(folder, photos):
    paths = sorted(photos.iterdir())[:4]

    [one] = start(folder, paths, sampling=Sampling(max_new_tokens=3))

    assert one.ask("What is it?").new_tokens <= 3


# Pieces


@pytest.mark.parametrize("temperature", [0.0, 3.0])
def test_the_pieces_of_an_answer_are_the_answer(folder, square, temperature):
    pieces = []
    [one] = start(folder, [square("red")], sampling=Sampling(40, temperature, seed=1))

    reply = one.ask(FIRST, pieces.append)

    assert "".join(pieces) == reply.answer
    assert temperature or len(pieces) > 3


def test_beams_answer_in_one_piece(folder, square):
    pieces = []
    [one] = start(folder, [square("red")], sampling=Sampling(beams=3))

    assert one.ask(FIRST, pieces.append).answer == "It is red."
    assert pieces == ["It is red."]


def test_a_piece_never_ends_inside_a_letter(folder):
    _, processor = loading.load(folder)
    pieces = []
    writer = chat.Pieces(processor, pieces.append)
    text = "ça ☺ và"

    writer.put(torch.tensor([[1, 2]]))
    for token in processor.reply(text):
        writer.put(torch.tensor([token]))
    writer.end()

    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


# How it is drawn


def test_words_are_drawn_the_same_for_the_same_seed(folder, square):
    def asked(seed, **changes):
        sampling = Sampling(12, **{"temperature": 3.0, **changes}, seed=seed)
        [one] = start(folder, [square("red")], sampling=sampling)
        return [one.ask(FIRST).answer, one.ask(FIRST).answer]

    before = torch.random.get_rng_state()
    assert asked(1) == asked(1)
    assert asked(1) != asked(2)
    assert asked(1, top_p=1e-6)[0] == "It is red."
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens cannot be 0"),
        ({"temperature": -1}, "temperature cannot be -1"),
        ({"temperature": 1, "top_p": 0}, "top_p cannot be 0"),
        ({"beams": 0}, "beams cannot be 0"),
        ({"top_p": 0.5}, "needs a temperature above 0"),
    ],
)
def test_impossible_sampling_is_refused(settings, sentence):
    with pytest.raises(TrainingError, match=sentence):
        Sampling(**settings)


# Videos


@pytest.mark.parametrize(
    ("frames", "seen"), [(1, ["red"]), (2, ["red", "blue"]), (4, ["red"] * 3 + ["blue"])]
)
def test_a_video_is_seen_from_its_first_frame_to_its_last(film, frames, seen):
    assert [colour_of(picture) for picture in evenly_of(film, frames)] == seen


def test_a_short_video_has_each_frame_once(film):
    assert len(evenly_of(film, 50)) == 10


def test_a_video_is_asked_about(folder, film):
    [one] = start(folder, video=film)
    assert one.shown[0]["type"] == "video"
    assert len(one.shown[0]["video"]) == 4

    assert one.ask(FIRST).media == (str(film),)


@pytest.mark.parametrize("data", [b"", b"no video"])
def test_a_file_that_is_no_video_is_refused_by_name(folder, tmp_path, data):
    pytest.importorskip("av")
    path = tmp_path / "bad.mp4"
    path.write_bytes(data)

    with pytest.raises(PictureError, match=r"bad\.mp4"):
        start(folder, video=path)
    with pytest.raises(PictureError, match=r"none\.mp4"):
        start(folder, video=tmp_path / "none.mp4")


# What is refused


def test_more_pictures_than_the_model_takes_are_refused(folder, square, film):
    with pytest.raises(TrainingError, match="takes 4 pictures at once, not 5"):
        start(folder, [square("red")] * 5)
    with pytest.raises(TrainingError, match="takes 4 pictures at once, not 6"):
        start(folder, video=film, frames=6)
    with pytest.raises(TrainingError, match="not both"):
        start(folder, [square("red")], video=film)


def test_a_conversation_longer_than_the_model_reads_is_refused_with_both_numbers(folder):
    [one] = start(folder)

    with pytest.raises(TrainingError, match=r"has 2\d\d tokens, but the model reads 200 with"):
        one.ask("x" * 190)


def test_an_answer_stops_where_the_model_reads_no_further(folder):
    [one] = start(folder, sampling=Sampling(100, temperature=50.0))

    reply = one.ask("x" * 180)

    assert reply.prompt_tokens + reply.new_tokens <= 200


# The command


@pytest.fixture
def command(folder):
    def call(*arguments, said=""):
        words = ["chat", str(folder), *map(str, arguments)]
        return CliRunner().invoke(application("chat"), words, input=said, catch_exceptions=False)

    return call


def test_the_command_writes_nothing_but_the_answer_on_standard_output(command, square):
    ran = command(FIRST, "--image", square("red"))

    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "It is red.\n", "")


def test_without_a_question_each_line_is_asked_and_what_was_said_is_kept(command, square):
    ran = command("--image", square("green"), said=f"{FIRST}\n\n  {SECOND}")

    assert ran.stdout == "It is green.\nStill green.\n"


def test_answers_as_lines_of_json(command, square):
    paths = [square("red"), square("blue")]
    shown = [word for path in paths for word in ("--image", path)]

    ran = command(FIRST, *shown, "--each", "--json")

    replies = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [reply["answer"] for reply in replies] == ["It is red.", "It is blue."]
    assert [reply["media"] for reply in replies] == [[str(path)] for path in paths]
    assert all(0 < reply["new_tokens"] < reply["prompt_tokens"] for reply in replies)


def test_the_command_draws_words_and_takes_videos(command, film):
    drawn = ("--temperature", 2, "--top-p", 0.9, "--seed", 3, "--max-new-tokens", 7)

    first, second = (command(FIRST, "--video", film, "--frames", 2, *drawn) for _ in range(2))

    assert first.stdout == second.stdout


def test_a_terminal_does_not_obey_an_answer_and_a_file_gets_it_as_it_is(monkeypatch, capsys):
    _write("a\x07b")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _write("a\x07b\n")

    assert capsys.readouterr().out == "a\x07b" + "a\\x07b\n"


def test_a_question_that_is_no_text_is_refused(folder):
    [one] = start(folder)

    with pytest.raises(TrainingError, match="no UTF-8"):
        one.ask("\udcff what?")


def test_a_picture_without_an_end_is_refused(folder):
    with pytest.raises(PictureError, match="'/dev/zero' is larger than 256 MiB"):
        start(folder, [Path("/dev/zero")])


def test_two_conversations_at_once_do_not_disturb_each_other(folder, square):
    """One model, two threads, words that are drawn: each conversation has a seed of its own."""
    drawn = Sampling(max_new_tokens=12, temperature=2.0)
    model, processor = loading.load(folder)

    def talk(name):
        one = chat.Chat(model, processor, drawn)
        one.show([shown[name]], [name])
        return [one.ask(FIRST).answer for _ in range(3)]

    names = ["red", "blue", "red", "blue"]
    shown = {name: Image.open(square(name)).convert("RGB") for name in set(names)}
    alone = [talk(name) for name in names]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(talk, names))

    assert together == alone
