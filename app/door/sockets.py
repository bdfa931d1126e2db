"""A WebSocket that is closed as soon as who opened it may not be here any more."""

from collections.abc import Callable

from starlette.types import Message, Receive, Send

POLICY_VIOLATION, TOO_BIG = 1008, 1009
IS_WELCOME = "hankelboard.is_welcome"
"""In the scope of a socket: asks whether who opened it still may be here. For who says nothing for long."""
MOST_BYTES = 1024 * 1024
"""Of one message to the server: what is on a page, typed and chosen."""


class WatchedSocket:
    """Stands between a socket and the application: looks again at each message, in either direction."""

    def __init__(
        self, receive: Receive, send: Send, is_welcome: Callable[[], bool], most_bytes: int = MOST_BYTES
    ):
        self._receive, self._send = receive, send
        self._is_welcome = is_welcome
        self._most_bytes = most_bytes
        self._is_closed = False

    async def receive(self) -> Message:
        """Return the next message, or that it has ended."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            return message
        if _size(message) > self._most_bytes:
            return await self._close(TOO_BIG)
        return message if self._is_welcome() else await self._close(POLICY_VIOLATION)

    async def send(self, message: Message) -> None:
        """Send a message, unless it has ended."""
        if self._is_closed:
            return
        if message["type"] == "websocket.send" and not self._is_welcome():
            await self._close(POLICY_VIOLATION)
            return
        await self._send(message)

    async def _close(self, code: int) -> Message:
        if not self._is_closed:
            self._is_closed = True
            await self._send({"type": "websocket.close", "code": code})
        return {"type": "websocket.disconnect", "code": code}


def _size(message: Message) -> int:
    return len(message.get("bytes") or b"") + 4 * len(message.get("text") or "")
