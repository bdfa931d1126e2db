"""The web server below the application: how long it waits, and how much it takes."""

import asyncio

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import WS_PROTOCOLS
from uvicorn.protocols.http.h11_impl import H11Protocol

from hankelboard.app.door.sockets import MOST_BYTES

WHOLE_REQUEST_S = 30.0
"""From the first byte of a request, or the opening of a connection, to its last."""
PING_S = 30.0


class Patient(H11Protocol):
    """HTTP/1.1 that hangs up when a request does not become whole."""

    _hang_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take bytes in, and wait on if the request is not whole with them."""
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait with the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        is_http = self.transport.get_protocol() is self
        if not is_http or self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop_waiting()
        elif self._hang_up is None:
            self._hang_up = self.loop.call_later(WHOLE_REQUEST_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._hang_up is not None:
            self._hang_up.cancel()
            self._hang_up = None


def serve(app: ASGIApp, host: str, port: int) -> None:
    """Run the server until a signal. Headers that a proxy adds are for the guard to believe, or not."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        http=Patient,
        ws="websockets-sansio" if "websockets-sansio" in WS_PROTOCOLS else "auto",
        ws_max_size=MOST_BYTES,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        use_colors=False,
    )
