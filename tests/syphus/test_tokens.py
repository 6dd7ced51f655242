"""Tokens by the models' own vocabularies, without the network."""

import os
import subprocess
import sys

import pytest

from syphus.prices import estimate_tokens
from syphus.request import Message
from syphus.tokens import counter, most_picture_tokens, picture_tokens


@pytest.mark.parametrize(
    ("model", "name", "is_exact"),
    [
        ("openai/gpt-4o-mini", "o200k_base", True),
        ("azure/gpt-4.1-mini", "o200k_base", True),
        ("openai/gpt-4", "cl100k_base", True),
        ("gpt-3.5-turbo", "cl100k_base", True),
        ("openrouter/openai/gpt-4o", "o200k_base", True),
        ("openai/gpt-99-luna", "o200k_base", False),
        ("groq/openai/gpt-oss-120b", "o200k_base", False),
        ("anthropic/claude-sonnet-4-5", "anthropic_tokenizer", False),
        ("deepseek/deepseek-chat", "deepseek_tokenizer", False),
        ("gemini/gemini-2.5-pro", "four bytes a token", False),
        ("local", "four bytes a token", False),
        ("local/gpt-4o.gguf", "four bytes a token", False),
    ],
)
def test_a_model_is_counted_with_what_is_at_hand(model, name, is_exact):
    found = counter(model)
    assert (found.name, found.is_exact) == (name, is_exact)
    # A sentence has about a token a word in all of them.
    assert 10 <= found.count("The quick brown fox jumps over the lazy dog, twice a day.") <= 16
    assert found.count("") == 0


def test_counts_are_openais_own():
    # From the cookbook "How to count tokens with tiktoken": 124 tokens for gpt-4o, 129 for gpt-4.
    messages = [
        ("system", "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."),
        ("user", "New synergies will help drive top-line growth."),
        ("assistant", "Things working well together will increase revenue."),
        ("user", "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."),
        ("assistant", "Let's talk later when we're less busy about how to do better."),
        ("user", "This late pivot means we don't have time to boil the ocean for the client deliverable."),
    ]  # fmt: skip
    counted = [
        counter(model).count_messages([Message(role, text) for role, text in messages])
        for model in ("openai/gpt-4o-mini", "openai/gpt-4")
    ]
    # There, four messages also have a name, which takes a token and its own two or three.
    assert counted == [124 - 14, 129 - 14]


def test_special_words_are_text():
    assert counter("openai/gpt-4o-mini").count("<|endoftext|>") > 1


def test_a_vocabulary_is_read_without_litellm_and_leaves_no_trace():
    code = (
        "import os, sys\n"
        "from syphus.tokens import counter\n"
        "counter('openai/gpt-4o-mini').count('hello')\n"
        "assert 'litellm' not in sys.modules\n"
        "print(os.environ.get('TIKTOKEN_CACHE_DIR'))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TIKTOKEN_CACHE_DIR"}
    for said in (None, "/nowhere"):
        if said:
            environment["TIKTOKEN_CACHE_DIR"] = said
        run = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        )
        assert run.stdout.strip() == str(said)


def test_counting_without_vocabularies_is_a_guess(monkeypatch):
    import syphus.tokens

    monkeypatch.setattr(syphus.tokens, "_folder", lambda: None)
    counter.cache_clear()
    try:
        found = counter("openai/gpt-4o-mini")
        assert not found.is_exact
        assert found.count("hello there") == estimate_tokens("hello there")
    finally:
        counter.cache_clear()


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        # OpenAI's own examples.
        ("openai/gpt-4o", (1024, 1024), 765),
        ("openai/gpt-4o", (2048, 4096), 1105),
        ("openai/gpt-4o", (512, 512), 255),
        ("openai/gpt-4o-2024-08-06", (1024, 1024), 765),
        ("openai/gpt-4o-mini", (1024, 1024), 2833 + 4 * 5667),
        ("openai/gpt-4.1-mini", (1024, 1024), 1659),
        ("openai/gpt-4.1-mini", (4096, 4096), 2489),
        # Anthropic's: 200 × 200 is ~54, 1,000 × 1,000 ~1,334.
        ("anthropic/claude-sonnet-4-5", (200, 200), 54),
        ("anthropic/claude-sonnet-4-5", (1000, 1000), 1334),
        ("anthropic/claude-sonnet-4-5", (8000, 8000), 1600),
        ("gemini/gemini-2.5-flash", (384, 384), 258),
        ("gemini/gemini-2.5-flash", (1024, 1024), 4 * 258),
        ("acme/unknown", (1024, 1024), 765),
    ],
)
def test_a_picture_has_the_tokens_that_its_provider_says(model, size, tokens):
    assert picture_tokens(model, *size) == tokens


@pytest.mark.parametrize(
    "model", ["openai/gpt-4o", "openai/o4-mini", "claude-x", "gemini-x", "acme"]
)
def test_no_picture_of_a_run_has_more_tokens_than_the_most(model):
    sizes = [(1024, 1024), (1024, 1), (1, 1024), (1024, 513), (769, 1024), (10, 10)]
    assert max(picture_tokens(model, *size) for size in sizes) <= most_picture_tokens(model)
