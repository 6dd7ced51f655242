"""Providers that answer what nobody expects: never a traceback, never paid twice for nothing, never a key on show."""

import asyncio
import base64
import gzip
import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from syphus.annotations import read
from syphus.errors import (
    ConnectionLostError,
    ContentError,
    ProviderError,
    RateLimitError,
    RefusedError,
    RetryError,
    ServerError,
    StopError,
    TimedOutError,
)
from syphus.generate import Job, generate
from syphus.pacing import retries
from syphus.providers import bodies, connect, direct, litellm, local
from syphus.providers.base import count, valid
from syphus.providers.secrets import without_keys
from syphus.request import Completion, Message, Prompt, Request, Sampling
from syphus.task import load_task
from tests.builders import coco
from tests.server import Provider, drip, good, hang_up, refuse, serve

KEY = "sk-test-0123456789abcdef"
MODEL = "openai/gpt-4o-mini"
REQUEST = Request(
    context_id="a",
    model=MODEL,
    prompt=Prompt("talk", 1, (Message("system", "Talk about the picture."),)),
    query="Notes:\n- A red kite.",
    sampling=Sampling(seed=0),
)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(retries, "_backoff", lambda failures: 0.01)


@pytest.fixture(params=["direct", "litellm"])
def lane(request):
    return request.param


@pytest.fixture
def connected(monkeypatch):
    """Serve a behaviour, and point OpenAI's models to it."""

    def run(behave, use, *, url=lambda url: url):
        provider = Provider(lambda body, before: behave())
        with serve(provider):
            monkeypatch.setenv("OPENAI_API_KEY", KEY)
            monkeypatch.setenv("OPENAI_BASE_URL", url(provider.url))
            monkeypatch.setenv("OPENAI_API_BASE", url(provider.url))
            return use(), len(provider.bodies)

    return run


@pytest.fixture
def ask(connected, lane):
    """Make one attempt, and return the completion or the error, and how often the provider was asked."""

    def outcome(transport) -> Completion | ProviderError:
        async def once():
            async with connect(MODEL, transport=transport) as model:
                return await model.complete(REQUEST)

        try:
            return asyncio.run(once())
        except ProviderError as error:
            return error

    return lambda behave, *, transport=lane, **options: connected(
        behave, lambda: outcome(transport), **options
    )


@pytest.fixture
def run_of_three(connected, tmp_path, photos, store, lane):
    """Run `generate` for three pictures, and return the report."""

    def generated():
        contexts = read([coco(tmp_path / "a.json", ["chelsea.png", "coffee.png", "rocket.jpg"])])
        job = Job(load_task("la_conversation"), contexts, photos, MODEL)
        return generate(job, store, connect(MODEL, transport=lane), concurrency=2)

    return lambda behave: connected(behave, generated)


def body(**changes: object) -> dict:
    """Return a good body, with changes; a value of `...` takes a field out."""
    fields = json.loads(good({"model": "gpt-4o-mini"}, "A kite.").text or "") | changes
    return {name: value for name, value in fields.items() if value is not ...}


def said(content: object, **changes: object) -> dict:
    message = {"role": "assistant", "content": content}
    return body(choices=[{"index": 0, "message": message, "finish_reason": "stop", **changes}])


def used(**changes: object) -> dict:
    return body(usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, **changes})


def sends(answer: object):
    """Behave by sending a JSON value, or bytes as they are."""
    sent = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return lambda: web.Response(body=sent, content_type="application/json")


