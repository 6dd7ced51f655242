"""The seam to every model: one method.

A provider raises only the errors of `syphus.errors`, and never puts a key into their text. It makes one attempt:
retrying is the caller's business (`syphus.pacing`).
"""

from types import TracebackType
from typing import Protocol, Self

from syphus.request import Completion, Request

TIMEOUT = 600.0
"""Seconds for one answer, from the first byte sent to the last one received."""
MAX_REPLY = 32 * 2**20
"""Bytes of a reply's text."""
NO_CHOICE = "the reply holds no choice"

NUMBER = (int, float)
_MAX_COUNT = 2**53
"""Tokens; a number beyond it is nobody's count."""


class Provider(Protocol):
    concurrency: int
    """Requests at once that suit it, where the user names no number."""

    async def complete(self, request: Request) -> Completion: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def valid(text: str) -> str:
    r"""Return a text that can be written as UTF-8: half a surrogate pair becomes U+FFFD.

    JSON can hold one (`"\ud800"`), files and databases cannot.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def count(number: object) -> int:
    """Return a provider's number of tokens as one that a database can add up."""
    if isinstance(number, NUMBER) and number > 0:
        return int(min(number, _MAX_COUNT))
    return 0


def too_long(text: str) -> str | None:
    """Return what is wrong with a reply of more than `MAX_REPLY` bytes."""
    if len(text) * 4 <= MAX_REPLY or (size := len(text.encode())) <= MAX_REPLY:
        return None
    return (
        f"the reply has {size / 2**20:.0f} MB of text; no more than {MAX_REPLY // 2**20} MB "
        "are taken"
    )
