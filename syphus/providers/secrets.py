"""Keys and passwords stay out of what is shown or written: providers quote the one that they did not accept.

Two ways at once: what the environment holds is looked for as it is, and what looks like a key is taken for one.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote

_SECRET = [
    # user:password@, where a password may hold a slash, but no port is taken for one
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#\"'<>]+@"), r"\1"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/:@]*:(?!\d+/)[^\s@\"'<>]+@"), r"\1"),
    (re.compile(r"(?i)([?&](?:\w*key|\w*token|password|sig)=)[^\s&\"'<>]+"), r"\1…"),
    (re.compile(r"\b(Bearer|Basic) (?=\S*[A-Z0-9=])[\w.~+/=*-]{4,}"), r"\1 …"),
    (re.compile(r"\b(sk|pk|gsk|hf|xai|key)[-_][\w*-]{4,}"), r"\1-…"),
    (re.compile(r"\bAIza[\w*-]{4,}"), "…"),
    (re.compile(r"[\w-]*\*{3,}[\w-]*"), "…"),
]
_SHORTEST = 8
"""Characters; a shorter value of the environment is rather a word than a key."""
_remembered: set[str] = set()


def remember(secret: str) -> None:
    """Take out this text from now on, whatever the variable is called that held it."""
    if len(secret) >= _SHORTEST:
        _remembered.add(secret)


def without_keys(text: str) -> str:
    """Return a text without what may be a key or a password."""
    for secret in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(secret, "…")
    for pattern, instead in _SECRET:
        text = pattern.sub(instead, text)
    return text


def first_line(text: str, *, otherwise: str) -> str:
    """Return the first line of what a provider or a library said, without keys and tracebacks."""
    lines = (line.partition("Traceback (")[0].strip() for line in text.splitlines())
    return without_keys(next(filter(None, lines), otherwise)[:4_000])[:500]


def _secrets() -> set[str]:
    """Return the keys and passwords that the environment holds, also as a URL writes them."""
    found = set(_remembered)
    for name, value in os.environ.items():
        if re.search(r"KEY|TOKEN|SECRET|PASSWORD", name.upper()):
            found.update(line for line in value.splitlines() if len(line) >= _SHORTEST)
        if url := re.match(r"[A-Za-z][\w+.-]*://[^:/@\s]*:(\S{4,})@", value):
            found.add(url[1])
    return found | {quote(secret, safe="") for secret in found}
