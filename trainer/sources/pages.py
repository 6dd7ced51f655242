"""What of a page of MMC4 is shown, as a function of the page and the rules of a group."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mimicit.errors import MissingExtraError, PictureError
from mimicit.media.picture import MAX_BYTES
from trainer.sources import tars
from trainer.sources.shards import LeftOut

MIN_SIMILARITY = 0.24
"""By which OpenFlamingo was taught."""
NONE = (1 << 16) - 1
"""In a row: there is no such picture. Sentences from here on have none."""
_NO_OBJECT, _NO_SENTENCES = "is no object of JSON", "has no text_list of texts"
_NO_PICTURES, _NONE_LEFT = "has no image_info", "has no picture left"
_LONE = "has a single picture, and keep_lone leaves it out"
_NO_SENTENCE = "a picture's matched_text_index names no sentence"
_NONE_FREE = "a picture is left without a sentence, for each other picture has one"
_NO_SIMILARITY = "a picture has no similarity"
_UNLIKE = "a picture is less like its sentence than min_similarity"
_NOT_HERE = "a picture is not there"
_NO_BYTES = (
    "a picture is not there: it has no image_base64, and the group names no folder of images"
)
_A_PATH = "a picture's image_name is a path, not a name"
_SMALL = "a picture has fewer bytes than min_picture_bytes"
_LARGE = f"a picture has more than {MAX_BYTES >> 20} MiB"
_NOT_A_PICTURE = "a picture's bytes are none"
_SECOND = "a picture is less like its sentence than another one there"
_NO_MATRIX = "has no similarity_matrix of its pictures and sentences"


@dataclass(frozen=True, slots=True)
class Rules:
    """Which pictures of a page are shown."""

    images: str | None
    """The folder where they lie by name; None: they are in the page."""
    min_similarity: float
    max_pictures: int
    min_picture_bytes: int
    matching: Literal["stated", "assigned"]
    keep_lone: float

    def row(self) -> np.dtype[Any]:
        """Return what the index keeps of a page."""
        shown = (self.max_pictures,)
        return np.dtype(
            [
                ("at", "<u8"),
                ("bytes", "<u4"),
                ("characters", "<u4"),
                ("pictures", "<u2", shown),  # their numbers in the page's list, or NONE
                ("sentences", "<u2", shown),  # before which they stand
            ]
        )


class PageError(Exception):
    """Why a page is left out."""


def row_of(at: int, name: str, data: bytes, rules: Rules, left_out: LeftOut) -> tuple[Any, ...]:
    """Decide what a page shows.

    Raises:
        PageError: it shows nothing.
    """
    page = tars.json_object(data)
    if page is None:
        raise PageError(_NO_OBJECT)
    sentences, infos = page.get("text_list"), page.get("image_info")
    if not isinstance(sentences, list) or not all(isinstance(one, str) for one in sentences):
        raise PageError(_NO_SENTENCES)
    if not isinstance(infos, list) or not infos:
        raise PageError(_NO_PICTURES)
    best: dict[int, tuple[float, int]] = {}
    for number, found in enumerate(_matched(page, rules)):
        if isinstance(found, str) or number >= NONE:
            problem = found if isinstance(found, str) else _NOT_HERE
            left_out.add(problem, f"{name}, picture {number}")
            continue
        sentence, similarity = found
        if sentence in best:
            left_out.add(_SECOND, f"{name}, picture {number}")
        if sentence not in best or similarity > best[sentence][0]:
            best[sentence] = similarity, number
    shown = sorted(best)[: rules.max_pictures]
    if not shown:
        raise PageError(_NONE_LEFT)
    if len(shown) == 1 and rules.keep_lone < 1 and _share(name) >= rules.keep_lone:
        raise PageError(_LONE)
    empty = (NONE,) * (rules.max_pictures - len(shown))
    pictures = (*(best[sentence][1] for sentence in shown), *empty)
    return at, len(data), sum(map(len, sentences)), pictures, (*shown, *empty)


def _share(name: str) -> float:
    """Return a number from 0 to 1 that a name always draws."""
    drawn = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(drawn, "big") / (1 << 64)


def _matched(page: dict[str, Any], rules: Rules) -> list[tuple[int, float] | str]:
    """Return of each picture its sentence and how like it is, or why it is not shown.

    Raises:
        PageError: the page does not say.
    """
    infos, sentences = page["image_info"], page["text_list"]
    if rules.matching == "stated":
        return [_stated(info, sentences, rules) for info in infos]
    try:
        likeness = np.asarray(page.get("similarity_matrix"), dtype=np.float64)
    except (TypeError, ValueError):
        raise PageError(_NO_MATRIX) from None
    if likeness.shape != (len(infos), len(sentences)) or not np.isfinite(likeness).all():
        raise PageError(_NO_MATRIX)
    # A picture that cannot be shown takes no sentence from others.
    found: list[tuple[int, float] | str] = [_problem(info, rules) or _NONE_FREE for info in infos]
    there = [number for number, one in enumerate(found) if one == _NONE_FREE]
    for row, sentence in zip(*assignment()(likeness[there], maximize=True), strict=True):
        similarity = float(likeness[there[row], sentence])
        found[there[row]] = _match(int(sentence), similarity, sentences, rules)
    return found


def _stated(info: Any, sentences: list[str], rules: Rules) -> tuple[int, float] | str:
    if not isinstance(info, dict):
        return _NOT_HERE
    similarity = tars.finite(info.get("matched_sim"))
    found = _match(info.get("matched_text_index"), similarity, sentences, rules)
    # Bytes come last, for to look at them takes the longest.
    return found if isinstance(found, str) else _problem(info, rules) or found


def assignment() -> Any:
    try:
        from scipy.optimize import linear_sum_assignment
    except ModuleNotFoundError:
        raise MissingExtraError("scipy", "curate") from None
    return linear_sum_assignment


def _match(
    at: Any, similarity: float | None, sentences: list[str], rules: Rules
) -> tuple[int, float] | str:
    if type(at) is not int or not 0 <= at < min(len(sentences), NONE) or not sentences[at].strip():
        return _NO_SENTENCE
    if similarity is None:
        return _NO_SIMILARITY
    return _UNLIKE if similarity < rules.min_similarity else (at, similarity)


def _problem(info: Any, rules: Rules) -> str | None:
    """Tell why a picture cannot be shown, wherever it belongs."""
    if not isinstance(info, dict):
        return _NOT_HERE
    if rules.images is None:
        return _base64_problem(info.get("image_base64"), rules)
    return _file_problem(Path(rules.images), info.get("image_name"), rules)


def _base64_problem(text: Any, rules: Rules) -> str | None:
    if not isinstance(text, str) or not text:
        return _NO_BYTES
    try:
        data = tars.from_base64(text, name="")
    except PictureError:
        return _NOT_A_PICTURE
    return _bytes_problem(len(data), data[: tars.HEAD], rules)


def _file_problem(images: Path, name: Any, rules: Rules) -> str | None:
    if not isinstance(name, str) or not name:
        return _NOT_HERE
    if name in (".", "..") or any(one in name for one in "/\\\0"):
        return _A_PATH
    try:
        # Not to be opened if it is a pipe: nobody may ever write to it.
        if not stat.S_ISREG((images / name).stat().st_mode):
            return _NOT_HERE
        with (images / name).open("rb", buffering=0) as file:
            return _bytes_problem(os.fstat(file.fileno()).st_size, file.read(tars.HEAD), rules)
    except OSError:
        return _NOT_HERE


def _bytes_problem(size: int, head: bytes, rules: Rules) -> str | None:
    if size < rules.min_picture_bytes:
        return _SMALL
    if size > MAX_BYTES:
        return _LARGE
    return None if tars.begins_picture(head) else _NOT_A_PICTURE
