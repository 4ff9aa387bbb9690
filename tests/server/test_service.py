from __future__ import annotations

import json
import subprocess
import sys

import httpx
import pytest

from support.running_service import RunningService, examples


def test_a_raw_photo_gets_the_caption_that_the_command_line_prints(service: RunningService) -> None:
    photo = examples()[0]
    answer = httpx.post(
        f"{service.url}/v1/captions?nbest=2&words=true", content=photo.read_bytes(), timeout=60
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    done = subprocess.run(
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
            "--threads",
            "1",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = json.loads(done.stdout)
    found = answer.json()
    assert found.pop("path") is None
    expected.pop("path")
    assert found.keys() == expected.keys()
    assert found["text"] == expected["text"]
    assert found["log_probability"] == pytest.approx(expected["log_probability"], abs=1e-3)
    assert [item["word"] for item in found["words"]] == found["text"].split()


def test_a_form_gets_captions_in_order_and_an_error_for_what_is_no_photo(
    service: RunningService,
) -> None:
    photos = [
        ("photos", (f"C:\\holiday\\{path.name}", path.read_bytes())) for path in examples()[:3]
    ]
    photos.insert(1, ("photos", ("notes.txt", b"no photo at all")))
    answer = httpx.post(f"{service.url}/v1/captions", files=photos, timeout=60)
    assert answer.status_code == 200
    captions = answer.json()["captions"]
    names = [path.name for path in examples()[:3]]
    assert [caption["path"] for caption in captions] == [names[0], "notes.txt", *names[1:]]
    assert [bool(caption["text"]) for caption in captions] == [True, False, True, True]
    assert captions[1]["error"].startswith("notes.txt: not a photo in a format")
    assert len({caption["text"] for caption in captions if caption["text"]}) > 1
