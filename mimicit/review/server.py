"""The room over HTTP, for pages on this machine.

It listens on 127.0.0.1 only. Who may ask has the token: the address that is printed holds it, and the page keeps it as a cookie that
scripts cannot read. Other pages in the same browser have neither: a request that names another host (DNS rebinding) or comes from
another page is refused, and what changes something must be JSON, which other pages cannot send. Pages load nothing from anywhere else.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mimicit.errors import DatasetError, LockedError, MimicitError, MissingExtraError, PictureError
from mimicit.review.deck import Order, Wanted
from mimicit.review.room import ConflictError, NoDeckError, Place, Room
from mimicit.review.showing import shown
from mimicit.schema import Id

if TYPE_CHECKING:
    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REASONS = (
    "not in the picture", "contradicts the picture", "wrong count", "does not answer the question",
    "cannot be answered from the picture", "useless or trivial", "bad language", "private or offensive", "duplicate",
)  # fmt: skip
"""Keys 1 to 9."""
BATCH = 20
"""Decisions after which journals are brought in …"""
BATCH_SECONDS = 30.0
"""… or seconds, with fewer."""
LOOK_SECONDS = 1.0
_MOST_BODY = 1 << 20
_MOST_DIGITS = 12
_PAGE = {
    "/": ("page.html", "text/html"),
    "/review.js": ("review.js", "text/javascript"),
    "/review.css": ("review.css", "text/css"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    by: str
    """The reviewer."""
    deck: str | None = None
    at: int | None = None

    @property
    def place(self) -> Place:
        return Place(self.by, self.deck, self.at)


class _Sit(_Asked):
    where: str = ""
    order: Order = "random"
    seed: int = Field(default=0, ge=0, le=2**62)


class _Decide(_Asked):
    do: Literal["accept", "reject", "edit"]
    record: Id
    reason: str = ""
    instruction: str = ""
    answer: str = ""
    seen: list[str] = []


class Server:
    def __init__(self, room: Room, *, reviewer: str, wanted: Wanted) -> None:
        """Serve a room.

        Args:
            room: The room.
            reviewer: Who a page that names nobody is for.
            wanted: What a page that wants nothing else shows.
        """
        self.room = room
        self.reviewer = reviewer
        self.wanted = wanted
        self.token = secrets.token_urlsafe(32)
        self.port = 0
        self._once = secrets.token_urlsafe(32)
        self._waits = ""
        """Why journals are not brought in at the moment."""
        self._moved = asyncio.Event()
        """Set when a reviewer is somewhere else."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    @property
    def url_once(self) -> str:
        """Return an address that works once: what a browser is started with, other users of the machine may see."""
        return f"http://127.0.0.1:{self.port}/?token={self._once}"

    async def run(self, port: int, ready: Callable[[Server], None], stop: asyncio.Event) -> None:
        """Serve until somebody sets `stop`.

        Raises:
            MissingExtraError: aiohttp is not installed.
            DatasetError: the port is in use.
        """
        runner = self._runner()
        await runner.setup()
        try:
            from aiohttp import web

            try:
                await web.TCPSite(runner, "127.0.0.1", port).start()
            except OSError as error:
                raise DatasetError(
                    f"port {port} cannot be used ({error.strerror}); choose another one, or none"
                ) from None
            self.port = runner.addresses[0][1]
            ready(self)
            self._moved.set()  # the first index is made while a browser opens
            beside = [asyncio.create_task(what) for what in (self._bring_in(), self._read_ahead())]
            await stop.wait()
            self.room.close()
            for task in beside:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        finally:
            await runner.cleanup()

    def _runner(self) -> web.AppRunner:
        try:
            from aiohttp import web
        except ImportError:
            raise MissingExtraError("aiohttp", "review") from None

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guard(request, handler)

        app = web.Application(middlewares=[guard], client_max_size=_MOST_BODY)
        for path in _PAGE:
            app.router.add_get(path, self._page)
        app.router.add_get("/favicon.ico", self._no_icon)
        app.router.add_get("/picture", self._picture)
        app.router.add_get("/api/hello", self._hello)
        app.router.add_get("/api/record", self._record)
        app.router.add_get("/api/origin", self._origin)
        app.router.add_get("/api/agreement", self._agreement)
        app.router.add_post("/api/deck", self._deck)
        app.router.add_post("/api/decide", self._decide)
        app.router.add_post("/api/undo", self._undo)
        app.on_response_prepare.append(_with_headers)
        return web.AppRunner(app, access_log=None, shutdown_timeout=2.0)

    # Who may ask

    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = self._refused(request)
        if refused is not None:
            return refused
        response = await _answered(request, handler)
        if request.path == "/" and response.status == 200:
            response.set_cookie(
                self._cookie, self.token, httponly=True, samesite="Strict", path="/"
            )
        return response

    def _refused(self, request: web.Request) -> web.Response | None:
        here = (f"127.0.0.1:{self.port}", f"localhost:{self.port}")
        origin = request.headers.get("Origin")
        if request.host not in here or origin not in (None, *(f"http://{one}" for one in here)):
            return _error(403, "this address is for pages of this machine only")
        if not self._is_known(request):
            return _error(403, "this needs the token: open the address that was printed")
        if request.method == "POST" and request.content_type != "application/json":
            return _error(415, "send JSON")
        return None

    @property
    def _cookie(self) -> str:
        return f"syphus_review_{self.port}"  # browsers do not tell ports apart

    def _is_known(self, request: web.Request) -> bool:
        given = request.cookies.get(self._cookie, "")
        if request.path == "/" and "token" in request.query:
            given = request.query["token"]
            if _same(given, self._once):
                self._once = secrets.token_urlsafe(32)  # nobody knows the next one
                return True
        return _same(given, self.token)

    # What may be asked

    async def _page(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        name, kind = _PAGE[request.path]
        data = resources.files("mimicit.review").joinpath("page", name).read_bytes()
        headers = {"Cache-Control": "no-store"}
        return web.Response(body=data, content_type=kind, charset="utf-8", headers=headers)

    async def _no_icon(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        return web.Response(status=204)

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        id = request.query.get("id", "")

        def read() -> tuple[bytes, str]:
            [data] = self.room.store.images.get([id])
            return shown(data, name=id)

        try:
            data, kind = await asyncio.to_thread(read)
        except PictureError as error:
            return _error(404, str(error))
        headers = {"Cache-Control": "private, max-age=3600", "Content-Disposition": "inline"}
        return web.Response(body=data, content_type=kind, headers=headers)

    async def _hello(self, request: web.Request) -> web.StreamResponse:
        wanted = self.wanted
        return _json(
            {
                "reviewer": self.reviewer,
                "dataset": self.room.store.path.resolve().name,
                "reasons": REASONS,
                "wanted": {"where": wanted.where, "order": wanted.order, "seed": wanted.seed},
            }
        )

    async def _deck(self, request: web.Request) -> web.StreamResponse:
        asked = _Sit.model_validate_json(await request.read())
        wanted = Wanted(asked.where, asked.order, asked.seed)
        return _json(await asyncio.to_thread(self.room.sit_down, asked.by, wanted))

    async def _record(self, request: web.Request) -> web.StreamResponse:
        given = request.query
        at = given.get("at", "")
        number = int(at) if at.isdecimal() and len(at) < _MOST_DIGITS else None
        place = Place(given.get("by", ""), given.get("deck") or None, number)
        found = await asyncio.to_thread(self.room.record, place, given.get("id"))
        self._moved.set()
        return _json(found | {"waits": self._waits})

    async def _origin(self, request: web.Request) -> web.StreamResponse:
        return _json(await asyncio.to_thread(self.room.origin, request.query.get("id", "")))

    async def _agreement(self, request: web.Request) -> web.StreamResponse:
        return _json(await asyncio.to_thread(self.room.agreement))

    async def _decide(self, request: web.Request) -> web.StreamResponse:
        asked = _Decide.model_validate_json(await request.read())
        room, place, record = self.room, asked.place, asked.record
        if asked.do == "accept":
            return _json(await asyncio.to_thread(room.accept, place, record))
        if asked.do == "reject":
            return _json(await asyncio.to_thread(room.reject, place, record, asked.reason))
        texts = (asked.instruction, asked.answer)
        return _json(await asyncio.to_thread(room.edit, place, record, *texts, asked.seen))

    async def _undo(self, request: web.Request) -> web.StreamResponse:
        asked = _Asked.model_validate_json(await request.read())
        return _json(await asyncio.to_thread(self.room.undo, asked.place))

    # Beside

    async def _read_ahead(self) -> None:
        """Read what comes next while reviewers look at what is there."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            await asyncio.to_thread(self.room.read_ahead)

    async def _bring_in(self) -> None:
        """Bring journals in by and by, in a process of its own: writing holds nothing up here."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            count, waited = self.room.unsaved, time.monotonic() - last
            is_due = waited >= BATCH_SECONDS or (count >= BATCH and not self._waits)
            if not count or not is_due:
                continue
            self._waits = await self._bring()
            if not self._waits:
                self.room.unsaved -= count
            last = time.monotonic()

    async def _bring(self) -> str:
        """Bring journals in; return why that was not possible."""
        try:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "mimicit.review.bringing", str(self.room.store.path.resolve()),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
                start_new_session=True,  # Ctrl-C is for the room, which then waits for it
            )  # fmt: skip
        except OSError as error:  # too many processes, say; it is tried again
            return f"decisions cannot be brought in ({error.strerror})"
        try:
            _, said = await child.communicate()
        except asyncio.CancelledError:
            await child.wait()
            raise
        return said.decode(errors="replace")[-500:] or "failed" if child.returncode else ""


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer, or say in a sentence why not."""
    from aiohttp import web

    try:
        return await handler(request)
    except web.HTTPException as error:
        return _error(error.status, error.reason)
    except ConflictError as error:
        return _json({"error": str(error), "others": error.others}, 409)
    except NoDeckError as error:
        return _error(410, str(error))
    except LockedError as error:
        return _error(503, str(error))
    except ValidationError as error:
        said = error.errors(include_url=False, include_context=False)[0]
        return _error(400, f"{'.'.join(map(str, said['loc']))}: {said['msg']}")
    except MimicitError as error:
        return _error(400, str(error))


async def _with_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())


def _json(value: Any, status: int = 200) -> web.Response:
    import orjson
    from aiohttp import web

    data = orjson.dumps(value, default=str)
    return web.Response(body=data, status=status, content_type="application/json")


def _error(status: int, sentence: str) -> web.Response:
    return _json({"error": sentence}, status)
