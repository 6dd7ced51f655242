"""What a provider's headers say of its limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quota:
    limit: float
    """Requests or tokens that a full quota holds."""
    remaining: float
    reset: float | None
    """Seconds until it is full again; None where the headers do not say."""


@dataclass(frozen=True, slots=True)
class Limits:
    requests: Quota | None = None
    tokens: Quota | None = None
    """Where a provider counts prompt and reply apart, the one that is used up more."""
