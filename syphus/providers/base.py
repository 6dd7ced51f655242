"""The seam to every model: one method.

A provider raises only the errors of `syphus.errors`, and never puts a key into their text. It makes one attempt:
retrying is the caller's business (`syphus.pacing`).
"""

from types import TracebackType
from typing import Protocol, Self

from syphus.request import Completion, Request


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
