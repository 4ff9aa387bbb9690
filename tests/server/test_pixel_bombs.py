"""Small requests that take long to decode do not keep other requests waiting."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

from support.pixel_bombs import pixel_bomb
from support.running_service import RunningService, example_photos, running_service

PHOTO = example_photos()[0].read_bytes()
OTHERS = 9
TIMEOUT = 120


@pytest.fixture(scope="module")
def patient_service(tiny_model: Path) -> Iterator[RunningService]:
    """A service with the default limits, except for the time that a busy machine needs."""
    options = ("--workers", "2", "--queue-wait", "100", "--photo-timeout", "100")
    with running_service("--model", tiny_model, *options) as service:
        yield service


def send_form(service: RunningService, *photos: bytes) -> httpx.Response:
    form = [("photos", (f"{index}.webp", photo)) for index, photo in enumerate(photos)]
    return httpx.post(f"{service.url}/v1/captions", files=form, timeout=TIMEOUT)


def statuses_of_others(service: RunningService) -> list[int]:
    """Send other requests, several at a time."""
    with ThreadPoolExecutor(3) as pool:
        url = f"{service.url}/v1/captions"
        responses = pool.map(
            lambda _: httpx.post(url, content=PHOTO, timeout=TIMEOUT), range(OTHERS)
        )
        return [response.status_code for response in responses]


@pytest.mark.timeout(600)
def test_others_are_answered_while_forms_of_huge_photos_come_again_and_again(
    patient_service: RunningService,
) -> None:
    bomb = pixel_bomb()
    assert 32 * len(bomb) < 300_000
    ended = threading.Event()
    attacks: list[int] = []

    def attack(count: int) -> None:
        while not ended.is_set():
            attacks.append(send_form(patient_service, *[bomb] * count).status_code)

    attackers = [threading.Thread(target=attack, args=(count,)) for count in (32, 6, 1)]
    for attacker in attackers:
        attacker.start()
    try:
        assert statuses_of_others(patient_service) == [200] * OTHERS
    finally:
        ended.set()
        for attacker in attackers:
            attacker.join()
    assert {200, 413} <= set(attacks) <= {200, 413, 503}


def test_form_with_too_many_pixels_is_refused_as_a_whole(patient_service: RunningService) -> None:
    response = send_form(patient_service, *[pixel_bomb()] * 32)
    assert response.status_code == 413
    problem = response.json()
    assert problem["type"] == "urn:showtell:too-many-pixels"
    assert "400,000,000 pixels together" in problem["detail"]


def test_photos_beyond_the_limit_fail_alone_and_huge_ones_are_captioned(
    patient_service: RunningService,
) -> None:
    too_large = pixel_bomb("PNG", (10_000, 6_000))
    response = send_form(patient_service, PHOTO, too_large, pixel_bomb("PNG"), PHOTO)
    assert response.status_code == 200, response.text
    errors = [caption["error"] for caption in response.json()["captions"]]
    assert [error is None for error in errors] == [True, False, True, True]
    assert "10000 x 6000 pixels are more than" in errors[1]


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "JPEG", "BMP", "AVIF"])
def test_form_of_large_photos_in_any_format_is_answered(
    patient_service: RunningService, kind: str
) -> None:
    size = (1000, 2000) if kind == "BMP" else (6000, 4500)
    response = send_form(patient_service, *[pixel_bomb(kind, size)] * 3, PHOTO)
    assert response.status_code == 200, response.text
    captions = response.json()["captions"]
    assert [caption["error"] for caption in captions] == [None] * 4
    texts = [caption["text"] for caption in captions]
    assert texts[0] == texts[1] == texts[2]


def test_captions_do_not_depend_on_how_photos_share_batches(
    patient_service: RunningService,
) -> None:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(PHOTO)).resize((5000, 3000)).save(buffer, "PNG", compress_level=1)
    large = buffer.getvalue()
    together = send_form(patient_service, large, PHOTO, large, large).json()["captions"]
    alone = [send_form(patient_service, photo).json()["captions"][0] for photo in (large, PHOTO)]
    assert [caption["text"] for caption in together] == [
        alone[index]["text"] for index in (0, 1, 0, 0)
    ]