# Bodies


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(body(choices=[]), id="empty"),
        pytest.param(body(choices=None), id="null"),
        pytest.param(body(choices=...), id="missing"),
        pytest.param(body(choices={"a": 1}), id="no list"),
        pytest.param({}, id="nothing at all"),
    ],
)
def test_a_reply_without_a_choice_is_refused(ask, answer):
    error, asked = ask(sends(answer))
    assert isinstance(error, RefusedError)
    assert (str(error), asked) == ("the reply holds no choice", 1)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(body(choices=[None]), id="choice null"),
        pytest.param(body(choices=[{"index": 0, "finish_reason": "stop"}]), id="no message"),
        pytest.param(body(choices=[{"index": 0, "message": None}]), id="message null"),
        pytest.param(body(choices=[{"index": 0, "message": "hi"}]), id="message a text"),
        pytest.param(said(7), id="content a number"),
        pytest.param(said([{"type": "text", "text": "A"}]), id="content a list"),
        pytest.param(said({"text": "A"}), id="content an object"),
        pytest.param(said("A", finish_reason=["stop"]), id="reason a list"),
        pytest.param(body(usage=3.5), id="usage a float"),
        pytest.param(body(usage=[1]), id="usage a list"),
        pytest.param(used(prompt_tokens=1.5), id="tokens a float"),
        pytest.param(used(prompt_tokens="twelve"), id="tokens a text"),
        pytest.param(used(prompt_tokens=float("nan")), id="tokens nan"),
        pytest.param([1, 2], id="a list"),
        pytest.param(None, id="null"),
    ],
)
def test_a_body_of_another_form_is_refused_and_not_paid_again(ask, capfd, answer):
    error, asked = ask(sends(answer))
    assert isinstance(error, RefusedError)
    assert asked == 1
    assert str(error).startswith("the reply cannot be understood: ")
    assert "Traceback" not in str(error)
    assert "\n" not in str(error)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(body(model=["x"]), id="model a list"),
        pytest.param(body(model=5), id="model a number"),
        pytest.param(body(usage=None), id="usage null"),
        pytest.param(body(usage=...), id="no usage"),
        pytest.param(body(id=4, created="z"), id="id a number"),
        pytest.param(said("A kite.", finish_reason=3), id="reason a number"),
    ],
)
def test_what_nobody_needs_may_be_odd(ask, capfd, answer):
    completion, _ = ask(sends(answer))
    assert completion.text == "A kite."
    assert isinstance(completion.model, str)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("answer", [b"<html>Bad gateway</html>", b"", b"[" * 100_000])
def test_a_body_that_is_no_json_may_be_better_the_next_time(ask, answer):
    error, asked = ask(sends(answer))
    assert isinstance(error, RetryError)
    assert asked == 1
    assert "Traceback" not in str(error)


def test_an_unforeseen_response_is_a_sentence(ask, monkeypatch):
    def surprise(*arguments, **named):
        return object().no_such_thing

    monkeypatch.setattr(litellm.LiteLLMModel, "_completion", surprise)
    monkeypatch.setattr(bodies, "Completion", surprise)
    error, asked = ask(sends(body()))
    assert isinstance(error, RefusedError)
    assert "no_such_thing" in str(error)
    assert asked == 1


def test_a_run_lists_odd_replies_and_goes_on(run_of_three, store):
    answers = iter([sends(body(choices=[]))(), sends(said(7))()])
    report, asked = run_of_three(lambda: next(answers, None))
    assert (report.pairs, report.problem_count, asked) == (3, 2, 3)


def test_a_model_can_be_connected_to_twice(connected, lane):
    async def two():
        for _ in range(2):
            async with connect(MODEL, transport=lane) as model:
                await model.complete(REQUEST)

    _, asked = connected(sends(body()), lambda: asyncio.run(two()))
    assert asked == 2


# Statuses and waiting


def in_an_hour() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RefusedError),
        (401, StopError),
        (403, StopError),
        (404, StopError),
        (408, TimedOutError),
        (413, RefusedError),
        (422, RefusedError),
        (429, RateLimitError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
        (504, TimedOutError),
        (529, RateLimitError),
    ],
)
def test_a_status_has_a_class(ask, status, kind):
    error, asked = ask(lambda: refuse(status, "not now", **LIMITED))
    assert type(error) is kind
    assert asked == 1
    assert "not now" in str(error)
    assert error.limits.requests.limit == 5000
    assert error.status == status


LIMITED = {
    "x-ratelimit-limit-requests": "5000",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "2s",
}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "insufficient_quota", StopError),
        (429, "rate_limit_exceeded", RateLimitError),
        (400, "content_policy_violation", ContentError),
        (400, "content_filter", ContentError),
        (400, "context_length_exceeded", RefusedError),
    ],
)
def test_a_code_says_more_than_its_status(ask, status, code, kind):
    answer = {"error": {"message": f"no: {code}", "type": code, "code": code, "param": None}}
    error, asked = ask(lambda: web.json_response(answer, status=status))
    assert type(error) is kind
    assert asked == 1


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize(
    ("header", "wait", "seconds"),
    [
        ("Retry-After", "301", 301),
        ("Retry-After", "0.5", 0.5),
        ("Retry-After", in_an_hour, 3600),
        ("retry-after-ms", "1500", 1.5),
    ],
)
def test_the_time_that_a_provider_asks_for_is_known(ask, status, header, wait, seconds):
    said = wait() if callable(wait) else wait
    error, asked = ask(lambda: refuse(status, "slow down", **{header: said}))
    assert isinstance(error, RetryError)
    assert error.retry_after == pytest.approx(seconds, abs=60 if callable(wait) else 0)
    assert asked == 1


