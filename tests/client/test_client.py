"""The client with a real service, and with services that are busy, broken or unreachable."""

from __future__ import annotations

import email.utils
import io
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import showtell.client
from showtell import Captioner
from showtell.client import Client, PhotoRefusedError, ServiceError
from showtell.errors import PhotoError
from support.paths import SAMPLE_PHOTOS
from support.running_service import RunningService, running_service
from support.scripted_server import CAPTION, ScriptedResponse, scripted_server

HORSES = SAMPLE_PHOTOS / "horses.jpg"
TIGER = SAMPLE_PHOTOS / "tiger-in-snow.jpg"
BUSY = {"type": "about:blank", "title": "Busy", "status": 503, "detail": "the queue is full"}


@pytest.fixture
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    return Captioner.load(threads=1)


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the client sleeps, without the sleep."""
    delays: list[float] = []
    monkeypatch.setattr("showtell.files.retry.time.sleep", delays.append)
    return delays


# A real service


def test_path_bytes_and_file_get_the_same_caption_as_from_the_captioner(
    client: Client, captioner: Captioner
) -> None:
    expected = captioner.caption(HORSES, nbest=3)
    by_path = client.caption(HORSES, nbest=3)
    assert by_path.path == HORSES
    assert by_path.text == expected.text
    assert by_path.log_probability == pytest.approx(expected.log_probability, abs=1e-4)
    assert by_path.confidence == pytest.approx(expected.confidence, abs=1e-4)
    assert [alternative.text for alternative in by_path.alternatives] == [
        alternative.text for alternative in expected.alternatives
    ]
    assert [keyword.word for keyword in by_path.keywords] == [
        keyword.word for keyword in expected.keywords
    ]
    data = HORSES.read_bytes()
    for photo in (str(HORSES), data, bytearray(data), io.BytesIO(data)):
        caption = client.caption(photo, nbest=3)
        assert caption.text == by_path.text
        assert caption.path == (HORSES if isinstance(photo, str) else None)


def test_words_have_attention_maps_as_arrays(client: Client, captioner: Captioner) -> None:
    expected = captioner.caption(HORSES)
    caption = client.caption(HORSES, words=True)
    assert [word.word for word in caption.words] == [word.word for word in expected.words]
    for word, expected_word in zip(caption.words, expected.words, strict=True):
        assert (word.attention is None) == (expected_word.attention is None)
        if word.attention is not None:
            assert word.attention.dtype == np.float32
            np.testing.assert_allclose(word.attention, expected_word.attention, atol=1e-4)


def test_service_applies_and_validates_the_options(client: Client) -> None:
    assert len(client.caption(HORSES, max_length=2).text.split()) <= 2
    assert client.caption(HORSES, strategy="diverse", groups=3, nbest=2).text
    with pytest.raises(ServiceError, match=r"query\.beam") as caught:
        client.caption(HORSES, beam=17)  # more than the service allows
    assert not isinstance(caught.value, PhotoError)
    assert caught.value.status == 422


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"beems": 3}, TypeError),
        ({"nbest": 5, "beam": 2}, ValueError),
        ({"beam": 0}, ValueError),
        ({"beam": "three"}, ValueError),
        ({"strategy": "best"}, ValueError),
        ({"groups": 2, "beam": 3, "strategy": "diverse"}, ValueError),
        ({"temperature": 0.7}, ValueError),
    ],
)
def test_wrong_options_raise_the_error_of_the_captioner(
    client: Client, captioner: Captioner, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as expected:
        captioner.caption(HORSES, **options)
    message = "beems" if error is TypeError else f"^{re.escape(str(expected.value))}$"
    with pytest.raises(error, match=message):
        client.caption(HORSES, **options)
    with pytest.raises(error, match=message):
        client.caption_many([HORSES], **options)


@pytest.mark.parametrize("photo", [5, None, [HORSES], np.zeros((8, 8, 3), np.uint8)])
def test_what_cannot_be_sent_is_a_photo_error(client: Client, photo: Any) -> None:
    with pytest.raises(PhotoError, match="cannot be sent: give a path, bytes or a binary file"):
        client.caption(photo)


def test_caption_many_keeps_the_order_and_gives_unreadable_photos_an_error(
    client: Client, captioner: Captioner, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(HORSES.read_bytes()[:3000])
    photos = [*sorted(SAMPLE_PHOTOS.glob("*.jpg"))[:4], tmp_path / "missing.jpg", broken, TIGER]
    captions = list(client.caption_many(photos, batch_size=3))
    expected = list(captioner.caption(photos))
    assert [caption.path for caption in captions] == photos
    assert [caption.text for caption in captions] == [caption.text for caption in expected]
    assert [caption.error is None for caption in captions] == [True] * 4 + [False, False, True]
    assert "missing.jpg" in str(captions[4].error)
    assert "broken.jpg" in str(captions[5].error)
    assert "truncated" in str(captions[5].error)


def test_unreadable_photo_raises_a_photo_error_with_the_problem_document(
    client: Client, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.jpg"
    notes.write_text("no photo")
    with pytest.raises(PhotoRefusedError, match=r"notes\.jpg: .*not a photo") as caught:
        client.caption(notes)
    assert isinstance(caught.value, PhotoError)
    assert caught.value.status == 422
    assert caught.value.problem["status"] == 422
    with pytest.raises(PhotoError, match=r"missing\.jpg: .*no such file"):
        client.caption(tmp_path / "missing.jpg")
    with pytest.raises(PhotoError, match="'rb'"):
        client.caption(io.StringIO("text"))  # type: ignore[arg-type]


def test_too_large_photos_are_refused_and_too_large_batches_split(tiny_model: Path) -> None:
    """The service responds before it has read such a body, and then closes the connection."""
    large, half = bytes(30_000_000), HORSES.read_bytes().ljust(600_000, b"\0")
    with (
        running_service("--model", tiny_model, "--max-body", "1") as service,
        Client(service.url) as client,
    ):
        for _ in range(3):
            with pytest.raises(PhotoRefusedError, match="more than 1 MB") as caught:
                client.caption(large)
            assert caught.value.status == 413
        captions = list(client.caption_many([half, half, large, half], batch_size=4))
    assert [caption.error is None for caption in captions] == [True, True, False, True]
    assert "more than 1 MB" in str(captions[2].error)


def test_client_returns_models_limits_and_status(client: Client) -> None:
    assert client.ready() is True
    assert client.health() == "alive"
    [model] = client.models()
    assert (model.name, model.attention) == ("general", True)
    assert len(model.grid) == 2
    limits = client.limits()
    assert limits.max_photos > 1
    assert limits.max_body > 1_000_000


# A service that is busy, broken or unreachable


def test_client_retries_a_busy_service_after_the_requested_delay(delays: list[float]) -> None:
    busy = ScriptedResponse(503, BUSY, {"Retry-After": "3"})
    many = ScriptedResponse(429, BUSY, {"Retry-After": "7"})
    with scripted_server(busy, many, ScriptedResponse()) as server, Client(server.url) as client:
        assert client.caption(b"photo").text == "a dog runs"
    assert delays == [3, 7]
    assert [body for _, _, body in server.requests] == [b"photo"] * 3


def test_retry_after_may_be_a_date(delays: list[float]) -> None:
    date = email.utils.formatdate(time.time() + 20, usegmt=True)
    responses = (ScriptedResponse(503, BUSY, {"Retry-After": date}), ScriptedResponse())
    with scripted_server(*responses) as server, Client(server.url) as client:
        client.caption(b"photo")
    [delay] = delays
    assert 1 < delay <= 20


@pytest.mark.parametrize("header", ["90", "nonsense", "0", "-1", "nan", "inf"])
def test_total_wait_is_bounded_for_any_retry_after_header(header: str, delays: list[float]) -> None:
    response = ScriptedResponse(503, BUSY, {"Retry-After": header})
    with (
        scripted_server(response) as server,
        Client(server.url, longest_wait=2) as client,
        pytest.raises(ServiceError, match="the queue is full") as caught,
    ):
        client.caption(b"photo")
    assert sum(delays) <= 2
    assert len(delays) < 50
    assert (caught.value.status, caught.value.problem) == (503, BUSY)


def test_client_does_not_wait_if_longest_wait_is_zero(delays: list[float]) -> None:
    with (
        scripted_server(ScriptedResponse(503, BUSY)) as server,
        Client(server.url, longest_wait=0) as client,
        pytest.raises(ServiceError),
    ):
        client.caption(b"photo")
    assert (delays, len(server.requests)) == ([], 1)


def test_lost_connection_is_retried_and_then_reported(delays: list[float]) -> None:
    with (
        scripted_server(
            ScriptedResponse(None), ScriptedResponse(None), ScriptedResponse()
        ) as server,
        Client(server.url) as client,
    ):
        assert client.caption(b"photo").text == "a dog runs"
    assert len(delays) == 2
    with (
        scripted_server(ScriptedResponse(None)) as server,
        Client(server.url, longest_wait=1) as client,
        pytest.raises(ServiceError, match="connection lost"),
    ):
        client.caption(b"photo")


def test_request_that_is_too_large_is_split() -> None:
    too_large = ScriptedResponse(
        413, {"title": "Too large", "status": 413, "detail": "at most 10 bytes"}
    )
    both = ScriptedResponse(body={"captions": [CAPTION, CAPTION | {"text": "a cat sits"}]})
    one = ScriptedResponse(body={"captions": [CAPTION | {"text": "a hat"}]})
    with (
        scripted_server(too_large, both, too_large, one, too_large) as server,
        Client(server.url) as client,
    ):
        captions = list(client.caption_many([b"1", b"2", b"3", b"4"], batch_size=4))
    # Requests: 1 to 4 (refused), 1 and 2, 3 and 4 (refused), 3, 4 (refused).
    assert [caption.text for caption in captions] == ["a dog runs", "a cat sits", "a hat", None]
    assert captions[3].error == "photo of 1 bytes: at most 10 bytes"
    assert len(server.requests) == 5


def test_key_is_sent_with_each_request_and_a_wrong_key_is_reported() -> None:
    refusal = {"title": "Unauthorized", "status": 401, "detail": "the API key is wrong"}
    with (
        scripted_server(ScriptedResponse(), ScriptedResponse(401, refusal)) as server,
        Client(server.url, api_key="secret-key") as client,
    ):
        client.caption(b"photo")
        with pytest.raises(ServiceError, match=r"the API key is wrong \(401\)") as caught:
            client.models()
    assert [headers["authorization"] for _, headers, _ in server.requests] == [
        "Bearer secret-key"
    ] * 2
    assert "secret-key" not in str(caught.value)
    with pytest.raises(ValueError, match="API key"):
        Client(api_key="key\r\nX-More: 1")


def test_path_of_the_url_is_kept() -> None:
    """A reverse proxy may serve showtell below a path."""
    with scripted_server(ScriptedResponse(body={"models": []})) as server:
        for url in (f"{server.url}/captions", f"{server.url}/captions/"):
            with Client(url) as client:
                client.models()
    assert [path for path, _, _ in server.requests] == ["/captions/v1/models"] * 2


@pytest.mark.parametrize(
    "response",
    [
        ScriptedResponse(200, b"<html>a page"),
        ScriptedResponse(200, b"[1]"),
        ScriptedResponse(200, b"\xff\xfe{}"),
    ],
    ids=["page", "list", "bytes"],
)
def test_response_of_another_server_is_recognised(response: ScriptedResponse) -> None:
    with (
        scripted_server(response) as server,
        Client(server.url) as client,
        pytest.raises(ServiceError, match="right address"),
    ):
        client.health()


def test_html_error_page_gives_a_one_line_error() -> None:
    with (
        scripted_server(ScriptedResponse(502, b"<html>\n<b>Bad Gateway</b>")) as server,
        Client(server.url) as client,
        pytest.raises(ServiceError, match=r"Bad Gateway \(502\)$") as caught,
    ):
        client.caption(b"photo")
    assert "\n" not in str(caught.value)


def test_unreachable_service_is_reported_at_once_with_a_hint(
    unused_url: str, delays: list[float]
) -> None:
    with (
        Client(unused_url) as client,
        pytest.raises(ServiceError, match=r"cannot connect .* is `showtell serve` running"),
    ):
        client.caption(b"photo")
    assert delays == []


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "", "http://["])
def test_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an http or https URL"):
        Client(url)


def test_public_names_are_complete_and_documented() -> None:
    public = {name for name in vars(showtell.client) if not name.startswith("_")}
    modules = {"annotations", "client", "responses"}
    assert public - modules == set(showtell.client.__all__)
    assert showtell.client.__all__ == [
        "Client",
        "Limits",
        "Options",
        "PhotoRefusedError",
        "ServedModel",
        "ServiceError",
    ]
    assert all(getattr(showtell.client, name).__doc__ for name in showtell.client.__all__)


def test_missing_httpx_names_the_extra_to_install() -> None:
    script = "import sys; sys.modules['httpx'] = None; import showtell.client"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert 'pip install ".[client]"' in process.stderr.splitlines()[-1]


def test_client_does_not_import_onnxruntime() -> None:
    script = "import sys, showtell.client; print('onnxruntime' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (process.stdout, process.stderr) == ("False\n", "")
