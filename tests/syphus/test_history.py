"""`syphus runs` and `syphus replay`."""

import json
import logging

import pytest
from typer.testing import CliRunner

from mimicit.errors import DatasetError
from mimicit.store import Store
from syphus import history
from syphus.annotations import read
from syphus.cli import app
from syphus.errors import RefusedError, ReplyError, StopError
from syphus.generate import Job, generate
from syphus.providers.scripted import ScriptedModel
from syphus.task import load_task
from tests.builders import coco

PAIRS = "\n\n".join(f"Question: What is {n}?\nAnswer: It is {n}." for n in range(3))
KEY = "sk-planted-0123456789abcdef"


@pytest.fixture
def run(store, tmp_path):
    """Run `generate` with a script over some pictures."""

    def go(script, names=("a.png", "b.png", "c.png"), **options):
        paths = [coco(tmp_path / "a.json", list(names))]
        arguments = ["generate", "la_conversation", "-a", str(paths[0]), "-d", str(store.path), "-m", "openai/gpt-4o-mini"]  # fmt: skip
        job = Job(
            load_task("la_conversation"), read(paths), None, "openai/gpt-4o-mini", arguments=arguments, tries=1
        )  # fmt: skip
        return generate(job, store, ScriptedModel(script, concurrency=1), **options)

    return go


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_runs_are_listed_with_what_they_asked_got_and_cost(run, store):
    run(lambda request: PAIRS)
    run(lambda request: PAIRS)
    first, second = history.runs(store.path)
    assert (first.number, first.outcome, first.sent, first.replies, first.failures) == (1, "done", 3, 3, 0)  # fmt: skip
    assert (second.sent, second.summary["reused"], second.summary["pairs"]) == (0, 3, 9)
    printed = invoke("runs", "-d", store.path)
    assert printed.exit_code == 0
    assert "la_conversation" in printed.stdout
    [listed, _] = json.loads(invoke("runs", "-d", store.path, "--json").stdout)
    assert (listed["id"], listed["replies"]) == (first.id, 3)


def test_a_run_shows_its_errors_grouped_with_an_example_of_each(run, store):
    def script(request):
        if "a.png" in request.query:
            return "Nothing to see."
        raise RefusedError(f"{request.context_id!r} has 17 words too many")

    run(script)
    shown = history.show(store.path, "1")
    assert [(group.kind, group.count, group.context) for group in shown.groups] == [
        ("refused", 2, "b"),
        ("unreadable", 1, "a"),
    ]
    assert shown.groups[1].reply == "Nothing to see."
    printed = invoke("runs", "show", "last", "-d", store.path).stdout
    assert "2 × refused: 'b' has 17 words too many" in printed
    assert "| Nothing to see." in printed


def test_a_run_that_was_stopped_says_why(run, store):
    def script(request):
        raise StopError("no credit left")

    with pytest.raises(StopError):
        run(script)
    [stopped] = history.runs(store.path)
    assert stopped.outcome == "no credit left"


def test_a_run_without_an_end_was_killed_or_is_at_work(run, store):
    run(lambda request: PAIRS)
    from syphus.ledger import Ledger

    with Ledger(store.path / "ledger" / "ledger.sqlite") as ledger:
        ledger.start_run(task="t", model="m", arguments=[])
    assert history.runs(store.path)[-1].outcome == "killed"
    with store.writing("syphus generate"):
        assert history.runs(store.path)[-1].outcome == "running"


def test_an_unknown_run_and_an_empty_dataset_are_sentences(run, store, tmp_path):
    with pytest.raises(DatasetError, match="nothing was run"):
        history.show(store.path, "1")
    run(lambda request: PAIRS)
    with pytest.raises(DatasetError, match="no run '7'"):
        history.show(store.path, "7")
    with pytest.raises(DatasetError, match="no dataset folder"):
        history.runs(tmp_path / "nowhere")


def test_a_run_has_a_log_without_keys(run, store, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def script(request):
        logging.getLogger("syphus.test").info("asked with %s", KEY)
        raise RefusedError(f"the key {KEY} is not liked")

    run(script, names=["a.png"])
    [one] = history.runs(store.path)
    text = (store.path / "ledger" / "logs" / f"{one.id}.log").read_text()
    assert "is not liked" in text
    assert "failed in part" in text
    assert KEY not in text


def test_a_log_that_cannot_be_written_ends_no_run(run, store):
    (store.path / "ledger").mkdir(exist_ok=True)
    (store.path / "ledger" / "logs").write_text("in the way")
    assert run(lambda request: PAIRS).pairs == 9


def test_replies_that_could_not_be_read_are_read_again_without_a_model(run, store, monkeypatch):
    from syphus import generate as module

    def strict(text, **options):
        raise ReplyError("too strict", text)

    with monkeypatch.context() as patched:
        patched.setattr(module, "parse_pairs", strict)
        assert run(lambda request: PAIRS).pairs == 0
    assert run(lambda request: pytest.fail("asked")).pairs == 0
    replayed = invoke("replay", "-d", store.path)
    assert replayed.exit_code == 0, replayed.output
    assert "9 pairs about 3 contexts" in replayed.stdout
    with Store(store.path).reading() as connection:
        assert connection.execute("SELECT count(*) FROM accepted").fetchall() == [(9,)]


def test_what_is_stored_stays_when_it_is_read_otherwise(run, store, monkeypatch):
    run(lambda request: PAIRS)
    from syphus import generate as module

    read_pairs = module.parse_pairs

    def other(text, **options):
        return read_pairs(text.replace("It is 1.", "It is one."), **options)

    monkeypatch.setattr(module, "parse_pairs", other)
    replayed = invoke("replay", "-d", store.path)
    assert "3 were read otherwise than they are stored" in replayed.stdout
    with Store(store.path).reading() as connection:
        [(count, ones)] = connection.execute(
            "SELECT count(*), count(*) FILTER (answer = 'It is 1.') FROM accepted"
        ).fetchall()
    assert (count, ones) == (9, 3)


def test_a_run_whose_annotations_are_gone_does_not_keep_the_others_from_being_read(
    run, store, tmp_path
):
    from syphus.ledger import Ledger

    run(lambda request: PAIRS)
    with Ledger(store.path / "ledger" / "ledger.sqlite") as ledger:
        gone = ["generate", "la_conversation", "-a", "gone.json", "-d", "x", "-m", "x/y"]
        ledger.end_run(ledger.start_run(task="t", model="m", arguments=gone), "done")
    replayed = invoke("replay", "-d", store.path)
    assert replayed.exit_code == 3
    assert "gone.json" in replayed.stderr
    assert "9 pairs about 3 contexts" in replayed.stdout


def test_a_file_whose_name_is_no_text_ends_no_run(store, tmp_path):
    path = coco(tmp_path / "a.json", ["a.png"]).rename(tmp_path / "a\udcff.json")
    bad = json.loads(path.read_text()) | {"categories": []}
    bad["annotations"].append({"image_id": 99, "caption": "Lost."})
    path.write_text(json.dumps(bad))
    job = Job(load_task("la_conversation"), read([path]), None, "openai/gpt-4o-mini")
    report = generate(job, store, ScriptedModel(lambda request: PAIRS))
    assert (report.pairs, report.problem_count > 0) == (3, True)
    [one] = history.runs(store.path)
    assert one.outcome == "failed in part"


def test_nothing_to_replay_is_a_sentence(store):
    replayed = invoke("replay", "-d", store.path)
    assert replayed.exit_code != 0
    assert "was never run" in str(replayed.exception)
