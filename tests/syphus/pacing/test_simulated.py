"""Whole runs against true limits, on a clock that jumps: what a rule costs in time and in refused requests."""

import random

import pytest

from syphus.errors import StopError
from syphus.pacing.climb import RateClimb
from syphus.pacing.endpoints import single

from .virtual import NoProvider, Server, simulate


@pytest.fixture(autouse=True)
def same_each_time(monkeypatch):
    monkeypatch.setattr("syphus.pacing.retries.random", random.Random(1))


def run(server, rows=400, concurrency=32):
    found = simulate(server, single(NoProvider(), "m", concurrency=concurrency), rows)
    assert (found.done, found.early) == (rows, 0)
    return found


def ideal(server, rows, concurrency=32):
    return max((rows - server.burst) / server.rate, rows * server.latency / concurrency)


@pytest.mark.parametrize("latency", [0.02, 0.05, 1.0])
@pytest.mark.parametrize("tells", ["exact", "seconds"])
@pytest.mark.parametrize(("rate", "rows"), [(5, 400), (40, 400), (400, 2000)])
def test_headers_are_followed_to_the_limit(rate, rows, tells, latency):
    server = Server(rate=rate, burst=rate, latency=latency, tells=tells)
    found = run(server, rows)
    # The first of 32 at once leave before any header is known.
    assert found.limited <= max(32 - rate, 0.02 * rows)
    assert found.wall <= 1.08 * ideal(server, rows) + latency


@pytest.mark.parametrize("latency", [0.02, 0.05, 1.0])
@pytest.mark.parametrize("tells", ["nothing", "retry-after"])
@pytest.mark.parametrize(("rate", "rows"), [(5, 400), (40, 400), (400, 2000)])
def test_without_headers_the_limit_is_found(rate, rows, tells, latency):
    server = Server(rate=rate, burst=rate, latency=latency, tells=tells)
    found = run(server, rows)
    assert found.limited <= 0.7 * rows
    assert found.wall <= 1.15 * ideal(server, rows) + latency


@pytest.mark.parametrize("seed", range(5))
def test_luck_does_not_decide(seed, monkeypatch):
    monkeypatch.setattr("syphus.pacing.retries.random", random.Random(seed))
    server = Server(rate=40, burst=40, tells="nothing", random=random.Random(seed))
    found = run(server)
    assert found.limited <= 0.7 * 400
    assert found.wall <= 1.15 * 9


@pytest.mark.parametrize("rows", [400, 2000])
def test_refusals_at_random_do_not_slow_a_run_down(rows, monkeypatch):
    def faults():
        return Server(random_429=0.2, random_500=0.05, retry_after=0.2)

    paced = run(faults(), rows)
    with monkeypatch.context() as patch:
        patch.setattr(RateClimb, "limited", lambda self, now, left_at: None)
        unpaced = run(faults(), rows)
    assert paced.wall <= 1.3 * unpaced.wall
    assert paced.asked <= 1.45 * rows


def test_refusals_at_random_on_top_of_a_true_limit_are_told_apart():
    server = Server(rate=40, burst=40, random_429=0.2, tells="nothing")
    found = run(server, 2000)
    # A random refusal uses up the limit, too: 1.25 requests per row.
    assert found.wall <= 1.3 * (2000 * 1.25 - 40) / 40
    assert found.limited <= 0.7 * 2000


@pytest.mark.parametrize("tells", ["exact", "retry-after", "nothing"])
def test_a_limit_that_falls_half_way_is_followed(tells):
    def fall(server, seconds):
        server.rate = server.burst = 40 if seconds < 4 else 10

    found = run(Server(rate=40, burst=40, tells=tells, change=fall))
    assert found.wall <= (1.08 if tells == "exact" else 1.15) * 24
    assert found.limited <= (0.05 if tells == "exact" else 1.0) * 400


@pytest.mark.parametrize(("tells", "lost"), [("exact", 2), ("retry-after", 4), ("nothing", 4)])
def test_an_eightfold_limit_is_found_within_seconds(tells, lost):
    def rise(server, seconds):
        server.rate = server.burst = 10 if seconds < 10 else 80

    found = run(Server(rate=10, burst=10, tells=tells, change=rise), 1000)
    assert found.wall <= 10 + (1000 - 110 - 80) / 80 + lost
    assert found.limited <= 0.7 * 1000


def test_a_fixed_window_is_used_up_and_its_end_waited_for():
    found = run(Server(rate=10, burst=100, window=10, tells="window"))
    assert found.wall <= 1.02 * 30
    assert found.limited <= 4


def test_a_daily_quota_does_not_slow_down_who_needs_less():
    found = run(Server(rate=1 / 6, burst=14_400, tells="exact"))
    assert found.limited == 0
    assert found.wall <= 1.15 * 400 * 0.02 / 32


def test_a_daily_quota_that_is_used_up_goes_on_as_it_fills():
    found = run(Server(rate=1 / 6, burst=350, tells="exact"))
    assert found.limited <= 1
    assert found.wall <= 1.03 * 50 * 6


def test_a_quota_that_is_gone_for_hours_stops_the_run_within_a_minute():
    server = Server(rate=1, burst=100, window=5 * 3600, tells="window")
    with pytest.raises(ExceptionGroup) as found:
        run(server)
    stop = found.value.exceptions[0]
    assert isinstance(stop, StopError)
    # Of five hours, one minute had been waited; then one request asked.
    assert "the provider asks to wait 179" in str(stop)
    assert server.limited <= 2


def test_a_limit_per_minute_without_a_reset_is_kept():
    found = run(Server(rate=12, burst=720, tells="no-reset"), 1_000)
    assert found.limited <= 0.02 * 1_000
    assert found.wall <= 1.1 * (1_000 - 720) / 12


def test_where_nothing_limits_nothing_waits():
    found = run(Server(latency=0.05), 4_000, concurrency=64)
    assert found.asked == 4_000
    assert found.wall <= 1.05 * 4_000 * 0.05 / 64
