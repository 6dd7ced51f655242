"""POST over libcurl, driven by the event loop.

libcurl (`curl`) keeps the connections, finds the proxy's way, checks certificates and unpacks bodies, for about two thirds of
what aiohttp costs the processor (benchmarks/generation/clients.py). What is added here is what this project asks of a client:

- a request leaves once: libcurl would silently repeat one whose connection was closed before an answer, which may be paid twice;
- a body has a bound, counted after it is unpacked;
- what goes wrong is an error of `syphus.errors`, and says whether the request had left.

Redirects are not followed, cookies and `.netrc` are not used.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import pycurl

from syphus.errors import ConnectionLostError, ProviderError, StopError, TimedOutError
from syphus.providers.base import MAX_REPLY, valid
from syphus.providers.curl import Transfers
from syphus.providers.secrets import first_line

CONNECT = 60.0
"""Seconds until a connection stands."""
LONGEST_REFUSAL = 64 * 1024
"""Bytes that are read of an answer that is none."""
_IDLE = 60
"""Seconds that an unused connection is kept."""
_CONNECTIONS = 65_536
"""That are kept at most; how many there are is the pacing's business."""


class Response(NamedTuple):
    status: int
    lines: list[bytes]
    """Of the head, as they came."""
    content: bytes
    """Unpacked."""
    is_cut: bool
    """Whether the body is longer than what is read of one."""

    @property
    def has_limits(self) -> bool:
        """Say whether a header may name a limit of the provider; cheaper than reading all."""
        return b"ratelimit" in b"".join(self.lines).lower()

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers, with names in small letters."""
        found: dict[str, str] = {}
        for line in self.lines:
            name, colon, value = line.decode("latin-1").partition(":")
            if colon:
                found[name.strip().lower()] = value.strip()
            elif line.startswith(b"HTTP/"):
                found.clear()  # what came before was an interim answer's
        return found


class Http:
    """Connections to one host, to be entered before anything is sent."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, timeout: float, proxy: str | None = None
    ) -> None:
        """Name the host; nothing is sent yet.

        Args:
            url: The default address.
            headers: Sent with every request.
            timeout: Seconds for one answer, from the first byte sent to the last one received.
            proxy: Its address, where there is one; `proxy_of` finds what the environment names.

        Raises:
            StopError: a header holds a line break.
        """
        self._address = url
        self._lines = _lines(headers)
        self._timeout = timeout
        self._proxy = proxy or ""
        self._idle: list[_Transfer] = []

    async def __aenter__(self) -> Self:
        self._transfers = Transfers(kept=_CONNECTIONS)
        is_secured = "https:" in (self._address[:6], self._proxy[:6])
        self._certificates = _certificates() if is_secured else None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._transfers.close()
        while self._idle:
            self._idle.pop().curl.close()

    async def post(
        self, data: bytes, *, url: str | None = None, more: Mapping[str, str] | None = None
    ) -> Response:
        """Send a body and return what is answered, whatever its status.

        Args:
            data: The body.
            url: Another address than the default one, of the same host.
            more: More headers.

        Raises:
            ConnectionLostError: there was no connection, or it broke.
            TimedOutError: the answer did not come in time.
            StopError: the address is none, or its certificate is not trusted.
        """
        transfer = self._idle.pop() if self._idle else self._transfer()
        transfer.begin(
            url or self._address, data, [*self._lines, *_lines(more)] if more else self._lines
        )
        try:
            await self._transfers.perform(transfer.curl)
        except pycurl.error as error:
            if not transfer.is_cut:
                raise self._translated(transfer, *error.args) from None
        # One that was cancelled is still being taken down: it is not used again.
        response = transfer.response()
        self._idle.append(transfer)
        return response

    def _transfer(self) -> _Transfer:
        """Return a new transfer with what all have in common."""
        curl = pycurl.Curl()
        for option, value in (
            (pycurl.POST, 1),
            (pycurl.USERAGENT, "syphus"),
            (pycurl.ACCEPT_ENCODING, "gzip, deflate"),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.PROXY, self._proxy),
            (pycurl.TIMEOUT_MS, max(1, round(self._timeout * 1000))),
            (pycurl.CONNECTTIMEOUT_MS, round(CONNECT * 1000)),
            (pycurl.MAXAGE_CONN, _IDLE),
            (pycurl.TCP_KEEPALIVE, 1),
            (pycurl.NOSIGNAL, 1),
        ):
            curl.setopt(option, value)
        if self._certificates:
            curl.setopt(pycurl.CAINFO, self._certificates)
            curl.setopt(pycurl.PROXY_CAINFO, self._certificates)
            if folder := os.environ.get("SSL_CERT_DIR"):
                curl.setopt(pycurl.CAPATH, folder)
        return _Transfer(curl)

    def _translated(self, transfer: _Transfer, code: int, message: str = "") -> ProviderError:
        """Return what libcurl raises as our error."""
        if code == pycurl.E_OPERATION_TIMEDOUT:
            if transfer.times_left:
                return TimedOutError(f"no answer within {self._timeout:g} s")
            return ConnectionLostError(f"no connection within {min(CONNECT, self._timeout):g} s")
        if code == pycurl.E_ABORTED_BY_CALLBACK:
            message = "the server closed it before it answered"
        said = first_line(valid(message), otherwise=f"libcurl's error {code}")
        is_address = code in (pycurl.E_URL_MALFORMAT, pycurl.E_UNSUPPORTED_PROTOCOL)
        if is_address and not transfer.times_left:
            return StopError(f"the address of the provider is none: {said}; correct the base URL")
        if code in (pycurl.E_SSL_CACERT, pycurl.E_SSL_CACERT_BADFILE):
            return StopError(f"the provider's certificate is not trusted: {said}")
        return ConnectionLostError(f"the connection was lost: {said}")


