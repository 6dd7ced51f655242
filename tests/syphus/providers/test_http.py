"""The HTTP client, against servers that send exactly what a test wants, byte by byte."""

import asyncio
import gzip
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import create_server, socket

import pycurl
import pytest

from syphus.errors import ConnectionLostError, StopError, TimedOutError
from syphus.providers.base import MAX_REPLY
from syphus.providers.http import LONGEST_REFUSAL, Http

TLS = Path(__file__).parents[2] / "fixtures" / "tls"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Listener:
    """Accept connections, read one request after the other, and answer each as `answers` says."""

    def __init__(self, listening: socket, answers: list[bytes | None], context=None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._listening, self._answers, self._context = listening, answers, context

    def run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket) -> None:
        with suppress(OSError), self._secured(connection) as connection:
            while (request := self._read(connection)) is not None:
                self.requests.append(request)
                answer = self._answers[min(len(self.requests), len(self._answers)) - 1]
                if answer is None:
                    return
                connection.sendall(answer)

    def _secured(self, connection: socket) -> socket:
        if not self._context:
            return connection
        with connection:  # whose descriptor the new one takes over, if it comes about
            return self._context.wrap_socket(connection, server_side=True)

    @staticmethod
    def _read(connection: socket) -> bytes | None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (part := connection.recv(65_536)):
                return None
            head += part
        head, _, body = head.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(body) < size:
            body += connection.recv(65_536)
        return head + b"\r\n\r\n" + body


@contextmanager
def listening(*answers: bytes | None, context=None) -> Iterator[tuple[str, Listener]]:
    with create_server(("127.0.0.1", 0)) as server:
        listener = Listener(server, list(answers), context)
        threading.Thread(target=listener.run, daemon=True).start()
        scheme = "https" if context else "http"
        yield f"{scheme}://127.0.0.1:{server.getsockname()[1]}/v1", listener


def post(url: str, *bodies: bytes, headers=None, timeout: float = 10.0):
    """Post one body after the other."""

    async def run():
        async with Http(url, headers or {}, timeout=timeout) as http:
            return [await http.post(body) for body in bodies]

    return asyncio.run(run())


def test_connections_are_kept():
    with listening(OK) as (url, listener):
        found = post(url, *[b"x" * n for n in (1, 2, 2_000_000)])
    assert [(one.status, one.content, one.is_cut) for one in found] == [(200, b"{}", False)] * 3
    assert listener.connections == 1
    assert [len(one.partition(b"\r\n\r\n")[2]) for one in listener.requests] == [1, 2, 2_000_000]


def test_a_request_leaves_once_though_its_connection_is_closed():
    """The server takes the second request on the kept connection, and hangs up: it may have been computed."""
    said = "closed it before it answered"
    with listening(OK, None) as (url, listener), pytest.raises(ConnectionLostError, match=said):
        post(url, b"1", b"2")
    assert [one[-1:] for one in listener.requests] == [b"1", b"2"]


def test_a_first_connection_that_is_closed_is_an_error():
    with listening(None) as (url, listener), pytest.raises(ConnectionLostError, match="was lost"):
        post(url, b"1")
    assert len(listener.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 2_000_000 + b"\r\n\r\n",
    ],
    ids=["no HTTP", "too short", "no gzip", "bad chunks", "endless header"],
)
def test_nonsense_is_a_lost_connection(answer):
    with listening(answer) as (url, _), pytest.raises((ConnectionLostError, TimedOutError)):
        post(url, b"1", timeout=2.0)


def test_an_interim_answer_is_passed_over():
    answer = (
        b"HTTP/1.1 103 Early Hints\r\nX-RateLimit-Limit: 1\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nX-RateLimit-Remaining:  7 \r\nContent-Length: 2\r\n\r\n{}"
    )
    with listening(answer) as (url, _):
        [found] = post(url, b"1")
    assert found.status == 200
    assert found.headers == {"x-ratelimit-remaining": "7", "content-length": "2"}
    assert found.has_limits


def test_a_body_is_counted_after_it_is_unpacked():
    packed = gzip.compress(b"0" * (MAX_REPLY + 1_000_000))
    assert len(packed) < 100_000
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    with listening(head % len(packed) + packed) as (url, _):
        [found] = post(url, b"1")
    assert found.is_cut
    assert MAX_REPLY < len(found.content) < MAX_REPLY + 1_000_000


def test_of_a_long_refusal_only_the_beginning_is_read():
    body = b"no " * 500_000
    head = b"HTTP/1.1 500 Oh\r\nContent-Length: %d\r\n\r\n" % len(body)
    with listening(head + body, OK) as (url, listener):
        refused, good = post(url, b"1", b"2")
    assert (refused.status, good.status) == (500, 200)
    assert refused.is_cut
    assert LONGEST_REFUSAL < len(refused.content) < 2 * LONGEST_REFUSAL
    assert listener.connections == 2


