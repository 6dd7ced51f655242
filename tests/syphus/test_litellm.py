"""Any LiteLLM model name takes the same path, on both lanes: against a real server on this machine."""

import base64
import json

import pytest

from mimicit.store import Store
from syphus.annotations import read
from syphus.errors import StopError
from syphus.generate import Job, generate
from syphus.pacing import retries
from syphus.providers import connect
from syphus.task import load_task
from tests.builders import coco
from tests.server import Provider, good, refuse, serve

NAMES = ["chelsea.png", "coffee.png", "rocket.jpg"]
KEY = "sk-test-0123456789abcdef"


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(retries, "_backoff", lambda failures: 0.01)


@pytest.fixture(params=["direct", "litellm"])
def ask(tmp_path, photos, monkeypatch, store, request):
    """Run `generate` against a server that behaves so, and return the report."""

    def run(provider: Provider, model: str = "openai/gpt-4o-mini", **options):
        with serve(provider):
            monkeypatch.setenv("OPENAI_API_KEY", KEY)
            monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
            monkeypatch.setenv("OPENAI_API_BASE", provider.url)
            contexts = read([coco(tmp_path / "a.json", NAMES)])
            job = Job(load_task("la_conversation"), contexts, photos, model, **options)
            provider = connect(model, transport=request.param)
            return generate(job, store, provider, concurrency=2)

    return run


def rows(store: Store, query: str):
    with store.reading() as connection:
        return connection.execute(query).fetchall()


def test_a_model_of_a_provider_fills_the_dataset(ask, store):
    provider = Provider()
    report = ask(provider)
    assert (report.contexts, report.pairs, report.asked, report.problem_count) == (3, 9, 3, 0)
    assert rows(store, "SELECT count(*), count(DISTINCT id) FROM accepted") == [(9, 9)]
    body = provider.bodies[0]
    assert body["model"] == "gpt-4o-mini"
    assert [m["role"] for m in body["messages"]][:2] == ["system", "user"]
    assert body["messages"][-1]["role"] == "user"
    assert {"temperature", "top_p", "max_tokens", "seed"} <= set(body)


def test_tokens_and_price_of_a_reply_are_kept(ask, store):
    report = ask(Provider())
    assert report.cost_usd > 0
    [(prompt, cached, completion, cost)] = rows(
        store,
        "SELECT sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(cost_usd) FROM replies",
    )
    assert (prompt, cached, completion) == (360, 300, 90)
    assert cost == pytest.approx(report.cost_usd)


def test_the_prompt_prefix_is_the_same_in_every_request(ask):
    provider = Provider()
    ask(provider)
    assert len({str(body["messages"][:-1]) for body in provider.bodies}) == 1


def test_a_second_run_asks_nothing(ask):
    ask(Provider())
    again = Provider()
    report = ask(again)
    assert (report.reused, report.pairs, again.bodies) == (3, 9, [])


@pytest.mark.parametrize(
    ("odd", "outcome"),
    [
        pytest.param(
            lambda: refuse(429, "slow down", **{"Retry-After": "0"}), "rate_limit", id="rate limit"
        ),
        pytest.param(lambda: refuse(500, "oops"), "server", id="server error"),
        pytest.param(lambda: refuse(503, "overloaded"), "server", id="overloaded"),
    ],
)
def test_what_may_pass_is_tried_again(ask, store, odd, outcome):
    report = ask(Provider(lambda body, before: odd() if before < 2 else None))
    assert (report.pairs, report.problem_count, report.asked) == (9, 0, 9)
    outcomes = dict(rows(store, "SELECT outcome, count(*) FROM attempts GROUP BY ALL"))
    assert outcomes == {"answered": 3, outcome: 6}


def test_a_refused_request_is_asked_once_and_the_others_go_on(ask, store):
    def behave(body, before):
        return refuse(400, "too rude") if "coffee" in body["messages"][-1]["content"] else None

    provider = Provider(behave)
    report = ask(provider)
    assert (report.pairs, report.problem_count, report.asked) == (6, 1, 3)
    assert "too rude" in report.problems[0].reason
    assert report.problems[0].where == "a.json#1"


