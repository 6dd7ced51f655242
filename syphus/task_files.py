"""The files of a task folder, read with care: a folder may come from a stranger.

Each must be a regular file inside its folder, since what is read is sent to a provider, and no larger than a text that
people write. What YAML, TOML and JSON make of it must be plain data, of a depth and size that everything else can walk.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import yaml

from syphus.errors import TaskError

MAX_BYTES = 1_000_000
MAX_FILES = 1_000
"""Of one kind, in a folder."""
MAX_DEPTH = 50
MAX_VALUES = 100_000
"""In one file of data."""
MAX_ALIASES = 16
"""In one YAML file: each may double what it says."""
MAX_DIGITS = 100


def shortened(said: str, most: int = 300) -> str:
    """Cut what an error says, on one line: it may repeat all that a stranger wrote."""
    said = " ".join(said[: 2 * most].split())
    return said if len(said) <= most else f"{said[:most]} …"


def regular_file(path: Path, folder: Path) -> Path:
    """Return where a file of a folder really is.

    Raises:
        TaskError: it is not there, leads out of the folder, is no regular file, or is too large.
    """
    try:
        found, home = path.resolve(strict=True), folder.resolve(strict=True)
        is_file, size = found.is_file(), found.stat().st_size
    except FileNotFoundError:
        raise TaskError(f"the task folder {str(path.parent)!r} has no {path.name}") from None
    except (OSError, RuntimeError) as error:  # in Python 3.11, links in a circle are a RuntimeError
        raise TaskError(f"{str(path)!r} cannot be read: {error}") from None
    if not found.is_relative_to(home):
        raise TaskError(
            f"{str(path)!r} is a link that leads out of its task folder; put a copy there instead"
        )
    if not is_file:
        raise TaskError(f"{str(path)!r} is no regular file")
    if size > MAX_BYTES:
        raise TaskError(
            f"{str(path)!r} has {size:,} bytes; a file of a task has at most {MAX_BYTES:,}"
        )
    return found


def read_text(path: Path, folder: Path) -> str:
    """Read a text.

    Raises:
        TaskError: it cannot be read; the message names the file.
    """
    found = regular_file(path, folder)
    try:
        with found.open("rb") as file:
            return file.read(MAX_BYTES).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise TaskError(f"{str(path)!r} is not UTF-8: {error}") from None
    except OSError as error:
        raise TaskError(f"{str(path)!r} cannot be read: {error.strerror}") from None


def listed(folder: Path, pattern: str) -> list[Path]:
    """Return a folder's files, sorted.

    Raises:
        TaskError: there are too many.
    """
    found = sorted(folder.glob(pattern))
    if len(found) > MAX_FILES:
        raise TaskError(
            f"{str(folder)!r} has {len(found):,} files {pattern}; a task has at most {MAX_FILES:,}"
        )
    return found


def read_toml(path: Path, folder: Path) -> dict[str, Any]:
    """Read TOML.

    Raises:
        TaskError: it is none.
    """

    def explained(said: str) -> str:
        return f"{said}; texts need quotes" if "Invalid value" in said else said

    found: dict[str, Any] = _plain(path, _read(path, folder, "TOML", tomllib.loads, explained))
    return found


def read_yaml(path: Path, folder: Path) -> Any:
    """Read YAML.

    Raises:
        TaskError: it is none, or makes more than plain data.
    """

    def explained(said: str) -> str:
        said = " ".join(said.replace('in "<unicode string>", ', "").split()).rstrip(" ^")
        hint = "; a text that contains ': ' needs quotes" if "mapping values" in said else ""
        return f"{said}{hint}"

    return _plain(path, _read(path, folder, "YAML", _load_yaml, explained))


def read_json(path: Path, folder: Path) -> Any:
    """Read JSON.

    Raises:
        TaskError: it is none.
    """
    return _plain(path, _read(path, folder, "JSON", _load_json, str))


def _read(
    path: Path,
    folder: Path,
    kind: str,
    load: Callable[[str], Any],
    explained: Callable[[str], str],
) -> Any:
    text = read_text(path, folder)
    try:
        return load(text)
    except RecursionError:
        raise TaskError(f"{str(path)!r} is not valid {kind}: it is nested too deeply") from None
    except Exception as error:  # noqa: BLE001  (a date such as 2024-13-45 is a ValueError, `!!int ""` an IndexError, …)
        said = explained(str(error)) or type(error).__name__
        raise TaskError(f"{str(path)!r} is not valid {kind}: {shortened(said)}") from None


class _Careful:
    """What makes safe YAML come to an end, too: no text of a few bytes that means gigabytes."""

    aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):  # type: ignore[attr-defined]
            self.aliases += 1
            if self.aliases > MAX_ALIASES:
                raise yaml.YAMLError(f"it has more than {MAX_ALIASES} aliases (`*name`)")
        return super().compose_node(parent, index)  # type: ignore[misc]

    def construct_scalar(self, node: Any) -> Any:
        number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        if number and len(node.value) > MAX_DIGITS:
            raise yaml.YAMLError(f"a number has more than {MAX_DIGITS} digits")
        return super().construct_scalar(node)  # type: ignore[misc]


class _Loader(_Careful, yaml.SafeLoader):
    pass


def _quick_loader() -> type | None:
    """Return a loader whose texts are parsed by libyaml, at a sixth of the time, where PyYAML has it.

    Nodes are composed in Python still, since libyaml's own way has no end and no limit to its depth.
    """
    if not yaml.__with_libyaml__:
        return None

    class Quick(_Careful, yaml.composer.Composer, yaml.CSafeLoader):
        def __init__(self, text: str) -> None:
            yaml.CSafeLoader.__init__(self, text)
            yaml.composer.Composer.__init__(self)

    return Quick


_QUICK = _quick_loader()


def _load_yaml(text: str) -> Any:
    if _QUICK is not None:
        # What libyaml cannot read, PyYAML's own parser explains better.
        with suppress(yaml.YAMLError, ValueError):
            return yaml.load(text, Loader=_QUICK)  # a SafeLoader
    return yaml.load(text, Loader=_Loader)  # a SafeLoader


def _load_json(text: str) -> Any:
    return json.loads(text, parse_constant=_no_number)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _plain(path: Path, value: Any) -> Any:
    """Return data that is plain, small and not too deep.

    Raises:
        TaskError: it is not.
    """
    found, seen = [(value, 0)], 0
    while found:
        item, depth = found.pop()
        seen += 1
        if seen > MAX_VALUES or len(found) > MAX_VALUES:
            raise TaskError(f"{str(path)!r} holds more than {MAX_VALUES:,} values")
        if depth > MAX_DEPTH:
            raise TaskError(f"{str(path)!r} is nested more than {MAX_DEPTH} deep")
        if isinstance(item, dict):
            found += [(one, depth + 1) for pair in item.items() for one in pair]
        elif isinstance(item, list):
            found += [(one, depth + 1) for one in item]
        elif isinstance(item, str):
            if any("\ud800" <= c <= "\udfff" for c in item):
                raise TaskError(
                    f"{str(path)!r} has half a character (a lone surrogate), which cannot be sent: "
                    f"{item[:60]!a}"
                )
        elif isinstance(item, float):
            if not math.isfinite(item):
                raise TaskError(f"{str(path)!r} has a number that is none: {item}")
        elif isinstance(item, int):
            if item.bit_length() > 4 * MAX_DIGITS:
                raise TaskError(f"{str(path)!r} has a number of more than {MAX_DIGITS} digits")
        elif item is not None and not isinstance(item, date):
            raise TaskError(
                f"{str(path)!r} has a {type(item).__name__}; it may have texts, numbers, dates, lists and "
                "mappings"
            )
    return value
