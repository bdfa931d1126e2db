"""What each kind of visitor gets from each surface of a real server, by real sockets.

    python -m tests.end_to_end.attack_table

prints it as the table of docs/SECURITY.md, from a server that it starts and ends.
"""

import base64
import http.client
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import PATIENCE_S

SURFACES = {
    "page": ("GET", "/run?run=x"),
    "any other path": ("GET", "/no/such/thing"),
    "static": ("GET", "/app/static/logo.svg"),
    "media": ("GET", "/media/none.png"),
    "metrics": ("GET", "/_stcore/metrics"),
    "configuration": ("GET", "/_stcore/host-config"),
    "health": ("GET", "/_stcore/health"),
    "stream": ("SOCKET", "/_stcore/stream"),
    "push": ("SOCKET", "/api/push"),
    "agent interface": ("POST", "/_stcore/agent/interact"),
    "upload": ("PUT", "/_stcore/upload_file/session/file"),
    "other method": ("DELETE", "/run"),
}
ORIGINS = ("own", "other port", "foreign host", "null", "none")
VISITORS = (
    "no token", "wrong cookie", "wrong token", "revoked", "viewer", "operator", "owner", "owner's token",
)  # fmt: skip
VALID = {"viewer", "operator", "owner", "owner's token"}


@dataclass(frozen=True)
class Answer:
    """What came back: its status, and whether the guard had let it through."""

    status: int
    is_in: bool

    def __str__(self):
        return "in" if self.is_in else str(self.status)


def headers_of(services):
    """The headers that each kind of visitor sends, of one that was revoked, too."""
    cookie = {
        name: {"Cookie": f"hankelboard-{services.port}={value}"} for name, value in values(services).items()
    }
    return {
        "no token": {},
        "wrong token": {"Authorization": "Bearer " + "x" * 43},
        "owner's token": {"Authorization": f"Bearer {services.token}"},
        **cookie,
    }


def values(services):
    """The value of the cookie of each kind of visitor."""
    tokens = {
        "viewer": services.command("token", "create", "vi", "--role", "viewer").strip(),
        "operator": services.command("token", "create", "op", "--role", "operator").strip(),
        "revoked": services.command("token", "create", "re", "--role", "operator").strip(),
        "owner": services.token,
    }
    found = {name: services.session(token) for name, token in tokens.items()}
    services.command("token", "revoke", "re")
    return {"wrong cookie": "x" * 43, **found}


def attack(port, surface, origin, headers):
    """Ask one surface, as a page of this origin would."""
    method, path = SURFACES[surface]
    host = "evil.example" if origin == "foreign host" else f"127.0.0.1:{port}"
    said = {"own": f"http://127.0.0.1:{port}", "other port": "http://127.0.0.1:3000", "null": "null",
            "foreign host": "http://evil.example", "none": None}[origin]  # fmt: skip
    return ask(port, method, path, {"Host": host, **({"Origin": said} if said else {}), **headers})


def ask(port, method, path, headers):
    """One request on a connection of its own; a handshake for the method SOCKET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        if method == "SOCKET":
            method, headers = "GET", {**headers, **handshake()}
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        through = answer.status == 101 or "script-src" in answer.headers.get("content-security-policy", "")
        return Answer(answer.status, through)
    finally:
        connection.close()


def handshake():
    key = base64.b64encode(os.urandom(16)).decode()
    return {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
    }


def expected(surface, visitor, origin):
    """What a visitor of this kind should get."""
    acts = SURFACES[surface][0] != "GET"
    is_socket = SURFACES[surface][0] == "SOCKET"
    if origin == "foreign host":
        return "403" if is_socket else "421"
    if origin in ("other port", "null"):
        return "403"
    if surface == "health":
        return "in"
    if origin == "none" and acts:
        return "in" if visitor == "owner's token" else "403"
    if visitor in VALID:
        return "in"
    return "403" if is_socket or visitor == "wrong token" else "401"


def table(services):
    """Yield surface, visitor, and what came back by origin."""
    headers = headers_of(services)
    for surface in SURFACES:
        for visitor in VISITORS:
            found = [str(attack(services.port, surface, origin, headers[visitor])) for origin in ORIGINS]
            yield surface, visitor, found


def printed(rows):
    """Return the table in Markdown; surfaces and visitors that get the same share a line."""
    by_answers = {}
    for surface, visitor, found in rows:
        by_answers.setdefault(surface, {}).setdefault(tuple(found), []).append(visitor)
    shared = {}
    for surface, lines in by_answers.items():
        shared.setdefault(tuple((found, tuple(who)) for found, who in lines.items()), []).append(surface)
    yield f"| surface | who | {' | '.join(ORIGINS)} |"
    yield "|---|---|" + "---|" * len(ORIGINS)
    for lines, surfaces in shared.items():
        for found, who in lines:
            yield f"| {', '.join(surfaces)} | {', '.join(who)} | {' | '.join(found)} |"


def main():
    from tests.end_to_end.conftest import Services

    with tempfile.TemporaryDirectory() as folder:
        os.environ["HANKELBOARD_STATE"] = f"{folder}/state"
        runs = Path(folder) / "runs"
        runs.mkdir()
        services = Services(runs)
        services.start()
        try:
            print("\n".join(printed(table(services))))
        finally:
            services.stop()


if __name__ == "__main__":
    main()
