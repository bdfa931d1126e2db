"""The page for those who come without a token, and the exchange of a token for a session."""

import html
import shlex
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode

import streamlit as st
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Receive

from hankelboard.access import sessions, tokens
from hankelboard.access.entrance import entrance
from hankelboard.access.state_folder import state_folder
from hankelboard.app.data.visitors import cookie_name
from hankelboard.app.door.asked import Asked

SIGN_IN, SIGN_OUT = "sign-in", "sign-out"
TOKEN = "token"
MOST_BYTES = 8192
WRONG = "This token is not valid, or not any more."
_SHELL = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>Hankelboard</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto 0; padding: 0 1.25rem;
  color: #0f172a; background: #fff }}
h1 {{ font-size: 1.35rem }} code {{ font-size: .9em; overflow-wrap: anywhere }}
input, button {{ font: inherit; padding: .5rem .7rem; border-radius: 8px; border: 1px solid #94a3b8;
  box-sizing: border-box; color: inherit; background: transparent }}
input {{ width: 100%; margin: .25rem 0 .75rem }}
button {{ border-color: #1d4ed8; background: #1d4ed8; color: #fff; cursor: pointer }}
:focus-visible {{ outline: 2px solid #3b82f6; outline-offset: 2px }}
[role=alert] {{ color: #b91c1c }}
@media (prefers-color-scheme: dark) {{ body {{ color: #f1f5f9; background: #0b1220 }}
  [role=alert] {{ color: #fca5a5 }} }}
</style></head><body><main>{body}</main></body></html>
"""
_SIGN_IN = """<h1>Hankelboard</h1>{said}
<form method="post" action="{action}"><label>Token <input name="token" type="password" required autofocus
autocomplete="current-password"></label><input type="hidden" name="next" value="{next}">
<button>Sign in</button></form>
<p>On the machine that serves this, <code>{command}</code> opens the dashboard signed in. The
owner's token lies there in <code>{file}</code>.</p>
"""
_SIGN_OUT = """<h1>Sign out?</h1><p>All tabs of this browser end with it.</p>
<form method="post" action="{action}"><button>Sign out</button></form>
"""


def sign_in_page(asked: Asked, said: str = "", next_: str | None = None) -> Response:
    """Return the page with the field for a token: 401, or 403 after a wrong one."""
    status = HTTPStatus.FORBIDDEN if said else HTTPStatus.UNAUTHORIZED
    if asked.may_act and next_ is None:
        return PlainTextResponse(said or "Sign in first.\n", status)
    body = _SIGN_IN.format(
        said=f'<p role="alert">{html.escape(said)}</p>' if said else "",
        action=f"./{SIGN_IN}",
        next=html.escape(next_ or here(asked)),
        command=html.escape(_command()),
        file=html.escape(_short(tokens.owner_file())),
    )
    return HTMLResponse(_SHELL.format(body=body), status)


def _command() -> str:
    """Return the command that opens this dashboard on its machine."""
    file = entrance().token_file
    rest = f" --token-file {shlex.quote(str(file))}" if file else ""
    return f"hankelboard open --port {st.get_option('server.port')}{rest}"


def sign_out_page() -> Response:
    """Return the page that asks whether to sign out."""
    return HTMLResponse(_SHELL.format(body=_SIGN_OUT.format(action=f"./{SIGN_OUT}")))


def token_in_address(asked: Asked) -> str | None:
    """Return the token that an address bears."""
    return next((value for name, value in asked.query if name == TOKEN), None)


def let_in(asked: Asked, token: str, next_: str) -> Response:
    """Return the answer to somebody who brings a token: a session, and the way on; or that it is wrong."""
    visitor = tokens.verify(token)
    if visitor is None:
        return sign_in_page(asked, WRONG, next_)
    answer = _moved(next_)
    if sessions.visitor_of(asked.cookies.get(cookie_name(), "")) != visitor:
        try:
            _set_cookie(asked, answer, sessions.begin(token) or "")
        except OSError as error:
            return PlainTextResponse(f"{error.strerror}: {state_folder()}\n", HTTPStatus.SERVICE_UNAVAILABLE)
    return answer


async def sign_in(asked: Asked, receive: Receive) -> Response:
    """Answer the form of the page: the token does not stand in an address."""
    form = await _form(receive)
    if form is None:
        return PlainTextResponse("That is no sign-in.\n", HTTPStatus.BAD_REQUEST)
    return let_in(asked, form.get(TOKEN, "").strip(), _inside(form.get("next", "")))


def sign_out(asked: Asked) -> Response:
    """End the session, in all tabs."""
    if value := asked.cookies.get(cookie_name()):
        sessions.end(value)
    answer = _moved("./")
    _set_cookie(asked, answer, "", max_age=0)
    return answer


def here(asked: Asked) -> str:
    """Return the address that was asked for, from the same folder, without a token.

    Relative, because a proxy may show the dashboard below a path that it does not know itself.
    """
    last = "./" + quote(asked.path.rpartition("/")[2])
    last = "./" if last in (f"./{SIGN_IN}", f"./{SIGN_OUT}") else last
    rest = urlencode([(name, value) for name, value in asked.query if name != TOKEN])
    return f"{last}?{rest}" if rest else last


def _inside(address: str) -> str:
    """Return an address if it leads nowhere else."""
    return address if address.startswith("./") and address.isascii() and address.isprintable() else "./"


def _moved(address: str) -> Response:
    answer = RedirectResponse(address, HTTPStatus.SEE_OTHER)
    answer.headers["referrer-policy"] = "no-referrer"
    return answer


def _set_cookie(asked: Asked, answer: Response, value: str, max_age: int | None = None) -> None:
    """Set the cookie for the folder of the address (browsers take it when no path is given)."""
    is_secure = asked.scheme == "https"
    answer.set_cookie(
        cookie_name(), value, max_age=max_age, path=None, secure=is_secure, httponly=True, samesite="lax"
    )


async def _form(receive: Receive) -> dict[str, str] | None:
    """Return the fields of a small form; None if it is not small, or none."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body"):
            break
    try:
        return {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
    except ValueError:
        return None


def _short(path: Path) -> str:
    """Return a path with ~ for the home of this account."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)
