"""The executor `slurm` on a real Slurm, where there is one that runs Python on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cells import study_spec
from processes import Command

import invreg
from invreg.errors import ExecutorError
from invreg.storage.result import StudyResult


def asked(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def why_not() -> str | None:
    """Why Slurm cannot be used here; None if it can."""
    if shutil.which("sbatch") is None:
        return "Slurm is not installed here (sbatch is not found)"
    nodes = asked("sinfo", "--noheader", "--format=%n", "--Node").split()
    if not nodes:
        return "Slurm is installed here, but does not answer (sinfo)"
    if os.uname().nodename.partition(".")[0] not in nodes:
        return "the nodes of this Slurm may not see the temporary folders of tests"
    return None


pytest.importorskip("submitit", reason="submitit is not installed")
REASON = why_not()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(REASON is not None, reason=str(REASON))]


def test_a_partition_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="partition 'nowhere' does not exist\n  expected: one of "):
        invreg.run(study_spec(2), tmp_path, "cpu", progress=False, executor={"name": "slurm", "partition": "nowhere"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"memory": "900T"}, "Memory specification can not be satisfied"),
        ({"gpus": 999}, "generic resource|node configuration is not available"),
        ({"options": {"nonsense": "x"}}, "unrecognized option '--nonsense=x'"),
    ],
)
def test_what_no_node_has(tmp_path: Path, parameters: dict[str, object], message: str) -> None:
    executor = {"name": "slurm", "poll_seconds": 0.2, **parameters}
    with pytest.raises(ExecutorError, match=rf"slurm: Slurm does not take the jobs: .*({message})"):
        invreg.run(study_spec(2), tmp_path, "cpu", progress=False, executor=executor)
    assert list(tmp_path.glob("*/jobs/slurm/*")) == []


def test_more_cores_than_a_node_has_are_not_waited_for(tmp_path: Path) -> None:
    executor = {"name": "slurm", "poll_seconds": 0.5, "cpus": 4096}
    with pytest.raises(ExecutorError, match=r"would wait for ever|node configuration is not available"):
        invreg.run(study_spec(2), tmp_path, "cpu", progress=False, executor=executor)


def test_a_command_that_left_finds_its_jobs_and_a_requeued_cell_goes_on(tmp_path: Path) -> None:
    spec = study_spec(3, steps=150)
    (tmp_path / "study.json").write_text(json.dumps(spec))
    arguments = ("run", "study.json", "--output", "there", "--device", "cpu", "--quiet", "--executor", "slurm")
    settings = ("--set", "executor.poll_seconds=0.5", "--set", "executor.time=10")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    first = Command("invreg", *arguments, *settings, cwd=tmp_path, env=environment)
    turns = wait_for(lambda: first.poll() is not None or sorted(tmp_path.glob("there/*/jobs/slurm/*/turns/*.jsonl")))
    assert first.poll() is None, first.finish().stderr
    first.send_signal(signal.SIGINT)
    left = first.finish()
    assert left.returncode == 130, left.stderr
    array = json.loads((turns[0].parents[1] / "batch.json").read_text())["slurm_job"]
    assert f"the Slurm jobs {array} go on, and the same command finds them" in left.stderr

    begun = json.loads(turns[0].read_text().splitlines()[0])
    cell = tmp_path.glob(f"there/*/cells/{turns[0].name.removesuffix('.0.jsonl')}")
    progress = next(cell) / "methods" / "unet" / "progress.csv"
    wait_for(progress.is_file)
    assert asked("scontrol", "requeue", begun["slurm_job"]) == ""

    again = Command("invreg", *arguments, *settings, cwd=tmp_path, env=environment).finish()
    assert again.returncode == 0, again.stderr
    names = set(asked("squeue", "--noheader", "--states=all", "--format=%F %j").splitlines())
    study = next(path.parent for path in tmp_path.glob("there/*/study.json"))
    assert {name.split()[0] for name in names if f"invreg-{study.name}-" in name} <= {array}

    there, here = invreg.load(study), invreg.run(spec, tmp_path / "here", "cpu", progress=False)
    assert isinstance(there, StudyResult)
    assert isinstance(here, StudyResult)
    seconds = [name for name in here.table.columns if "seconds" in name]
    assert there.table.drop(columns=seconds).equals(here.table.drop(columns=seconds))


def wait_for(condition: Callable[[], Any], seconds: float = 240.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)
    return found
