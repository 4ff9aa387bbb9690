"""The client against a real service, and against one that is busy, broken or not there."""

from __future__ import annotations

import email.utils
import io
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from showtell import Captioner
from showtell.client.client import Client, PhotoRefusedError, ServiceError
from showtell.errors import PhotoError
from support.paths import EXAMPLES
from support.running_service import RunningService, running_service
from support.scripted_server import CAPTION, Answer, scripted

HORSES = EXAMPLES / "horses.jpg"
TIGER = EXAMPLES / "tiger-in-snow.jpg"
BUSY = {"type": "about:blank", "title": "Busy", "status": 503, "detail": "the queue is full"}


@pytest.fixture
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    return Captioner.load(threads=1)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the client waited, without the wait."""
    waits: list[float] = []
    monkeypatch.setattr("showtell.client.client.time.sleep", waits.append)
    return waits


# A real service


def test_a_photo_by_path_bytes_and_file_is_captioned_as_the_captioner_does(
    client: Client, captioner: Captioner
) -> None:
    expected = captioner.caption(HORSES, nbest=3)
    by_path = client.caption(HORSES, nbest=3)
    assert by_path.path == HORSES
    assert by_path.text == expected.text
    assert by_path.log_probability == pytest.approx(expected.log_probability, abs=1e-4)
    assert by_path.confidence == pytest.approx(expected.confidence, abs=1e-4)
    assert [other.text for other in by_path.alternatives] == [
        other.text for other in expected.alternatives
    ]
    data = HORSES.read_bytes()
    for photo in (str(HORSES), data, io.BytesIO(data)):
        found = client.caption(photo, nbest=3)
        assert found.text == by_path.text
        assert found.path == (HORSES if isinstance(photo, str) else None)


def test_words_come_with_attention_as_arrays(client: Client, captioner: Captioner) -> None:
    expected = captioner.caption(HORSES)
    found = client.caption(HORSES, words=True)
    assert [word.word for word in found.words] == [word.word for word in expected.words]
    for ours, theirs in zip(found.words, expected.words, strict=True):
        assert (ours.attention is None) == (theirs.attention is None)
        if ours.attention is not None:
            assert ours.attention.dtype == np.float32
            np.testing.assert_allclose(ours.attention, theirs.attention, atol=1e-4)


def test_options_reach_the_service_and_are_judged_there(client: Client) -> None:
    assert len(client.caption(HORSES, max_length=2).text.split()) <= 2
    with pytest.raises(ServiceError) as caught:
        client.caption(HORSES, nbest=5, beam=2)
    assert not isinstance(caught.value, PhotoError)
    assert caught.value.status == 422
    assert "nbest" in str(caught.value)
    with pytest.raises(TypeError, match="beems"):
        client.caption(HORSES, beems=3)


def test_many_photos_keep_their_order_and_the_bad_ones_their_errors(
    client: Client, captioner: Captioner, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(HORSES.read_bytes()[:3000])
    photos = [*sorted(EXAMPLES.glob("*.jpg"))[:4], tmp_path / "gone.jpg", broken, TIGER]
    found = list(client.caption_many(photos, batch_size=3))
    expected = list(captioner.caption(photos))
    assert [caption.path for caption in found] == photos
    assert [caption.text for caption in found] == [caption.text for caption in expected]
    assert [caption.error is None for caption in found] == [True] * 4 + [False, False, True]
    assert "gone.jpg" in str(found[4].error)
    assert "broken.jpg" in str(found[5].error)
    assert "truncated" in str(found[5].error)


def test_a_photo_that_cannot_be_read_is_a_photo_error_with_the_problem(
    client: Client, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.jpg"
    notes.write_text("no photo")
    with pytest.raises(PhotoRefusedError, match=r"notes\.jpg: .*not a photo") as caught:
        client.caption(notes)
    assert isinstance(caught.value, PhotoError)
    assert caught.value.status == 422
    assert caught.value.problem["status"] == 422
    with pytest.raises(PhotoError, match=r"gone\.jpg: .*no such file"):
        client.caption(tmp_path / "gone.jpg")
    with pytest.raises(PhotoError, match="'rb'"):
        client.caption(io.StringIO("text"))  # type: ignore[arg-type]


def test_bodies_larger_than_the_service_takes_are_told_and_split(tiny_model: Path) -> None:
    """The service answers before it has read such a body, and hangs up on the rest of it."""
    large, half = bytes(30_000_000), HORSES.read_bytes().ljust(600_000, b"\0")
    with (
        running_service("--model", tiny_model, "--max-body", "1") as service,
        Client(service.url) as client,
    ):
        for _ in range(3):
            with pytest.raises(PhotoRefusedError, match="more than 1 MB") as caught:
                client.caption(large)
            assert caught.value.status == 413
        found = list(client.caption_many([half, half, large, half], batch_size=4))
    assert [caption.error is None for caption in found] == [True, True, False, True]
    assert "more than 1 MB" in str(found[2].error)


def test_service_says_what_it_is_and_whether_it_is_ready(client: Client) -> None:
    assert client.ready() is True
    assert client.health() == "alive"
    [model] = client.models()
    assert (model.name, model.attention) == ("flickr8k", True)
    assert len(model.grid) == 2
    limits = client.limits()
    assert limits.max_photos > 1
    assert limits.max_body > 1_000_000


# A service that is busy, broken or not there


def test_busy_service_is_asked_again_when_it_said(slept: list[float]) -> None:
    busy = Answer(503, BUSY, {"Retry-After": "3"})
    many = Answer(429, BUSY, {"Retry-After": "7"})
    with scripted(busy, many, Answer()) as server, Client(server.url) as client:
        assert client.caption(b"photo").text == "a dog runs"
    assert slept == [3, 7]
    assert [body for _, _, body in server.requests] == [b"photo"] * 3


def test_a_date_to_come_back_at_is_understood(slept: list[float]) -> None:
    date = email.utils.formatdate(time.time() + 20, usegmt=True)
    answers = (Answer(503, BUSY, {"Retry-After": date}), Answer())
    with scripted(*answers) as server, Client(server.url) as client:
        client.caption(b"photo")
    [wait] = slept
    assert 1 < wait <= 20


@pytest.mark.parametrize("asked", ["90", "nonsense", "0", "-1", "nan", "inf"])
def test_waiting_is_bounded_whatever_the_service_says(asked: str, slept: list[float]) -> None:
    answer = Answer(503, BUSY, {"Retry-After": asked})
    with (
        scripted(answer) as server,
        Client(server.url, longest_wait=2) as client,
        pytest.raises(ServiceError, match="the queue is full") as caught,
    ):
        client.caption(b"photo")
    assert sum(slept) <= 2
    assert len(slept) < 50
    assert (caught.value.status, caught.value.problem) == (503, BUSY)


def test_never_waits_where_it_is_told_not_to(slept: list[float]) -> None:
    with (
        scripted(Answer(503, BUSY)) as server,
        Client(server.url, longest_wait=0) as client,
        pytest.raises(ServiceError),
    ):
        client.caption(b"photo")
    assert (slept, len(server.requests)) == ([], 1)


def test_dropped_connection_is_tried_again_and_then_named(slept: list[float]) -> None:
    with scripted(Answer(None), Answer(None), Answer()) as server, Client(server.url) as client:
        assert client.caption(b"photo").text == "a dog runs"
    assert len(slept) == 2
    with (
        scripted(Answer(None)) as server,
        Client(server.url, longest_wait=1) as client,
        pytest.raises(ServiceError, match="broke off"),
    ):
        client.caption(b"photo")


def test_photos_that_are_too_many_for_one_request_go_in_several() -> None:
    too_large = Answer(413, {"title": "Too large", "status": 413, "detail": "at most 10 bytes"})
    both = Answer(body={"captions": [CAPTION, CAPTION | {"text": "a cat sits"}]})
    one = Answer(body={"captions": [CAPTION | {"text": "a hat"}]})
    with (
        scripted(too_large, both, too_large, one, too_large) as server,
        Client(server.url) as client,
    ):
        found = list(client.caption_many([b"1", b"2", b"3", b"4"], batch_size=4))
    # 1-4 refused, 1-2, 3-4 refused, 3, 4 refused
    assert [caption.text for caption in found] == ["a dog runs", "a cat sits", "a hat", ""]
    assert found[3].error == "photo of 1 bytes: at most 10 bytes"
    assert len(server.requests) == 5


def test_key_goes_with_each_request_and_a_wrong_one_is_one_clear_line() -> None:
    refusal = {"title": "Unauthorized", "status": 401, "detail": "the API key is wrong"}
    with (
        scripted(Answer(), Answer(401, refusal)) as server,
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


def test_address_below_a_path_is_kept() -> None:
    """As behind a reverse proxy that serves more than showtell."""
    with scripted(Answer(body={"models": []})) as server:
        for url in (f"{server.url}/captions", f"{server.url}/captions/"):
            with Client(url) as client:
                client.models()
    assert [path for path, _, _ in server.requests] == ["/captions/v1/models"] * 2


@pytest.mark.parametrize(
    "answer",
    [Answer(200, b"<html>a page"), Answer(200, b"[1]"), Answer(200, b"\xff\xfe{}")],
    ids=["page", "list", "bytes"],
)
def test_another_server_is_not_taken_for_showtell(answer: Answer) -> None:
    with (
        scripted(answer) as server,
        Client(server.url) as client,
        pytest.raises(ServiceError, match="right address"),
    ):
        client.health()


def test_an_error_page_is_one_line() -> None:
    with (
        scripted(Answer(502, b"<html>\n<b>Bad Gateway</b>")) as server,
        Client(server.url) as client,
        pytest.raises(ServiceError, match=r"Bad Gateway \(502\)$") as caught,
    ):
        client.caption(b"photo")
    assert "\n" not in str(caught.value)


def test_no_service_is_said_at_once_with_the_way_out(no_service: str, slept: list[float]) -> None:
    with (
        Client(no_service) as client,
        pytest.raises(ServiceError, match=r"cannot be reached .* is `showtell serve` running"),
    ):
        client.caption(b"photo")
    assert slept == []


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "", "http://["])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an http or https address"):
        Client(url)


def test_light_install_says_which_extra_the_client_needs() -> None:
    script = "import sys; sys.modules['httpx'] = None; import showtell.client.client"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert 'pip install "showtell[serve]"' in done.stderr.splitlines()[-1]


def test_client_loads_neither_the_model_nor_its_runtime() -> None:
    script = "import sys, showtell.client.client; print('onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
