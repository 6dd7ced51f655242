"""What a task demands of its own examples and lists, before it is loaded: a model imitates examples and not rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syphus.errors import TaskError
from syphus.task_files import shortened

if TYPE_CHECKING:
    from syphus.task import Example, Task

MAX_SCHEMA = 5_000
"""Parts of a reply's schema."""
MAX_LOOKS = 100_000
"""Keywords that are looked at for all examples: references may make a few lines mean millions."""


def check_lists(task: Task) -> None:
    for name, count in task.context.draw.items():
        if name not in task.lists:
            raise TaskError(
                f"the task folder {str(task.folder)!r} draws {count} lines of {name}.txt, "
                "which is not there"
            )
        if len(task.lists[name]) < count:
            raise TaskError(
                f"the task folder {str(task.folder)!r} draws {count} lines of {name}.txt, "
                f"which has {len(task.lists[name])}"
            )


def check_examples(task: Task) -> None:
    for name, example in zip(task.example_names, task.examples, strict=True):
        where = str(task.folder / name)
        kind = task.reply.form if task.reply.form in ("conversations", "texts") else "pairs"
        if not getattr(example, kind) or (
            kind == "pairs" and (example.conversations or example.texts)
        ):
            raise TaskError(
                f"{where!r}: a task of the form `{task.reply.form}` has examples with `{kind}:`"
            )
        wrong = list(_wrong(task, example))
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise TaskError(f"{where!r}{wrong[0]}{more}")


def _wrong(task: Task, example: Example) -> Iterator[str]:
    """Say what of an example goes against its task: where in it, and what."""
    shape, rules = task.shape, task.rules
    if not shape.min_pairs <= len(example.pairs) <= shape.max_pairs:
        yield (
            f" has {len(example.pairs)} pairs; its task asks for {shape.min_pairs} to {shape.max_pairs}"
        )
    for number, conversation in enumerate(example.conversations, start=1):
        if len(conversation.rounds) != shape.rounds:
            yield (
                f", conversation {number}, has {len(conversation.rounds)} rounds; its task asks for "
                f"{shape.rounds}"
            )
    names = rules.names_in(example.as_context())
    for number, pair in enumerate(example.pairs, start=1):
        if task.reply.form == "choices" and len(pair.options) != shape.options:
            yield (
                f", pair {number}, has {len(pair.options)} options; its task asks for {shape.options}"
            )
        elif pair.options and pair.answer not in pair.options:
            yield (
                f", pair {number}: the answer {pair.answer!r} is not one of its options: "
                + ", ".join(pair.options)
            )
        elif task.reply.form != "choices" and pair.options:
            yield f", pair {number}, has options; those belong to the form `choices`"
        broken = rules.broken(pair, names)
        if broken:
            yield f", pair {number}, breaks a rule of its task: {broken}"
    if not rules.speaks_in_person(example.pairs):
        yield (
            " breaks a rule of its task: fewer than half of its pairs are said in the first person "
            '("I" in questions, "you" in answers)'
        )


def check_schema(schema: dict[str, Any], path: Path) -> None:
    """See that a schema is one, reaches for nothing outside itself, and does not run for ever.

    Raises:
        TaskError: it is not.
    """
    import jsonschema
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    found: list[Any] = [schema]
    itself = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver()
    seen = 0
    while found:
        part = found.pop()
        seen += 1
        if seen > MAX_SCHEMA:
            raise TaskError(f"{str(path)!r} has more than {MAX_SCHEMA:,} parts; make it simpler")
        if isinstance(part, list):
            found += part
        if not isinstance(part, dict):
            continue
        found += part.values()
        if isinstance(part.get("pattern"), str) or "patternProperties" in part:
            raise TaskError(
                f"{str(path)!r} uses a pattern; a schema of ours has none, since some take for ever to match"
            )
        for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
            target = part.get(keyword)
            if not isinstance(target, str):
                continue
            if not target.startswith("#"):
                raise TaskError(
                    f"{str(path)!r} refers to {target[:100]!r}; it may refer only to parts of itself, "
                    "as `#/$defs/name` does"
                )
            try:
                itself.lookup(target)
            except (Unresolvable, ValueError, LookupError, TypeError):
                raise TaskError(
                    f"{str(path)!r} refers to {target[:100]!r}, which is not in it"
                ) from None
    try:
        _validator(schema).check_schema(schema)
    except jsonschema.SchemaError as error:
        raise TaskError(f"{str(path)!r} is no JSON schema: {shortened(error.message)}") from None
    except Exception as error:  # noqa: BLE001  (what a stranger's schema makes the validator say is about the schema)
        raise TaskError(f"{str(path)!r} is no JSON schema: {shortened(str(error))}") from None


def check_replies(task: Task) -> None:
    """See that examples of the form `json` fit their schema.

    Raises:
        TaskError: one does not.
    """
    import jsonschema
    from referencing import Registry

    schema = task.schema or {}
    for name, example in zip(task.example_names, task.examples, strict=True):
        where = str(task.folder / name)
        try:
            json.dumps(example.reply)
            # A registry of nothing: what a schema refers to is never fetched.
            _validator(schema)(schema, registry=Registry()).validate(example.reply)
        except jsonschema.ValidationError as error:
            raise TaskError(
                f"{where!r} does not fit reply.schema.json: {shortened(error.message)}"
            ) from None
        except RecursionError:
            raise TaskError(
                f"{where!r} cannot be compared with reply.schema.json, which goes round in a circle"
            ) from None
        except TaskError as error:
            raise TaskError(f"{where!r}: {error}") from None
        except Exception as error:  # noqa: BLE001  (as above)
            raise TaskError(
                f"{where!r} cannot be compared with reply.schema.json: {shortened(str(error))}"
            ) from None


def _validator(schema: dict[str, Any]) -> Any:
    """Return the validator class of a schema's dialect, with a limit to the keywords that it looks at."""
    from jsonschema import Draft202012Validator, validators

    named = schema.get("$schema", "")
    dialect = schema if isinstance(named, str) else {}
    kind = validators.validator_for(dialect, default=Draft202012Validator)
    looked = 0

    def counted(keyword: str, check: Callable[..., Any]) -> Callable[..., Any]:
        def look(validator: Any, value: Any, instance: Any, part: Any) -> Any:
            nonlocal looked
            size = len(instance) if isinstance(instance, list | dict | str) else 1
            looked += 1 + (size * size // 10 if keyword == "uniqueItems" else 0)
            if looked > MAX_LOOKS:
                raise TaskError("reply.schema.json takes too many steps to compare with")
            return check(validator, value, instance, part)

        return look

    return validators.extend(
        kind, {keyword: counted(keyword, check) for keyword, check in kind.VALIDATORS.items()}
    )
