"""The web server: Streamlit's application with a push socket, a guard and one watch on the runs.

Start it with `hankelboard up`, or alone with `hankelboard web`.
"""

import asyncio
import base64
import contextlib
import hashlib
import importlib
import pkgutil
import re
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from hankelboard import comparison
from hankelboard.app import charts, data, live, panels, words
from hankelboard.app.charts import metrics
from hankelboard.app.data import runs
from hankelboard.app.live.watch import Watch
from hankelboard.storage import lifeline
from hankelboard.storage.layout import RUN_ID, runs_directory

PUSH_PATH = "/api/push"
PUSH_PAUSE_S = 0.2
END_PATIENCE_S = 5.0
"""How long it may take to end once `up` is gone."""
IMPORTED_BY_PAGES = (charts, data, live, panels, words, comparison)
LOOPBACK = {"localhost", "127.0.0.1", "[::1]", "::1"}
HOST = re.compile(r"(?P<name>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?")


class Guard:
    """Refuses foreign host names on a loopback address and sockets of foreign pages; adds security headers.

    There is no sign-in: everybody who reaches the port decides. The address is 127.0.0.1 by default, and a
    page of another site that lets its name point there (DNS rebinding) is refused by its name. Streamlit
    compares the names of origins only, so it would let a page of another port of this machine click here.
    """

    def __init__(self, app: ASGIApp):
        self._app = app
        self._hashes = " ".join(inline_script_hashes())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        match = HOST.fullmatch(host)
        foreign = scope["type"] == "websocket" and not is_same_origin(headers)
        if match is None or not host_is_allowed(match["name"]) or foreign:
            await self._refuse(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers(host)]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await PlainTextResponse("This host name is not served here.", 421)(scope, receive, send)

    def _headers(self, host: str) -> list[tuple[bytes, bytes]]:
        policy = (
            f"default-src 'self'; script-src 'self' blob: {self._hashes}; style-src 'self' 'unsafe-inline'; "
            f"img-src 'self' data: blob:; font-src 'self' data:; "
            f"connect-src 'self' ws://{host} wss://{host}; "
            "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
            "frame-ancestors 'none'"
        )
        return [
            (b"content-security-policy", policy.encode("latin-1")),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"same-origin"),
        ]


def inline_script_hashes() -> list[str]:
    """Return CSP sources that let the inline scripts of Streamlit's page through by their hash."""
    page = (Path(st.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


def host_is_allowed(name: str) -> bool:
    """Return whether a host name may be used: any on the network; on loopback its own and allowedHosts."""
    address = st.get_option("server.address") or ""
    if address not in LOOPBACK:
        return True
    return name.lower() in LOOPBACK or name in (st.get_option("server.allowedHosts") or [])


def is_same_origin(headers: Mapping[bytes, str]) -> bool:
    """Return whether a page of this server opens a socket. Browsers always send the origin."""
    return headers.get(b"origin", "").partition("://")[2] == headers.get(b"host")


async def push(socket: WebSocket) -> None:
    """Send `changed` whenever the run (`?run=`), or without one any run, changed on disk.

    Changes of these files alone (`&ignore=`, their names with commas) are not said.
    """
    run_id = socket.query_params.get("run")
    ignored = frozenset(filter(None, socket.query_params.get("ignore", "").split(",")))
    if run_id is not None and RUN_ID.fullmatch(run_id) is None:
        await socket.close(1008)
        return
    await socket.accept()
    sending = asyncio.create_task(_send_changes(socket, run_id, ignored))
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending


async def _send_changes(socket: WebSocket, run_id: str | None, ignored: frozenset[str]) -> None:
    watch: Watch = app.state["watch"]
    with watch.subscribe(run_id, ignored) as changed, contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await changed.wait()
            changed.clear()
            await socket.send_text("changed")
            await asyncio.sleep(PUSH_PAUSE_S)


def import_modules_of_pages() -> None:
    """Import what pages import, once: two sessions that import a module at the same time disturb each other.

    Views are left out: they are scripts, which run when they are imported.
    """
    for package in IMPORTED_BY_PAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


@contextlib.asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
    """Watch the runs for the life of the server.

    Runs are read and charts are made ahead, so that the first page is not the one that waits.
    """
    lifeline.follow(END_PATIENCE_S)
    import_modules_of_pages()
    watch = Watch(runs_directory(), runs.index)
    watch.start()
    runs.notify_when_prefetched(watch.notice)
    runs.read_ahead()
    threading.Thread(target=metrics.make_ahead, name="charts", daemon=True).start()
    try:
        yield {"watch": watch}
    finally:
        await asyncio.to_thread(watch.stop)


app = st.App(
    Path(__file__).with_name("main.py").resolve(),
    lifespan=lifespan,
    routes=[WebSocketRoute(PUSH_PATH, push)],
    middleware=[Middleware(Guard)],
)
