"""The MIMIC-IT dataset: a folder of instruction records and pictures, open to plain SQL.

import mimicit

dataset = mimicit.open("demo")
for record in dataset: ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from mimicit.dataset import Dataset


def open(path: str | PathLike[str]) -> Dataset:
    """Open a dataset folder.

    Raises:
        DatasetError: no such folder, not a dataset folder, or of a newer version.
    """
    from mimicit.dataset import (
        Dataset,
    )  # late: who imports one module of this package pays for that one

    return Dataset(path)
