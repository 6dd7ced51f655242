"""The models of `-m`: names, keys and weights.

openai/gpt-4o-mini=3,groq/llama-3.3-70b-versatile@env:SECOND_KEY
vertex_ai/claude-3-5-sonnet@20240620,ollama/llama3.2:1b          names keep their own @ and :
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from syphus.errors import StopError

_PARTS = re.compile(r"(?P<model>.+?)(?:@env:(?P<variable>[^=@]*))?(?:=(?P<weight>[^=/]*))?")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    model: str
    variable: str | None = None
    """Of the environment, which holds the key; None is the provider's usual one."""
    weight: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.model}@env:{self.variable}" if self.variable else self.model


def parse_models(text: str) -> list[ModelSpec]:
    """Read the models of `-m`.

    Raises:
        StopError: it cannot be read, or names a model twice with the same key.
    """
    found = [_parse(part.strip(), text) for part in text.split(",")]
    names = [spec.name for spec in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise StopError(
            f"{text!r} names {twice!r} twice; name it once with a weight, as in {twice}=2, or with "
            "another key, as in MODEL@env:SECOND_KEY"
        )
    return found


def _parse(part: str, text: str) -> ModelSpec:
    found = _PARTS.fullmatch(part)
    if not found:
        raise StopError(
            f"{text!r} holds an empty model name; write models as PROVIDER/MODEL, separated by commas"
        )
    variable, weight = found["variable"], found["weight"]
    if variable is not None and not re.fullmatch(r"[A-Za-z_]\w*", variable):
        raise StopError(
            f"{part!r} names no environment variable after @env:; write MODEL@env:SECOND_KEY"
        )
    return ModelSpec(found["model"].strip(), variable, _weight(weight, part))


def _weight(text: str | None, part: str) -> float:
    try:
        weight = 1.0 if text is None else float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight < math.inf:
        raise StopError(
            f"{part!r} has no weight after the =; write a positive number, as in MODEL=3"
        )
    return weight
