"""Both lanes send the same: recorded by a server on this machine, each with the same request.

Of OpenAI, Azure and Anthropic the bodies are compared byte for byte. For the others LiteLLM writes JSON with blanks and with
`\\u` for letters that are not ASCII: there it is the value that is compared, with the order of its names.

Headers that only say who asks are left out: `user-agent`, `accept`, `accept-encoding` and OpenAI's `x-stainless-…`.
"""

import asyncio
import json
from dataclasses import replace

import orjson
import pytest

from syphus.errors import RefusedError
from syphus.prices import facts_of
from syphus.providers import connect
from syphus.providers.targets import against_direct
from tests.syphus.providers.houses import KEY, MODELS, cases, plain, schema, send_to
from tests.syphus.providers.recorder import record

IN_BYTES = ("openai", "azure", "anthropic")
WHO_ASKS = ("user-agent", "accept", "accept-encoding", "host", "connection", "content-length")
MORE = [
    "gpt-4o-mini",
    "openai/my-own-model",
    "openai/o3-mini",
    "openai/o1",
    "openai/gpt-5-mini",
    "openai/gpt-5.4-mini",
    "openai/ft:gpt-4o-mini-2024-07-18:house::1",
    "azure/my deployment",
    "claude-haiku-4-5",
    "anthropic/claude-opus-4-8",
    "anthropic/claude-3-5-haiku-20241022",
]
NAMES = list(cases("openai/gpt-4o-mini"))


@pytest.fixture(scope="module")
def server():
    with record() as recorder:
        yield recorder


@pytest.fixture
def both(server, monkeypatch):
    """Ask on both lanes, and return what each was sent, and what it made of the answer."""
    send_to(monkeypatch, server.url)

    async def ask(model, requests, transport):
        async with connect(model, transport=transport) as provider:
            return [await provider.complete(request) for request in requests]

    def run(model, *requests):
        found = []
        for transport in ("litellm", "direct"):
            server.sent.clear()
            answers = asyncio.run(ask(model, requests, transport))
            found.append((list(server.sent), answers))
        return found

    return run


def that_matter(headers):
    return {
        name: value
        for name, value in headers.items()
        if name not in WHO_ASKS and not name.startswith("x-stainless")
    }


def in_order(body):
    return json.loads(body, object_pairs_hook=list)


def compare(model, litellm, direct):
    (sent_before, answers_before), (sent, answers) = litellm, direct
    assert len(sent) == len(sent_before) == len(answers)
    for theirs, ours in zip(sent_before, sent, strict=True):
        assert (ours.path, that_matter(ours.headers)) == (theirs.path, that_matter(theirs.headers))
        if (model.partition("/")[0] if "/" in model else "openai") in IN_BYTES:
            assert ours.body.decode() == theirs.body.decode()
        else:
            assert in_order(ours.body) == in_order(theirs.body)
    for theirs, ours in zip(answers_before, answers, strict=True):
        if model.startswith("fireworks_ai/"):  # LiteLLM writes the provider before the model
            theirs = replace(theirs, model=theirs.model.removeprefix("fireworks_ai/"))
        assert ours == theirs


@pytest.mark.parametrize("case", NAMES)
@pytest.mark.parametrize("model", [*MODELS.values(), *MORE])
def test_both_lanes_send_and_understand_the_same(both, model, case):
    request = cases(model)[case]
    if request.pictures and model.startswith("deepseek/"):
        with pytest.raises(RefusedError, match="takes no pictures"):
            both(model, request)
        return
    compare(model, *both(model, request))


def test_a_second_request_is_sent_as_the_first_one(both):
    """The encoded prompt is kept; that must not be seen."""
    for model in MODELS.values():
        first = plain(model)
        other = replace(first, query="Notes:\n- Another.", schema=schema())
        asked = [first, other, first, replace(other, schema=None), cases(model)["no examples"]]
        compare(model, *both(model, *asked))


def test_the_keys_and_marks_are_where_they_belong(both, server):
    found = {model: both(model, plain(model))[1][0][0] for model in MODELS.values()}
    named = {"azure": ("api-key", KEY), "anthropic": ("x-api-key", KEY)}
    for provider, model in MODELS.items():
        name, value = named.get(provider, ("authorization", f"Bearer {KEY}"))
        assert found[model].headers[name] == value
        assert (b"cache_control" in found[model].body) == (provider == "anthropic")
    body = orjson.loads(found[MODELS["anthropic"]].body)
    assert body["system"][-1]["cache_control"] == {"type": "ephemeral"}
    marked = ["cache_control" in message["content"][-1] for message in body["messages"]]
    assert marked == [False, False, False, True, False]


def test_an_account_of_openai_is_named_by_both(both, monkeypatch):
    monkeypatch.setenv("OPENAI_ORGANIZATION", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj_1")
    compare("openai/gpt-4o-mini", *both("openai/gpt-4o-mini", plain("openai/gpt-4o-mini")))


@pytest.mark.parametrize("end", ["/v1/", "/v1"])
def test_an_address_may_end_with_a_slash(both, server, monkeypatch, end):
    for name in ("OPENAI_BASE_URL", "HOSTED_VLLM_API_BASE", "GROQ_API_BASE"):
        monkeypatch.setenv(name, server.url + end)
    monkeypatch.setenv("ANTHROPIC_API_BASE", server.url + end.replace("/v1", "/v1/messages"))
    monkeypatch.setenv("MISTRAL_AZURE_API_BASE", server.url + end.replace("/v1", ""))
    for provider in ("openai", "hosted_vllm", "groq", "anthropic", "mistral"):
        compare(MODELS[provider], *both(MODELS[provider], plain(MODELS[provider])))


def listed():
    """Return the models of LiteLLM's list that are asked directly; of the two longest lists every tenth."""
    import litellm

    found = {}
    for name, entry in litellm.model_cost.items():
        provider = entry.get("litellm_provider")
        if provider in MODELS and entry.get("mode") in ("chat", "responses", "completion"):
            model = name if name.startswith(f"{provider}/") else f"{provider}/{name}"
            found.setdefault(provider, []).append(model)
    few = ("fireworks_ai", "together_ai")
    return [
        model
        for provider, models in found.items()
        for model in models[:: 10 if provider in few else 1]
        if not against_direct(model)
    ]


@pytest.mark.slow
def test_all_listed_models_that_are_asked_directly_are_asked_as_litellm_would(both):
    connect("openai/gpt-4o-mini", transport="litellm")
    models = listed()
    assert len(models) > 200
    for model in models:
        request = cases(model)["repair"]
        compare(model, *both(model, plain(model), request))
    assert sum(facts_of(model).has_schema for model in models) > 50
