"""A budget is never passed, whatever comes when; at the end, against a real server."""

import asyncio
import json
import random

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from syphus.annotations import read
from syphus.budget import Budget, most_prompt_tokens, worst_case
from syphus.errors import BudgetError, StopError
from syphus.generate import Job, generate
from syphus.prices import cost_of
from syphus.providers import connect
from syphus.request import Completion, Message, Prompt, Request, Sampling, SeenPicture
from syphus.task import load_task
from syphus.tokens import counter
from tests.builders import coco
from tests.server import Provider, serve

PROMPT = Prompt("t", 1, (Message("system", "Answer in one word."), Message("user", "What? " * 80)))


def request(query="What is it?", model="openai/gpt-4o-mini", **changes):
    return Request("c", model, PROMPT, query, Sampling(max_tokens=100), **changes)


@settings(max_examples=150, deadline=None)
@given(
    cents=st.integers(0, 60),
    spent=st.integers(0, 20),
    requests=st.lists(
        st.tuples(
            st.integers(1, 12),  # cents at most
            st.integers(0, 100),  # per cent of that, in the end
            st.sampled_from(["settle", "settle", "release", "hold", "unknown", "cancel"]),
            st.integers(0, 4),  # how long it takes
        ),
        max_size=25,
    ),
    seed=st.integers(0, 2**16),
)
def test_it_is_never_passed_and_nothing_waits_for_ever(cents, spent, requests, seed):
    budget, order = Budget(cents / 100, spent / 100), random.Random(seed)
    billed, stopped = [spent / 100], []

    def watch():
        known = budget.spent_usd + budget.perhaps_usd + budget.reserved_usd
        assert known <= max(cents, spent) / 100 + 1e-12
        assert sum(billed) <= max(cents, spent) / 100 + 1e-12

    async def one(most, share, outcome, turns):
        worst = most / 100
        try:
            await budget.reserve(worst)
        except BudgetError:
            stopped.append(worst)
            return
        watch()
        try:
            for _ in range(turns + order.randrange(2)):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            outcome = "hold"
        if outcome == "settle":
            billed.append(worst * share / 100)
            budget.settle(worst, billed[-1])
        elif outcome == "release":
            budget.release(worst)
        else:  # it may have been billed in full
            billed.append(worst)
            budget.settle(worst, None) if outcome == "unknown" else budget.hold(worst)
        watch()

    async def run():
        tasks = [asyncio.create_task(one(*values)) for values in requests]
        for values, task in zip(requests, tasks, strict=True):
            await asyncio.sleep(0)
            if values[2] == "cancel" and order.random() < 0.5:
                task.cancel()  # one that waits is taken away; one that was sent may be billed
        async with asyncio.timeout(2):
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
    watch()
    for worst in stopped:  # who was stopped could have passed it
        assert budget.spent_usd + budget.perhaps_usd + worst > cents / 100 - 1e-12


def test_who_waits_goes_on_when_a_reply_was_cheaper_than_feared():
    async def run():
        budget = Budget(1.0)
        await budget.reserve(0.6)
        second = asyncio.create_task(budget.reserve(0.6))
        await asyncio.sleep(0)
        assert not second.done()
        budget.settle(0.6, 0.1)
        await asyncio.wait_for(second, 1)
        assert (budget.spent_usd, budget.reserved_usd) == (0.1, 0.6)

    asyncio.run(run())


def test_who_waits_is_stopped_when_it_cannot_go_on_any_more():
    async def run():
        budget = Budget(1.0)
        await budget.reserve(0.6)
        second = asyncio.create_task(budget.reserve(0.6))
        await asyncio.sleep(0)
        budget.hold(0.6)
        with pytest.raises(BudgetError, match="more may have been billed"):
            await asyncio.wait_for(second, 1)
        assert (budget.spent_usd, budget.perhaps_usd, budget.reserved_usd) == (0, 0.6, 0)

    asyncio.run(run())


def test_a_request_that_was_not_billed_leaves_nothing_behind():
    async def run():
        budget = Budget(0.3)
        for _ in range(1_000):  # 0.1 + 0.2 - 0.1 - 0.2 is not 0 in floating point
            await budget.reserve(0.1)
            await budget.reserve(0.2)
            budget.release(0.1)
            budget.release(0.2)
        assert budget.reserved_usd == 0

    asyncio.run(run())


def test_a_waiting_request_that_is_cancelled_lets_the_others_pass():
    async def run():
        budget = Budget(1.0)
        await budget.reserve(0.9)
        first, second = (asyncio.create_task(budget.reserve(x)) for x in (0.5, 0.1))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait_for(second, 1)
        assert first.cancelled()

    asyncio.run(run())


def test_its_end_is_a_sentence_that_says_what_to_do():
    async def run():
        budget = Budget(0.05, spent=0.041)
        with pytest.raises(BudgetError) as said:
            await budget.reserve(0.012)
        assert str(said.value) == (
            "the budget of $0.05 is used up: $0.041 is spent, and one more request may cost up to $0.012; "
            "what came is stored: raise --budget to go on"
        )

    asyncio.run(run())


