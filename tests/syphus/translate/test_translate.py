"""The loop, with a scripted model; a real server is in test_acceptance."""

from collections import Counter

import pytest

from mimicit.errors import QueryError
from mimicit.schema import Verdict
from syphus import translate as loop
from syphus.errors import RefusedError, RetryError, StopError
from syphus.providers.scripted import ScriptedModel
from syphus.task import load_task
from syphus.translate import Job, translate
from syphus.translate.languages import language_of, languages_of
from syphus.translate.plan import plan
from tests.builders import record
from tests.syphus.translate.corpus import ANSWERS, LANGUAGES, QUESTIONS, Asked, records, written


def job(to="zh,de", **options):
    return Job(load_task("translate"), "openai/gpt-4o-mini", languages_of(to), **options)


def run(store, work, script, concurrency=1):
    model = ScriptedModel(script)
    return translate(work, store, model, concurrency=concurrency), [
        Asked(r.query) for r in model.seen
    ]


def right(request):
    return written(Asked(request.query).translations())


def rows(store, query):
    with store.reading() as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def filled(store):
    store.add(records())
    store.sync()
    return store


def test_each_translation_is_a_record_of_its_own(filled):
    report, _ = run(filled, job(), right)
    assert [(r.language, r.wanted, r.before, r.new, r.missing) for r in report.languages] == [
        ("zh", 20, 0, 20, 0), ("de", 20, 0, 20, 0),
    ]  # fmt: skip
    [found] = rows(
        filled,
        "SELECT task, instruction, answer, image_ids, rel_ins_ids, language, source, translation_of, "
        "model, t.request = r.request FROM accepted AS t JOIN replies AS r ON r.id = t.reply "
        "WHERE t.id = 'LACONV_INS_008_00_de'",
    )
    question, answer = list(QUESTIONS)[1], list(ANSWERS)[3]
    assert found == (
        "la_conversation", QUESTIONS[question]["de"], ANSWERS[answer]["de"], ["LA_IMG_8"], ["LACONV_INS_000_00_de"],
        "de", "notes.json#1", "LACONV_INS_008_00", "openai/gpt-4o-mini", True,
    )  # fmt: skip
    assert rows(filled, "SELECT outcome FROM runs") == [("done",)]


def test_what_is_there_is_skipped_also_when_it_was_rejected(filled):
    run(filled, job("zh"), right)
    verdict = Verdict(
        record="LACONV_INS_003_00_zh", filter="f", reason="r", recipe="x", recipe_digest="d"
    )
    filled.add_verdicts([verdict])
    report, asked = run(filled, job("zh,de"), right)
    assert {language for one in asked for language in one.languages} == {"de"}
    assert [(r.before, r.new, r.missing) for r in report.languages] == [(20, 0, 0), (0, 20, 0)]
    assert run(filled, job("zh,de"), right)[1] == []


def test_only_accepted_records_of_the_language_that_are_no_translations_are_translated(store):
    store.add(
        [
            *records()[:2],
            record(90, language="fr", instruction="Pourquoi ?", answer="Parce que."),
            record(91, translation_of="LACONV_INS_090_00"),
            record(92, task="la_detail"),
        ]
    )
    bad = {"filter": "f", "reason": "r", "recipe": "x", "recipe_digest": "d"}
    store.add_verdicts([Verdict(record="LACONV_INS_001_00", **bad)])
    report, [asked] = run(store, job("zh", where="task = 'la_conversation'"), right)
    assert asked.records == [(r.instruction, r.answer) for r in records()[:1]]
    assert report.records == 1


def test_from_another_language(store):
    store.add(
        [
            record(
                1, language="fr", instruction="Que fait le chien ?", answer="Il dort sur le canapé."
            )
        ]
    )
    reply = written(
        [
            {
                "number": 1,
                "language": "en",
                "question": "What is the dog doing?",
                "answer": "It sleeps on the sofa.",
            }
        ]
    )
    report, _ = run(store, job("en", origin=language_of("fr")), lambda request: reply)
    assert report.missing == 0
    assert rows(store, "SELECT id, language FROM accepted WHERE translation_of IS NOT NULL") == [
        ("LACONV_INS_001_00_en", "en")
    ]


def test_only_what_is_missing_or_wrong_is_asked_for_again_with_what_was_wrong(store):
    store.add(records()[:4])

    def script(request):
        asked = Asked(request.query)
        good = asked.translations()
        if not asked.notes:
            good = [one for one in good if (one["number"], one["language"]) != (2, "de")]
            good[0]["answer"] = "大约有 13 个人在等公交车。"
        return written(good)

    report, [_, *again] = run(store, job(), script)
    assert [(one.records, one.languages, one.notes) for one in again] == [
        (
            [(records()[0].instruction, records()[0].answer)], ["zh"],
            [("1", "zh", "the answer: the number 12 is missing")],
        ),
        (
            [(records()[1].instruction, records()[1].answer)], ["de"],
            [("1", "de", "it was left out")],
        ),
    ]  # fmt: skip
    assert (report.missing, report.asked) == (0, 3)


