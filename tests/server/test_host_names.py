"""Host names as clients and attackers write them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.server.host_names import Authority, is_loopback, parse_authority, parse_origin


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost", "localhost", None),
        ("localhost.", "localhost", None),
        ("LocalHost.:8000", "localhost", 8000),
        ("photos.example.org", "photos.example.org", None),
        ("Photos.Example.ORG.:443", "photos.example.org", 443),
        ("my_service:8000", "my_service", 8000),
        ("a-1.b2", "a-1.b2", None),
        ("1.example", "1.example", None),
        ("127.0.0.1", "127.0.0.1", None),
        ("127.0.0.1:", "127.0.0.1", None),
        ("127.0.0.1:00080", "127.0.0.1", 80),
        ("[::1]", "::1", None),
        ("[::1]:9", "::1", 9),
        ("[0:0:0:0:0:0:0:1]", "::1", None),
        ("[2001:DB8::1]:65535", "2001:db8::1", 65535),
    ],
)
def test_host_and_port_are_read(text: str, host: str, port: int | None) -> None:
    assert parse_authority(text) == Authority(host, port)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            ":",
            ":80",
            ".",
            "..",
            "a..b",
            ".a",
            "-a",
            "a-",
            "a b",
            "a,b",
            "a/b",
            "a\\b",
            "a%2eb",
        ),
        *("user@localhost", "user:password@localhost", "localhost@evil.example", "localhost#x"),
        *("localhost:0", "localhost:65536", "localhost:99999", "localhost:123456", "localhost:-1"),
        *("localhost:+1", "localhost:8o", "localhost:1:2", "localhost: 80", "localhost:\u0661"),
        *("[::1", "::1", "::1]", "[::1]x", "[::1].evil.com", "[::1]evil", "[[::1]]", "[]", "["),
        *("[127.0.0.1]", "[localhost]", "[::1%lo]", "[::1%25lo]", "[fe80::1%eth0]", "[v1.a]"),
        *("127.1", "127.0.0.1.1", "0177.0.0.1", "0x7f.1", "0x7f000001", "2130706433", "1.2.3.256"),
        *("b\xfccher.example", "a\0b", "localhost\n", "\tlocalhost", "a" * 64, "a." * 130 + "a"),
    ],
)
def test_malformed_host_is_refused(text: str) -> None:
    assert parse_authority(text) is None


@given(st.text(max_size=30) | st.text("[]:.@%/\\0123456789abcfx- localhost", max_size=30))
def test_any_text_is_refused_or_has_one_reading(text: str) -> None:
    authority = parse_authority(text)
    if authority is None:
        return
    host = f"[{authority.host}]" if ":" in authority.host else authority.host
    port = "" if authority.port is None else f":{authority.port}"
    assert parse_authority(host + port) == authority
    assert authority.host == authority.host.lower()
    assert not set(authority.host) & set("@/\\%[] ")


@given(st.ip_addresses())
def test_addresses_are_loopback_as_the_standard_library_says(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert is_loopback(str(address)) == address.is_loopback


@given(st.from_regex(r"(\[::1\]|127\.0\.0\.1|localhost)[^:]+", fullmatch=True))
def test_nothing_that_only_begins_like_this_machine_is_loopback(text: str) -> None:
    authority = parse_authority(text)
    if authority is not None and text not in ("localhost.",):
        assert not is_loopback(authority.host) or authority.host.startswith("127.")


@pytest.mark.parametrize(
    ("origin", "scheme", "port"),
    [
        ("http://localhost", "http", 80),
        ("https://localhost", "https", 443),
        ("HTTPS://LOCALHOST:8443", "https", 8443),
    ],
)
def test_origin_has_the_default_port_of_its_scheme(origin: str, scheme: str, port: int) -> None:
    parsed = parse_origin(origin)
    assert parsed is not None
    assert (parsed[0], parsed[1].host, parsed[1].port_for(scheme)) == (scheme, "localhost", port)


@pytest.mark.parametrize(
    "origin",
    ["", "null", "localhost", "file://", "ftp://localhost", "http://", "http://a/b", "//a"],
)
def test_other_origins_are_refused(origin: str) -> None:
    assert parse_origin(origin) is None