def test_without_a_budget_nothing_is_counted_and_nothing_waits():
    budget = Budget(None)
    coroutine = budget.reserve(1e9)
    with pytest.raises(StopIteration):
        coroutine.send(None)  # it has ended without waiting
    budget.settle(1e9, 1e9)
    budget.hold(1e9)
    assert budget.worst(request(model="acme/unknown")) == 0.0
    assert (budget.spent_usd, budget.perhaps_usd, budget.reserved_usd) == (0, 0, 0)
    budget.check(["acme/unknown"])


def test_a_model_without_a_price_stops_a_run_with_a_budget():
    with pytest.raises(StopError, match="no price is known for 'acme/unknown'; --budget cannot be"):
        Budget(1.0).check(["openai/gpt-4o-mini", "acme/unknown"])
    with pytest.raises(StopError, match="no price is known"):
        Budget(1.0).worst(request(model="acme/unknown"))
    Budget(1.0).check(["local", "openai/gpt-4o-mini"])


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80), st.sampled_from(["openai/gpt-4o-mini", "openai/gpt-4"]))
def test_no_prompt_has_more_tokens_than_the_most(text, model):
    text = text.encode(errors="replace").decode()
    asked = request(text, model).again(text, "it is empty")
    assert counter(model).count_messages(asked.messages) <= most_prompt_tokens(asked)


def test_the_worst_case_covers_what_a_reply_can_cost():
    asked = request("Ünïcödé 漢字 " * 20, "anthropic/claude-sonnet-4-5")
    tokens = counter("openai/gpt-4o-mini").count_messages(asked.messages)
    dearest = Completion("", "length", "m", tokens, 100, cache_write_tokens=tokens)
    assert cost_of(asked.model, dearest) <= worst_case(asked)


def test_the_worst_case_falls_when_the_provider_has_counted_the_prompt():
    budget, asked = Budget(1.0), request()
    before = budget.worst(asked)
    for tokens in (0, 12):  # no usage, or one that cannot be
        budget.learn(asked, Completion("", "stop", "m", tokens, 5))
    assert budget.worst(asked) == before
    budget.learn(asked, Completion("", "stop", "m", 180, 5))
    budget.learn(asked, Completion("", "stop", "m", 190, 5))
    price = 1.5e-7
    assert budget.worst(asked) == pytest.approx((190 + 16 + 11) * price + 100 * 6e-7)
    assert budget.worst(asked) < before
    # What has another beginning, or another model, is not known by that.
    assert budget.worst(request(schema="{}")) > before


def test_a_batch_has_a_worst_case_of_its_own():
    assert worst_case(request(), batch=True) == pytest.approx(worst_case(request()) / 2)
    unknown = request(model="mistral/mistral-small-latest")  # no price in batches is known
    assert worst_case(unknown, batch=True) == worst_case(unknown)


def test_pictures_are_part_of_the_worst_case():
    seen = SeenPicture("0" * 64, "image/png", b"")
    assert worst_case(request(pictures=(seen, seen))) > worst_case(request()) + 2 * 25_501 * 1.5e-7


@pytest.mark.parametrize(("concurrency", "bytes_per_token"), [(1, 4), (32, 4), (32, 1)])
def test_a_server_never_bills_more_than_the_budget(
    store, tmp_path, monkeypatch, concurrency, bytes_per_token
):
    model, billed = "openai/gpt-4o-mini", []
    pairs = "\n\n".join(f"Question: What is {n}?\nAnswer: It is {n}." for n in range(3))

    def bill(body, before):
        text = json.dumps(body["messages"])
        chance = random.Random(f"{text}{before}")
        if chance.random() < 0.2:
            return web.json_response({"error": {"message": "busy"}}, status=500)
        prompt = len(text) // bytes_per_token
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": chance.choice([60, body["max_tokens"]]),
        }
        billed.append(cost_of(model, Completion("", "", "", prompt, usage["completion_tokens"])))
        message = {"role": "assistant", "content": pairs}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return web.json_response(
            {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"],
             "choices": choices, "usage": usage | {"total_tokens": sum(usage.values())}}
        )  # fmt: skip

    def run(usd):
        contexts = read([coco(tmp_path / "a.json", [f"{n}.png" for n in range(60)])])
        job = Job(load_task("la_conversation"), contexts, None, model)
        return generate(job, store, connect(model), concurrency=concurrency, budget=usd)

    with serve(Provider(behave=bill)) as provider:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789abcdef")
        monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
        monkeypatch.setenv("OPENAI_API_BASE", provider.url)
        for budget in (0.0001, 0.006, 0.012):
            with pytest.raises(BudgetError, match="is used up"):
                run(budget)
            assert sum(billed) <= budget
            assert sum(billed) > budget - 0.002  # one more request might have passed it
        assert billed
        report = run(1.0)
        assert (report.contexts, report.problem_count) == (60, 0)
        store.sync()
        with store.reading() as connection:
            [(spent,)] = connection.execute("SELECT sum(cost_usd) FROM replies").fetchall()
        assert spent == pytest.approx(sum(billed), rel=1e-9)
