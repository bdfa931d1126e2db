"""How the dashboard is entered: options of what serves it, and the command that opens it."""

import argparse
import html
import os
import sys
import urllib.request
import webbrowser
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hankelboard.access import entrance, private_files, tokens
from hankelboard.access.entrance import Entrance
from hankelboard.access.hosts import host_name, is_address, is_loopback, origin_of, plain_address
from hankelboard.access.state_folder import state_folder
from hankelboard.storage import lifeline
from hankelboard.storage.errors import CommandRefused, ConfigError
from hankelboard.trainer.cli.arguments import add_command

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where this machine reaches a server that listens on all of its addresses."""
FEW_S = 5.0
_PASSED_ON = (
    "host", "port", "token_file", "no_token", "read_only", "allow_network", "allow_host", "url", "proxy",
)  # fmt: skip


def add_commands(commands: Any) -> None:
    opening = add_command(commands, "open", open_dashboard)
    _add_place(opening)
    add_token_file(opening)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a dashboard is entered."""
    _add_place(parser)
    add_token_file(parser)
    parser.add_argument("--no-token", action="store_true", help="let in all who reach the port, as the owner")
    parser.add_argument("--read-only", action="store_true", help="let everybody read, and nobody act")
    parser.add_argument("--allow-network", action="store_true", help="let other machines reach --host")
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME",
                        help="a name of this server that it does not know; may be given again")  # fmt: skip
    parser.add_argument("--url", action="append", default=[], metavar="ADDRESS",
                        help="where a proxy shows it (https://host/prefix); may be given again")  # fmt: skip
    parser.add_argument("--proxy", action="append", default=[], metavar="IP",
                        help="whose X-Forwarded-Proto and -Host count; may be given again")  # fmt: skip


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=8501, help="of the dashboard (default: 8501)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")


def add_token_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--token-file", metavar="FILE", help="the owner's token, made if it is missing "
                        "(default: token in $HANKELBOARD_STATE)")  # fmt: skip


def check(options: argparse.Namespace) -> None:
    """Raise ConfigError for what would let in people who are not meant; say aloud if nobody is asked."""
    if not is_loopback(options.host):
        if not options.allow_network:
            raise ConfigError(
                f"--host {options.host} is reached by other machines: --allow-network says that this is meant"
            )
        if options.no_token:
            raise ConfigError(f"--host {options.host} is reached by other machines: it demands a token")
    for name in options.allow_host:
        if host_name(name) is None:
            raise ConfigError(f"--allow-host {name!r}: must be the name of a host, without scheme or path")
    for url in options.url:
        if origin_of(url) is None:
            raise ConfigError(f"--url {url!r}: must be an address such as https://host/prefix")
    for proxy in options.proxy:
        if not is_address(proxy):
            raise ConfigError(f"--proxy {proxy!r}: must be an IP address")
    if options.no_token and not lifeline.is_held():
        print("--no-token: everybody who reaches this port acts as you", file=sys.stderr, flush=True)


def as_arguments(options: argparse.Namespace) -> list[str]:
    """Return the arguments by which `web` does as `up` was asked. All can read them: no token is in them."""
    said: dict[str, Any] = {name: getattr(options, name) for name in _PASSED_ON}
    arguments = []
    for name, value in said.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, list):
            arguments += [f"{option}={each}" for each in value]
        elif value is True:
            arguments.append(option)
        elif value:
            arguments.append(f"{option}={value}")
    return arguments


def environment(options: argparse.Namespace) -> dict[str, str]:
    """Return the environment of the web process: what was asked for, nothing that changes what protects."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("STREAMLIT_") and name not in entrance.VARIABLES
    }
    said = Entrance(
        token_file=token_file(options),
        no_token=options.no_token,
        read_only=options.read_only or bool(os.environ.get(entrance.READ_ONLY)),
        allowed_hosts=tuple(options.allow_host),
        urls=tuple(options.url),
        proxies=tuple(map(plain_address, options.proxy)),
    )
    return {**kept, **said.variables()}


def address_with_token(options: argparse.Namespace) -> str:
    """Return the address that lets its owner in. The token is made if there is none."""
    urls = getattr(options, "url", None)
    address = f"{urls[0].rstrip('/')}/" if urls else _own_address(options)
    if getattr(options, "no_token", False):
        return address
    return f"{address}?token={quote(tokens.owner_token(token_file(options)), safe='')}"


def _own_address(options: argparse.Namespace) -> str:
    host = EVERYWHERE.get(options.host, options.host)
    return f"http://[{host}]:{options.port}/" if ":" in host else f"http://{host}:{options.port}/"


def open_dashboard(options: argparse.Namespace) -> int:
    address = address_with_token(options)
    _refuse_silence(_own_address(options))
    if _has_screen() and _open_in_browser(address):
        print(f"opened in your browser; if nothing is to be seen: {address}")
    else:
        print(address)
    return 0


def _open_in_browser(address: str) -> bool:
    """Open an address by a page that leads to it: what a browser is started with can be read by all."""
    page = state_folder() / "open.html"
    private_files.replace(
        page, f'<!doctype html><meta http-equiv="refresh" content="0; url={html.escape(address)}">'.encode()
    )
    try:
        return webbrowser.open(page.as_uri())
    except (webbrowser.Error, OSError):
        return False


def _has_screen() -> bool:
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))


def _refuse_silence(address: str) -> None:
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        ask.open(f"{address}_stcore/health", timeout=FEW_S).close()
    except OSError:
        raise CommandRefused(f"nothing answers at {address}; `hankelboard up` starts it") from None


def token_file(options: argparse.Namespace) -> Path | None:
    """Return where the owner's token is said to lie; None is the folder of state."""
    from hankelboard.settings.toml import home_expanded  # loads plugins, which may fail

    return Path.cwd() / home_expanded(options.token_file) if options.token_file else None
