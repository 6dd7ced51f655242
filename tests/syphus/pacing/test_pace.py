import math

import pytest

from syphus.errors import RateLimitError, ServerError, StopError
from syphus.limits import Limits, Quota
from syphus.pacing.buckets import Bucket
from syphus.pacing.pace import PATIENCE, Pace

from .virtual import completion


def send(pace, now, count=1, tokens=100):
    """Let as many leave as may at once, at most `count`."""
    tickets = []
    while len(tickets) < count and not pace.wait(now, tokens):
        tickets.append(pace.leave(now, tokens))
    return tickets


def test_a_new_endpoint_starts_at_the_full_window():
    pace = Pace(64)
    assert len(send(pace, 0.0, 100)) == 64
    assert pace.wait(0.0, 100) == math.inf
    assert pace.describe(0.0) == "64 at once"


@pytest.mark.parametrize("rpm", [1, 7, 60, 600, 12_000])
def test_no_minute_holds_more_than_the_rpm(rpm):
    bucket, times, now = Bucket(rpm), [], 0.0
    while now < 180:
        now += bucket.wait(now, 1)
        bucket.take(1)
        times.append(now)
    first_minute = sum(time < 60 for time in times)
    assert 0.9 * rpm <= first_minute <= rpm
    for start in range(0, 120, 7):
        assert sum(start <= time < start + 60 for time in times) <= rpm + 1e-9


def test_a_tpm_counts_what_was_really_used():
    pace = Pace(1_000, tpm=60_000)
    (ticket,) = send(pace, 0.0, 1, tokens=1_000)
    assert pace.wait(0.0, 1_000) > 0.9
    pace.answered(ticket, 0.0, used=100)
    assert pace.wait(0.0, 900) == 0.0
    assert pace.wait(0.0, 1_000) > 0.0
    assert pace.describe(0.0) == "60000 tokens/min by --tpm"


def test_a_request_larger_than_a_bucket_still_leaves():
    pace, now = Pace(10, tpm=6_000), 0.0
    send(pace, now, 1, tokens=2_000)
    wait = pace.wait(now, 2_000)
    assert wait == pytest.approx(20, rel=0.1)
    assert pace.wait(now + wait, 2_000) == 0.0


def test_no_more_leave_than_the_headers_say_remain():
    pace = Pace(64)
    first, *others = send(pace, 0.0, 4)
    # What remained when the first came in; three left after it.
    pace.answered(first, 0.0, limits=Limits(Quota(60, 13, 47.0)))
    assert len(send(pace, 0.0, 64)) == 10
    assert others
    assert "by the provider's headers" in pace.describe(0.0)


def test_what_overtook_is_not_undone_by_an_older_reply():
    pace = Pace(64)
    first, second = send(pace, 0.0, 2)
    pace.answered(second, 0.0, limits=Limits(Quota(60, 0, 60.0)))
    pace.answered(first, 0.0, limits=Limits(Quota(60, 59, 1.0)))
    assert pace.wait(0.0, 100) > 0.5


def test_tokens_that_remain_bind_as_requests_do():
    pace = Pace(64)
    (ticket,) = send(pace, 0.0, 1)
    pace.answered(ticket, 0.0, limits=Limits(tokens=Quota(10_000, 1_000, 54.0)))
    assert len(send(pace, 0.0, 64, tokens=400)) == 2
    assert "tokens/s by the provider's headers" in pace.describe(0.0)


def test_nobody_leaves_before_retry_after_if_most_answers_are_429s():
    pace = Pace(64)
    for seconds, ticket in enumerate(send(pace, 0.0, 12), 12):
        pace.failed(ticket, 0.0, RateLimitError("slow down", retry_after=float(seconds)))
    # The soonest of those that were told when nearly all were refused.
    assert pace.wait(1.0, 100) == pytest.approx(19.0, abs=2)
    assert pace.describe(1.0) == "waiting 19 s as the provider asks"
    assert pace.wait(25.0, 100) == 0.0


def test_a_429_among_answers_holds_nobody_up():
    pace = Pace(64)
    tickets = send(pace, 0.0, 16)
    for n, ticket in enumerate(tickets):
        if n % 4:
            pace.answered(ticket, 0.1)
        else:
            pace.failed(ticket, 0.1, RateLimitError("busy", retry_after=10.0))
    assert pace.wait(0.1, 100) == 0.0


@pytest.mark.parametrize("error", [RateLimitError, ServerError])
def test_who_asks_to_wait_an_hour_has_closed(error):
    pace = Pace(4)
    (ticket,) = send(pace, 0.0)
    with pytest.raises(StopError, match=r"slow down; the provider asks to wait 3600 s.*300 s"):
        pace.failed(ticket, 0.0, error("slow down", retry_after=3600.0))
    assert pace.in_flight == 0


def test_an_hour_of_nothing_but_refusals_stops():
    pace = Pace(4)

    def refuse(now):
        pace.failed(pace.leave(now, 100), now, RateLimitError("slow down"))

    for minute in range(60):
        refuse(60.0 * minute)
    with pytest.raises(StopError, match="nothing but refusals for 60 minutes"):
        refuse(PATIENCE)


def climb(most, goodput):
    """Keep a window full for a minute; return its sizes."""
    pace, now, sizes, tickets = Pace(16, most=most), 0.0, [], []
    while now < 60:
        tickets += send(pace, now, 1_000)
        sizes.append(pace.window.size)
        now += 1 / goodput(pace.in_flight)
        pace.answered(tickets.pop(0), now)
    return sizes


def test_the_window_climbs_while_goodput_grows():
    assert climb(256, lambda at_once: 10 * at_once)[-1] == 256


def test_the_window_stays_where_more_at_once_gain_nothing():
    sizes = climb(256, lambda at_once: 160)
    assert max(sizes) <= 24
    assert sizes.count(16) > 0.7 * len(sizes)


def test_the_window_finds_where_gains_end():
    sizes = climb(256, lambda at_once: 10 * min(at_once, 50))
    assert 36 <= sizes[-1] <= 81


def test_a_window_that_the_user_named_does_not_climb():
    assert set(climb(None, lambda at_once: 10 * at_once)) == {16}


def test_counts_come_out_even_whatever_happens():
    pace = Pace(8)
    answered, limited, failed, cancelled = send(pace, 0.0, 4)
    pace.answered(answered, 1.0, limits=completion().limits, used=10)
    pace.failed(limited, 1.0, RateLimitError("no"))
    pace.failed(failed, 1.0, ServerError("no"))
    pace.gave_up(cancelled)
    assert (pace.in_flight, pace.sent) == (0, 4)
