"""The short way to read a provider's answer: whatever it reads, the long way reads alike."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syphus.providers import bodies

ANSWER = {
    "id": "chatcmpl-1",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "A cat.", "refusal": None},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 1_300,
        "completion_tokens": 124,
        "total_tokens": 1_424,
        "prompt_tokens_details": {"cached_tokens": 1_152, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
}
PLACES = [
    ("model",), ("choices",), ("usage",), ("choices", 0), ("choices", 0, "message"), ("choices", 0, "finish_reason"),
    ("choices", 0, "message", "content"), ("choices", 0, "message", "refusal"), ("usage", "prompt_tokens"),
    ("usage", "completion_tokens"), ("usage", "total_tokens"), ("usage", "cost"), ("usage", "prompt_tokens_details"),
    ("usage", "completion_tokens_details"), ("usage", "prompt_tokens_details", "cached_tokens"),
    ("usage", "prompt_tokens_details", "cache_write_tokens"),
    ("usage", "completion_tokens_details", "reasoning_tokens"),
]  # fmt: skip
ODD = st.sampled_from(
    [
        ..., None, "", "A dog.", "\ud800", "stop", "length", "é" * 300, 0, 1, -1, 7.0, 7.5, True, 2**53 - 1, 2**53, 10**400,
        float("nan"), float("inf"), [], {}, [1], {"a": 1}, [{}], {"cached_tokens": 3}, {"reasoning_tokens": 3},
    ]
)  # fmt: skip
MODELS = ["openai/gpt-4o-mini", "openrouter/openai/gpt-4o-mini", "xai/grok-3", "hosted_vllm/none"]


def changed(places):
    answer = copy.deepcopy(ANSWER)
    for place, value in places:
        inner = answer
        try:
            for key in place[:-1]:
                inner = inner[key]
            if value is ...:
                del inner[place[-1]]
            else:
                inner[place[-1]] = copy.deepcopy(value)
        except (LookupError, TypeError):
            pass
    return answer


@pytest.mark.parametrize("model", MODELS)
def test_what_answers_mostly_are_is_read_the_short_way(model):
    usual = bodies._usual_completion(ANSWER, model, None)
    assert usual
    assert usual == bodies._openai_completion(ANSWER, model, None)


@given(
    st.lists(st.tuples(st.sampled_from(PLACES), ODD), min_size=1, max_size=3),
    st.sampled_from(MODELS),
)
def test_what_is_read_the_short_way_is_read_alike(places, model):
    answer = changed(places)
    if usual := bodies._usual_completion(answer, model, None):
        assert usual == bodies._openai_completion(answer, model, None)
