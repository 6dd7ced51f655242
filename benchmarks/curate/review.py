"""The review room over a dataset of a million records: how long a reviewer waits.

The command is started as users do, and asked over HTTP as its page does, one request after the other: but for one row, faster than anybody
looks, so that what is read ahead does not keep up. Rows:

    start           from the command to the address that it prints
    selection       all that no filter rejects, in random order; and one that a predicate chooses
    next            the record that follows, with its picture, verdicts, conversation and annotations
    next, paused    the same, half a second apart
    accept, next    a decision on disk, then the next undecided record
    undo            with the record that it leads back to
    anywhere        a record that nobody foresaw, with its picture

`most` is the slowest of all, `cpu` the processor time that the room took for each, what it read ahead meanwhile included (of a
selection not what its own process took). The issue asks for a next record in 100 ms.

    python benchmarks/curate/review.py [--quick] [--dataset FOLDER]
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlencode, urlsplit

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from common import save  # noqa: E402

BLOCK = 100_000
PER_PICTURE = 20
"""Records."""
TURNS = 3
PAUSE = 0.5
"""Seconds of a reviewer in a hurry."""
SYPHUS = Path(sys.executable).with_name("syphus")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records and requests")
    parser.add_argument("--dataset", type=Path, help="one that an earlier run wrote here, or is to")
    options = parser.parse_args()
    records, rounds = (50_000, 60) if options.quick else (1_000_000, 300)
    with tempfile.TemporaryDirectory(prefix="review-") as folder:
        dataset = options.dataset or Path(folder) / "ds"
        if not dataset.exists():
            write(dataset, records)
        save("curate_review", list(measured(dataset, counted(dataset), rounds)))


def measured(dataset: Path, records: int, rounds: int) -> Iterator[dict[str, object]]:
    began = time.perf_counter()
    command = [
        str(SYPHUS),
        "data",
        "review",
        "-d",
        str(dataset),
        "--reviewer",
        f"bench {began:.0f}",
    ]
    child = subprocess.Popen([*command, "--no-browser"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        url = child.stdout.readline().strip()
        yield row("start", records, [time.perf_counter() - began], cpu_seconds(child.pid))
        page = Page(url, f"bench {began:.0f}", child.pid)
        yield page.timed("selection, all", records, [page.sit])
        yield from page.asked(records, rounds)
        where = "length(answer) > 200 AND id IN (SELECT id FROM accepted)"
        yield page.timed("selection, predicate", records, [partial(page.sit, where)])
        names = ("median ms", "p95 ms", "most ms", "cpu ms")
        peak = dict.fromkeys(names, peak_mb(child.pid))
        yield {"what": "peak MB", "records": records, "times": 1} | peak
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(60)
        child.stdout.close()


def counted(dataset: Path) -> int:
    from mimicit.store import Store

    with Store.open(dataset).reading() as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM instructions").fetchall()
    return int(count)


class Page:
    """What review.js asks."""

    def __init__(self, url: str, by: str, room: int) -> None:
        """Enter a room, whose process has this id."""
        parts = urlsplit(url)
        assert parts.hostname
        self.by = by
        self.room = room
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port)
        self.connection.request("GET", f"{parts.path}?{parts.query}")
        response = self.connection.getresponse()
        response.read()
        self.headers = {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}
        self.deck = ""
        self.of = 0

    def ask(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        more = {"Content-Type": "application/json"} if body is not None else {}
        data = json.dumps(body).encode() if body is not None else None
        self.connection.request(
            "POST" if body is not None else "GET", path, data, self.headers | more
        )
        response = self.connection.getresponse()
        said = response.read()
        assert response.status == 200, said
        return said

    def sit(self, where: str = "") -> None:
        said = json.loads(self.ask("/api/deck", {"by": self.by, "where": where}))
        self.deck, self.of = said["deck"], said["of"]

    def record(self, at: int) -> dict[str, Any]:
        query = {"by": self.by, "deck": self.deck, "at": at}
        found: dict[str, Any] = json.loads(self.ask(f"/api/record?{urlencode(query)}"))
        for picture in found["pictures"]:
            assert len(self.ask(f"/picture?{urlencode({'id': picture['id']})}")) > 500
        return found

    def asked(self, records: int, rounds: int) -> Iterator[dict[str, object]]:
        self.record(0)
        near, far = range(1, rounds), range(rounds, rounds + rounds // 6)
        yield self.timed("next", records, [partial(self.record, at) for at in near])
        yield self.timed("next, paused", records, [partial(self.record, at) for at in far], PAUSE)
        found = self.record(rounds)

        def accept() -> None:
            nonlocal found
            body = {"by": self.by, "deck": self.deck, "at": found["at"], "record": found["id"]}
            said = json.loads(self.ask("/api/decide", body | {"do": "accept"}))
            found = self.record(said["open"])

        yield self.timed("accept, next", records, [accept] * rounds)

        def undo() -> None:
            said = json.loads(self.ask("/api/undo", {"by": self.by, "deck": self.deck, "at": 0}))
            self.record(said["at"])

        yield self.timed("undo", records, [undo] * (rounds // 2))
        places = random.Random(5).sample(range(self.of), rounds // 3)
        yield self.timed("anywhere", records, [partial(self.record, at) for at in places])

    def timed(
        self, what: str, records: int, steps: list[Callable[[], object]], pause: float = 0.0
    ) -> dict[str, object]:
        before = cpu_seconds(self.room)
        seconds = [timed(step, pause) for step in steps]
        return row(what, records, seconds, cpu_seconds(self.room) - before)


def timed(what: Callable[[], object], pause: float = 0.0) -> float:
    time.sleep(pause)
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def row(what: str, records: int, seconds: list[float], spent: float) -> dict[str, object]:
    """Sum up some steps, for which the room took `spent` seconds of the processors."""
    late = quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
    shown = (median(seconds), late, max(seconds), spent / len(seconds))
    names = ("median ms", "p95 ms", "most ms", "cpu ms")
    return {"what": what, "records": records, "times": len(seconds)} | {
        name: round(1e3 * value, 1) for name, value in zip(names, shown, strict=True)
    }


def cpu_seconds(pid: int) -> float:
    """Return what the server took of the processors so far; 0 where the system does not say."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    user, system = said.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> int:
    """Return what the server took at most; 0 where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


# The dataset


def write(folder: Path, records: int) -> None:
    """Write records in conversations of three, a judge's verdict on each and a filter's on a tenth, pictures, annotations."""
    from mimicit.schema import Annotation, Thing
    from mimicit.store import Store

    print(f"writing {records:,} records", flush=True)
    drawn = random.Random(7)
    words = ["".join(drawn.choices("bdfgklmnprst", k=2)) + "a" * (n % 3) for n in range(4_000)]
    said = [" ".join(drawn.choices(words, k=drawn.randint(6, 14))) + "." for _ in range(5_000)]
    store = Store.open(folder, create=True)
    count = records // PER_PICTURE
    with store.writing("benchmark"):
        store.add_images(pictures(count))
        things = (Thing("dog", (0.1, 0.2, 0.5, 0.6)), Thing("car", (0.4, 0.2, 0.9, 0.8)))
        for start in range(0, count, 10_000):
            store.add_annotations(
                [
                    Annotation(
                        (f"B_IMG_{n:08d}",), tuple(drawn.choices(said, k=2)), things, f"a#{n}"
                    )
                    for n in range(start, min(start + 10_000, count))
                ]
            )
        for start in range(0, records, BLOCK):
            add_block(store, range(start, min(start + BLOCK, records)), count, said, drawn)
        store.sync()


def pictures(count: int) -> Iterator[Any]:
    from PIL import Image

    from mimicit.media.picture import measure

    for n in range(count):
        noise = Image.frombytes("RGB", (16, 12), random.Random(n).randbytes(16 * 12 * 3))
        data = io.BytesIO()
        noise.resize((320, 240)).save(data, "JPEG", quality=60)
        yield measure(data.getvalue(), id=f"B_IMG_{n:08d}", name="picture")


def add_block(store: Any, block: range, count: int, said: list[str], drawn: random.Random) -> None:
    from mimicit.columns import Rows

    size = len(block)
    ids = [f"B_INS_{n:08d}" for n in block]
    columns = {
        "id": ids,
        "task": ["la_conversation"] * size,
        "instruction": [f"{text[:-1]}?" for text in drawn.choices(said, k=size)],
        "answer": [" ".join(drawn.choices(said, k=3)) for _ in block],
        "image_ids": [[f"B_IMG_{drawn.randrange(count):08d}"] for _ in block],
        "rel_ins_ids": [[]] * size,
        "language": ["en"] * size,
        "conversation": [f"B_{n // TURNS * 2_654_435_761 % 2**32:08x}" for n in block],
        "turn": [n % TURNS for n in block],
    }
    from mimicit.schema import text_schema

    store.add_rows(Rows(ids, as_table(columns, text_schema(), size)))
    add_verdicts(store, ids, "judge", "judge:model", False, drawn)
    dropped = [id for id in ids if drawn.random() < 0.1]
    add_verdicts(store, dropped, "blurred", "starter", True, drawn)


def add_verdicts(
    store: Any, ids: list[str], name: str, recipe: str, rejects: bool, drawn: random.Random
) -> None:
    from mimicit.schema import verdict_schema

    size, now = len(ids), int(time.time() * 1e6)
    columns = {
        "record": ids,
        "filter": [name] * size,
        "reason": ["grounded 5, answerable 4, correct 5, useful 3" if name == "judge" else "it is"]
        * size,
        "recipe": [recipe] * size,
        "recipe_digest": ["1"] * size,
        "time": [now] * size,
        "score": [drawn.randint(4, 20) / 4 for _ in ids],
        "rejects": [rejects] * size,
    }
    store.write_part("verdicts", "v", as_table(columns, verdict_schema(), size))


def as_table(columns: dict[str, list[Any]], schema: Any, size: int) -> Any:
    import pyarrow as pa

    arrays = [pa.array(columns.get(field.name, [None] * size), field.type) for field in schema]
    return pa.table(arrays, schema=schema)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
