"""Who is let in, how much of what, and that every answer is safe and every error a problem."""

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

from showtell.server.middleware import HEADERS, RateLimit
from showtell.server.problem_details import ProblemError
from support.running_service import RunningService, examples, running_service

PHOTO = examples()[0].read_bytes()


@pytest.fixture(scope="module")
def strict(tiny_model: Path) -> Iterator[RunningService]:
    """A service with a key and low limits."""
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


def ask(service: RunningService, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {service.key}"} if service.key else {}
    headers |= options.pop("headers", {})
    return httpx.request(method, service.url + path, headers=headers, timeout=60, **options)


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check that an answer is a problem document of this status, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["type"].startswith("urn:showtell:")
    assert found["title"]
    assert found["detail"]
    return found


# Host and Origin


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "192.168.1.5", "[", "a@b"])
def test_a_name_that_is_not_its_own_is_refused(service: RunningService, host: str) -> None:
    for path in ("/", "/health", "/v1/models", "/nothing"):
        assert "name" in problem(ask(service, "GET", path, headers={"Host": host}), 403)["detail"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:9", "127.1.2.3"])
def test_names_of_this_machine_are_its_own(service: RunningService, host: str) -> None:
    assert ask(service, "GET", "/health", headers={"Host": host}).status_code == 200


def test_a_name_that_it_was_told_is_its_own(strict: RunningService) -> None:
    answer = ask(strict, "GET", "/health", headers={"Host": "Photos.Example.org"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},  # another service of this machine
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_a_page_of_another_site_reaches_nothing(
    service: RunningService, headers: dict[str, str]
) -> None:
    answer = ask(service, "POST", "/v1/captions", content=PHOTO, headers=headers)
    assert "another site" in problem(answer, 403)["detail"]
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_its_own_page_and_a_link_to_it_work(service: RunningService) -> None:
    own = {"Origin": service.url, "Sec-Fetch-Site": "same-origin"}
    assert ask(service, "POST", "/v1/captions", content=PHOTO, headers=own).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ask(service, "GET", "/", headers=link).status_code == 200


# The key


def test_without_the_key_only_health_and_page_are_open(strict: RunningService) -> None:
    for path in ("/health", "/ready", "/", "/openapi.json"):
        assert httpx.get(strict.url + path).status_code == 200
    for method, path in (("GET", "/v1/models"), ("GET", "/metrics"), ("POST", "/v1/captions")):
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic b3Blbi1zZXNhbWU="},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer \xe9\xe9\xe9"},
        ):
            encoded = {name: value.encode("latin-1") for name, value in headers.items()}
            answer = httpx.request(method, strict.url + path, headers=encoded)
            assert "Authorization: Bearer" in problem(answer, 401)["detail"]
            assert answer.headers["www-authenticate"] == "Bearer"
        assert ask(strict, method, path).status_code != 401


def test_the_key_is_named_in_the_description_where_there_is_one(
    service: RunningService, strict: RunningService
) -> None:
    open_one, keyed = (
        httpx.get(f"{one.url}/openapi.json").json()["paths"]["/v1/captions"]["post"]
        for one in (service, strict)
    )
    assert ("security" in open_one, "401" in open_one["responses"]) == (False, False)
    assert ("security" in keyed, "401" in keyed["responses"]) == (True, True)


# Limits


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(
    strict: RunningService,
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", strict.port, timeout=30)
    connection.putrequest("POST", "/v1/captions")
    connection.putheader("Content-Length", "1000001")
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read())["max_body"] == 1_000_000
    connection.close()


@pytest.mark.parametrize("form", [False, True])
def test_a_body_that_turns_out_too_large_is_refused(strict: RunningService, form: bool) -> None:
    begin = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"} if form else {}

    def pieces() -> Iterator[bytes]:
        yield begin if form else b"\xff\xd8\xff"
        for _ in range(20):
            yield bytes(100_000)

    answer = ask(strict, "POST", "/v1/captions", content=pieces(), headers=kind)
    assert problem(answer, 413)["type"] == "urn:showtell:body-too-large"
    assert "showtell_upload_bytes 0.0" in ask(strict, "GET", "/metrics").text


def test_a_body_that_does_not_come_is_given_up(strict: RunningService) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=30) as client:
        client.sendall(
            b"POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
            b"Authorization: Bearer open-sesame\r\n\r\n\xff\xd8"
        )
        answer = b"".join(iter(lambda: client.recv(4096), b""))  # until the service closes
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert "2 s" in json.loads(body)["detail"]


def test_photos_of_a_request_are_bounded(strict: RunningService) -> None:
    small = encoded(8, 8)
    for count, status in ((3, 200), (4, 413), (5, 413), (40, 413)):
        form = [("photos", ("a.png", small))] * count
        answer = ask(strict, "POST", "/v1/captions", files=form)
        assert answer.status_code == status
        if status == 413:
            assert problem(answer, 413)["max_photos"] == 3


def test_pixels_of_a_photo_are_bounded(strict: RunningService) -> None:
    answer = ask(strict, "POST", "/v1/captions", content=encoded(1001, 1000))
    assert "1001 x 1000 pixels are more than 1,000,000" in problem(answer, 422)["detail"]
    assert ask(strict, "POST", "/v1/captions", content=encoded(1000, 1000)).status_code == 200


