"""The executor `slurm`: what workers and the waiting command tell each other, and the words of its errors.

Slurm itself is not needed here: workers are processes of submitit's local mode, and Slurm's commands small scripts.
`test_slurm_itself.py` asks Slurm.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cells import Listener, study_spec, study_with_cells

import invreg
from invreg.errors import ExecutorError, SpecError
from invreg.storage.result import StudyResult
from invreg_executors.slurm import Slurm, _State
from invreg_executors.slurm_worker import Batch, Turn, Worker

submitit = pytest.importorskip("submitit", reason="submitit is not installed")


class OnThisMachine(Slurm):
    """Workers by submitit's local mode, all at once, and what is known of them."""

    workers: ClassVar[dict[str, list[Any]]] = {}
    most_workers = 2

    def check(self) -> None:
        pass

    def _most_workers(self) -> int:
        return self.most_workers

    def _send(self, batch: Batch, after: Sequence[str]) -> str:
        submitter = submitit.LocalExecutor(batch.folder)
        submitter.update_parameters(timeout_min=5, signal_delay_s=5, stderr_to_stdout=True)
        self.workers[batch.name] = submitter.map_array(Worker(), *zip(*batch.calls, strict=True))
        return str(self.workers[batch.name][0].job_id)

    def _states(self, batches: Any) -> dict[str, dict[str, _State]]:
        names = {"FINISHED": "COMPLETED", "INTERRUPTED": "FAILED"}
        return {
            batch.name: {
                str(number): _State(str(job.job_id), names.get(job.state, job.state))
                for number, job in enumerate(self.workers[batch.name])
            }
            for batch in batches
        }


def batch_of(tmp_path: Path, *names: str, most_turns: int = 3) -> Batch:
    jobs = [invreg.Job(tmp_path, name, device="cpu") for name in names]
    return Batch.create(tmp_path / "jobs" / "slurm", "a-study", jobs, 2, most_turns, None)


def jobs_in(study: Path) -> list[invreg.Job]:
    return [invreg.Job(study, f"cell-{index}") for index in range(6)]


def test_a_job_is_taken_once(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, "cell.one", "cell-two")
    assert batch.take("0", "7_0") == (0, batch.jobs[0])
    assert batch.take("1", "7_1") == (0, batch.jobs[1])
    assert batch.take("1", "7_1") is None
    assert batch.latest() == {"cell.one": (0, False), "cell-two": (0, False)}
    turn = batch.turn("cell.one", 0)
    assert (turn.worker, turn.slurm_job, turn.ended, turn.why) == ("0", "7_0", None, None)
    assert time.time() - 60 < turn.started <= time.time()


def test_a_job_is_taken_again_only_after_it_is_opened(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, "a", "b")
    batch.take("0", "7_0")
    batch.end("a", 0, "killed by SIGKILL")
    assert (batch.turn("a", 0).ended is not None, batch.turn("a", 0).why) == (True, "killed by SIGKILL")
    assert [job.name for _, job in batch.open_turns()] == ["b"]
    batch.open_again("a", 0)
    assert [(number, job.name) for number, job in batch.open_turns()] == [(1, "a"), (0, "b")]
    assert batch.take("1", "7_1") == (1, batch.jobs[0])
    assert batch.latest() == {"a": (1, False)}


def test_a_worker_that_slurm_starts_anew_takes_up_what_it_had_begun(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, "a", "b", "c")
    for worker in ("0", "1", "0"):
        batch.take(worker, f"7_{worker}")
    batch.end("c", 0, None)
    batch.take_up("0")
    assert batch.open_turns() == [(1, batch.jobs[0])]


def test_a_line_that_is_being_written_is_passed_over(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, "a")
    batch.take("0", "7_0")
    with (batch.turns_folder / "a.0.jsonl").open("a") as file:
        file.write('{"ended": 12')
    assert batch.turn("a", 0).ended is None
    (batch.turns_folder / "a.0.jsonl").write_text("")
    assert batch.turn("a", 0) == Turn()


def test_a_batch_is_read_as_it_was_written(tmp_path: Path) -> None:
    jobs = [invreg.Job(tmp_path, "a", ("shared-b",), "cuda", ("mlflow",))]
    batch = Batch.create(tmp_path / "jobs" / "slurm", "a-study", jobs, 3, 5, 2)
    batch.write("77")
    assert Batch.read(batch.folder, tmp_path) == batch
    assert '"slurm_job": "77"' in (batch.folder / "batch.json").read_text()


