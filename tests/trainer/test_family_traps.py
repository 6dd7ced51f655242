"""What goes wrong elsewhere when models with pictures are taught, tried on every family through its own encoder and rows."""

import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tests.trainer.labels import answer_labels  # noqa: E402
from trainer.config import Optim  # noqa: E402
from trainer.errors import TrainingError  # noqa: E402
from trainer.loading import FAMILIES as ASKED  # noqa: E402
from trainer.models.loss import IGNORED  # noqa: E402
from trainer.optim import make_optimizer  # noqa: E402
from trainer.sources.base import Conversation, Said  # noqa: E402
from trainer.trainable import NEVER, available, choose, parts_of  # noqa: E402

from . import family_lessons as lessons  # noqa: E402
from .family_lessons import (  # noqa: E402
    KINDS,
    example_of,
    features_of,
    ids_of,
    labels_of,
    loss_of,
    make,
    pieces,
    places_of,
)

torch.set_num_threads(1)
CLOSE = {"atol": 1e-5, "rtol": 1e-4}
kinds = pytest.mark.parametrize("kind", KINDS)
laid = pytest.mark.parametrize("row", [None, 512], ids=["padded", "packed"])


# ── T1: cuts and pictures ────────────────────────────────────────────────────────────────────────────────────────────────


@kinds
@pytest.mark.parametrize("name", ["talk", "marked"])
def test_no_cut_parts_places_from_pictures(kind, name):
    made, record = make(kind), getattr(lessons, name)()
    whole = ids_of(example_of(made.encoder(), record))
    refused = []
    for tokens in range(1, len(whole) + 2):
        try:
            example = example_of(made.encoder(max_tokens=tokens), record)
        except TrainingError as error:
            refused.append(str(error))
            continue
        ids = ids_of(example)
        assert len(ids) <= tokens
        assert ids == whole[: len(ids)]
        assert len(ids) == len(labels_of(example))
        assert places_of(made, ids) == features_of(kind, example) == places_of(made, whole)
    assert 0 < len(refused) < len(whole)
    assert all(repr(record.id) in said and "data.max_tokens" in said for said in refused)


@kinds
def test_a_page_that_is_cut_loses_pictures_with_their_places(kind):
    made, record = make(kind), lessons.page(pictures=3)
    whole = example_of(made.encoder(), record)
    refused, met = [], set()
    for tokens in range(1, len(ids_of(whole)) + 2):
        try:
            example = example_of(made.encoder(max_tokens=tokens), record)
        except TrainingError as error:
            refused.append(str(error))
            continue
        ids, taught = ids_of(example), [one for one in labels_of(example) if one != IGNORED]
        assert len(ids) == len(labels_of(example)) <= tokens
        assert places_of(made, ids) == features_of(kind, example)
        assert taught
        assert taught == [one for one in labels_of(whole) if one != IGNORED][: len(taught)]
        [rows] = made.encoder().lay([example])
        met.add(rows.pictures)
    assert met == {1, 2, 3}
    assert len(refused) < len(ids_of(whole)) / 2
    assert all(repr(record.id) in said and "data.max_tokens" in said for said in refused)


@settings(max_examples=40, deadline=None)
@given(
    turns=st.lists(
        st.tuples(st.text(max_size=12), st.text(max_size=12), st.integers(0, 2)),
        min_size=1,
        max_size=3,
    ),
    tokens=st.integers(1, 120),
    kind=st.sampled_from(KINDS),
)
def test_any_conversation_keeps_its_pictures_or_is_named(turns, tokens, kind):
    made = make(kind)
    said = tuple(
        Said(question, answer, tuple((lessons.shown(number),) for number in range(media)))
        for question, answer, media in turns
    )
    try:
        example = example_of(made.encoder(max_tokens=tokens), Conversation("any", said))
    except TrainingError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert "'any'" in message
        return
    wanted = sum(media for *_, media in turns)
    assert places_of(made, ids_of(example)) == features_of(kind, example)
    assert kind == "fuyu" or features_of(kind, example) == wanted


# ── T2, T3: what is taught ───────────────────────────────────────────────────────────────────────────────────────────────


