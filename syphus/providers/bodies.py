"""Requests as providers are sent them, and their replies as Completions: pure functions of JSON values.

Two families: OpenAI's chat completions, which most providers speak, and Anthropic's messages. A body is what LiteLLM would
send for the same request, name by name and in its order (tests/syphus/providers/test_equivalence.py). The same bodies go
one by one (`direct`) and in batches.

Anthropic keeps a prompt's prefix for later requests where it is marked: the mark stands after the system message and after
the last example, which is where a run's requests begin to differ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from syphus.errors import RefusedError, StopError
from syphus.prices import facts_of
from syphus.providers.anthropic_schema import anthropic_schema
from syphus.providers.base import MAX_REPLY, NO_CHOICE, NUMBER, count, too_long, valid
from syphus.providers.secrets import first_line
from syphus.providers.targets import family, sampled, split
from syphus.request import Completion, Message, Request

if TYPE_CHECKING:
    from syphus.limits import Limits

Json = dict[str, Any]
Again = Callable[[Hashable, Callable[[], Any]], Any]
"""Return a list or an object that many requests have in common, perhaps in a form that is faster to encode."""

CACHE_MARK = {"type": "ephemeral"}
_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}

# What reading an answer of another form raises.
_MISSHAPEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def _anew(key: Hashable, make: Callable[[], Any]) -> Any:
    return make()


# Requests


def body_of(request: Request, *, model: str, again: Again = _anew) -> Json:
    """Return a request's body in the form of the model's family."""
    make = anthropic_body if family(model) == "anthropic" else openai_body
    return make(request, model=model, again=again)


def openai_body(request: Request, *, model: str, again: Again = _anew) -> Json:
    """Return a body for chat completions.

    Args:
        request: What is asked.
        model: As LiteLLM writes it: `groq/openai/gpt-oss-20b`.
        again: Called with the parts that many requests share.

    Raises:
        StopError: only LiteLLM knows how this model is asked.
        RefusedError: the request has pictures, and the model takes none.
    """
    provider, name = split(model)
    check_pictures(request, model)
    prompt = again(request.prompt.digest, lambda: _openai_messages(request.prompt.messages, model))
    params = _params(request, model)
    if wants_schema(request, model):
        params["response_format"] = again(
            (request.form, request.schema), lambda: response_format(request)
        )
    if request.sampling.seed is not None:
        params["random_seed" if provider == "mistral" else "seed"] = request.sampling.seed
    if provider == "azure":
        params = dict(sorted(params.items()))
    body = {"model": name, "messages": [*prompt, *_asked(request)], **params}
    if provider == "openrouter":
        body["usage"] = {"include": True}
    return body


def anthropic_body(request: Request, *, model: str, again: Again = _anew) -> Json:
    """Return a body for Anthropic's messages; arguments and errors are those of `openai_body`.

    Where it holds `output_format`, the request needs the headers of `anthropic_headers` too.
    """
    digest = request.prompt.digest
    marked = marked_messages(request.prompt.messages)
    if request.prompt.messages[-1].role == "user":  # it becomes one message with the query
        messages = _joined([*_turns(marked), *_own_turns(request)])
    else:
        messages = [*again(digest, lambda: _joined(_turns(marked))), *_joined(_own_turns(request))]
    body = {"model": split(model)[1], "messages": messages, **_params(request, model)}
    if wants_schema(request, model):
        body["output_format"] = again(
            (request.form, request.schema), lambda: _output_format(request)
        )
    if any(message.role == "system" for message in request.prompt.messages):
        body["system"] = again(("system", digest), lambda: _system(marked))
    return body


def anthropic_headers(body: Json) -> dict[str, str]:
    """Return the headers that a body needs beside those of every request."""
    return {"anthropic-beta": "structured-outputs-2025-11-13"} if "output_format" in body else {}


def wants_schema(request: Request, model: str) -> bool:
    """Say whether the provider sees to it that the reply fits the schema; others have the prompt's word."""
    return bool(request.schema) and facts_of(model).has_schema


def response_format(request: Request) -> Json:
    """Return the form of the reply as OpenAI is told it."""
    assert request.schema
    schema = {"name": request.form, "schema": json.loads(request.schema), "strict": True}
    return {"type": "json_schema", "json_schema": schema}


def check_pictures(request: Request, model: str) -> None:
    """See that no pictures are lost on the way: LiteLLM leaves them out for DeepSeek, in silence."""
    if request.pictures and split(model)[0] == "deepseek" and not facts_of(model).has_vision:
        raise RefusedError(f"{model!r} takes no pictures; ask without them, or ask another model")


