"""Small repairs that every form needs: thoughts left out, whole texts without their wrapping."""

from __future__ import annotations

import re

from syphus.forms.patterns import lazily

_THOUGHT = lazily(r"^[ \t]*<(think|thinking|reasoning)>", re.IGNORECASE | re.MULTILINE)
# A reply may begin within its thoughts, where the prompt wrote the opening tag.
_THOUGHT_END = lazily(
    r"^[ \t]*</(?:think|thinking|reasoning)>|</(?:think|thinking|reasoning)>[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
# Control characters other than tab and newline: no text has them, and databases trip over some.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_INVISIBLE = "\ufeff\u200b\u200e\u200f\u2060"
_WRAPPINGS = (
    ("***", "***"),
    ("**", "**"),
    ("__", "__"),
    ("*", "*"),
    ("_", "_"),
    ('"', '"'),
    ("'", "'"),
    ("“", "”"),
    ("‘", "’"),
    ("«", "»"),
    ("„", "“"),
    ("「", "」"),
    ("『", "』"),
)
_WRAPPED_IN_WRAPPED = 3
"""Wrappings around one text, at most: `**"text"**` has two."""
_APOSTROPHE = lazily(r"(?<=\w)['’](?=\w)")


def without_thoughts(text: str) -> str:
    """Leave out `<think>…</think>`; a block without an end takes all that follows."""
    kept: list[str] = []
    at = 0
    while opening := _THOUGHT.search(text, at):
        kept.append(text[at : opening.start()])
        # Compared without regard to case, and from here on only: each character is looked at once.
        closing = re.compile(f"</{opening[1]}>", re.IGNORECASE).search(text, opening.end())
        if not closing:
            at = len(text)
            break
        at = closing.end()
    kept.append(text[at:])
    text = "".join(kept)
    ends = [end.end() for end in _THOUGHT_END.finditer(text)]
    return text[ends[-1] :] if ends else text


def clean(text: str) -> str:
    """Strip space and what wraps a whole text: quotes and emphasis; inner ones stay."""
    text = stripped(_CONTROL.sub("", text))
    if text[:1].isalnum():  # most texts: no wrapping begins with a letter or digit
        return text
    for _ in range(_WRAPPED_IN_WRAPPED):
        inner = _unwrapped(text)
        if inner == text:
            break
        text = inner
    return text


def says_something(text: str) -> bool:
    """Return whether a text has a letter or a digit, of any script."""
    return any(map(str.isalnum, text))


def stripped(text: str) -> str:
    """Strip space, and characters that cannot be seen."""
    return text.strip().strip(_INVISIBLE).strip()


def _unwrapped(text: str) -> str:
    for opening, closing in _WRAPPINGS:
        if len(text) <= len(opening) + len(closing):
            continue
        if text.startswith(opening) and text.endswith(closing):
            inner = text[len(opening) : -len(closing)]
            seen = _APOSTROPHE.sub("", inner) if closing in "'’" else inner
            # `"Yes", she said, "no"` is not one quotation.
            if opening not in seen and closing not in seen and says_something(inner):
                return stripped(inner)
    return text
