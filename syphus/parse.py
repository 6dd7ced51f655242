"""Reply -> pairs. Pure.

Models write the same pairs in many ways: with numbers, Markdown, JSON, "Q:" and "A:", answers over several lines, full-width
colons. All of these are read. What cannot be read becomes a `ReplyError` that keeps the reply, never silence.
"""

from __future__ import annotations

import json
import re
from typing import Any

from syphus.errors import ReplyError
from syphus.request import Shape
from syphus.task import Pair

_LABEL = re.compile(
    r"""^[\s>*_\#`•-]*               # Markdown around the label
        (?:\d+\s*[.):]\s*)?          # a number before it
        [*_]*\s*
        (?P<label>questions?|answers?|[qa])
        \s*\d*\s*                    # a number after it
        [*_]*\s*[:：][*_]*\s*
        (?P<text>.*)$""",
    re.IGNORECASE | re.VERBOSE,
)
_FENCE = re.compile(r"^\s*```\w*\s*$")


def parse_pairs(text: str, *, shape: Shape, finish_reason: str = "stop") -> tuple[Pair, ...]:
    """Read the pairs of a reply.

    Surplus pairs are left out. Where the reply was cut off (`finish_reason` is "length"), its last pair is not whole and is
    left out too.

    Raises:
        ReplyError: fewer pairs than the task asks for.
    """
    pairs = _from_json(text) or _from_lines(text)
    if finish_reason == "length":
        pairs = pairs[:-1]
    whole = [pair for pair in pairs if pair.question and pair.answer]
    if len(whole) < shape.min_pairs:
        cut = ", and it was cut off" if finish_reason == "length" else ""
        raise ReplyError(f"{len(whole)} readable pairs, fewer than {shape.min_pairs}{cut}", text)
    return tuple(whole[: shape.max_pairs])


def _from_lines(text: str) -> list[Pair]:
    """Read labelled lines; a line without a label goes on with the one before it."""
    parts: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if _FENCE.match(line):
            continue
        labelled = _LABEL.match(line)
        if labelled:
            parts.append((labelled["label"][0].lower(), [labelled["text"]]))
        elif parts:
            parts[-1][1].append(line)

    pairs: list[Pair] = []
    question = ""
    for kind, lines in parts:
        said = "\n".join(lines).strip(" \t\n*_")
        if kind == "q":
            question = said
        elif question:
            pairs.append(Pair(question=question, answer=said))
            question = ""
    return pairs


def _from_json(text: str) -> list[Pair]:
    """Read a JSON list of objects with a question and an answer, also inside other text or an object."""
    start = min((at for at in (text.find("["), text.find("{")) if at >= 0), default=-1)
    if start < 0:
        return []
    try:
        value, _ = json.JSONDecoder().raw_decode(text, start)
    except json.JSONDecodeError:
        return []
    return _pairs_in(value)


def _pairs_in(value: Any) -> list[Pair]:
    if isinstance(value, list):
        return [pair for item in value for pair in _pairs_in(item)]
    if not isinstance(value, dict):
        return []
    lower = {str(key).lower(): item for key, item in value.items()}
    question = lower.get("question", lower.get("q"))
    answer = lower.get("answer", lower.get("a"))
    if isinstance(question, str) and isinstance(answer, str):
        return [Pair(question=question.strip(), answer=answer.strip())]
    return [pair for item in value.values() for pair in _pairs_in(item)]
