"""The loop, with a scripted model; the real ones are in test_litellm and test_local_model."""

import json
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from mimicit.store import Store
from syphus.annotations import read
from syphus.errors import RefusedError, StopError
from syphus.generate import Job, generate
from syphus.plan import plan
from syphus.prices import price_of
from syphus.providers.scripted import ScriptedModel
from syphus.task import load_task
from tests.builders import coco
from tests.server import Provider, serve

PAIRS = "\n\n".join(f"Question: What is {n}?\nAnswer: It is {n}." for n in range(3))


def job(paths, photos=None, **options):
    options = {"model": "openai/gpt-4o-mini"} | options
    return Job(load_task("la_conversation"), read(paths), photos, **options)


def rows(store, query):
    with store.reading() as connection:
        return connection.execute(query).fetchall()


def test_a_record_can_tell_its_whole_history(store, tmp_path, photos):
    paths = [coco(tmp_path / "a.json", ["chelsea.png"])]
    generate(
        job(paths, photos, arguments=["generate", "x"]),
        store,
        ScriptedModel(lambda r: PAIRS),
        concurrency=1,
    )
    [first, *_] = rows(
        store,
        "SELECT id, instruction, answer, source, context, reply_text, model, prompt_version, finish_reason,"
        " prompt_tokens > 100, completion_tokens, cost_usd, verdicts, query FROM provenance ORDER BY id",
    )
    assert first[0].startswith("LACONV_INS_chelsea_")
    assert first[1:-1] == (
        "What is 0?", "It is 0.", "a.json#0", "chelsea", PAIRS, "openai/gpt-4o-mini", 1, "stop", True, 24, 0.0, [],
    )  # fmt: skip
    assert "A photo of chelsea.png." in first[-1]
    [(arguments, outcome, versions)] = rows(store, "SELECT arguments, outcome, versions FROM runs")
    assert (json.loads(arguments), outcome) == (["generate", "x"], "done")
    assert {"python", "mimicit", "duckdb"} <= set(json.loads(versions))
    assert rows(store, "SELECT list_sort(list(outcome)) FROM attempts") == [(["answered"],)]
    assert rows(store, "SELECT pictures, captions, source FROM annotations") == [
        (["LA_IMG_chelsea"], ["A photo of chelsea.png.", "It is chelsea.png."], "a.json#0")
    ]


def test_pictures_are_stored_as_they_are_and_named_by_the_records(store, tmp_path, photos):
    generate(
        job([coco(tmp_path / "a.json", ["chelsea.png", "rocket.jpg"])], photos),
        store, ScriptedModel(lambda r: PAIRS), concurrency=2,
    )  # fmt: skip
    assert rows(
        store,
        "SELECT count(*), count(DISTINCT images.id) FROM accepted, unnest(image_ids) AS u(image) "
        "JOIN images ON images.id = image",
    ) == [(6, 2)]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.png", None, "is not in"),
        ("empty.png", b"", "is empty"),
        ("text.png", b"hello", "not a picture"),
        ("half.png", "half", "cannot be decoded"),
        ("../../outside.png", None, "leads out"),
    ],
)
def test_a_bad_picture_is_listed_and_costs_nothing(store, tmp_path, photos, name, content, said):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "good.png").write_bytes((photos / "coffee.png").read_bytes())
    if content == "half":
        content = (photos / "coffee.png").read_bytes()[:50_000]
    if content is not None:
        (folder / name).write_bytes(content)
    model = ScriptedModel(lambda r: PAIRS)
    paths = [coco(tmp_path / "a.json", [name, "good.png"])]
    report = generate(job(paths, folder), store, model, concurrency=2)
    assert (report.pairs, report.problem_count, len(model.seen)) == (3, 1, 1)
    assert said in report.problems[0].reason


def test_a_picture_that_claims_to_be_huge_is_not_decoded(store, tmp_path, photos):
    import struct
    import zlib

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(bomb)
    report = generate(
        job([coco(tmp_path / "a.json", ["bomb.png"])], tmp_path),
        store,
        ScriptedModel(lambda r: PAIRS),
        concurrency=1,
    )
    assert "3600000000 pixels" in report.problems[0].reason


def test_another_model_or_seed_adds_pairs_beside_the_first(store, tmp_path):
    paths = [coco(tmp_path / "a.json", ["a.png"])]
    for options in ({}, {"model": "x/y"}, {"seed": 5}, {}):
        generate(job(paths, **options), store, ScriptedModel(lambda r: PAIRS), concurrency=1)
    assert rows(store, "SELECT count(*), count(DISTINCT request) FROM accepted") == [(9, 3)]


def test_editing_one_annotation_asks_only_about_that_one(store, tmp_path):
    path = coco(tmp_path / "a.json", ["a.png", "b.png", "c.png"])
    generate(job([path]), store, ScriptedModel(lambda r: PAIRS), concurrency=2)
    path.write_text(path.read_text().replace("It is b.png.", "It is blue."))
    again = ScriptedModel(lambda r: PAIRS)
    generate(job([path]), store, again, concurrency=2)
    assert [request.context_id for request in again.seen] == ["b"]


