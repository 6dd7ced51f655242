"""The whole command on the photographs: a scripted model, keys from a pipe, files at the end."""

import json
import sqlite3

import yaml

from syphus.annotations import read
from syphus.annotations.context import Context, Problem
from syphus.coldstart.collect import Collected, sample
from syphus.errors import RefusedError, StopError, TaskError
from syphus.render import render_query
from syphus.request import Message
from syphus.task import load_task
from tests.syphus.coldstart.conftest import truthful


def test_from_annotations_to_a_task_with_examples(start, model, bare_task, lines):
    result = start("--want", "3", "-n", "8", keys="?arasa")
    assert result.exit_code == 0, result.output
    assert "3 examples joined" in result.stdout
    task = load_task(str(bare_task))
    assert task.version == 2
    decisions = lines("decisions.jsonl")
    assert [row["action"] for row in decisions] == ["accept", "reject", "accept", "accept"]
    by_key = {row["key"]: row for row in lines("candidates.jsonl")}
    accepted = [by_key[row["candidate"]] for row in decisions if row["action"] == "accept"]
    assert [e.origin["request"] for e in task.examples] == [row["request"] for row in accepted]
    for example, row in zip(task.examples, accepted, strict=True):
        assert [pair.model_dump(exclude_defaults=True) for pair in example.pairs] == row["pairs"]
        assert example.context.model_dump(mode="json", exclude_defaults=True) == row["context"]
        assert example.origin == {
            "model": "openai/gpt-4o-mini", "request": row["request"], "score": row["score"],
            "accepted": decisions[0]["time"][:10], "edited": False,
        }  # fmt: skip
    toml = (bare_task / "task.toml").read_text()
    assert toml.startswith("# Mine.\n")
    assert "version  =  2   # ours" in toml


def test_the_model_sees_no_examples_and_exactly_what_an_example_will_show(start, model, bare_task):
    start("--want", "1", "-n", "3", keys="a")
    [example] = load_task(str(bare_task)).examples
    for request in model.seen:
        assert [message.role for message in request.messages] == ["system", "user"]
    query = render_query(load_task(str(bare_task)), example.as_context())
    assert Message("user", query) in [request.messages[-1] for request in model.seen]


def test_a_built_in_task_with_examples_is_asked_without_them_and_copied(start, model, tmp_path):
    assert isinstance(start(task="la_conversation").exception, TaskError)
    result = start("--want", "1", "-n", "3", "--out", "ours", keys="a", task="la_conversation")
    assert result.exit_code == 0, result.output
    assert {len(request.messages) for request in model.seen} == {2}
    task = load_task(str(tmp_path / "ours"))
    assert len(task.examples) == len(load_task("la_conversation").examples) + 1


def test_run_again_after_the_end_it_is_done_and_asks_nothing(start, model, bare_task):
    start("--want", "2", "-n", "4", keys="aa")
    asked, version = len(model.seen), load_task(str(bare_task)).version
    result = start("--want", "2", "-n", "4", file="gone.json")
    assert (result.exit_code, len(model.seen)) == (0, asked)
    assert "it is done" in result.stdout
    assert load_task(str(bare_task)).version == version


def test_more_examples_can_be_added_later(start, model, bare_task):
    start("--want", "2", "-n", "4", keys="aa")
    result = start("--want", "3", "-n", "4", keys="a")
    assert "1 example joined" in result.stdout
    task = load_task(str(bare_task))
    assert (task.version, len(task.examples)) == (3, 3)
    assert len(model.seen) == 4


def test_what_is_in_the_task_folder_already_is_not_undone(start, model, bare_task):
    start("--want", "1", "-n", "4", keys="a")
    result = start("--want", "2", "-n", "4", keys="uq")
    assert "in the task folder already" in result.stderr


def test_quitting_keeps_everything_and_the_next_run_goes_on(start, model, lines):
    result = start("--want", "3", "-n", "6", keys="arq")
    assert result.exit_code == 130
    assert "1 of 3 examples are accepted, 4 candidates left" in result.stdout
    result = start("--want", "3", "-n", "6", keys="aa")
    assert result.exit_code == 0, result.output
    assert len(model.seen) == 6
    assert [row["action"] for row in lines("decisions.jsonl")] == [
        "accept", "reject", "accept", "accept",
    ]  # fmt: skip


def test_the_end_of_the_pipe_is_like_quitting(start, model):
    assert start("-n", "3").exit_code == 130


def test_undo_and_back(start, model, lines, bare_task):
    result = start("--want", "2", "-n", "4", keys="ruaba" + "u" + "aa")
    assert result.exit_code == 0, result.output
    rows = [(row["action"], row["candidate"]) for row in lines("decisions.jsonl")]
    first = rows[0][1]
    assert rows[:4] == [("reject", first), ("undo", first), ("accept", first), ("accept", first)]
    assert rows[4][0] == "undo"
    assert len(load_task(str(bare_task)).examples) == 2


