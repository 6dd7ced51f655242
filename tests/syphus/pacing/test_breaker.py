import math

import pytest

from syphus.errors import RefusedError, ServerError, StopError
from syphus.pacing.breaker import FAILURES, GIVE_UP_AFTER, Breaker

OOPS = ServerError("the server is on fire", status=503)


@pytest.fixture
def after_an_answer():
    breaker = Breaker()
    breaker.answered()
    return breaker


def open_it(breaker, now=0.0):
    for _ in range(FAILURES):
        breaker.failed(now, OOPS)
    assert breaker.is_open


def test_a_run_whose_first_requests_all_fail_stops_and_says_why():
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker.failed(0.0, OOPS)
    with pytest.raises(StopError, match=r"none of the first 20 requests .* the server is on fire"):
        breaker.failed(0.0, OOPS)


def test_a_run_whose_first_requests_are_all_refused_stops():
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker.refused(RefusedError("no such parameter"))
    with pytest.raises(StopError, match="no such parameter"):
        breaker.refused(RefusedError("no such parameter"))


def test_refusals_after_an_answer_stop_nothing(after_an_answer):
    for _ in range(10 * FAILURES):
        after_an_answer.refused(RefusedError("too long"))
    assert after_an_answer.wait(0.0) == 0.0


def test_a_single_answer_among_failures_keeps_it_closed(after_an_answer):
    for n in range(10 * FAILURES):
        after_an_answer.failed(0.0, OOPS)
        if n % 10 == 0:
            after_an_answer.answered()
    assert not after_an_answer.is_open


def test_failures_in_a_row_let_one_probe_pass_after_growing_pauses(after_an_answer):
    breaker, now, pauses = after_an_answer, 0.0, []
    open_it(breaker)
    for _ in range(5):
        pauses.append(breaker.wait(now))
        now += pauses[-1]
        assert breaker.wait(now) == 0.0
        assert breaker.left()
        assert breaker.wait(now) == math.inf
        breaker.failed(now, OOPS, probe=True)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_those_that_were_under_way_are_no_probes(after_an_answer):
    open_it(after_an_answer)
    for _ in range(100):
        after_an_answer.failed(0.5, OOPS)
    assert after_an_answer.wait(0.5) == 0.5


@pytest.mark.parametrize("outcome", ["answered", "refused"])
def test_a_probe_that_is_answered_closes_it(after_an_answer, outcome):
    open_it(after_an_answer)
    after_an_answer.left()
    if outcome == "answered":
        after_an_answer.answered()
    else:
        after_an_answer.refused(RefusedError("too long"))
    assert after_an_answer.wait(1.0) == 0.0
    assert not after_an_answer.left()


def test_a_cancelled_probe_makes_room_for_the_next(after_an_answer):
    open_it(after_an_answer)
    after_an_answer.left()
    after_an_answer.gave_up()
    assert after_an_answer.wait(1.0) == 0.0


def test_five_minutes_of_failed_probes_stop_the_run(after_an_answer):
    breaker, now = after_an_answer, 0.0
    open_it(breaker)
    while now < GIVE_UP_AFTER:
        now += breaker.wait(now)
        breaker.left()
        if now < GIVE_UP_AFTER:
            breaker.failed(now, OOPS, probe=True)
    with pytest.raises(StopError, match=r"no answer for \d minutes; .* the server is on fire"):
        breaker.failed(now, OOPS, probe=True)
    assert GIVE_UP_AFTER <= now < GIVE_UP_AFTER + 60
