"""A dataset whose every text would like to be a program, and what a page holds as HTML."""

from __future__ import annotations

import json
from html.parser import HTMLParser

from mimicit.schema import Annotation, ImageRecord, Thing, Verdict
from mimicit.store import Store
from tests.builders import record

EVIL = "<script>window.ran=1</script>\"'><img src=x onerror=window.ran=2><svg onload=window.ran=3>{{7*7}}&amp;"
"""Runs where it is taken for HTML, in an element or in an attribute."""
IDS = 6


def fill(store: Store, image: ImageRecord) -> None:
    """Put EVIL wherever a dataset can hold a text."""
    evil_id = f"X_INS_{EVIL}"
    with store.writing("test"):
        store.add_images([image])
        store.add(
            [
                record(
                    n,
                    id=f"{evil_id}{n}",
                    task=f"{EVIL}{n % 2}",
                    instruction=f"{EVIL} asked?",
                    answer=f"{EVIL} answered \x08\x1b\u202e \ufffe",
                    language=EVIL if n else 'en"><b>',
                    source=f"{EVIL}#{n}",
                    rejected=EVIL,
                    image_ids=(image.id, f"{EVIL}missing"),
                    meta=json.dumps({"licence": EVIL}),
                )
                for n in range(IDS)
            ]
        )
        said = {"filter": EVIL, "reason": EVIL, "recipe": f"judge{EVIL}", "recipe_digest": "d"}
        store.add_verdicts(
            [
                Verdict(record=f"{evil_id}{n}", score=float(n), rejects=n < 2, **said)
                for n in range(4)
            ]
        )
        store.add_annotations(
            [Annotation((image.id,), (EVIL,), (Thing(EVIL, (0.1, 0.1, 0.5, 0.5)),), EVIL)]
        )
        store.sync()
    folder = store.path / "curation" / "evil"
    folder.mkdir(parents=True)
    example = {"id": EVIL, "instruction": EVIL, "answer": EVIL, "reason": EVIL}
    stage = {"filter": EVIL, "dropped": 1, "examples": [example]}
    funnel = {"recipe": EVIL, "records": 6, "accepted": 5, "stages": [stage], "new": 0}
    (folder / "funnel.json").write_text(json.dumps({"digest": EVIL, "funnel": funnel}))


class Page(HTMLParser):
    """What is in a page: elements with their attributes, and the text of each kind of element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, "an element is not closed where it should be"

    def handle_data(self, data):
        for tag in {*self._open}:
            self.texts.setdefault(tag, []).append(data)

    def text(self, tag: str = "body") -> str:
        return "".join(self.texts.get(tag, []))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]
