"""A JSON schema as Anthropic takes it: what its grammar cannot hold becomes a note to the model, as in its own package.

    {"type": "array", "minItems": 3}    ->    {"description": "Note: minimum number of items: 3.", "type": "array"}

LiteLLM does this too, and the text is the same to the letter. A schema with anything else than is listed here is refused: how
LiteLLM would rewrite it is not known here.
"""

from __future__ import annotations

from typing import Any

from syphus.errors import StopError

_NOTES = {
    "minItems": "minimum number of items: {}",
    "maxItems": "maximum number of items: {}",
    "uniqueItems": "all array items must be unique",
    "minimum": "minimum value: {}",
    "maximum": "maximum value: {}",
    "exclusiveMinimum": "exclusive minimum value: {}",
    "exclusiveMaximum": "exclusive maximum value: {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "minimum length: {}",
    "maxLength": "maximum length: {}",
}
_KEPT = {"type", "title", "description", "required", "additionalProperties", "enum", "const"}


def anthropic_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema that is sent.

    Raises:
        StopError: it holds something whose translation is not known here.
    """
    notes = [
        note.format(schema[name])
        for name, note in _NOTES.items()
        if name in schema and schema[name] is not False and not _is_enforced(name, schema)
    ]
    sent: dict[str, Any] = {}
    if notes:
        note = f"Note: {', '.join(notes)}."
        sent["description"] = (
            f"{schema['description']} {note}" if schema.get("description") else note
        )
    _check(schema)
    for name, value in schema.items():
        if name == "properties":
            sent[name] = {key: anthropic_schema(part) for key, part in value.items()}
        elif name == "items":
            sent[name] = anthropic_schema(value)
        elif name == "anyOf":
            sent[name] = [anthropic_schema(part) for part in value]
        elif name in _KEPT or _is_enforced(name, schema):
            sent.setdefault(name, value)
    return sent


def _is_enforced(name: str, schema: dict[str, Any]) -> bool:
    return name == "minItems" and schema[name] in (0, 1)


def _check(schema: dict[str, Any]) -> None:
    unknown = sorted(schema.keys() - _NOTES.keys() - _KEPT - {"properties", "items", "anyOf"})
    if unknown:
        problem = f"holds {unknown[0]!r}"
    elif not isinstance(schema.get("type", ""), str):
        problem = f"has several types: {schema['type']!r}"
    elif schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        problem = "has an object without `additionalProperties: false`"
    elif not all(isinstance(value, str) for value in schema.get("enum", ())):
        problem = "has choices that are no texts"
    elif not isinstance(schema.get("items", {}), dict):
        problem = "has `items` that are no schema"
    else:
        return
    raise StopError(
        f"the schema of the reply {problem}, which is not translated for Anthropic here; change it, or leave the "
        "translation to LiteLLM (`--transport litellm`)"
    )
