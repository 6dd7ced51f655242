"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mimicit.errors import DatasetError


@contextmanager
def staged(path: Path) -> Iterator[IO[bytes]]:
    """Write beside a name and rename at the end; on an error nothing is left.

    A link is followed. What is no file, such as `/dev/stdout` or a pipe, is written to as it is: nothing may take its place.

    Raises:
        DatasetError: it is a folder.
    """
    path = path.resolve() if path.is_symlink() and path.is_file() else path
    if path.is_dir():
        raise DatasetError(f"{str(path)!r} is a folder; name a file in it")
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    beside = path.with_name(f".{path.name}.staged")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
