"""Killed or cut off anywhere, a batch is submitted once and nothing is lost."""

from __future__ import annotations

import asyncio
import urllib.request

import pytest

from syphus.batch import forget, open_batches
from syphus.batch.launch import LISTED_AFTER
from syphus.errors import StopError
from syphus.ledger import Ledger
from tests.syphus.batch.server import KEY

N = 12

# Where the run is killed: which of its requests the server keeps waiting, before or after it did what was asked.
POINTS = {
    "before the upload": ("upload", "hang before"),
    "after the upload, which was not noted": ("upload", "hang after"),
    "between upload and submit": ("submit", "hang before"),
    "between submit and noting it": ("submit", "hang after"),
    "while it waits": ("retrieve", "hang after"),
    "while it fetches results": ("content", "hang before"),
}


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_a_killed_run_at_openai_is_submitted_once(openai, point):
    step, what = point
    openai.provider.before[step] = [what]
    openai.kill_while_it_waits(N)
    requests = openai.requests(N)
    states, errors = openai.run(requests)
    assert (states[-1].batches, errors) == (0, {})
    openai.check_each_was_asked_once(requests)
    assert len(openai.provider.files) == 1
    assert list(openai.folder.glob("batch-*")) == []


@pytest.mark.parametrize("point", ["between upload and submit", "between submit and noting it"])
def test_a_killed_run_at_anthropic_is_submitted_once(anthropic, point):
    step, what = POINTS[point]
    anthropic.provider.before[step] = [what]
    anthropic.kill_while_it_waits(N)
    anthropic.sleep = _ending_all(anthropic)
    requests = anthropic.requests(N)
    states, errors = anthropic.run(requests)
    assert (states[-1].batches, errors) == (0, {})
    anthropic.check_each_was_asked_once(requests)


def _end_all(world):
    """Let all batches end, as they do whether somebody looks or not."""
    for name in world.provider.batches:
        request = urllib.request.Request(f"{world.provider.url}/messages/batches/{name}")
        urllib.request.urlopen(request).close()


@pytest.mark.parametrize(
    ("method", "calls"),
    [
        ("note_sent", 5),
        ("insert", 2),
        ("insert", 3),
        ("insert", 4),
        ("insert", 5),
        ("note_reply", 5),
    ],
    ids=["requests", "the batch", "its requests", "the intent", "the upload", "replies"],
)
def test_a_run_killed_while_it_writes_to_the_ledger_is_submitted_once(openai, method, calls):
    child = openai.start(N, method, str(calls))
    _, said = child.communicate(timeout=60)
    assert child.returncode == -9, said
    requests = openai.requests(N)
    _, errors = openai.run(requests)
    assert errors == {}
    openai.check_each_was_asked_once(requests)


@pytest.mark.slow
def test_a_run_killed_over_and_over_is_submitted_once(openai):
    for step, what in POINTS.values():
        openai.provider.before[step] = [what]
        openai.provider.held.clear()
        openai.kill_while_it_waits(N)
        openai.provider.before.clear()
    requests = openai.requests(N)
    openai.run(requests)
    openai.check_each_was_asked_once(requests)


@pytest.mark.parametrize("step", ["upload", "submit", "retrieve", "content"])
@pytest.mark.parametrize("what", ["reset before", "reset after", "503", "429", "cut"])
def test_a_broken_connection_at_openai_is_made_good(openai, step, what):
    openai.provider.before[step] = [what] * 2
    requests = openai.requests(N)
    [state], errors = openai.run(requests)
    assert (state.merged, errors) == (N, {})
    openai.check_each_was_asked_once(requests)
    if what == "429":
        assert sum(wait >= 7.0 for wait in openai.waits) >= 2, "Retry-After: 7"


@pytest.mark.parametrize("step", ["retrieve", "content"])
@pytest.mark.parametrize("what", ["reset before", "reset after", "503", "429", "cut"])
def test_a_broken_connection_at_anthropic_is_made_good(anthropic, step, what):
    anthropic.provider.before[step] = [what] * 2
    requests = anthropic.requests(N)
    [state], errors = anthropic.run(requests)
    assert (state.merged, errors) == (N, {})
    anthropic.check_each_was_asked_once(requests)


