"""The memory of a worker is limited, and a photo that needs more fails alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from showtell.server.worker_memory import worker_bytes
from support.pixel_bombs import pixel_bomb
from support.running_service import child_processes, running_service

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces the limit")
_SCRIPT = """
import json, sys
from pathlib import Path
from showtell.captioner import Captioner
from showtell.server import worker_memory
from showtell.server.worker_process import caption_batch

captioner = Captioner.load(Path(sys.argv[1]), threads=1)
photos = [Path(path).read_bytes() for path in sys.argv[2:]]
caption_batch(captioner, photos[:1], ["first"], {}, words=False)
worker_memory.NETWORK_BYTES = 150_000_000
worker_memory.limit_memory(max_pixels=1_000_000)
names = [str(index) for index in range(len(photos))]
for photo, name in zip(photos, names):
    _, [record] = caption_batch(captioner, [photo], [name], {}, words=False)
    print(json.loads(record)["error"])
"""


@needs_linux
def test_photo_that_needs_too_much_memory_fails_and_the_next_is_captioned(
    tiny_model: Path, tmp_path: Path
) -> None:
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    small.write_bytes(pixel_bomb("PNG", (300, 200)))
    large.write_bytes(pixel_bomb("PNG", (7000, 5000), "RGBA"))
    process = subprocess.run(
        [sys.executable, "-c", _SCRIPT, tiny_model, small, large, small],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    first, failed, last = process.stdout.splitlines()
    assert (first, last) == ("None", "None")
    assert failed.startswith("1: not enough memory")


@needs_linux
@pytest.mark.parametrize("threads", ["1", "2"])
def test_workers_of_the_service_have_a_limit(tiny_model: Path, threads: str) -> None:
    options = ("--workers", "1", "--max-pixels", "3000000", "--threads", threads)
    with running_service("--model", tiny_model, *options) as service:
        [worker] = child_processes(service.pid)
        if threads == "1":
            [worker] = child_processes(worker)  # of the fork server
        limits = Path(f"/proc/{worker}/limits").read_text()
        status = Path(f"/proc/{worker}/status").read_text()
        match = re.search(r"^Max data size +(\d+) +(\d+)", limits, re.MULTILINE)
        data = re.search(r"^VmData:\s+(\d+) kB", status, re.MULTILINE)
        assert match is not None
        assert data is not None
        assert match[1] == match[2]
        excess = int(match[1]) - worker_bytes(3_000_000)
        assert 0 < excess < int(data[1]) * 1024 + 50_000_000


def test_limit_grows_with_the_pixels() -> None:
    assert worker_bytes(50_000_000) == 1_100_000_000