def marked_messages(messages: Sequence[Message]) -> list[Json]:
    """Return a prompt's messages, with the marks that make Anthropic keep them."""
    last = len(messages) - 1
    systems = [n for n, message in enumerate(messages) if message.role == "system"]
    marks = {last, *systems[-1:]}
    return [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": message.content}
                | ({"cache_control": CACHE_MARK} if n in marks else {})
            ],
        }
        for n, message in enumerate(messages)
    ]


def _params(request: Request, model: str) -> Json:
    sampling = request.sampling
    how = sampled(model)
    if how is None:
        raise StopError(f"only LiteLLM knows how {model!r} is asked; use `--transport litellm`")
    params: Json = {}
    if how != "plain":
        params["max_completion_tokens"] = sampling.max_tokens
    if how != "none":
        params |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if how == "plain":
        params["max_tokens"] = sampling.max_tokens
    provider = split(model)[0]
    if provider == "anthropic" and how == "none":
        params = {"max_tokens": sampling.max_tokens}
    return params


def _openai_messages(messages: Sequence[Message], model: str) -> list[Json]:
    if split(model)[0] == "openai" and split(model)[1].startswith(("o3", "o4")):
        # LiteLLM's way with models that have no system message.
        return [
            {"content": message.content, "role": "user"}
            if message.role == "system"
            else {"role": message.role, "content": message.content}
            for message in messages
        ]
    return [{"role": message.role, "content": message.content} for message in messages]


def _asked(request: Request) -> list[Json]:
    """Return the query, after the pictures, and what follows it."""
    content: Any = request.query
    if request.pictures:
        content = [
            *(
                {"type": "image_url", "image_url": {"url": picture.data_url()}}
                for picture in request.pictures
            ),
            {"type": "text", "text": request.query},
        ]
    own: list[Json] = [{"role": "user", "content": content}]
    own += [{"role": message.role, "content": message.content} for message in request.repair]
    return own


def _turns(marked: Sequence[Json]) -> list[Json]:
    return [message for message in marked if message["role"] != "system"]


def _system(marked: Sequence[Json]) -> list[Json]:
    return [
        part for message in marked if message["role"] == "system" for part in message["content"]
    ]


def _own_turns(request: Request) -> list[Json]:
    parts: list[Json] = []
    for picture in request.pictures:
        head, _, data = picture.data_url().partition(",")
        mime = head.removeprefix("data:").removesuffix(";base64")
        source = {"type": "base64", "media_type": mime, "data": data}
        parts.append({"type": "image", "source": source})
    parts.append({"type": "text", "text": request.query})
    own = [{"role": "user", "content": parts}]
    own += [
        {"role": message.role, "content": [{"type": "text", "text": message.content}]}
        for message in request.repair
    ]
    return own


def _joined(turns: Sequence[Json]) -> list[Json]:
    """Make one message of those that the same side says one after the other."""
    joined: list[Json] = []
    for turn in turns:
        if joined and joined[-1]["role"] == turn["role"]:
            joined[-1] = {
                "role": turn["role"],
                "content": [*joined[-1]["content"], *turn["content"]],
            }
        else:
            joined.append(turn)
    return joined


def _output_format(request: Request) -> Json:
    assert request.schema
    return {"type": "json_schema", "schema": anthropic_schema(json.loads(request.schema))}


# Replies


def read_openai(answer: Any, *, model: str, limits: Limits | None = None) -> Completion:
    """Read a chat completion.

    Args:
        answer: The JSON value of a response with status 200.
        model: As the request named it.
        limits: What the response's headers said.

    Raises:
        RefusedError: it has another form, no choice, or too much text.
    """
    try:
        usual = _usual_completion(answer, model, limits)
        return usual or _openai_completion(answer, model, limits)
    except _MISSHAPEN as error:
        raise not_understood(error) from None


def read_anthropic(answer: Any, *, model: str, limits: Limits | None = None) -> Completion:
    """Read an answer to messages; arguments and errors are those of `read_openai`."""
    try:
        return _anthropic_completion(answer, model, limits)
    except _MISSHAPEN as error:
        raise not_understood(error) from None


def _usual_completion(answer: Any, model: str, limits: Limits | None) -> Completion | None:
    """Read an answer in which all is as it mostly is, as `_openai_completion` would, at half the time; None of any other."""
    try:
        [choice] = answer["choices"]
        text, reason, named = choice["message"]["content"], choice["finish_reason"], answer["model"]
        usage = answer["usage"]
        prompt, completed = usage["prompt_tokens"], usage["completion_tokens"]
        said, details = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
        cached = said["cached_tokens"] if said else 0
        rare = (said and said.get("cache_write_tokens")) or "cost" in usage
        rare = rare or (details and details.get("reasoning_tokens"))
    except _MISSHAPEN:
        return None
    counts = type(prompt) is type(completed) is type(cached) is int
    if rare or not (counts and type(text) is type(reason) is type(named) is str and text and named):
        return None
    few = 0 <= prompt < 2**53 and 0 <= completed < 2**53 and 0 <= cached < 2**53
    if not few or len(text) * 4 > MAX_REPLY or len(named) > 200 or reason != "stop":
        return None
    price = facts_of(model).price
    usd = price.cost(prompt, completed, cached=cached) if price else None
    return Completion(
        valid(text), reason, valid(named), prompt, completed, cached, usd, 0, 0, limits
    )


