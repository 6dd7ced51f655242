"""Examples in rows: what the model is told of them, and that none sees another."""

from dataclasses import replace
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from trainer.batch import Example, collate, one_row  # noqa: E402
from trainer.errors import TrainingError  # noqa: E402
from trainer.models.loss import IGNORED  # noqa: E402
from trainer.models.otter import Otter, OtterConfig  # noqa: E402

torch.set_num_threads(1)
PAD, END, IMAGE, ANSWER, WORDS = 0, 30, 31, 32, 40
SIDE = 8
BACKBONES = {
    "llama": {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "mpt": {"model_type": "mpt", "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 256},
}


def make_model(backbone, implementation="packed"):
    torch.manual_seed(0)
    model = Otter(
        OtterConfig(
            vision_config={
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": SIDE,
                "patch_size": 4,
            },
            text_config={"vocab_size": WORDS, **BACKBONES[backbone]},
            perceiver={"depth": 1, "heads": 2, "dim_head": 8, "num_latents": 3},
            cross_attention={"heads": 2, "dim_head": 8},
            cross_attn_every_n_layers=1,
            max_num_frames=4,
            gate_init=1.0,
            image_token_id=IMAGE,
            answer_token_id=ANSWER,
            endofchunk_token_id=END,
            pad_token_id=PAD,
        )
    )
    model.set_attn_implementation({"text_config": implementation})
    return model


@pytest.fixture(scope="module", params=BACKBONES)
def model(request):
    return make_model(request.param)


def make_example(frames, text, seed=0):
    """Make an example from a list of tokens in which True stands for `<image>`; every second word is taught."""
    ids = [IMAGE if token is True else token for token in text]
    labels = [token if at % 2 and token != IMAGE else IGNORED for at, token in enumerate(ids)]
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(len(frames), max([1, *frames]), 3, SIDE, SIDE, generator=generator)
    return Example(f"r{seed}", ids, labels, pixels, tuple(frames))


@st.composite
def some_example(draw):
    frames = draw(st.lists(st.integers(1, 4), max_size=3))
    text = draw(st.lists(st.integers(1, 29), min_size=1, max_size=8))
    for at in sorted((draw(st.integers(0, len(text))) for _ in frames), reverse=True):
        text.insert(at, True)
    return make_example(frames, text, seed=draw(st.integers(0, 99)))


some_examples = st.lists(some_example(), min_size=1, max_size=5)
LOOK_WHAT_WHY = [
    make_example([1], [5, True, 6, 7], seed=1),
    make_example([], [8, 9, 10], seed=2),
    make_example([2, 1], [11, True, 12, True, 13], seed=3),
]


def loss_of(model, batch):
    return model(**batch.inputs(), num_items_in_batch=1).loss


def test_a_packed_row_says_where_each_token_stands_and_what_it_sees():
    row = one_row(LOOK_WHAT_WHY, image=IMAGE)

    assert row.record_ids == ("r1", "r2", "r3")
    assert row.position_ids_BT.tolist() == [[0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 3, 4]]
    assert row.text_time_BT.tolist() == [[0, 1, 1, 1, 0, 0, 0, 0, 2, 2, 3, 3]]
    assert row.cu_seq_lens_N.tolist() == [0, 4, 7, 12]
    assert row.cu_seq_lens_N.dtype == torch.int32
    assert row.longest == 5
    assert row.attention_BT is None
    assert row.pixels_BNFCHW.shape == (1, 3, 2, 3, SIDE, SIDE)
    assert row.frame_mask_BNF.tolist() == [[[True, False], [True, True], [True, False]]]
    assert (row.tokens, row.taught) == (12, 1 + 1 + 0)


def test_padded_rows_say_what_each_token_sees_too():
    batch = collate(LOOK_WHAT_WHY, pad=PAD, image=IMAGE)

    assert batch.text_time_BT.tolist() == [[0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [0, 1, 1, 2, 2]]
    assert batch.frame_mask_BNF.tolist() == [
        [[True, False], [False, False]],
        [[False, False], [False, False]],
        [[True, True], [True, False]],
    ]
    assert "position_ids" not in batch.inputs()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(examples=some_examples)
def test_the_loss_of_a_packed_row_is_the_sum_of_the_losses_of_its_examples(model, examples):
    with torch.no_grad():
        apart = sum(loss_of(model, collate([one], pad=PAD, image=IMAGE)) for one in examples)
        padded = loss_of(model, collate(examples, pad=PAD, image=IMAGE))
        row = one_row(examples, image=IMAGE)
        torch.testing.assert_close(loss_of(model, row), apart, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(padded, apart, atol=1e-4, rtol=1e-5)

    assert row.taught == sum(collate([one], pad=PAD).taught for one in examples)


@pytest.mark.parametrize("implementation", ["packed", "sdpa", "eager"])
def test_a_packed_row_teaches_every_weight_what_the_padded_batch_does(implementation):
    model = make_model("llama", implementation)
    gradients = []
    for batch in (
        one_row(LOOK_WHAT_WHY, image=IMAGE),
        collate(LOOK_WHAT_WHY, pad=PAD, image=IMAGE),
    ):
        model.zero_grad()
        loss_of(model, batch).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    packed, padded = gradients

    assert sum(gradient is not None for gradient in packed.values()) > 40
    for name, gradient in packed.items():
        torch.testing.assert_close(gradient, padded[name], atol=1e-5, rtol=1e-4, msg=name)


@torch.no_grad()
@pytest.mark.parametrize("changed", [0, 2])
def test_what_another_example_says_or_shows_changes_no_bit(model, changed):
    others = list(LOOK_WHAT_WHY)
    others[changed] = replace(
        others[changed],
        ids_T=[token if token == IMAGE else token + 1 for token in others[changed].ids_T],
        pixels_NFCHW=others[changed].pixels_NFCHW + 1,
    )
    before, after = (
        model(**one_row(examples, image=IMAGE).inputs() | {"labels": None}).logits
        for examples in (LOOK_WHAT_WHY, others)
    )

    ends = [0, 4, 7, 12]
    for number, (start, end) in enumerate(pairwise(ends)):
        same = torch.equal(before[:, start:end], after[:, start:end])
        assert same == (number != changed)


@torch.no_grad()
def test_a_row_of_texts_alone_has_one_medium_that_nobody_sees(model):
    text = LOOK_WHAT_WHY[1]
    row = one_row([text, text], image=IMAGE)
    blind = model(
        torch.tensor([text.ids_T]), labels=torch.tensor([text.labels_T]), num_items_in_batch=1
    )

    assert row.pixels_BNFCHW.shape == (1, 1, 1, 3, SIDE, SIDE)
    assert row.frame_mask_BNF is None
    torch.testing.assert_close(loss_of(model, row), 2 * blind.loss)
    assert collate([text], pad=PAD, image=IMAGE).pixels_BNFCHW.shape == row.pixels_BNFCHW.shape


@pytest.mark.parametrize(
    "lay",
    [lambda e: one_row(e, image=IMAGE), lambda e: collate(e, pad=PAD, image=IMAGE)],
    ids=["packed", "padded"],
)
class TestEachWay:
    @pytest.mark.parametrize("text", [[5, True, 6, True], [5, 6]], ids=["more marks", "no mark"])
    def test_marks_that_are_not_as_many_as_media_name_the_record(self, lay, text):
        with pytest.raises(TrainingError, match=r"record 'r7' has 1 pictures .* stands \d times"):
            lay([LOOK_WHAT_WHY[0], make_example([1], text, seed=7)])

    def test_nothing_taught_is_a_loss_of_nothing(self, lay):
        model = make_model("llama")
        batch = lay([example.untaught() for example in LOOK_WHAT_WHY])
        loss = model(**batch.inputs(), num_items_in_batch=max(1, batch.taught)).loss
        loss.backward()

        assert batch.taught == 0
        assert loss == 0
        assert all(p.grad is None or not p.grad.any() for p in model.parameters())
        assert model.lang_encoder.get_input_embeddings().weight.grad is not None

    def test_an_untaught_batch_asks_for_the_same_work(self, lay):
        batch = lay(LOOK_WHAT_WHY)
        blank = batch.untaught()

        assert (blank.taught, blank.tokens, blank.record_ids) == (0, 0, ())
        assert blank.labels_BT.eq(IGNORED).all()
        assert blank.ids_BT is batch.ids_BT
        assert blank.pixels_BNFCHW is batch.pixels_BNFCHW

    def test_all_of_a_batch_moves(self, lay):
        moved = lay(LOOK_WHAT_WHY).to("meta")

        tensors = [value for value in moved.inputs().values() if isinstance(value, torch.Tensor)]
        assert len(tensors) >= 6
        assert all(tensor.is_meta for tensor in tensors)
