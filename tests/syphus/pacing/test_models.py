import pytest
from hypothesis import given
from hypothesis import strategies as st

from syphus.errors import StopError
from syphus.pacing.models import ModelSpec, parse_models


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("local", [ModelSpec("local")]),
        ("a,b=3", [ModelSpec("a"), ModelSpec("b", None, 3.0)]),
        ("a , b = 0.5", [ModelSpec("a"), ModelSpec("b", None, 0.5)]),
        (
            "openai/gpt-4o-mini,openai/gpt-4o-mini@env:KEY_2=2",
            [ModelSpec("openai/gpt-4o-mini"), ModelSpec("openai/gpt-4o-mini", "KEY_2", 2.0)],
        ),
        (
            "vertex_ai/claude-3-5-sonnet@20240620,ollama/llama3.2:1b=2",
            [
                ModelSpec("vertex_ai/claude-3-5-sonnet@20240620"),
                ModelSpec("ollama/llama3.2:1b", None, 2.0),
            ],
        ),
        (
            "vertex_ai/claude-3-5-sonnet@20240620@env:SECOND_KEY",
            [ModelSpec("vertex_ai/claude-3-5-sonnet@20240620", "SECOND_KEY")],
        ),
        (
            "bedrock/anthropic.claude-3-haiku-20240307-v1:0",
            [ModelSpec("bedrock/anthropic.claude-3-haiku-20240307-v1:0")],
        ),
    ],
)
def test_models_have_weights_and_keys(text, specs):
    assert parse_models(text) == specs


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty model name"),
        ("a,,b", "empty model name"),
        ("a=", "no weight"),
        ("a=0", "no weight"),
        ("a=-1", "no weight"),
        ("a=nan", "no weight"),
        ("a=inf", "no weight"),
        ("a=many", "no weight"),
        ("a@env:", "no environment variable"),
        ("a@env:2", "no environment variable"),
        ("a@env:MY-KEY=2", "no environment variable"),
        ("a,b,a=2", "names 'a' twice"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(text, said):
    with pytest.raises(StopError, match=said):
        parse_models(text)


@given(st.text(alphabet="ab/@:=.,env 1-"))
def test_no_text_breaks_it(text):
    try:
        specs = parse_models(text)
    except StopError:
        return
    assert specs
    assert all(spec.model and spec.weight > 0 for spec in specs)
