"""Where a model's tokenizer comes from: a name, or the snapshot itself."""

from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mimicit.snapshot import Snapshot
from trainer.errors import TrainingError
from trainer.models.otter_processor import OtterProcessor


def make_tokenizer(name: str, snapshot: Snapshot, *, vocab_size: int) -> PreTrainedTokenizerBase:
    """Load a tokenizer by name, or train one where the name is `train`, and add Otter's special tokens."""
    tokenizer: PreTrainedTokenizerBase
    if name == "train":
        tokenizer = train_tokenizer(snapshot, vocab_size=vocab_size)
    else:
        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"model.tokenizer {name!r} cannot be loaded; give the folder of a tokenizer, or 'train'"
            ) from error
    OtterProcessor.add_special_tokens(tokenizer)
    return tokenizer


def train_tokenizer(snapshot: Snapshot, *, vocab_size: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE from a snapshot's questions and answers: it can write any text, and theirs briefly."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(snapshot), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, padding_side="right"
    )


def _texts(snapshot: Snapshot) -> Iterator[str]:
    for index in range(len(snapshot)):
        row = snapshot[index]
        yield f"User:{row.instruction} GPT:"
        yield row.answer