@pytest.mark.parametrize(
    "wait",
    ["inf", "nan", "-5", "garbage", "", "Wed, 21 Oct 2015 07:28:00 GMT", "1 Jan 99999999999999"],
)
def test_nonsense_about_waiting_is_ignored(ask, wait):
    error, asked = ask(lambda: refuse(429, "slow down", **{"Retry-After": wait}))
    assert isinstance(error, RateLimitError)
    assert not error.retry_after
    assert asked == 1


def test_a_drip_is_not_waited_for_for_ever(ask, monkeypatch):
    monkeypatch.setattr(litellm, "TIMEOUT", 0.6)
    monkeypatch.setattr(direct, "TIMEOUT", 0.6)
    started = time.monotonic()
    error, asked = ask(lambda: drip(0.1))
    assert isinstance(error, TimedOutError)
    assert (str(error), asked) == ("no answer within 0.6 s", 1)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("start", [b'{"id": "chatcmpl-1", "choices": [', b""])
def test_a_reset_in_the_middle_of_a_body_is_a_lost_connection(ask, start):
    error, asked = ask(lambda: hang_up(start))
    assert isinstance(error, ConnectionLostError)
    assert asked == 1
    assert "Traceback" not in str(error)


def test_a_key_does_not_follow_a_redirect(connected):
    """OpenAI's package, beneath LiteLLM, follows; so this holds for the direct lane."""
    elsewhere = Provider()
    with serve(elsewhere):
        headers = {"Location": f"{elsewhere.url}/chat/completions"}

        async def once():
            async with connect(MODEL, transport="direct") as model:
                await model.complete(REQUEST)

        with pytest.raises(StopError, match="set the base URL"):
            connected(
                lambda: web.Response(status=307, headers=headers), lambda: asyncio.run(once())
            )
    assert elsewhere.bodies == []


def test_a_reply_without_end_is_refused(ask):
    error, asked = ask(sends(said("x" * (33 * 2**20))))
    assert isinstance(error, RefusedError)
    assert "no more than 32 MB are taken" in str(error)
    assert asked == 1


def test_a_packed_reply_without_end_is_refused(ask):
    """A hundred kilobytes that unpack to a hundred megabytes are not unpacked to the end."""
    packed = gzip.compress(b'{"choices": [' + b" " * (100 * 2**20), 1)

    def bomb():
        return web.Response(
            body=packed, headers={"Content-Encoding": "gzip"}, content_type="application/json"
        )

    error, asked = ask(bomb, transport="direct")
    assert isinstance(error, RefusedError)
    assert "no more than 32 MB are taken" in str(error)
    assert asked == 1


# Keys and passwords

PASSWORD = "hunter2-pass/word"


@pytest.mark.parametrize("status", [400, 401, 404, 418, 429, 500])
@pytest.mark.parametrize(
    "echo",
    [
        f"no such key: {KEY}",
        f"Authorization: Bearer {KEY}",
        f"GET https://host/v1?api_key={KEY}&n=1",
        f"{KEY[:8]} is not {KEY}",
        "no such key: sk-te*************cdef",
        f"cannot reach http://bob:{PASSWORD}@host:80/v1",
        "cannot reach http://bob:other-password@host:80/v1",
        "cannot reach http://bob:p%40ss@host:80/v1 for Basic "
        + base64.b64encode(b"bob:word").decode(),
        f"the password {PASSWORD} is wrong",
        "no such key: AIzaSyA-0123456789",
    ],
)
def test_a_key_or_password_is_never_repeated(ask, monkeypatch, capfd, status, echo):
    monkeypatch.setenv("PROXY_OF_TESTS", f"http://bob:{PASSWORD}@proxy:80")
    error, _ = ask(lambda: refuse(status, echo, **{"Retry-After": "1000"}))
    assert isinstance(error, ProviderError)
    shown = str(error) + "".join(capfd.readouterr())
    for secret in (
        KEY, "te****", PASSWORD, "other-password", "bob:", "p%40ss", "Ym9iOndvcmQ", "SyA-01"
    ):  # fmt: skip
        assert secret not in shown


def test_the_rest_of_a_message_survives():
    text = "Incorrect API key provided at http://host:80/v1/a@b, a Basic plan, Bearer token, key of mine"
    assert without_keys(text) == text


def test_an_address_with_a_password_is_not_shown_where_nobody_listens(ask):
    def closed(url):
        return "http://bob:hunter2-pass@127.0.0.1:9/v1"

    error, asked = ask(lambda: None, url=closed)
    assert isinstance(error, RetryError | StopError)
    assert asked == 0
    assert "hunter2" not in str(error)
    assert "bob" not in str(error)


