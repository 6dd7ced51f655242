"""The LiteLLM lane reaches what has no direct one: servers of this machine in the form of each."""

import asyncio
import json

import pytest

from syphus.limits import Quota
from syphus.providers import connect
from tests.syphus.providers.houses import KEY, MODELS, plain, send_to
from tests.syphus.providers.recorder import record


@pytest.fixture(scope="module")
def recorder():
    with record() as found:
        yield found


@pytest.fixture
def ask(recorder, monkeypatch):
    send_to(monkeypatch, recorder.url)
    recorder.sent.clear()

    async def run(model, **options):
        async with connect(model, **options) as provider:
            return await provider.complete(plain(model))

    return lambda model, **options: (asyncio.run(run(model, **options)), recorder.sent)


@pytest.mark.parametrize(
    ("model", "path", "where"),
    [
        ("ollama/llama3.2", "/api/generate", ""),
        ("ollama_chat/llama3.2", "/api/chat", ""),
        ("gemini/gemini-2.5-flash", "generateContent", "x-goog-api-key"),
        ("cohere_chat/command-r-plus-08-2024", "/v2/chat", "authorization"),
    ],
)
def test_others_are_reached_through_litellm(ask, model, path, where):
    completion, sent = ask(model)
    assert completion.text == "A kite."
    assert (completion.prompt_tokens, completion.completion_tokens) == (120, 30)
    [asked] = [
        one for one in sent if path in one.path
    ]  # Ollama is also asked what the model can do
    assert "red kite" in json.dumps(json.loads(asked.body), ensure_ascii=False)
    assert KEY in asked.headers.get(where, asked.path) or not where


@pytest.mark.parametrize("model", [MODELS["openai"], MODELS["anthropic"], MODELS["groq"]])
def test_limits_are_read_on_both_lanes(ask, model):
    for transport in ("direct", "litellm"):
        completion, _ = ask(model, transport=transport)
        assert completion.limits.requests == Quota(5000, 4990, 2)


def test_another_key_is_used_on_the_litellm_lane_too(ask, monkeypatch):
    monkeypatch.setenv("SECOND", "second-secret-value")
    _, sent = ask(MODELS["openai"], transport="litellm", key="SECOND")
    assert sent[-1].headers["authorization"] == "Bearer second-secret-value"
