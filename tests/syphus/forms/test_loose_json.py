import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syphus.forms.loose_json import Number, Object, values


def plain(value):
    if isinstance(value, Object):
        return {key: plain(item) for key, item in value.members}
    if isinstance(value, Number):
        return json.loads(value)
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param('{"a": [1, -2.5e3, true, false, null, "x"]}', {"a": [1, -2500.0, True, False, None, "x"]}, id="json"),
        pytest.param('Sure:\n```json\n{"a": "x"}\n```\nDone.', {"a": "x"}, id="in prose and a fence"),
        pytest.param('{"a": ["x", "y",],}', {"a": ["x", "y"]}, id="trailing commas"),
        pytest.param('{"a": "x"\n "b": ["y"\n "z"]}', {"a": "x", "b": ["y", "z"]}, id="missing commas"),
        pytest.param('{"a": "x", // one: "y"\n # two\n /* three */ "b": "y"}', {"a": "x", "b": "y"}, id="comments"),
        pytest.param("{'a': 'x', 'b': None, 'c': True}", {"a": "x", "b": None, "c": True}, id="python"),
        pytest.param("{'a': 'it's the dog's', 'b': \"it's\"}", {"a": "it's the dog's", "b": "it's"}, id="apostrophes"),
        pytest.param("{“a”: “x”, ‘b’: ‘y’, “c\": \"z\"}", {"a": "x", "b": "y", "c": "z"}, id="typographic quotes"),
        pytest.param('{"a": "say “x”", "b": "y"}', {"a": "say “x”", "b": "y"}, id="typographic quotes inside"),
        pytest.param('{"a": "say "x" to me", "b": "the "y""}', {"a": 'say "x" to me', "b": 'the "y"'}, id="quotes inside"),
        pytest.param('{a: "x", b_2: "y"}', {"a": "x", "b_2": "y"}, id="keys without quotes"),
        pytest.param('{"a"："x"，"b"："y"}', {"a": "x", "b": "y"}, id="full-width punctuation"),
        pytest.param('{"a": "x\ny"}', {"a": "x\ny"}, id="line break in a string"),
        pytest.param(r'{"a": "\u0041\ud83d\ude00\n\"\/\\ \(x\) \'"}', {"a": "A😀\n\"/\\ \\(x\\) '"}, id="escapes"),
        pytest.param(r'{"a": "\ud83d"}', {"a": "\ufffd"}, id="half a character"),
        pytest.param('{"a": ["x", "y', {"a": ["x"]}, id="cut in a string"),
        pytest.param('{"a": "x", "b', {"a": "x"}, id="cut in a key"),
        pytest.param('{"a": "x", "b": ', {"a": "x"}, id="cut after a key"),
        pytest.param('{"a": "x", "b": {"c": [', {"a": "x", "b": {"c": []}}, id="cut in brackets"),
        pytest.param('{"a": ["x"}', {"a": ["x"]}, id="wrong bracket"),
        pytest.param('[{"a": "x"]', [{"a": "x"}], id="missing bracket"),
        pytest.param('{"a": "x", "b": oh}', {"a": "x"}, id="nonsense"),
    ],
)  # fmt: skip
def test_json_as_models_write_it(text, value):
    assert plain(values(text)[0]) == value


def test_many_values_are_found_in_prose():
    text = 'See [1] and [this]: {"a": "x"} or {"b": "y"}.'
    assert [plain(value) for value in values(text)] == [[1], [], {"a": "x"}, {"b": "y"}]


def test_a_broken_object_does_not_swallow_the_next_one():
    assert plain(values('[{"a": "x" (note)}, {"a": "y"}]')[-1]) == {"a": "y"}


def test_an_object_says_whether_its_end_was_there():
    assert [item.closed for item in values('[{"a": 1}, {"b": [2], {"c": 3]')[0]] == [True, False]


def test_a_key_that_occurs_twice_is_kept_twice():
    assert values('{"a": "x", "a": "y"}')[0].members == [("a", "x"), ("a", "y")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=20,
).filter(lambda value: isinstance(value, (list, dict)))  # fmt: skip


@given(JSON, st.booleans(), st.sampled_from([None, 1]))
def test_valid_json_means_what_it_means(value, ascii_only, indent):
    [found] = values(json.dumps(value, ensure_ascii=ascii_only, indent=indent))
    assert plain(found) == value
