import asyncio
import random
from collections import Counter

import pytest

from syphus.errors import (
    BudgetError,
    ConnectionLostError,
    ProviderError,
    RateLimitError,
    RefusedError,
    RetryError,
    ServerError,
    StopError,
)
from syphus.limits import Limits, Quota
from syphus.pacing.endpoints import Endpoint, Endpoints, open_endpoints, single
from syphus.pacing.pace import Pace
from tests.server import Provider, good, refuse, serve

from .virtual import NoProvider, Server, ask_all, completion, now, run


@pytest.fixture(autouse=True)
def same_each_time(monkeypatch):
    monkeypatch.setattr("syphus.pacing.retries.random", random.Random(1))


def several(*names, window=16, concurrency=None, **weights):
    return Endpoints(
        [
            Endpoint(name, NoProvider(), name, weights.get(name, 1.0), pace=Pace(window))
            for name in names
        ],
        concurrency=concurrency,
    )


def ask_many(endpoints, rows, behave, *, seconds=0.02):
    """Ask for rows; `behave(name, row)` returns an error or None. Return how many each was sent, and which rows failed."""
    sent, failures = Counter(), []

    async def attempt(endpoint, row):
        sent[endpoint.name] += 1
        await asyncio.sleep(seconds)
        if error := behave(endpoint.name, row):
            raise error
        return completion()

    async def work(todo):
        for row in todo:
            try:
                await endpoints.complete(
                    lambda endpoint, row=row: attempt(endpoint, row), tokens=100
                )
            except StopError:
                raise
            except ProviderError:
                failures.append(row)

    async def main():
        todo = iter(range(rows))
        async with endpoints, asyncio.TaskGroup() as group:
            for _ in range(endpoints.workers):
                group.create_task(work(todo))

    try:
        run(main())
    except* StopError as errors:
        raise errors.exceptions[0] from None
    return sent, failures


# One endpoint


def test_providers_are_entered_and_left():
    endpoints = several("a", "b")

    async def main():
        async with endpoints:
            assert [e.provider.entered for e in endpoints.endpoints] == [1, 1]
        assert [e.provider.entered for e in endpoints.endpoints] == [0, 0]

    run(main())
    assert endpoints.models == ("a", "b")


def test_the_first_providers_are_left_where_the_next_cannot_be_entered():
    endpoints = several("a", "b")

    async def refuse():
        raise StopError("no such file")

    endpoints.endpoints[1].provider.__class__ = type(
        "Broken", (NoProvider,), {"__aenter__": lambda self: refuse()}
    )

    async def main():
        async with endpoints:
            pass

    with pytest.raises(StopError, match="no such file"):
        run(main())
    assert endpoints.endpoints[0].provider.entered == 0


@pytest.mark.parametrize(("concurrency", "workers"), [(1, 1), (64, 128), (600, 1024), (2000, 2000)])
def test_workers_are_enough_for_rows_that_wait(concurrency, workers):
    assert single(NoProvider(), "m", concurrency=concurrency).workers == workers


def test_a_service_may_climb_and_a_local_model_may_not():
    assert single(NoProvider(16), "m").workers == 512
    assert single(NoProvider(2), "m").workers == 4


def test_no_more_are_under_way_than_the_window_holds():
    server, endpoints = Server(), single(NoProvider(), "m", concurrency=7)
    run(ask_all(endpoints, 200, lambda endpoint, row: server.answer({}, row)))
    assert server.most_at_once == 7
    assert endpoints.in_flight == endpoints.endpoints[0].pace.in_flight == 0


def test_who_came_first_leaves_first():
    endpoints, order = single(NoProvider(), "m", concurrency=1), []

    async def attempt(endpoint, row):
        order.append(row)
        await asyncio.sleep(0.01)
        return completion()

    run(ask_all(endpoints, 50, attempt, workers=50))
    assert order == list(range(50))


