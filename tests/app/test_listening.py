"""How long the web server waits for a request, and how much of one it takes."""

import contextlib
import socket
import threading
import time

import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from hankelboard.app.door import listening
from tests.waiting import PATIENCE_S, until

SOON_S = 0.3


async def application(scope, receive, send):
    """Answers "whole" to a whole request, and echoes on a socket."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            if message["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message["text"]})
        return
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.request":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"whole"})


@pytest.fixture
def port(monkeypatch):
    """The port of a server in a thread, which waits for a request SOON_S long."""
    monkeypatch.setattr(listening, "WHOLE_REQUEST_S", SOON_S)
    started = []

    def run(app, **keys):
        config = uvicorn.Config(app, log_level="error", lifespan="off", **keys)
        config.load()
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None
        started.append(server)
        server.run()

    monkeypatch.setattr(uvicorn, "run", run)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    thread = threading.Thread(target=listening.serve, args=(application, "127.0.0.1", port), daemon=True)
    thread.start()
    until(lambda: started and started[0].started)
    yield port
    started[0].should_exit = True
    thread.join(PATIENCE_S)


def connected(port):
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def hung_up(connection):
    """Wait until the server hangs up without an answer."""
    with contextlib.suppress(ConnectionResetError):
        return connection.recv(1) == b""
    return True


HALF = [b"", b"GET / HTTP/1.1\r\nHost: a\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"]


@pytest.mark.parametrize("half", HALF)
def test_the_server_hangs_up_on_requests_that_do_not_become_whole(port, half):
    connections = [connected(port) for _ in range(50)]
    for connection in connections:
        connection.sendall(half)
    assert all(hung_up(connection) for connection in connections)
    for connection in connections:
        connection.close()


def test_a_request_that_drips_does_not_hold_a_connection_for_ever(port):
    with connected(port) as connection:
        connection.settimeout(0.02)
        connection.sendall(b"GET / HTTP/1.1\r\n")
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            try:
                connection.sendall(b"a: b\r\n")
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
        assert time.monotonic() < ends


def test_whole_requests_and_open_sockets_are_not_cut_off(port):
    whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    with connected(port) as connection, connect(f"ws://127.0.0.1:{port}/", proxy=None) as opened:
        for _ in range(3):
            connection.sendall(whole)
            assert b"whole" in answer(connection)
            time.sleep(SOON_S)
        opened.send("still here")
        assert opened.recv(PATIENCE_S) == "still here"
        connection.sendall(whole[:10])
        assert hung_up(connection)


def answer(connection):
    received = b""
    while not received.endswith(b"whole"):
        received += connection.recv(1024)
    return received


def test_a_frame_that_is_too_large_is_not_taken(port):
    with connect(f"ws://127.0.0.1:{port}/", proxy=None, compression=None) as opened:
        opened.send("x" * (1024 * 1024))
        assert len(opened.recv(PATIENCE_S)) == 1024 * 1024
        with contextlib.suppress(ConnectionClosed):
            opened.send("x" * (1024 * 1024 + 1))
        with pytest.raises(ConnectionClosed) as caught:
            opened.recv(PATIENCE_S)
        assert caught.value.rcvd.code == 1009
