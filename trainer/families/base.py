"""What the trainer asks of a family of models."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from transformers import PreTrainedModel

from trainer.config import Data
from trainer.rows import Rows
from trainer.sources.base import Record, Shown


class Encoder(Protocol):
    """Records to examples, and examples to rows. Travels to worker processes by pickle."""

    processor: Any

    def picture(self, data: bytes, *, name: str) -> Any:
        """Return an encoded picture as the model takes it, or nearly so: what is worth keeping in memory.

        Raises:
            PictureError: it is none.
        """
        ...

    def encode(self, record: Record, pictures: Callable[[Shown], Any]) -> Any:
        """Return a record as one example of the family's own kind.

        Args:
            record: A conversation or a document.
            pictures: Gives what `picture` made of a place; raises PictureError.

        Raises:
            PictureError, TrainingError: it cannot be taught as it is; names it.
        """
        ...

    def untaught(self, example: Any) -> Any:
        """Return the same example with nothing to learn from it."""
        ...

    def lay(self, examples: Sequence[Any]) -> list[Rows]:
        """Make of a micro batch one padded batch, or, where the recipe packs, as few rows as they need.

        Raises:
            TrainingError: an example is longer than a row.
        """
        ...


class Family(Protocol):
    """A module of `trainer.families`."""

    def make_processor(self, described: Any, texts: Callable[[], Iterable[str]]) -> Any:
        """Make the processor of a model that a recipe describes; `texts` are those that a tokenizer can be trained on."""
        ...

    def make_model(self, described: Any, processor: Any) -> PreTrainedModel:
        """Build the model that a recipe describes."""
        ...

    def check(self, model: Any, processor: Any, here: str, data: Data) -> None:
        """Refuse a saved model that is not made for what is to be taught.

        Raises:
            RecipeError: says why of `here`, which names it.
        """
        ...

    def read_processor(self, folder: Any) -> Any:
        """Read a processor that the family's `save_pretrained` wrote."""
        ...

    def let_pack(self, model: Any) -> None:
        """Let the model attend within each sample of a row."""
        ...

    def encoder(self, processor: Any, model_config: Any, data: Data, *, seed: int) -> Encoder:
        """Return what makes examples of records; `seed` is for what it draws, always the same for a record."""
        ...