class _Transfer:
    """One of libcurl's handles, and what came of its request; used for one request after another."""

    __slots__ = ("_lines", "_parts", "_sent", "_size", "_url", "curl", "is_cut", "times_left")

    def __init__(self, curl: pycurl.Curl) -> None:
        self.curl = curl
        self._lines: list[bytes] = []
        self._url = ""
        self._sent: Sequence[bytes] | None = None
        curl.setopt(pycurl.HEADERFUNCTION, self._lines.append)
        curl.setopt(pycurl.WRITEFUNCTION, self._take)
        curl.setopt(pycurl.PREREQFUNCTION, self._leave)

    def begin(self, url: str, data: bytes, headers: list[bytes]) -> None:
        if url != self._url:
            self.curl.setopt(pycurl.URL, url)
            self._url = url
        if headers is not self._sent:
            self.curl.setopt(pycurl.HTTPHEADER, headers)
            self._sent = headers
        self.curl.setopt(pycurl.POSTFIELDS, data)
        self._lines.clear()
        self._parts: list[bytes] = []
        self._size = self.times_left = 0
        self.is_cut = False

    def response(self) -> Response:
        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        return Response(status, self._lines[:], b"".join(self._parts), self.is_cut)

    def _leave(self, *connection: Any) -> int:
        """Say whether the request may go out on a connection: the first time only."""
        self.times_left += 1
        return int(pycurl.PREREQFUNC_OK if self.times_left == 1 else pycurl.PREREQFUNC_ABORT)

    def _take(self, part: bytes) -> int:
        """Keep a part of the body; what is not the part's size ends the transfer."""
        self._parts.append(part)
        self._size += len(part)
        if self._size > LONGEST_REFUSAL and (self._size > MAX_REPLY or not self._is_good()):
            self.is_cut = True
            return 0
        return len(part)

    def _is_good(self) -> bool:
        head = next(line for line in reversed(self._lines) if line.startswith(b"HTTP/"))
        return head.split()[1:2] == [b"200"]


def _lines(headers: Mapping[str, str]) -> list[bytes]:
    """Write headers as libcurl takes them.

    Raises:
        StopError: one would begin another.
    """
    lines = []
    for name, value in headers.items():
        if not value.isprintable():
            raise StopError(
                f"the header {name!r} holds a line break; correct the variable it comes from"
            )
        lines.append(f"{name}: {value}".encode())
    return lines


def _certificates() -> str:
    """Return the file of the authorities that are trusted: the user's, the system's, or certifi's.

    libcurl brings its own OpenSSL, which does not know where this system keeps them.
    """
    named = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if named:
        return named
    import certifi

    return certifi.where()


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for an address: asked once, not for each request."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