@pytest.mark.parametrize(
    ("time", "minutes"),
    [(90, 90), ("90", 90), ("90:30", 90), ("2:30:00", 150), ("1-2", 1560), ("1-2:30", 1590), ("1-2:30:10", 1590)],
)
def test_times_are_those_of_slurm(time: str | int, minutes: int) -> None:
    assert Slurm(time=time)._minutes == minutes


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"time": "2h"}, "'2h'\n  expected: minutes, minutes:seconds, hours:minutes:seconds, days-hours"),
        ({"time": "1"}, "1 is not longer than the 90 seconds of `notice_seconds`"),
        ({"memory": "16 GB"}, "memory"),
        ({"gpus": -1}, "gpus"),
        ({"jobs": 0}, "jobs"),
        ({"account": "me\ntouch /tmp/made"}, "account: 'me\\ntouch /tmp/made'\n  expected: one line"),
        ({"options": {"qos": "high\nid"}}, "options.qos: 'high\\nid'\n  expected: one line"),
        ({"options": {"qos=1\nid #": "high"}}, "expected: one line"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_done(parameters: Mapping[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refusal:
        invreg.Registry.installed().build("executor", {"name": "slurm", **parameters})
    assert message in str(refusal.value)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Slurm's commands as scripts of shell, which a test writes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(**scripts: str) -> None:
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)

    write(srun="", scancel=f"echo $* >> {tmp_path}/cancelled", sinfo="echo main", squeue="", sbatch="")
    write(scontrol="echo 'MaxArraySize = 4'")
    return write


def test_no_slurm_is_one_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExecutorError, match="sbatch and srun are not found on this machine"):
        Slurm().check()


def test_a_missing_package_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ExecutorError, match=r"try: pip install 'invreg\[slurm\]'"):
        Slurm().check()


def test_a_partition_that_does_not_exist_is_named_with_those_that_do(commands: Any) -> None:
    Slurm(partition="main").check()
    with pytest.raises(ExecutorError, match=r"'long' does not exist\n  expected: one of main"):
        Slurm(partition="long").check()


