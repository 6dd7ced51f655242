"""The way of the loader that MIMIC-IT was published with, to measure against, and data for both.

Written from what that loader does, not from its code: all pictures as base64 strings in one pandas frame, read from a single
Parquet file a thousand rows at a time and concatenated per file and then over files; all instructions as one dictionary, parsed
from JSON as a whole; a picture is `frame.loc[id]`, base64, Pillow, RGB, bicubic, float tensor.

Pictures are noise in several octaves, 640 × 480 pixels and some 40 kB as JPEG, as those of COCO are; 64 are drawn, and told apart
by a comment in each file.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas
    import torch

WIDTH, HEIGHT = 640, 480
DRAWN = 64
LETTERS = 60
"""Words of an answer."""


# What the loader does


def load_pictures(paths: list[Path]) -> pandas.DataFrame:
    import pandas as pd
    import pyarrow.parquet as pq

    frames = []
    for path in paths:
        with pq.ParquetFile(path) as file:
            batches = [batch.to_pandas() for batch in file.iter_batches(batch_size=1000)]
        frames.append(pd.concat(batches))
    return pd.concat(frames)


def picture(frame: pandas.DataFrame, id: str) -> bytes:
    return base64.urlsafe_b64decode(frame.loc[id]["base64"])


def load_text(paths: list[Path]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for path in paths:
        with path.open(encoding="utf-8") as file:
            whole.update(json.load(file)["data"])
    return whole


def tensor(data: bytes, side: int) -> torch.Tensor:
    import numpy as np
    import torch
    from PIL import Image

    image = Image.open(io.BytesIO(data)).convert("RGB")
    image = image.resize((side, side), Image.Resampling.BICUBIC)
    values = torch.from_numpy(np.array(image, copy=True))
    return values.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


# Data


@cache
def drawn(number: int) -> bytes:
    from PIL import Image, ImageChops

    planes = []
    for _ in range(3):
        plane = Image.new("L", (WIDTH, HEIGHT), 90 + number)
        for scale, amount in ((64, 60), (16, 28), (4, 11), (1, 3)):
            noise = Image.effect_noise((WIDTH // scale, HEIGHT // scale), amount)
            noise = noise.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            plane = ImageChops.add(plane, noise, 1, -128)
        planes.append(plane)
    colours = [plane.resize((40, 30)).resize((WIDTH, HEIGHT)) for plane in planes[1:]]
    image = Image.merge("YCbCr", (planes[0], *colours)).convert("RGB")
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=75)
    return sink.getvalue()


def pictures(count: int) -> Iterator[tuple[str, bytes]]:
    for n in range(count):
        data = drawn(n % DRAWN)
        comment = b"\xff\xfe" + (2 + 8).to_bytes(2) + n.to_bytes(8)
        yield f"LA_IMG_{n:012d}", data[:2] + comment + data[2:]


def write_pictures(count: int, parquet: Path, dataset: Path) -> None:
    """Write the same pictures as the loader's Parquet file and as a dataset folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mimicit.schema import ImageRecord
    from mimicit.store import Store

    # As pandas writes it: the ids are the index, and there is one row group.
    pandas = {
        "index_columns": ["__index_level_0__"],
        "column_indexes": [],
        "columns": [
            {"name": name, "field_name": name, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
            for name in ("base64", "__index_level_0__")
        ],
        "pandas_version": "2.3.3",
    }  # fmt: skip
    schema = pa.schema(
        [("base64", pa.string()), ("__index_level_0__", pa.string())],
        metadata={"pandas": json.dumps(pandas)},
    )
    ids, encoded = [], []
    for id_, data in pictures(count):
        ids.append(id_)
        encoded.append(base64.urlsafe_b64encode(data).decode())
    with pq.ParquetWriter(parquet, schema, compression="snappy") as writer:
        for start in range(0, count, 5_000):
            rows = [encoded[start : start + 5_000], ids[start : start + 5_000]]
            writer.write_table(pa.table([*map(pa.array, rows)], schema=schema))
    del ids, encoded

    store = Store.open(dataset, create=True)
    with store.writing("benchmark"):
        store.add_images(
            ImageRecord(
                id=id_,
                image=data,
                sha256=hashlib.sha256(data).hexdigest(),
                mime="image/jpeg",
                width=WIDTH,
                height=HEIGHT,
            )
            for id_, data in pictures(count)
        )


def rows(count: int) -> Iterator[tuple[str, str, str]]:
    """Yield id, instruction and answer."""
    rng = random.Random(0)
    words = [f"{''.join(rng.choices('bcdfglmnprst', k=3))}{n:x}" for n in range(2_000)]
    for n in range(count):
        text = " ".join(rng.choices(words, k=LETTERS))
        yield f"LACONV_INS_{n:012d}_00", text[:60], text[60:]


def write_text(count: int, path: Path, dataset: Path) -> None:
    """Write the same records as the loader's JSON file and as a dataset folder."""
    from mimicit.schema import InstructionRow
    from mimicit.store import Store

    with path.open("w", encoding="utf-8") as file:
        between = '{"meta": {"version": "0.0.1", "time": "2023-06", "author": "x"}, "data": {\n'
        for id_, instruction, answer in rows(count):
            said = {
                "instruction": instruction,
                "answer": answer,
                "image_ids": [],
                "rel_ins_ids": [],
            }
            file.write(f"{between}{json.dumps(id_)}: {json.dumps(said)}")
            between = ",\n"
        file.write("}}\n")
    store = Store.open(dataset, create=True)
    with store.writing("benchmark"):
        block: list[InstructionRow] = []
        for id_, instruction, answer in rows(count):
            block.append(
                InstructionRow(id_, "la_conversation", instruction, answer, (), (), "en", None, None, None, None)
            )  # fmt: skip
            if len(block) == 50_000:
                store.add(block)
                block = []
        store.add(block)
        store.sync()
