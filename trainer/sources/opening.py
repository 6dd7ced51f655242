"""From a recipe and a dataset folder to the mix that a run learns from."""

from pathlib import Path

from mimicit.snapshot import freeze
from mimicit.store import Store
from trainer.config import Data
from trainer.sources.mix import Mix, Part
from trainer.sources.snapshot import SnapshotSource


def open_mix(data: Data, dataset: Path) -> Mix:
    """Open what a recipe learns from; freezes what is selected of a dataset folder.

    Raises:
        DatasetError, QueryError, RecipeError: there is nothing to learn from, and why.
    """
    snapshot = freeze(Store.open(dataset), where=data.where)
    source = SnapshotSource(snapshot, pictures=data.pictures)
    return Mix([Part("accepted", source, draws=len(source))])