@pytest.mark.parametrize("what", ["reset before", "reset after", "503", "429", "cut"])
def test_a_broken_submit_at_anthropic_is_made_good(anthropic, what):
    """Taken or not: a batch that may be ours is waited for, and told by its results."""
    anthropic.provider.before["submit"] = [what]
    anthropic.sleep = _ending_all(anthropic)
    requests = anthropic.requests(N)
    [state], errors = anthropic.run(requests)
    assert (state.merged, errors) == (N, {})
    anthropic.check_each_was_asked_once(requests)


def _ending_all(world):
    async def sleep(seconds):
        world.waits.append(seconds)
        await asyncio.to_thread(_end_all, world)

    return sleep


def test_nothing_is_sent_again_while_a_batch_of_the_same_size_is_under_way(anthropic):
    """It is somebody else's, but only its results say so."""
    provider, looks = anthropic.provider, []

    async def sleep(seconds):
        looks.append(len(provider.batches))
        if len(looks) == 1:  # theirs comes in just when our submit fails
            provider.others(N, keys="e")
        if len(looks) > 5:
            await asyncio.to_thread(_end_all, anthropic)

    provider.others(N, keys="f")
    provider.before["submit"] = ["503"]
    anthropic.sleep = sleep
    requests = anthropic.requests(N)
    [state], _ = anthropic.run(requests)
    assert (state.merged, max(state.unclear for state in anthropic.states)) == (N, 1)
    assert looks[:6] == [1, 2, 2, 2, 2, 2]
    assert len(provider.batches) == 3
    assert {provider.asked[request.key] for request in requests} == {1}


def test_a_list_that_shows_new_batches_late_is_read_twice(openai):
    openai.provider.before["submit"] = ["reset after"]
    openai.provider.unlisted = 1
    requests = openai.requests(N)
    openai.run(requests)
    openai.check_each_was_asked_once(requests)
    assert LISTED_AFTER in openai.waits


def test_an_old_batch_is_found_behind_many_newer_ones(openai):
    openai.provider.before["submit"] = ["hang after"]
    openai.kill_while_it_waits(N)
    for _ in range(10):
        openai.provider._add("batch", [])
    requests = openai.requests(N)
    openai.run(requests)
    openai.check_each_was_asked_once(requests)


def test_a_batch_whose_file_is_gone_before_it_was_sent_is_made_again(openai):
    openai.provider.before["upload"] = ["hang before"]
    openai.kill_while_it_waits(N)
    for path in openai.folder.glob("batch-*"):
        path.unlink()
    requests = openai.requests(N)
    openai.run(requests)
    openai.check_each_was_asked_once(requests)
    assert openai.events()[:2] == ["intent", "abandoned"]


def test_a_batch_that_the_provider_does_not_know_stops_the_run_until_it_is_given_up(world):
    async def stop(seconds):
        raise asyncio.CancelledError

    requests = world.requests(N)
    with world.lane(sleep=stop) as (lane, _):
        for request in requests:
            lane.put(request)
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(lane.settle())
    world.provider.batches.clear()
    with pytest.raises(StopError, match="set the key of the project that it belongs to"):
        world.run(requests)
    with Ledger(world.path) as ledger:
        [there] = open_batches(ledger)
        forget(ledger, there.id, "run")
    [state], _ = world.run(requests)
    assert state.merged == N


def test_a_wrong_key_stops_the_run_and_is_in_no_text_and_no_file(world):
    for step in ("upload", "submit"):
        world.provider.before[step] = ["refuse key"]
    with pytest.raises(StopError, match="Incorrect API key provided") as caught:
        world.run(world.requests(3))
    assert KEY not in str(caught.value)
    world.provider.before.clear()
    [state], _ = world.run(world.requests(3))
    assert state.merged == 3
    assert world.provider.keys == {KEY}
    for path in world.folder.rglob("*"):
        assert KEY.encode() not in path.read_bytes(), path


def test_an_interrupt_while_a_batch_is_submitted_waits_until_that_is_noted(world):
    async def interrupted():
        with world.lane() as (lane, _):
            for request in requests:
                lane.put(request)
            task = asyncio.create_task(lane.settle())
            while not world.provider.calls["submit"]:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    requests = world.requests(N)
    asyncio.run(interrupted())
    assert world.events()[-1] == "submitted"
    world.run(requests)
    world.check_each_was_asked_once(requests)
