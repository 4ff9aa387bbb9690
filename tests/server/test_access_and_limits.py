"""Access control, limits, security headers, and errors as problem documents."""

from __future__ import annotations

import http.client
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from showtell.server.access_control import RateLimit
from showtell.server.middleware import SECURITY_HEADERS
from showtell.server.problem_details import ProblemError
from support.running_service import RunningService, example_photos, running_service

PHOTO = example_photos()[0].read_bytes()


@pytest.fixture(scope="module")
def strict_service(tiny_model: Path) -> Iterator[RunningService]:
    """A service with an API key and low limits."""
    with running_service(
        "--model",
        tiny_model,
        "--workers",
        "1",
        "--max-body",
        "1",
        "--max-photos",
        "3",
        "--max-pixels",
        "1000000",
        "--upload-timeout",
        "2",
        "--allowed-host",
        "photos.example.org",
        SHOWTELL_API_KEY="open-sesame",
    ) as service:
        yield service


def send(service: RunningService, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {service.key}"} if service.key else {}
    headers |= options.pop("headers", {})
    return httpx.request(method, service.url + path, headers=headers, timeout=300, **options)


def check_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """Check that a response is a problem document with this status; return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:showtell:")
    assert problem["title"]
    assert problem["detail"]
    return problem


# Host and Origin


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "192.168.1.5", "localhost.x"]
)
def test_foreign_host_name_is_refused(service: RunningService, host: str) -> None:
    for path in ("/", "/health", "/v1/models", "/nothing"):
        assert (
            "name"
            in check_problem(send(service, "GET", path, headers={"Host": host}), 403)["detail"]
        )


@pytest.mark.parametrize(
    "host", ["[", "a@b", "", "[::1].evil.com", "localhost@evil.example", "localhost:99999", "127.1"]
)
def test_malformed_host_is_refused(service: RunningService, host: str) -> None:
    for path in ("/", "/health", "/v1/models"):
        problem = check_problem(send(service, "GET", path, headers={"Host": host}), 400)
        assert problem["type"] == "urn:showtell:malformed-host"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1", "localhost.", "127.0.0.1", "[::1]:9", "127.1.2.3", "localhost.:8"],
)
def test_loopback_host_names_are_accepted(service: RunningService, host: str) -> None:
    assert send(service, "GET", "/health", headers={"Host": host}).status_code == 200


def test_allowed_host_name_is_accepted(strict_service: RunningService) -> None:
    response = send(strict_service, "GET", "/health", headers={"Host": "Photos.Example.org"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},  # another service on this machine
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_requests_from_pages_of_other_sites_are_refused(
    service: RunningService, headers: dict[str, str]
) -> None:
    response = send(service, "POST", "/v1/captions", content=PHOTO, headers=headers)
    assert "another site" in check_problem(response, 403)["detail"]
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_own_page_and_links_to_it_are_accepted(service: RunningService) -> None:
    own_page = {"Origin": service.url, "Sec-Fetch-Site": "same-origin"}
    assert send(service, "POST", "/v1/captions", content=PHOTO, headers=own_page).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert send(service, "GET", "/", headers=link).status_code == 200


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("https://photos.example.org", "photos.example.org", 200),
        ("https://photos.example.org", "photos.example.org:443", 200),
        ("http://photos.example.org:80", "photos.example.org", 200),
        ("https://photos.example.org:8443", "photos.example.org:8443", 200),
        ("https://PHOTOS.example.org.", "photos.example.org", 200),
        ("https://photos.example.org:8443", "photos.example.org", 403),
        ("https://photos.example.org", "photos.example.org:80", 403),
        ("https://photos.example.org.evil.example", "photos.example.org", 403),
        ("null", "photos.example.org", 403),
    ],
)
def test_default_port_of_an_origin_equals_a_missing_port(
    strict_service: RunningService, origin: str, host: str, status: int
) -> None:
    headers = {"Origin": origin, "Host": host}
    assert send(strict_service, "GET", "/v1/models", headers=headers).status_code == status


def test_machine_is_known_by_its_own_name_where_other_machines_may_connect(
    tiny_model: Path, service: RunningService
) -> None:
    name = socket.gethostname().upper()
    with running_service(
        "--model", tiny_model, "--workers", "1", "--host", "0.0.0.0", "--no-api-key"
    ) as open_service:
        url = open_service.url.replace("0.0.0.0", "127.0.0.1")
        for host, status in ((f"{name}:8000", 200), ("10.1.2.3", 200), ("evil.example", 403)):
            assert httpx.get(f"{url}/health", headers={"Host": host}).status_code == status, host
    check_problem(send(service, "GET", "/health", headers={"Host": name}), 403)


# Forms of a request


def raw_response(service: RunningService, request: str) -> str:
    """Send a request as it is; return the response."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=300) as client:
        client.sendall(request.encode("latin-1"))
        return b"".join(iter(lambda: client.recv(4096), b"")).decode("latin-1")


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET /health HTTP/1.0\r\n\r\n", 200),
        ("GET /v1/models HTTP/1.0\r\n\r\n", 200),
        ("GET /health HTTP/1.0\r\nHost: evil.example\r\n\r\n", 403),
        ("GET /health HTTP/1.0\r\nOrigin: http://localhost\r\n\r\n", 403),
        ("GET /health HTTP/1.0\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        ("GET http://localhost/health HTTP/1.0\r\n\r\n", 200),
        ("GET http://localhost:80/health?a=b HTTP/1.0\r\nHost: evil.example\r\n\r\n", 200),
        ("GET HTTP://localhost HTTP/1.0\r\n\r\n", 200),
        ("GET http://evil.example/health HTTP/1.0\r\nHost: localhost\r\n\r\n", 403),
        ("GET http://me@localhost/health HTTP/1.0\r\nHost: localhost\r\n\r\n", 400),
        ("GET http:///health HTTP/1.0\r\nHost: localhost\r\n\r\n", 400),
        ("GET ftp://localhost/health HTTP/1.0\r\nHost: localhost\r\n\r\n", 400),
        ("GET health HTTP/1.0\r\nHost: localhost\r\n\r\n", 400),
        ("CONNECT localhost:80 HTTP/1.0\r\nHost: localhost\r\n\r\n", 400),
    ],
)
def test_forms_of_http_requests(service: RunningService, request_text: str, status: int) -> None:
    response = raw_response(service, request_text)
    assert response.split()[1] == str(status), response


