"""A run keeps to the snapshots that it began with, whatever became of the datasets since: so a stopped one goes on with the same records.

A snapshot stays in the dataset's folder, and its pictures in shards that are never written again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mimicit.dataset import Dataset
from mimicit.freezing import Selected
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
    def of(cls, *mixes: Mix | None) -> "Pins":
        """Return the snapshots that mixes consist of; names of their parts differ."""
        parts = [part for mix in mixes if mix for part in mix.parts]
        sources = {part.name: getattr(part.source, "snapshot", None) for part in parts}
        return cls({name: one.digest for name, one in sources.items() if one is not None})

    def freeze(
        self,
        name: str,
        store: Store,
        *,
        where: str,
        context: str | None = None,
        without: str | None = None,
    ) -> Snapshot:
        """Open the snapshot of a part; freeze the part where the run begins, or where its snapshot is gone (`mimicit.snapshot.freeze`)."""
        digest = self.digests.get(name, "")
        if not digest or not (store.path / "snapshots" / digest / "manifest.json").is_file():
            return freeze(store, where=where, context=context, without=without)
        snapshot = Snapshot(store.path, digest)
        selected = Selected(where, context=context, without=without)
        if self.say and selected.known(store.path).find() != digest:
            now = Dataset(store.path).count(selected.whole)
            self.say(
                f"{str(store.path)!r} has changed since this run began: {now:,} of its records are selected by now; the run goes on "
                f"with its own {len(snapshot):,} (snapshot {digest[:12]}…), and one in another folder learns from what there is now"
            )
        return snapshot


NO_PINS = Pins()
