"""By which addresses the dashboard may be asked, and which pages may speak to it. Nothing is looked up."""

import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from hankelboard.access.entrance import Entrance
from hankelboard.access.hosts import host_name, is_address, is_loopback, origin_of, parse_origin
from hankelboard.app.door.asked import Asked


@dataclass(frozen=True)
class Addresses:
    """The names of this server."""

    bound_to: str
    """The address that it listens on, as it was given."""
    entrance: Entrance = field(default_factory=Entrance)

    def knows_host(self, asked: Asked) -> bool:
        """Return whether a request was sent to a name of this server.

        A page of another site may let its own name point to this machine (DNS rebinding).
        """
        name = host_name(asked.host)
        if name is None:
            return False
        if is_address(name):
            return name == asked.arrived_at or name in self._given
        if name == "localhost":
            return is_loopback(asked.arrived_at) or name in self._given
        return name in self._given or (not is_loopback(self.bound_to) and name in _machine_names())

    def knows_origin(self, asked: Asked) -> bool:
        """Return whether the page that asks was loaded from this server: same scheme, name and port."""
        origin = parse_origin(asked.header("origin") or "")
        own = parse_origin(f"{asked.scheme}://{asked.host}")
        return origin is not None and origin in {own, *map(origin_of, self.entrance.urls)}

    def sources(self, asked: Asked) -> list[str]:
        """Return what a policy of content lets a page connect to: the sockets of this server."""
        hosts = [asked.host, *(urlsplit(url).netloc for url in self.entrance.urls)]
        return [f"{scheme}://{host}" for host in dict.fromkeys(hosts) for scheme in ("ws", "wss")]

    @property
    def _given(self) -> set[str]:
        """Names that the command line gave: to listen on, to allow, of proxies."""
        hosts = [self.bound_to, *self.entrance.allowed_hosts]
        hosts += [urlsplit(url).netloc for url in self.entrance.urls]
        return {name for host in hosts if (name := host_name(host)) is not None}


def _machine_names() -> set[str]:
    """Return the names that this machine gives itself: short, whole, and as the local network says it."""
    whole = socket.gethostname().lower()
    short = whole.partition(".")[0]
    return {whole, short, f"{short}.local"}