def test_redirects_are_not_followed():
    answer = b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with listening(answer) as (url, listener):
        [found] = post(url, b"1", headers={"Authorization": "Bearer x"})
    assert (found.status, found.headers["location"]) == (307, "http://127.0.0.1:1/")
    assert b"\r\nAuthorization: Bearer x\r\n" in listener.requests[0]


def test_nobody_there_is_a_lost_connection():
    with create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionLostError, match="connection was lost"):
        post(f"http://127.0.0.1:{port}/", b"1")


@pytest.mark.parametrize("url", ["http://:x/", "gopher://127.0.0.1/"])
def test_an_address_that_is_none_is_said_to_be_none(url):
    with pytest.raises(StopError, match="correct the base URL"):
        post(url, b"1")


def test_one_that_is_cancelled_disturbs_no_other():
    late = OK.replace(b"{}", b"[]")

    async def run(url: str):
        async with Http(url, {}, timeout=10.0) as http:
            task = asyncio.create_task(http.post(b"1"))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return [(await http.post(b"2")).content, (await http.post(b"3")).content]

    with listening(b"", late) as (url, listener):
        assert asyncio.run(run(url)) == [b"[]", b"[]"]
    assert listener.connections == 2


def test_answers_that_nobody_waits_for_any_more_are_passed_over():
    """Requests that are cancelled while their answers are already here disturb neither the others nor the loop."""

    async def run(url: str):
        asyncio.get_running_loop().set_exception_handler(lambda _, found: said.append(found))
        async with Http(url, {}, timeout=10.0) as http:
            tasks = [asyncio.create_task(http.post(b"1")) for _ in range(50)]
            for number, task in enumerate(tasks):
                await asyncio.sleep(0.002 if number % 2 else 0)
                if number % 5:
                    task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            again = [(await http.post(b"2")).content for _ in range(5)]
        return [one.content for one in found[::5]] + again

    said: list = []
    with listening(OK) as (url, _):
        assert asyncio.run(run(url)) == [b"{}"] * 15
    assert said == []


def test_leaving_gives_up_what_is_on_its_way():
    async def run(url: str):
        async with Http(url, {}, timeout=10.0) as http:
            task = asyncio.create_task(http.post(b"1"))
            await asyncio.sleep(0.1)
        with pytest.raises(asyncio.CancelledError):
            await task

    with listening(b"") as (url, _):
        asyncio.run(run(url))


def test_a_handle_of_libcurl_that_broke_fails_all_that_wait():
    class Broken:
        def __getattr__(self, name):
            return getattr(multi, name)

        def socket_action(self, *_):
            raise pycurl.error(1, "out of order")

    async def run(url: str):
        nonlocal multi
        async with Http(url, {}, timeout=10.0) as http:
            tasks = [asyncio.create_task(http.post(b"1")) for _ in range(3)]
            await asyncio.sleep(0.1)
            multi, http._transfers._multi = http._transfers._multi, Broken()
            tasks.append(asyncio.create_task(http.post(b"1")))
            return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)

    multi = None
    with listening(b"") as (url, _):
        found = asyncio.run(run(url))
    assert [type(one) for one in found] == [ConnectionLostError] * 4
    assert "out of order" in str(found[0])


def test_a_header_cannot_begin_another():
    with pytest.raises(StopError, match="'X-Title' holds a line break"):
        Http("http://127.0.0.1:1/", {"X-Title": "a\r\nX-Other: b"}, timeout=1.0)


@pytest.fixture
def certified():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    return context


def test_a_stranger_is_not_trusted(certified):
    said = "certificate is not trusted"
    with listening(OK, context=certified) as (url, listener), pytest.raises(StopError, match=said):
        post(url, b"1")
    assert listener.requests == []


def test_the_authorities_of_the_environment_are_trusted(certified, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "cert.pem"))
    with listening(OK, context=certified) as (url, _):
        assert post(url, b"1")[0].content == b"{}"


def test_a_folder_of_authorities_of_the_environment_is_trusted(certified, monkeypatch, tmp_path):
    hashed = (
        subprocess.run(
            ["openssl", "x509", "-hash", "-noout", "-in", TLS / "cert.pem"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        if shutil.which("openssl")
        else pytest.skip("openssl is not here")
    )
    (tmp_path / f"{hashed}.0").write_bytes((TLS / "cert.pem").read_bytes())
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with listening(OK, context=certified) as (url, _):
        assert post(url, b"1")[0].content == b"{}"


def test_authorities_that_are_missing_are_a_sentence(certified, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with (
        listening(OK, context=certified) as (url, _),
        pytest.raises(StopError, match="not trusted"),
    ):
        post(url, b"1")
