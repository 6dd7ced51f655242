"""What the misbehaving provider answers: made up, but always the same for the same messages.

Every answer holds the fingerprint of the messages up to the query, so that a stale answer can be told from the right one. What comes
after the query (a reply that could not be read, and why) changes nothing, as it would change little in a model.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

GARBAGE = "I am not sure that I can help with this one today."
_THINGS = "sofa table window lamp chair shelf door plant mirror carpet clock basket"
_COLOURS = "red blue green white black yellow brown grey"
THINGS, COLOURS = _THINGS.split(), _COLOURS.split()


def fingerprint(messages: list[dict[str, Any]]) -> str:
    """Return what every answer to these messages holds: it follows from all up to the query."""
    return fingerprint_of(orjson.dumps(messages[: query_at(messages) + 1]))


def fingerprint_of(shown: bytes) -> str:
    return blake2b(shown, digest_size=6).hexdigest()


def query_at(messages: list[dict[str, Any]]) -> int:
    """Find the query: what comes after it is about a reply that could not be read."""
    last = len(messages) - 1
    for at in range(last, -1, -1):
        if messages[at]["role"] == "user" and "Notes:" in text_of(messages[at]):
            return at
    return last


def text_of(message: dict[str, Any]) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)


def pairs_for(mark: str) -> list[dict[str, str]]:
    """Make up three or four questions with answers, always the same for a fingerprint."""
    number = int(mark, 16)
    start = number % len(THINGS)
    found = []
    for n in range(3 + number % 2):
        thing, other = (THINGS[(start + n + by) % len(THINGS)] for by in (0, 5))
        colour = COLOURS[(number >> 4 * n) % len(COLOURS)]
        found.append(
            {
                "question": f"What stands beside the {thing} in this picture?",
                "answer": f"A {colour} {other} stands beside the {thing}, with the sign {mark}.",
            }
        )
    return found


def as_lines(pairs: list[dict[str, str]]) -> str:
    return "\n\n".join(f"Question: {p['question']}\nAnswer: {p['answer']}" for p in pairs)


@dataclass
class Asked:
    """One request, understood."""

    body: dict[str, Any]
    digest: bytes
    attempt: int
    """How often these bytes came before."""
    query: str
    mark: str
    prefix: bytes
    prefix_tokens: int
    tokens: int
    """Of the whole prompt."""
    claude: bool


def openai_reply(
    asked: Asked, text: str, fault: str, completion: int, cached: int, written: int
) -> bytes:
    reason = fault if fault == "content_filter" else "stop"
    return b"".join(
        (
            b'{"id":"chatcmpl-%b","object":"chat.completion","created":1,"model":'
            % asked.mark.encode(),
            orjson.dumps(asked.body["model"]),
            b',"choices":[{"index":0,"message":{"role":"assistant","content":',
            orjson.dumps(text),
            b'},"logprobs":null,"finish_reason":"%b"}],"usage":{"prompt_tokens":%d,'
            b'"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d}}}'
            % (reason.encode(), asked.tokens, completion, asked.tokens + completion, cached),
        )
    )


def claude_reply(
    asked: Asked, text: str, fault: str, completion: int, cached: int, written: int
) -> bytes:
    content: dict[str, Any] = {"type": "text", "text": text}
    if "tools" in asked.body and not fault:
        made = {"pairs": pairs_for(asked.mark)}
        name = asked.body["tools"][0]["name"]
        content = {"type": "tool_use", "id": f"toolu_{asked.mark}", "name": name, "input": made}
    return orjson.dumps(
        {
            "id": f"msg_{asked.mark}",
            "type": "message",
            "role": "assistant",
            "model": asked.body["model"],
            "content": [content] if fault != "content_filter" else [],
            "stop_reason": "refusal" if fault == "content_filter" else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": asked.tokens - cached - written,
                "cache_creation_input_tokens": written,
                "cache_read_input_tokens": cached,
                "output_tokens": completion,
            },
        }
    )


def quarter(text: str) -> int:
    return len(text) // 4 if text.isascii() else len(text.encode()) // 4


def shipped_encodings() -> Path:
    """Return the folder of the encodings that LiteLLM ships, named as tiktoken's cache names them."""
    spec = importlib.util.find_spec("litellm")
    assert spec, "pip install litellm"
    assert spec.origin
    return Path(spec.origin).parent / "litellm_core_utils" / "tokenizers"


def tiktoken_counter() -> Callable[[str], int]:
    """Count as gpt-4o does."""
    os.environ["TIKTOKEN_CACHE_DIR"] = str(shipped_encodings())
    import tiktoken

    encoding = tiktoken.get_encoding("o200k_base")
    return lambda text: len(encoding.encode_ordinary(text))
