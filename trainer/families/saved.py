"""Why a saved model of any family is refused: it is not made for what is to be taught.

`here` names it for people: `model.start 'DIR'`.
"""

from collections.abc import Mapping
from typing import Any

from mimicit.errors import RecipeError
from trainer.config import Data


def words(processor: Any) -> int:
    """Return how many rows an embedding needs for a processor's tokenizer."""
    return int(max(processor.tokenizer.get_vocab().values())) + 1


def need_rows(model: Any, processor: Any, here: str) -> None:
    """Refuse embeddings that have fewer rows than the tokenizer has words."""
    needed = words(processor)
    rows = getattr(model, "words", None) or model.get_input_embeddings().num_embeddings
    if needed > rows:
        raise RecipeError(
            f"{here} has a tokenizer of {needed:,} tokens, but embeddings of {rows:,}; "
            "call model.resize_token_embeddings(…) and save it again"
        )


def need_same_tokens(config: Any, marks: Mapping[str, int], here: str) -> None:
    """Refuse a tokenizer whose tokens are not those that the config names."""
    for field, theirs in marks.items():
        ours = getattr(config, field, None)
        if theirs != ours:
            raise RecipeError(
                f"{here} has a tokenizer of another model: {field} is {ours} in its config, but {theirs} in the tokenizer"
            )


def need_same_size(theirs: int, ours: int, here: str) -> None:
    """Refuse pictures of another size than the vision tower's, in pixels."""
    if theirs != ours:
        raise RecipeError(
            f"{here} prepares pictures of {theirs} pixels, but its vision tower takes {ours}"
        )


def need_no_sides(data: Data, here: str) -> None:
    """Refuse sizes to draw where pictures have but one."""
    if data.sides:
        raise RecipeError(
            f"data.sides says how large Fuyu is shown pictures, but {here} takes them of one size; leave it out"
        )


def need_room(model: Any, data: Data, here: str) -> None:
    """Refuse examples that are longer than the language model reads."""
    room = getattr(model.config.get_text_config(), "max_position_embeddings", data.max_tokens)
    if data.max_tokens > room:
        raise RecipeError(
            f"data.max_tokens is {data.max_tokens}, but the language model of {here} has only room for {room}"
        )