def test_a_reply_is_on_disk_before_it_is_parsed(store, tmp_path, monkeypatch):
    def crash(*args, **kwargs):
        raise MemoryError("in the parser")

    monkeypatch.setattr("syphus.generate.parse_pairs", crash)
    path = coco(tmp_path / "a.json", ["a.png"])
    with pytest.raises(MemoryError):
        generate(job([path]), store, ScriptedModel(lambda r: PAIRS), concurrency=1)
    monkeypatch.undo()
    again = ScriptedModel(lambda r: PAIRS)
    report = generate(job([path]), store, again, concurrency=1)
    assert (report.pairs, report.reused, again.seen) == (3, 1, [])


def test_when_the_provider_stops_what_came_before_is_stored(store, tmp_path):
    def script(request):
        if request.context_id == "d":
            raise StopError("no credit left")
        return PAIRS

    path = coco(tmp_path / "a.json", ["a.png", "b.png", "c.png", "d.png", "e.png"])
    with pytest.raises(StopError, match="no credit left"):
        generate(job([path]), store, ScriptedModel(script), concurrency=1)
    assert rows(store, "SELECT count(*) FROM accepted") == [(9,)]
    assert rows(store, "SELECT outcome FROM runs") == [("no credit left",)]


def test_a_full_disk_is_an_error_and_nothing_is_asked_twice(store, tmp_path, monkeypatch):
    def full(self, records):
        raise OSError(28, "No space left on device")

    path = coco(tmp_path / "a.json", ["a.png", "b.png"])
    monkeypatch.setattr(Store, "add", full)
    with pytest.raises(OSError, match="No space left"):
        generate(job([path]), store, ScriptedModel(lambda r: PAIRS), concurrency=1)
    monkeypatch.undo()
    again = ScriptedModel(lambda r: PAIRS)
    report = generate(job([path]), store, again, concurrency=1)
    assert (report.pairs, again.seen) == (6, [])


def test_refused_contexts_are_listed(store, tmp_path):
    def script(request):
        raise RefusedError("content policy")

    report = generate(
        job([coco(tmp_path / "a.json", ["a.png"])]), store, ScriptedModel(script), concurrency=1
    )
    assert [(p.where, p.reason) for p in report.problems] == [("a.json#0", "content policy")]


@pytest.mark.slow
def test_killed_at_any_moment_no_reply_is_lost_and_only_flying_requests_are_asked_again(
    store, tmp_path, photos, monkeypatch
):
    """kill -9 three times in the middle of one run against a real server, then let it finish."""
    path = coco(tmp_path / "a.json", [f"{n}.png" for n in range(60)])
    code = textwrap.dedent(
        """
        import sys
        from syphus.cli import main
        sys.argv = ["syphus", "generate", "la_conversation", "-a", sys.argv[1], "-d", sys.argv[2],
                    "-m", "openai/gpt-4o-mini", "--concurrency", "4"]
        main()
        """
    )
    with serve(Provider(delay=0.15)) as provider:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test-000000000")
        monkeypatch.setenv("OPENAI_BASE_URL", provider.url)

        def start():
            return subprocess.Popen(
                [sys.executable, "-c", code, path, store.path],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip

        for kills in range(1, 4):
            with start() as run:
                deadline = time.monotonic() + 60
                while len(provider.bodies) < 14 * kills and time.monotonic() < deadline:
                    time.sleep(0.01)
                run.send_signal(signal.SIGKILL)
            asked = len(provider.bodies)
            store.rebuild()
            [(replies,)] = rows(store, "SELECT count(*) FROM replies")
            assert asked - 4 * kills <= replies <= asked
        with start() as run:
            output, errors = run.communicate(timeout=120)
        assert run.returncode == 0, errors
        assert "180 pairs" in output
        assert "may have been billed" in errors
    assert rows(store, "SELECT count(*), count(DISTINCT id) FROM accepted") == [(180, 180)]
    assert rows(store, "SELECT count(*), count(DISTINCT request) FROM replies") == [(60, 60)]
    assert 60 <= len(provider.bodies) <= 60 + 3 * 4


def test_a_dry_run_counts_and_sends_nothing(store, tmp_path):
    paths = [coco(tmp_path / "a.json", ["a.png", "b.png", "c.png"])]
    model = ScriptedModel(lambda r: PAIRS)
    generate(job([coco(tmp_path / "one.json", ["a.png"])]), store, model, concurrency=1)
    [request] = model.seen
    planned = plan(job(paths), store.path / "ledger" / "ledger.sqlite")
    assert (planned.contexts, planned.answered, planned.requests) == (3, 1, 2)
    assert planned.messages == request.messages
    price = price_of("openai/gpt-4o-mini")
    assert planned.cost_usd == pytest.approx(
        price.cost(planned.prompt_tokens, planned.completion_tokens, cached=planned.cached_tokens),
        rel=1e-2,  # tokens are rounded
    )
    assert plan(job(paths, model="acme/unknown"), None).cost_usd is None
    assert plan(job(paths, model="local"), None).cost_usd == 0.0