def test_nobody_listens_is_a_lost_connection(ask):
    error, asked = ask(lambda: None, url=lambda url: "http://127.0.0.1:9/v1")
    assert isinstance(error, ConnectionLostError)
    assert asked == 0


def test_no_file_and_no_screen_holds_a_key(run_of_three, tmp_path, store, capfd):
    with pytest.raises(StopError):
        run_of_three(lambda: refuse(401, f"Incorrect API key provided: {KEY}"))
    answers = iter(
        [
            refuse(400, f"bad {KEY} for http://bob:{PASSWORD}@host"),
            refuse(500, f"worse {KEY}"),
            sends(said([KEY, PASSWORD]))(),
        ]
    )
    report, _ = run_of_three(lambda: next(answers, None))
    assert report.problem_count == 2
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.parent.name == "ledger" for path in files)
    shown = [str(report), *capfd.readouterr(), *(str(path.read_bytes()) for path in files)]
    for secret in (KEY, PASSWORD):
        assert not any(secret in text for text in shown)


# Numbers and texts


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 10**30, "completion_tokens": 2**63}, (2**53, 2**53, 0)),
        ({"prompt_tokens": -5, "completion_tokens": -(10**30)}, (0, 0, 0)),
        ({"prompt_tokens": None, "completion_tokens": 2.0}, (0, 2, 0)),
        ({"prompt_tokens_details": {"cached_tokens": 10**30}}, (1, 1, 2**53)),
        ({"prompt_tokens_details": {"cached_tokens": -1}}, (1, 1, 0)),
        ({"prompt_tokens_details": "x"}, (1, 1, 0)),
    ],
    ids=["too many", "negative", "null", "cached too many", "cached negative", "no details"],
)
def test_absurd_numbers_become_counts(ask, usage, counts):
    completion, _ = ask(sends(used(**usage)))
    found = completion.prompt_tokens, completion.completion_tokens, completion.cached_tokens
    assert found == counts
    assert all(type(number) is int for number in found)
    assert completion.cost_usd is None or 0 <= completion.cost_usd < 1


@pytest.mark.parametrize(
    ("number", "counted"),
    [(float("inf"), 2**53), (float("nan"), 0), ("12", 0), (1.9, 1), (True, 1), ([1], 0)],
)
def test_any_value_becomes_a_count(number, counted):
    assert count(number) == counted


def test_absurd_numbers_do_not_stop_a_run(run_of_three, store):
    def behave():
        answer = good(
            {"model": "gpt-4o-mini", "messages": [{"content": "Notes:\n- A kite flies."}]}
        )
        content = json.loads(answer.text or "")
        content["usage"] = {"prompt_tokens": 10**30, "completion_tokens": -1, "total_tokens": 1}
        content["choices"][0]["message"]["content"] += "\ud800"
        return sends(content)()

    report, _ = run_of_three(behave)
    assert (report.pairs, report.problem_count) == (9, 0)
    assert report.prompt_tokens == 3 * 2**53
    with store.reading() as connection:
        [text] = connection.execute("SELECT DISTINCT text FROM replies").fetchall()
    assert text[0].endswith("\ufffd")


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("a\ud800", "a\ufffd"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("\ud83d\ude00", "😀"),
        ("plain é 😀", "plain é 😀"),
    ],
    ids=["first half", "at the end", "wrong way round", "a pair", "nothing to do"],
)
def test_a_text_can_always_be_written(ask, text, sent):
    assert valid(text) == sent
    completion, _ = ask(sends(said(text)))
    assert completion.text == sent
    error, _ = ask(lambda: web.json_response({"error": {"message": f"no {text}"}}, status=400))
    assert sent in str(error)
    str(error).encode()


@pytest.mark.parametrize("answer", [None, "oops", {"error": "no \ud800"}, {"error": None}])
def test_the_embedded_model_may_refuse_in_any_form(answer):
    error = local._refusal(400, answer)
    assert isinstance(error, RefusedError)
    assert str(error).startswith("the embedded model answered 400: no ")
    str(error).encode()


@pytest.mark.parametrize(
    "reply", [None, [], {}, {"choices": []}, {"choices": [{"message": None}]}], ids=json.dumps
)
@pytest.mark.parametrize("has_template", [True, False])
def test_the_embedded_model_may_answer_in_any_form(tmp_path, monkeypatch, reply, has_template):
    pytest.importorskip("xllamacpp")
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + (b"tokenizer.chat_template" if has_template else b"-"))

    async def answer(self, route, body):
        return reply

    monkeypatch.setattr(local.LocalModel, "_post", answer)
    with pytest.raises(RefusedError, match="the embedded model's reply cannot be understood"):
        asyncio.run(local.LocalModel(path).complete(REQUEST))
