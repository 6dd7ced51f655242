"""The command in a process of its own, through LiteLLM, against a real server; killed and run again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mimicit.ledger_files import open_ledger
from syphus.task import load_task
from tests.conftest import ROOT
from tests.server import Provider, good, serve

CODE = "from syphus.cli import main; main()"
OPENINGS = ("What does one see first", "Where is it", "Who might like it")


def behave(body, before):
    """Answer with what the query says, one request after the other."""
    time.sleep(0.1)
    told = [line.split(". ", 1)[-1] for line in body["messages"][1]["content"].splitlines()[1:]]
    pairs = [
        {"question": f"{opening}?", "answer": told[n % len(told)]}
        for n, opening in enumerate(OPENINGS)
    ]
    return good(body, json.dumps({"pairs": pairs}))


@pytest.mark.slow
def test_killed_while_it_asks_and_run_again_nothing_is_paid_twice(bare_task, photos, tmp_path):
    with serve(Provider(behave)) as provider:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OPENAI_API_KEY": "sk-test-000000000",
            "OPENAI_BASE_URL": provider.url,
            "OPENAI_API_BASE": provider.url,
        }
        command = [
            sys.executable, "-c", CODE, "coldstart", bare_task, "-a", photos.parent / "annotations.json",
            "-m", "openai/gpt-4o-mini", "-n", "20", "--want", "4",
        ]  # fmt: skip

        def start(*options):
            return subprocess.Popen(
                [*command, *options], cwd=tmp_path, env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip

        def ledger(query):
            with open_ledger(tmp_path / "birds.coldstart" / "ledger.sqlite") as opened:
                return opened.execute(query).fetchall()

        def kept():
            path = tmp_path / "birds.coldstart" / "candidates.jsonl"
            return path.read_text().count("\n") if path.exists() else 0

        with start() as run:
            deadline = time.monotonic() + 120
            while kept() < 4 and time.monotonic() < deadline:
                time.sleep(0.01)
            run.send_signal(signal.SIGKILL)
            run.communicate()
        answered = {request for (request,) in ledger("SELECT request FROM replies")}
        assert 4 <= len(answered) < 20
        with start() as run:
            output, errors = run.communicate("a\na\n", timeout=120)
        assert run.returncode == 130, errors
        assert "2 of 4 examples are accepted" in output
        assert "may have been billed" in errors
        sent = dict(ledger("SELECT request, count(*) FROM sent GROUP BY request"))
        assert len(sent) == 20
        assert {sent[request] for request in answered} == {1}
        assert max(sent.values()) == 2  # those that were in flight
        assert ledger("SELECT count(*), count(DISTINCT request) FROM replies") == [(20, 20)]
        asked = len(provider.bodies)
        with start("--json") as run:
            output, errors = run.communicate("a\na\n", timeout=120)
        assert run.returncode == 0, errors
        assert len(provider.bodies) == asked
    told = json.loads(output)
    assert (told["accepted"], told["version"], len(told["frozen"])) == (4, 2, 4)
    assert len(load_task(str(bare_task)).examples) == 4
    assert {len(body["messages"]) for body in provider.bodies} == {2}
