"""Ranks: the processes of one training run, each with its share of every batch.

`torchrun` starts the processes and tells each its rank by environment variables; gradients are
added up by PyTorch's DistributedDataParallel (Li et al., PyTorch Distributed, 2020). Here is the
little that training needs beside it: adding up numbers, gathering what ranks found, work that one
rank does for all. Alone, without torchrun, each of these is the plain thing itself.
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

T = TypeVar("T")

PATIENCE = timedelta(minutes=30)  # that a rank waits for another which is there but does not answer
_ANSWERS = timedelta(seconds=3)  # that a store which is there takes to answer
_WHERE = "showtell/store"  # in the agent's store: where the ranks' own is
_LOST = ("gloo", "NCCL", "TCPStore", "Connection", "process group")  # in what PyTorch says then


class AllRanksError(TrainingError):
    """What stops every rank alike: the first one says it, the others end without a word."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together: `rank` of `count`.

    `local` and `local_count` are the same among the ranks of this machine; `restarts` is how
    often torchrun has started the run anew because a rank was lost.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    local_count: int = 1
    restarts: int = 0

    @property
    def first(self) -> bool:
        """Whether this rank writes and speaks for all."""
        return self.rank == 0

    def mine(self, items: Sequence[T]) -> Sequence[T]:
        """Return this rank's share of what is to be done once: every `count`-th item."""
        return items[self.rank :: self.count]

    def gather(self, value: T) -> list[T]:
        """Return every rank's value on every rank, in the order of ranks."""
        if self.count == 1:
            return [value]
        found: list[T | None] = [None] * self.count
        distributed.all_gather_object(found, value)
        return cast(list[T], found)

    def put_together(self, values: Sequence[T], length: int) -> list[T]:
        """Return what all ranks made of their `mine`, in the order of all `length` items."""
        whole: list[T | None] = [None] * length
        for rank, own in enumerate(self.gather(values)):
            whole[rank :: self.count] = own
        return cast(list[T], whole)

    def sums(self, values: Sequence[float]) -> list[float]:
        """Return the sum over ranks of each of some numbers."""
        if self.count == 1:
            return list(values)
        added = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(added)
        return [float(value) for value in added]

    def by_first(self, work: Callable[[], T]) -> T:
        """Let the first rank do some work, and return its result on every rank.

        Where it fails, it raises its own error, and the others AllRanksError.
        """
        if self.count == 1:
            return work()
        told: list[object] = [None, None]
        try:
            if self.first:
                told[0] = work()
        except Exception as error:
            told[1] = str(error) or type(error).__name__
            raise
        finally:
            distributed.broadcast_object_list(told, src=0, device=torch.device("cpu"))
        if told[1] is not None:
            raise AllRanksError(str(told[1]))
        return cast(T, told[0])

    def check_alike(self, names: Sequence[str], what: str) -> None:
        """Raise AllRanksError where this rank has other `names` than the first one has."""
        marks = self.gather(fingerprint(names) if self.count > 1 else "")
        for rank, mark in enumerate(marks):
            if mark != marks[0]:
                raise AllRanksError(
                    f"{what} that rank {rank} sees are others than those that rank 0 sees"
                )

    def wait(self) -> None:
        """Go on only when every rank is here."""
        self.sums([0.0])

    def parallel(self, module: nn.Module, *, unused: bool) -> nn.Module:
        """Return the module with its weights made those of the first rank, gradients added up.

        `unused`: some weights that train may have no part in its result.
        """
        if self.count == 1:
            return module
        return DistributedDataParallel(
            module, find_unused_parameters=unused, gradient_as_bucket_view=True
        )

    def adding(self, module: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
        """Return a `with` in which gradients are added up over ranks, of a step's `last` part."""
        if isinstance(module, DistributedDataParallel) and not last:
            silent: contextlib.AbstractContextManager[None] = module.no_sync()
            return silent
        return contextlib.nullcontext()


ALONE = Ranks()


@contextlib.contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the other ranks, if torchrun started this process; yields who we are and our device.

    Raises RecipeError where the recipe's `device` cannot be used, AllRanksError where another rank
    is lost on the way; every rank but the first then ends without a word.
    """
    ranks = _from_environment()
    place = _device(device, ranks)
    if ranks.count == 1:
        yield ranks, place
        return
    if not ranks.first:
        logging.getLogger("showtell").setLevel(logging.ERROR)  # the first one speaks for all
    backend = "cpu:gloo"
    if place.type == "cuda":
        torch.cuda.set_device(place)
        backend += ",cuda:nccl"
    lost = False
    try:
        distributed.init_process_group(
            backend, timeout=PATIENCE, store=_store(ranks), rank=ranks.rank, world_size=ranks.count
        )
        logger.info("%d ranks train together", ranks.count)
        yield ranks, place
    except AllRanksError:
        _end_quietly(ranks)
        raise
    except RuntimeError as error:
        lost = any(word in str(error) for word in _LOST)
        if not lost:
            raise
        _end_quietly(ranks)
        first_line = str(error).strip().splitlines()[0]
        raise AllRanksError(
            "another rank has stopped, see what it said: torchrun --max-restarts=3 goes on from the"
            f" last checkpoint by itself, --resume auto by hand ({first_line})"
        ) from error
    finally:
        if distributed.is_initialized() and not lost:  # nobody is there any more to part from
            distributed.destroy_process_group()


def _store(ranks: Ranks) -> TCPStore | None:
    """Return the store by which ranks find each other, or None for that which PyTorch opens.

    torchrun's agent keeps one store over all restarts, in which a rank that is quick finds where
    ranks that were killed once listened, and then waits for them or fails
    (https://github.com/pytorch/pytorch/issues/135712). So the first rank opens a store of its own
    and says in the agent's where it is; that of a start before is dead, and cannot answer.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    agent = TCPStore(host, port, is_master=False, timeout=PATIENCE)
    if ranks.first:
        own = TCPStore(host, 0, is_master=True, timeout=PATIENCE, wait_for_workers=False)
        mark = uuid.uuid4().hex
        own.set(mark, "")
        agent.set(_WHERE, f"{own.port} {mark}")
        return own

    def connect() -> TCPStore:
        port, mark = agent.get(_WHERE).decode().split()
        with socket.create_connection((host, int(port)), _ANSWERS.total_seconds()):
            pass  # checked first, because PyTorch logs a failure at length
        store = TCPStore(host, int(port), is_master=False, timeout=_ANSWERS)
        store.wait([mark], _ANSWERS)
        store.set_timeout(PATIENCE)
        return store

    delay = delays_until_timeout(0.1, PATIENCE.total_seconds())
    return retry(connect, on=(OSError, DistError), delay=delay)


def _end_quietly(ranks: Ranks) -> None:
    if not ranks.first:
        raise SystemExit(1)


def _from_environment() -> Ranks:
    """Read what torchrun, or whoever else starts ranks in its way, has said to this process."""

    def number(name: str, otherwise: int) -> int:
        return int(os.environ.get(name, otherwise))

    if "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        return ALONE
    rank, count = number("RANK", 0), number("WORLD_SIZE", 1)
    return Ranks(
        rank,
        count,
        number("LOCAL_RANK", rank),
        number("LOCAL_WORLD_SIZE", count),
        number("TORCHELASTIC_RESTART_COUNT", 0),
    )


def _device(name: str, ranks: Ranks) -> torch.device:
    """Return this rank's device; of several GPUs each rank of a machine has its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and ranks.count > 1:
        found = torch.cuda.device_count()
        if ranks.local_count > found:
            raise RecipeError(
                f"device: {ranks.local_count} ranks on a machine with {found} GPUs: start torchrun"
                f" with --nproc-per-node {max(found, 1)}, or set device=cpu"
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
