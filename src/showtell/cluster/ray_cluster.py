"""Connect to a Ray cluster, or start Ray on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

import ray
import ray.data
import ray.exceptions

from showtell.bundle.cpu_cores import usable_cores
from showtell.errors import ShowtellError
from showtell.files.os_errors import error_reason
from showtell.files.retry import fixed_delays, retry

LOCAL = "local"
ADDRESS_VARIABLE = "RAY_ADDRESS"  # set by `ray job submit`
_OBJECT_STORE = 100_000_000  # bytes; only the model and the parts' results are stored
_CONNECT_TIMEOUT = 10  # seconds
_LOCAL_STARTS = 5  # attempts to start Ray on this machine


def cluster_address(requested: str | None) -> str:
    """Return the address to connect to: the requested one, $RAY_ADDRESS, or `local`."""
    return requested or os.environ.get(ADDRESS_VARIABLE) or LOCAL


@contextlib.contextmanager
def connect_ray(address: str, concurrency: int | None = None) -> Iterator[int]:
    """Connect to the cluster at `address`, or start one on this machine; yield its cores.

    `concurrency` is the number of cores of a local cluster, by default all. Jobs in the block
    share the connection. Raises ShowtellError if there is no cluster.
    """
    if ray.is_initialized():  # by a program that uses showtell as a library
        yield _cluster_cores()
        return
    settings: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
        os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
        settings |= {
            "num_cpus": concurrency or usable_cores(),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
        }
    # silences a warning about graphics cards, and one about a new token
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    _init_ray(address, settings)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield _cluster_cores()
    finally:
        ray.shutdown()


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error of Ray, which can be pages long, into its last line."""
    try:
        yield
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        raise ShowtellError(
            f"Ray stopped the job: {reason[:300]} (run the same command again to resume)"
        ) from error


def _cluster_cores() -> int:
    return int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]


def _init_ray(address: str, settings: dict[str, Any]) -> None:
    """Call `ray.init`, on this machine again if Ray's processes do not start in 30 seconds."""

    def init() -> None:
        try:
            check_reachable(address)
            ray.init(address=address, **settings)
        except Exception:
            ray.shutdown()
            raise

    attempts = _LOCAL_STARTS if address == LOCAL else 1
    try:
        # Ray has no narrower error for a slow start
        retry(init, on=Exception, delay=fixed_delays([0.0] * (attempts - 1)))
    except Exception as error:
        reason = error_reason(error)
        if address == LOCAL:
            raise ShowtellError(f"Ray does not start on this machine: {reason}") from error
        raise ShowtellError(
            f"no Ray cluster at {address!r} ({reason}): start one with ray start --head,"
            f" or give --address {LOCAL}"
        ) from error


def check_reachable(address: str) -> None:
    """Raise OSError if nothing listens at HOST:PORT, which Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "://" not in address:
        socket.create_connection((host, int(port)), _CONNECT_TIMEOUT).close()
