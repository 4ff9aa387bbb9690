"""Runs `showtell` commands in processes that are forked from one with torch already imported.

It reads a job as JSON from each line of standard input and answers with the exit codes. A job may
send its process a signal at the start of a step, at a change to a file of the run, or after some
seconds. A job with several `ranks` starts as many processes with the environment that torchrun
sets; the signal goes to the rank `hit`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any


def child(job: dict[str, Any], rank: int) -> None:
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(job[name], os.O_WRONLY | os.O_APPEND), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if job["ranks"] > 1:
        os.environ |= {
            "RANK": str(rank),
            "WORLD_SIZE": str(job["ranks"]),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(job["port"]),
        }
    if job["without_dropout"]:
        import without_dropout  # noqa: F401
    if "step" in job and rank == job["hit"]:
        signal_at_step(job["step"], job["signal"])
    if "change" in job and rank == job["hit"]:
        signal_at_change(job["folder"], job["change"], job["signal"])
    from showtell.cli import main

    try:
        main(job["arguments"])
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def signal_at_step(target: int, number: int) -> None:
    """Send this process a signal when its step `target` (from 1) starts."""
    from showtell.training.loop import StageTrainer

    train_step, count = StageTrainer.train_step, [0]

    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] == target:
            os.kill(os.getpid(), number)
        return train_step(self, *arguments, **options)

    StageTrainer.train_step = counted  # type: ignore[method-assign]


def signal_at_change(folder: str, target: int, number: int) -> None:
    """Send this process a signal just before its change `target` to a file under `folder`."""
    changes = [0]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"):
            return
        if event == "open" and not any(letter in str(arguments[1]) for letter in "wax+"):
            return
        if isinstance(arguments[0], (str, bytes, os.PathLike)) and folder in os.fsdecode(
            arguments[0]
        ):
            changes[0] += 1
            if changes[0] == target:
                os.kill(os.getpid(), number)

    sys.addaudithook(watch)


def wait(pid: int, seconds: float | None, number: int) -> int:
    """Return the status of `pid`: its exit code, or the negative number of a signal."""
    if seconds is not None:
        ended = os.pidfd_open(pid)
        time_left = select.select([ended], [], [], seconds)
        if not time_left[0]:
            os.kill(pid, number)
        os.close(ended)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def serve() -> None:
    # import once what commands import
    import torch.utils.tensorboard  # noqa: F401

    import showtell.cli.train
    import showtell.scoring.metrics
    import showtell.training.trainer  # noqa: F401

    for line in sys.stdin:
        job = json.loads(line)
        started = time.monotonic()
        if job["ranks"] > 1:
            job["port"] = free_port()
        for name in ("stdout", "stderr"):
            os.close(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        ranks = []
        for rank in range(job["ranks"]):
            ranks.append(os.fork())
            if not ranks[-1]:
                try:
                    child(job, rank)
                finally:
                    os._exit(99)
        hit = wait(ranks[job["hit"]], job.get("seconds"), job["signal"])
        codes = [
            hit if rank == job["hit"] else wait(pid, None, job["signal"])
            for rank, pid in enumerate(ranks)
        ]
        sys.stdout.write(json.dumps([codes, time.monotonic() - started]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