def test_records_that_lack_the_same_are_asked_for_together(store):
    store.add(records()[:4])

    def script(request):
        asked = Asked(request.query)
        return written(
            [one for one in asked.translations() if asked.notes or one["language"] != "de"]
        )

    _, [first, again] = run(store, job(), script)
    assert (again.records, again.languages) == (first.records, ["de"])


def test_after_some_rounds_what_is_missing_is_listed_and_not_paid_again(store):
    store.add(records()[:2])

    def script(request):
        """Translate one of the two into German wrongly, always."""
        good = Asked(request.query).translations()
        for one in good:
            if one["language"] == "de" and "<image>" in one["question"]:
                one["question"] = "Was passiert hier?"
        return written(good)

    report, asked = run(store, job(), script)
    assert [(len(one.records), one.languages) for one in asked] == [
        (2, ["zh", "de"]), *[(2, ["de"])] * (loop.ROUNDS - 1),
    ]  # fmt: skip
    reason = "the question: … must be in it once, as it is"
    assert [(r.new, r.missing, r.reason) for r in report.languages] == [(2, 0, ""), (0, 2, reason)]
    assert report.problems[0].where == "LACONV_INS_000_00 in German"
    report, asked = run(store, job(), script)
    assert (asked, report.problem_count) == ([], 2)
    assert [(r.before, r.new, r.missing) for r in report.languages] == [(2, 0, 0), (0, 0, 2)]
    # Another seed tries again.
    report, asked = run(store, job(seed=7), right)
    assert (len(asked), asked[0].languages, report.missing) == (1, ["de"], 0)


def test_an_unreadable_reply_is_shown_to_the_model_and_then_given_up(store):
    store.add(records()[:2])
    report, asked = run(store, job(), lambda request: "I would rather not.")
    assert (len(asked), report.unreadable, report.missing) == (3, 3, 4)
    assert run(store, job(), right)[1] == []


def test_a_refused_request_is_asked_again_record_by_record(store):
    store.add(records()[:3])
    rude = records()[1].answer

    def script(request):
        if rude.splitlines()[0] in request.query:
            raise RefusedError("content policy")
        return right(request)

    report, asked = run(store, job(), script)
    assert [len(one.records) for one in asked] == [3, 1, 1, 1]
    assert [(r.new, r.missing, r.reason) for r in report.languages] == [
        (2, 1, "content policy")
    ] * 2


def test_what_does_not_answer_is_listed_and_asked_next_time(store, monkeypatch):
    monkeypatch.setattr("syphus.pacing.retries._backoff", lambda failures: 0.0)
    store.add(records()[:1])

    def script(request):
        raise RetryError("overloaded")

    report, _ = run(store, job(), script)
    assert (report.missing, report.problems[0].reason) == (2, "overloaded")
    assert run(store, job(), right)[0].missing == 0


def test_terms_to_keep_are_told_where_they_occur(store):
    store.add(
        [record(1, instruction="Which bike is it?", answer="It is a blue Kestrel with a basket.")]
    )
    seen = []

    def script(request):
        seen.append(request.query)
        return written(
            [
                {
                    "number": 1,
                    "language": "de",
                    "question": "Welches Rad ist das?",
                    "answer": "Es ist ein blaues Kestrel mit Korb.",
                }
            ]
        )

    report, _ = run(store, job("de", keep=("Kestrel", "Falcon")), script)
    assert (report.missing, "Keep as they are: Kestrel\n" in seen[0]) == (0, True)


def test_an_empty_question_stays_empty(store):
    store.add([record(1, instruction="", answer="The dog sleeps on the old sofa.")])
    reply = written(
        [
            {
                "number": 1,
                "language": "de",
                "question": "-",
                "answer": "Der Hund schläft auf dem alten Sofa.",
            }
        ]
    )
    run(store, job("de"), lambda request: reply)
    assert rows(store, "SELECT instruction FROM accepted WHERE language = 'de'") == [("",)]


def test_a_long_record_is_asked_for_in_some_languages_at_a_time(store):
    answer = " ".join(list(ANSWERS)[4:] * 150)
    store.add([record(1, instruction=list(QUESTIONS)[3], answer=answer)])
    ANSWERS[answer] = {c: " ".join([ANSWERS[list(ANSWERS)[4]][c]] * 150) for c in LANGUAGES}
    try:
        report, asked = run(store, job(",".join(LANGUAGES)), right)
    finally:
        del ANSWERS[answer]
    assert report.missing == 0
    assert len(asked) > 1
    assert sorted(code for one in asked for code in one.languages) == sorted(LANGUAGES)


