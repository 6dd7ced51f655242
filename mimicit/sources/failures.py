"""What ends a conversion, in one sentence each: what is wrong, what is kept, how to go on.

A picture or a video that cannot be read ends nothing; it is listed.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from mimicit.errors import DatasetError, FormatError


def unreadable(path: Path, error: OSError) -> FormatError:
    """Say of a source that it cannot be read."""
    return FormatError(
        f"{error.filename or str(path)!r} cannot be read ({error.strerror}); "
        "what was stored before is kept: make it readable, and run the same command again"
    )


def unwritten(dataset: Path, error: OSError, stored: int) -> DatasetError:
    """Say of a dataset folder that it cannot be written.

    Args:
        dataset: The folder.
        error: The system's word on it.
        stored: How many pictures a conversion had stored.
    """
    kept = f"{stored:,} new pictures are stored" if stored else "nothing was added to it"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DatasetError(
            f"the disk of the dataset folder {str(dataset)!r} is full ({os.strerror(error.errno)}); {kept}: "
            "free some space, and run the same command again, which goes on from there"
        )
    return DatasetError(
        f"the dataset folder {str(dataset)!r} cannot be written ({error.strerror or error}); {kept}: "
        "make it writable or name another, and run the same command again"
    )


def remove_staged(dataset: Path) -> None:
    """Delete a shard that could not be finished: it takes the room that the next run needs."""
    for part in (dataset / "images").glob(".*.staged"):
        with suppress(OSError):
            part.unlink()
