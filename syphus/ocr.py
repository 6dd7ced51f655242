"""Words that can be read in a picture, by RapidOCR: small networks that come with its package and run on the processor.

They read Chinese and English, printed better than written by hand. About a second a picture on one core.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mimicit.errors import MissingExtraError
from syphus.annotations.context import Box
from syphus.errors import AnnotationError
from syphus.forms.clean import says_something

if TYPE_CHECKING:
    from PIL.Image import Image

PACKAGE = "rapidocr_onnxruntime"


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text in a picture."""

    text: str
    box: Box
    score: float
    """How sure the reader is, 0 to 1."""


def is_installed() -> bool:
    return find_spec(PACKAGE) is not None


class TextReader:
    """Read pictures one after the other; it is not for several threads at once."""

    def __init__(self) -> None:
        """Load the networks.

        Raises:
            MissingExtraError: the package is not installed.
            AnnotationError: it is, and cannot be loaded: OpenCV wants libraries of the system.
        """
        if not is_installed():
            raise MissingExtraError(PACKAGE, "ocr")
        try:
            import cv2
            from rapidocr_onnxruntime import RapidOCR
            from rapidocr_onnxruntime.utils.process_img import ResizeImgError
        except ImportError as error:
            raise AnnotationError(
                f"words in pictures cannot be read ({error}); `pip install opencv-python-headless` "
                "wants no libraries of the system, and --no-ocr leaves words out"
            ) from None

        # Half of the cores: the others are for whoever else works here.
        threads = max(1, (os.cpu_count() or 1) // 2)
        cv2.setNumThreads(threads)
        self._read: Any = RapidOCR(intra_op_num_threads=threads, inter_op_num_threads=1)
        self._too_thin: type[Exception] = ResizeImgError
        logging.getLogger("RapidOCR").setLevel(logging.ERROR)

    def read(self, image: Image) -> tuple[Text, ...]:
        """Read a decoded picture, line by line."""
        import numpy as np

        pixels = np.asarray(image.convert("RGB"))[
            :, :, ::-1
        ]  # as OpenCV has them: blue, green, red
        try:
            lines, _ = self._read(np.ascontiguousarray(pixels))
        except self._too_thin:
            return ()
        found = (_text(corners, said, score, image.size) for corners, said, score in lines or [])
        return tuple(text for text in found if says_something(text.text))


def _text(corners: list[list[float]], said: str, score: float, size: tuple[int, int]) -> Text:
    across = [_share(x / size[0]) for x, _ in corners]
    down = [_share(y / size[1]) for _, y in corners]
    box = (min(across), min(down), max(across), max(down))
    return Text(" ".join(said.split()), box, round(float(score), 3))


def _share(value: float) -> float:
    return round(min(max(float(value), 0.0), 1.0), 4)
