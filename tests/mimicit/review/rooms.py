"""A small dataset, and a review room over it that runs as users run it."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from PIL import Image

from mimicit.media.picture import measure
from mimicit.schema import Annotation, Thing, Verdict
from mimicit.store import Store
from tests.builders import image, record
from tests.generating import SYPHUS

BOX = (0.25, 0.5, 0.75, 1.0)
EVIL = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script>'
RECORDS = {
    "a": {"instruction": "What is the cat doing?", "answer": "It looks aside."},
    "b": {"instruction": "What is in the cup?", "answer": "Coffee.", "image_ids": ["LA_IMG_coffee"]},
    "c": {"instruction": "What flies?", "answer": "A rocket.", "image_ids": ["LA_IMG_rocket"]},
    "d": {"instruction": EVIL, "answer": EVIL, "source": EVIL, "task": EVIL},
    "e": {
        "instruction": "Is it a cat?", "answer": "Yes.", "conversation": "talk", "turn": 0,
        "image_ids": ["LA_IMG_chelsea", "LA_IMG_tiff", "LA_IMG_gone"],
    },
    "f": {"instruction": "Which colour?", "answer": "Brown.", "conversation": "talk", "turn": 1},
    "g": {"instruction": "Is it blurred?", "answer": "It is.", "image_ids": []},
}  # fmt: skip
"""By id; a filter rejects the last."""


def dataset(folder: Path, photos: Path) -> Store:
    store = Store.open(folder, create=True)
    with store.writing("test"):
        names = ("chelsea.png", "coffee.png", "rocket.jpg")
        store.add_images([*(image(photos, name) for name in names), tiff()])
        here = {"image_ids": ["LA_IMG_chelsea"]}
        store.add([record(0, id=id, **(here | texts)) for id, texts in RECORDS.items()])
        things = (Thing("cat", BOX), Thing(EVIL, (0.0, 0.0, 0.1, 0.1)), Thing("sofa"))
        store.add_annotations(
            [Annotation(("LA_IMG_chelsea",), ("A cat.", EVIL), things, "x.json#1")]
        )
        store.add_verdicts(
            [
                Verdict(record="g", filter="blurred", reason="it is blurred", recipe="starter", recipe_digest="1"),
                Verdict(
                    record="a", filter="judge", reason=EVIL, recipe="judge:m", recipe_digest="1", score=2.5, rejects=False
                ),
            ]
        )  # fmt: skip
        store.sync()
    return store


def tiff():
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(out, "TIFF")
    return measure(out.getvalue(), id="LA_IMG_tiff", name="red.tiff")


def rows(store, query):
    with store.reading() as connection:
        return connection.execute(query).fetchall()


def accepted(store):
    return {id for (id,) in rows(store, "SELECT id FROM accepted")}


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    data: bytes

    @property
    def json(self):
        return json.loads(self.data)


@dataclass
class Served:
    """A room in a process of its own, and a browser's part in few lines."""

    child: subprocess.Popen
    url: str
    by: str
    cookie: str = ""
    deck: str = ""
    of: int = 0
    errors: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.port = urlsplit(self.url).port
        self.host = f"127.0.0.1:{self.port}"

    def send(self, method, path, body=None, headers=None, *, cookie=True):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Cookie": self.cookie if cookie else ""} | (headers or {})
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def enter(self):
        parts = urlsplit(self.url)
        answer = self.send("GET", f"/?{parts.query}")
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
        return answer

    def get(self, path, **query):
        return self.send("GET", f"{path}?{urlencode(query)}")

    def post(self, path, by=None, **body):
        data = json.dumps({"by": by or self.by, **body})
        return self.send("POST", path, data, {"Content-Type": "application/json"})

    def sit(self, by=None, **wanted):
        answer = self.post("/api/deck", by, **({"order": "id"} | wanted))
        if answer.status == 200:
            self.deck, self.of = answer.json["deck"], answer.json["of"]
        return answer

    def ids(self, by=None, **wanted):
        assert self.sit(by, **wanted).status == 200
        found = [
            self.get("/api/record", by=self.by, deck=self.deck, at=at) for at in range(self.of)
        ]
        return [one.json["id"] for one in found]

    def record(self, id, by=None):
        return self.get("/api/record", by=by or self.by, id=id).json

    def decide(self, do, record, by=None, **more):
        return self.post("/api/decide", by, do=do, record=record, **more)

    def edit(self, record, answer, by=None, seen=()):
        question = self.record(record)["instruction"]
        return self.decide("edit", record, by, instruction=question, answer=answer, seen=list(seen))

    def stop(self):
        self.child.send_signal(signal.SIGINT)
        self._ended()

    def kill(self):
        self.child.kill()
        self._ended()

    def _ended(self):
        _, said = self.child.communicate(timeout=60)
        self.errors.append(said)


@contextmanager
def serving(store, *options, by="ann"):
    command = [
        *SYPHUS,
        "data",
        "review",
        "-d",
        store.path,
        "--reviewer",
        by,
        "--no-browser",
        *options,
    ]
    child = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    url = child.stdout.readline().strip()
    if not url:
        _, said = child.communicate(timeout=60)
        raise AssertionError(said)
    room = Served(child, url, by)
    room.enter()
    try:
        yield room
    finally:
        if child.poll() is None:
            room.stop()
        child.stdout.close()
        child.stderr.close()
