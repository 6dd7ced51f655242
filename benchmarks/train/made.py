"""Made data for the benchmarks of training: conversations of random words, and real pictures in files, decoded when asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from models import ANSWER, END, FIRST_WORD, IMAGE  # noqa: E402
from PIL import Image  # noqa: E402

# isort: split
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402

from mimicit.media import tensors  # noqa: E402
from trainer.batch import Example  # noqa: E402
from trainer.models.fuyu_batch import Sample as FuyuSample  # noqa: E402
from trainer.models.fuyu_pictures import cut  # noqa: E402
from trainer.models.loss import IGNORED  # noqa: E402
from trainer.models.otter_processor import CLIP_MEAN, CLIP_STD  # noqa: E402
from trainer.packing import Load, lay_out  # noqa: E402


def write_pictures(
    folder: Path, number: int, sizes: Sequence[tuple[int, int]] = ((640, 480),)
) -> list[Path]:
    """Write JPEG files of these widths and heights in turn, of random colours that change smoothly, as photographs do."""
    rng = np.random.default_rng(0)
    paths = []
    for nth in range(number):
        rough = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        path = folder / f"{nth:05d}.jpg"
        size = sizes[nth % len(sizes)]
        rough.resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(path)
    return paths


class Conversations(Dataset[Example]):
    """Samples of 40 to 400 tokens, most of them short, each with a picture if there are files, and its last third taught.

    Lengths are log-normal around 110, as in packing.py.
    """

    def __init__(
        self, number: int, *, words: int, side: int, pictures: Sequence[Path] = ()
    ) -> None:
        drawn = np.random.default_rng(1).lognormal(np.log(110), 0.6, number)
        self.lengths = [int(n) for n in drawn.clip(40, 400)]
        self.words = words
        self.side = side
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Example:
        length, taught = self.lengths[index], self.taught(index)
        rng = np.random.default_rng([2, index])
        ids = rng.integers(FIRST_WORD, self.words, length)
        ids[-taught - 1], ids[-1] = ANSWER, END
        labels = np.where(np.arange(length) >= length - taught, ids, IGNORED)
        pixels = torch.zeros(0, 1, 3, self.side, self.side)
        if self.pictures:
            ids[0] = IMAGE
            data = self.pictures[index % len(self.pictures)].read_bytes()
            pixels = normalised(tensors.pixels(data, self.side))[None, None]
        return Example(str(index), ids.tolist(), labels.tolist(), pixels)

    def taught(self, index: int) -> int:
        return self.lengths[index] // 3


def normalised(picture: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return picture.float().div_(255).sub_(mean).div_(std)


def packs(lengths: Sequence[int], row: int, *, together: int = 256) -> list[list[int]]:
    """Lay samples into rows of at most so many tokens, as the trainer does: a random micro batch at a time."""
    drawn = np.random.default_rng(3).permutation(len(lengths))
    return [
        [int(micro[nth]) for nth in members]
        for start in range(0, len(drawn), together)
        for micro in [drawn[start : start + together]]
        for members in lay_out([Load(lengths[index]) for index in micro], max_row_tokens=row)
    ]


class Pages(Dataset[FuyuSample]):
    """Conversations about a picture each, at its own size and decoded when asked for, or about none; the last third of a text is taught."""

    def __init__(
        self, config: Any, number: int, paths: Sequence[Path | None], *, text: int
    ) -> None:
        self.number, self.paths, self.text = number, paths, text
        self.patch, self.words = config.patch_size, config.text_config.vocab_size
        self.sides = [None if path is None else Image.open(path).size for path in paths]

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> FuyuSample:
        path = self.paths[index % len(self.paths)]
        text = self._text(index)
        if path is None:
            nothing = torch.zeros(0, self.patch**2 * 3, dtype=torch.uint8)
            return fuyu_sample(nothing, 0, text=text, words=self.words, seed=index)
        with Image.open(path) as picture:
            patches = cut(picture, patch=self.patch)
        return fuyu_sample(
            patches.bytes_PC, patches.columns, text=text, words=self.words, seed=index
        )

    def lengths(self) -> list[int]:
        """Return the tokens of each sample, without decoding any."""
        return [self._text(index) + self._grid(index) for index in range(self.number)]

    def _text(self, index: int) -> int:
        return self.text + 7 * (index % 8)

    def _grid(self, index: int) -> int:
        sides = self.sides[index % len(self.paths)]
        if sides is None:
            return 0
        columns, rows = (-(-side // self.patch) for side in sides)
        return rows * (columns + 1)


def fuyu_sample(
    patches_PC: torch.Tensor, columns: int, *, text: int, words: int, seed: int
) -> FuyuSample:
    """Put random words behind a picture's patches; the last third of them is taught."""
    generator = torch.Generator().manual_seed(seed)
    rows = len(patches_PC) // max(1, columns)
    # A line end after each row of patches: a word like others here.
    grid = torch.full((rows, columns + 1), IMAGE)
    grid[:, columns:] = FIRST_WORD
    wrote = torch.randint(FIRST_WORD + 1, words, (text,), generator=generator)
    ids = torch.cat([grid.flatten(), wrote])
    labels = ids.clone()
    labels[: -(text // 3)] = IGNORED
    return FuyuSample(ids, labels, patches_PC, (ids == IMAGE).nonzero()[:, 0])


def mixed_sizes(config: Any, sizes: Sequence[int | None], *, text: int) -> list[FuyuSample]:
    """Make conversations on squares of these sizes in pixels, None being text alone."""
    samples = []
    for nth, size in enumerate(sizes):
        columns = 0 if size is None else -(-size // config.patch_size)
        generator = torch.Generator().manual_seed(nth)
        numbers = config.patch_size**2 * config.num_channels
        patches = torch.rand(columns**2, numbers, generator=generator) * 2 - 1
        words = config.text_config.vocab_size
        samples.append(fuyu_sample(patches, columns, text=text + 7 * nth, words=words, seed=nth))
    return samples
