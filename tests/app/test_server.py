"""The application around the pages: fonts, imports, the push socket and the watch behind it.

Played as the ASGI server would, without a network: end_to_end/test_guard.py asks the real thing.
"""

import asyncio
import contextlib
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import streamlit as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.forward_msg_cache import create_reference_msg
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue

from hankelboard.app import server
from hankelboard.app.live.looks import looks
from hankelboard.app.live.watch import HEARTBEAT, METRICS, Watch
from hankelboard.storage import summary
from tests.app.conftest import comes_true, ready
from tests.app.synthetic_run import SyntheticRun
from tests.waiting import PATIENCE_S

# watchdog says so when folders appear faster than it looks; it watches them all the same.
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")

HERE = "127.0.0.1:8501"


@pytest.fixture(autouse=True)
def signed_in(monkeypatch):
    """Everybody is; tests/app/test_door.py is about who is not."""
    monkeypatch.setenv("HANKELBOARD_NO_TOKEN", "1")
    monkeypatch.setattr(st, "get_option", {"server.address": "127.0.0.1", "server.port": 8501}.get)


def guarded():
    return Starlette(
        routes=[WebSocketRoute(server.PUSH_PATH, server.push)], middleware=[Middleware(server.Guard)]
    )


class Listener:
    """A browser's end of the push socket."""

    def __init__(self, query="", *, host=HERE, origin=f"http://{HERE}"):
        headers = {"host": host, "origin": origin}
        sent = [(key.encode(), value.encode()) for key, value in headers.items() if value is not None]
        self._scope = {
            "type": "websocket", "path": server.PUSH_PATH, "query_string": query.encode(), "subprotocols": [],
            "headers": sent, "server": ("127.0.0.1", 8501), "client": ("127.0.0.1", 40_000), "scheme": "ws",
        }  # fmt: skip
        self._gone = asyncio.Event()
        self._connected = False
        self.sent, self.times = [], []

    async def __aenter__(self):
        self._task = asyncio.create_task(guarded()(self._scope, self._receive, self._send))
        await comes_true(lambda: self.sent or self._task.done())
        return self

    async def __aexit__(self, *_):
        self._gone.set()
        await asyncio.wait_for(self._task, PATIENCE_S)

    async def _receive(self):
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        await self._gone.wait()
        return {"type": "websocket.disconnect", "code": 1001}

    async def _send(self, message):
        self.sent.append(message)
        self.times.append(asyncio.get_running_loop().time())

    @property
    def opened(self):
        return self.sent[0]["type"] == "websocket.accept"

    @property
    def told(self):
        return [message["text"] for message in self.sent if message["type"] == "websocket.send"]


# What is served besides pages.


def test_every_font_that_the_theme_names_is_served():
    app = Path(server.__file__).parent
    theme = tomllib.loads((app / ".streamlit" / "config.toml").read_text())["theme"]
    named = [Path(face["url"]) for face in theme["fontFaces"]]
    assert named and [str(path) for path in named if not (app.parent / path).is_file()] == []


def test_every_module_that_a_page_imports_is_there_before_the_first_visitor():
    program = """
import sys
from hankelboard.app import server
server.import_modules_of_pages()
there = set(sys.modules)
import ast, importlib, pathlib
for view in pathlib.Path(server.__file__).parent.glob("views/*.py"):
    for node in ast.walk(ast.parse(view.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("hankelboard"):
            importlib.import_module(node.module)
            [getattr(importlib.import_module(node.module), name.name) for name in node.names]
late = {name for name in set(sys.modules) - there if name.startswith("hankelboard")}
assert not late, late
assert not {"torch", "hankelboard.trainer"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_folder_of_the_dashboard_is_not_searched_for_packages():
    """Streamlit puts it first; a plugin may be called like a part of it: data, charts."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); import hankelboard.app; assert sys.argv[1]"
    program += " not in sys.path"
    for folder in (Path(server.__file__).parent, Path(server.__file__).resolve().parent):
        subprocess.run([sys.executable, "-c", program, str(folder)], check=True)


# The push socket.


@pytest.fixture
def watch(runs, monkeypatch):
    watch = Watch(runs, debounce_s=0.01, scan_s=0.1)
    monkeypatch.setitem(server.app.state, "watch", watch)
    monkeypatch.setattr(server, "LEAST_LOOK_S", 0.01)
    return watch


