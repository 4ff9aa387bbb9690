"""A reverse proxy in front of a service, with or without a path prefix, for tests."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

from support.local_server import QuietHandler, listening


@contextlib.contextmanager
def reverse_proxy(service_url: str, prefix: str = "", *, strip: bool = True) -> Iterator[str]:
    """Pass requests below `prefix` on to the service; yields the proxy's URL with the prefix.

    `strip` removes the prefix, as nginx does for `proxy_pass` with a path. `Host` is what the
    client sends, as in the configuration of the docs. Other paths get status 404.
    """
    target = urlsplit(service_url)

    class Proxy(QuietHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            if self.path != prefix and not self.path.startswith(f"{prefix}/"):
                self.send_error(404)
                return
            path = self.path.removeprefix(prefix) or "/" if strip else self.path
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            assert target.hostname is not None
            connection = http.client.HTTPConnection(target.hostname, target.port, timeout=60)
            with contextlib.closing(connection):
                connection.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() != "connection":
                        connection.putheader(name, value)
                connection.endheaders(body)
                response = connection.getresponse()
                content = response.read()
            self.send_response_only(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_HEAD = _forward  # noqa: N815

    with listening(Proxy) as url:
        yield url + prefix
