"""Threads beside other programs: when they spin briefly, how many there are, and what a person is told."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import invreg
from invreg.computing import threads
from invreg.computing.threads import Times, sharing_cores, spin_less
from invreg.storage.run_folder import recorded_threads
from toy import SPEC, plugins


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_what_is_chosen_in_the_environment_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    spin_less()
    assert os.environ["GOMP_SPINCOUNT"] == threads.SPINS
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    spin_less()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    assert not threads._can_share(2)
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    spin_less()
    assert "GOMP_SPINCOUNT" not in os.environ
    assert not threads._can_share(2)


def test_one_thread_waits_for_nobody() -> None:
    torch.set_num_threads(1)
    before = threading.active_count()
    with sharing_cores():
        assert threading.active_count() == before


@pytest.mark.parametrize(
    ("chosen", "recorded", "expected", "said"),
    [
        (None, None, 3, "computing with 3 threads, not 4: the quota of this container"),
        (None, 4, 4, ""),
        (None, 2, 2, "going on with 2 threads, as it was begun, not 4"),
        ("4", None, 4, ""),
        ("4", 2, 4, "begun with 2 threads, going on with 4, as OMP_NUM_THREADS says"),
    ],
)
def test_the_number_of_threads_is_that_of_the_quota_or_the_recorded_one(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    chosen: str | None,
    recorded: int | None,
    expected: int,
    said: str,
) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 3)
    if chosen:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    torch.set_num_threads(4)
    with caplog.at_level(logging.WARNING, logger="invreg"), sharing_cores(recorded):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 4
    assert (len(caplog.messages), said in caplog.text) == (bool(said), True)


@pytest.mark.slow
def test_a_run_goes_on_with_the_threads_that_it_was_begun_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    registry = invreg.Registry(plugins())
    torch.set_num_threads(2)
    begun = invreg.run(SPEC, tmp_path, "cpu", progress=False, registry=registry)
    torch.set_num_threads(1)
    with caplog.at_level(logging.WARNING, logger="invreg"):
        again = invreg.run(SPEC, tmp_path, "cpu", progress=False, registry=registry)
    assert again.folder == begun.folder
    folder = invreg.RunFolder.existing(again.folder)
    assert folder.environment["threads"] == 2
    assert [text for text in caplog.messages if "going on with 2 threads" in text]
    assert torch.get_num_threads() == 1
    digest = folder.identity.digest
    assert recorded_threads(tmp_path, "Toy problem", digest) == 2
    (folder.path / "environment.json").write_text("{")
    assert recorded_threads(tmp_path, "Toy problem", digest) is None
    assert recorded_threads(tmp_path, "Another", digest) is None


def test_further_threads_come_while_cores_are_taken_and_go_when_they_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    share, times, further = [0.5], [Times(0.0, 1.0, 0.0)], [0]

    class Further:
        def __init__(self) -> None:
            further[0] += 1

        def end(self) -> None:
            further[0] -= 1

    def now() -> Times:
        before = times[-1]
        times.append(Times(before.computed + 1 - share[0], before.waited + share[0], before.passed + 1))
        return times[-1]

    def reaches(count: int) -> bool:
        last = time.monotonic() + 5
        while further[0] != count and time.monotonic() < last:
            time.sleep(0.001)
        return further[0] == count

    monkeypatch.setattr(threads, "_LOOK", 0.0005)
    monkeypatch.setattr(threads, "_FurtherThreads", Further)
    monkeypatch.setattr(threads.Times, "now", now)
    with threads._Watch():
        assert reaches(1)
        share[0] = 0.05  # neither busy nor free
        seen = len(times)
        while len(times) < seen + 30:
            time.sleep(0.001)
        assert further[0] == 1
        share[0] = 0.01
        assert reaches(0)
        share[0] = 0.05
        seen = len(times)
        while len(times) < seen + 30:
            time.sleep(0.001)
        assert further[0] == 0
        share[0] = 0.5
        assert reaches(1)
    assert further[0] == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libgomp, and /proc")
def test_further_threads_leave_the_number_of_threads_and_go() -> None:
    def those() -> set[str]:
        return {task.name for task in Path("/proc/self/task").iterdir()}

    torch.ones(1 << 17).add(1)
    count, before = torch.get_num_threads(), those()
    further = threads._FurtherThreads()
    last = time.monotonic() + 20
    # More than there are cores. Threads of other tests may end meanwhile.
    while len(those() - before) < 1 + (os.cpu_count() or 1) and time.monotonic() < last:
        time.sleep(0.005)
    assert len(those() - before) >= 1 + (os.cpu_count() or 1)
    assert torch.get_num_threads() == count
    further.end()
    while those() - before and time.monotonic() < last:
        time.sleep(0.005)
    assert not those() - before


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (Times(60.0, 60.0, 120.0), "waited for a core 50% of their time"),
        (Times(6.0, 6.0, 12.0), None),  # too short to matter
        (Times(100.0, 20.0, 120.0), None),
        (Times(0.0, 0.0, 120.0), None),  # it waited for something else
    ],
)
def test_a_machine_that_was_busy_for_long_is_named(times: Times, said: str | None) -> None:
    complaint = times.complaint
    assert (complaint is None) == (said is None)
    assert (said or "") in (complaint or "")