@pytest.mark.parametrize(
    "path", ["/", "/health", "/ready", "/metrics", "/v1/models", "/openapi.json", "/static/app.js"]
)
def test_head_is_answered_like_get_without_a_body(service: RunningService, path: str) -> None:
    get, head = send(service, "GET", path), send(service, "HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    raw = raw_response(service, f"HEAD {path} HTTP/1.0\r\n\r\n")
    assert raw.endswith("\r\n\r\n")
    assert raw.count("\r\n\r\n") == 1
    assert send(service, "POST", path).headers["allow"] == "GET, HEAD"


def test_head_is_counted_as_head(service: RunningService) -> None:
    send(service, "HEAD", "/health")
    counted = 'showtell_requests_total{method="HEAD",route="/health",status="200"}'
    assert counted in send(service, "GET", "/metrics").text


# The key


def test_only_health_checks_and_the_page_work_without_the_key(
    strict_service: RunningService,
) -> None:
    for path in ("/health", "/ready", "/", "/openapi.json"):
        assert httpx.get(strict_service.url + path, timeout=300).status_code == 200
    for method, path in (("GET", "/v1/models"), ("GET", "/metrics"), ("POST", "/v1/captions")):
        for headers, reason in (
            ({}, "is missing: send the header Authorization: Bearer KEY"),
            ({"Authorization": "Bearer wrong"}, "is wrong: send the key"),
            ({"Authorization": "Basic b3Blbi1zZXNhbWU="}, "is missing"),
            ({"Authorization": "Bearer"}, "is missing"),
            ({"Authorization": "Bearer \xe9\xe9\xe9"}, "is wrong"),
        ):
            encoded = {name: value.encode("latin-1") for name, value in headers.items()}
            response = httpx.request(method, strict_service.url + path, headers=encoded)
            assert f"the API key {reason}" in check_problem(response, 401)["detail"]
            assert response.headers["www-authenticate"] == "Bearer"
        assert send(strict_service, method, path).status_code != 401


def test_api_description_mentions_the_key_if_there_is_one(
    service: RunningService, strict_service: RunningService
) -> None:
    without_key, with_key = (
        httpx.get(f"{each.url}/openapi.json", timeout=300).json()["paths"]["/v1/captions"]["post"]
        for each in (service, strict_service)
    )
    assert ("security" in without_key, "401" in without_key["responses"]) == (False, False)
    assert ("security" in with_key, "401" in with_key["responses"]) == (True, True)


# Limits


def test_too_large_content_length_is_refused_before_the_body_is_sent(
    strict_service: RunningService,
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", strict_service.port, timeout=300)
    connection.putrequest("POST", "/v1/captions")
    connection.putheader("Content-Length", "1000001")
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["max_body"] == 1_000_000
    connection.close()


@pytest.mark.parametrize("form", [False, True])
def test_too_large_body_without_content_length_is_refused(
    strict_service: RunningService, form: bool
) -> None:
    begin = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"} if form else {}

    def pieces() -> Iterator[bytes]:
        yield begin if form else b"\xff\xd8\xff"
        for _ in range(20):
            yield bytes(100_000)

    response = send(strict_service, "POST", "/v1/captions", content=pieces(), headers=kind)
    assert check_problem(response, 413)["type"] == "urn:showtell:body-too-large"
    assert "showtell_upload_bytes 0.0" in send(strict_service, "GET", "/metrics").text


def test_body_that_does_not_arrive_times_out(strict_service: RunningService) -> None:
    with socket.create_connection(("127.0.0.1", strict_service.port), timeout=300) as client:
        client.sendall(
            b"POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
            b"Authorization: Bearer open-sesame\r\n\r\n\xff\xd8"
        )
        response = b"".join(
            iter(lambda: client.recv(4096), b"")
        )  # until the service closes the connection
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert "2 s" in json.loads(body)["detail"]


def test_number_of_photos_is_limited(strict_service: RunningService) -> None:
    small = encoded(8, 8)
    for count, status in ((3, 200), (4, 413), (5, 413), (40, 413)):
        form = [("photos", ("a.png", small))] * count
        response = send(strict_service, "POST", "/v1/captions", files=form)
        assert response.status_code == status
        if status == 413:
            assert check_problem(response, 413)["max_photos"] == 3


def test_pixels_of_a_photo_are_limited(strict_service: RunningService) -> None:
    response = send(strict_service, "POST", "/v1/captions", content=encoded(1001, 1000))
    assert "1001 x 1000 pixels are more than 1,000,000" in check_problem(response, 422)["detail"]
    assert (
        send(strict_service, "POST", "/v1/captions", content=encoded(1000, 1000)).status_code == 200
    )


def encoded(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def test_rate_limit_applies_to_each_client_separately(
    tiny_model: Path,
) -> None:
    with running_service(
        "--model", tiny_model, "--workers", "1", "--rate", "8", "--trusted-proxy", "127.0.0.0/8"
    ) as service:
        first = {"X-Forwarded-For": "203.0.113.7"}
        responses = [send(service, "GET", "/v1/models", headers=first) for _ in range(3)]
        assert [response.status_code for response in responses] == [200, 200, 429]
        check_problem(responses[-1], 429)
        assert 1 <= int(responses[-1].headers["retry-after"]) <= 8
        other = {"X-Forwarded-For": "203.0.113.8"}
        assert send(service, "GET", "/v1/models", headers=other).status_code == 200
        assert send(service, "GET", "/health", headers=first).status_code == 200


def test_rate_limit_treats_an_ipv6_network_as_one_client_and_forgets_the_oldest() -> None:
    limit = RateLimit(4)
    limit.check("2001:db8::1")
    with pytest.raises(ProblemError):
        limit.check("2001:db8::2:3")
    limit.check("2001:db8:0:1::1")
    for number in range(10_001):
        limit.check(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    limit.check("2001:db8::1")


# Forms and options


def test_malformed_forms_are_refused(strict_service: RunningService) -> None:
    def post(content: bytes, kind: str) -> httpx.Response:
        return send(
            strict_service, "POST", "/v1/captions", content=content, headers={"Content-Type": kind}
        )

    form = "multipart/form-data; boundary=b"
    part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\nx\r\n--b--\r\n'
    check_problem(post(b"x", "multipart/form-data"), 415)
    check_problem(post(b"x", "multipart/mixed; boundary=b"), 415)
    check_problem(post(b"no form at all", form), 400)
    check_problem(post(b"--b--\r\n", form), 422)
    check_problem(post(part % (b"photos", b""), form), 422)
    assert (
        "photos" in check_problem(post(part % (b"photo", b'; filename="a"'), form), 422)["detail"]
    )
    many = b"".join((part % (b"f", b""))[:-8] + b"\r\n" for _ in range(30)) + b"--b--\r\n"
    assert post(many, form).status_code in (400, 422)


@pytest.mark.parametrize(
    "cut", [b"--b--\r\n", b"photo\r\n--b--\r\n", b"\r\n\r\nphoto\r\n--b--\r\n"]
)
def test_form_that_is_cut_off_is_refused(strict_service: RunningService, cut: bytes) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a"\r\n\r\nphoto\r\n'
    response = send(
        strict_service,
        "POST",
        "/v1/captions",
        content=(part + part + b"--b--\r\n").removesuffix(cut),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert check_problem(response, 400)["type"] == "urn:showtell:damaged-form"


@pytest.mark.parametrize("kind", ["image/jpeg", "multipart/form-data; boundary=b"])
def test_body_that_is_shorter_than_its_length_is_refused(
    strict_service: RunningService, kind: str
) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a"\r\n\r\nphoto\r\n'
    with socket.create_connection(("127.0.0.1", strict_service.port), timeout=300) as client:
        client.sendall(
            b"POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
            b"Authorization: Bearer open-sesame\r\n"
            b"Content-Type: " + kind.encode() + b"\r\n\r\n" + part + b"--b--\r\n"
        )
        client.shutdown(socket.SHUT_WR)
        response = b"".join(iter(lambda: client.recv(4096), b""))
    assert response.startswith(b"HTTP/1.1 400 ")


def test_form_names_its_photos_and_leaves_out_empty_file_inputs(
    strict_service: RunningService,
) -> None:
    small = encoded(8, 8)
    parts = [
        b"filename*=UTF-8''gr%C3%B6%C3%9Fe.png\r\n\r\n" + small,
        b'filename=""\r\nContent-Type: application/octet-stream\r\n\r\n',
    ]
    head = b'--b\r\nContent-Disposition: form-data; name="photos"; '
    response = send(
        strict_service,
        "POST",
        "/v1/captions",
        content=b"".join(head + part + b"\r\n" for part in parts) + b"--b--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert response.status_code == 200, response.text
    [caption] = response.json()["captions"]
    assert (caption["path"], caption["error"]) == ("größe.png", None)


def test_invalid_options_are_named(strict_service: RunningService) -> None:
    response = send(
        strict_service, "POST", "/v1/captions?beam=0&beem=3&strategy=best", content=PHOTO
    )
    errors = check_problem(response, 422)["errors"]
    assert {error["parameter"] for error in errors} == {
        "query.beam",
        "query.beem",
        "query.strategy",
    }
    response = send(strict_service, "POST", "/v1/captions?beam=2&nbest=3", content=PHOTO)
    assert check_problem(response, 422)["errors"] == [
        {"parameter": "query.nbest", "detail": "3 is more than beam=2 can find"}
    ]


def test_options_change_the_captions(
    service: RunningService,
) -> None:
    def caption(query: str) -> Any:
        return send(service, "POST", f"/v1/captions?{query}", content=PHOTO).json()

    assert len(caption("max_length=3")["text"].split()) <= 3
    sampled = [caption(f"strategy=sample&temperature=1&nbest=2&seed={seed}") for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]
    assert len(caption("strategy=diverse&beam=4&groups=2&nbest=4")["alternatives"]) == 3
    assert caption("strategy=mbr")["text"]


# All responses


def test_all_responses_have_the_security_headers(strict_service: RunningService) -> None:
    responses = [
        httpx.get(strict_service.url + "/", timeout=300),
        httpx.get(strict_service.url + "/health", timeout=300),
        httpx.get(strict_service.url + "/nothing", timeout=300),
        httpx.get(strict_service.url + "/v1/models", timeout=300),
        httpx.get(strict_service.url + "/health", headers={"Host": "evil.example"}),
        send(strict_service, "POST", "/v1/captions", content=PHOTO),
    ]
    for response in responses:
        for name, value in SECURITY_HEADERS.items():
            assert response.headers[name] == value
        assert response.headers["cache-control"] in ("no-store", "no-cache")
        assert "server" not in response.headers


def test_unknown_paths_and_methods_are_problem_documents(service: RunningService) -> None:
    assert "openapi.json" in check_problem(send(service, "GET", "/v2/captions"), 404)["detail"]
    response = send(service, "GET", "/v1/captions")
    check_problem(response, 405)
    assert response.headers["allow"] == "POST"
    check_problem(send(service, "GET", "/static/../settings.py"), 404)
    check_problem(send(service, "GET", "/static/%2e%2e/settings.py"), 404)


def test_no_response_contains_a_path_of_this_machine(
    service: RunningService, strict_service: RunningService
) -> None:
    damaged = [PHOTO[:200], PHOTO[:3000], b"GIF89a", b"BM" + bytes(60), b"II*\0" + bytes(30), b""]
    for each in (service, strict_service):
        texts = [send(each, "POST", "/v1/captions", content=data).text for data in damaged]
        texts += [send(each, "GET", path).text for path in ("/", "/v1/models", "/openapi.json")]
        for text in texts:
            for secret in (str(Path.home()), "/tmp", "site-packages", "/src/", " at 0x"):
                assert secret not in text


def test_models_describes_the_model_and_the_limits(strict_service: RunningService) -> None:
    description = send(strict_service, "GET", "/v1/models").json()
    [model] = description["models"]
    assert (model["name"], model["grid"], model["attention"]) == ("tiny", [4, 4], True)
    assert description["limits"] == {
        "max_body": 1_000_000,
        "max_photos": 3,
        "max_pixels": 1_000_000,
        "max_request_pixels": 400_000_000,
        "requests_per_minute": None,
    }
