"""How a run ends: used up, interrupted, stopped by the provider, broken."""

import asyncio
import os
import signal
import threading
import time

import pytest

from syphus.asking import Asker, Tally
from syphus.errors import AnnotationError, Interrupted, RefusedError, StopError
from syphus.ledger import Ledger
from syphus.pacing.endpoints import Endpoint, Endpoints, single
from syphus.providers.scripted import ScriptedModel
from syphus.request import Completion, Message, Prompt, Request, Sampling
from syphus.running import Buffer, work

PROMPT = Prompt("t", 1, (Message("system", "Be brief."),))


def request(n: int, model: str = "m") -> Request:
    return Request(f"c{n}", model, PROMPT, f"What is {n}?", Sampling(seed=0))


class Slow(ScriptedModel):
    """Take some time for each answer."""

    def __init__(self, seconds, script=lambda request: "Yes.", concurrency=4):
        super().__init__(script, concurrency=concurrency)
        self.seconds = seconds

    async def complete(self, request: Request) -> Completion:
        await asyncio.sleep(self.seconds)
        return await super().complete(request)


@pytest.fixture
def asker(tmp_path):
    opened = []

    def make(model, **options):
        while opened:
            opened.pop().__exit__(None, None, None)
        ledger = Ledger(tmp_path / "ledger.sqlite")
        opened.append(ledger)
        endpoints = model if isinstance(model, Endpoints) else single(model, "m")
        return Asker(endpoints, ledger, Tally(), run="r", **options)

    yield make
    for ledger in opened:
        ledger.__exit__(None, None, None)


def read(reply):
    return reply.text


def test_every_item_is_handled_once_and_no_more_at_once_than_may(asker):
    one = asker(Slow(0.001, concurrency=5))
    most = 0

    async def handle(n):
        nonlocal most
        await one.ask(request(n), read)
        most = max(most, one.endpoints.in_flight)

    asyncio.run(work(one, range(60), handle))
    assert one.ledger.counts() == {"requests": 60, "replies": 60, "in_batches": 0, "in_flight": 0}
    assert most <= 5


def test_items_are_taken_as_they_are_needed(asker):
    one, taken = asker(Slow(0.01, concurrency=2)), []

    def items():
        for n in range(10_000):
            taken.append(n)
            yield n

    async def handle(n):
        await one.ask(request(n), read)
        if n == 10:
            raise StopError("enough")

    with pytest.raises(StopError, match="enough"):
        asyncio.run(work(one, items(), handle))
    assert len(taken) < 30


def test_the_first_interrupt_awaits_what_is_on_its_way(asker):
    model = Slow(0.3, concurrency=3)
    one = asker(model)

    def interrupt():
        while not one.sending:
            time.sleep(0.01)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()

    async def handle(n):
        await one.ask(request(n), read)

    with pytest.raises(Interrupted):
        asyncio.run(work(one, range(100), handle))
    assert one.ledger.counts() == {"requests": 3, "replies": 3, "in_batches": 0, "in_flight": 0}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_interrupt_drops_what_is_on_its_way(asker):
    one = asker(Slow(30.0, concurrency=3))

    def interrupt():
        while not one.sending:
            time.sleep(0.01)
        for _ in range(2):
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()

    async def handle(n):
        await one.ask(request(n), read)

    started = time.monotonic()
    with pytest.raises(Interrupted):
        asyncio.run(work(one, range(100), handle))
    assert time.monotonic() - started < 20
    assert one.ledger.counts()["in_flight"] == 3


def test_when_the_provider_stops_the_others_replies_are_kept(asker):
    def script(asked):
        if asked.query == "What is 2?":
            raise StopError("no credit left")
        return "Yes."

    class Uneven(Slow):
        async def complete(self, asked):
            self.seconds = 0.01 if asked.query == "What is 2?" else 0.2
            return await super().complete(asked)

    one = asker(Uneven(0.2, script, concurrency=4))

    async def handle(n):
        await one.ask(request(n), read)

    with pytest.raises(StopError, match="no credit left"):
        asyncio.run(work(one, range(100), handle))
    assert one.ledger.counts() == {"requests": 4, "replies": 3, "in_batches": 0, "in_flight": 0}


def test_when_the_annotations_break_off_the_replies_on_their_way_are_kept(asker):
    one = asker(Slow(0.2, concurrency=4))

    def items():
        yield from range(3)
        raise AnnotationError("a.json ends in the middle of row 3")

    async def handle(n):
        await one.ask(request(n), read)

    with pytest.raises(AnnotationError, match="row 3"):
        asyncio.run(work(one, items(), handle))
    assert one.ledger.counts()["replies"] == 3