def _openai_completion(answer: Any, model: str, limits: Limits | None) -> Completion:
    choices = answer.get("choices")
    if not choices or not isinstance(choices, list):
        raise RefusedError(NO_CHOICE)
    choice = choices[0]
    message = choice["message"]
    reason = choice.get("finish_reason")
    if message.get("refusal") and not message.get("content"):
        reason = "content_filter"
    usage = _object(answer.get("usage"), "usage")
    prompt, completion = _tokens(usage, "prompt_tokens"), _tokens(usage, "completion_tokens")
    said, details = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    reasoning = _detail(details, "reasoning_tokens")
    if reasoning and _tokens(usage, "total_tokens") == prompt + completion + reasoning:
        completion += reasoning  # xAI counts them apart
    return _completion(
        _text(message.get("content")),
        reason,
        answer.get("model"),
        model=model,
        counts=(prompt, completion, _detail(said, "cached_tokens")),
        cache_write=_detail(said, "cache_write_tokens"),
        reasoning=reasoning,
        cost=usage.get("cost") if split(model)[0] == "openrouter" else None,
        limits=limits,
    )


def _anthropic_completion(answer: Any, model: str, limits: Limits | None) -> Completion:
    parts = answer.get("content")
    if not isinstance(parts, list) or (not parts and answer.get("stop_reason") != "refusal"):
        raise RefusedError(NO_CHOICE)
    text = "".join(_text(part["text"]) for part in parts if part["type"] == "text")
    usage = _object(answer.get("usage"), "usage")
    cached = _tokens(usage, "cache_read_input_tokens")
    written = _tokens(usage, "cache_creation_input_tokens")
    # Anthropic counts these two apart.
    prompt = _tokens(usage, "input_tokens") + cached + written
    reason = answer.get("stop_reason")
    return _completion(
        text,
        _REASONS.get(reason, reason) if isinstance(reason, str) else reason,
        answer.get("model"),
        model=model,
        counts=(prompt, _tokens(usage, "output_tokens"), cached),
        cache_write=written,
        reasoning=0,
        cost=None,
        limits=limits,
    )


def _completion(
    text: str,
    reason: object,
    named: object,
    *,
    model: str,
    counts: tuple[float, float, float],
    cache_write: float,
    reasoning: float,
    cost: object,
    limits: Limits | None,
) -> Completion:
    if problem := too_long(text):
        raise RefusedError(problem)
    if isinstance(reason, list | dict):
        raise TypeError(f"the reason of the end is a {type(reason).__name__}")
    prompt, completed, cached = map(count, counts)
    written, thought = count(cache_write), count(reasoning)
    usd: float | None = None
    if (prompt, completed, cached) == counts:  # what nobody can have used has no price
        if isinstance(cost, int | float) and math.isfinite(cost) and cost >= 0:
            usd = float(cost)
        elif price := facts_of(model).price:
            usd = price.cost(
                prompt, completed, cached=cached, cache_write=written, reasoning=thought
            )
    return Completion(
        text=valid(text),
        finish_reason=valid(str(reason or "stop")),
        model=valid(named)[:200] if isinstance(named, str) and named else model,
        prompt_tokens=prompt,
        completion_tokens=completed,
        cached_tokens=cached,
        cost_usd=usd,
        cache_write_tokens=written,
        reasoning_tokens=thought,
        limits=limits,
    )


def not_understood(error: Exception) -> RefusedError:
    said = first_line(valid(str(error)), otherwise="")
    return RefusedError(f"the reply cannot be understood: {type(error).__name__}: {said}")


def _text(content: object) -> str:
    if content is None:
        return ""
    if not isinstance(content, str):
        raise TypeError(f"the text is a {type(content).__name__}")
    return content


def _object(value: object, name: str) -> Json:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"{name} is a {type(value).__name__}")
    return value


def _tokens(usage: Json, name: str) -> float:
    number = usage.get(name)
    if number is None:
        return 0
    if not isinstance(number, NUMBER) or not float(number).is_integer():
        raise TypeError(f"{name} is {number!r:.50}")
    return number


def _detail(details: object, name: str) -> float:
    number = details.get(name) if isinstance(details, dict) else None
    return number if isinstance(number, NUMBER) and number == number else 0
