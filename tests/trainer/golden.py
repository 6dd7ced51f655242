"""The published code's own answers, made with random weights (`meta.json` of each case says what they hold).

The folder comes from the environment variable GOLDEN_DIR if that is set: other fixtures of the same layout are found by themselves.
"""

import json
import os
from functools import cache
from pathlib import Path

GOLDEN = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent.parent / "fixtures" / "golden")
TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}


def folders(model_type, *files):
    """Return the cases of a model type ("otter", "fuyu", "text") that have these files."""
    return [
        path
        for path in sorted(GOLDEN.iterdir())
        if path.is_dir()
        and _type(path) == model_type
        and all((path / name).exists() for name in files)
    ]


def _type(folder):
    if not (folder / "model.safetensors").exists():
        return "text"
    names = meta(folder)["state_dict"]
    return "otter" if any(name.startswith("perceiver.") for name in names) else "fuyu"


@cache
def meta(folder):
    return json.loads((folder / "meta.json").read_text(encoding="utf-8"))


def subcases(model_type, *prefixes):
    """Return (folder, name) of each .safetensors file whose name begins with one of the prefixes."""
    return [
        (folder, path.stem)
        for folder in folders(model_type)
        for path in sorted(folder.glob("*.safetensors"))
        if path.stem.startswith(prefixes)
    ]


def label(value):
    """Name a test's parameter."""
    return value.name if isinstance(value, Path) else str(value)
