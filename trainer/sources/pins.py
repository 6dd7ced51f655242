"""A run keeps to the snapshots that it began with, whatever became of the datasets since: so a stopped one goes on with the same records.

A snapshot stays in the dataset's folder, and its pictures in shards that are never written again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mimicit.dataset import Dataset
from mimicit.frozen import Frozen
from mimicit.snapshot import Snapshot, freeze
from mimicit.store import Store
from trainer.sources.mix import Mix


@dataclass(frozen=True, slots=True)
class Pins:
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of each part of the mix the snapshot with which the run began; none: it begins."""
    say: Callable[[str], None] | None = None
    """Takes the sentence that a dataset has changed."""

    @classmethod
    def of(cls, mix: Mix) -> "Pins":
        """Return the snapshots that a mix consists of."""
        sources = {part.name: getattr(part.source, "snapshot", None) for part in mix.parts}
        return cls({name: one.digest for name, one in sources.items() if one is not None})

    def freeze(self, name: str, store: Store, *, where: str, context: str | None) -> Snapshot:
        """Open the snapshot of a part; freeze the part where the run begins, or where its snapshot is gone (`mimicit.snapshot.freeze`)."""
        digest = self.digests.get(name, "")
        if not digest or not (store.path / "snapshots" / digest / "manifest.json").is_file():
            return freeze(store, where=where, context=context)
        snapshot = Snapshot(store.path, digest)
        if self.say and Frozen(store.path, where, [None, context, True]).find() != digest:
            now = Dataset(store.path).count(where)
            self.say(
                f"{str(store.path)!r} has changed since this run began: {now:,} of its records are selected by now; the run goes on "
                f"with its own {len(snapshot):,} (snapshot {digest[:12]}…), and one in another folder learns from what there is now"
            )
        return snapshot


NO_PINS = Pins()
