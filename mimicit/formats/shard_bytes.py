"""Bytes out of a dataset's shards: one `pread` each, from files that stay open."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any, Self

from mimicit.errors import PictureError

OPEN = 16
"""Shards that are open at a time."""


class ShardBytes:
    """The shards of a dataset folder, for as long as the block runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: OrderedDict[str, int] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def read(self, shard: str, offset: int, length: int) -> bytes:
        """Return some bytes of a shard, which is named by its path below the folder.

        Raises:
            PictureError: it is shorter than the catalog says.
        """
        data = os.pread(self._file(shard), length, offset)
        if len(data) != length:
            raise PictureError(
                f"{shard!r} ends before byte {offset + length}; "
                "look at it with: syphus data validate"
            )
        return data

    def _file(self, shard: str) -> int:
        if shard in self._files:
            self._files.move_to_end(shard)
        else:
            if len(self._files) >= OPEN:
                os.close(self._files.popitem(last=False)[1])
            self._files[shard] = os.open(self._folder / shard, os.O_RDONLY)
        return self._files[shard]