def test_what_breaks_ends_the_run_at_once(asker):
    one = asker(Slow(30.0, concurrency=3))

    async def handle(n):
        if n == 2:
            raise OSError(28, "No space left on device")
        await one.ask(request(n), read)

    started = time.monotonic()
    with pytest.raises(OSError, match="No space left"):
        asyncio.run(work(one, range(100), handle))
    assert time.monotonic() - started < 20


def test_items_that_ask_the_same_at_the_same_time_pay_once(asker):
    model = Slow(0.02, concurrency=8)
    one = asker(model)

    async def handle(n):
        # As the loop does: looked up before the first of them was answered.
        answer = await one.ask(request(n % 3), read, found=None)
        assert answer.reply.text == "Yes."

    asyncio.run(work(one, range(40), handle))
    assert (len(model.seen), one.tally.asked, one.tally.reused) == (3, 3, 37)


def test_an_answer_of_any_of_the_models_is_an_answer(asker):
    models = [ScriptedModel(lambda asked: asked.model), ScriptedModel(lambda asked: asked.model)]
    both = Endpoints(
        [
            Endpoint(name, model, name, pace=single(model, name).endpoints[0].pace)
            for name, model in zip(("m", "other"), models, strict=True)
        ]
    )
    one, said = asker(both), {}

    async def handle(n):
        answer = await one.ask(request(n), read)
        said[n] = said.get(n, "") or answer.reply.text

    asyncio.run(work(one, range(20), handle))
    assert set(said.values()) == {"m", "other"}
    asked = one.tally.asked
    asyncio.run(work(one, range(20), handle))
    assert (asked, one.tally.asked) == (20, 20)


def test_a_refused_question_is_an_error_of_its_own(asker):
    def script(asked):
        raise RefusedError("too rude")

    one, said = asker(ScriptedModel(script)), []

    async def handle(n):
        try:
            await one.ask(request(n), read)
        except RefusedError as error:
            said.append(str(error))

    asyncio.run(work(one, range(5), handle))
    assert said == ["too rude"] * 5
    assert one.tally.errors == {"refused": 5}


def test_a_buffer_is_written_in_order_once_and_to_its_end():
    written, noted = [], []

    def write(items):
        time.sleep(0.01)
        written.append(list(items))

    async def fill():
        async with Buffer(write, noted.extend, count=10) as buffer:

            async def put(start):
                for n in range(start, 95, 4):
                    await buffer.put(n)
                    await asyncio.sleep(0)

            await asyncio.gather(*(put(start) for start in range(4)))

    asyncio.run(fill())
    assert sorted(n for some in written for n in some) == list(range(95))
    assert noted == [n for some in written for n in some]
    assert max(map(len, written[:-1])) <= 14


def test_a_buffer_that_cannot_be_written_stops_whoever_fills_it():
    def write(items):
        raise OSError(28, "No space left on device")

    async def fill():
        async with Buffer(write, count=2) as buffer:
            for n in range(1_000):
                await buffer.put(n)
                await asyncio.sleep(0.001)

    with pytest.raises(OSError, match="No space left"):
        asyncio.run(fill())


def test_a_buffer_writes_by_size_too():
    written = []

    async def fill():
        async with Buffer(lambda items: written.append(len(items)), size=100) as buffer:
            for n in range(9):
                await buffer.put(n, 40)
                await asyncio.sleep(0.02)

    asyncio.run(fill())
    assert written == [3, 3, 3]


def test_what_was_refused_for_good_is_not_asked_by_the_next_run(asker):
    def script(asked):
        if asked.query == "What is 1?":
            raise RefusedError("too rude")
        return "Yes."

    model, said = ScriptedModel(script), []

    def run(**options):
        async def handle(n):
            try:
                await one.ask(request(n), read)
            except RefusedError as error:
                said.append(str(error))

        one = asker(model, **options)
        asyncio.run(work(one, [0, 1, 1, 2], handle))
        return one.tally.asked

    assert run(retry_refused=False) == 3
    assert run(retry_refused=False) == 0
    assert run(retry_refused=True) == 2
    assert said == ["too rude", *["too rude (refused before; --retry-refused asks once more)"] * 3, "too rude", "too rude"]  # fmt: skip
