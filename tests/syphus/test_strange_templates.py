"""Templates of strangers: each comes to an end, reaches nothing, and whatever goes wrong is a sentence."""

import resource
import shutil
import time
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from jinja2.sandbox import SecurityError

from syphus.annotations.context import Context, Picture, Thing
from syphus.errors import TaskError
from syphus.render import render_prompt, render_query
from syphus.spending import BUDGET, Budget, TemplateLimitError
from syphus.task import BUILT_IN, load_task
from syphus.templates import compile_template

SECONDS = 20
"""More than any of these takes; a machine may be busy."""
MEMORY = 3 << 30
"""Bytes that a render may take on top of what is there."""


@pytest.fixture(autouse=True)
def soon():
    """Stop what would fill the memory, and see that nothing takes long."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    begun = time.monotonic()
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
    assert time.monotonic() - begun < SECONDS


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BUILT_IN / "la_conversation", tmp_path / "mine")


def shown(text, **variables):
    variables = {"captions": ["A dog.", "A cat."], "facts": {}} | variables
    return compile_template(text, "query.md.j2").render(**variables)


DOUBLED = "{% set ns = namespace(x=1, y=1) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = (ns.y, ns.y) %}{% endfor %}"
"""A list of a few hundred bytes that is 2**90 long when it is written out."""
LONG = "{% set a = 'x' * 100000 %}"
MANY = "{% for i in range(9999) %}{% for j in range(9999) %}"
ENDS = "{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    "text",
    [
        MANY + ENDS,
        MANY + "x" + ENDS,
        "{% for i in range(9999) %}{% for j in range(9999) if j < 0 %}x" + ENDS,
        "{% set x %}" + MANY + "x" * 5000 + ENDS + "{% endset %}",
        "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(99) }}",
        "{% macro m(n) %}{% if n %}{% set a = m(n - 1) %}{% set a = m(n - 1) %}{% endif %}{% endmacro %}{{ m(99) }}",
        "{% macro m() %}" + "{{ caller() }}" * 3000 + "{% endmacro %}{% call m() %}" + "{{ 1 }}" * 5000 + "{% endcall %}",
        "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
        "{{ (captions | length + 8) ** (9 ** 9) }}",
        "{{ 9 ** (9 ** 9) }}",
        "{% set ns = namespace(x=9) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{% set ns = namespace(x=9) %}{% for i in range(9999) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{{ 'a' * 10 ** 10 }}",
        "{{ 10 ** 10 * 'a' }}",
        "{{ [1] * 10 ** 10 }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ '%.9999999999f' % 1 }}",
        "{{ '%*d' % (9999999999, 1) }}",
        "{{ '%(a(b)c)9999999999d' % {'a(b)c': 1} }}",
        "{{ '%9999d' * 5000 % range(5000) | list }}",
        LONG + "{{ ('%(a)s' * 90000) % {'a': a} }}",
        "{{ '%9999999999d' | format(1) }}",
        "{{ '{:9999999999}'.format(1) }}",
        "{{ '{:{}}'.format(1, 9999999999) }}",
        "{{ '{x:9999999999}'.format_map({'x': 1}) }}",
        LONG + "{{ ('{0}' * 90000).format(a) }}",
        "{% for i in range(9999) %}{% set a = '{:9999}'.format(1) %}{% endfor %}",
        "{{ lipsum(n=100000000) }}",
        "{{ range(10 ** 10) | list }}",
        "{{ range(0, 10 ** 300) }}",
        "{{ 'a' | center(10 ** 10) }}",
        "{{ 'a'.center(10 ** 10) }}",
        "{{ 'a'.ljust(10 ** 10) }}",
        "{{ 'a'.zfill(10 ** 10) }}",
        "{{ 'a\tb'.expandtabs(10 ** 10) }}",
        "{{ 1 .to_bytes(10 ** 10, 'big') }}",
        "{{ 'a'.translate({97: 'x' * 1000000}) }}",
        "{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}",
        "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
        "{{ ('a' * 1000000) | replace('', 'b' * 1000000) }}",
        "{{ ('a' * 1000000) | replace(new='b' * 1000000, old='a') }}",
        "{{ 'a' | indent(10 ** 9, true) }}",
        LONG + "{{ (a | replace('x', '\n')) | indent(a) }}",
        LONG + "{{ a | join(a) }}",
        LONG + "{{ a.join(a | list) }}",
        LONG + "{{ a | wordwrap(1, wrapstring=a) }}",
        "{{ [1] | batch(10 ** 10, 1) | list }}",
        "{{ [1] | slice(10 ** 10, 1) | list }}",
        "{{ {'a': [1]} | tojson(indent=10 ** 10) }}",
        "{{ 5 | round(-10 ** 9, 'floor') }}",
        "{{ 1.5 | round(10 ** 9, 'ceil') }}",
        "{{ ('f' * 4000000) | int(0, 16) // 3 }}",
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set x %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = x %}{% endfor %}",
        LONG + "{% macro m() %}{% for i in range(9999) %}{{ a }}{% endfor %}{% endmacro %}{% set b = m() %}",
        LONG + "{% for i in range(9999) %}{{ a }}{% endfor %}",
        LONG + MANY + "{% if a[1:] %}{% endif %}" + ENDS,
        LONG + MANY + "{% if 'b' in a %}{% endif %}" + ENDS,
        LONG + MANY + "{% if a | upper %}{% endif %}" + ENDS,
        LONG + MANY + "{% if a.upper() %}{% endif %}" + ENDS,
        LONG + "{% set b = 'x' * 100000 %}" + MANY + "{% if a == b %}{% endif %}" + ENDS,
        LONG + "{% set b = 'x' * 100000 %}" + MANY + "{% if a is eq(b) %}{% endif %}" + ENDS,
        LONG + MANY + "{% if a is lower %}{% endif %}" + ENDS,
        MANY + "{% if range(9999) | reject('integer') | first is defined %}{% endif %}" + ENDS,
        MANY + "{% if range(9999) | map('abs') | select('string') | list %}{% endif %}" + ENDS,
        "{% set l = range(9999) | list %}" + MANY + "{% if -1 in l %}{% endif %}" + ENDS,
        "{% set l = range(9999) | list %}" + MANY + "{% if l.count(1) %}{% endif %}" + ENDS,
        DOUBLED + "{{ ns.x }}",
        DOUBLED + "{{ ns.x ~ '' }}",
        DOUBLED + "{{ ns.x | string | length }}",
        DOUBLED + "{{ ns.x | tojson }}",
        DOUBLED + "{{ ns.x | join }}",
        DOUBLED + "{{ ns.x | trim }}",
        DOUBLED + "{{ ns.x | safe }}",
        DOUBLED + "{{ '%s' % ns.x }}",
        DOUBLED + "{{ '%s' | format(ns.x) }}",
        DOUBLED + "{{ '{}'.format(ns.x) }}",
        DOUBLED + "{{ '{!r}'.format(ns.x) }}",
        DOUBLED + "{{ {ns.y: 1} | length }}",
        DOUBLED + "{{ facts[ns.y] }}",
        DOUBLED + "{{ facts.get(ns.y) }}",
        DOUBLED + "{{ [ns.x, ns.x + []] | sort }}",
        DOUBLED + "{{ [ns.y, ns.y + ()] | unique | list }}",
        DOUBLED + "{{ [{'0': 1, 0: ns.y}, {'0': 1, 0: ns.y + ()}] | groupby('0') }}",
        DOUBLED + "{% set a = ns.x %}{% set b = ns.x + [] %}{{ [a] == [b] }}{{ [a] == [ns.x[:]] }}",
        "{% set ns = namespace() %}{% for i in range(90) %}{% set n = namespace(a=ns, b=ns) %}{% endfor %}{% set ns.a = [ns, ns] %}" + MANY + "{{ ns }}" + ENDS,
        "{% set ns = namespace(x=1) %}{% macro m() %}{% set ns.x = varargs %}{% endmacro %}{% for i in range(90) %}{{ m(ns.x, ns.x) }}{% endfor %}{{ ns.x }}",
        "{% set x = 'a' * 100 %}" + "{% set x = x ~ x %}" * 60,
        "{% set l = [range(9999) | list] * 9999 %}{{ l | sum(start=[]) | length }}",
    ],
)  # fmt: skip
def test_a_template_that_never_ends_is_stopped(text, monkeypatch):
    monkeypatch.setattr(Budget, "left", BUDGET // 10)
    with pytest.raises((TemplateLimitError, UndefinedError, SecurityError, RecursionError)):
        shown(text)


def test_the_whole_budget_is_spent_in_seconds():
    begun = time.process_time()
    for end in (MANY + ENDS, DOUBLED + "{{ ns.x }}", MANY + "{{ 'x' | upper }}" + ENDS):
        with pytest.raises(TemplateLimitError, match="too many steps"):
            shown(end)
    assert time.process_time() - begun < SECONDS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", "too many steps"),
        ("{{ 'a' * 10 ** 10 }}", "too many steps"),
        ("{{ 9 ** (9 ** 9) }}", "too large to compute"),
        ("{{ '%9999999999d' % 1 }}", "a width of a format"),
        ("{{ range(99999) }}", "at most 10,000 numbers"),
        ("{{ 'x' * 5000000 }}", "at most 4,000,000"),
    ],
)  # fmt: skip
def test_a_limit_is_a_sentence_that_names_file_and_line(folder, text, said):
    with pytest.raises(TemplateLimitError, match=said):
        shown(text)
    (folder / "query.md.j2").write_text("\n" + text)
    with pytest.raises(TaskError, match=rf"query.md.j2'.*on examples/01.yaml.*{said}"):
        render_prompt(load_task(str(folder)))


def test_what_people_write_stays_within_the_limits():
    variables = {
        "captions": [f"A dog and number {n} on a beach." for n in range(2_000)],
        "facts": {"tags": ["b", "a"], "text": "word " * 20_000, "n": {"x": 1.5}},
    }
    text = """
{%- macro bold(x) %}**{{ x }}**{{ varargs | join }}{% endmacro -%}
{%- set ns = namespace(n=0, said=[]) -%}
{%- for c in captions if "beach" in c -%}
{%- set ns.n = ns.n + loop.index % 2 -%}
{%- set ns.said = ns.said + [c] if loop.index < 20 else ns.said -%}
{{ loop.index }}. {{ c | trim | replace("dog", "cat") }} {{ bold(c[:3], "!") }} {{ "%5.1f%%" % 2.25 }} {{ "{:>4}|{x}".format(7, x=c[-1]) }}
{% endfor -%}
{{ ns.n }} {{ ns.said | length }} {{ facts.tags | sort | join(", ") }} {{ facts["text"] | truncate(12) }}
{{ facts.items() | list | length }} {{ facts.n.x * 2 ** 3 }} {{ facts.n | tojson(indent=2) }} {{ "a,b".split(",") | last }} {{ 7 // 2 - 1 }}
{{ "-" * 10 }} {{ "x" | center(5) }}{{ "a b" | title }}{{ [1, 2, 3] | batch(2) | list }}{{ captions | map("upper") | first }}
{% filter indent(2) %}x
y{% endfilter %}{{ captions | batch(3) | map("first") | map("length") | sum }}{{ 5 is in([5, 6]) }}{{ "b" in facts.tags }}"""
    lines = shown(text, **variables).splitlines()
    assert lines[0] == "1. A cat and number 0 on a beach. **A d**!   2.2%    7|."
    assert lines[2_000] == "1000 19 a, b word..."
    assert lines[2_001].startswith("3 12.0 {")
    assert lines[-2] == "x"
    assert "[[1, 2], [3]]A DOG AND NUMBER 0 ON A BEACH." in lines[-3]
    assert lines[-1].endswith("TrueTrue")


def test_a_video_of_a_day_can_be_shown():
    objects = tuple(Thing(f"dog {n % 7}", (0.1, 0.2, 0.3, 0.4)) for n in range(2_000))
    captions = ("A dog walks along the beach.",) * 30_000
    context = Context("day", (Picture("a.png"),), captions, objects)
    assert len(render_query(load_task("la_conversation"), context)) > 900_000


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x'.encode('nope') }}",
        "{{ [][0] }}",
        "{{ {}['a'] }}",
        "{{ '%(a)s' % {} }}",
        "{{ '{0}'.format() }}",
        "{{ '{a}'.format() }}",
        "{{ '{0.a}'.format(1) }}",
        "{{ 1 / 0 }}",
        "{{ 2.0 ** 99999 }}",
        "{{ [1, 'a'] | sort }}",
        "{{ captions | groupby }}",
        "{{ nothing.at.all }}",
        "{{ captions() }}",
        "{{ 1 + 'a' }}",
        "{{ none | length }}",
        "{{ loop }}",
        "{{ self.x() }}",
        "{{ 'a'.format.__globals__ }}",
        "{{ range.__class__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ '{0.__class__.__mro__}'.format(captions) }}",
        "{% set x.y = 1 %}",
        "{% set captions.y = 1 %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% include 'task.toml' %}",
        "{% extends '/etc/passwd' %}",
        "{% import 'x' as y %}",
        "{% block a %}{{ self.a() }}{% endblock %}",
        "{% autoescape true %}{% endautoescape %}",
        "{{ captions | urlize }}",
        "{{ '\\ud800' }}",
        "{{ " + "(" * 3_000 + "1" + ")" * 3_000 + " }}",
        "{{ " + "[" * 3_000 + "]" * 3_000 + " }}",
        "{{ 1" + " + 1" * 20_000 + " }}",
        "{% if 1 %}" * 3_000 + "{% endif %}" * 3_000,
        "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
        "{{ " + "-" * 9_000 + "1 }}",
        "{{ " + "9" * 5_000 + " }}",
        "{{ 'a' ",
        "{# ",
        "{{ captions" * 9_000,
        "x" * 100_001,
    ],
)
def test_whatever_goes_wrong_in_a_template_is_a_sentence(folder, text):
    (folder / "query.md.j2").write_text(text)
    with pytest.raises(TaskError, match=r"query\.md\.j2") as raised:
        render_prompt(load_task(str(folder)))
    assert len(str(raised.value)) < 1_000
    assert "\n" not in str(raised.value)


def test_half_a_character_does_not_reach_a_model():
    (text,) = (render_query(load_task("sd"), Context("a", captions=("A \ud800 dog.",))),)
    text.encode("utf-8")
    assert "A ? dog." in text
