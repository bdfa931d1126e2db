"""What goes along with every answer: what a page may load, and who may show it."""

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import streamlit as st

Header = tuple[bytes, bytes]
ALWAYS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def of_pages(sockets: Sequence[str]) -> list[Header]:
    """Return the headers of what Streamlit serves; pages may open these sockets."""
    policy = (
        f"default-src 'self'; script-src 'self' blob: {_inline_scripts()}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; "
        f"connect-src 'self' {' '.join(sockets)}; "
        "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
    return [
        *ALWAYS,
        (b"content-security-policy", policy.encode("latin-1")),
        (b"referrer-policy", b"same-origin"),
    ]


def of_door() -> list[Header]:
    """Return the headers of what the door itself answers: it loads nothing, and is kept nowhere."""
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    return [
        *ALWAYS,
        (b"content-security-policy", policy.encode()),
        (b"cache-control", b"no-store"),
    ]


@cache
def _inline_scripts() -> str:
    """Return sources that let the inline scripts of Streamlit's page through by their hash."""
    page = (Path(st.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
