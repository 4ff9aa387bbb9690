"""Ranks: the processes of one training run, each with its share of every batch.

`torchrun` starts the processes and gives each its rank in environment variables. PyTorch's
DistributedDataParallel (Li et al., PyTorch Distributed, 2020) sums the gradients. This module has
what training needs besides: sums of numbers, gathered results, and work that one rank does for
all. With a single process, each of these does the work directly.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import distributed, nn
from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from showtell.data.dataset import fingerprint
from showtell.errors import RecipeError, TrainingError
from showtell.files.retry import delays_until_timeout, retry

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

PATIENCE = timedelta(minutes=30)  # that a rank waits for another one that does not answer
_STORE_TIMEOUT = timedelta(seconds=3)  # for the answer of a store that exists
_STORE_KEY = "showtell/store"  # in torchrun's store: the address of our own store
# in PyTorch's messages about a lost rank
_LOST_RANK = ("gloo", "NCCL", "TCPStore", "Connection", "process group")


class AllRanksError(TrainingError):
    """An error that stops every rank: the first one reports it, the others exit silently."""


@dataclass(frozen=True)
class Ranks:
    """This process, `rank` of `count` that train together.

    `local` and `local_count` are the same numbers among the ranks of this machine. `restarts` is
    how often torchrun has restarted the run because a rank was lost.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    local_count: int = 1
    restarts: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes files and messages."""
        return self.rank == 0

    def shard(self, items: Sequence[_T]) -> Sequence[_T]:
        """Return this rank's share of the items: every `count`-th one."""
        return items[self.rank :: self.count]

    def all_gather(self, value: _T) -> list[_T]:
        """Return the values of all ranks on every rank, in the order of ranks."""
        if self.count == 1:
            return [value]
        values: list[_T | None] = [None] * self.count
        distributed.all_gather_object(values, value)
        return cast(list[_T], values)

    def gather_shards(self, values: Sequence[_T], length: int) -> list[_T]:
        """Return the results of all ranks for their `shard`, in the order of all `length` items."""
        merged: list[_T | None] = [None] * length
        for rank, results in enumerate(self.all_gather(values)):
            merged[rank :: self.count] = results
        return cast(list[_T], merged)

    def all_reduce_sum(self, values: Sequence[float]) -> list[float]:
        """Return the sum over ranks of each number."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(sums)
        return [float(value) for value in sums]

    def on_rank_zero(self, work: Callable[[], _T]) -> _T:
        """Run `work` on the first rank and return its result on every rank.

        If it fails, the first rank raises its error and the others raise AllRanksError.
        """
        if self.count == 1:
            return work()
        message: list[object] = [None, None]  # result, error
        try:
            if self.first:
                message[0] = work()
        except Exception as error:
            message[1] = str(error) or type(error).__name__
            raise
        finally:
            distributed.broadcast_object_list(message, src=0, device=torch.device("cpu"))
        result, error_text = message
        if error_text is not None:
            raise AllRanksError(str(error_text))
        return cast(_T, result)

    def check_equal(self, names: Sequence[str], what: str) -> None:
        """Raise AllRanksError where a rank has other `names` than the first one."""
        fingerprints = self.all_gather(fingerprint(names) if self.count > 1 else "")
        for rank, digest in enumerate(fingerprints):
            if digest != fingerprints[0]:
                raise AllRanksError(f"{what} of rank {rank} differ from those of rank 0")

    def barrier(self) -> None:
        """Wait until every rank has come to this call."""
        self.all_reduce_sum([0.0])

    def wrap_ddp(self, module: nn.Module, *, find_unused: bool) -> nn.Module:
        """Return the module with the first rank's weights and with gradients summed over ranks.

        `find_unused` says that some trained weights may have no influence on its result.
        """
        if self.count == 1:
            return module
        return DistributedDataParallel(
            module, find_unused_parameters=find_unused, gradient_as_bucket_view=True
        )

    def accumulate(self, module: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
        """Return a context in which only a step's `last` part sums gradients over ranks."""
        if isinstance(module, DistributedDataParallel) and not last:
            no_sync: contextlib.AbstractContextManager[None] = module.no_sync()
            return no_sync
        return contextlib.nullcontext()


