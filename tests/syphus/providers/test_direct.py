"""The direct lane: what it loads, whom it asks, what it makes of answers."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace

import orjson
import pytest
from aiohttp import web

from syphus.errors import (
    ConnectionLostError,
    RateLimitError,
    RefusedError,
    StopError,
    TimedOutError,
)
from syphus.providers import connect
from syphus.providers.anthropic_schema import anthropic_schema
from syphus.providers.bodies import body_of, openai_body, read_anthropic, read_openai
from syphus.providers.direct import DirectModel, _Encoded
from syphus.providers.refusals import refusal
from syphus.providers.secrets import without_keys
from syphus.providers.targets import against_direct, family, target
from tests.syphus.providers.houses import KEY, MODELS, PROMPT, cases, plain, send_to
from tests.syphus.providers.recorder import ANTHROPIC, OPENAI, record

MODEL = "openai/gpt-4o-mini"


@pytest.fixture(scope="module")
def recorder():
    with record() as found:
        yield found


@pytest.fixture
def server(recorder, monkeypatch):
    send_to(monkeypatch, recorder.url)
    recorder.sent.clear()
    recorder.answer = None
    return recorder


def ask(*requests, **options):
    async def run():
        async with connect(requests[0].model, transport="direct", **options) as provider:
            return await asyncio.gather(*map(provider.complete, requests))

    return asyncio.run(run())


# What is loaded


def test_a_question_is_answered_without_litellm(server):
    code = """
import asyncio, sys
from syphus.providers import connect
from tests.syphus.providers.houses import plain

async def run():
    async with connect("openai/gpt-4o-mini") as provider:
        return await provider.complete(plain("openai/gpt-4o-mini"))

