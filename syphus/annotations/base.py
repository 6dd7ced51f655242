"""What every reader takes and gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from syphus.annotations.context import Context, Problem
from syphus.errors import AnnotationError

FIELDS = (
    "id", "image", "pictures", "video", "span", "captions", "objects", "segments", "width", "height"
)  # fmt: skip
"""What a column of a generic file may be; `facts.NAME` is anything else."""
BOXES = ("xyxy", "xywh", "xyxy_pixels", "xywh_pixels")
"""Two corners, or one corner and a size; as shares of the picture, or in pixels."""
GROUPINGS = ("story", "album")


@dataclass(frozen=True, slots=True)
class Options:
    by: str | None = None
    """VIST: one context per "story" (the default), or per "album"."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Generic formats: our field -> their column, or a path into it, `meta.text`."""
    boxes: str | None = None
    """Generic formats: how their boxes are written, one of BOXES; "xyxy" by default. Pixels need `width` and `height`."""

    def __post_init__(self) -> None:
        """Refuse what no reader understands."""
        if self.by is not None and self.by not in GROUPINGS:
            raise AnnotationError(
                f"there is no grouping {self.by!r}; known: {', '.join(GROUPINGS)}"
            )
        if self.boxes is not None and self.boxes not in BOXES:
            raise AnnotationError(f"there are no boxes {self.boxes!r}; known: {', '.join(BOXES)}")
        for name in self.columns:
            if name not in FIELDS and not (name.startswith("facts.") and name[6:]):
                raise AnnotationError(
                    f"there is no field {name!r}; known: {', '.join(FIELDS)}, facts.NAME"
                )


class Reading(Protocol):
    def __len__(self) -> int:
        """Count the contexts, about."""
        ...

    def __iter__(self) -> Iterator[Context | Problem]: ...


class Reader(Protocol):
    @property
    def TITLE(self) -> str: ...  # noqa: N802 - a module's constant

    def sniff(self, path: Path) -> bool:
        """Say whether the file is the reader's own, by its beginning; never raise."""
        ...

    def read(self, paths: Sequence[Path], options: Options) -> Reading:
        """Read the files.

        Raises:
            AnnotationError: a file cannot be read at all.
        """
        ...
