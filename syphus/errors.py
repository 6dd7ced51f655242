"""What can go wrong between an annotation file and a stored pair.

MimicitError
├── TaskError               a prompt folder that is missing or wrong
├── AnnotationError         an annotation file that cannot be read at all
└── ProviderError           the model did not answer
    ├── StopError           nor will it answer anything else: wrong key, unknown model, no credit
    │   └── BudgetError     we will not ask anything else: the budget is used up
    ├── RefusedError        it will not answer this request: bad request, prompt too long
    │   └── ContentError    its content policy forbids it
    └── RetryError          it may answer later
        ├── RateLimitError          too many requests or tokens: says nothing about the request
        ├── TimedOutError           no answer in time; it may have been computed, and billed
        ├── ServerError             5xx
        └── ConnectionLostError     before or within the answer
Interrupted                 the user stopped the run
ReplyError                  it answered, but no pairs can be read from it; keeps the reply
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mimicit.errors import MimicitError

if TYPE_CHECKING:
    from syphus.limits import Limits


class TaskError(MimicitError):
    pass


class AnnotationError(MimicitError):
    pass


class ProviderError(MimicitError):
    """Carry what else the provider said: its status, and what its headers say of its limits."""

    kind: ClassVar[str] = "provider"
    """The class as the ledger and the progress display name it."""

    def __init__(
        self, message: str, *, status: int | None = None, limits: Limits | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.limits = limits


class StopError(ProviderError):
    kind = "stop"


class BudgetError(StopError):
    kind = "budget"


class RefusedError(ProviderError):
    kind = "refused"


class ContentError(RefusedError):
    kind = "content"


class RetryError(ProviderError):
    """Carry the provider's own waiting time, where it named one."""

    kind = "retry"

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        status: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(message, status=status, limits=limits)
        self.retry_after = retry_after
        """Seconds."""


class RateLimitError(RetryError):
    kind = "rate_limit"


class TimedOutError(RetryError):
    kind = "timeout"


class ServerError(RetryError):
    kind = "server"


class ConnectionLostError(RetryError):
    kind = "connection"


class Interrupted(Exception):
    """The user stopped the run; what was on its way was awaited. No KeyboardInterrupt: that would break the event loop."""


class ReplyError(Exception):
    """Keep the evidence: the reply that could not be read, and why."""

    def __init__(self, reason: str, reply: str) -> None:
        super().__init__(reason)
        self.reply = reply