@kinds
def test_only_answers_and_their_ends_are_taught(kind):
    made = make(kind)
    for record in lessons.records():
        example = example_of(made.encoder(), record)
        taught = pieces(labels_of(example))

        assert [made.processor.decode(piece).strip() for piece in taught] == [
            said.answer for said in record.turns
        ]
        assert all(piece[-1] == made.processor.end_id for piece in taught)
        assert all(piece.count(made.processor.end_id) == 1 for piece in taught)
        assert not lessons.layout_ids(made) & {label for piece in taught for label in piece}
        ids, labels = ids_of(example), labels_of(example)
        assert all(label in (IGNORED, token) for token, label in zip(ids, labels, strict=True))


def test_otters_taught_tokens_are_those_of_the_published_rule():
    made = make("otter")
    for record in lessons.records():
        example = example_of(made.encoder(), record)
        marks = {"answer": made.processor.answer_id, "end": made.processor.end_id}
        assert labels_of(example) == answer_labels(ids_of(example), **marks)


@kinds
def test_a_text_begins_once_and_padding_is_not_taught(kind):
    made = make(kind)
    encoder = made.encoder()
    examples = [example_of(encoder, record) for record in lessons.records()]
    begin = made.processor.tokenizer.bos_token_id

    for example in examples:
        ids = ids_of(example)
        # Fuyu ends every picture with it, too.
        ends = example.pictures if kind == "fuyu" else 0
        assert begin is None or ids.count(begin) == ends + (ids[0] == begin)
    [rows] = encoder.lay(examples)
    given = rows.inputs()
    assert (given["labels"][given["attention_mask"] == 0] == IGNORED).all()
    assert (given["attention_mask"] == 0).any()


# ── T4: shifted once ─────────────────────────────────────────────────────────────────────────────────────────────────────


@kinds
def test_a_model_that_knows_nothing_has_the_loss_of_chance(kind):
    made = make(kind)
    for weight in made.model.get_output_embeddings().parameters():
        torch.nn.init.normal_(weight, std=1e-4)
    encoder = made.encoder()
    [rows] = encoder.lay([example_of(encoder, record) for record in lessons.records()])

    with torch.no_grad():
        loss = loss_of(made.model, [rows], items=rows.taught)
    words = sum(len(weight) for weight in made.model.get_output_embeddings().parameters())
    assert float(loss) == pytest.approx(math.log(words), abs=0.02)


@kinds
def test_learning_by_heart_is_not_copying(kind):
    """The token that is to be said is not seen: another one in its place changes nothing."""
    made = make(kind)
    encoder = made.encoder()
    [rows] = encoder.lay([example_of(encoder, lessons.one())])
    made.model.train()
    optimizer = torch.optim.AdamW(made.model.parameters(), lr=3e-3)
    for _ in range(40):
        loss = loss_of(made.model, [rows], items=rows.taught)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    made.model.eval()
    given = rows.inputs()
    last = int((given["labels"][0] != IGNORED).nonzero()[-1])
    other = dict(given, input_ids=given["input_ids"].clone())
    other["input_ids"][0, last] = 10
    before = dict(given, input_ids=given["input_ids"].clone())
    before["input_ids"][0, last - 1] = 10

    with torch.no_grad():
        learned, perturbed, lost = (float(made.model(**one).loss) for one in (given, other, before))
    assert learned < 0.1
    assert perturbed == learned
    assert lost != learned


# ── T7: the same graph on every process ──────────────────────────────────────────────────────────────────────────────────


@kinds
@laid
def test_rows_without_pictures_or_lessons_give_every_weight_a_gradient(kind, row):
    made = make(kind)
    encoder = made.encoder(max_row_tokens=row)
    if row:
        made.family.let_pack(made.model)
    choose(made.model, ["all"])
    made.model.train()
    full = encoder.lay([example_of(encoder, lessons.talk())])
    alone = encoder.lay([example_of(encoder, lessons.text_alone())])

    for rows in (full, alone, [one.untaught() for one in full], [one.untaught() for one in alone]):
        made.model.zero_grad()
        loss = loss_of(made.model, rows)
        loss.backward()
        without = [
            n for n, w in made.model.named_parameters() if w.requires_grad and w.grad is None
        ]
        assert not without
        assert all(w.grad.isfinite().all() for w in made.model.parameters() if w.grad is not None)
    assert float(loss.detach()) == 0.0
    assert not any(w.grad.any() for w in made.model.parameters() if w.grad is not None)


