"""One question to a model and its answer, as values.

A request's key is a hash over everything that can change the answer and nothing else. That one choice gives
resuming, extending a dataset, reordering it, and editing a single annotation without paying for the others again.
The prompt (system message and examples) comes first and is the same for all requests of a run, so that providers and
llama.cpp can reuse what they computed for it.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal

KEY_VERSION = 1


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 512
    """Tokens of the reply, at most."""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What a reply must look like: so many question–answer pairs."""

    min_pairs: int = 1
    max_pairs: int = 8


@dataclass(frozen=True)
class Prompt:
    """The part of the request that never changes within a run."""

    task: str
    version: int
    messages: tuple[Message, ...]

    @cached_property
    def digest(self) -> str:
        return _digest([asdict(message) for message in self.messages])


@dataclass(frozen=True)
class Request:
    context_id: str
    """Whose annotations are asked about; not part of the key."""
    model: str
    prompt: Prompt
    query: str
    sampling: Sampling
    shape: Shape
    sample: int = 0
    """Which of several answers to the same question."""

    @property
    def messages(self) -> tuple[Message, ...]:
        return (*self.prompt.messages, Message("user", self.query))

    @cached_property
    def key(self) -> str:
        return _digest(
            {
                "v": KEY_VERSION,
                "model": self.model,
                "prompt": self.prompt.digest,
                "query": self.query,
                "sampling": asdict(self.sampling),
                "shape": asdict(self.shape),
                "sample": self.sample,
            }
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


def _digest(value: object) -> str:
    """Hash a JSON value: BLAKE2b, 128 bits, over its canonical form."""
    canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()
