"""How the dashboard may be entered: what the command line says to the web process, by its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TOKEN_FILE = "HANKELBOARD_TOKEN_FILE"
NO_TOKEN = "HANKELBOARD_NO_TOKEN"
READ_ONLY = "HANKELBOARD_READ_ONLY"
ALLOWED_HOSTS = "HANKELBOARD_ALLOWED_HOSTS"
URLS = "HANKELBOARD_URLS"
PROXIES = "HANKELBOARD_PROXIES"
VARIABLES = (TOKEN_FILE, NO_TOKEN, READ_ONLY, ALLOWED_HOSTS, URLS, PROXIES)


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """Who may come in, and by which addresses."""

    token_file: Path | None = None
    """Where the owner's token lies; None is the folder of state."""
    no_token: bool = False
    """Everybody who comes is the owner."""
    read_only: bool = False
    """Everybody who comes is a viewer at most."""
    allowed_hosts: tuple[str, ...] = ()
    """Names of the server that it does not know by itself."""
    urls: tuple[str, ...] = ()
    """Addresses at which proxies show it."""
    proxies: tuple[str, ...] = ()
    """IP addresses of proxies whose forwarded headers count."""

    def variables(self) -> dict[str, str]:
        """Return the variables of the environment that say this."""
        said = {
            TOKEN_FILE: str(self.token_file or ""),
            NO_TOKEN: "1" if self.no_token else "",
            READ_ONLY: "1" if self.read_only else "",
            ALLOWED_HOSTS: " ".join(self.allowed_hosts),
            URLS: " ".join(self.urls),
            PROXIES: " ".join(self.proxies),
        }
        return {name: value for name, value in said.items() if value}


def entrance(environment: Mapping[str, str] = os.environ) -> Entrance:
    """Return what the environment of this process says."""
    file = environment.get(TOKEN_FILE)
    return Entrance(
        token_file=Path(file) if file else None,
        no_token=environment.get(NO_TOKEN) == "1",
        read_only=bool(environment.get(READ_ONLY)),
        allowed_hosts=tuple(environment.get(ALLOWED_HOSTS, "").split()),
        urls=tuple(environment.get(URLS, "").split()),
        proxies=tuple(environment.get(PROXIES, "").split()),
    )
