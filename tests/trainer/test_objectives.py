"""Losses of compared answers, and the rows that they are computed on."""

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from trainer.errors import TrainingError
from trainer.models.loss import IGNORED, rows_loss, taught_loss
from trainer.objectives import preference_losses as losses
from trainer.objectives.compared import ComparedEncoder, NumberedMix, fragment
from trainer.objectives.reference import log_probs
from trainer.sources.base import Conversation, Said
from trainer.sources.mix import Mix, Part

from .family_lessons import KINDS, make, shown, talk

torch.set_num_threads(1)
CHOSEN, REJECTED = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([-1.0, 1.0, 0.5])


def softplus(value):
    return math.log1p(math.exp(value))


# ── losses ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_dpo_is_the_negative_log_likelihood_of_peoples_choice():
    lost = losses.sigmoid(CHOSEN, REJECTED, beta=0.5)

    assert lost.tolist() == pytest.approx([softplus(-1.0), softplus(1.5), math.log(2)])


def test_label_smoothing_counts_the_other_choice_with_its_chance():
    smoothed = losses.sigmoid(CHOSEN, REJECTED, beta=0.5, label_smoothing=0.2)

    there, back = (
        losses.sigmoid(*pair, beta=0.5) for pair in ((CHOSEN, REJECTED), (REJECTED, CHOSEN))
    )
    torch.testing.assert_close(smoothed, 0.8 * there + 0.2 * back)


def test_hinge_and_ipo_want_a_margin_and_no_more():
    assert losses.hinge(CHOSEN, REJECTED, beta=0.5).tolist() == pytest.approx([0.0, 2.5, 1.0])
    lengths = {
        "chosen_tokens_P": torch.tensor([1.0, 2, 1]),
        "rejected_tokens_P": torch.tensor([1.0, 4, 1]),
    }
    lost = losses.ipo(CHOSEN, REJECTED, beta=0.5, **lengths)
    assert lost.tolist() == pytest.approx([(2 - 1) ** 2, (-1.25 - 1) ** 2, 1.0])


def test_mdpo_is_dpo_with_a_term_for_the_picture_and_an_anchor():
    blind = torch.tensor([0.5, -1.0, 2.0])
    lost = losses.mdpo(
        CHOSEN, REJECTED, blind, shown_P=torch.tensor([1.0, 1.0, 0.0]), beta=0.5, margin=0.25
    )

    assert lost.tolist() == pytest.approx(
        [
            softplus(-1.0) + softplus(-0.25) + softplus(-0.25),
            softplus(1.5) + softplus(0.5) + softplus(1.25),
            softplus(0.0) + softplus(0.0),
        ]
    )


def test_mpo_is_preference_quality_and_generation():
    said, tokens = torch.tensor([-6.0, -8.0, -3.0]), torch.tensor([3.0, 2.0, 3.0])
    lost = losses.mpo(
        CHOSEN, REJECTED, chosen_log_prob_P=said, chosen_tokens_P=tokens, beta=0.5, shift=0.1
    )

    first = 0.8 * softplus(-1.0) + 0.2 * (softplus(0.1 - 0.5) + softplus(-0.5 - 0.1)) + 2.0
    assert lost[0].item() == pytest.approx(first)


def test_kto_compares_each_answer_with_the_distance_from_the_reference():
    lost = losses.kto(
        torch.tensor([1.0, -2.0]),
        torch.tensor([True, False]),
        kl=0.5,
        beta=0.2,
        desirable_weight=2.0,
        undesirable_weight=3.0,
    )

    sigma = [1 / (1 + math.exp(-value)) for value in (0.1, 0.5)]
    assert lost.tolist() == pytest.approx([2 * (1 - sigma[0]), 3 * (1 - sigma[1])])


# ── log-probabilities ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("piece", [7, 40, 10**6])
def test_losses_of_single_tokens_are_those_of_all_logits_with_their_gradients(piece):
    torch.manual_seed(0)
    hidden = torch.randn(2, 9, 6, requires_grad=True)
    head = torch.nn.Linear(6, 13)
    labels = torch.randint(13, (2, 9))
    labels[0, 3:6] = labels[1, :4] = IGNORED
    weights = torch.randn(10)

    each = taught_loss(hidden, labels, head, words=13, piece=piece, per_token=True)
    (each * weights).sum().backward()
    found, hidden.grad = hidden.grad, None
    wanted = -head(hidden)[:, :-1].log_softmax(-1)
    taught = labels[:, 1:] != IGNORED
    wanted = wanted[taught].gather(1, labels[:, 1:][taught][:, None])[:, 0]
    (wanted * weights).sum().backward()

    torch.testing.assert_close(each, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, hidden.grad, atol=1e-5, rtol=1e-5)