def test_slurm_that_does_not_answer_is_one_error(commands: Any) -> None:
    commands(sinfo="echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(ExecutorError, match="sinfo says: slurm_load_partitions: Unable to contact"):
        Slurm().check()


@pytest.mark.slow
def test_what_sbatch_refuses_is_said_in_its_words(commands: Any, tmp_path: Path) -> None:
    commands(sbatch="echo 'sbatch: error: Memory specification can not be satisfied' >&2; exit 1")
    with pytest.raises(ExecutorError) as refusal:
        Slurm(memory="900T").execute(jobs_in(tmp_path), Listener(tmp_path))
    assert str(refusal.value).startswith(
        "slurm: Slurm does not take the jobs: Memory specification can not be satisfied"
    )
    assert "try: `sinfo --format='%P %m'`" in str(refusal.value)
    assert list((tmp_path / "jobs" / "slurm").iterdir()) == []


def test_jobs_that_can_never_start_are_taken_back(commands: Any, tmp_path: Path) -> None:
    commands(
        sbatch="echo Submitted batch job 12",
        squeue='name=$(echo "$*" | sed "s/.*--name=//; s/ .*//"); echo "$name|12_0|PENDING|PartitionTimeLimit"',
    )
    with pytest.raises(ExecutorError, match="the jobs would wait for ever: PartitionTimeLimit\n  try: `sinfo"):
        Slurm(poll_seconds=0.05).execute(jobs_in(tmp_path), Listener(tmp_path))
    assert (tmp_path / "cancelled").read_text() == "--state=PENDING 12\n"


def test_jobs_that_leave_no_log_point_to_the_folder(commands: Any, tmp_path: Path) -> None:
    commands(
        sbatch="echo Submitted batch job 12",
        squeue='name=$(echo "$*" | sed "s/.*--name=//; s/ .*//"); echo "$name|12_0|FAILED|None"',
    )
    with pytest.raises(
        ExecutorError, match=r"have ended \(FAILED\) and left no log in .*\n  expected: an --output folder"
    ):
        Slurm(poll_seconds=0.05).execute(jobs_in(tmp_path), Listener(tmp_path))


def test_jobs_that_die_before_they_begin_are_said_in_the_words_of_their_log(commands: Any, tmp_path: Path) -> None:
    commands(
        sbatch='for f in "$@"; do log=$(dirname "$f")/12_0_0_log.out; done; echo "module: not found" > $log; '
        "echo Submitted batch job 12",
        squeue='name=$(echo "$*" | sed "s/.*--name=//; s/ .*//"); echo "$name|12_0|FAILED|NonZeroExitCode"',
    )
    with pytest.raises(ExecutorError, match="before they began with a cell; the last one says:\nmodule: not found"):
        Slurm(poll_seconds=0.05).execute(jobs_in(tmp_path), Listener(tmp_path))


def test_who_cancels_the_jobs_ends_the_command(commands: Any, tmp_path: Path) -> None:
    commands(
        sbatch="echo Submitted batch job 12",
        squeue='name=$(echo "$*" | sed "s/.*--name=//; s/ .*//"); echo "$name|12_0|CANCELLED|None"',
    )
    with pytest.raises(ExecutorError, match="the Slurm jobs 12 were cancelled\n  try: the same command, which submits"):
        Slurm(poll_seconds=0.05).execute(jobs_in(tmp_path), Listener(tmp_path))


def test_what_sbatch_is_asked_for(commands: Any, tmp_path: Path) -> None:
    commands(sbatch="echo Submitted batch job 12", squeue="")
    executor = Slurm(
        partition="main", time="1-0", memory="16G", cpus=3, gpus=2, account="imaging", jobs=2, set_up=("module load x",)
    )
    executor.options = {"qos": "high"}
    batches = executor._submit(tmp_path / "jobs" / "slurm", jobs_in(tmp_path), [])
    [script] = batches[0].folder.glob("*_submission.sh")
    lines = script.read_text().splitlines()
    asked = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert {
        *("array=0-3%2", "partition=main", "time=1440", "mem=16G", "cpus-per-task=3", "gpus-per-node=2"),
        *("account=imaging", "qos=high", "requeue", "signal=USR2@90", f"job-name={batches[0].name}"),
    } <= asked
    assert lines.index("export OMP_NUM_THREADS=3") < lines.index("module load x")
    assert batches[0].workers == 4  # MaxArraySize


def test_cells_wait_for_the_work_that_they_share(commands: Any, tmp_path: Path) -> None:
    commands(
        sbatch="echo Submitted batch job 12",
        squeue='name=$(echo "$*" | sed "s/.*--name=//; s/ .*//"); echo "$name|12_0|PENDING|None"',
    )
    jobs = [
        invreg.Job(tmp_path, "shared-a"),
        *(invreg.Job(tmp_path, f"cell-{index}", ("shared-a",)) for index in range(3)),
    ]
    first, second = Slurm()._submit(tmp_path / "jobs" / "slurm", jobs, [])
    assert [[job.name for job in batch.jobs] for batch in (first, second)] == [
        ["shared-a"],
        ["cell-0", "cell-1", "cell-2"],
    ]
    scripts = [next(batch.folder.glob("*_submission.sh")).read_text() for batch in (first, second)]
    assert ["--dependency=afterany:12" in script for script in scripts] == [False, True]


@pytest.fixture
def on_this_machine(monkeypatch: pytest.MonkeyPatch) -> type[OnThisMachine]:
    """The executor `slurm` with workers on this machine."""
    monkeypatch.setattr(OnThisMachine, "workers", {})
    for name in ("check", "_most_workers", "_send", "_states", "workers", "most_workers"):
        monkeypatch.setattr(Slurm, name, getattr(OnThisMachine, name), raising=False)
    return OnThisMachine


@pytest.mark.slow
def test_the_table_is_that_of_one_process(tmp_path: Path, on_this_machine: type[OnThisMachine]) -> None:
    spec = study_spec(3)
    executor = {"name": "slurm", "poll_seconds": 0.2}
    there = invreg.run(spec, tmp_path / "there", "cpu", progress=False, executor=executor)
    here = invreg.run(spec, tmp_path / "here", "cpu", progress=False)
    assert isinstance(there, StudyResult)
    assert isinstance(here, StudyResult)
    assert not there.failures
    seconds = [name for name in here.table.columns if "seconds" in name]
    assert there.table.drop(columns=seconds).equals(here.table.drop(columns=seconds))
    assert len(on_this_machine.workers) == 1
    assert not (there.folder / "jobs").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc")
def test_workers_go_on_where_they_were_after_their_time_and_after_a_kill(
    tmp_path: Path, on_this_machine: type[OnThisMachine]
) -> None:
    study, jobs = study_with_cells(tmp_path / "disturbed", 3, steps=150)

    class Disturbing(Listener):
        """Ends the first two workers while they train: one as Slurm does when time is up, the other with SIGKILL."""

        def started(self, name: str) -> None:
            super().started(name)
            names = set(self.beginnings)
            if len(names) <= 2 and self.beginnings.count(name) == 1:
                threading.Thread(target=self.disturb, args=(name, len(names) == 1)).start()

        def disturb(self, name: str, gently: bool) -> None:
            wait_until(lambda: list((study.cells_folder / name).glob("methods/*/progress.csv")))
            batch = Batch.read(next((study.path / "jobs" / "slurm").iterdir()), study.path)
            controller = on_this_machine.workers[batch.name][int(batch.turn(name, 0).worker)]
            [worker] = children(int(controller.job_id))
            if gently:
                os.kill(worker, signal.SIGUSR2)
            else:
                for process in (worker, *children(worker)):
                    os.kill(process, signal.SIGKILL)

    listener = Disturbing(study.path, tries=2)
    Slurm(poll_seconds=0.2).execute(jobs, listener)
    assert all(map(listener.is_finished, [job.name for job in jobs]))
    first, second = list(dict.fromkeys(listener.beginnings))[:2]
    batches = [Batch.read(folder, study.path) for folder in (study.path / "jobs" / "slurm").iterdir()]
    [batch] = [batch for batch in batches if first in batch.latest() and batch.turn(first, 0).why]
    assert batch.turn(first, 0).why == "out of time"
    assert "unet up to step" in (study.path / "jobs" / f"{first}.log").read_text()
    assert listener.endings[first] == [None]
    assert len(listener.endings[second]) == 2
    assert "ended as COMPLETED, log" in str(listener.endings[second][0])

    plain, others = study_with_cells(tmp_path / "plain", 3, steps=150)
    assert next(job for job in others if job.name == first).run()
    ours, theirs = (
        folder.cells_folder / first / "methods" / "unet" / "weights.safetensors" for folder in (study, plain)
    )
    assert ours.read_bytes() == theirs.read_bytes()


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)
