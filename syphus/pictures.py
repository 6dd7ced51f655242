"""A context's pictures: found in a folder, measured, named.

    photos/cat.png              a picture that the annotations name, with or without suffix
    videos/match.mp4            a video: its frames, so many a second, at most so many
    rooms/scene0000_00/…        a folder of frames, in the order of their names

Image ids follow MIMIC-IT: `LA_IMG_cat`, `DC_IMG_match_0042` (second 42 at one frame a second), `SN_IMG_scene0000_00_color_000000`. Those of
frames are made by `mimicit.sources.naming`, so that `data convert` of the same folder gives the same.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from mimicit.errors import PictureError
from mimicit.media import picture, video
from mimicit.schema import ImageRecord
from mimicit.sources import naming
from syphus.annotations.context import Context, Picture
from syphus.request import SeenPicture
from syphus.task import Task

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
SEEN_PIXELS = 1_024
"""Longer side of a picture that a model is shown; larger ones cost more and tell providers no more."""
T = TypeVar("T")


def image_ids(task: Task, context: Context) -> tuple[str, ...]:
    """Return the ids of the pictures that a context names; those of a video are known when it is read."""
    return tuple(_image_id(task, named) for named in context.pictures)


def read_pictures(task: Task, context: Context, folder: Path | None) -> tuple[ImageRecord, ...]:
    """Read, decode and measure a context's pictures; none where there is no folder.

    Raises:
        PictureError: one is missing, not a picture, or leads out of the folder.
        MissingExtraError: a video is there, and PyAV is not.
    """
    if folder is None:
        return ()
    try:
        if context.pictures:
            return tuple(_picture(task, context, named, folder) for named in context.pictures)
        return _frames(task, context, folder) if context.video else ()
    except OSError as error:  # a name that no file can have, a folder that must not be read
        raise PictureError(
            f"the pictures of {context.id!r} cannot be found: {error.strerror}"
        ) from None


def seen(image: ImageRecord) -> SeenPicture:
    """Make the picture that a model is shown: upright, its longer side at most `SEEN_PIXELS`."""
    decoded = picture.decode(image.image, name=image.id)
    # Providers do not turn a picture as its EXIF block says.
    upright = not picture.is_turned(image.image)
    small = max(decoded.size) <= SEEN_PIXELS and image.mime in ("image/jpeg", "image/png")
    if upright and small:
        return SeenPicture(image.sha256, image.mime, image.image)
    decoded.thumbnail((SEEN_PIXELS, SEEN_PIXELS))
    buffer = io.BytesIO()
    decoded.save(buffer, "JPEG", quality=90)
    data = buffer.getvalue()
    return SeenPicture(hashlib.sha256(data).hexdigest(), "image/jpeg", data)


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return `count` of the items at even distances, the middle of each stretch; all if there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[(2 * n + 1) * len(items) // (2 * count)] for n in range(count)]


def _picture(task: Task, context: Context, named: Picture, folder: Path) -> ImageRecord:
    return picture.measure(
        picture.read(folder, _found(folder, named.name)),
        id=_image_id(task, named),
        name=named.name,
        source=context.source,
    )


def _image_id(task: Task, named: Picture) -> str:
    return f"{task.picture_prefix}_IMG_{named.key or _stem(named.name)}"


def _stem(name: str) -> str:
    """Return a file's name without its suffix."""
    if name and "/" not in name:  # the same, without a path object for each of millions
        dot = name.rfind(".")
        return name[:dot] if 0 < dot < len(name) - 1 else name
    path = PurePosixPath(name)
    return (path.with_suffix("") if path.suffix else path).as_posix()


def _found(folder: Path, name: str) -> str:
    """Return the file that a name without a suffix stands for."""
    if PurePosixPath(name).suffix.lower() in SUFFIXES or (folder / name).is_file():
        return name
    return next((name + end for end in SUFFIXES if (folder / (name + end)).is_file()), name)


def _frames(task: Task, context: Context, folder: Path) -> tuple[ImageRecord, ...]:
    name = naming.place(task.picture_prefix, folder, context.video or "")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise PictureError(f"{name!r} leads out of the picture folder {str(folder)!r}")
    if path.is_dir():
        return _frame_files(task, context, folder, name)
    if not path.is_file():
        known = (path.with_name(path.name + end) for end in video.SUFFIXES)
        path = next((other for other in known if other.is_file()), path)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise PictureError(f"{name!r} leads out of the picture folder {str(folder)!r}")
    if not path.is_file():
        raise PictureError(f"there is no video and no folder of frames {name!r} in {str(folder)!r}")
    return _video_frames(task, context, path)


def _frame_files(task: Task, context: Context, folder: Path, name: str) -> tuple[ImageRecord, ...]:
    files = sorted(
        (p for p in (folder / name).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()),
        key=_natural,
    )
    if not files:
        raise PictureError(f"the folder {str(folder / name)!r} holds no pictures")
    names = [path.relative_to(folder).as_posix() for path in spread(files, task.context.frames)]
    return tuple(
        picture.measure(
            picture.read(folder, file),
            id=naming.frame_file(task.picture_prefix, _stem(file)),
            name=file,
            source=context.source,
        )
        for file in names
    )


def _video_frames(task: Task, context: Context, path: Path) -> tuple[ImageRecord, ...]:
    fps = task.context.fps
    length = video.duration(path)
    start, end = context.span or (0.0, length)
    if start > length:
        raise PictureError(f"{path.name!r} ends before second {start:g}")
    first = int(start * fps)
    # A clip shorter than the distance of two frames still has one.
    numbers = range(first, max(first + 1, int(min(end, length) * fps) + 1))
    chosen = spread(numbers, task.context.frames)
    stem = PurePosixPath(context.video or path.name)
    stem = stem.with_suffix("") if stem.suffix.lower() in video.SUFFIXES else stem
    film = naming.film(task.picture_prefix, stem.as_posix())
    found = [
        picture.measure(
            data,
            id=naming.film_frame(film, round(time * fps)),
            name=f"{path.name} at {time:g} s",
            source=context.source,
        ).model_copy(update={"time": time})
        for time, data in video.frames(path, [number / fps for number in chosen])
    ]
    if not found:
        raise PictureError(f"{path.name!r} ends before second {start:g}")
    return tuple(found)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort 2 before 10."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
