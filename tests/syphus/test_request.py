"""A request's key: the same for ever, since ledgers of years ago are looked up by it."""

import hashlib
import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syphus.annotations.context import Context, Picture, Thing
from syphus.render import render_prompt, render_request
from syphus.request import KEY_VERSION, Message, Prompt, Request, Sampling, SeenPicture, Shape
from syphus.task import load_task

PROMPT = Prompt(
    "la_conversation",
    1,
    (
        Message("system", "Écris «quelque chose»."),
        Message("user", 'Notes:\n1. A "dog".'),
        Message("assistant", "Question: What?\nAnswer: A dog."),
    ),
)
PICTURE = SeenPicture(hashlib.sha256(b"x").hexdigest(), "image/png", b"x")
PLAIN = Request(
    "a",
    "openai/gpt-4o-mini",
    PROMPT,
    "Notes:\n1. Un chien\tnoir \U0001f436.",
    Sampling(0.0, 1.0, 400, 0),
    Shape(3, 4),
)
CAT = Context(
    "000000000042",
    (Picture("000000000042.jpg"),),
    ("A cat lies on a red sofa. ", "A cat near a lamp."),
    (
        Thing("cat", (0.1, 0.4, 0.5, 0.9)),
        Thing("Lamp", (0.7, 0.0, 0.9, 0.3)),
        Thing("cat", (0.4, 0.4, 0.6, 0.6)),
    ),
)


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        (PLAIN, "0dc012daad0701e73ea799771a37df58"),
        (
            Request("a", "m", PROMPT, "q", Sampling(seed=7), Shape(), schema='{"type": "object"}'),
            "3cada48f8d0edf8eb53d5257dd760143",
        ),
        (
            Request(
                "a",
                "m",
                PROMPT,
                "q",
                Sampling(1, 1, 512, None),
                Shape(2, 4, 2, 3, 1),
                sample=2,
                form="conversations",
                pictures=(PICTURE,),
            ),
            "7306bb58264434dd3b4a64a48a7dc582",
        ),
        (
            PLAIN.again("Sorry — “no”.", "0 pairs could be read"),
            "067a0130681f628d4699249759f2bf45",
        ),
    ],
)
def test_keys_are_those_of_the_first_ledgers(request_, key):
    assert request_.key == key


@pytest.mark.parametrize(
    ("as_json", "key"),
    [(False, "587ae6c1cebf230d8c53c542f5d4a0c7"), (True, "7f1373e8acb8a6ecaa61446d362b091d")],
)
def test_what_la_conversation_asks_is_what_it_always_asked(as_json, key):
    task = load_task("la_conversation")
    prompt = render_prompt(task, as_json=as_json)
    request = render_request(task, prompt, CAT, model="openai/gpt-4o-mini", seed=0, as_json=as_json)
    assert request.query == (
        "Notes:\n- cat x 2: bottom left, middle\n- Lamp: top right\n"
        "1. A cat lies on a red sofa.\n2. A cat near a lamp."
    )
    assert as_json or prompt.digest == "431cca80221b5b6fe7d412f6dcda335f"
    assert request.key == key


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
numbers = st.integers(0, 2**40)
messages = st.builds(Message, st.sampled_from(["user", "assistant"]), texts)
sampling = st.builds(
    Sampling,
    st.floats(0, 2) | st.integers(0, 2),
    st.floats(0, 1, exclude_min=True),
    numbers,
    st.none() | st.integers(-9, 2**70),
)
shapes = st.builds(Shape, numbers, numbers, st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))
pictures = st.builds(SeenPicture, st.text("0123456789abcdef", max_size=64), texts, st.binary())


@given(
    st.builds(
        Request,
        context_id=texts,
        model=texts,
        prompt=st.builds(Prompt, texts, numbers, st.lists(messages, max_size=3).map(tuple)),
        query=texts,
        sampling=sampling,
        shape=shapes,
        sample=numbers,
        form=st.sampled_from(["pairs", "choices"]) | texts,
        schema=st.none() | texts,
        pictures=st.lists(pictures, max_size=2).map(tuple),
        repair=st.lists(messages, max_size=2).map(tuple),
    )
)
def test_a_key_is_the_hash_of_sorted_json(request_):
    shape = {n: v for n, v in asdict(request_.shape).items() if v or n.endswith("_pairs")}
    value = {
        "v": KEY_VERSION,
        "model": request_.model,
        "prompt": hashed([asdict(message) for message in request_.prompt.messages]),
        "query": request_.query,
        "sampling": asdict(request_.sampling),
        "shape": shape,
        "sample": request_.sample,
    }
    rarer = {
        "schema": request_.schema,
        "pictures": [picture.sha256 for picture in request_.pictures],
        "repair": [asdict(message) for message in request_.repair],
    }
    value |= {name: found for name, found in rarer.items() if found}
    if request_.form != "pairs":
        value["form"] = request_.form
    assert request_.key == hashed(value)


def hashed(value):
    canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()
