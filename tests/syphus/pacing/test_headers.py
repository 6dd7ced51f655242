"""What headers say, as numbers."""

import math
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from syphus.limits import Limits, Quota
from syphus.pacing.headers import read_limits, retry_after

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC).timestamp()
OPENAI = {
    "X-RateLimit-Limit-Requests": "5000",
    "X-RateLimit-Remaining-Requests": "4999",
    "X-RateLimit-Reset-Requests": "12ms",
    "X-RateLimit-Limit-Tokens": "160000",
    "X-RateLimit-Remaining-Tokens": "159000",
    "X-RateLimit-Reset-Tokens": "6m0s",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2026-11-25T12:00:01Z",
    "anthropic-ratelimit-input-tokens-limit": "50000",
    "anthropic-ratelimit-input-tokens-remaining": "50000",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-25T12:00:00Z",
    "anthropic-ratelimit-output-tokens-limit": "10000",
    "anthropic-ratelimit-output-tokens-remaining": "2000",
    "anthropic-ratelimit-output-tokens-reset": "2026-11-25T12:00:48Z",
}
NAMES = [
    *(name.lower() for name in OPENAI),
    *ANTHROPIC,
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "retry-after",
    "retry-after-ms",
]


def wall():
    return NOW


@pytest.mark.parametrize("made", [dict, lambda d: CIMultiDictProxy(CIMultiDict(d))])
def test_openai_s_names_are_read_in_any_case(made):
    assert read_limits(made(OPENAI)) == Limits(
        requests=Quota(5000, 4999, 0.012), tokens=Quota(160_000, 159_000, 360.0)
    )


def test_of_anthropic_s_token_limits_the_one_that_is_used_up_most_counts():
    assert read_limits(ANTHROPIC, wall=wall) == Limits(
        requests=Quota(50, 49, 1.0), tokens=Quota(10_000, 2_000, 48.0)
    )


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1s", 1.0),
        ("17ms", 0.017),
        ("2m59.56s", 179.56),
        ("6m0s", 360.0),
        ("1h2m3s", 3723.0),
        ("30", 30.0),
        ("0.5", 0.5),
        (str(NOW + 20), 20.0),
        (str(int((NOW + 20) * 1000)), 20.0),
        (str(NOW - 20), 0.0),
        ("9000000000", 86_400.0),
        ("2026-11-25T12:00:05Z", 5.0),
        ("2026-11-25T13:00:05+01:00", 5.0),
        ("400d", 86_400.0),
        ("soon", None),
        ("-3", None),
        ("nan", None),
        ("", None),
    ],
)
def test_a_reset_is_a_duration_a_number_or_a_time(reset, seconds):
    headers = {
        "x-ratelimit-limit": "100",
        "x-ratelimit-remaining": "7",
        "x-ratelimit-reset": reset,
    }
    limits = read_limits(headers, wall=wall)
    assert limits
    assert limits.requests
    assert (limits.requests.limit, limits.requests.remaining) == (100, 7)
    assert limits.requests.reset == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"x-ratelimit-limit-requests": "0", "x-ratelimit-remaining-requests": "0"},
        {"x-ratelimit-limit-requests": "100"},
        {"x-ratelimit-limit-requests": "many", "x-ratelimit-remaining-requests": "some"},
    ],
)
def test_no_limit_is_made_of_nothing(headers):
    assert read_limits(headers) is None


def test_more_remaining_than_the_limit_is_a_full_quota():
    limits = read_limits({"x-ratelimit-limit": "10, 10;w=60", "x-ratelimit-remaining": "12"})
    assert limits == Limits(requests=Quota(10, 10, None))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "2"}, 2.0),
        ({"retry-after": "0.2"}, 0.2),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1m30s"}, 90.0),
        ({"retry-after-ms": "1500", "retry-after": "60"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "60"}, 60.0),
        ({"retry-after": format_datetime(datetime.fromtimestamp(NOW + 90, UTC), True)}, 90.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "1e9"}, 1e9),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "garbage"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "1 Jan 99999999999999"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers, seconds):
    assert retry_after(headers, wall=wall) == (None if seconds is None else pytest.approx(seconds))


ANYTHING = st.one_of(
    st.text(),
    st.text(alphabet="0123456789.,:;eE+-TZdhmsµμſn \t/٣"),
    st.datetimes().map(str),
    st.datetimes().map(format_datetime),
    st.floats().map(str),
    st.integers().map(str),
    st.none(),
    st.integers(),
)


@given(st.dictionaries(st.sampled_from(NAMES), ANYTHING))
def test_no_header_whatsoever_breaks_anything(headers):
    limits, seconds = read_limits(headers), retry_after(headers)
    assert seconds is None or 0 <= seconds < math.inf
    for quota in (limits.requests, limits.tokens) if limits else ():
        if quota:
            assert 0 <= quota.remaining <= quota.limit < math.inf
            assert quota.reset is None or 0 <= quota.reset <= 86_400