SINGLE = Ranks()


@contextlib.contextmanager
def join_ranks(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the other ranks if torchrun started this process; yield our ranks and our device.

    Raises RecipeError where the recipe's `device` cannot be used, and AllRanksError where another
    rank is lost; every rank but the first then exits silently.
    """
    ranks = _from_environment()
    torch_device = _device(device, ranks)
    if ranks.count == 1:
        yield ranks, torch_device
        return
    if not ranks.first:
        logging.getLogger("showtell").setLevel(logging.ERROR)  # the first rank reports for all
    backend = "cpu:gloo"
    if torch_device.type == "cuda":
        torch.cuda.set_device(torch_device)
        backend += ",cuda:nccl"
    lost = False
    try:
        distributed.init_process_group(
            backend, timeout=PATIENCE, store=_store(ranks), rank=ranks.rank, world_size=ranks.count
        )
        logger.info("%d ranks train together", ranks.count)
        yield ranks, torch_device
    except AllRanksError:
        _end_quietly(ranks)
        raise
    except RuntimeError as error:
        lost = any(word in str(error) for word in _LOST_RANK)
        if not lost:
            raise
        _end_quietly(ranks)
        first_line = str(error).strip().splitlines()[0]
        raise AllRanksError(
            "another rank has stopped, see its messages: torchrun --max-restarts=3 resumes from the"
            f" last checkpoint automatically, --resume auto by hand ({first_line})"
        ) from error
    finally:
        if distributed.is_initialized() and not lost:  # no other rank is left
            distributed.destroy_process_group()


def _store(ranks: Ranks) -> TCPStore | None:
    """Return the store through which ranks find each other; None: PyTorch opens one.

    torchrun's agent keeps one store over all restarts. In it, a fast rank finds the addresses of
    ranks that were killed, and waits for them or fails
    (https://github.com/pytorch/pytorch/issues/135712). So the first rank opens a new store and
    writes its address into the agent's store. The store of an earlier start does not answer.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    agent = TCPStore(host, port, is_master=False, timeout=PATIENCE)
    if ranks.first:
        server = TCPStore(host, 0, is_master=True, timeout=PATIENCE, wait_for_workers=False)
        token = uuid.uuid4().hex  # proves that a client has reached this store
        server.set(token, "")
        agent.set(_STORE_KEY, f"{server.port} {token}")
        return server

    def connect() -> TCPStore:
        port, token = agent.get(_STORE_KEY).decode().split()
        with socket.create_connection((host, int(port)), _STORE_TIMEOUT.total_seconds()):
            pass  # checked first, because PyTorch logs a failure at length
        store = TCPStore(host, int(port), is_master=False, timeout=_STORE_TIMEOUT)
        store.wait([token], _STORE_TIMEOUT)
        store.set_timeout(PATIENCE)
        return store

    delay = delays_until_timeout(0.1, PATIENCE.total_seconds())
    return retry(connect, on=(OSError, DistError), delay=delay)


def _end_quietly(ranks: Ranks) -> None:
    if not ranks.first:
        raise SystemExit(1)


def _from_environment() -> Ranks:
    """Read the environment variables by which torchrun describes this process."""

    def number(name: str, default: int) -> int:
        return int(os.environ.get(name, default))

    if "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        return SINGLE
    rank, count = number("RANK", 0), number("WORLD_SIZE", 1)
    return Ranks(
        rank,
        count,
        number("LOCAL_RANK", rank),
        number("LOCAL_WORLD_SIZE", count),
        number("TORCHELASTIC_RESTART_COUNT", 0),
    )


def _device(name: str, ranks: Ranks) -> torch.device:
    """Return this rank's device; with several GPUs, each rank of a machine has one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and ranks.count > 1:
        gpus = torch.cuda.device_count()
        if ranks.local_count > gpus:
            raise RecipeError(
                f"device: {ranks.local_count} ranks on a machine with {gpus} GPUs: start torchrun"
                f" with --nproc-per-node {max(gpus, 1)}, or set device=cpu"
            )
        name = f"cuda:{ranks.local}"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(
            f"device: '{name}' cannot be used ({str(error).splitlines()[0]})"
        ) from None
    return device
