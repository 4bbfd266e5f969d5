"""How many cores this process may use: the affinity, and quotas of control groups of both versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import invreg
from invreg.computing import cores

SERVICE = {"system.slice/cpu.max": "250000 100000", "system.slice/job/cpu.max": "max 100000"}


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),  # a core and a half
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/system.slice/job\n", SERVICE, 3),  # the group above has the quota
        ("0::/docker/0123\n", {"cpu.max": "100000 100000\n"}, 1),  # seen from inside, it lies at the root
        (
            "5:cpu,cpuacct:/\n0::/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "300000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            3,
        ),
        ("1:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "50000", "cpu/a/cpu.cfs_period_us": "25000"}, 2),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("1:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("0::/\n", {"cpu.max": "a few"}, 8),
        ("0::/\n", {"cpu.max": "100000 0"}, 8),
        ("0::/\n", {"cpu.max": ""}, 8),
        ("nonsense\n", {}, 8),
        (None, {"cpu.max": "100000 100000"}, 8),  # not Linux
    ],
)
def test_the_cores_are_those_that_affinity_and_quota_leave(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: str | None, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "_MOUNTED", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "_OWN", tmp_path / "own")
    if own is not None:
        (tmp_path / "own").write_text(own)
    for name, text in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert invreg.available_cores() == expected


def test_where_the_system_knows_no_affinity_the_cores_of_the_machine_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(cores, "_OWN", tmp_path / "none")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert cores.available_cores() == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.available_cores() == 1
