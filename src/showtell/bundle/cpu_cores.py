"""How many processor cores this process may use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of physical cores for this process, by affinity and cgroup quota.

    The quotas are those of the process's control group (cgroup v1 or v2) and of all groups above
    it. `root` is the folder that holds `proc` and `sys`.
    """
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return max(1, (os.cpu_count() or 2) // 2)
    cores = set()
    for cpu in allowed:
        siblings = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        try:
            cores.add(siblings.read_text())
        except OSError:
            cores.add(str(cpu))
    return max(1, round(min([len(cores), *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quotas of the process's groups, in cores; groups without one are left out."""
    for folder in _group_folders(root):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # "max": no quota
            quota, period = (folder / "cpu.max").read_text("ascii").split()  # v2
            yield int(quota) / int(period)
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota = (folder / "cpu.cfs_quota_us").read_text("ascii")  # v1; -1: no quota
            period = (folder / "cpu.cfs_period_us").read_text("ascii")
            if int(quota) > 0:
                yield int(quota) / int(period)


def _group_folders(root: Path) -> Iterator[Path]:
    """Yield the folders of the process's control groups and of those above them.

    A container sees its own group as the top of the mount, while `/proc/self/cgroup` may give the
    host's path. Folders that do not exist are therefore no error.
    """
    mount = root / "sys/fs/cgroup"
    yield mount  # v2 without /proc
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:  # "0::/user.slice" in v2, "4:cpu,cpuacct:/docker/1f" in v1
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if "cpu" in controllers.split(","):
            hierarchies = [mount / controllers, mount / "cpu"]
        elif number == "0" and not controllers:
            hierarchies = [mount, mount / "unified"]
        else:
            continue
        path = PurePosixPath(group.lstrip("/"))
        below = [] if ".." in path.parts else [path, *path.parents]  # "..": outside the namespace
        for hierarchy in hierarchies:
            yield from (hierarchy / group for group in below)
            yield hierarchy
