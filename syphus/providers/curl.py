"""libcurl's multi handle on an asyncio event loop.

The handle's sockets are watched by a selector of their own, which is one reader of the event loop: a request costs the loop nothing, and
all that came between two of its turns is one call. (pycurl's `AsyncCurlMulti` does the same with a reader of the loop for each
socket, for a tenth to a quarter more processor time; benchmarks/generation/clients.py.)
"""

from __future__ import annotations

import asyncio
import selectors

import pycurl


class Transfers:
    """Performs transfers of `pycurl.Curl` handles, many at once; made and used on one running event loop."""

    def __init__(self, *, kept: int) -> None:
        """Begin on the running event loop, which must be one that waits for file descriptors.

        Args:
            kept: Connections that are kept for the next transfer, at most.
        """
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[pycurl.Curl, asyncio.Future[None]] = {}
        self._sockets = selectors.DefaultSelector()
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._wait)
        self._multi.setopt(pycurl.M_MAXCONNECTS, kept)
        self._loop.add_reader(self._sockets, self._move)

    async def perform(self, curl: pycurl.Curl) -> None:
        """Do what a handle is set to.

        Raises:
            pycurl.error: the transfer failed; number and text are libcurl's.
        """
        waiter = self._waiting[curl] = self._loop.create_future()
        try:
            self._multi.add_handle(curl)
            await waiter
        finally:
            if self._waiting.pop(curl, None):  # it was cancelled
                self._multi.remove_handle(curl)

    def close(self) -> None:
        """Give up what is not done, and close all connections."""
        self._loop.remove_reader(self._sockets)
        for curl, waiter in self._waiting.items():
            self._multi.remove_handle(curl)
            waiter.cancel()
        self._waiting.clear()
        self._multi.close()
        self._sockets.close()
        if self._timer:
            self._timer.cancel()

    # What libcurl calls

    def _watch(self, what: int, socket: int, _multi: object, _own: object) -> None:
        """Watch a socket for what libcurl waits for; its bits are those of `selectors`."""
        is_watched = socket in self._sockets.get_map()
        if what in (pycurl.POLL_REMOVE, pycurl.POLL_NONE):
            if is_watched:
                self._sockets.unregister(socket)
        elif is_watched:
            self._sockets.modify(socket, what)
        else:
            self._sockets.register(socket, what)

    def _wait(self, milliseconds: int) -> None:
        """Set libcurl's timer, or take it back (-1). It may not be called from here."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if milliseconds > 0:
            self._timer = self._loop.call_later(milliseconds / 1000, self._time)
        elif milliseconds == 0 and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._time)

    # What the event loop calls

    def _time(self) -> None:
        self._is_due = False
        if not self._multi.closed:
            self._act((pycurl.SOCKET_TIMEOUT, 0))

    def _move(self) -> None:
        self._act(*[(key.fd, events) for key, events in self._sockets.select(0)])

    def _act(self, *events: tuple[int, int]) -> None:
        """Have libcurl do what there is to do, and wake up whoever waits for what is done."""
        try:
            for socket, what in events:
                self._multi.socket_action(socket, what)
        except pycurl.error as error:  # of the handle itself: no transfer will end any more
            broken = pycurl.error(
                pycurl.E_FAILED_INIT, error.args[-1]
            )  # its numbers mean other things
            for curl in list(self._waiting):
                self._end(curl, broken)
        more = 1
        while more:
            more, done, failed = self._multi.info_read()
            for curl in done:
                self._end(curl)
            for curl, number, text in failed:
                self._end(curl, pycurl.error(number, text))

    def _end(self, curl: pycurl.Curl, error: pycurl.error | None = None) -> None:
        self._multi.remove_handle(curl)
        waiter = self._waiting.pop(curl)
        if waiter.done():  # it was cancelled, and does not know yet
            return
        if error:
            waiter.set_exception(error)
        else:
            waiter.set_result(None)
