"""One record of each kind that there is, and what tests of several formats do with them."""

from __future__ import annotations

import io

from PIL import Image

from mimicit.formats import BadRow, ReadOptions, trl
from mimicit.media.picture import measure
from mimicit.schema import ImageRecord, Instruction
from mimicit.store import Store
from tests.builders import record

CONTENT = (
    "SELECT id, task, instruction, answer, image_ids, language, conversation, turn, rejected, meta, "
    "rel_ins_ids, translation_of "
    "FROM instructions ORDER BY id"
)
NASTY = 'He said: "50% of 10–4\\x/y"\n\tand left… 😀 \u2028'


def png(shade, size=(8, 6)):
    data = io.BytesIO()
    Image.new("RGB", size, (shade, 99, 7)).save(data, "PNG")
    return data.getvalue()


def shot(name, shade):
    return measure(png(shade), id=f"LA_IMG_{name}", name=name)


def fill(store):
    """Put one record of each kind into a store."""
    a, b = "LA_IMG_a", "LA_IMG_b"
    with store.writing("test"):
        store.add_images([shot("a", 1), shot("b", 2)])
        store.add(
            [
                record(1, image_ids=[a]),
                record(2, image_ids=[b, a], instruction="Is <image> before <image>?"),
                record(3, image_ids=[b, a], instruction="<image> or <image>\n: which?"),
                record(4, image_ids=[a], instruction="\n What is it? <image>"),
                record(5, image_ids=[b, a], instruction="Which is like <image>?"),
                record(6, instruction="What does <image> mean?", answer=NASTY, language="zh"),
                record(7, image_ids=[a], instruction="<image> <image>?", task="sd"),
                record(8, image_ids=[a], instruction="", answer=""),
                record(9, image_ids=[b], rejected="", meta='{"licence": "MIT", "n": [1, null]}'),
                record(10, image_ids=[b], rejected="A dog.", meta='{"system": "Be brief."}'),
                *turns("C", 3, image_ids=[a, b], meta='{"system": "", "category": "x"}'),
                *turns("D", 2, rejected="Worse.", image_ids=[b]),
                *turns("E", 2, instruction="And <image>?", image_ids=[a, b]),
                record(11, id="F_07", conversation="F", turn=0),
                *turns("G", 3, rejected="Worse.", image_ids=[]),
            ]
        )
        store.sync()
    return store


def turns(name, count, *, meta=None, rejected=None, **more):
    return [
        record(
            turn,
            id=f"{name}_{turn:02d}",
            conversation=name,
            turn=turn,
            meta=meta if turn == 0 else None,
            # Of G also an answer before the last one.
            rejected=rejected if turn == count - 1 or (name, turn) == ("G", 1) else None,
            **more,
        )
        for turn in range(count)
    ]


def rows(store, query=CONTENT):
    with store.reading() as connection:
        return connection.execute(query).fetchall()


def again(tmp_path, paths, module=trl):
    """Read files into a new store; nothing in them may be bad."""
    store = Store.open(tmp_path / "again", create=True)
    found = [one for path in paths for one in module.read(path, ReadOptions())]
    assert [one for one in found if isinstance(one, BadRow)] == []
    with store.writing("test"):
        store.add_images(one for one in found if isinstance(one, ImageRecord))
        store.add([one for one in found if isinstance(one, Instruction)])
        store.sync()
    return store
