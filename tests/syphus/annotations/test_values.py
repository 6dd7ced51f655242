import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syphus.annotations.base import BOXES
from syphus.annotations.values import box, file_name, identifier, seconds, size, stretch, text

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (1.5, 1.5), (3, 3.0), ("4.25", 4.25), (" 5 ", 5.0), ("00:00:01.89", 1.89), ("01:02:03", 3723.0),
        ("02:03.5", 123.5), ("100:00:00", 360_000.0), ("0:00:10.", 10.0),
    ],
)  # fmt: skip
def test_times_are_seconds_however_written(given, meant):
    assert seconds(given) == meant


@pytest.mark.parametrize(
    "given", ["", "x", "1:2:3:4", "00:75:00", "00:00:61", None, True, [1], "nan", math.inf, 10**400]
)
def test_what_is_no_time_is_said(given):
    with pytest.raises(ValueError, match=r"is not a (time|number|finite number)"):
        seconds(given)


def test_stretches_are_in_order_and_begin_with_the_video():
    assert stretch(5, 2) == (2, 5)
    assert stretch("-0.5", 1) == (0, 1)
    with pytest.raises(ValueError, match="before the video's beginning"):
        stretch(-2, -1)


@pytest.mark.parametrize(
    ("sides", "boxes", "meant"),
    [
        ([0.1, 0.2, 0.5, 0.6], "xyxy", (0.1, 0.2, 0.5, 0.6)),
        ([0.25, 0.25, 0.5, 0.5], "xywh", (0.25, 0.25, 0.75, 0.75)),
        ([20, 10, 100, 50], "xyxy_pixels", (0.1, 0.1, 0.5, 0.5)),
        ([20, 10, 100, 50], "xywh_pixels", (0.1, 0.1, 0.6, 0.6)),
        ([-20, "10", 1000, 50], "xywh_pixels", (0, 0.1, 1, 0.6)),
    ],
)
def test_boxes_are_shares_of_the_picture(sides, boxes, meant):
    assert box(sides, boxes, 200, 100) == pytest.approx(meant)


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        ([1, 2, 3], "3 numbers"), ([0, 0, -1, 1], "a box of -1×1"), ([0, 0, math.nan, 1], "finite"), ("abcd", "list"),
        ([0, 0, None, 1], "None is not a number"), ([3, 0, 4, 1], "outside"), ({}, "list"), (None, "list"),
    ],
)  # fmt: skip
def test_what_is_no_box_is_said(sides, said):
    with pytest.raises(ValueError, match=said):
        box(sides)


@given(anything, st.sampled_from(BOXES), anything, anything)
def test_any_box_is_within_the_picture_or_a_sentence(sides, boxes, width, height):
    try:
        left, top, right, bottom = box(sides, boxes, width, height)
    except ValueError:
        return
    assert 0 <= left <= right <= 1
    assert 0 <= top <= bottom <= 1


@given(st.lists(st.floats(-2, 3), min_size=4, max_size=4), st.sampled_from(BOXES))
def test_numbers_near_the_picture_are_a_box_or_a_sentence(sides, boxes):
    test_any_box_is_within_the_picture_or_a_sentence.hypothesis.inner_test(sides, boxes, 2, 1)


@given(anything)
def test_any_value_is_read_or_a_sentence(value):
    for convert in (text, identifier, seconds, lambda v: size(v, v), lambda v: stretch(v, v)):
        with contextlib.suppress(ValueError):
            read = convert(value)
            assert read != ""
            assert "nan" not in repr(read) or isinstance(read, str)


def test_names_of_files_stay_as_they_are():
    assert file_name("a  b.png ") == "a  b.png "
    for wrong in ("", " ", "a\n", "\x00", None, 5, "\udcff"):
        with pytest.raises(ValueError, match=r"name|text"):
            file_name(wrong)


def test_texts_lose_their_line_breaks():
    assert text("  two\n lines\x00 ") == "two lines"
    assert identifier(7) == "7"
    for wrong in (" \n", None, 7, True, "\ud800"):
        with pytest.raises(ValueError, match=r"text"):
            text(wrong)