def test_an_rpm_is_kept():
    endpoints = Endpoints([Endpoint("m", NoProvider(), "m", pace=Pace(16, rpm=600))])
    server = Server()
    wall = run(ask_all(endpoints, 1_000, lambda endpoint, row: server.answer({}, row)))
    assert 0.98 * 99 <= wall <= 1.04 * 99


def test_a_cancelled_request_gives_its_place_back():
    endpoints = single(NoProvider(), "m", concurrency=2)

    async def forever(endpoint):
        await asyncio.sleep(1e6)

    async def main():
        async with endpoints:
            tasks = [asyncio.create_task(endpoints.complete(forever, tokens=1)) for _ in range(6)]
            await asyncio.sleep(1)
            assert endpoints.in_flight == 2
            for task in tasks[:5]:
                task.cancel()
            await asyncio.sleep(1)
            assert endpoints.in_flight == 1
            tasks[5].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert endpoints.in_flight == 0

    run(main())


def test_a_request_that_is_cancelled_as_its_turn_comes_gives_it_on():
    endpoints = single(NoProvider(), "m", concurrency=1)

    async def quick(endpoint):
        return completion()

    async def main():
        async with endpoints:
            gate = asyncio.Event()

            async def slow(endpoint):
                await gate.wait()
                return completion()

            first = asyncio.create_task(endpoints.complete(slow, tokens=1))
            second = asyncio.create_task(endpoints.complete(quick, tokens=1))
            third = asyncio.create_task(endpoints.complete(quick, tokens=1))
            await asyncio.sleep(0)
            gate.set()
            await first
            second.cancel()
            assert (await third).text == "A kite."
            assert endpoints.in_flight == 0

    run(main())


def test_a_wrong_key_stops_at_once():
    endpoints = several("a", window=4)
    with pytest.raises(StopError, match="wrong key"):
        ask_many(endpoints, 100, lambda name, row: StopError("wrong key"))
    assert endpoints.endpoints[0].pace.sent <= 4
    assert endpoints.in_flight == 0


def test_first_requests_that_all_fail_stop_the_run():
    endpoints = several("a", window=4)
    with pytest.raises(StopError, match=r"none of the first 20 requests .* oops"):
        ask_many(endpoints, 100, lambda name, row: ServerError("oops"))
    assert endpoints.endpoints[0].pace.sent <= 24
    assert endpoints.errors["server"] >= 20


def test_poison_rows_fail_alone_and_are_asked_once():
    endpoints = several("a")
    sent, failures = ask_many(
        endpoints, 500, lambda name, row: RefusedError("too long") if row % 100 == 50 else None
    )
    assert sorted(failures) == [50, 150, 250, 350, 450]
    assert sent["a"] == 500


def test_an_outage_is_waited_for_with_few_requests():
    endpoints, began = several("a"), []

    def behave(name, row):
        began.append(now())
        if 1 <= now() - began[0] < 61:
            return ConnectionLostError("refused")
        return None

    sent, failures = ask_many(endpoints, 4_000, behave)
    assert failures == []
    assert sent["a"] <= 4_000 + 20 + 16 + 10


def test_an_outage_without_end_stops_with_a_sentence():
    endpoints, began = several("a"), []

    def behave(name, row):
        began.append(now())
        return ConnectionLostError("refused") if now() - began[0] >= 1 else None

    with pytest.raises(StopError, match=r"no answer for \d minutes; .* refused"):
        ask_many(endpoints, 4_000, behave)
    assert 300 < began[-1] - began[0] < 400


def test_a_provider_that_closes_for_an_hour_stops_the_run():
    endpoints = several("a")

    def behave(name, row):
        return RateLimitError("quota", retry_after=3600.0) if row > 100 else None

    with pytest.raises(StopError, match=r"quota; the provider asks to wait 3600 s"):
        ask_many(endpoints, 1_000, behave)
    assert endpoints.endpoints[0].pace.sent < 150


def test_errors_are_counted_by_kind():
    endpoints, tried = several("a"), Counter()

    def behave(name, row):
        tried[row] += 1
        if tried[row] == 1 and row % 10 == 0:
            return RateLimitError("busy")
        return ServerError("oops") if tried[row] == 1 and row % 10 == 1 else None

    ask_many(endpoints, 100, behave)
    assert endpoints.errors == {"rate_limit": 10, "server": 10}


