"""A run as the generation loop makes it; also a program of its own, which tests kill.

    python running.py LEDGER MODEL REQUESTS [METHOD CALLS]

It ends itself with SIGKILL when that method of the ledger is called for the so-manieth time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from syphus.batch import BatchLane, BatchState
from syphus.errors import ProviderError
from syphus.ledger import Ledger
from syphus.request import Message, Prompt, Request, Sampling

PROMPT = Prompt("la_conversation", 1, (Message("system", "Write pairs about the notes."),))


def make(number: int, model: str, text: str = "") -> Request:
    query = f"Notes: a cat on mat {number}. {text}"
    return Request(f"context_{number}", model, PROMPT, query, Sampling(temperature=0.0, top_p=1.0))


async def passes(
    lane: BatchLane, ledger: Ledger, requests: list[Request], tries: int = 3
) -> tuple[list[BatchState], dict[str, ProviderError]]:
    """Pass over all requests until each has a reply or an error, at most so many times."""
    states, errors = [], {}
    for _ in range(tries):
        for request in requests:
            if request.key not in ledger.find([request.key]):
                try:
                    lane.put(request)
                except ProviderError as error:
                    errors[request.key] = error
        if not lane.queued and not lane.open_batches():
            break
        states.append(await lane.settle())
    return states, errors


async def at_once(seconds: float) -> None:
    """Wait for nothing."""
    await asyncio.sleep(0)


def main(path: str, model: str, count: str, method: str = "", calls: str = "0") -> None:
    left = int(calls)

    def counted(name):
        original = getattr(Ledger, name)

        def call(self, *arguments, **named):
            nonlocal left
            if (left := left - 1) < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, *arguments, **named)

        return call

    if method:
        setattr(Ledger, method, counted(method))
    with Ledger(Path(path)) as ledger:
        run = ledger.start_run(task="la_conversation", model=model, arguments=[])
        ledger.add_prompt(PROMPT)
        requests = [make(number, model) for number in range(int(count))]
        with BatchLane(model, ledger, run, Path(path).parent, sleep=at_once) as lane:
            asyncio.run(passes(lane, ledger, requests))


if __name__ == "__main__":
    main(*sys.argv[1:])
