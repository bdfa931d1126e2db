"""Serve the dashboard: `python -m hankelboard.app HOST PORT`, as `hankelboard web` does."""

import sys

from streamlit import config

from hankelboard.access import tokens
from hankelboard.access.entrance import entrance
from hankelboard.app.door.listening import serve
from hankelboard.app.server import app


def main(host: str, port: int) -> None:
    """Run the server at this address. What else Streamlit is to do stands in .streamlit/config.toml."""
    config.set_option("server.address", host)
    config.set_option("server.port", port)
    if not entrance().no_token:
        tokens.owner_token()  # a file that cannot be believed ends it here, with a sentence
    serve(app, host, port)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