# Several


def test_weights_share_the_work():
    sent, _ = ask_many(several("a", "b", concurrency=16, a=3.0), 4_000, lambda name, row: None)
    assert sent == {"a": 3_000, "b": 1_000}


def test_concurrency_is_of_all_together():
    server, endpoints = Server(), several("a", "b", window=8, concurrency=8)
    run(ask_all(endpoints, 200, lambda endpoint, row: server.answer({}, row)))
    assert server.most_at_once == 8


def test_a_slow_endpoint_leaves_its_share_to_the_other():
    endpoints = Endpoints(
        [
            Endpoint("a", NoProvider(), "a", pace=Pace(16, rpm=60)),
            Endpoint("b", NoProvider(), "b", pace=Pace(16)),
        ]
    )
    sent, _ = ask_many(endpoints, 1_000, lambda name, row: None)
    assert sent["a"] < 10
    assert sent["a"] + sent["b"] == 1_000


def test_a_wrong_key_takes_one_endpoint_out_for_good_and_loses_no_row():
    endpoints = several("a", "b")
    sent, failures = ask_many(
        endpoints,
        2_000,
        lambda name, row: StopError("wrong key") if name == "a" else None,
        seconds=2.0,
    )
    assert failures == []
    assert sent["a"] <= 16
    assert endpoints.notes == ["a is out: wrong key; it is not asked again"]
    assert endpoints.describe() == "a: out; b: 16 at once"


@pytest.mark.parametrize(
    "error",
    [RateLimitError("quota", retry_after=400.0), ServerError("oops")],
    ids=["closed", "broken"],
)
def test_an_endpoint_that_fails_is_out_for_a_while_and_comes_back(error):
    endpoints, began = several("a", "b"), []

    def behave(name, row):
        began.append(now())
        return error if name == "a" and now() - began[0] < 600 else None

    sent, failures = ask_many(endpoints, 2_000, behave, seconds=10.0)
    assert failures == []
    assert sent["a"] > 200
    assert [note.partition(":")[0] for note in endpoints.notes] == ["a is out", "a answers again"]
    assert not endpoints.endpoints[0].is_out


def test_when_the_last_one_is_out_the_run_stops():
    endpoints = several("a", "b")
    with pytest.raises(StopError, match="wrong key of"):
        ask_many(endpoints, 1_000, lambda name, row: StopError(f"wrong key of {name}"))
    assert endpoints.in_flight == 0


def test_a_spent_budget_is_nobody_s_fault():
    endpoints = several("a", "b")
    with pytest.raises(BudgetError):
        ask_many(endpoints, 1_000, lambda name, row: BudgetError("spent"))
    assert endpoints.notes == []


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_nobody_waits_for_ever(seed):
    """The clock that jumps raises when everybody waits; here requests fail in every way, and are cancelled."""
    chance, endpoints = random.Random(seed), several("a", "b", "c", window=4, concurrency=8)
    errors = [
        lambda: RateLimitError("busy", retry_after=chance.choice([None, 0.0, 5.0, 299.0])),
        lambda: RateLimitError("quota", retry_after=3600.0),
        lambda: ServerError("oops"),
        lambda: RefusedError("too long"),
        lambda: ConnectionLostError("gone"),
    ]

    async def attempt(endpoint):
        await asyncio.sleep(chance.expovariate(1))
        if chance.random() < 0.3 * (endpoint.name != "c"):
            raise chance.choice(errors)()
        left = chance.choice([0, 1, 50])
        limits = Limits(Quota(50, left, chance.choice([None, 0.0, 3.0, 80_000.0])))
        return completion(chance.choice([None, limits]))

    async def one():
        try:
            async with asyncio.timeout(chance.choice([0.5, 5, None])):
                await endpoints.complete(attempt, tokens=chance.randrange(1, 5_000))
        except (TimeoutError, ProviderError):
            pass

    async def work():
        for _ in range(30):
            await one()

    async def main():
        async with endpoints, asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(work())

    run(main())
    assert endpoints.in_flight == 0
    assert [endpoint.pace.in_flight for endpoint in endpoints.endpoints] == [0, 0, 0]


