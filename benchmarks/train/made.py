"""Made data for the benchmarks of training: conversations of random words, and real pictures in files, decoded when asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from models import ANSWER, END, FIRST_WORD, IMAGE  # noqa: E402

# isort: split
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402

from mimicit.media import tensors  # noqa: E402
from trainer.batch import Example  # noqa: E402
from trainer.models.fuyu_batch import Sample as FuyuSample  # noqa: E402
from trainer.models.loss import IGNORED  # noqa: E402
from trainer.models.otter_processor import CLIP_MEAN, CLIP_STD  # noqa: E402


def write_pictures(folder: Path, number: int) -> list[Path]:
    """Write JPEG files of 640 x 480, of random colours that change smoothly, as photographs do."""
    from PIL import Image

    rng = np.random.default_rng(0)
    paths = []
    for nth in range(number):
        rough = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        path = folder / f"{nth:05d}.jpg"
        rough.resize((640, 480), Image.Resampling.BICUBIC).save(path, quality=90)
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


def packs(lengths: Sequence[int], row: int) -> list[list[int]]:
    """Fill rows of at most so many tokens, in a random order: each sample goes into the first of the last rows that has room."""
    done: list[list[int]] = []
    open_rows: list[tuple[int, list[int]]] = []
    for index in np.random.default_rng(3).permutation(len(lengths)).tolist():
        for nth, (free, members) in enumerate(open_rows):
            if lengths[index] <= free:
                open_rows[nth] = (free - lengths[index], [*members, index])
                break
        else:
            open_rows.append((row - lengths[index], [index]))
        if len(open_rows) > 16:
            open_rows.sort(key=lambda held: held[0], reverse=True)
            done.append(open_rows.pop()[1])
    return done + [members for free, members in open_rows if free < row // 8]


def mixed_sizes(config: Any, sizes: Sequence[int | None], *, text: int) -> list[FuyuSample]:
    """Make conversations on squares of these sizes in pixels, None being text alone."""
    return list(_mixed_sizes(config, sizes, text=text))


def _mixed_sizes(config: Any, sizes: Sequence[int | None], *, text: int) -> Iterator[FuyuSample]:
    torch.manual_seed(0)
    words = config.text_config.vocab_size
    for nth, size in enumerate(sizes):
        side = 0 if size is None else -(-size // config.patch_size)
        # A line end after each row of patches: a word like others here.
        grid = torch.full((side, side + 1), IMAGE)
        grid[:, side:] = FIRST_WORD
        wrote = torch.randint(FIRST_WORD + 1, words, (text + 7 * nth,))
        ids = torch.cat([grid.flatten(), wrote])
        labels = ids.clone()
        labels[: -(text // 3)] = IGNORED
        numbers = config.patch_size**2 * config.num_channels
        patches = torch.rand(side * side, numbers) * 2 - 1
        yield FuyuSample(ids, labels, patches, (ids == IMAGE).nonzero()[:, 0])
