"""The guard: asked before everything else, Streamlit included.

It judges by what a request says and by files of this machine; no name is looked up and nothing is asked of
others. In this order: was the request sent to a name of this server; does it come from a page of this server;
who sends it. Only then anything else sees it.
"""

from http import HTTPStatus

import streamlit as st
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hankelboard.access.entrance import entrance
from hankelboard.access.roles import Visitor
from hankelboard.app.data import visitors
from hankelboard.app.door import headers, sign_in
from hankelboard.app.door.addresses import Addresses
from hankelboard.app.door.asked import Asked
from hankelboard.app.door.sockets import IS_WELCOME, POLICY_VIOLATION, WatchedSocket

HEALTH = "/_stcore/health"
"""What starts or watches the server may ask, without a token, whether it lives."""
_NAVIGATIONS = ("navigate", None)


class Guard:
    """Lets through who may come in, and adds the headers that protect a page."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        said = entrance()
        asked = Asked(scope, said.proxies)
        addresses = Addresses(st.get_option("server.address") or "", said)
        answer = self._refusal(asked, addresses) or await self._at_the_door(asked, receive)
        if answer is not None:
            await _answer(answer, asked, receive, send)
        elif asked.is_socket:
            await self._open_socket(asked, receive, send)
        else:
            page = headers.of_pages(addresses.sources(asked))
            await self._app(_for_streamlit(asked), receive, _with_headers(send, page))

    def _refusal(self, asked: Asked, addresses: Addresses) -> Response | None:
        """Return why a request is refused, no matter who sends it."""
        if not addresses.knows_host(asked):
            return PlainTextResponse(
                "This server is not called that. --allow-host NAME lets it answer to a name, "
                "--url ADDRESS to that of a proxy.\n",
                HTTPStatus.MISDIRECTED_REQUEST,
            )
        if "origin" in asked.headers:
            return None if addresses.knows_origin(asked) else _foreign()
        if asked.may_act and not visitors.has_token(asked.authorization):
            return _foreign()
        return _foreign() if _is_part_of_another_page(asked) else None

    async def _at_the_door(self, asked: Asked, receive: Receive) -> Response | None:
        """Return what the door itself answers; None for who may come in."""
        if asked.path == HEALTH and not asked.may_act:
            return None
        name = asked.path.rpartition("/")[2]
        if not asked.is_socket and name == sign_in.SIGN_IN and asked.method == "POST":
            return await sign_in.sign_in(asked, receive)
        if not asked.is_socket and name == sign_in.SIGN_OUT:
            return sign_in.sign_out(asked) if asked.method == "POST" else sign_in.sign_out_page()
        token = sign_in.token_in_address(asked) if asked.method == "GET" and not asked.is_socket else None
        if token is not None and not entrance().no_token:
            return sign_in.let_in(asked, token, sign_in.here(asked))
        if _sender(asked) is not None:
            return None
        return sign_in.sign_in_page(asked, sign_in.WRONG if asked.authorization else "")

    async def _open_socket(self, asked: Asked, receive: Receive, send: Send) -> None:
        def is_welcome() -> bool:
            return _sender(asked) is not None

        watched = WatchedSocket(receive, send, is_welcome)
        scope = {**_for_streamlit(asked), IS_WELCOME: is_welcome}
        await self._app(scope, watched.receive, watched.send)


def _sender(asked: Asked) -> Visitor | None:
    return visitors.visitor_with(asked.cookies, asked.authorization)


def _is_part_of_another_page(asked: Asked) -> bool:
    """Whether a browser says that a page of another origin shows or loads this (a picture, a script)."""
    site, mode = asked.header("sec-fetch-site"), asked.header("sec-fetch-mode")
    return site in ("cross-site", "same-site") and mode not in _NAVIGATIONS


def _for_streamlit(asked: Asked) -> Scope:
    """Return the request with an origin that Streamlit takes for its own.

    The guard has judged it. Streamlit would ask another host for the address of this machine to judge again.
    """
    if "origin" not in asked.headers:
        return asked.scope
    return asked.with_origin(f"{asked.scheme}://{asked.header('host') or ''}")


def _foreign() -> Response:
    return PlainTextResponse(
        "Only pages of this server may do that, or a request with a token (Authorization: Bearer …).\n",
        HTTPStatus.FORBIDDEN,
    )


async def _answer(answer: Response, asked: Asked, receive: Receive, send: Send) -> None:
    if asked.is_socket:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
    else:
        await answer(asked.scope, receive, _with_headers(send, headers.of_door()))


def _with_headers(send: Send, added: list[headers.Header]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *added]
        await send(message)

    return send_with_headers
