from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from showtell.bundle.cpu_cores import usable_cores

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux only")
V1 = "12:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n0::/docker/1f\n"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def system(folder: Path, cgroup: str, files: Mapping[str, str]) -> Path:
    """Write a root folder with /proc/self/cgroup and files below /sys/fs/cgroup."""
    contents = {"proc/self/cgroup": cgroup}
    contents |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/user.slice/a.scope\n", {"user.slice/a.scope/cpu.max": "300000 100000\n"}, 3),
        (
            "0::/user.slice/a.scope\n",
            {"user.slice/cpu.max": "150000 50000\n", "user.slice/a.scope/cpu.max": "max 100000\n"},
            3,
        ),
        ("0::/a\n", {"cpu.max": "500000 100000\n", "a/cpu.max": "400000 100000\n"}, 4),
        (V1, {"unified/docker/1f/cpu.max": "400000 100000\n"}, 4),
        ("0::/../other\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/a\n", {"a/cpu.max": "1000 100000\n"}, 1),
        ("0::/a\n", {"a/cpu.max": "nonsense\n", "cpu.max": "1 0\n"}, 8),
        ("", {"cpu.max": "200000 100000\n"}, 2),
    ],
)
def test_quota_of_a_v2_group_or_of_one_above_it_is_seen(
    tmp_path: Path, cgroup: str, files: dict[str, str], cores: int
) -> None:
    assert usable_cores(system(tmp_path, cgroup, files)) == cores


@pytest.mark.parametrize("hierarchy", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize("group", ["docker/1f/", "docker/", ""])
@pytest.mark.parametrize(("quota", "cores"), [("250000", 2), ("-1", 8)])
def test_quota_of_a_v1_group_or_of_one_above_it_is_seen(
    tmp_path: Path, hierarchy: str, group: str, quota: str, cores: int
) -> None:
    folder = f"{hierarchy}/{group}"
    files = {f"{folder}cpu.cfs_quota_us": quota, f"{folder}cpu.cfs_period_us": "100000"}
    assert usable_cores(system(tmp_path, V1, files)) == cores


def test_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == 8


def test_threads_of_one_core_count_once(tmp_path: Path) -> None:
    for cpu in range(8):
        file = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        file.parent.mkdir(parents=True)
        file.write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    assert usable_cores(tmp_path) == 4
