"""The web application: Streamlit's, with a push socket, the guard before it and one watch on the runs.

Start it with `hankelboard up`, or alone with `hankelboard web`.
"""

import asyncio
import contextlib
import importlib
import pkgutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from hankelboard import comparison
from hankelboard.app import charts, data, live, panels, words
from hankelboard.app.charts import metrics
from hankelboard.app.data import runs
from hankelboard.app.door.guard import Guard
from hankelboard.app.door.sockets import IS_WELCOME, POLICY_VIOLATION
from hankelboard.app.live.looks import EVERY_MS, looks
from hankelboard.app.live.watch import Watch
from hankelboard.storage import lifeline
from hankelboard.storage.layout import RUN_ID, runs_directory

PUSH_PATH = "/api/push"
PUSH_PAUSE_S = 0.2
LEAST_LOOK_S = 1.0
"""More often nobody has the server look."""
END_PATIENCE_S = 5.0
"""How long it may take to end once `up` is gone."""
IMPORTED_BY_PAGES = (charts, data, live, panels, words, comparison)


async def push(socket: WebSocket) -> None:
    """Send `changed` whenever the run (`?run=`), or without one any run, changed on disk.

    Changes of these files alone (`&ignore=`, their names with commas) are not said. After some silent
    milliseconds (`&look=`; 0: never) it is said, too, if what there is to be shown is not what the page was
    drawn with (`&seen=`, its number).
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
    look_ms = _whole(socket.query_params.get("look"), EVERY_MS)
    look_s = max(LEAST_LOOK_S, look_ms / 1000) if look_ms else None
    seen = _whole(socket.query_params.get("seen"), 0)
    with watch.subscribe(run_id, ignored) as changed, contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            if not await _heard(changed, look_s):
                if not socket.scope[IS_WELCOME]():
                    await socket.close(POLICY_VIOLATION)
                    return
                before, seen = seen, await asyncio.to_thread(looks.number, run_id)
                if seen == before:
                    continue
            changed.clear()
            await socket.send_text("changed")
            await asyncio.sleep(PUSH_PAUSE_S)


async def _heard(changed: asyncio.Event, patience_s: float | None) -> bool:
    """Return whether there was a change; wait no longer than `patience_s` for it."""
    try:
        await asyncio.wait_for(changed.wait(), patience_s)
    except TimeoutError:
        return False
    return True


def _whole(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 10 else default


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