completion = asyncio.run(run())
assert completion.text == "A kite." and completion.cost_usd > 0
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert not {"litellm", "openai", "anthropic", "httpx", "pydantic"} & set(done.stdout.split())
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("model", "transport", "sentence"),
    [
        ("nosuchmodel", "auto", "'nosuchmodel' names no provider"),
        ("nosuchhouse/some-model", "auto", "names no provider"),
        ("openai/", "auto", "names no provider"),
        ("gemini/gemini-2.5-flash", "direct", "cannot be asked without LiteLLM: no test"),
        ("openai/o9-mini", "direct", "only LiteLLM's knowledge"),
    ],
)
def test_what_cannot_be_is_refused_before_litellm_is_loaded(model, transport, sentence):
    code = f"""
import sys
from syphus.providers import connect
try:
    connect({model!r}, transport={transport!r})
except Exception as error:
    print(type(error).__name__, error)
assert "litellm" not in sys.modules and "aiohttp" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("StopError")
    assert sentence in done.stdout


# Which lane


@pytest.mark.parametrize("model", MODELS.values())
def test_tested_providers_are_asked_directly(server, model):
    assert isinstance(connect(model), DirectModel)


@pytest.mark.parametrize(
    "model",
    [
        "gemini/gemini-2.5-flash", "vertex_ai/gemini-2.5-pro", "bedrock/amazon.nova-lite-v1:0", "ollama/llama3",
        "cohere/command-r", "openai/gpt-5-codex", "openai/o1-pro", "azure/my-gpt-5-deployment",
        "fireworks_ai/glm-5p1", "xai/grok-4.20-multi-agent", "anthropic/claude-of-tomorrow",
    ],
)  # fmt: skip
def test_what_is_not_certain_is_left_to_litellm(server, model):
    assert against_direct(model)
    assert family(model) is None


@pytest.mark.parametrize(
    ("name", "value", "model"),
    [
        ("OPENAI_BASE_URL", "http://bob:secret@127.0.0.1:9/v1", MODEL),
        ("ANTHROPIC_API_KEY", "sk-ant-oat01-0123456789", MODELS["anthropic"]),
        ("AZURE_API_BASE", "http://127.0.0.1:9/openai/v1", MODELS["azure"]),
        ("AZURE_API_VERSION", "preview", MODELS["azure"]),
    ],
)
def test_unusual_settings_are_left_to_litellm(server, monkeypatch, name, value, model):
    assert not against_direct(model)
    monkeypatch.setenv(name, value)
    assert against_direct(model)


def test_a_family_is_known_without_a_key():
    assert family(MODEL) == family("gpt-4o-mini") == "openai"
    assert family("anthropic/claude-haiku-4-5") == family("claude-haiku-4-5") == "anthropic"


# Keys and addresses


def test_several_keys_are_several_providers(server, monkeypatch):
    monkeypatch.setenv("SECOND", "second-secret-value")
    ask(plain(MODEL))
    ask(plain(MODEL), key="SECOND")
    keys = [sent.headers["authorization"] for sent in server.sent]
    assert keys == [f"Bearer {KEY}", "Bearer second-secret-value"]
    assert without_keys("no such key: second-secret-value!") == "no such key: …!"


@pytest.mark.parametrize("transport", ["auto", "litellm"])
def test_a_variable_without_a_key_is_named(server, transport):
    with pytest.raises(StopError, match="set ANOTHER"):
        connect(MODEL, key="ANOTHER", transport=transport)


def test_a_key_with_a_line_break_is_a_sentence_without_the_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789\n")
    with pytest.raises(StopError, match="OPENAI_API_KEY holds characters") as caught:
        connect(MODEL)
    assert "0123" not in str(caught.value)


def test_an_own_server_needs_an_address(monkeypatch):
    with pytest.raises(StopError, match="set HOSTED_VLLM_API_BASE"):
        connect("hosted_vllm/my-model", transport="direct")
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", "localhost:8000")
    with pytest.raises(StopError, match="begins with neither http"):
        connect("hosted_vllm/my-model", transport="direct")


def test_a_key_is_in_no_representation(server):
    assert KEY not in repr(target(MODEL))


def test_the_proxy_of_the_environment_is_used(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://api.example.com/v1")
    monkeypatch.setenv("http_proxy", server.url)
    [completion] = ask(plain(MODEL))
    assert completion.text == "A kite."
    assert server.sent[0].headers["host"] == "api.example.com"


# Bodies


@pytest.mark.parametrize("case", cases(MODEL))
@pytest.mark.parametrize("model", [MODEL, MODELS["anthropic"], MODELS["azure"]])
def test_kept_parts_do_not_change_a_byte(server, model, case):
    encoded, request = _Encoded(), cases(model)[case]
    for _ in range(2):
        kept = orjson.dumps(body_of(request, model=model, again=encoded))
        assert kept == orjson.dumps(body_of(request, model=model))


def test_what_is_kept_does_not_grow():
    encoded = _Encoded()
    for n in range(1_000):
        encoded(str(n), lambda n=n: [n])
    assert len(encoded._kept) < 100
    assert orjson.dumps([*encoded("999", lambda: 1 / 0), 5]) == b"[999,5]"


def test_only_litellm_knows_how_some_models_are_asked():
    with pytest.raises(StopError, match="--transport litellm"):
        openai_body(plain("openai/o9-mini"), model="openai/o9-mini")


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/a"},
        {"type": "object", "properties": {}},
        {"type": ["string", "null"]},
        {"type": "array", "items": [{"type": "string"}]},
        {"type": "object", "properties": {"a": {"oneOf": []}}, "additionalProperties": False},
    ],
)
def test_a_schema_that_is_not_known_to_be_translated_is_a_sentence(schema):
    with pytest.raises(StopError, match="--transport litellm"):
        anthropic_schema(schema)


def test_a_schema_for_anthropic_is_litellms(monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    from litellm.llms.anthropic.chat.transformation import AnthropicConfig

    part = {"type": "string", "minLength": 2, "description": "A name.", "enum": ["ab", "cd"]}
    for items in ({"minItems": 1}, {"minItems": 2, "uniqueItems": True}, {"uniqueItems": False}):
        schema = {
            "type": "object",
            "title": "All",
            "properties": {
                "a": {"type": "array", "items": part, **items},
                "b": {"anyOf": [{"type": "number", "maximum": 5}, part]},
            },
            "required": ["a"],
            "additionalProperties": False,
        }
        theirs = AnthropicConfig.filter_anthropic_output_schema(schema)
        assert json.dumps(anthropic_schema(schema)) == json.dumps(theirs)


# Answers


def changed(form, **changes):
    return {**form, **changes}


@pytest.mark.parametrize(
    ("reason", "text", "finish"),
    [
        ("end_turn", "A kite.", "stop"),
        ("max_tokens", "A ki", "length"),
        ("refusal", "", "content_filter"),
    ],
)
def test_why_anthropic_ends_is_said_as_others_say_it(reason, text, finish):
    content = [{"type": "text", "text": text}] if text else []
    answer = changed(ANTHROPIC, stop_reason=reason, content=content)
    completion = read_anthropic(answer, model="anthropic/claude-haiku-4-5")
    assert (completion.text, completion.finish_reason) == (text, finish)
    assert (completion.prompt_tokens, completion.cached_tokens) == (120, 90)
    assert completion.cache_write_tokens == 10
    # 20 new tokens at 1 USD per million, 10 written at 1.25, 90 read at 0.1, 30 of the reply at 5
    assert completion.cost_usd == pytest.approx((20 + 12.5 + 9 + 150) / 1e6)


@pytest.mark.parametrize(
    "answer",
    [
        None, [], {"content": None}, {"content": []}, {"content": [None]}, {"content": [{"type": "text"}]},
        changed(ANTHROPIC, usage=[1]), changed(ANTHROPIC, usage={"input_tokens": "x"}),
        changed(ANTHROPIC, stop_reason={}),
    ],
)  # fmt: skip
def test_an_odd_answer_of_anthropic_is_refused(answer):
    with pytest.raises(RefusedError, match=r"the reply (cannot be understood|holds no choice)"):
        read_anthropic(answer, model="anthropic/claude-haiku-4-5")


def test_a_refusal_of_openai_is_no_text():
    message = {"role": "assistant", "content": None, "refusal": "I cannot."}
    answer = changed(OPENAI, choices=[{"index": 0, "message": message, "finish_reason": "stop"}])
    completion = read_openai(answer, model=MODEL)
    assert (completion.text, completion.finish_reason) == ("", "content_filter")


def test_the_price_that_openrouter_names_is_the_price():
    answer = changed(OPENAI, usage={**OPENAI["usage"], "cost": 0.25})
    assert read_openai(answer, model="openrouter/some/model").cost_usd == 0.25
    assert read_openai(answer, model="hosted_vllm/some-model").cost_usd is None


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"type": "invalid_request_error", "message": "Your credit balance is too low"}, StopError),
        (400, {"type": "invalid_request_error", "message": "max_tokens: too many"}, RefusedError),
        (529, {"type": "overloaded_error", "message": "Overloaded"}, RateLimitError),
        (429, {"type": "rate_limit_error", "message": "slow down"}, RateLimitError),
    ],
)  # fmt: skip
def test_anthropics_errors_have_a_class(status, error, kind):
    found = refusal(status, {"type": "error", "error": error}, {})
    assert type(found) is kind
    assert error["message"] in str(found)


@pytest.mark.parametrize("answer", [None, [], "no", 7, {}, {"error": None}, {"error": {"code": 5}}])
def test_a_refusal_may_have_any_form(answer):
    error = refusal(400, answer, {}, body="<html>no</html>")
    assert type(error) is RefusedError
    assert str(error).startswith("the provider answered 400: ")


@pytest.mark.parametrize(
    ("code", "kind"), [(429, RateLimitError), (400, RefusedError), ("x", RefusedError)]
)
def test_an_error_may_come_with_status_200(server, code, kind):
    server.answer = lambda sent: web.json_response(
        {"error": {"code": code, "message": "slow down"}}
    )
    with pytest.raises(kind) as caught:
        ask(plain(MODEL))
    assert type(caught.value) is kind


@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_a_shorter_patience_can_be_asked_for(recorder, server, transport):
    recorder.delay = 2.0

    async def run():
        async with connect(MODEL, transport=transport, timeout=0.2) as provider:
            await provider.complete(plain(MODEL))

    try:
        with pytest.raises(TimedOutError, match=r"no answer within 0.2 s"):
            asyncio.run(run())
    finally:
        recorder.delay = 0.0


def test_half_a_letter_is_a_sentence(server):
    with pytest.raises(RefusedError, match="cannot be written as JSON"):
        ask(replace(plain(MODEL), query="half \ud800"))


def test_a_packed_answer_is_unpacked(server):
    def packed(sent):
        response = web.json_response(OPENAI)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    server.answer = packed
    assert ask(plain(MODEL))[0].text == "A kite."


def test_an_answer_of_an_unknown_packing_is_a_lost_connection(server):
    server.answer = lambda sent: web.Response(body=b"{", headers={"Content-Encoding": "gzip"})
    with pytest.raises(ConnectionLostError):
        ask(plain(MODEL))


def test_many_are_asked_at_once_and_each_gets_its_own_answer(server):
    def echo(sent):
        said = json.loads(sent.body)["messages"][-1]["content"]
        message = {"role": "assistant", "content": said}
        return web.json_response(changed(OPENAI, choices=[{"message": message}]))

    server.answer = echo
    requests = [replace(plain(MODEL), query=f"Notes:\n- {n}.", prompt=PROMPT) for n in range(200)]
    answers = ask(*requests)
    assert [answer.text for answer in answers] == [request.query for request in requests]
