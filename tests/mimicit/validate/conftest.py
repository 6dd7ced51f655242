from concurrent.futures import ThreadPoolExecutor

import pytest

from mimicit.schema import Verdict
from mimicit.validate import pictures as pictures_module
from tests.builders import record
from tests.mimicit.validate.builders import PICTURES, about, picture, relate, turn


@pytest.fixture
def here(monkeypatch):
    """Pictures are decoded by threads: starting processes for each of many tests takes its time."""
    monkeypatch.setattr(pictures_module, "_pool", ThreadPoolExecutor)


@pytest.fixture
def sound(store, here):
    """A dataset in which nothing is wrong."""
    with store.writing("test"):
        store.add_images(picture(n) for n in range(PICTURES))
        store.add([about(n, rel_ins_ids=[about((n + 1) % 40).id]) for n in range(40)])
        store.add([turn("T_INS_a", n) for n in range(3)] + [turn("T_INS_b", n) for n in range(2)])
        store.add([
            record(50, id="SD_INS_1", task="sd", image_ids=["LA_IMG_001", "LA_IMG_002"]),
            about(51, instruction="What is in <image>?"),
            about(52, id="LACONV_INS_zh", language="zh", translation_of=about(1).id),
        ])  # fmt: skip
        store.add_verdicts(
            [
                Verdict(
                    record="LACONV_INS_001_00",
                    filter="f",
                    reason="r",
                    recipe="c",
                    recipe_digest="d",
                )
            ]
        )
        relate(store, [(about(n).id, [about(n + 1).id, about(n + 2).id]) for n in range(9)])
        store.sync()
    return store
