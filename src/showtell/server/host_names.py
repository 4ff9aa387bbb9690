"""Host names as in `Host` headers, `Origin` headers and absolute request targets."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_DEFAULT_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{0,5}))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAX_NAME_LENGTH = 253


@dataclass(frozen=True)
class Authority:
    """A host and a port: `host` is a name in lower case or an address, without brackets.

    `port` is None if it is not given, which stands for the default port of the scheme.
    """

    host: str
    port: int | None = None

    def port_for(self, scheme: str) -> int | None:
        """Return the port, or the default port of `scheme`."""
        return _DEFAULT_PORTS.get(scheme) if self.port is None else self.port


def parse_authority(text: str) -> Authority | None:
    """Read `host` or `host:port`; None if it is malformed (RFC 3986, without user information).

    Upper and lower case, and a dot at the end of a name, make no difference.
    """
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    host = normalized_host(match[1])
    port = int(match[2]) if match[2] else None
    if host is None or (port is not None and not 0 < port <= 65535):
        return None
    return Authority(host, port)


def parse_origin(text: str) -> tuple[str, Authority] | None:
    """Read the scheme and authority of an http or https origin; None for any other text."""
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    authority = parse_authority(rest)
    if not separator or scheme not in _DEFAULT_PORTS or authority is None:
        return None
    return scheme, authority


def normalized_host(host: str) -> str | None:
    """Return a host in lower case, without brackets or a dot at its end; None if malformed."""
    if host.startswith("["):
        return _ip_address(host[1:-1], 6) if host.endswith("]") else None
    if ":" in host:
        return _ip_address(host, 6)
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > _MAX_NAME_LENGTH or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    # Clients read a name that ends in a number as an address: 127.1 is 127.0.0.1.
    return _ip_address(name, 4) if _NUMERIC_LABEL.fullmatch(labels[-1]) else name


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is a loopback address of this machine."""
    name = normalized_host(host)
    if name is None or name == "localhost":
        return name is not None
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _ip_address(text: str, version: int) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A zone (fe80::1%eth0) means something on one machine only, and clients do not send it.
    return str(address) if address.version == version and "%" not in text else None
