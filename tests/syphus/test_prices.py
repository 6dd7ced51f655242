"""Prices against LiteLLM's own arithmetic, over the same list."""

import math
import random
import subprocess
import sys
import textwrap

import pytest

from syphus.prices import Price, cost_of, facts_of, price_of
from syphus.request import Completion

MODELS = [
    "gpt-4o-mini",
    "openai/gpt-4o-mini",
    "openai/gpt-5-mini",
    "openai/o3",
    "azure/gpt-4o-mini",
    "azure/eu/gpt-4o-mini",
    "anthropic/claude-sonnet-4-5",
    "anthropic/claude-haiku-4-5",
    "claude-haiku-latest",
    "gemini/gemini-2.5-pro",
    "vertex_ai/gemini-2.5-flash",
    "vertex_ai/claude-sonnet-4-5",
    "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0",
    "mistral/mistral-small-latest",
    "cohere/command-r-08-2024",
    "groq/openai/gpt-oss-120b",
    "deepseek/deepseek-chat",
    "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "fireworks_ai/accounts/fireworks/models/deepseek-v3",
    "xai/grok-4.3",
    "dashscope/qwen-flash",
    "ft:gpt-4o-mini-2024-07-18:acme::abc",
]
USAGES = {
    "plain": Completion("", "stop", "m", 1_000, 300),
    "cached": Completion("", "stop", "m", 2_000, 300, cached_tokens=1_024),
    "written": Completion("", "stop", "m", 3_000, 300, cached_tokens=512, cache_write_tokens=1_024),
    "long": Completion("", "stop", "m", 300_000, 900, cached_tokens=1_024),
    "reasoning": Completion("", "stop", "m", 1_000, 800, reasoning_tokens=640),
}


@pytest.fixture(scope="module")
def litellm():
    import litellm

    return litellm


def usage_of(completion):
    from litellm.types.utils import (
        CompletionTokensDetailsWrapper,
        PromptTokensDetailsWrapper,
        Usage,
    )

    return Usage(
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        total_tokens=completion.prompt_tokens + completion.completion_tokens,
        prompt_tokens_details=PromptTokensDetailsWrapper(
            cached_tokens=completion.cached_tokens,
            cache_creation_tokens=completion.cache_write_tokens,
        ),
        completion_tokens_details=CompletionTokensDetailsWrapper(
            reasoning_tokens=completion.reasoning_tokens
        ),
    )


@pytest.mark.filterwarnings("ignore::UserWarning")  # LiteLLM's, of its own type hints
@pytest.mark.parametrize("usage", USAGES)
@pytest.mark.parametrize("model", MODELS)
def test_a_reply_costs_what_litellm_says(litellm, model, usage):
    completion = USAGES[usage]
    theirs = sum(
        litellm.cost_per_token(
            model=model,
            usage_object=usage_of(completion),
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
        )
    )
    assert theirs > 0
    assert cost_of(model, completion) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("usage", ["plain", "cached", "written"])
@pytest.mark.parametrize(
    "model", ["openai/gpt-4o-mini", "openai/gpt-5-mini", "anthropic/claude-sonnet-4-5"]
)
def test_a_reply_out_of_a_batch_costs_what_litellm_says(litellm, model, usage):
    from litellm.cost_calculator import batch_cost_calculator

    completion = USAGES[usage]
    theirs = sum(batch_cost_calculator(usage=usage_of(completion), model=model))
    assert cost_of(model, completion, batch=True) == pytest.approx(theirs, rel=1e-9)
    assert cost_of(model, completion, batch=True) < cost_of(model, completion)


@pytest.mark.parametrize(
    "model",
    [
        "hosted_vllm/gpt-4o-mini",  # somebody's own server
        "openai/claude-sonnet-4-5",
        "groq/gpt-4o-mini",
        "openrouter/openai/gpt-4o-mini",
        "acme/unknown",
        "fallback_generalizations",  # a key of the list that is no model
        "supports_vision",  # a key within the entries
        "",
        '"',
    ],
)
def test_no_price_is_better_than_another_models(model):
    assert price_of(model) is None
    assert cost_of(model, USAGES["plain"]) is None


def test_the_embedded_model_is_free():
    assert cost_of("local", USAGES["plain"]) == cost_of("local/a.gguf", USAGES["plain"]) == 0.0


def test_an_alias_is_the_model_it_stands_for():
    assert facts_of("claude-haiku-latest") == facts_of("claude-haiku-5-5")
    assert facts_of("claude-haiku-latest").provider == "anthropic"


def test_higher_prices_begin_above_their_limit():
    price = Price(1.0, 2.0, tiers=((200, Price(5.0, 10.0)), (100, Price(3.0, 6.0))))
    assert [price.cost(n, 1) for n in (100, 101, 200, 201)] == [102, 309, 606, 1015]


def test_cached_and_written_tokens_are_among_the_prompts():
    price = Price(10.0, 100.0, cached=1.0, cache_write=20.0)
    assert price.cost(10, 1, cached=4, cache_write=2) == 4 * 10 + 4 * 1 + 2 * 20 + 100
    assert Price(10.0, 100.0).cost(10, 1, cached=4, cache_write=2) == 200
    # Some providers do not count them among the prompt's; the rest is then not negative.
    assert price.cost(3, 0, cached=4) == 4


def test_a_hundred_thousand_replies_add_up():
    seeded, total, tokens = random.Random(1), 0.0, [0, 0, 0]
    for _ in range(100_000):
        prompt, completion = seeded.randrange(800, 3_000), seeded.randrange(400)
        cached = seeded.randrange(prompt)
        total += cost_of(
            "openai/gpt-4o-mini", Completion("", "stop", "m", prompt, completion, cached)
        )
        tokens = [a + b for a, b in zip(tokens, (prompt, completion, cached), strict=True)]
    price = price_of("openai/gpt-4o-mini")
    exact = math.fsum(
        [
            (tokens[0] - tokens[2]) * price.prompt,
            tokens[1] * price.completion,
            tokens[2] * price.cached,
        ]
    )
    assert total == pytest.approx(exact, rel=1e-9)


def test_a_price_is_found_without_litellm_and_without_the_whole_list():
    code = """
        import sys, tracemalloc
        from syphus.prices import price_of
        tracemalloc.start()
        assert price_of("openai/gpt-4o-mini")
        kept, peak = tracemalloc.get_traced_memory()
        assert peak < 6e6, peak  # the file's bytes; decoded it is three times as much
        assert kept < 3e5, kept
        assert not {"litellm", "orjson"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
