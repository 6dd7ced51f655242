"""The server that tests and benchmarks are measured against does, and counts, what it says."""

from __future__ import annotations

import http.client
import json
import time
from urllib.parse import urlsplit

import pytest

from syphus.parse import parse_pairs
from syphus.request import Shape
from tests.provider_replies import fingerprint
from tests.provider_server import running

SYSTEM = {"role": "system", "content": "Ask about the picture. " * 200}


def messages(number: int) -> list[dict]:
    return [SYSTEM, {"role": "user", "content": f"Notes:\n1. Picture {number}."}]


def ask(server, number: int, path="/v1/chat/completions", timeout=5.0, **more):
    """Return (status, headers, body), or the error's name."""
    body = {"model": "m", "messages": messages(number), **more}
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=timeout)
    try:
        headers = {"Authorization": "Bearer sk-x", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, dict(response.headers), json.loads(response.read())
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


@pytest.fixture(scope="module")
def server():
    with running() as found:
        yield found


@pytest.fixture(autouse=True)
def fresh(server):
    server.reset(faults={}, latency=0.0, rate=0.0, poison="", key="", tokens="bytes")


@pytest.mark.parametrize("more", [{}, {"response_format": {"type": "json_object"}}])
def test_its_replies_can_be_read_and_belong_to_their_question(server, more):
    texts = []
    for number in (1, 2, 1):
        status, _, body = ask(server, number, **more)
        assert status == 200
        texts.append(body["choices"][0]["message"]["content"])
    assert texts[0] == texts[2] != texts[1]
    assert fingerprint(messages(1)) in texts[0]
    assert len(parse_pairs(texts[0], shape=Shape(3, 4))) in (3, 4)


def test_it_speaks_as_claude_does(server):
    mark = [{"type": "text", "text": SYSTEM["content"], "cache_control": {"type": "ephemeral"}}]
    for written, read in ((1, 0), (0, 1)):
        _, _, body = ask(
            server, 1, "/v1/messages", system=mark, messages=messages(1)[1:], max_tokens=9
        )
        usage = body["usage"]
        assert body["content"][0]["text"].startswith("Question:")
        assert bool(usage["cache_creation_input_tokens"]) == written
        assert bool(usage["cache_read_input_tokens"]) == read


def test_a_repaired_question_has_the_same_answer(server):
    repair = [
        {"role": "assistant", "content": "?"},
        {"role": "user", "content": "This reply cannot be used."},
    ]
    _, _, plain = ask(server, 1)
    _, _, again = ask(server, 1, messages=messages(1) + repair)
    assert plain["choices"] == again["choices"]


def test_its_bill_is_the_sum_of_what_it_sent(server):
    bills = [ask(server, number)[2]["usage"] for number in (1, 2, 2)]
    stats = server.stats()
    cached = sum(bill["prompt_tokens_details"]["cached_tokens"] for bill in bills)
    assert stats["prompt_tokens"] == sum(bill["prompt_tokens"] for bill in bills)
    assert stats["completion_tokens"] == sum(bill["completion_tokens"] for bill in bills)
    assert stats["cached_tokens"] == cached > 0
    plain = stats["prompt_tokens"] - cached
    usd = 1e-6 * (plain * 0.15 + cached * 0.075 + stats["completion_tokens"] * 0.6)
    assert stats["usd"] == pytest.approx(usd)
    assert (stats["answered"], stats["answered_bodies"], stats["paid_twice"]) == (3, 2, 1)


def test_faults_are_the_same_each_time_and_come_in_their_shares(server):
    seen = []
    for _ in range(2):
        server.reset(faults={"429": 0.2, "500": 0.1})
        seen.append([ask(server, number)[0] for number in range(200)])
    assert seen[0] == seen[1]
    assert 20 < seen[0].count(429) < 60
    assert 8 < seen[0].count(500) < 36
    assert server.stats()["statuses"]["200"] == seen[0].count(200)


@pytest.mark.parametrize("fault", ["reset", "truncated", "hang"])
def test_it_breaks_connections(server, fault):
    server.reset(faults={fault: 1.0})
    said = ask(server, 1, timeout=0.3)
    wanted = {
        "reset": "ConnectionResetError",
        "truncated": "IncompleteRead",
        "hang": "TimeoutError",
    }
    assert said == wanted[fault]
    for _ in range(50):
        if not server.stats()["in_flight"]:
            break
        time.sleep(0.02)
    assert server.stats()["in_flight"] == 0
    assert server.stats()["billed"] == (fault == "truncated")
    assert server.stats()["answered"] == 0


def test_it_notices_who_comes_back_too_early(server):
    server.reset(faults={"429": 1.0}, retry_after=0.2)
    status, headers, _ = ask(server, 1)
    assert (status, headers["retry-after"]) == (429, "0.2")
    ask(server, 1)
    assert server.stats()["early_retries"] == 1
    time.sleep(0.21)
    ask(server, 1)
    assert server.stats()["early_retries"] == 1


def test_a_true_limit_says_what_is_left(server):
    server.reset(rate=10.0, burst=3.0, rate_headers="all")
    answers = [ask(server, number) for number in range(5)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 429, 429]
    assert [headers["x-ratelimit-remaining-requests"] for _, headers, _ in answers[:3]] == list(
        "210"
    )
    assert 0 < float(answers[3][1]["retry-after"]) <= 0.1
    server.configure(rate_headers="none")
    assert "retry-after" not in ask(server, 9)[1]


def test_poison_and_wrong_keys_are_refused(server):
    server.reset(poison="Picture 7", key="sk-x")
    assert [ask(server, number)[0] for number in (7, 8)] == [400, 200]
    server.configure(key="sk-y")
    assert ask(server, 8)[0] == 401


def test_tokens_can_be_those_of_the_model(server):
    server.reset(tokens="tiktoken")
    _, _, body = ask(server, 1)
    # 4 words of "Ask about the picture." and its full stop, 200 times.
    assert 1_000 <= body["usage"]["prompt_tokens"] <= 1_040