def test_a_limit_takes_the_first_records(filled):
    report, asked = run(filled, job(limit=3), right)
    assert (report.records, len(asked[0].records)) == (3, 3)


def test_records_are_read_in_pages(filled, monkeypatch):
    monkeypatch.setattr("syphus.translate.sources.PAGE", 3)
    report, asked = run(filled, job(), right)
    assert (report.records, report.missing) == (20, 0)
    assert len(asked) == 3  # chunks reach over pages


def test_a_wrong_selection_is_a_sentence(filled):
    with pytest.raises(QueryError, match="'nonsense = 1' fails"):
        run(filled, job(where="nonsense = 1"), right)


def test_a_dry_run_counts_what_a_run_sends(filled):
    planned = plan(job(), filled)
    assert (planned.records, planned.wanted, planned.there, planned.answered) == (20, 40, 0, 0)
    model = ScriptedModel(right)
    translate(job(), filled, model, concurrency=1)
    assert planned.messages == model.seen[0].messages
    assert planned.requests == len(model.seen)
    assert planned.cost_usd > 0
    planned = plan(job("zh,de,fr"), filled)
    assert (planned.there, planned.requests) == (40, 3)
    assert "- zh" not in planned.messages[-1].content
    assert plan(job(), filled).requests == 0


# Interrupted anywhere, nothing is paid twice.


def faulty(request):
    """Leave out Korean, and give German in English, until told so. A request always gets the same reply."""
    asked = Asked(request.query)
    found = asked.translations()
    if not asked.notes:
        found = [one for one in found if one["language"] != "ko"]
        for one in found:
            if one["language"] == "de":
                one["question"], one["answer"] = asked.records[one["number"] - 1]
    elif not request.repair and any("left out" in problem for *_, problem in asked.notes):
        found = [one for one in found if one["number"] != 1]
    return written(found)


def paid(seen):
    """Return how often each cell was paid for."""
    return Counter(cell for request in seen for cell in Asked(request.query).cells)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run that nothing interrupts asks for."""
    from mimicit.store import Store

    store = Store.open(tmp_path_factory.mktemp("whole") / "ds", create=True)
    store.add(records())
    model = ScriptedModel(faulty)
    report = translate(job("zh,de,ko"), store, model, concurrency=1)
    assert report.missing == 0
    return model.seen


@pytest.mark.parametrize("stop", [1, 3, 8])
@pytest.mark.parametrize("written_first", [0, 2, 99])
def test_interrupted_a_job_goes_on_where_it_was(filled, whole, monkeypatch, stop, written_first):
    """It stops at one request, and what it did not write by then is lost, as after kill -9; `written_first` writes succeed."""
    monkeypatch.setattr(loop, "FLUSH_REPLIES", 1)
    write, noted, writes = loop._Run._write, loop._Run._noted, []

    def some(self, finished):
        writes.append(1)
        if len(writes) <= written_first:
            write(self, finished)

    def noted_if_written(self, finished):
        if len(writes) <= written_first:
            noted(self, finished)

    monkeypatch.setattr(loop._Run, "_write", some)
    monkeypatch.setattr(loop._Run, "_noted", noted_if_written)
    sent = []

    def script(request):
        if len(sent) == stop:
            raise StopError("no credit left")
        sent.append(request)
        return faulty(request)

    if stop < len(whole):
        with pytest.raises(StopError):
            translate(job("zh,de,ko"), filled, ScriptedModel(script), concurrency=1)
    monkeypatch.setattr(loop._Run, "_write", write)
    monkeypatch.setattr(loop._Run, "_noted", noted)
    again = ScriptedModel(faulty)
    report = translate(job("zh,de,ko"), filled, again, concurrency=1)
    assert report.missing == 0
    assert len({request.key for request in [*sent, *again.seen]}) == len(sent) + len(again.seen)
    assert paid([*sent, *again.seen]) == paid(whole)
    assert rows(filled, "SELECT count(*), count(DISTINCT id) FROM accepted") == [(80, 80)]
    assert rows(
        filled, "SELECT count(*) FROM replies SEMI JOIN readings ON reply = replies.id"
    ) == [(len(whole),)]


def test_several_workers_do_the_same(filled):
    report, _ = run(filled, job("zh,de,ko"), faulty, concurrency=4)
    assert report.missing == 0
    assert rows(filled, "SELECT count(*) FROM accepted") == [(80,)]
