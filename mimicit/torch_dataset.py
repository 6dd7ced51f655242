"""A snapshot as what `torch.utils.data.DataLoader` takes: a length, and rows by number.

Nothing of torch is needed for that, so this is no subclass, and torch is imported only where pictures become tensors. A worker,
forked or spawned, opens the snapshot for itself: rows are memory-mapped, a picture is one `pread`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit.errors import PictureError
from mimicit.snapshot import Row, Snapshot

if TYPE_CHECKING:
    from torch import Tensor

    from mimicit.media.tensors import Quality


class SnapshotDataset:
    """Rows as dictionaries: `id`, `task`, `instruction`, `answer`, `language`, `conversation`, `turn`, `rejected`, `images`."""

    def __init__(
        self,
        dataset: Path,
        digest: str,
        *,
        size: int | tuple[int, int] | None = None,
        dtype: str = "float32",
        quality: Quality = "good",
    ) -> None:
        """Open a snapshot.

        Args:
            dataset: The dataset folder.
            digest: The snapshot's name.
            size: Pixels of both sides, or (height, width), of the pictures' tensors (N, 3, height, width); None leaves them
                as they were given: a list of bytes.
            dtype: `float32`: from 0 to 1; `uint8`: to be scaled on the device.
            quality: See `mimicit.media.tensors.pixels`.
        """
        if dtype not in ("float32", "uint8"):
            raise ValueError(f"dtype is 'float32' or 'uint8', not {dtype!r}")
        self.snapshot = Snapshot(dataset, digest)
        self.size = size
        self.dtype = dtype
        self.quality = quality

    def __len__(self) -> int:
        return len(self.snapshot)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.snapshot[index]
        return {
            "id": row.id,
            "task": row.task,
            "instruction": row.instruction,
            "answer": row.answer,
            "language": row.language,
            "conversation": row.conversation,
            "turn": row.turn,
            "rejected": row.rejected,
            "images": self._pictures(row),
        }

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        return [self[index] for index in indices]

    def _pictures(self, row: Row) -> list[bytes] | Tensor:
        try:
            pictures = list(map(self.snapshot.read, row.pictures))
            if self.size is None:
                return pictures
            from mimicit.media.tensors import floats, stack

            values = stack(pictures, self.size, quality=self.quality)
        except (PictureError, OSError) as error:
            raise PictureError(f"a picture of record {row.id!r} cannot be read: {error}") from error
        return floats(values) if self.dtype == "float32" else values
