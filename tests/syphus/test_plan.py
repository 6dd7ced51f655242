"""What a dry run says, against what a real server then bills."""

import hashlib
import json
import random
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from syphus.annotations import read
from syphus.annotations.context import Problem
from syphus.generate import Job, generate
from syphus.ledger import Ledger
from syphus.plan import KEPT_PROBLEMS, plan
from syphus.prices import price_of
from syphus.providers import connect
from syphus.providers.scripted import ScriptedModel
from syphus.request import Completion
from syphus.task import load_task
from syphus.tokens import counter
from tests.builders import coco
from tests.server import Provider, serve

MODEL = "openai/gpt-4o-mini"
PAIRS = "\n\n".join(f"Question: What is {n}?\nAnswer: It is {n}." for n in range(3))
COUNT = 150


def write(path, count):
    """Write annotations of very different lengths, in no order."""
    seeded = random.Random(3)
    captions = [
        {"id": n, "image_id": n, "caption": f"Picture {n}: " + "a dog and two cats, " * seeded.randrange(1, 40)}
        for n in range(count)
    ]  # fmt: skip
    images = [{"id": n, "file_name": f"{n}.png", "width": 9, "height": 9} for n in range(count)]
    path.write_text(json.dumps({"images": images, "annotations": captions, "categories": []}))
    return path


def job(*paths, **options):
    options = {"model": MODEL} | options
    return Job(load_task("la_conversation"), read(list(paths)), None, **options)


def ledger_of(store):
    return store.path / "ledger" / "ledger.sqlite"