@pytest.mark.parametrize(
    ("options_of_the_socket", "opened"),
    [
        ({}, True),
        ({"origin": f"https://{HERE}"}, False),
        ({"query": "run=a-run"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": f"http://evil.example/{HERE}"}, False),
        ({"origin": f"http://{HERE}.evil.example"}, False),
        ({"origin": "http://127.0.0.1:9999"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": None}, False),
        ({"host": "evil.example", "origin": "http://evil.example"}, False),
        ({"query": "run=../../etc"}, False),
        ({"query": "run="}, False),
    ],
)
def test_only_pages_of_this_server_may_listen_and_only_to_runs(watch, options_of_the_socket, opened):
    async def listen():
        async with Listener(**options_of_the_socket) as listener:
            return listener.opened, listener.sent[0].get("code")

    assert asyncio.run(listen()) == ((True, None) if opened else (False, 1008))


def test_a_change_on_disk_is_pushed_to_those_who_look_at_that_run_and_they_are_let_go(runs, watch):
    one, other = SyntheticRun(runs, "one").start(), SyntheticRun(runs, "other").start()

    async def listen():
        async with (
            Listener(f"run={one.id}") as mine,
            Listener(f"run={other.id}") as others,
            Listener() as all_,
        ):
            await ready(watch)
            await comes_true(lambda: len(watch._subscribers) == 3)
            for listener in (mine, others, all_):
                del listener.sent[1:]
            one.event("paused", by="ada")
            await comes_true(lambda: mine.told and all_.told)
            return others.told

    watch.start()
    try:
        assert asyncio.run(listen()) == []
    finally:
        watch.stop()
    assert not watch._subscribers


def test_a_burst_of_changes_is_one_message_and_the_last_one_is_not_lost(watch):
    """Changes that come while the first are being told are told together, in a second message."""

    async def listen():
        async with Listener("run=a-run") as listener:
            await comes_true(lambda: watch._subscribers)
            for _ in range(50):
                watch.notice("a-run")
            await comes_true(lambda: told_all(watch, listener))
            first = len(listener.told)
            watch.notice("a-run")
            await comes_true(lambda: told_all(watch, listener) and len(listener.told) > first)
            return first, len(listener.told)

    first, last = asyncio.run(listen())
    assert 1 <= first <= 2 and last <= 3


def told_all(watch, listener):
    """Whether something was told and nothing waits for the debounce or for the pause behind a message."""
    (subscriber,) = watch._subscribers
    return listener.told and watch._timer is None and not subscriber.woken.is_set()


def test_messages_keep_their_distance(watch):
    async def listen():
        async with Listener("run=a-run") as listener:
            await comes_true(lambda: watch._subscribers)
            while len(listener.told) < 4:
                watch.notice("a-run")
                await asyncio.sleep(0.01)
            return listener.times[1:]  # the first one accepts

    times = asyncio.run(listen())
    assert all(after - before >= 0.99 * server.PUSH_PAUSE_S for before, after in pairwise(times))


def looking(monkeypatch):
    """Count how often the server looks."""
    looked, number = [], looks.number
    monkeypatch.setattr(looks, "number", lambda run_id: looked.append(run_id) or number(run_id))
    return looked


@pytest.mark.parametrize("of_one", [True, False])
def test_of_a_run_that_stays_as_it_was_the_server_says_nothing_however_often_it_looks(
    watch, runs, monkeypatch, of_one
):
    run = SyntheticRun(runs, queued=False).start().train(100)
    run.finish()
    name = run.id if of_one else None
    seen, looked = looks.number(name), looking(monkeypatch)

    async def listen():
        which = f"run={run.id}&" if of_one else ""
        async with Listener(f"{which}look=20&seen={seen}") as listener:
            await comes_true(lambda: len(looked) > 3)
            return listener.sent

    assert [message["type"] for message in asyncio.run(listen())] == ["websocket.accept"]


@pytest.mark.parametrize("of_one", [True, False])
def test_what_no_event_says_is_said_once_by_the_server(watch, runs, monkeypatch, of_one):
    run = SyntheticRun(runs, queued=False).start().train(100)
    name = run.id if of_one else None
    seen, looked = looks.number(name), looking(monkeypatch)

    async def listen():
        which = f"run={run.id}&" if of_one else ""
        async with Listener(f"{which}look=20&seen={seen}") as listener:
            await comes_true(lambda: looked)
            monkeypatch.setattr(summary, "process_is_gone", lambda status: True)
            await comes_true(lambda: len(listener.sent) > 1)
            count = len(looked)
            await comes_true(lambda: len(looked) > count + 2)
            return listener.sent

    assert [message.get("text") for message in asyncio.run(listen())] == [None, "changed"]


def test_a_page_that_was_drawn_before_something_changed_is_notified_when_it_listens(watch, runs):
    run = SyntheticRun(runs, queued=False).start()
    seen = looks.number(run.id)
    run.train(100)

    async def listen():
        async with Listener(f"run={run.id}&look=20&seen={seen}") as listener:
            await comes_true(lambda: len(listener.sent) > 1)
            return listener.sent[1]["text"]

    assert asyncio.run(listen()) == "changed"


def test_who_may_not_be_here_any_more_is_sent_away_although_nothing_happens(watch, runs, monkeypatch):
    run = SyntheticRun(runs, queued=False).start()

    async def listen():
        async with Listener(f"run={run.id}&look=20&seen={looks.number(run.id)}") as listener:
            monkeypatch.setattr("hankelboard.app.door.guard._sender", lambda asked: None)
            await comes_true(lambda: len(listener.sent) > 1)
            return listener.sent[1]

    assert asyncio.run(listen())["type"] == "websocket.close"


# The watch behind it.


def woken(watch, change, run_id=None, ignored=frozenset(), told=True, seconds=PATIENCE_S):
    """Whether a subscriber hears of a change. Where it should not, one who ignores nothing tells when the
    change was told, or so many seconds pass."""

    async def listen():
        with watch.subscribe(run_id, ignored) as changed, watch.subscribe(run_id) as anything:
            await ready(watch)
            for each in (changed, anything):
                each.clear()
            change()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for((changed if told else anything).wait(), seconds)
            if not told:
                await asyncio.sleep(0.05)
            return changed.is_set()

    watch.start()
    try:
        return asyncio.run(listen())
    finally:
        watch.stop()


@pytest.mark.parametrize(
    ("change", "told"),
    [("status", False), ("train", False), ("event", True), ("propose", True)],
)
def test_a_page_is_not_woken_by_what_it_ignores(runs, change, told):
    run = SyntheticRun(runs, queued=False).start().train(100)
    changes = {
        "status": lambda: run.status("running"),
        "train": lambda: run.train(110),
        "event": lambda: run.event("paused", by="ada"),
        "propose": run.propose,
    }
    ignored = frozenset({HEARTBEAT, METRICS})
    assert woken(Watch(runs, scan_s=60.0), changes[change], run.id, ignored, told) == told


@pytest.mark.parametrize("observed", [True, False])
def test_a_run_that_appears_is_noticed(runs, watch, monkeypatch, observed):
    if not observed:
        monkeypatch.setattr(watch, "_observe", lambda: None)
    assert woken(watch, lambda: SyntheticRun(runs, "new"))


def test_a_folder_of_runs_that_appears_later_is_watched(tmp_path):
    folder = tmp_path / "later"
    assert woken(Watch(folder, debounce_s=0.01, scan_s=0.05), lambda: SyntheticRun(folder, "new"))


def test_without_inotify_the_scan_remains(runs, watch, monkeypatch):
    def refuse(*_, **__):
        raise OSError(28, "inotify watch limit reached")

    run = SyntheticRun(runs).start()
    monkeypatch.setattr("hankelboard.app.live.watch.Observer.schedule", refuse)
    assert woken(watch, lambda: run.decide(run.propose()), run.id)


def test_reading_a_run_wakes_nobody(runs, watch):
    from hankelboard.app.data import runs as data

    run = SyntheticRun(runs).start()
    run.train(100)
    read = lambda: (data.summaries(), data.checkpoints(run.id))  # noqa: E731
    assert not woken(watch, read, told=False, seconds=0.5)


def test_what_is_no_run_is_not_taken_for_one(runs, watch):
    assert watch._place_of(str(runs / ".workers" / "here-1.json")) is None
    assert watch._place_of(str(runs)) is None and watch._place_of("/etc/passwd") is None
    assert watch._place_of(str(runs / "a-run" / "inbox" / "x.json")) == ("a-run", "inbox")


def test_no_message_of_a_page_travels_as_a_reference():
    config = tomllib.loads((Path(server.__file__).parent / ".streamlit" / "config.toml").read_text())
    assert config["global"]["minCachedMessageSize"] > 1e12
    # Why, and whether it still holds: of what was not sent, the queue drops blocks and keeps references.
    block, element = ForwardMsg(), ForwardMsg()
    block.delta.fragment_id = element.delta.fragment_id = "live"
    block.delta.add_block.vertical.SetInParent()
    block.metadata.delta_path.extend([0, 1])
    element.delta.new_element.markdown.body = "in the block"
    element.metadata.delta_path.extend([0, 1, 0])
    element.hash = "known to the tab"
    queue = ForwardMsgQueue()
    queue.enqueue(block)
    queue.enqueue(create_reference_msg(element))
    queue.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=["live"])
    left = [message.WhichOneof("type") for message in queue.flush()]
    assert left == ["ref_hash"], "Streamlit drops references too: unchanged charts may travel as references"
