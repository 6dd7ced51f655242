"""Small things that many tests need."""

from __future__ import annotations

import json
from pathlib import Path

from mimicit.media.picture import measure
from mimicit.schema import ImageRecord, Instruction


def record(number: int, **changes: object) -> Instruction:
    values = {
        "id": f"LACONV_INS_{number:03d}_00",
        "task": "la_conversation",
        "instruction": f"What is thing {number}?",
        "answer": f"It is thing number {number}.",
    }
    return Instruction.model_validate(values | changes)


def image(photos: Path, name: str) -> ImageRecord:
    return measure((photos / name).read_bytes(), id=f"LA_IMG_{Path(name).stem}", name=name)


def coco(path: Path, names: list[str], *, extra: dict | None = None) -> Path:
    """Write a COCO file with two captions and one box for each picture."""
    content = {
        "images": [
            {"id": n, "file_name": name, "width": 400, "height": 300}
            for n, name in enumerate(names)
        ],
        "annotations": [
            *(
                {"id": n, "image_id": n, "caption": f"A photo of {name}."}
                for n, name in enumerate(names)
            ),
            *(
                {"id": n, "image_id": n, "caption": f"It is {name}."}
                for n, name in enumerate(names)
            ),
            *(
                {"id": n, "image_id": n, "category_id": 7, "bbox": [40, 30, 200, 150]}
                for n in range(len(names))
            ),
        ],
        "categories": [{"id": 7, "name": "thing"}],
    }
    for key, rows in (extra or {}).items():
        content[key] += rows
    path.write_text(json.dumps(content))
    return path
