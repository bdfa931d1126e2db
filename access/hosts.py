"""Names of hosts as requests bear them: read without asking anybody whose they are."""

import re
from ipaddress import IPv6Address, ip_address

_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
Origin = tuple[str, str, int]
"""Scheme, name and port: what browsers compare."""


def host_name(host: str) -> str | None:
    """Return the name in a header Host, in small letters and without port; None if it is malformed.

    >>> host_name("Lab:8501"), host_name("[0:0::1]:80"), host_name("::1"), host_name("a@b")
    ('lab', '::1', '::1', None)
    """
    if is_address(host):
        return plain_address(host)
    match = _HOST.fullmatch(host)
    if match is None or int(match["port"] or 0) > 65_535:
        return None
    return plain_address(match["name"].strip("[]").lower())


def parse_origin(text: str) -> Origin | None:
    """Return scheme, name and port of an origin; None for "null" and what is none.

    >>> parse_origin("https://Lab"), parse_origin("http://lab:8501"), parse_origin("null")
    (('https', 'lab', 443), ('http', 'lab', 8501), None)
    """
    scheme, separator, host = text.partition("://")
    match = _HOST.fullmatch(host)
    if not separator or scheme not in _DEFAULT_PORTS or match is None:
        return None
    name = host_name(host)
    return None if name is None else (scheme, name, int(match["port"] or _DEFAULT_PORTS[scheme]))


def origin_of(url: str) -> Origin | None:
    """Return the origin of an address.

    >>> origin_of("https://lab/prefix/")
    ('https', 'lab', 443)
    """
    return parse_origin("/".join(url.split("/")[:3]))


def plain_address(text: str) -> str:
    """Return an IP address in its shortest form, or what is no address as it is.

    >>> plain_address("::ffff:127.0.0.1"), plain_address("0:0:0:0:0:0:0:1"), plain_address("localhost")
    ('127.0.0.1', '::1', 'localhost')
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def is_address(text: str) -> bool:
    """Return whether this is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(text: str) -> bool:
    """Return whether other machines cannot reach this address.

    >>> [is_loopback(text) for text in ("127.0.0.1", "::1", "localhost", "127.1.2.3", "0.0.0.0", "::", "")]
    [True, True, True, True, False, False, False]
    """
    return text == "localhost" or (is_address(text) and ip_address(text).is_loopback)