def test_when_candidates_run_out_it_says_how_to_get_more(start, model):
    result = start("--want", "3", "-n", "4", keys="arrs")
    assert result.exit_code == 3
    assert "1 of 3 examples are accepted, and the candidates have run out (1 open)" in (
        result.stdout
    )
    assert "-n 8, or be content with --want 1" in result.stdout
    assert start("--want", "1", "-n", "4").exit_code == 0


def test_asking_about_more_pays_only_for_the_new_ones(start, model):
    start("-n", "4")
    first = {request.context_id for request in model.seen}
    start("-n", "7")
    assert len(model.seen) == 7
    assert first < {request.context_id for request in model.seen}
    start("-n", "4", "--seed", "9")
    assert len(model.seen) == 11


def test_the_best_are_accepted_without_a_person(start, model, bare_task, lines):
    def script(request):
        if request.context_id in ("rocket", "chelsea"):
            return "\n\n".join(
                f"Question: {word}?\nAnswer: Seven purple unicorns dance around a volcano {n}."
                for n, word in enumerate(("What", "Which", "Who"))
            )
        if request.context_id == "coffee":
            return truthful(request) + " The caption says so."
        return truthful(request)

    model.script = script
    result = start("--accept-all-good", "--want", "18", "-n", "20", "--json")
    assert result.exit_code == 3
    told = json.loads(result.stdout)
    assert (told["accepted"], told["below"], told["done"]) == (17, 2, False)
    assert "2 candidates below --min-score" in result.stderr
    result = start("--accept-all-good", "--want", "17", "-n", "20", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["done"], told["version"], len(told["frozen"])) == (
        0,
        True,
        2,
        17,
    )
    scores = [row["score"] for row in lines("decisions.jsonl")]
    assert scores == sorted(scores, reverse=True)
    ids = {example.context.id for example in load_task(str(bare_task)).examples}
    assert not ids & {"rocket", "chelsea", "coffee"}


def test_candidates_below_the_least_score_are_not_shown(start, model):
    result = start("-n", "5", "--min-score", "1.0", keys="rrrrr")
    assert result.exit_code == 3
    assert "below --min-score, not shown" in result.stderr


def test_what_a_model_writes_cannot_move_the_terminal(start, model):
    model.script = lambda request: truthful(request).replace("What", "\x1b[2J\x07[red]What[/red]")
    result = start("-n", "2")
    assert "\x1b" not in result.stderr
    assert "[red]What[/red]" in result.stderr


def test_refused_and_unreadable_contexts_are_listed_and_the_others_shown(start, model):
    def script(request):
        if request.context_id == "rocket":
            raise RefusedError("content policy")
        return "Sorry." if request.context_id == "chelsea" else truthful(request)

    model.script = script
    result = start("-n", "20", "--min-score", "0", "--want", "18", "--accept-all-good")
    assert result.exit_code == 0, result.output
    assert "content policy" in result.stderr
    assert "no readable reply in 3" in result.stderr


def test_when_the_provider_stops_what_came_before_can_be_reviewed(start, model, lines):
    def script(request):
        if len(model.seen) > 3:
            raise StopError("no credit left")
        return truthful(request)

    model.script, model.concurrency = script, 1
    assert isinstance(start("-n", "8").exception, StopError)
    assert len(lines("candidates.jsonl")) == 3
    # The sample of three is the beginning of the sample of eight.
    assert start("-n", "3", "--want", "3", keys="aaa").exit_code == 0
    assert len(model.seen) == 4


