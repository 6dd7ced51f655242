"""Where a model's tokenizer comes from: a name, or the texts that it will read."""

from collections.abc import Callable, Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from trainer import hub
from trainer.errors import CheckpointError, TrainingError
from trainer.published.tokens import load_tokenizer


def make_tokenizer(
    name: str, texts: Callable[[], Iterable[str]], *, vocab_size: int
) -> PreTrainedTokenizerBase:
    """Load a tokenizer by name, or train one on the texts where the name is `train`; without special tokens yet."""
    tokenizer: PreTrainedTokenizerBase
    if name == "train":
        tokenizer = train_tokenizer(texts(), vocab_size=vocab_size)
    else:
        try:
            tokenizer = load_tokenizer(hub.local(name, weights=False))
        except CheckpointError as error:
            raise TrainingError(
                f"model.tokenizer {name!r} cannot be loaded; give the folder of a tokenizer, or 'train'"
            ) from error
    return tokenizer


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE from questions and answers: it can write any text, and theirs briefly."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, padding_side="right"
    )
