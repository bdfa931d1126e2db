"""The server from outside: whom it answers, what it sends along, which pages may listen."""

import base64
import os
import socket
import urllib.error
import urllib.request

import pytest

from tests.waiting import PATIENCE_S


def test_every_page_comes_with_a_policy_that_lets_no_foreign_script_run(services):
    with urllib.request.urlopen(services.url, timeout=PATIENCE_S) as answer:
        headers = answer.headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
    scripts = next(part for part in policy.split(";") if part.strip().startswith("script-src"))
    assert "unsafe-inline" not in scripts and "unsafe-eval" not in scripts
    assert headers["x-content-type-options"] == "nosniff"


def test_a_foreign_name_for_this_machine_is_not_served(services):
    """DNS rebinding: a name of somebody else's that resolves to 127.0.0.1."""
    request = urllib.request.Request(services.url, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=PATIENCE_S)
    with caught.value as answer:
        assert answer.code == 421


@pytest.mark.parametrize(
    ("origin", "query", "opened"),
    [
        ("http://127.0.0.1:{port}", "", True),
        ("http://127.0.0.1:{port}", "?run=some-run", True),
        ("http://evil.example", "", False),
        ("http://127.0.0.1:1", "", False),
        (None, "", False),
        ("http://127.0.0.1:{port}", "?run=../../etc", False),
    ],
)
def test_only_pages_of_this_server_may_listen(services, origin, query, opened):
    origin = origin and origin.format(port=services.port)
    assert ("101" in handshake(services.port, f"/api/push{query}", origin)) == opened


@pytest.mark.parametrize(
    ("origin", "opened"),
    [
        ("http://127.0.0.1:{port}", True),
        ("http://127.0.0.1:1", False),
        ("http://localhost:{port}", False),
        ("http://localhost:1", False),
        ("http://0.0.0.0:{port}", False),
        ("http://evil.example", False),
        ("null", False),
        (None, False),
    ],
)
def test_only_pages_of_this_server_may_click(services, origin, opened):
    """Every click goes through Streamlit's socket, which would take pages of other local ports."""
    origin = origin and origin.format(port=services.port)
    assert ("101" in handshake(services.port, "/_stcore/stream", origin)) == opened


def handshake(port, path, origin):
    """The status line of the answer to a WebSocket handshake."""
    lines = [
        f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", "Sec-WebSocket-Version: 13",
        *([f"Origin: {origin}"] if origin else []),
    ]  # fmt: skip
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return connection.recv(1024).decode("latin-1").splitlines()[0]