# A real server, a real provider, real time


@pytest.fixture
def connected(monkeypatch):
    monkeypatch.setattr("syphus.pacing.retries._backoff", lambda failures: 0.01)
    monkeypatch.setattr("syphus.pacing.retries._limited_backoff", lambda refusals: 0.01)

    def ask(behave, rows, request, *, models="openai/gpt-4o-mini", **options):
        provider = Provider(behave)
        with serve(provider):
            monkeypatch.setenv("OPENAI_API_KEY", "sk-first")
            monkeypatch.setenv("SECOND_KEY", "sk-second")
            monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
            monkeypatch.setenv("OPENAI_API_BASE", provider.url)
            endpoints = open_endpoints(models, **options)

            async def one(row):
                return await endpoints.complete(
                    lambda endpoint: endpoint.provider.complete(request(row)), tokens=700
                )

            async def main():
                async with endpoints:
                    return await asyncio.gather(*map(one, range(rows)), return_exceptions=True)

            return asyncio.run(main()), endpoints, provider

    return ask


@pytest.fixture
def request_for():
    from syphus.request import Message, Prompt, Request, Sampling

    def made(row):
        return Request(
            context_id=str(row),
            model="openai/gpt-4o-mini",
            prompt=Prompt("t", 1, (Message("system", "Ask."),)),
            query=f"Notes:\n- Kite {row}.",
            sampling=Sampling(seed=0),
        )

    return made


def test_faults_of_a_real_server_cost_no_row(connected, request_for):
    def behave(body, before):
        row = int(body["messages"][-1]["content"].split()[-1].rstrip("."))
        if before == 0 and row % 5 == 0:
            return refuse(429, "slow down", **{"Retry-After": "0.2"})
        return refuse(500, "oops") if before == 0 and row % 10 == 3 else None

    found, endpoints, provider = connected(behave, 60, request_for, concurrency=8)
    assert [type(answer).__name__ for answer in found] == ["Completion"] * 60
    assert endpoints.errors == {"rate_limit": 12, "server": 6}
    assert len(provider.bodies) == 78


def test_headers_of_a_real_server_are_followed(connected, request_for):
    def behave(body, before):
        answer = good(body)
        answer.headers["x-ratelimit-limit-requests"] = "100"
        answer.headers["x-ratelimit-remaining-requests"] = "0"
        answer.headers["x-ratelimit-reset-requests"] = "1s"
        return answer

    found, endpoints, _ = connected(behave, 12, request_for, concurrency=4)
    assert not [answer for answer in found if isinstance(answer, Exception)]
    assert endpoints.describe() == "98.0/s by the provider's headers"


def test_two_keys_share_the_work_of_one_model(connected, request_for):
    found, endpoints, provider = connected(
        lambda body, before: None,
        40,
        request_for,
        models="openai/gpt-4o-mini=3,openai/gpt-4o-mini@env:SECOND_KEY",
        concurrency=8,
    )
    assert not [answer for answer in found if isinstance(answer, Exception)]
    assert endpoints.models == ("openai/gpt-4o-mini",)
    keys = Counter(headers["Authorization"] for headers in provider.headers)
    assert keys == {"Bearer sk-first": 30, "Bearer sk-second": 10}


def test_an_hour_s_retry_after_of_a_real_server_is_a_sentence(connected, request_for):
    found, _, provider = connected(
        lambda body, before: refuse(429, "slow down", **{"Retry-After": "3600"}),
        3,
        request_for,
        concurrency=1,
    )
    assert len(provider.bodies) == 1
    assert all(isinstance(error, StopError) for error in found)
    assert "the provider asks to wait 3600 s" in str(found[0])
    assert not [error for error in found if isinstance(error, RetryError)]
