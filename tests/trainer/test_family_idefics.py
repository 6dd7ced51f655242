"""Idefics as `syphus train` makes, teaches and refuses it."""

import pytest

torch = pytest.importorskip("torch")

from mimicit.errors import RecipeError  # noqa: E402
from trainer.config import Data  # noqa: E402
from trainer.errors import TrainingError  # noqa: E402
from trainer.families import idefics  # noqa: E402
from trainer.models.idefics import Idefics  # noqa: E402
from trainer.recipe import read_recipe  # noqa: E402
from trainer.sources.base import Conversation, Document, Said  # noqa: E402

from .family_lessons import SETTINGS, example_of, make, page, pieces, shown  # noqa: E402
from .idefics import llama_tokenizer  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture
def encoder():
    made = make("idefics")
    return idefics.IdeficsEncoder(made.processor, Data())


def texts_of(processor, ids):
    return processor.tokenizer.decode(ids, skip_special_tokens=False)


def test_a_made_model_keeps_added_tokens_in_tables_of_their_own(tmp_path):
    made = make("idefics")
    config, processor = made.model.config, made.processor

    assert config.additional_vocab_size == 4
    assert config.vocab_size == processor.fake_id
    assert made.model.words == len(processor.tokenizer)
    gates = [w for n, w in made.model.named_parameters() if "alpha" in n]
    assert gates
    assert all((gate == 1).all() for gate in gates)
    made.model.save_pretrained(tmp_path)
    assert Idefics.from_pretrained(tmp_path).config.additional_vocab_size == 4


def test_a_published_tokenizer_is_taken(tmp_path):
    llama_tokenizer().save_pretrained(tmp_path)
    config = read_recipe("idefics_tiny", [*SETTINGS["idefics"], f"model.tokenizer={tmp_path}"])
    processor = idefics.make_processor(config.model, lambda: iter(()))
    model = idefics.make_model(config.model, processor)
    encoder = idefics.IdeficsEncoder(processor, Data())
    example = example_of(encoder, Conversation("one", (Said("What?", "A cat.", ((shown(1),),)),)))

    assert processor.decode(pieces(example.sample.labels_T)[0]) == "A cat."
    [rows] = encoder.lay([example])
    assert model(**rows.inputs()).loss.isfinite()
    model.save_pretrained(tmp_path / "model")
    Idefics.from_pretrained(tmp_path / "model")


def test_a_page_teaches_the_text_behind_its_first_picture(encoder):
    example = example_of(encoder, page())
    processor = encoder.processor

    taught = [processor.decode(piece) for piece in pieces(example.sample.labels_T)]
    assert taught == ["After picture 0 there is more.", "After picture 1 there is more."]
    assert example.sample.labels_T[-1] == processor.tokenizer.eos_token_id
    assert texts_of(processor, example.sample.ids_T).startswith(
        "<s>A long page begins.<fake_token_around_image><image><fake_token_around_image> After"
    )
    side_by_side = example_of(encoder, Document("two", (shown(1), shown(2), "A cat")))
    assert texts_of(processor, side_by_side.sample.ids_T) == (
        "<s><fake_token_around_image><image><fake_token_around_image><image><fake_token_around_image>A cat</s>"
    )


def test_a_page_may_have_a_length_of_its_own_and_long_beginnings_give_way(encoder):
    long = Document("long", ("It is red. " * 40, shown(1), "It is red. " * 40), max_tokens=32)
    example = example_of(encoder, long)

    assert len(example) == 32
    assert example.sample.ids_T.index(encoder.processor.image_id) == 1 + 15 + 1
    assert len(example.sample.pixels_NCHW) == 1
    assert example.taught > 5


def test_pictures_stand_where_a_question_says(encoder):
    said = Said("is <image> or <image> red", "A", ((shown(1),), (shown(2), shown(3))))
    marked = example_of(encoder, Conversation("m", (said,), marked=True))
    image = encoder.processor.image_id

    assert len(marked.sample.pixels_NCHW) == marked.sample.ids_T.count(image) == 3
    assert "User:is<fake" in texts_of(encoder.processor, marked.sample.ids_T).replace(" <", "<")
    wrong = Conversation("wrong", (Said("<image>?", "A", ((shown(1),), (shown(2),))),), marked=True)
    with pytest.raises(TrainingError, match=r"'wrong' has 2 pictures, but .* <image> 1 times"):
        example_of(encoder, wrong)


def test_each_token_sees_its_own_picture_packed_or_padded(encoder):
    records = [page(), Conversation("alone", (Said("Why?", "So."),)), page(pictures=1)]
    examples = [example_of(encoder, record) for record in records]
    packer = idefics.IdeficsEncoder(encoder.processor, Data(max_row_tokens=512))
    [padded], [row] = encoder.lay(examples), packer.lay(examples)

    seen = row.inputs()["image_attention_mask"][0].long()
    lengths = [len(example) for example in examples]
    first, alone, last = seen.split(lengths)
    assert first[:, 2].sum() == last[:, :2].sum() == alone.sum() == 0
    assert torch.equal(
        first[:, :2], padded.inputs()["image_attention_mask"][0, : lengths[0], :2].long()
    )
    assert row.inputs()["max_length"] == max(lengths)
    assert (row.pictures, row.tokens) == (3, sum(lengths))


def test_a_saved_model_that_cannot_be_taught_is_refused():
    made = make("idefics")

    def refused(said, **data):
        with pytest.raises(RecipeError, match=said):
            idefics.check(made.model, made.processor, "it", Data(**data))

    made.model.config.image_token_id = None
    idefics.check(made.model, made.processor, "it", Data(max_tokens=200))
    assert made.model.config.image_token_id == made.processor.image_id
    refused(r"data\.max_tokens is 9999, but the language model of it has only", max_tokens=9999)
    refused(r"data\.sides .*it takes them of one size", max_tokens=200, sides=(16,))
    made.processor.image_processor.size = {"height": 32, "width": 32}
    try:
        refused("pictures of 32 pixels, but its vision tower takes 16")
    finally:
        made.processor.image_processor.size = {"height": 16, "width": 16}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "model.text.model_type=gpt_neox",
            r"model\.text\.model_type is 'gpt_neox', .* always llama",
        ),
        ("model.text.num_key_value_heads=3", r"model\.text\.num_key_value_heads is 3, "),
        ("model.text.head_dim=64", r"model\.text\.head_dim is 64, .*leave it out"),
        ("model.perceiver.ff_mult=2", r"model\.perceiver\.ff_mult is 2, .* always 4; leave it out"),
        ("model.cross_layer_interval=9", "is 9, but must be at most model"),
        ("data.max_tokens=300", r"only model\.text\.max_position_embeddings = 256"),
        ("model.patch_size=9", r"no setting 'model\.patch_size'"),
    ],
)
def test_a_recipe_that_is_no_idefics_is_refused(override, said):
    with pytest.raises(RecipeError, match=said):
        read_recipe("idefics_tiny", [override])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.hidden_size=18", "numbers wide, but must be a multiple of 4"),
        ("model.num_attention_heads=7", r"model\.num_attention_heads is 7, which does not divide"),
        ("data.max_tokens=600", r"only model\.max_position_embeddings = 512"),
        ("data.sides=0,3", r"data\.sides is 0, 3; pixels are at least 1"),
    ],
)
def test_a_recipe_that_is_no_fuyu_is_refused(override, said):
    with pytest.raises(RecipeError, match=said):
        read_recipe("fuyu_tiny", [override])