@kinds
def test_what_text_alone_cannot_teach_gets_a_gradient_of_zero(kind):
    """A picture that only keeps processes in step adds nothing."""
    made = make(kind)
    encoder = made.encoder()
    made.model.train()
    choose(made.model, ["all"])
    loss_of(made.model, encoder.lay([example_of(encoder, lessons.text_alone())])).backward()

    parts = parts_of(made.model)
    seen = [
        w.grad for n, w in made.model.named_parameters() if parts[n] == "vision" and w.requires_grad
    ]
    assert seen
    assert not any(grad.any() for grad in seen)


@kinds
@laid
def test_an_example_and_rows_without_a_lesson_say_so(kind, row):
    encoder = make(kind).encoder(max_row_tokens=row)
    example = example_of(encoder, lessons.talk())

    for rows in (encoder.lay([encoder.untaught(example)]), [encoder.lay([example])[0].untaught()]):
        assert [(one.taught, set(one.taught_each)) for one in rows] == [(0, {0})]
        assert (rows[0].inputs()["labels"] == IGNORED).all()


# ── T8: packing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _grads(model):
    found = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
    model.zero_grad()
    return found


@kinds
def test_packed_and_padded_rows_teach_the_same(kind):
    made = make(kind)
    encoder, packer = made.encoder(), made.encoder(max_row_tokens=512)
    examples = [example_of(encoder, record) for record in lessons.records()]
    examples.append(example_of(encoder, lessons.page()))
    padded, packed = encoder.lay(examples), packer.lay(examples)
    assert len(packed) == 1
    one, row = padded[0], packed[0]
    assert row.tokens == row.size < one.size
    for name in ("taught", "tokens", "pictures", "taught_each", "record_ids", "samples"):
        assert getattr(row, name) == getattr(one, name)
    assert (
        one.taught == int((one.inputs()["labels"][:, 1:] != IGNORED).sum()) == sum(one.taught_each)
    )

    expected = loss_of(made.model, padded)
    expected.backward()
    wanted = _grads(made.model)
    made.family.let_pack(made.model)
    found = loss_of(made.model, packed)
    found.backward()
    got = _grads(made.model)

    torch.testing.assert_close(found, expected, **CLOSE)
    largest = max(float(grad.abs().max()) for grad in wanted.values())
    for name, grad in wanted.items():
        other = got.get(name, torch.zeros_like(grad))
        torch.testing.assert_close(other, grad, atol=1e-5 * largest, rtol=1e-3, msg=name)


@kinds
def test_a_packed_neighbours_picture_and_text_change_no_bit(kind):
    made = make(kind)
    made.family.let_pack(made.model)
    encoder = made.encoder(max_row_tokens=512)
    mine = example_of(encoder, lessons.one())
    neighbours = [lessons.talk(picture=1), lessons.talk(picture=2)]

    losses = []
    for neighbour in neighbours:
        quiet = encoder.untaught(example_of(encoder, neighbour))
        rows = encoder.lay([quiet, mine])
        assert len(rows) == 1
        with torch.no_grad():
            losses.append(float(loss_of(made.model, rows)))
    alone = encoder.lay([mine])
    with torch.no_grad():
        losses.append(float(loss_of(made.model, alone)))
    assert losses[0] == losses[1]
    assert losses[2] == pytest.approx(losses[0], rel=1e-5)
    # And its own picture does matter.
    other = encoder.lay([quiet, example_of(encoder, lessons.one(picture=8))])
    with torch.no_grad():
        assert float(loss_of(made.model, other)) != losses[0]


@kinds
def test_an_example_longer_than_a_row_is_named(kind):
    made = make(kind)
    examples = [example_of(made.encoder(), lessons.one(id="too long"))]
    packer = made.encoder(max_row_tokens=10, max_tokens=10)

    with pytest.raises(TrainingError, match=r"'too long' has \d+ tokens.*data\.max_row_tokens"):
        packer.lay(examples)


