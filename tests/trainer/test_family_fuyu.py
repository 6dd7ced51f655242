"""Fuyu as `syphus train` makes, teaches and refuses it."""

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from mimicit.errors import RecipeError  # noqa: E402
from trainer.config import Data  # noqa: E402
from trainer.errors import TrainingError  # noqa: E402
from trainer.families import fuyu  # noqa: E402
from trainer.models.fuyu_processor import FuyuProcessor  # noqa: E402
from trainer.models.loss import IGNORED  # noqa: E402
from trainer.recipe import read_recipe  # noqa: E402
from trainer.sources.base import Conversation, Document, Said  # noqa: E402

from .family_lessons import SETTINGS, example_of, make, one, page, pieces, shown  # noqa: E402

torch.set_num_threads(1)
TEXTS = ("What colour is it?", "It is red, I think.\nOr blue.", "A square \x04 \x00.", "grün ▁")


@pytest.fixture(scope="module")
def processor():
    return FuyuProcessor(fuyu.train_tokenizer(TEXTS * 9, vocab_size=80), patch_size=8)


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=30))
def test_a_trained_tokenizer_writes_any_text_and_marks_answers_alone(processor, text):
    tokenizer = processor.tokenizer
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]

    if not any(mark in text for mark in ("<s>", "<unk>", "|")):
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids
    assert ids.count(processor.answer_id) == text.count("\x04")


def test_a_trained_tokenizer_is_read_back_as_it_was(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    again = fuyu.read_processor(tmp_path)

    text = "User:What? Assistant:\x04 It is red <0x04> ☃."
    assert again.text_ids(text) == processor.text_ids(text)
    assert (again.end_id, again.patch_id) == (processor.end_id, processor.patch_id)
    assert again.max_pixels is None
    words = processor.tokenizer.get_vocab()
    assert sorted(words.values()) == list(range(len(words)))
    assert len(words) <= 80 + 5 + 256


def test_a_tokenizer_of_another_family_is_refused(tmp_path):
    from trainer.tokenizer import train_tokenizer

    train_tokenizer(TEXTS, vocab_size=300).save_pretrained(tmp_path)
    config = read_recipe("fuyu_tiny", [*SETTINGS["fuyu"], f"model.tokenizer={tmp_path}"])

    with pytest.raises(RecipeError, match=r"is not Fuyu's: .* no token \|SPEAKER\|.*or 'train'"):
        fuyu.make_processor(config.model, lambda: iter(TEXTS))


def test_a_page_teaches_the_text_behind_its_first_picture(processor):
    encoder = fuyu.FuyuEncoder(processor, Data())
    example = example_of(encoder, page())

    taught = [processor.decode(piece) for piece in pieces(example.sample.labels_T.tolist())]
    assert taught == ["After picture 0 there is more.", "After picture 1 there is more."]
    assert int(example.sample.labels_T[-1]) == processor.end_id
    assert example.pictures == 2
    pair = example_of(encoder, Document("pair", (shown(1), "A cat")))
    assert [processor.decode(one) for one in pieces(pair.sample.labels_T.tolist())] == ["A cat"]
    assert example_of(encoder, Document("text", ("No picture.",))).taught == 0


def test_a_page_may_have_a_length_of_its_own_and_long_beginnings_give_way(processor):
    encoder = fuyu.FuyuEncoder(processor, Data())
    long = Document("long", ("It is red. " * 40, shown(1), "It is red. " * 40), max_tokens=64)
    example = example_of(encoder, long)

    assert len(example) == 64
    first = int(example.sample.positions_P[0])
    assert first == 32
    assert example.sample.ids_T[0] == processor.start_id
    assert torch.equal(
        example.sample.ids_T.eq(processor.patch_id).nonzero()[:, 0], example.sample.positions_P
    )
    assert example.taught > 10


def test_pictures_stand_where_a_question_says(processor):
    said = Said("is <image> or <image> red", "A", ((shown(1),), (shown(2), shown(3))))
    encoder = fuyu.FuyuEncoder(processor, Data())
    marked = example_of(encoder, Conversation("m", (said,), marked=True))
    plain = example_of(encoder, Conversation("p", (said,)))

    assert marked.pictures == plain.pictures == 3
    assert int(marked.sample.positions_P[0]) > 3
    assert int(plain.sample.positions_P[0]) == 0
    assert torch.equal(marked.sample.patches_PC, plain.sample.patches_PC)
    wrong = Conversation("wrong", (Said("<image>?", "A", ((shown(1),), (shown(2),))),), marked=True)
    with pytest.raises(TrainingError, match=r"'wrong' has 2 pictures, but .* <image> 1 times"):
        example_of(encoder, wrong)


def test_sides_are_a_function_of_the_seed_and_the_record(processor):
    def sizes(seed):
        encoder = fuyu.FuyuEncoder(processor, Data(sides=(16, 32, 64)), seed=seed)
        records = [one(id=f"r{number}") for number in range(20)]
        return [len(example_of(encoder, record).sample.patches_PC) for record in records]

    assert sizes(0) == sizes(0)
    assert sizes(0) != sizes(1)
    assert len(set(sizes(0))) == 3
    plain = example_of(fuyu.FuyuEncoder(processor, Data()), one())
    assert len(plain.sample.patches_PC) == 3 * 3  # 24 × 20 pixels as they come


def test_what_a_text_may_not_say_is_named(processor):
    encoder = fuyu.FuyuEncoder(processor, Data())
    for record in (
        Conversation("bad", (Said("What |SPEAKER|?", "A"),)),
        Conversation("bad", (Said("What?", "A \x04"),)),
        Document("bad", (shown(1), "A \x04 b")),
    ):
        with pytest.raises(TrainingError, match=r"'bad' cannot be taught: .*data\.where"):
            example_of(encoder, record)


def test_a_saved_model_that_cannot_be_taught_is_refused(tmp_path):
    made = make("fuyu")

    def refused(said, **data):
        with pytest.raises(RecipeError, match=said):
            fuyu.check(made.model, made.processor, "it", Data(**data))

    fuyu.check(made.model, made.processor, "it", Data(sides=(16,)))
    refused(r"data\.max_tokens is 9999, but the language model of it has only", max_tokens=9999)
    made.processor.patch_size = 4
    refused("patches of 4 pixels, but its model takes 8")
    made.processor.patch_size = 8
    tokens = made.processor.tokenizer
    more = fuyu.train_tokenizer(["ab cd ef"], vocab_size=400)
    more.add_tokens([f"w{number}" for number in range(700)])
    made.processor.tokenizer = more
    try:
        refused(r"tokenizer of \d+ tokens, but embeddings of \d+")
    finally:
        made.processor.tokenizer = tokens


def test_the_first_label_teaches_nothing(processor):
    example = example_of(fuyu.FuyuEncoder(processor, Data()), Document("d", (shown(1), "A cat")))

    assert int(example.sample.labels_T[0]) == IGNORED
    [rows] = fuyu.FuyuEncoder(processor, Data()).lay([example])
    assert rows.taught == len(rows.inputs()["taught_positions"])