def encoded(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def test_a_client_may_send_so_many_requests_a_minute_and_others_still_theirs(
    tiny_model: Path,
) -> None:
    with running_service(
        "--model", tiny_model, "--workers", "1", "--rate", "8", "--trusted-proxy", "127.0.0.1"
    ) as service:
        first = {"X-Forwarded-For": "203.0.113.7"}
        answers = [ask(service, "GET", "/v1/models", headers=first) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        problem(answers[-1], 429)
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 8
        other = {"X-Forwarded-For": "203.0.113.8"}
        assert ask(service, "GET", "/v1/models", headers=other).status_code == 200
        assert ask(service, "GET", "/health", headers=first).status_code == 200


def test_rate_counts_an_ipv6_network_as_one_client_and_forgets_the_oldest() -> None:
    limit = RateLimit(4)
    limit.check("2001:db8::1")
    with pytest.raises(ProblemError):
        limit.check("2001:db8::2:3")
    limit.check("2001:db8:0:1::1")
    for number in range(10_001):
        limit.check(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    limit.check("2001:db8::1")


# What is sent


def test_a_form_that_is_none_is_refused_by_name(strict: RunningService) -> None:
    def post(content: bytes, kind: str) -> httpx.Response:
        return ask(strict, "POST", "/v1/captions", content=content, headers={"Content-Type": kind})

    form = "multipart/form-data; boundary=b"
    part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\nx\r\n--b--\r\n'
    problem(post(b"x", "multipart/form-data"), 415)
    problem(post(b"x", "multipart/mixed; boundary=b"), 415)
    problem(post(b"no form at all", form), 400)
    problem(post(b"--b--\r\n", form), 422)
    problem(post(part % (b"photos", b""), form), 422)
    assert "photos" in problem(post(part % (b"photo", b'; filename="a"'), form), 422)["detail"]
    many = b"".join((part % (b"f", b""))[:-8] + b"\r\n" for _ in range(30)) + b"--b--\r\n"
    assert post(many, form).status_code in (400, 422)


def test_wrong_options_are_named(strict: RunningService) -> None:
    answer = ask(strict, "POST", "/v1/captions?beam=0&beem=3&strategy=best", content=PHOTO)
    errors = problem(answer, 422)["errors"]
    assert {error["parameter"] for error in errors} == {
        "query.beam",
        "query.beem",
        "query.strategy",
    }
    answer = ask(strict, "POST", "/v1/captions?beam=2&nbest=3", content=PHOTO)
    assert problem(answer, 422)["errors"] == [
        {"parameter": "query.nbest", "detail": "3 is more than beam=2 can find"}
    ]


def test_an_option_changes_the_caption_as_it_does_on_the_command_line(
    service: RunningService,
) -> None:
    def caption(query: str) -> Any:
        return ask(service, "POST", f"/v1/captions?{query}", content=PHOTO).json()

    assert len(caption("max_length=3")["text"].split()) <= 3
    drawn = [caption(f"strategy=sample&temperature=1&nbest=2&seed={seed}") for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(caption("strategy=diverse&beam=4&groups=2&nbest=4")["alternatives"]) == 3
    assert caption("strategy=mbr")["text"]


# Every answer


def test_every_answer_carries_the_safe_headers(strict: RunningService) -> None:
    answers = [
        httpx.get(strict.url + "/"),
        httpx.get(strict.url + "/health"),
        httpx.get(strict.url + "/nothing"),
        httpx.get(strict.url + "/v1/models"),
        httpx.get(strict.url + "/health", headers={"Host": "evil.example"}),
        ask(strict, "POST", "/v1/captions", content=PHOTO),
    ]
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        assert answer.headers["cache-control"] in ("no-store", "no-cache")
        assert "server" not in answer.headers


def test_what_is_not_there_is_a_problem_too(service: RunningService) -> None:
    assert "openapi.json" in problem(ask(service, "GET", "/v2/captions"), 404)["detail"]
    answer = ask(service, "GET", "/v1/captions")
    problem(answer, 405)
    assert answer.headers["allow"] == "POST"
    problem(ask(service, "GET", "/static/../settings.py"), 404)
    problem(ask(service, "GET", "/static/%2e%2e/settings.py"), 404)


def test_health_answers_head_as_probes_ask(service: RunningService) -> None:
    for path in ("/health", "/ready"):
        assert ask(service, "HEAD", path).status_code == 200


def test_no_answer_names_a_path_of_this_machine(
    service: RunningService, strict: RunningService
) -> None:
    damaged = [PHOTO[:200], PHOTO[:3000], b"GIF89a", b"BM" + bytes(60), b"II*\0" + bytes(30), b""]
    for one in (service, strict):
        texts = [ask(one, "POST", "/v1/captions", content=data).text for data in damaged]
        texts += [ask(one, "GET", path).text for path in ("/", "/v1/models", "/openapi.json")]
        for text in texts:
            for secret in (str(Path.home()), "/tmp", "site-packages", "/src/", " at 0x"):
                assert secret not in text


def test_models_tells_what_captions_and_what_a_request_may_hold(strict: RunningService) -> None:
    found = ask(strict, "GET", "/v1/models").json()
    [model] = found["models"]
    assert (model["name"], model["grid"], model["attention"]) == ("tiny", [4, 4], True)
    assert found["limits"] == {
        "max_body": 1_000_000,
        "max_photos": 3,
        "max_pixels": 1_000_000,
        "requests_a_minute": None,
    }
