"""Ratings by a model: against a real server on this machine that speaks OpenAI's protocol, and misbehaves."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from mimicit.errors import QueryError
from syphus import judge as judging
from syphus.annotations import read
from syphus.asking import Tally
from syphus.errors import ReplyError, StopError, TaskError
from syphus.generate import Job as Generating
from syphus.generate import generate
from syphus.judge import Job, judge, plan
from syphus.judge.ratings import Rating, read_ratings
from syphus.pacing import retries
from syphus.providers import connect
from syphus.providers.scripted import ScriptedModel
from syphus.request import Completion, Prompt, Request, Sampling
from syphus.running import running
from syphus.task import BUILT_IN, load_task
from tests.builders import coco, record
from tests.server import Provider, good, refuse, serve

KEY = "sk-test-0123456789abcdef"
MODEL = "openai/gpt-4o-mini"
OTHER = "openai/gpt-4.1-mini"


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(retries, "_backoff", lambda failures: 0.01)


def pairs(request):
    """Write three pairs about a picture; the answers say how they are to be rated."""
    marks = {0: "5 5 5 5", 1: "4 5 4 3", 2: "2 5 3 4"}
    return "\n\n".join(
        f"Question: What is in place {n}?\nAnswer: It is rated {marks[n]}." for n in range(3)
    )


@pytest.fixture
def filled(store, tmp_path):
    """Four pictures with three pairs each."""
    path = coco(tmp_path / "a.json", [f"{n}.png" for n in range(4)])
    job = Generating(load_task("la_conversation"), read([path]), None, "made/up")
    generate(job, store, ScriptedModel(pairs), concurrency=1)
    return store


def asked(body):
    """Return the pairs that a request asks about: number, and the marks its answer is to have."""
    query = next(m["content"] for m in body["messages"][::-1] if "Notes:" in m["content"])
    found = re.findall(r"Pair (\d+)\nQuestion: .*\nAnswer: .*?(\d) (\d) (\d) (\d)", query)
    return [tuple(map(int, numbers)) for numbers in found]


def rating(number, grounded, answerable, correct, useful):
    return {
        "number": number, "grounded": grounded, "answerable": answerable, "correct": correct,
        "useful": useful, "reason": "So it is.",
    }  # fmt: skip


def rate(body, before=0):
    return good(body, json.dumps({"ratings": [rating(*marks) for marks in asked(body)]}))


@pytest.fixture
def run(filled, monkeypatch):
    """Judge against a server that behaves so; return the report."""

    def run(provider=None, model=MODEL, rubric="judge", **options):
        provider = provider or Provider(rate)
        with serve(provider):
            monkeypatch.setenv("OPENAI_API_KEY", KEY)
            monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
            monkeypatch.setenv("OPENAI_API_BASE", provider.url)
            job = Job(load_task(rubric), model, **options)
            return judge(job, filled, connect(model), concurrency=2)

    return run


def rows(store, query):
    with store.reading() as connection:
        return connection.execute(query).fetchall()


def test_each_pair_is_rated_against_what_it_was_made_from(run, filled):
    provider = Provider(rate)
    report = run(provider)
    assert (report.judged, report.rejected, report.asked, report.problem_count) == (12, 4, 4, 0)
    said = rows(
        filled,
        "SELECT DISTINCT filter, recipe, reason, score, rejects FROM verdicts ORDER BY score",
    )
    recipe = f"judge:{MODEL}"
    assert said == [
        ("judge", recipe, "grounded 2, answerable 5, correct 3, useful 4: So it is.", 3.5, True),
        ("judge", recipe, "grounded 4, answerable 5, correct 4, useful 3: So it is.", 4.0, False),
        ("judge", recipe, "grounded 5, answerable 5, correct 5, useful 5: So it is.", 5.0, False),
    ]
    assert rows(filled, "SELECT count(*) FROM accepted") == [(8,)]
    queries = [body["messages"][-1]["content"] for body in provider.bodies]
    assert all(f"A photo of {n}.png." in "".join(queries) for n in range(4))
    assert len({str(body["messages"][:-1]) for body in provider.bodies}) == 1
    assert provider.bodies[0]["response_format"]["json_schema"]["strict"] is True


def test_the_report_counts_and_averages(run):
    scores = run().scores
    assert (scores.records, scores.rejected) == (12, 4)
    assert scores.criteria["grounded"].mean == pytest.approx(11 / 3, abs=1e-3)
    assert scores.criteria["grounded"].counts == [0, 4, 0, 4, 4]
    assert scores.criteria["useful"].counts == [0, 0, 4, 4, 4]
    assert scores.criteria["score"].counts == [0, 0, 0, 8, 4]


def test_what_is_judged_is_not_asked_about_again(run):
    run()
    again = Provider(rate)
    report = run(again)
    assert (report.judged, report.known, again.bodies) == (0, 12, [])
    assert report.scores.records == 12


def test_a_limit_keeps_questions_whole_and_the_rest_comes_later(run):
    assert run(limit=4).judged == 6
    again = Provider(rate)
    assert (run(again).judged, len(again.bodies)) == (6, 2)


def test_only_the_records_of_a_selection_are_judged(run):
    assert run(where="answer LIKE '%5 5 5 5%'").judged == 4
    with pytest.raises(QueryError, match="the selection"):
        run(where="nonsense = 1")
    with pytest.raises(QueryError):
        run(where="true) OR (true")


def test_another_judge_sees_the_same_records_and_adds_its_own_verdicts(run, filled):
    run()
    report = run(model=OTHER)
    assert (report.judged, report.known) == (12, 0)
    agree = """
        SELECT count(*), avg(abs(a.score - b.score)), count(*) FILTER (a.rejects = b.rejects)
        FROM verdicts AS a JOIN verdicts AS b USING (record)
        WHERE a.recipe = 'judge:openai/gpt-4o-mini' AND b.recipe = 'judge:openai/gpt-4.1-mini'
    """
    assert rows(filled, agree) == [(12, 0.0, 12)]


def test_what_other_filters_rejected_is_not_judged(run, filled):
    from mimicit.schema import Verdict

    [(id_,)] = rows(filled, "SELECT min(id) FROM instructions")
    verdict = Verdict(record=id_, filter="too_short", reason="x", recipe="mine", recipe_digest="0")
    filled.add_verdicts([verdict])
    assert run().judged == 11


@pytest.mark.parametrize(("threshold", "rejected"), [(0, 0), (2, 0), (3, 4), (5, 8)])
def test_the_threshold_decides_and_can_be_moved_without_asking(run, filled, threshold, rejected):
    run()
    again = Provider(rate)
    report = run(again, threshold=threshold)
    assert (report.judged, again.bodies, report.scores.rejected) == (0, [], rejected)
    assert rows(filled, "SELECT count(*) FROM verdicts") == [(12,)]
    assert rows(filled, "SELECT count(*) FROM accepted") == [(12 - rejected,)]


def test_another_rubric_replaces_what_the_same_model_said(run, filled, tmp_path):
    run()
    folder = shutil.copytree(BUILT_IN / "judge", tmp_path / "strict")
    (folder / "system.md").write_text((folder / "system.md").read_text() + "\nBe strict.")
    report = run(
        Provider(lambda body, before: good(body, json.dumps({"ratings": [rating(m[0], 5, 5, 5, 5) for m in asked(body)]}))),
        rubric=str(folder), where="answer LIKE '%2 5 3 4%'",
    )  # fmt: skip
    assert (report.judged, report.rejected, report.scores.records) == (4, 0, 4)
    assert rows(filled, "SELECT count(*), count(DISTINCT record) FROM verdicts") == [(12, 12)]
    assert rows(filled, "SELECT count(*) FROM accepted") == [(12,)]


def test_a_rubric_must_ask_for_the_criteria(run, tmp_path):
    folder = shutil.copytree(BUILT_IN / "judge", tmp_path / "mine")
    (folder / "reply.schema.json").write_text('{"type": "object"}')
    shutil.rmtree(folder / "examples")
    with pytest.raises(TaskError, match="is no rubric"):
        run(rubric=str(folder))
    with pytest.raises(TaskError, match="is no rubric"):
        run(rubric="la_detail")


def test_pairs_left_out_or_rated_beyond_the_scale_are_asked_about_alone(run, filled):
    def behave(body, before):
        wanted = asked(body)
        if len(wanted) == 3:
            odd = [rating(*wanted[0]), rating(*wanted[1]) | {"grounded": 7}, rating(9, 5, 5, 5, 5)]
            return good(body, json.dumps({"ratings": odd}))
        return rate(body)

    provider = Provider(behave)
    report = run(provider)
    assert (report.judged, report.problem_count, len(provider.bodies)) == (12, 0, 8)
    assert sorted(len(asked(body)) for body in provider.bodies) == [2] * 4 + [3] * 4
    assert rows(filled, "SELECT count(*), count(DISTINCT record) FROM verdicts") == [(12, 12)]


def test_a_pair_that_is_never_rated_is_listed_and_not_paid_again(run, filled):
    def behave(body, before):
        rated = [rating(*marks) for marks in asked(body) if marks[1:] != (2, 5, 3, 4)]
        return good(body, json.dumps({"ratings": rated}))

    provider = Provider(behave)
    report = run(provider)
    assert (report.judged, report.problem_count) == (8, 4)
    assert len(provider.bodies) == 4 * (1 + 3)
    again = Provider(behave)
    report = run(again)
    assert (report.judged, report.problem_count, again.bodies) == (0, 4, [])


@pytest.mark.parametrize(
    "text",
    ["I cannot judge that.", '{"scores": [5, 5]}', "[]", '{"ratings": [{"number": 1, "grounded": 5}]}', ""],
    ids=["refusal", "schema", "empty list", "half", "nothing"],
)  # fmt: skip
def test_an_unreadable_reply_is_shown_to_the_model_again(run, text):
    provider = Provider(lambda body, before: good(body, text) if body["seed"] == 0 else rate(body))
    report = run(provider)
    assert (report.judged, report.unreadable, report.problem_count) == (12, 4, 0)
    assert "This reply cannot be used" in provider.bodies[-1]["messages"][-1]["content"]


def test_refused_questions_are_listed_and_the_others_go_on(run):
    def behave(body, before):
        said = body["messages"][-1]["content"]
        return refuse(400, "policy") if "A photo of 2.png" in said else rate(body)

    report = run(Provider(behave))
    assert (report.judged, report.problem_count) == (9, 3)
    assert all("policy" in problem.reason for problem in report.problems)


def test_a_wrong_key_stops_the_run_and_is_nowhere(run, filled):
    with pytest.raises(StopError) as caught:
        run(Provider(lambda body, before: refuse(401, f"Incorrect API key provided: {KEY}")))
    assert KEY not in str(caught.value)
    for path in filled.path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def test_records_without_an_annotation_are_counted_and_not_asked_about(run, filled):
    filled.add([record(n) for n in range(12)])
    report = run()
    assert (report.judged, report.unjudgeable, report.problem_count) == (12, 12, 0)
    assert len(report.unjudgeable_examples) == 10


def test_translations_are_judged_by_the_annotation_of_their_source(run, filled):
    [(id_,)] = rows(
        filled, "SELECT id FROM instructions WHERE id LIKE '%INS_1_%' ORDER BY id LIMIT 1"
    )
    texts = {
        "instruction": "¿Qué es?",
        "answer": "Es 4 4 4 4.",
        "language": "es",
        "request": "of-translation",
    }
    filled.add(
        [
            record(1, id=f"{id_}_es", translation_of=id_, **texts),
            record(2, id="orphan_es", translation_of="not there", **texts),
        ]
    )
    provider = Provider(rate)
    report = run(provider)
    assert (report.judged, report.unjudgeable, len(provider.bodies)) == (13, 1, 4)
    [query] = [
        text for body in provider.bodies if "¿Qué" in (text := body["messages"][-1]["content"])
    ]
    assert "A photo of 1.png." in query
    assert query.count("Pair ") == 4


def test_many_pairs_of_one_annotation_are_asked_about_in_parts(run, filled):
    [(request,)] = rows(filled, "SELECT min(request) FROM instructions")
    filled.add(
        [record(n, id=f"more_{n:02d}", answer="5 5 5 5", request=request) for n in range(17)]
    )
    provider = Provider(rate)
    assert run(provider).judged == 29
    assert sorted(len(asked(body)) for body in provider.bodies) == [3, 3, 3, 4, 8, 8]


def test_a_dry_run_counts_and_sends_nothing(run, filled):
    run(limit=3)
    planned = plan(Job(load_task("judge"), MODEL), filled)
    assert (planned.records, planned.known, planned.questions, planned.answered) == (9, 3, 3, 0)
    assert planned.cost_usd > 0
    assert "Pair 3" in planned.messages[-1].content


def test_an_annotation_too_long_for_the_judge_is_listed(filled, store, tmp_path):
    prompt = Prompt("x", 1, ())
    long = Request("long", "made/up", prompt, "A very long note. " * 2_000, Sampling())
    with running(store, Tally(), prompt, what="x", model="x", arguments=[]) as (ledger, run_id):
        sent = ledger.send(long, run_id)
        ledger.reply(sent, long, run_id, Completion("x", "stop", "x", 1, 1), 0.1)
    store.add([record(n, request=long.key) for n in range(3)])
    model = ScriptedModel(
        lambda r: json.dumps({"ratings": [rating(n, 5, 5, 5, 5) for n in (1, 2, 3)]})
    )
    report = judge(Job(load_task("judge"), MODEL), store, model, concurrency=1)
    assert (report.judged, report.problem_count, len(model.seen)) == (12, 3, 4)
    assert "too long" in report.problems[0].reason


def test_pages_of_annotations_follow_each_other(run, filled, monkeypatch):
    monkeypatch.setattr(judging.selection, "PAGE", 1)
    assert run().judged == 12


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Here:\n```json\n{"ratings": [%s]}\n```\nDone.', {1: (5, 4, 3, 2)}),
        ("<think>[%s]</think> [%s]", {1: (5, 4, 3, 2)}),
        ("%s", {1: (5, 4, 3, 2)}),
        ('{"ratings": [{"number": "1", "grounded": "5", "answerable": 4.0, "correct": 3, "useful": 2}]}', {1: (5, 4, 3, 2)}),
        ('{"ratings": [%s, {"number": 2, "grounded": 5, "answ', {1: (5, 4, 3, 2)}),
        ('{"ratings": [%s, {"number": 2, "grounded": 4.5, "answerable": 4, "correct": 3, "useful": 2}]}', {1: (5, 4, 3, 2)}),
        ('{"ratings": [%s, {"number": 2, "grounded": true, "answerable": 4, "correct": 3, "useful": 2}]}', {1: (5, 4, 3, 2)}),
    ],
    ids=["prose", "thoughts", "alone", "strings", "cut off", "a half", "truth"],
)  # fmt: skip
def test_ratings_are_read_however_they_are_wrapped(text, found):
    one = json.dumps(rating(1, 5, 4, 3, 2))
    ratings = read_ratings(text.replace("%s", one), 3)
    assert {n: (r.grounded, r.answerable, r.correct, r.useful) for n, r in ratings.items()} == found


@pytest.mark.parametrize(
    ("rated", "said"),
    [
        ([rating(4, 5, 5, 5, 5)], "there is no pair 4"),
        ([rating(0, 5, 5, 5, 5)], "there is no pair 0"),
        ([rating(1, 0, 5, 5, 5)], "pair 1: grounded is 0"),
        ([rating(1, 5, 5, 6, 5)], "correct is 6"),
        ([rating(1, 5, 5, 5, "high")], "useful is 'high'"),
        ([rating(1, 5, 5, 5, 5), rating(1, 1, 1, 1, 1)], "two ratings"),
        ([], "no JSON object"),
    ],
)
def test_what_is_no_rating_is_said(rated, said):
    with pytest.raises(ReplyError, match=re.escape(said)):
        read_ratings(json.dumps({"ratings": rated}), 3)


def test_a_draft_is_replaced_by_what_comes_later():
    draft, final = ({"ratings": [rating(1, n, n, n, n)]} for n in (2, 4))
    found = read_ratings(f"{json.dumps(draft)}\nOn second thought:\n{json.dumps(final)}", 1)
    assert found[1].grounded == 4


def test_a_useless_pair_is_not_rejected():
    assert not Rating(3, 3, 3, 1).rejects(3)
    assert Rating(5, 2, 5, 5).rejects(3)
    assert not Rating(1, 1, 1, 1).rejects(0)


CODE = "import sys; from syphus.cli import main; sys.argv = ['syphus', *sys.argv[1:]]; main()"


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", CODE, "judge", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_and_pays_only_what_was_in_flight(
    store, tmp_path, monkeypatch
):
    path = coco(tmp_path / "a.json", [f"{n}.png" for n in range(30)])
    job = Generating(load_task("la_conversation"), read([path]), None, "made/up")
    generate(job, store, ScriptedModel(pairs), concurrency=1)
    with serve(Provider(rate, delay=0.1)) as provider:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
        arguments = ["-d", store.path, "-m", MODEL, "--concurrency", "3"]
        for kills in (1, 2):
            with start(*arguments) as run:
                deadline = time.monotonic() + 60
                while len(provider.bodies) < 9 * kills and time.monotonic() < deadline:
                    time.sleep(0.01)
                run.send_signal(signal.SIGKILL)
        with start(*arguments) as run:
            output, errors = run.communicate(timeout=120)
    assert run.returncode == 0, errors
    assert "has judged 90 records and rejects 30" in output
    assert 30 <= len(provider.bodies) <= 30 + 2 * 3
    assert rows(store, "SELECT count(*), count(DISTINCT record) FROM verdicts") == [(90, 90)]


def test_the_command_prints_json_and_a_dry_run_needs_no_key(filled):
    with start("-d", filled.path, "-m", MODEL, "--dry-run", "--json") as run:
        output, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors
    assert json.loads(output)["records"] == 12
