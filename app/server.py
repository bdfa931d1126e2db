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
from hankelboard.app.live.watch import Watch
from hankelboard.storage import lifeline
from hankelboard.storage.layout import RUN_ID, runs_directory

PUSH_PATH = "/api/push"
PUSH_PAUSE_S = 0.2
END_PATIENCE_S = 5.0
"""How long it may take to end once `up` is gone."""
IMPORTED_BY_PAGES = (charts, data, live, panels, words, comparison)


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
