"""What a batch lane does when nothing goes wrong, and when requests do."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace

import pytest

from mimicit.errors import MissingExtraError
from mimicit.ledger_tables import LEDGER_TABLES
from syphus.batch import BatchLane, open_batches, provider_of, waiting_keys
from syphus.batch.lane import GROWTH, LONGEST, SHORTEST
from syphus.errors import RefusedError, RetryError, StopError
from syphus.ledger import Ledger
from syphus.prices import price_of
from syphus.providers.bodies import body_of
from syphus.request import SeenPicture


def test_all_requests_are_answered_in_one_batch(world):
    requests = world.requests(30)
    [state], errors = world.run(requests)
    assert (state.merged, state.batches, state.queued, errors) == (30, 0, 0, {})
    assert len(world.provider.batches) == 1
    world.check_each_was_asked_once(requests)
    [(texts, batches)] = world.rows(
        "SELECT count(DISTINCT text), count(DISTINCT batch) FROM replies"
    )
    assert (texts, batches) == (1, 1)
    assert [path.name for path in world.folder.glob("batch-*")] == []


def test_a_batch_sends_what_the_direct_lane_sends(world):
    requests = world.requests(2)
    world.run(requests)
    [batch] = world.provider.batches.values()
    assert dict(batch.requests) == {
        request.key: json.loads(json.dumps(body_of(request, model=world.model)))
        for request in requests
    }


def test_a_batch_is_charged_at_half_the_price(world):
    [state], _ = world.run(world.requests(8))
    price = price_of(world.model)
    full = 8 * (1_000 * price.prompt + 100 * price.completion)
    assert state.cost_usd == pytest.approx(full / 2)
    [(usd,)] = world.rows("SELECT sum(cost_usd) FROM replies")
    assert usd == pytest.approx(full / 2)
    assert (state.prompt_tokens, state.completion_tokens) == (8_000, 800)


def test_batches_keep_to_a_limit_on_requests(world):
    requests = world.requests(25)
    [state], _ = world.run(requests, most_requests=10)
    sizes = sorted(len(batch.requests) for batch in world.provider.batches.values())
    assert (state.merged, sizes) == (25, [5, 10, 10])
    world.check_each_was_asked_once(requests)


def test_batches_keep_to_a_limit_on_bytes(world):
    requests = world.requests(40, text="on a mat " * 50)
    world.run(requests, most_bytes=9_000)
    if files := world.provider.files:
        sizes = [len(content) for _, content, _ in files.values()]
    else:
        sizes = [int(length) for length in world.provider.content_lengths]
    assert len(sizes) > 3
    assert 8_000 < max(sizes) <= 9_000
    world.check_each_was_asked_once(requests)


def test_a_request_that_no_batch_can_hold_is_refused_and_the_others_go_on(world):
    requests = [*world.requests(3), *world.requests(1, text="long " * 2_000)]
    [state], errors = world.run(requests, most_bytes=9_000)
    assert state.merged == 3
    [(key, error)] = errors.items()
    assert key == requests[3].key
    assert isinstance(error, RefusedError)
    assert "a batch holds no more than" in str(error)


def test_full_batches_are_submitted_while_others_are_put(world):
    async def scenario():
        with world.lane(most_requests=4) as (lane, _):
            for request in requests:
                lane.put(request)
                await lane.submit_full()
            assert (lane.queued, len(world.provider.batches)) == (2, 2)
            return await lane.settle()

    requests = world.requests(10)
    assert asyncio.run(scenario()).merged == 10
    world.check_each_was_asked_once(requests)


def test_workers_may_submit_at_the_same_time(world):
    async def scenario():
        with world.lane(most_requests=3) as (lane, _):

            async def worker():
                for request in shared:
                    lane.put(request)
                    await lane.submit_full()

            await asyncio.gather(*(worker() for _ in range(5)))
            return await lane.settle()

    requests = world.requests(20)
    shared = iter(requests)
    assert asyncio.run(scenario()).merged == 20
    world.check_each_was_asked_once(requests)


def test_a_request_is_queued_once(world):
    with world.lane() as (lane, _):
        for request in world.requests(3) * 2:
            lane.put(request)
        assert lane.queued == 3


def test_what_expires_or_meets_a_server_error_is_asked_again(world):
    def outcome(body, before):
        odd = ["expired", 500, 429, None]
        number = int(json.dumps(body).partition("mat ")[2].partition(".")[0])
        return "A cat." if before or number >= 4 else odd[number]

    world.provider.outcome = outcome
    states, errors = world.run(world.requests(10))
    assert [(state.merged, state.again, state.refused) for state in states] == [
        (6, 4, 0),
        (4, 0, 0),
    ]
    assert errors == {}
    assert sorted(world.provider.asked.values()) == [1] * 6 + [2] * 4
    kinds = world.rows("SELECT kind, count(*) FROM failures GROUP BY 1 ORDER BY 1")
    assert kinds == [("rate_limit", 1), ("server", 3)]
    with Ledger(world.path) as ledger:
        assert ledger.counts()["in_flight"] == 0


def test_a_request_is_asked_again_only_so_often(world):
    world.provider.outcome = lambda body, before: "expired"
    states, errors = world.run(world.requests(25), tries=9)
    assert set(world.provider.asked.values()) == {3}
    assert [(state.again, state.refused) for state in states] == [(25, 0), (25, 0), (0, 25)]
    assert len(errors) == 25
    assert all(isinstance(error, RetryError) for error in errors.values())


def test_a_refused_request_is_recorded_and_not_asked_again(world):
    world.provider.outcome = lambda body, before: 400 if "mat 1." in json.dumps(body) else "A cat."
    requests = world.requests(4)
    [state], errors = world.run(requests)
    assert (state.merged, state.refused, state.again) == (3, 1, 0)
    assert {key: str(error) for key, error in errors.items()} == {requests[1].key: "planned 400"}
    assert set(world.provider.asked.values()) == {1}
    [(kind, message)] = world.rows("SELECT kind, message FROM failures")
    assert (kind, message) == ("refused", "planned 400")


def test_a_batch_of_which_everything_is_refused_stops_the_run(world):
    world.provider.outcome = lambda body, before: 400
    with pytest.raises(
        StopError, match=r"all 20 requests of a batch were refused; the first: planned 400"
    ):
        world.run(world.requests(20))
    assert world.events()[-1] == "merged"


def test_a_batch_that_fails_its_validation_names_the_first_error(openai):
    openai.provider.validation = lambda batch: ("invalid_json_line", "This line is not parseable.")
    with pytest.raises(StopError, match=r"line 3: This line is not parseable\."):
        openai.run(openai.requests(5))
    assert openai.events()[-1] == "failed"
    assert openai.rows("SELECT count(*) FROM failures WHERE kind = 'refused'") == [(5,)]
    openai.provider.validation = lambda batch: None
    [state], _ = openai.run(openai.requests(5))
    assert state.merged == 5


def test_a_body_that_is_refused_stops_the_run_and_is_not_kept_open(anthropic):
    anthropic.provider.before["submit"] = ["400"]
    with pytest.raises(StopError, match=r"refuses a batch of 5 requests: .*planned 400"):
        anthropic.run(anthropic.requests(5))
    assert anthropic.events()[-1] == "failed"
    [state], _ = anthropic.run(anthropic.requests(5))
    assert state.merged == 5


def test_batches_wait_while_the_providers_queue_is_full(openai):
    """Only as many batches as the account may have at once; the others are submitted when one has ended."""

    def validation(batch):
        running = [b for b in openai.provider.batches.values() if b.status == "in_progress"]
        full = ("token_limit_exceeded", "Enqueued token limit reached.")
        return full if len(running) >= 2 else None

    openai.provider.validation = validation
    requests = openai.requests(12)
    [state], errors = openai.run(requests, most_requests=2)
    assert (state.merged, state.again, errors) == (12, 0, {})
    assert len(openai.provider.files) == 6  # uploaded once, submitted until there was room
    assert openai.events().count("held") >= 1
    answered = [b for b in openai.provider.batches.values() if b.status == "completed"]
    assert len(answered) == 6
    assert max(state.held for state in openai.states) >= 1


def test_a_queue_that_stays_full_stops_the_run_with_a_sentence(openai):
    full = ("token_limit_exceeded", "Enqueued token limit reached.")
    openai.provider.validation = lambda batch: full
    with pytest.raises(StopError, match=r"no room for a batch of 3 requests.*Enqueued token limit"):
        openai.run(openai.requests(3))
    openai.provider.validation = lambda batch: None
    [state], _ = openai.run(openai.requests(3))
    assert (state.merged, len(openai.provider.files)) == (3, 1)


def test_looks_become_rarer_while_nothing_changes(world):
    world.provider.looks = 12
    world.run(world.requests(2))
    expected = [SHORTEST]
    while len(expected) < 8:
        expected.append(min(expected[-1] * GROWTH, LONGEST))
    assert world.waits[:8] == expected
    assert max(world.waits) == LONGEST


def test_progress_tells_of_open_batches(world):
    world.run(world.requests(6), most_requests=2)
    assert max(state.batches for state in world.states) == 3
    assert max(state.requests for state in world.states) == 6
    assert world.states[-1].merged == 6


def test_an_interrupted_run_leaves_its_batch_and_the_next_one_goes_on(world):
    async def interrupted():
        async def sleep(seconds):
            raise asyncio.CancelledError

        with world.lane(sleep=sleep) as (lane, ledger):
            for request in requests:
                lane.put(request)
            with pytest.raises(asyncio.CancelledError):
                await lane.settle()
            assert lane.parting() == (
                "1 batch goes on at the provider (5 requests): the same command goes on from "
                "there, and asks none of them again"
            )
            assert waiting_keys(ledger, [r.key for r in requests]) == {r.key for r in requests}
            [there] = open_batches(ledger)
            assert (there.requests, there.remote) == (5, *world.provider.batches)

    requests = world.requests(5)
    asyncio.run(interrupted())
    [state], _ = world.run(requests)
    assert state.merged == 5
    world.check_each_was_asked_once(requests)


def test_a_lane_leaves_other_models_batches_alone(openai):
    openai.provider.looks = 10**9
    with openai.lane(sleep=_stop) as (lane, _):
        lane.put(openai.requests(1)[0])
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(lane.settle())
    openai.provider.looks = 1
    openai.model = "openai/gpt-4o"
    [state], _ = openai.run(openai.requests(2))
    assert state.merged == 2
    with Ledger(openai.path) as ledger:
        assert [batch.model for batch in open_batches(ledger)] == ["openai/gpt-4o-mini"]


async def _stop(seconds):
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    "model", ["local", "groq/llama-3.1-8b-instant", "azure/gpt-4o", "gemini/x"]
)
def test_other_providers_have_no_batches(model, tmp_path):
    assert provider_of(model) is None
    with (
        Ledger(tmp_path / "l.sqlite") as ledger,
        pytest.raises(StopError, match="cannot be asked in batches"),
    ):
        BatchLane(model, ledger, "run", tmp_path)


def test_a_model_may_be_named_without_its_provider():
    assert (provider_of("gpt-4o-mini"), provider_of("claude-haiku-4-5")) == ("openai", "anthropic")


def test_a_missing_key_is_named(world, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(StopError, match=r"set (OPENAI|ANTHROPIC)_API_KEY"), world.lane():
        pass


def test_a_missing_package_is_named(anthropic, monkeypatch):
    monkeypatch.setitem(sys.modules, "anthropic", None)
    with pytest.raises(MissingExtraError, match=r"mimicit\[batch\]"), anthropic.lane():
        pass


def test_replies_are_kept_whatever_characters_they_hold(world):
    odd = "A cat. \u2028 \x85 \x0b\x0c\x1c 猫 🐈"
    world.provider.outcome = lambda body, before: odd
    world.run(world.requests(3))
    assert world.rows("SELECT DISTINCT text FROM replies") == [(odd,)]


def test_a_result_that_cannot_be_understood_is_that_requests_failure_alone(world):
    world.provider.outcome = lambda body, before: (
        {"no": "text"} if "mat 1." in json.dumps(body) else "A cat."
    )
    [state], errors = world.run(world.requests(4))
    assert (state.merged, len(errors)) == (3, 1)


def test_pictures_are_sent_and_not_kept_in_the_ledger(world):
    picture = SeenPicture("ab" * 32, "image/jpeg", b"\xff\xd8\xff" * 400)
    request = replace(world.requests(1)[0], pictures=(picture,))
    world.run([request])
    [batch] = world.provider.batches.values()
    [(key, body)] = batch.requests
    assert key == request.key
    assert picture.data_url().partition("base64,")[2] in json.dumps(body)
    [(parameters,)] = world.rows("SELECT parameters FROM requests")
    assert json.loads(parameters)["pictures"] == [picture.sha256]


def test_the_ledger_has_a_batchs_life(openai):
    openai.run(openai.requests(2))
    assert openai.events() == ["intent", "uploaded", "submitted", "completed", "merged"]
    columns = ", ".join(LEDGER_TABLES["batches"])
    [row] = openai.rows(f"SELECT {columns} FROM batches")
    assert (len(row[0]), row[2], row[3], len(row[4])) == (32, openai.model, 2, 32)
    links = openai.rows(
        "SELECT count(*) FROM batch_requests b JOIN sent s ON s.id = b.sent AND s.request = b.request "
        "JOIN replies r ON r.sent = s.id AND r.batch = b.batch"
    )
    assert links == [(2,)]
