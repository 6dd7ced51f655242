"""Files of the published sets, small, in their published layout."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mimicit.formats import BadRow, ReadOptions
from mimicit.schema import ImageRecord, Instruction

HF_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(shade: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (6, 4), (shade, 80, 120)).save(out, "PNG")
    return out.getvalue()


def encoded(shade: int = 0) -> str:
    return base64.b64encode(picture(shade)).decode()


def array(path: Path, rows: list) -> Path:
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return path


def lines(path: Path, rows: list) -> Path:
    """Write JSON lines; bytes and texts are written as they are."""
    with path.open("wb") as file:
        for row in rows:
            file.write(row if isinstance(row, bytes) else json.dumps(row).encode())
            file.write(b"\n")
    return path


def concatenated(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row, indent=2) for row in rows))
    return path


def table(path: Path, rows: list[dict], **types: pa.DataType) -> Path:
    names = list(rows[0])
    columns = [pa.array([row.get(name) for row in rows], types.get(name)) for name in names]
    pq.write_table(pa.table(columns, names=names), path)
    return path


def read(
    module, path: Path, **options
) -> tuple[list[Instruction], list[ImageRecord], list[BadRow]]:
    found = list(module.read(path, ReadOptions(**options)))
    return tuple(
        [item for item in found if isinstance(item, kind)]
        for kind in (Instruction, ImageRecord, BadRow)
    )


def m3it_row(n: int = 0, **changes) -> dict:
    return {
        "instruction": "Describe the picture.",
        "inputs": f"Hint {n}.",
        "image_base64_str": [encoded(n)],
        "outputs": f"Plain colour {n}.",
    } | changes


def llava_row(n: int = 0, **changes) -> dict:
    return {
        "id": f"{n:012d}",
        "image": f"{n:012d}.png",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat is it?"},
            {"from": "gpt", "value": f"Thing {n}."},
            {"from": "human", "value": "Where?"},
            {"from": "gpt", "value": "There."},
        ],
    } | changes


def lrv_row(n: int = 0, **changes) -> dict:
    return {
        "image_id": f"239{n:04d}",
        "question": "Is there a dog? " + "Look at every corner of the picture. " * 4,
        "answer": f"No, there is none in {n}. " + "It shows only a plain colour. " * 5,
        "task": "negative",
    } | changes


def svit_row(n: int = 0, **changes) -> dict:
    return {
        "image_id": 2392000 + n,
        "conversations": [
            {
                "content": [
                    {"from": "user", "value": "What is it?"},
                    {"from": "gpt", "value": f"A dog, number {n}."},
                    {"from": "user", "value": "Is it big?"},
                    {"from": "gpt", "value": "Yes."},
                ]
            },
            {"content": [{"from": "user", "value": "Why?"}, {"from": "gpt", "value": "It grew."}]},
        ],
    } | changes


def rlhfv_row(n: int = 0, **changes) -> dict:
    pair = {"question": "What is it?", "chosen": f"Colour {n}.", "rejected": "A dog."}
    return {
        "ds_name": "RLHF-V",
        "image": {"bytes": picture(n), "path": None},
        "text": json.dumps(pair),
        "origin_dataset": "COCO",
        "origin_split": "train",
        "idx": n,
        "image_path": f"coco/{n}.png",
    } | changes


def rlaifv_row(n: int = 0, **changes) -> dict:
    return {
        "ds_name": "RLAIF-V",
        "image": {"bytes": picture(n), "path": f"{n}.png"},
        "question": "What is it?",
        "chosen": f"Colour {n}.",
        "rejected": "A dog.",
        "origin_dataset": "COCO",
        "origin_split": json.dumps({"model": "m", "type": "question answering"}),
        "idx": str(n),
        "image_path": f"RLAIF-V/{n}.png",
    } | changes


def llava_rlhf_row(n: int = 0, **changes) -> dict:
    return (
        llava_row(n)
        | {
            "output_1": {"from": "llava", "value": f"Here {n}."},
            "output_2": {"from": "llava", "value": "There."},
            "preference": 1,
            "hallucination": False,
        }
        | changes
    )