def test_nothing_taught_gives_no_losses_and_gradients_of_zero():
    hidden = torch.randn(0, 6, requires_grad=True)
    each = rows_loss(
        hidden, torch.zeros(0).long(), torch.nn.Linear(6, 13), words=13, per_token=True
    )
    each.sum().backward()

    assert each.shape == (0,)
    assert hidden.grad.shape == (0, 6)


class Source:
    digest = "made"

    def __init__(self, *records):
        self.records = records

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        return self.records[index]


def numbered(*records, strangers=False):
    return NumberedMix(Mix([Part("all", Source(*records), len(records))]), strangers=strangers)


def pair(name="one", *, picture=7, rejected="No, it is blue.", answer="It is red."):
    media = () if picture is None else ((shown(picture),),)
    return Conversation(name, (Said("What colour is it?", answer, media),), rejected=rejected)


def encoder_of(made, roles=("chosen", "rejected"), *, max_row_tokens=None, **data):
    data |= {"max_tokens": 120, "max_row_tokens": max_row_tokens}
    inner = made.encoder(**data)
    return ComparedEncoder(
        inner,
        roles,
        needs_both=True,
        kind="dpo",
        max_row_tokens=max_row_tokens,
        processor=made.processor,
    )


def encoded(encoder, mix):
    def read(one):
        return encoder.picture(one.read(), name=one.name)

    return [encoder.encode(mix[number][0], read) for number in range(len(mix))]


def alone(made, record):
    """Return the log-probability of a record's last answer from all logits."""
    inner = made.encoder(max_tokens=120, max_row_tokens=None)

    def read(one):
        return inner.picture(one.read(), name=one.name)

    example = inner.encode(record, read)
    inputs = inner.lay([example])[0].inputs()
    labels = inputs.pop("labels")
    inputs.pop("taught_positions", None)
    before = 0
    if len(record.turns) > 1:
        before = inner.encode(replace(record, turns=record.turns[:-1]), read).taught
    logits = made.model(**inputs).logits[0, :-1]
    each = F.cross_entropy(logits, labels[0, 1:], reduction="none", ignore_index=IGNORED)
    return -each[labels[0, 1:] != IGNORED][before:].sum().item()


PAIRED = [kind for kind in KINDS if kind != "flamingo"]


@pytest.mark.parametrize("kind", PAIRED)
def test_log_probabilities_of_compared_answers_are_those_of_each_alone(kind):
    made = make(kind)
    long = replace(talk(), rejected="It is green.")
    records = [pair("a"), long, pair("b", picture=None), pair("c", picture=9, rejected="Blue.")]
    encoder = encoder_of(made)
    (rows,) = encoder.lay(encoded(encoder, numbered(*records)))
    with torch.no_grad():
        table = log_probs(made.model, rows)
        for row, record in enumerate(records):
            last = replace(record.turns[-1], answer=record.rejected)
            other = replace(record, turns=(*record.turns[:-1], last))
            assert table[row].tolist() == pytest.approx(
                [alone(made, record), alone(made, other)], abs=1e-4
            )

    assert rows.numbers == (0, 1, 2, 3)
    assert rows.record_ids == tuple(record.id for record in records)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("kind", PAIRED)
def test_what_is_compared_are_the_last_answers_and_their_ends(kind, packed):
    """The tokens themselves, read back: no word of the turns before, and the end of the answer with it."""
    made = make(kind)
    records = [pair("a"), replace(talk(), rejected="Green."), pair("b", picture=None)]
    encoder = encoder_of(made, max_row_tokens=600 if packed else None)
    (rows,) = encoder.lay(encoded(encoder, numbered(*records)))
    labels = rows.inputs()["labels"][:, 1:].flatten()
    taught = labels[labels != IGNORED]

    assert len(taught) == len(rows.places_K)
    for row, number in enumerate(rows.numbers):
        record = records[number]
        for column, answer in enumerate((record.turns[-1].answer, record.rejected)):
            ids = taught[rows.places_K == 2 * row + column].tolist()
            assert len(ids) == rows.counts_PR[row, column]
            assert ids[-1] == made.processor.end_id
            assert made.processor.tokenizer.decode(ids[:-1]).strip() == answer


@pytest.mark.parametrize("kind", PAIRED)
def test_packed_and_padded_answers_have_the_same_log_probabilities(kind):
    made = make(kind)
    records = [
        pair("a"),
        replace(talk(), rejected="Green."),
        pair("b", picture=None),
        pair("c", picture=9),
    ]
    padded = encoder_of(made)
    (rows,) = padded.lay(encoded(padded, numbered(*records)))
    with torch.no_grad():
        wanted = dict(zip(rows.numbers, log_probs(made.model, rows).tolist(), strict=True))
    packing = encoder_of(made, max_row_tokens=240)
    laid = packing.lay(encoded(packing, numbered(*records)))
    made.family.let_pack(made.model)
    found = {}
    with torch.no_grad():
        for rows in laid:
            found |= dict(zip(rows.numbers, log_probs(made.model, rows).tolist(), strict=True))

    assert found.keys() == wanted.keys()
    for number, values in wanted.items():
        assert found[number] == pytest.approx(values, abs=1e-4)