def billing(body, before):
    """Bill by a vocabulary that is nobody's; some replies are of no use, and a prefix is cached once it was seen."""
    text = json.dumps(body["messages"])
    chance = random.Random(hashlib.sha256(text.encode()).digest())
    length = chance.randrange(60, 140)
    billing.warm += 1
    usage = {
        "prompt_tokens": 31 + sum(5 + len(m["content"]) // 3 for m in body["messages"]),
        "completion_tokens": length,
        "total_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": 1_152 if billing.warm > 4 else 0},
    }
    billing.sums = [
        a + b
        for a, b in zip(
            billing.sums,
            (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"], length),
            strict=True,
        )
    ]
    spoiled = chance.random() < 0.04
    message = {"role": "assistant", "content": "I cannot see it." if spoiled else PAIRS}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return web.json_response(
        {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"],
         "choices": [choice], "usage": usage}
    )  # fmt: skip


@pytest.fixture
def server(monkeypatch):
    billing.warm, billing.sums = 0, [0, 0, 0]
    with serve(Provider(behave=billing)) as provider:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789abcdef")
        monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
        monkeypatch.setenv("OPENAI_API_BASE", provider.url)
        yield provider


def test_after_a_pilot_the_price_is_within_five_per_cent(server, store, tmp_path):
    path = write(tmp_path / "a.json", COUNT)
    blind = plan(job(path), ledger_of(store))
    generate(job(path, limit=20), store, connect(MODEL), concurrency=4)
    pilot = list(billing.sums)
    planned = plan(job(path), ledger_of(store))
    report = generate(job(path), store, connect(MODEL), concurrency=4)
    prompt, cached, completion = (a - b for a, b in zip(billing.sums, pilot, strict=True))
    price = price_of(MODEL)
    billed = (
        (prompt - cached) * price.prompt + cached * price.cached + completion * price.completion
    )

    # To the token, and to the dollar.
    assert (report.prompt_tokens, report.cached_tokens, report.completion_tokens) == (
        prompt, cached, completion,
    )  # fmt: skip
    assert report.cost_usd == pytest.approx(billed, rel=1e-9)

    assert (planned.contexts, planned.answered, planned.requests) == (COUNT, 20, COUNT - 20)
    assert planned.cost_usd == pytest.approx(billed, rel=0.05)
    assert planned.cost_low_usd < billed < planned.cost_high_usd
    assert planned.cost_high_usd - planned.cost_low_usd < 0.3 * planned.cost_usd
    assert planned.basis.endswith("earlier replies")
    assert planned.batch_cost_usd < planned.cost_usd

    # From the examples alone it is a guess, says so, and is not sure.
    assert blind.basis == "the task's examples"
    assert blind.cost_low_usd < billed * COUNT / (COUNT - 20) < blind.cost_high_usd
    assert blind.cost_high_usd > 1.5 * blind.cost_low_usd


def test_a_finished_run_costs_nothing_more(store, tmp_path):
    path = coco(tmp_path / "a.json", ["a.png", "b.png"])
    generate(job(path), store, ScriptedModel(lambda r: PAIRS), concurrency=1)
    planned = plan(job(path), ledger_of(store))
    assert (planned.answered, planned.requests, planned.prompt_tokens) == (2, 0, 0)
    assert (planned.cost_usd, planned.cost_low_usd, planned.cost_high_usd) == (0, 0, 0)


def test_prompts_are_counted_to_the_token_where_the_vocabulary_is_known(tmp_path):
    path = write(tmp_path / "a.json", 40)
    chosen = job(path)
    prompt, counted = chosen.prompt(), counter(MODEL)
    exact = 0
    for context in read([path]):
        exact += counted.count_messages(chosen.request(prompt, context).messages)
    planned = plan(job(path), None)
    assert (planned.prompt_tokens, planned.tokenizer, planned.is_exact) == (
        exact, "o200k_base", True,
    )  # fmt: skip


def test_a_long_prefix_is_taken_at_the_cached_price_after_the_first_request(tmp_path):
    path = coco(tmp_path / "a.json", ["a.png", "b.png", "c.png"])
    planned = plan(job(path), None)
    shared = counter(MODEL).count_messages(job(path).prompt().messages)
    assert planned.cached_tokens == 2 * (shared // 128 * 128)
    price = price_of(MODEL)
    assert planned.cost_usd == pytest.approx(
        (planned.prompt_tokens - planned.cached_tokens) * price.prompt
        + planned.cached_tokens * price.cached
        + planned.completion_tokens * price.completion,
        rel=1e-3,  # tokens are rounded
    )
    # Nobody says that these cache it.
    for model in ("mistral/mistral-small-latest", "acme/unknown"):
        assert plan(job(path, model=model), None).cached_tokens == 0


def test_a_marked_prefix_is_paid_for_once_where_keeping_it_has_a_price(tmp_path):
    model = "anthropic/claude-sonnet-4-5"
    path = coco(tmp_path / "a.json", ["a.png"])
    planned, price = plan(job(path, model=model), None), price_of(model)
    shared = counter(model).count_messages(job(path, model=model).prompt().messages)
    assert planned.cost_usd == pytest.approx(
        (planned.prompt_tokens - shared) * price.prompt
        + shared * price.cache_write
        + planned.completion_tokens * price.completion,
        rel=1e-3,  # tokens are rounded
    )
    assert not planned.is_exact


def test_what_is_not_known_is_none_and_what_is_free_is_nothing(tmp_path):
    path = coco(tmp_path / "a.json", ["a.png"])
    unknown = plan(job(path, model="acme/unknown"), None)
    assert unknown.prompt_tokens > 100
    assert {
        unknown.cost_usd, unknown.cost_low_usd, unknown.cost_high_usd, unknown.batch_cost_usd,
    } == {None}  # fmt: skip
    assert plan(job(path, model="local"), None).cost_usd == 0.0
    assert plan(job(path, model="mistral/mistral-small-latest"), None).batch_cost_usd is None


def test_several_models_share_the_price_by_their_weights(tmp_path):
    path = coco(tmp_path / "a.json", ["a.png", "b.png"])
    dear, cheap = "openai/gpt-4o", MODEL
    alone = {model: plan(job(path, model=model), None) for model in (dear, cheap)}
    both = plan(job(path, model=dear, also=[cheap]), None, weights=[1, 3])
    assert both.cost_usd == pytest.approx((alone[dear].cost_usd + 3 * alone[cheap].cost_usd) / 4)
    assert both.cost_low_usd == alone[cheap].cost_low_usd
    assert both.cost_high_usd == alone[dear].cost_high_usd
    assert plan(job(path, model=dear, also=["acme/x"]), None).cost_usd is None


def test_a_reply_of_another_of_the_models_counts_as_one(store, tmp_path):
    path = coco(tmp_path / "a.json", ["a.png", "b.png"])
    generate(job(path, limit=1), store, ScriptedModel(lambda r: PAIRS), concurrency=1)
    planned = plan(job(path, model="openai/gpt-4o", also=[MODEL]), ledger_of(store))
    assert (planned.answered, planned.requests) == (1, 1)


def test_questions_that_were_asked_again_make_the_next_ones_dearer(store, tmp_path):
    path = write(tmp_path / "a.json", 30)
    chosen, counted = job(path), counter(MODEL)
    prompt = chosen.prompt()
    with Ledger(_made(ledger_of(store))) as ledger:
        ledger.add_prompt(prompt)
        run = ledger.start_run(task="la_conversation", model=MODEL, arguments=[])
        for number, context in enumerate(list(read([path]))[:10]):
            request = chosen.request(prompt, context)
            for asked in [request, request.again("no", "it is no reply")][: 1 + number % 2]:
                size = counted.count_messages(asked.messages)
                ledger.reply(
                    ledger.send(asked, run), asked, run, Completion("x", "stop", "m", size, 50), 0.1
                )
    planned = plan(job(path), ledger_of(store))
    assert (planned.answered, planned.requests, planned.basis) == (10, 20, "15 earlier replies")
    assert planned.completion_tokens == round(20 * 1.5 * 50)
    plain = plan(job(path), None).prompt_tokens * 20 / 30
    assert 1.4 * plain < planned.prompt_tokens < 1.7 * plain
    # None of them found the prefix cached, so neither will the next.
    assert planned.cached_tokens == 0


def _made(path):
    path.parent.mkdir(exist_ok=True)
    return path


def test_rows_that_cannot_be_used_are_counted_and_only_the_first_are_kept():
    rows = [Problem("a.json", f"row {n} is empty") for n in range(KEPT_PROBLEMS + 5)]
    planned = plan(Job(load_task("la_conversation"), rows, None, MODEL), None)
    assert (planned.contexts, planned.problem_count) == (0, KEPT_PROBLEMS + 5)
    assert planned.problems == rows[:KEPT_PROBLEMS]


def test_pictures_that_are_shown_are_counted_and_one_that_is_missing_is_listed(tmp_path, photos):
    path = coco(tmp_path / "a.json", ["chelsea.png", "coffee.png", "missing.png"])
    shown = plan(replace(job(path), images=photos, see=True), None)
    unseen = plan(job(coco(tmp_path / "b.json", ["chelsea.png", "coffee.png"])), None)
    assert (shown.contexts, shown.problem_count) == (2, 1)
    # 451 × 300 and 600 × 400 pixels: one tile, and two.
    assert shown.prompt_tokens - unseen.prompt_tokens == 2 * 2_833 + 3 * 5_667


def test_memory_does_not_grow_with_the_annotations(tmp_path):
    def peak(count):
        chosen = job(write(tmp_path / "a.json", 4))
        [first, *_] = read([tmp_path / "a.json"])
        contexts = (replace(first, id=f"c{n}", captions=(f"It is {n}.",)) for n in range(count))
        tracemalloc.start()
        try:
            assert plan(replace(chosen, contexts=contexts), None).contexts == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(300)  # what is made once
    assert peak(3_000) - peak(600) < 200_000


def test_the_recipes_of_the_documentation_are_sql(store, tmp_path):
    path = coco(tmp_path / "a.json", ["a.png", "b.png"])
    generate(job(path), store, ScriptedModel(lambda r: PAIRS), concurrency=1)
    text = (Path(__file__).parents[2] / "docs" / "cost.md").read_text()
    [recipes] = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    store.sync()
    with store.reading() as connection:
        for recipe in filter(str.strip, recipes.split(";")):
            assert connection.execute(recipe).fetchall(), recipe
