"""One question to a model and its answer, as values.

A request's key is a hash over everything that can change the answer and nothing else. That one choice gives
resuming, extending a dataset, reordering it, and editing a single annotation without paying for the others again.
The prompt (system message and examples) comes first and is the same for all requests of a run, so that providers and
llama.cpp can reuse what they computed for it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from syphus.limits import Limits

KEY_VERSION = 1
_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
SHOWN_OF_REPLY = 2_000
"""Characters of an unreadable reply that the model is shown again."""


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str

    def as_dict(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class Sampling:
    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 512
    """Tokens of the reply, at most."""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """How much a reply must hold."""

    min_pairs: int = 1
    max_pairs: int = 8
    rounds: int = 0
    """Pairs of one conversation, where pairs come in conversations."""
    options: int = 0
    """Choices of one question, where there are choices."""
    sentences: int = 0
    """Of one answer, at most, where a grammar holds the model to it; 0 is one."""

    def as_dict(self) -> dict[str, int]:
        found = {"min_pairs": self.min_pairs, "max_pairs": self.max_pairs}
        rarer = {"rounds": self.rounds, "options": self.options, "sentences": self.sentences}
        return found | {name: n for name, n in rarer.items() if n}


@dataclass(frozen=True, slots=True)
class SeenPicture:
    """A picture as it is sent: perhaps smaller than it was."""

    sha256: str
    """Of `data`."""
    mime: str
    data: bytes

    def data_url(self) -> str:
        """Return it as `data:image/jpeg;base64,…`."""
        import pybase64

        return f"data:{self.mime};base64,{pybase64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Prompt:
    """The part of the request that never changes within a run."""

    task: str
    version: int
    messages: tuple[Message, ...]

    @cached_property
    def digest(self) -> str:
        return digest(_CANONICAL.encode([message.as_dict() for message in self.messages]))


@dataclass(frozen=True)
class Request:
    context_id: str
    """Whose annotations are asked about; not part of the key."""
    model: str
    prompt: Prompt
    query: str
    sampling: Sampling
    shape: Shape = Shape()
    sample: int = 0
    """Which of several answers to the same question."""
    form: str = "pairs"
    """Which of `syphus.forms` the reply has, or the name of a schema of its own."""
    schema: str | None = None
    """JSON schema of the reply, where JSON is wanted."""
    pictures: tuple[SeenPicture, ...] = ()
    """Pictures that the model is shown, before the query."""
    repair: tuple[Message, ...] = ()
    """An unreadable reply and what was wrong with it."""

    @property
    def messages(self) -> tuple[Message, ...]:
        return (*self.prompt.messages, Message("user", self.query), *self.repair)

    def again(self, reply: str, problem: str) -> Request:
        """Return the next sample: the same question, with the bad reply and what was wrong with it."""
        shown = reply if len(reply) <= SHOWN_OF_REPLY else reply[:SHOWN_OF_REPLY] + " …"
        wanted = "as JSON of the given form" if self.schema else "in the given form"
        said = f"This reply cannot be used: {problem}. Write it again, {wanted}."
        repair = (Message("assistant", shown or "(nothing)"), Message("user", said))
        seed = None if self.sampling.seed is None else self.sampling.seed + 1
        sampling = replace(self.sampling, seed=seed)
        return replace(self, sampling=sampling, sample=self.sample + 1, repair=repair)

    @cached_property
    def key(self) -> str:
        return digest(self._canonical())

    def _canonical(self) -> str:
        """Write what enters the key as JSON with sorted names and no spaces; what most requests do not have is left out.

        Put together by hand, since it is done for millions of requests; `test_request.py` compares it with `json.dumps`.
        """
        write, sampling = _CANONICAL.encode, self.sampling
        seed = "null" if sampling.seed is None else sampling.seed
        form = f'"form":{write(self.form)},' if self.form != "pairs" else ""
        pictures = repair = schema = ""
        if self.pictures:
            pictures = f'"pictures":{write([picture.sha256 for picture in self.pictures])},'
        if self.repair:
            repair = f'"repair":{write([message.as_dict() for message in self.repair])},'
        if self.schema:
            schema = f'"schema":{write(self.schema)},'
        return (
            f'{{{form}"model":{write(self.model)},{pictures}"prompt":"{self.prompt.digest}",'
            f'"query":{write(self.query)},{repair}"sample":{self.sample},'
            f'"sampling":{{"max_tokens":{sampling.max_tokens},"seed":{seed},'
            f'"temperature":{sampling.temperature!r},"top_p":{sampling.top_p!r}}},{schema}'
            f'"shape":{_shape(self.shape)},"v":{KEY_VERSION}}}'
        )


@dataclass(frozen=True, slots=True)
class Completion:
    text: str
    finish_reason: str
    """`stop`, `length`, `content_filter`, … as the provider says."""
    model: str
    """The model as the provider names it."""
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """Of the prompt's tokens, those that were not computed again."""
    cost_usd: float | None = None
    """None where no price is known; 0.0 for the embedded model."""
    cache_write_tokens: int = 0
    """Of the prompt's tokens, those that were kept for later, where the provider charges for that."""
    reasoning_tokens: int = 0
    """Of the completion's tokens, those that are not in the text."""
    limits: Limits | None = None
    """What the headers say of the provider's limits."""


@cache
def _shape(shape: Shape) -> str:
    return _CANONICAL.encode(shape.as_dict())


def digest(text: str) -> str:
    """Return what names a text, a JSON value in its canonical form for one: BLAKE2b, 128 bits, as hexadecimal digits."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