@pytest.mark.parametrize("kind", PAIRED)
def test_what_a_model_thinks_of_both_answers_depends_on_the_picture(kind):
    made = make(kind)
    encoder = encoder_of(made, ("chosen", "rejected", "blind"))
    (rows,) = encoder.lay(encoded(encoder, numbered(pair("a", picture=7), pair("a", picture=8))))
    with torch.no_grad():
        table = log_probs(made.model, rows)

    assert (table[0] - table[1]).abs().min() > 1e-4
    assert (table[:, 0] - table[:, 2]).abs().min() > 1e-4


def test_rows_with_nothing_to_learn_give_gradients_of_zero():
    made = make("otter")
    encoder = encoder_of(made)
    (rows,) = encoder.lay(encoded(encoder, numbered(pair())))
    rows = rows.untaught()
    made.model.zero_grad()
    log_probs(made.model, rows).sum().backward()

    assert rows.numbers == ()
    norms = [
        weight.grad.norm().item() for weight in made.model.parameters() if weight.grad is not None
    ]
    assert len(norms) > 20
    assert not any(norms)
    made.model.zero_grad()


# ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_picture_is_decoded_once_for_all_answers_of_a_record(monkeypatch):
    made = make("otter")
    encoder = encoder_of(made)
    asked = []

    def read(one):
        asked.append(one.key)
        return encoder.picture(one.read(), name=one.name)

    encoder.encode(numbered(replace(talk(), rejected="Green."))[0][0], read)

    assert len(asked) == len(set(asked)) == 2


def test_a_record_without_a_rejected_answer_is_refused_by_name():
    encoder = encoder_of(make("otter"))
    with pytest.raises(
        TrainingError, match=r"record 'lone' has no rejected answer.*rejected IS NOT NULL"
    ):
        encoded(encoder, numbered(pair("lone", rejected=None)))


def test_answers_that_are_cut_away_or_too_long_for_a_row_are_refused_by_name():
    made = make("otter")
    short = ComparedEncoder(
        made.encoder(max_tokens=9), ("chosen", "rejected"), needs_both=True, kind="dpo"
    )
    with pytest.raises(TrainingError, match=r"chosen answer of record 'one'.*data.max_tokens"):
        encoded(short, numbered(pair()))
    narrow = encoder_of(made, max_row_tokens=120)
    narrow.max_row_tokens = 40
    with pytest.raises(
        TrainingError, match=r"answers of record 'one' have \d+ tokens together.*max_row_tokens"
    ):
        narrow.lay(encoded(narrow, numbered(pair())))


def test_a_stranger_is_the_answer_of_the_next_record_and_stays_apart():
    made = make("otter")
    mix = numbered(
        pair("a", answer="A."), pair("b", answer="B."), pair("c", answer="C."), strangers=True
    )
    assert [mix[number][0].strange_answer for number in range(3)] == ["B.", "C.", "A."]
    encoder = encoder_of(made, ("chosen", "rejected", "stranger"))
    (rows,) = encoder.lay(encoded(encoder, mix))
    (apart,) = rows.strangers

    assert rows.roles == ("chosen", "rejected")
    assert rows.answers == 6
    with torch.no_grad():
        (found,) = log_probs(made.model, apart).T.tolist()
    wanted = [alone(made, pair(answer=answer)) for answer in ("B.", "C.", "A.")]
    assert found == pytest.approx(wanted, abs=1e-4)


def test_a_fragment_is_a_small_part_of_the_picture_and_always_the_same():
    whole = shown(3, (200, 100))
    sizes = []
    for nth in range(30):
        cut = fragment(whole, "one", nth, crop=0.2, seed=0)
        again = fragment(whole, "one", nth, crop=0.2, seed=0)
        assert cut.read() == again.read()
        assert cut.key == again.key
        with Image.open(_file(cut.read())) as part:
            sizes.append(part.width * part.height / 20_000)
            inside = _file(whole.read())
            with Image.open(inside) as picture:
                assert part.getpixel((0, 0)) in set(picture.convert("RGB").get_flattened_data())
    others = [
        fragment(whole, "one", 0, crop=0.2, seed=1),
        fragment(whole, "two", 0, crop=0.2, seed=0),
    ]

    assert 0.005 < min(sizes) < 0.06
    assert 0.15 < max(sizes) <= 0.2
    first = fragment(whole, "one", 0, crop=0.2, seed=0).read()
    assert all(one.read() != first for one in others)


def _file(data):
    import io

    return io.BytesIO(data)
