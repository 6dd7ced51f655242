"""Pictures from addresses: politely, within limits, and only pictures.

A host is asked once in so many seconds, by all threads together, and left alone for as long as it says (`Retry-After`). What may pass
(a lost connection, a host that is overrun) is tried again, later each time; what may not (404) is not. A whole answer has a time and a size.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mimicit.errors import PictureError

MAX_BYTES = 64 << 20
TRIES = 4
BACKOFF = 1.0
"""Seconds before the second try; doubled before each further one."""
LONGEST_WAIT = 120.0
"""Seconds that a host is waited for, whatever it asks."""
_AGENT = "syphus-convert/1 (pictures of a research data set)"
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
_GONE = "photo_unavailable"
"""Flickr answers for a removed photo with this picture, and status 200."""


class StoppedError(Exception):
    """Nobody waits for the picture any more."""


class _PassingError(PictureError):
    """Worth another try."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


@dataclass
class Downloads:
    """Downloads of several threads."""

    delay: float = 0.2
    """Seconds between two requests to one host."""
    timeout: float = 30.0
    """Seconds for one answer as a whole."""
    stop: threading.Event = field(default_factory=threading.Event)
    _free_at: dict[str, float] = field(default_factory=dict)
    _turns: threading.Lock = field(default_factory=threading.Lock)
    _own: threading.local = field(default_factory=threading.local)

    def get(self, url: str) -> bytes:
        """Download a picture's bytes.

        Raises:
            PictureError: it is not there, or not within the limits; the message says why.
            StoppedError: `stop` was set.
        """
        host = _host(url)
        for attempt in range(TRIES):
            self._take_turn(host)
            try:
                return self._once(url)
            except _PassingError as error:
                if attempt + 1 == TRIES:
                    raise PictureError(f"{error}, {TRIES} times") from None
                pause = BACKOFF * 2**attempt * random.uniform(0.75, 1.25)
                if error.after is not None:
                    self._leave_alone(host, min(error.after, LONGEST_WAIT))
                self._wait(pause)
        raise AssertionError

    def _take_turn(self, host: str) -> None:
        with self._turns:
            now = time.monotonic()
            at = max(self._free_at.get(host, now), now)
            self._free_at[host] = at + self.delay
        self._wait(at - now)

    def _leave_alone(self, host: str, seconds: float) -> None:
        with self._turns:
            self._free_at[host] = max(self._free_at.get(host, 0.0), time.monotonic() + seconds)

    def _wait(self, seconds: float) -> None:
        if self.stop.wait(max(seconds, 0.0)):
            raise StoppedError

    def _once(self, url: str) -> bytes:
        import pycurl

        curl = self._curl()
        body, head = bytearray(), bytearray()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.WRITEFUNCTION, lambda part: _take(body, part))
        curl.setopt(pycurl.HEADERFUNCTION, lambda line: _take_head(head, line))
        try:
            curl.perform()
        except pycurl.error as error:
            if self.stop.is_set():
                raise StoppedError from None
            if len(body) > MAX_BYTES:
                raise PictureError(f"{url} is larger than {MAX_BYTES >> 20} MiB") from None
            raise self._failure(url, error) from None
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        if status in _PASSING:
            raise _PassingError(f"{url} answers with status {status}", _retry_after(head))
        if status != 200:
            raise PictureError(f"{url} answers with status {status}")
        if _GONE in curl.getinfo(pycurl.EFFECTIVE_URL):
            raise PictureError(f"{url} is no longer there: its host shows another picture instead")
        return bytes(body)

    def _failure(self, url: str, error: Any) -> PictureError:
        import pycurl

        code, said = error.args[0], str(error.args[1])
        if code in (pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_URL_MALFORMAT):
            return PictureError(f"{url} leads to an address that is not http or https")
        if code == pycurl.E_TOO_MANY_REDIRECTS:
            return PictureError(f"{url} is redirected too often")
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return _PassingError(f"{url} does not answer in {self.timeout:g} s")
        return _PassingError(f"{url} cannot be fetched: {said}")

    def _curl(self) -> Any:
        """Return this thread's handle, which keeps its connections."""
        import certifi
        import pycurl

        if (curl := getattr(self._own, "curl", None)) is not None:
            return curl
        self._own.curl = curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.CAINFO, certifi.where())
        curl.setopt(pycurl.USERAGENT, _AGENT)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.FOLLOWLOCATION, 1)
        curl.setopt(pycurl.MAXREDIRS, 5)
        curl.setopt(pycurl.TIMEOUT_MS, max(int(self.timeout * 1_000), 1))
        curl.setopt(pycurl.NOPROGRESS, 0)
        curl.setopt(pycurl.XFERINFOFUNCTION, lambda *sizes: int(self.stop.is_set()))
        return curl


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.scheme.lower() in ("http", "https") and parts.hostname:
            return parts.hostname
    except ValueError:
        pass
    raise PictureError(f"{url!r} is not an http or https address")


def _take(body: bytearray, part: bytes) -> int | None:
    body += part
    return None if len(body) <= MAX_BYTES else 0  # 0 ends it


def _take_head(head: bytearray, line: bytes) -> int | None:
    if line.startswith(b"HTTP/"):
        head.clear()  # of a redirect
    head += line
    return None if len(head) <= 1 << 18 else 0


def _retry_after(head: bytearray) -> float | None:
    """Return seconds; a date, which hosts of pictures do not send, says nothing here."""
    for line in head.decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "retry-after" and value.strip().isascii():
            return float(value) if value.strip().isdigit() else None
    return None