def test_a_reply_whose_candidate_was_not_written_is_read_again_for_nothing(
    start, model, tmp_path, lines
):
    start("-n", "3")
    path = tmp_path / "birds.coldstart" / "candidates.jsonl"
    text = path.read_bytes()
    path.write_bytes(text[: len(text) // 2])  # the last line is torn
    start("-n", "3")
    assert (len(model.seen), len(lines("candidates.jsonl"))) == (3, 3)


def test_another_system_message_asks_again_and_hides_the_old_replies(start, model, bare_task):
    start("-n", "3", keys="a")
    (bare_task / "system.md").write_text("You see pictures. Ask and answer, cheerfully.\n")
    result = start("-n", "3", "--want", "2")
    assert len(model.seen) == 6
    assert "of 4 · score" in result.stderr  # three new ones, and the one that was accepted


def test_a_judge_rates_the_candidates_once(start, model, lines):
    def script(request):
        if request.form != "json":
            return truthful(request)
        mark = 2 if "cat" in request.query else 5
        marks = {"grounded": mark, "answerable": mark, "correct": mark, "useful": mark}
        numbers = range(1, 1 + request.query.count("\nPair "))
        ratings = [{"number": n, **marks, "reason": "So."} for n in numbers]
        return json.dumps({"ratings": ratings})

    model.script = script
    result = start("-n", "20", "--judge", "openai/gpt-4o")
    assert len(model.seen) == 40
    assert "judge 1.00" in result.stderr
    rows = lines("candidates.jsonl")
    assert {row["rating"] for row in rows} == {2.0, 5.0}
    assert min(rows, key=lambda row: row["score"])["rating"] == 2.0
    assert "judge: the judge gives 2 of 5" in rows[-1]["reasons"]
    start("-n", "20", "--judge", "openai/gpt-4o")
    assert len(model.seen) == 40


def test_a_judge_that_says_nothing_is_listed_and_changes_nothing(start, model, lines):
    model.script = lambda request: "Hm." if request.form == "json" else truthful(request)
    result = start("-n", "2", "--judge", "openai/gpt-4o", keys="q")
    assert "the judge of" in result.stderr
    assert "rating" not in lines("candidates.jsonl")[0]


def test_rows_that_the_task_cannot_use_are_counted(start, model, tmp_path):
    rows = [
        {"id": str(n), "image": f"{n}.png", "captions": [f"A bird {n} sits."] * 3} for n in range(4)
    ]
    rows += [{"id": f"x{n}", "image": f"x{n}.png"} for n in range(6)]
    file = tmp_path / "birds.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    with (tmp_path / "birds" / "task.toml").open("a") as toml:
        toml.write('\n[context]\nneeds = ["captions"]\n')
    result = start("-n", "20", file=file)
    assert len(model.seen) == 4
    assert "… and 3 more rows" in result.stderr


def test_a_task_of_conversations_is_frozen_in_its_own_shape(start, model, tmp_path, monkeypatch):
    def script(request):
        topics = [
            line.removeprefix("- ")
            for line in request.query.partition("Candidates:")[2].splitlines()
        ]
        return "\n\n".join(
            f"Topic: {topic}\nRole: a guest {n}\nReason: it is there\n\n"
            + "\n\n".join(f"Question: What of {topic} {m}?\nAnswer: It is there {n} {m}." for m in range(3))
            for n, topic in enumerate(topic for topic in topics[1:4])
        )  # fmt: skip

    model.script = script
    file = tmp_path / "rooms.jsonl"
    rows = [
        {"id": str(n), "image": f"{n}.png", "captions": [f"A chair {n} is here."]} for n in range(3)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    result = start(
        "--want", "1", "-n", "3", "--out", "rooms", "--seed", "5", keys="a", task="sn", file=file
    )
    assert result.exit_code == 0, result.output
    path = max((tmp_path / "rooms" / "examples").iterdir())
    row = yaml.safe_load(path.read_text())
    assert [len(one["rounds"]) for one in row["conversations"]] == [3, 3, 3]
    example = load_task(str(tmp_path / "rooms")).examples[-1]
    query = render_query(load_task("sn"), example.as_context())
    assert all(
        f"- {one['topic']}" in query for one in row["conversations"]
    )  # what was drawn is the same


def test_the_sample_is_the_same_for_any_order_and_grows(photos):
    contexts = list(read([photos.parent / "annotations.json"]))
    items = [*contexts, Problem("x", "broken")]

    def ids(some, count, seed=0):
        return [one.id for one in sample(some, count, seed, Collected())]

    assert ids(items, 5) == ids(items[::-1], 5) == ids(items, 12)[:5]
    assert ids(items, 5) != ids(items, 5, seed=1)
    assert sorted(ids(items, 99)) == sorted(one.id for one in contexts)
    collected = Collected()
    sample(items, 5, 0, collected)
    assert (collected.usable, collected.unusable) == (20, 1)


def test_sampling_is_fair():
    contexts = [Context(str(n)) for n in range(10)]
    counts = dict.fromkeys((one.id for one in contexts), 0)
    for seed in range(2_000):
        for one in sample(contexts, 3, seed, Collected()):
            counts[one.id] += 1
    assert max(abs(count - 600) for count in counts.values()) < 100


def test_the_ledger_has_every_request(start, model, tmp_path):
    start("-n", "3")
    with sqlite3.connect(tmp_path / "birds.coldstart" / "ledger.sqlite") as ledger:
        [(count,)] = ledger.execute("SELECT count(*) FROM readings WHERE pairs = 3")
        [(outcome,)] = ledger.execute("SELECT outcome FROM run_ends")
    ledger.close()
    assert (count, outcome) == (3, "done")


def test_a_task_of_json_is_refused(start):
    result = start(task="judge")
    assert "makes no records" in str(result.exception)
