"""Pairs of answers about pictures, in a dataset and in the layouts in which they are published."""

import io
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mimicit.media.picture import measure
from mimicit.schema import Instruction
from mimicit.store import Store
from trainer.train import train

from .conftest import SMALL

PLACES = ("left", "right")
COMPARE = (*SMALL, "objective.kind=dpo", "optim.lr=1e-3", "run.steps=6", "run.batch_size=6")
"""Overrides of otter_tiny: six records a step, two forwards."""

KINDS = ("dpo", "mdpo", "mpo", "kto")
FIRST = {"dpo": math.log(2), "mdpo": 3 * math.log(2), "kto": 0.5}
"""The loss of a step in which the model is its own reference."""
ADAPTERS = ("lora.r=4", "lora.dropout=0", "trainable.parts=[]", "optim.lr=2e-2")
"""The model without them is the reference."""


def picture(nth, *, seed=0):
    """Return a JPEG with a bright square in one half, on noise: which half is nth % 2."""
    drawn = np.random.default_rng([seed, nth])
    pixels = drawn.integers(0, 60, (40, 48, 3), dtype=np.uint8)
    start = 4 + 24 * (nth % 2)
    pixels[12:28, start : start + 16] = drawn.integers(180, 255, 3, dtype=np.uint8)
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, format="JPEG", quality=92)
    return jpeg.getvalue()


def said(nth):
    """Return a question, its better answer and its worse one, which only the picture can tell apart."""
    here, there = PLACES[nth % 2], PLACES[1 - nth % 2]
    question = ("Where is the square?", "On which side is it bright?")[nth // 2 % 2]
    return question, f"It is on the {here}.", f"It is on the {there}, far away from the middle."


def pairs(folder, *, records=12, without=()):
    """Make a dataset of pairs; those in `without` have no rejected answer."""
    store = Store.open(folder, create=True)
    store.add_images(
        [measure(picture(n), id=f"PAIR_IMG_{n:03d}", name=f"{n}.jpg") for n in range(records)]
    )
    made = []
    for nth in range(records):
        question, chosen, rejected = said(nth)
        made.append(
            Instruction(
                id=f"PAIR_INS_{nth:03d}",
                task="sides",
                instruction=question,
                answer=chosen,
                rejected=None if nth in without else rejected,
                image_ids=(f"PAIR_IMG_{nth:03d}",),
            )
        )
    store.add(made)
    return store.path


def rlhfv(folder, count):
    rows = [
        {
            "ds_name": "RLHF-V",
            "image": {"bytes": picture(nth), "path": None},
            "text": json.dumps(
                dict(zip(("question", "chosen", "rejected"), said(nth), strict=True))
            ),
            "origin_dataset": "COCO",
            "origin_split": "train",
            "idx": nth,
            "image_path": f"images/{nth}.jpg",
        }
        for nth in range(count)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "RLHF-V-Dataset.parquet")
    return [folder / "RLHF-V-Dataset.parquet"]


def rlaifv(folder, count):
    rows = [
        {
            "ds_name": "RLAIF-V",
            "image": {"bytes": picture(nth), "path": f"{nth}.jpg"},
            **dict(zip(("question", "chosen", "rejected"), said(nth), strict=True)),
            "origin_dataset": "VQAv2",
            "origin_split": json.dumps({"model": "any", "type": "question_answering"}),
            "idx": str(nth),
            "image_path": f"images/{nth}.jpg",
        }
        for nth in range(count)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "RLAIF-V-Dataset_000.parquet")
    return [folder / "RLAIF-V-Dataset_000.parquet"]


def llava_rlhf(folder, count):
    rows = []
    for nth in range(count):
        (folder / f"{nth:012d}.jpg").write_bytes(picture(nth))
        question, chosen, rejected = said(nth)
        outputs = [{"from": "llava", "value": chosen}, {"from": "llava", "value": rejected}]
        prefers = 1 + nth % 3 % 2
        if prefers == 2:
            outputs.reverse()
        rows.append(
            {
                "id": f"{nth:012d}",
                "image": f"{nth:012d}.jpg",
                "conversations": [
                    {"from": "human", "value": f"<image>\n{question}"},
                    {"from": "gpt", "value": chosen},
                ],
                "output_1": outputs[0],
                "output_2": outputs[1],
                "preference": prefers,
            }
        )
    path = folder / "llava_7b_v1_preference.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return [path, "--images", folder]


LAYOUTS = {"rlhfv": rlhfv, "rlaifv": rlaifv, "llava_rlhf": llava_rlhf}


def run(dataset, out, *overrides, recipe="otter_tiny", progress=None):
    return train(
        recipe=recipe, dataset=dataset, out=out, overrides=(*COMPARE, *overrides), progress=progress
    )