def test_a_wrong_key_stops_the_run_and_stays_secret(ask, store):
    provider = Provider(lambda body, before: refuse(401, f"Incorrect API key provided: {KEY}"))
    with pytest.raises(StopError) as caught:
        ask(provider)
    assert len(provider.bodies) <= 2  # the two workers
    assert KEY not in str(caught.value)
    files = [path for path in (store.path / "ledger").rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in path.read_bytes() for path in files)


def test_garbage_is_asked_again_with_another_seed(ask, store):
    seeds = []

    def behave(body, before):
        seeds.append(body["seed"])
        return good(body, "I am sorry, there is nothing to see.") if body["seed"] == 0 else None

    report = ask(Provider(behave))
    assert (report.pairs, report.problem_count) == (9, 0)
    assert sorted(seeds) == [0, 0, 0, 1, 1, 1]
    assert rows(store, "SELECT count(*) FROM readings WHERE problem IS NOT NULL") == [(3,)]


def test_a_model_is_told_what_was_wrong_with_its_reply(ask):
    shown = []

    def behave(body, before):
        if "cannot be used" in body["messages"][-1]["content"]:
            shown.append([message["content"] for message in body["messages"][-2:]])
            return None
        return good(body, "Nothing to see.")

    report = ask(Provider(behave))
    assert (report.pairs, report.unreadable, report.problem_count) == (9, 3, 0)
    assert len(shown) == 3
    for reply, said in shown:
        assert reply == "Nothing to see."
        assert "at least 3" in said


def test_a_reply_that_is_never_readable_is_listed_and_not_paid_again(ask, store):
    report = ask(Provider(lambda body, before: good(body, "…")))
    assert (report.pairs, report.problem_count, report.asked) == (0, 3, 9)
    again = Provider()
    assert ask(again).problem_count == 3
    assert again.bodies == []


def test_a_cut_reply_keeps_its_whole_pairs(ask, store):
    text = "\n\n".join(f"Question: What is {n}?\nAnswer: It is {n} and" for n in range(4))
    ask(Provider(lambda body, before: good(body, text, "length")))
    assert rows(store, "SELECT count(*) FROM instructions") == [(9,)]


def test_a_model_that_keeps_to_schemas_is_asked_for_json(ask):
    provider = Provider()
    ask(provider)
    [form] = {json.dumps(body["response_format"], sort_keys=True) for body in provider.bodies}
    schema = json.loads(form)["json_schema"]
    assert (schema["name"], schema["strict"]) == ("pairs", True)
    assert schema["schema"]["properties"]["pairs"]["minItems"] == 3
    example = provider.bodies[0]["messages"][2]["content"]
    assert len(json.loads(example)["pairs"]) == 4


def test_another_model_is_asked_for_lines(ask):
    provider = Provider()
    assert ask(provider, model="openai/my-own-model").pairs == 9
    assert all("response_format" not in body for body in provider.bodies)
    assert provider.bodies[0]["messages"][2]["content"].startswith("Question: ")


def test_a_provider_that_ignores_the_schema_is_understood(ask):
    text = "Here you are!\n\n" + "\n".join(
        f"**Q{n}:** What is {n}?\n**A{n}:** It is {n}." for n in range(3)
    )
    report = ask(Provider(lambda body, before: good(body, text)))
    assert (report.pairs, report.unreadable, report.problem_count) == (9, 0, 0)


def test_pictures_are_shown_to_a_model_that_can_see(ask, photos):
    provider = Provider()
    assert ask(provider, see=True).pairs == 9
    images = []
    for body in provider.bodies:
        picture, text = body["messages"][-1]["content"]
        assert (picture["type"], text["type"]) == ("image_url", "text")
        assert text["text"].startswith("Notes:")
        head, data = picture["image_url"]["url"].split(",")
        assert head in ("data:image/png;base64", "data:image/jpeg;base64")
        images.append(base64.b64decode(data))
    assert set(images) == {(photos / name).read_bytes() for name in NAMES}
    seen = Provider()
    assert ask(seen, see=True).reused == 3
    assert ask(seen, see=False).asked == 3


def test_no_key_is_a_sentence(monkeypatch):
    with pytest.raises(StopError, match="set OPENAI_API_KEY"):
        connect("openai/gpt-4o-mini")


def test_an_unknown_provider_is_a_sentence():
    with pytest.raises(StopError, match="names no provider"):
        connect("nosuchmodel")
