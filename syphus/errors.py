"""What can go wrong between an annotation file and a stored pair.

MimicitError
├── TaskError               a prompt folder that is missing or wrong
├── AnnotationError         an annotation file that cannot be read at all
└── ProviderError           the model did not answer
    ├── StopError           nor will it answer anything else: wrong key, unknown model, no credit
    ├── RefusedError        it will not answer this request: bad request, content policy
    └── RetryError          it may answer later: rate limit, timeout, server error, connection
ReplyError                  it answered, but no pairs can be read from it; keeps the reply
"""

from mimicit.errors import MimicitError


class TaskError(MimicitError):
    pass


class AnnotationError(MimicitError):
    pass


class ProviderError(MimicitError):
    pass


class StopError(ProviderError):
    pass


class RefusedError(ProviderError):
    pass


class RetryError(ProviderError):
    """Carry the provider's own waiting time, where it named one."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds."""


class ReplyError(Exception):
    """Keep the evidence: the reply that could not be read, and why."""

    def __init__(self, reason: str, reply: str) -> None:
        super().__init__(reason)
        self.reply = reply
