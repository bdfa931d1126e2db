"""What somebody asks of the server, as far as the guard must know it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import cookie_parser
from starlette.types import Scope

from hankelboard.access.hosts import plain_address

SAFE_METHODS = ("GET", "HEAD")


@dataclass(frozen=True)
class Asked:
    """One request, or one WebSocket that somebody wants to open."""

    scope: Scope
    proxies: tuple[str, ...] = ()
    """Addresses whose forwarded headers count."""

    @property
    def is_socket(self) -> bool:
        return bool(self.scope["type"] == "websocket")

    @property
    def method(self) -> str:
        return str(self.scope.get("method", "GET"))

    @property
    def may_act(self) -> bool:
        """Whether it can do more than read."""
        return self.is_socket or self.method not in SAFE_METHODS

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    @cached_property
    def headers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, value in self.scope["headers"]:
            found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        return found

    def header(self, name: str) -> str | None:
        """Return a header that was sent once; None for none, and for one that contradicts itself."""
        values = self.headers.get(name, [])
        return values[0] if len(values) == 1 else None

    @property
    def host(self) -> str:
        """The host that it was sent to, as the browser knows it."""
        forwarded = self.header("x-forwarded-host") if self.is_forwarded else None
        return forwarded or self.header("host") or ""

    @property
    def scheme(self) -> str:
        forwarded = self.header("x-forwarded-proto") if self.is_forwarded else None
        scheme = forwarded or str(self.scope.get("scheme") or "http")
        return {"ws": "http", "wss": "https"}.get(scheme, scheme)

    @property
    def is_forwarded(self) -> bool:
        """Whether it comes from a proxy that is believed."""
        client = self.scope.get("client")
        return client is not None and plain_address(client[0]) in self.proxies

    @property
    def arrived_at(self) -> str:
        """The address of this machine that it came to; no name is looked up for it."""
        server = self.scope.get("server")
        return plain_address(server[0]) if server else ""

    @property
    def authorization(self) -> str | None:
        return self.header("authorization")

    @cached_property
    def cookies(self) -> Mapping[str, str]:
        return cookie_parser("; ".join(self.headers.get("cookie", [])))

    @cached_property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)

    def with_origin(self, origin: str | None) -> Scope:
        """Return what Streamlit gets to see of it: this origin instead of the one that was sent."""
        headers: list[Any] = [pair for pair in self.scope["headers"] if pair[0].lower() != b"origin"]
        if origin is not None:
            headers.append((b"origin", origin.encode("latin-1")))
        return {**self.scope, "headers": headers}
