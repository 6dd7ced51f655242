"""A server that keeps what it was sent, byte for byte, and answers in the form of whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.server import in_thread

LIMITS = {
    "x-ratelimit-limit-requests": "5000",
    "x-ratelimit-remaining-requests": "4990",
    "x-ratelimit-reset-requests": "2s",
}
OPENAI = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "answering-model",
    "service_tier": "on_demand",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "A kite."},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 120,
        "completion_tokens": 30,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 100},
        "completion_tokens_details": {"reasoning_tokens": 7},
    },
}
ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "answering-model",
    "content": [{"type": "text", "text": "A kite."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 20,
        "output_tokens": 30,
        "cache_read_input_tokens": 90,
        "cache_creation_input_tokens": 10,
    },
}
OLLAMA = {
    "model": "answering-model",
    "created_at": "2026-11-25T00:00:00Z",
    "message": {"role": "assistant", "content": "A kite."},
    "response": "A kite.",
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 120,
    "eval_count": 30,
}
GEMINI = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"text": "A kite."}]},
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 120,
        "candidatesTokenCount": 30,
        "totalTokenCount": 150,
        "cachedContentTokenCount": 100,
    },
    "modelVersion": "answering-model",
}
COHERE = {
    "id": "1",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "A kite."}]},
    "usage": {
        "billed_units": {"input_tokens": 120, "output_tokens": 30},
        "tokens": {"input_tokens": 120, "output_tokens": 30},
    },
}


@dataclass
class Sent:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Recorder:
    answer: Callable[[Sent], web.Response] | None = None
    """What to answer; None is a good answer."""
    delay: float = 0.0
    """Seconds before an answer."""
    sent: list[Sent] = field(default_factory=list)
    url: str = ""

    async def receive(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        sent = Sent(request.raw_path, headers, await request.read())
        self.sent.append(sent)
        await asyncio.sleep(self.delay)
        if self.answer:
            return self.answer(sent)
        forms = {
            "/v1/messages": ANTHROPIC,
            "/api/": OLLAMA,
            "generateContent": GEMINI,
            "/v2/chat": COHERE,
            "chat/completions": OPENAI,
        }
        body = next(form for part, form in forms.items() if part in _place(sent.path))
        return web.json_response(body, headers=LIMITS)


def _place(path: str) -> str:
    """Return a path in which OpenRouter's `/api/v1` is not taken for Ollama's `/api`."""
    return path.replace("/api/v1", "/v1")


@contextmanager
def record() -> Iterator[Recorder]:
    """Run the server in a thread of its own, on a free port of this machine."""
    recorder, app = Recorder(), web.Application(client_max_size=2**28)
    app.router.add_route("*", "/{path:.*}", recorder.receive)
    with in_thread(app) as recorder.url:
        yield recorder