# ── T12: what is trained ─────────────────────────────────────────────────────────────────────────────────────────────────


@kinds
def test_after_a_step_exactly_the_declared_parts_have_changed(kind):
    for part in [part for part in available(make(kind).model) if part not in ("all", "new_tokens")]:
        made = make(kind)
        choose(made.model, [part])
        encoder = made.encoder()
        rows = encoder.lay([example_of(encoder, record) for record in lessons.records()])
        before = {n: w.detach().clone() for n, w in made.model.named_parameters()}
        optimizer = make_optimizer(made.model, Optim(lr=1e-2, weight_decay=0.1))
        made.model.train()
        loss_of(made.model, rows, items=rows[0].taught).backward()
        optimizer.step()

        changed = {n for n, w in made.model.named_parameters() if not torch.equal(w, before[n])}
        parts = parts_of(made.model)
        assert changed == {n for n in parts if parts[n] == part and not NEVER.match(n)}


@kinds
def test_keeping_less_gives_the_same_gradients(kind):
    made = make(kind)
    encoder = made.encoder()
    rows = encoder.lay([example_of(encoder, record) for record in lessons.records()])
    made.model.train()
    loss_of(made.model, rows).backward()
    whole = _grads(made.model)
    made.model.activation_checkpointing_enable({"use_reentrant": False})
    made.model.disable_input_require_grads()
    loss_of(made.model, rows).backward()

    for name, grad in _grads(made.model).items():
        torch.testing.assert_close(grad, whole[name], atol=1e-6, rtol=1e-5, msg=name)


# ── T16, T20: asked as it was taught; ids stay whole numbers ─────────────────────────────────────────────────────────────


@kinds
def test_what_is_asked_is_the_beginning_of_what_was_taught(kind):
    made = make(kind)
    model_type = made.model.config.model_type
    for record in (lessons.talk(), lessons.one(), lessons.text_alone()):
        messages = []
        ids = ids_of(example_of(made.encoder(), record))
        for said in record.turns:
            from mimicit.media.picture import decode

            pictures = [decode(one.read(), name=one.name) for clip in said.media for one in clip]
            content = [{"type": "image", "image": picture} for picture in pictures]
            content.append({"type": "text", "text": said.question})
            messages.append({"role": "user", "content": content})
            asked = ASKED[model_type].inputs(made.processor, messages)["input_ids"][0].tolist()
            messages.append({"role": "assistant", "content": said.answer})
            assert asked == ids[: len(asked)]
            assert labels_of(example_of(made.encoder(), record))[len(asked)] != IGNORED


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Output:", "A cat."),
        ("What is", " it?"),
        ("wh", "at"),
        ("", "A cat."),
        ("Wh", "at colour"),
        ("It is r", "ed."),
    ],
)
def test_no_word_at_the_seam_of_a_caption_takes_from_the_question(question, answer):
    made = make("flamingo")
    record = Conversation("seam", (Said(question, answer, ((lessons.shown(1),),)),))
    example = example_of(made.encoder(), record)
    asked = made.processor.prompt(question, picture=True)

    assert ids_of(example)[: len(asked)] == asked
    assert made.processor.decode(ids_of(example)[1:-1]) == (question + answer).strip()
    assert made.processor.decode(pieces(labels_of(example))[0]) == answer.strip()


@kinds
@laid
def test_ids_stay_whole_numbers_in_half_precision(kind, row):
    made = make(kind)
    encoder = made.encoder(max_row_tokens=row)
    if row:
        made.family.let_pack(made.model)
    [rows] = encoder.lay([example_of(encoder, record) for record in lessons.records()])
    given = rows.to("cpu").inputs()

    assert {given[name].dtype for name in ("input_ids", "labels")} == {torch.int64}
    assert int(given["input_ids"].max()) > 256, "an id that 8 bits of a fraction cannot hold"
    full = loss_of(made.model, [rows], items=rows.taught)
    with torch.autocast("cpu", torch.bfloat16):
        half = loss_of(made.model, [rows], items=rows.taught)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(full.item(), rel=0.05)
