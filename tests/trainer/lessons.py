"""A snapshot's records as Otter's examples."""

from trainer.config import Data
from trainer.data import Examples
from trainer.families.otter import OtterEncoder
from trainer.models.otter_processor import OtterProcessor
from trainer.sources.mix import Mix, Part
from trainer.sources.snapshot import SnapshotSource
from trainer.tokenizer import make_tokenizer


def mix_of(snapshot, *, pictures="frames"):
    return Mix([Part("all", SnapshotSource(snapshot, pictures=pictures), draws=len(snapshot))])


def lessons_of(
    snapshot,
    processor,
    *,
    max_tokens,
    max_frames=None,
    pictures="frames",
    cache_bytes=0,
    **settings,
):
    encoder = OtterEncoder(processor, Data(max_tokens=max_tokens, **settings), max_frames)
    return Examples(mix_of(snapshot, pictures=pictures), encoder, cache_bytes=cache_bytes)


def otter_processor(snapshot, *, vocab_size=300, **options):
    tokenizer = make_tokenizer("train", mix_of(snapshot).texts, vocab_size=vocab_size)
    OtterProcessor.add_special_tokens(tokenizer)
    return OtterProcessor(tokenizer, **options)
