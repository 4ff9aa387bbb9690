"""Captions of the REST API for single photos and forms."""

from __future__ import annotations

import json
import subprocess
import sys

import httpx
import pytest

from support.running_service import RunningService, example_photos


def test_raw_photo_gets_the_caption_that_the_command_line_prints(service: RunningService) -> None:
    photo = example_photos()[0]
    response = httpx.post(
        f"{service.url}/v1/captions?nbest=2&words=true", content=photo.read_bytes(), timeout=60
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "showtell",
            "caption",
            photo,
            "--format",
            "jsonl",
            "--nbest",
            "2",
            "--words",
            "--keywords",
            "--threads",
            "1",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = json.loads(process.stdout)
    record = response.json()
    assert record.pop("path") is None
    expected.pop("path")
    assert expected.pop("model").startswith("general@")
    assert record.keys() == expected.keys()
    assert record["text"] == expected["text"]
    assert [keyword["word"] for keyword in record["keywords"]] == [
        keyword["word"] for keyword in expected["keywords"]
    ]
    assert record["log_probability"] == pytest.approx(expected["log_probability"], abs=1e-3)
    assert [word["word"] for word in record["words"]] == record["text"].split()


def test_form_gets_captions_in_order_and_an_error_for_other_files(
    service: RunningService,
) -> None:
    photos = [
        ("photos", (f"C:\\holiday\\{path.name}", path.read_bytes()))
        for path in example_photos()[:3]
    ]
    photos.insert(1, ("photos", ("notes.txt", b"not a photo at all")))
    response = httpx.post(f"{service.url}/v1/captions", files=photos, timeout=300)
    assert response.status_code == 200
    captions = response.json()["captions"]
    names = [path.name for path in example_photos()[:3]]
    assert [caption["path"] for caption in captions] == [names[0], "notes.txt", *names[1:]]
    assert [bool(caption["text"]) for caption in captions] == [True, False, True, True]
    assert captions[1]["error"].startswith("notes.txt: not a photo in a format")
    assert len({caption["text"] for caption in captions if caption["text"]}) > 1
