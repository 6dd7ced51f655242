"""Replies made into records: what a name may be, which records belong together, which break a rule."""

import pytest
from pydantic import ValidationError

from mimicit.schema import Instruction
from syphus.annotations.context import Context, Picture
from syphus.forms import Pair
from syphus.ledger import Reply
from syphus.records import make_records
from syphus.task import load_task

REPLY = Reply(7, "abcdef" + "0" * 26, "", "stop", None, None)
PAIRS = (Pair("What is it?", "A cat."), Pair("Where?", "On a sofa."), Pair("Why?", "It sleeps."))


def made(context=None, pairs=PAIRS, images=("LA_IMG_cat",), task="la_conversation"):
    context = context or Context("cat", (Picture("cat.png"),), ("A cat.",), source="a.json#1")
    return make_records(load_task(task), context, REPLY, pairs, images, digest="d")


def test_rows_hold_what_records_hold():
    rows, records = made().rows, made().records
    assert records[0] == Instruction(
        id="LACONV_INS_cat_abcdef_00",
        task="la_conversation",
        instruction="What is it?",
        answer="A cat.",
        image_ids=("LA_IMG_cat",),
        source="a.json#1",
        request=REPLY.request,
        reply=7,
    )
    assert [row._asdict() for row in rows] == [record.model_dump() for record in records]
    assert rows[0]._fields == tuple(Instruction.model_fields)


def test_turns_name_those_before_them_in_their_conversation():
    numbers = [0, 0, 1, 0, 1]
    pairs = [Pair("What?", f"{n}", conversation=number) for n, number in enumerate(numbers)]
    near = [row.rel_ins_ids for row in made(pairs=pairs).rows]
    ids = [row.id for row in made(pairs=pairs).rows]
    assert near == [(), (ids[0],), (), (ids[0], ids[1]), (ids[2],)]


@pytest.mark.parametrize(
    ("context", "images"),
    [
        (Context("c\x00t"), ()),
        (Context("c" * 600), ()),
        (Context("cat"), ("LA_IMG_\x1f",)),
        (Context("cat"), ("",)),
        (Context("cat"), ("LA_IMG_" + "c" * 600,)),
    ],
)
def test_names_that_no_record_can_have_are_refused(context, images):
    with pytest.raises(ValidationError):
        made(context, images=images)


@pytest.mark.parametrize("name", ["katze\u00a0", "\u200bكلب", "\x85", "c" * 490])
def test_unusual_names_are_names(name):
    assert made(Context(name)).rows[0].id == f"LACONV_INS_{name}_abcdef_00"


def test_only_pairs_that_break_a_rule_have_a_verdict():
    pairs = (*PAIRS, Pair("What does the Caption say?", "Nothing."), Pair("The", "description"))
    found = made(pairs=pairs).verdicts
    assert [(verdict.record[-2:], verdict.reason) for verdict in found] == [
        ("03", "it says 'Caption'"),
        ("04", "it says 'The description'"),
    ]
    assert made(pairs=(Pair("What about the", "cat?"), Pair("described", "is"))).verdicts == ()
