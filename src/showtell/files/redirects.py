"""HTTP requests whose redirects cannot lead to other schemes or into private networks.

A server that is asked for a file may answer "it is over there". Each such hop keeps to http and
https, never leaves https, and once an address was public no later one is inside a private network:
the address that a connection has reached is looked at, not what a name server says before.
"""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit

from showtell.errors import ShowtellError
from showtell.files.printable_names import printable

MAX_REDIRECTS = 8
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SECRETS = ("Authorization", "Cookie", "Proxy-authorization")  # for the first host only
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RedirectError(ShowtellError):
    """A server redirects to where a download must not follow; the text begins with the address."""


def checked_opener() -> urllib.request.OpenerDirector:
    """Return an opener for one request that checks every hop of it.

    `open` raises RedirectError before it sends a request to an address that is refused.
    """
    hops = _Hops()
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _HttpHandler(hops),
        _HttpsHandler(hops),
        _RedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def is_public(address: str) -> bool:
    """Return whether an IP address belongs to the internet, and to no private network."""
    return _unwrapped(ipaddress.ip_address(address.partition("%")[0])).is_global


def check_redirect(old: str, new: str) -> None:
    """Raise RedirectError if a redirect changes to a scheme that must not be followed."""
    before, after = urlsplit(old).scheme.lower(), urlsplit(new).scheme.lower()
    if after not in ("http", "https"):
        raise RedirectError(f"{_shown(new)}: a redirect to an address that is not http or https")
    if before == "https" and after == "http":
        raise RedirectError(f"{_shown(new)}: a redirect from https to http, which anybody can read")


@dataclass
class _Hops:
    """The connections of one request so far."""

    count: int = 0
    was_public: bool = False

    def reach(self, host: str, address: str) -> None:
        """Record a connection. Raises RedirectError if a redirect must not lead there."""
        public, is_redirect = is_public(address), self.count > 0
        self.count += 1
        if is_redirect and not public:
            parsed = _unwrapped(ipaddress.ip_address(address.partition("%")[0]))
            if self.was_public or parsed.is_link_local:
                raise RedirectError(
                    f"{_shown(host)}: a redirect into a private network ({address})"
                )
        self.was_public |= public


class _CheckedConnection(http.client.HTTPConnection):
    """A connection that looks at the address it has reached before anything is sent."""

    hops: _Hops | None = None

    def connect(self) -> None:
        super().connect()
        if self.hops is not None:
            self.hops.reach(self.host, str(self.sock.getpeername()[0]))


class _CheckedTlsConnection(http.client.HTTPSConnection):
    """The same with TLS; only the handshake comes before the check."""

    hops: _Hops | None = None

    def connect(self) -> None:
        super().connect()
        if self.hops is not None:
            self.hops.reach(self.host, str(self.sock.getpeername()[0]))


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, hops: _Hops) -> None:
        super().__init__()
        self.hops = hops

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        hops = self.hops if _is_direct(req, self.hops) else None

        def connection(host: str, **options: Any) -> http.client.HTTPConnection:
            made = _CheckedConnection(host, **options)
            made.hops = hops
            return made

        return self.do_open(connection, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, hops: _Hops) -> None:
        super().__init__()
        self.hops = hops

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        hops = self.hops if _is_direct(req, self.hops) else None
        context = ssl.create_default_context()

        def connection(host: str, **options: Any) -> http.client.HTTPConnection:
            made = _CheckedTlsConnection(host, context=context, **options)
            made.hops = hops
            return made

        return self.do_open(connection, req)


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    max_redirections = MAX_REDIRECTS
    max_repeats = 2

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_redirect(req.full_url, newurl)
        fp.close()  # else the answer's body, which may be endless, would be read whole
        request = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if request is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            for name in _SECRETS:
                request.remove_header(name)
        return request


def _is_direct(request: urllib.request.Request, hops: _Hops) -> bool:
    """Return whether no proxy is between here and the server.

    A proxy finds the server's address itself, so that only an address written as numbers can be
    looked at here.
    """
    host = urlsplit(request.full_url).hostname or ""
    scheme = urlsplit(request.full_url).scheme
    if scheme not in urllib.request.getproxies() or urllib.request.proxy_bypass(host):
        return True
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        hops.count += 1
        hops.was_public = True  # as far as can be known
    else:
        hops.reach(host, host)
    return False


def _unwrapped(address: _Address) -> _Address:
    """Return the IPv4 address inside an IPv6 address that stands for one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _shown(address: str) -> str:
    return printable(address[:200])
