"""A Slurm cluster, by submitit."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import time as clock
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from invreg import Executor, ExecutorError, Job, SpecError, Watch
from invreg_executors.slurm_worker import Batch, Worker

#: States of Slurm jobs that have ended; one that Slurm does not know any more has ended, too.
_ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "SPECIAL_EXIT", "TIMEOUT"),
}

#: Reasons for which a job waits until somebody changes it, or the cluster.
_HOPELESS = re.compile(
    "PartitionConfig|Partition(Node|Time)Limit|BadConstraints|Invalid(Account|QOS)|DependencyNeverSatisfied"
    "|(Assoc|QOS)Max(Wall|Cpu|GRES|Mem|Node)[A-Za-z]*Per(Job|Node)[A-Za-z]*"
)

#: What to try, by what Slurm says.
_HINTS = {
    "emory": "`sinfo --format='%P %m'` lists the partitions with the MB that their nodes have",
    "ccount": "`sacctmgr show associations user=$USER` lists your accounts",
    "gres": "`sinfo --format='%P %G'` lists the partitions with the GPUs that their nodes have",
    "PartitionConfig": "`sinfo --format='%P %c %m %G %l'` lists the cores, MB, GPUs and times of partitions",
    "ime": "`sinfo --format='%P %l'` lists the partitions with their longest times",
    "partition": "`sinfo` lists the partitions",
    "QOS": "a larger `cells_per_job`, which makes fewer jobs; `sacctmgr show qos` lists what is allowed",
    "option": "`sbatch --help` lists the options",
}

#: Minutes for which Slurm may leave questions about jobs unanswered.
_PATIENCE = 10

#: Slurm's ways to write a time: minutes, minutes:seconds, hours:minutes:seconds, and days before hours.
_TIME = re.compile(
    r"(?:(?P<days>\d+)-(?P<hours>\d+)(?::(?P<minutes>\d+))?(?::\d+)?"
    r"|(?P<h>\d+):(?P<m>\d+):\d+|(?P<only>\d+)(?::\d+)?)"
)


@dataclass(frozen=True)
class _State:
    """What Slurm says of a worker."""

    slurm_job: str
    name: str
    reason: str = ""

    @property
    def is_alive(self) -> bool:
        return self.name not in _ENDED


class Slurm(Executor):
    """Jobs of a Slurm cluster, submitted by submitit as one array, and a second one for work that cells share.

    Each Slurm job takes one cell after the other until none is left, so that short cells do not wait for the queue and
    for imports, and nobody waits for the cells of a job that died. The study folder has to be on a file system that all
    nodes see. One that runs out of time, or is preempted, saves a checkpoint and goes on from it when Slurm starts it
    again. The command that submits may end: the jobs go on, and the same command finds them again.
    """

    def __init__(
        self,
        partition: Annotated[str | None, Field(description="partition; the cluster's default if None")] = None,
        time: Annotated[
            str | int,
            Field(
                description="time limit of a Slurm job, as in `sbatch`: minutes, `hours:minutes:seconds`, `days-hours`"
            ),
        ] = "4:00:00",
        memory: Annotated[
            str | None,
            Field(
                pattern=r"^\d+[KMGT]?$",
                description="memory of a Slurm job, such as `16G`; the cluster's default if None",
            ),
        ] = None,
        cpus: Annotated[int, Field(ge=1, description="cores of a Slurm job, and threads of its computations")] = 1,
        gpus: Annotated[int, Field(ge=0, description="GPUs of a Slurm job")] = 0,
        processes: Annotated[
            int,
            Field(ge=1, description="processes that carry out a cell together, with a GPU each: as many as `gpus`"),
        ] = 1,
        account: Annotated[str | None, Field(description="account that pays; the default one if None")] = None,
        jobs: Annotated[
            int | None,
            Field(
                ge=1,
                description="Slurm jobs that run at a time (`slurm_array_parallelism`); as many as can if None",
            ),
        ] = None,
        cells_per_job: Annotated[
            int | None,
            Field(
                ge=1,
                description="cells that a Slurm job does at most, one after the other; all that it can get if None",
            ),
        ] = None,
        set_up: Annotated[
            tuple[str, ...],
            Field(description="lines of shell that are run on the node before, such as `module load cuda`"),
        ] = (),
        options: Annotated[
            Mapping[str, str | int | bool],
            Field(description="further options of `sbatch`, such as `{qos: high, constraint: a100}`"),
        ] = {},
        notice_seconds: Annotated[
            int, Field(ge=10, description="seconds before the time limit at which a checkpoint is saved")
        ] = 90,
        turns: Annotated[
            int,
            Field(
                ge=1,
                description="times that a cell is started, at most, if its Slurm jobs run out of time or are preempted",
            ),
        ] = 100,
        poll_seconds: Annotated[float, Field(gt=0, description="seconds between two looks at the queue")] = 10.0,
    ) -> None:
        self.partition, self.time, self.memory, self.cpus, self.gpus = partition, time, memory, cpus, gpus
        self.processes = processes
        self.account, self.jobs, self.cells_per_job, self.set_up = account, jobs, cells_per_job, set_up
        self.options, self.notice_seconds, self.turns, self.poll_seconds = options, notice_seconds, turns, poll_seconds
        _check_words(
            partition=partition, account=account, **{f"options.{key}": value for key, value in options.items()}
        )
        self._minutes = _minutes(time)
        if self._minutes * 60 <= notice_seconds:
            raise SpecError(
                f"{time} is not longer than the {notice_seconds} seconds of `notice_seconds`",
                where="time",
                expected="a time in which something is done before the checkpoint",
            )

    def check(self) -> None:
        _submitit()
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise ExecutorError(
                "sbatch and srun are not found on this machine",
                where="slurm",
                expected="a machine from which jobs can be submitted to Slurm: a login node, say",
                hint="--executor local",
            )
        listed = _call("sinfo", "--noheader", "--format=%R")
        if self.partition is not None and self.partition not in listed.split():
            raise ExecutorError(
                f"partition {self.partition!r} does not exist",
                where="slurm",
                expected=f"one of {', '.join(sorted(set(listed.split())))}",
            )

    def execute(self, jobs: Sequence[Job], watch: Watch) -> None:
        if not jobs:
            return
        self.check()
        jobs = [replace(job, processes=self.processes) for job in jobs]
        unfinished = {job.name: job for job in jobs}
        parent = jobs[0].study / "jobs" / "slurm"
        batches = self._attach(parent, unfinished)
        try:
            attached = {job.name for batch in batches for job in batch.jobs}
            batches += self._submit(parent, [job for job in jobs if job.name not in attached], batches)
            self._follow(parent, batches, unfinished, watch)
        except KeyboardInterrupt as stop:
            going = ", ".join(_arrays(self._states(batches)))
            if going:
                stop.add_note(f"the Slurm jobs {going} go on, and the same command finds them (`scancel` ends them)")
            raise

    # What is asked of Slurm and submitit.

    def _send(self, batch: Batch, after: Sequence[str]) -> str:
        """Submits the workers of a batch; Slurm's number of their array."""
        with redirect_stderr(io.StringIO()):  # what sbatch says is in the exception, too
            submitter = _submitit().SlurmExecutor(batch.folder, max_num_timeout=10**6)  # turns are what counts
            submitter.update_parameters(**self._settings(batch.name, after))
            submitted = submitter.map_array(Worker(), *zip(*batch.calls, strict=True))
        return str(submitted[0].job_id).partition("_")[0]

    def _settings(self, name: str, after: Sequence[str]) -> dict[str, Any]:
        """Parameters of submitit."""
        settings: dict[str, Any] = {
            "job_name": name,
            "time": self._minutes,
            "partition": self.partition,
            "account": self.account,
            "mem": self.memory,
            "cpus_per_task": self.cpus,
            "gpus_per_node": self.gpus or None,
            "array_parallelism": self.jobs or 10**6,
            "signal_delay_s": self.notice_seconds,
            "setup": [f"export OMP_NUM_THREADS={max(1, self.cpus // self.processes)}", *self.set_up],
            "stderr_to_stdout": True,
            "dependency": f"afterany:{':'.join(after)}" if after else None,
            "additional_parameters": {"requeue": True, **self.options},
        }
        return {key: value for key, value in settings.items() if value is not None}

    def _most_workers(self) -> int:
        """How many jobs an array of this cluster can have."""
        found = re.search(r"MaxArraySize\s*=\s*(\d+)", _call("scontrol", "show", "config"))
        return max(1, int(found[1])) if found else 1001

    def _states(self, batches: Iterable[Batch]) -> dict[str, dict[str, _State]]:
        """What Slurm says of the workers of each batch, by the names of batches and the numbers of workers."""
        names = [batch.name for batch in batches]
        found: dict[str, dict[str, _State]] = {name: {} for name in names}
        if names:
            # Not sacct, which many small clusters do not have. By name, which nobody else has; and so, a number in
            # some file is never taken for a job.
            arguments = ["--array", "--noheader", "--states=all", f"--name={','.join(names)}", "--format=%j|%i|%T|%r"]
            for line in _call("squeue", *arguments).splitlines():
                name, slurm_job, state, reason = line.split("|", 3)
                found[name][slurm_job.partition("_")[2] or "0"] = _State(slurm_job, state, reason)
        return found

    # Which jobs are in which batch.

    def _attach(self, parent: Path, unfinished: Mapping[str, Job]) -> list[Batch]:
        """The batches of earlier commands that Slurm still works at."""
        batches = []
        for folder in sorted(parent.glob("*/batch.json")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                batches.append(Batch.read(folder.parent, parent.parents[1]))
        states = self._states(batches)
        alive = [batch for batch in batches if any(state.is_alive for state in states[batch.name].values())]
        for batch in alive:
            for name, (number, again) in batch.latest().items():
                # What failed while nobody waited: calling the command again asks for another attempt.
                if name in unfinished and not again and batch.turn(name, number).ended is not None:
                    batch.open_again(name, number)
        return alive

    def _submit(self, parent: Path, jobs: Sequence[Job], others: Sequence[Batch]) -> list[Batch]:
        """Submits jobs: one array for those that others need, and one for the rest."""
        needed = {name for job in jobs for name in job.needs}
        first = [job for job in jobs if job.name in needed]
        rest = [job for job in jobs if job.name not in needed]
        batches = [self._submit_array(parent, first, [])] if first else []
        if rest:
            needs = {name for job in rest for name in job.needs}
            after = [batch for batch in [*others, *batches] if needs & {job.name for job in batch.jobs}]
            batches.append(self._submit_array(parent, rest, after))
        return batches

    def _submit_array(self, parent: Path, jobs: Sequence[Job], after: Sequence[Batch]) -> Batch:
        wanted = -(-len(jobs) // (self.cells_per_job or 1))
        workers = min(wanted, self._most_workers())
        # One that Slurm starts when all is done ends at once; until then it replaces one that died.
        most_jobs = None if self.cells_per_job is None else -(-len(jobs) // workers)
        study = jobs[0].study.name
        batch = Batch.create(parent, study, jobs, workers, self.turns, most_jobs)
        try:
            batch.write(self._send(batch, _arrays(self._states(after))))
        except Exception as error:
            shutil.rmtree(batch.folder, ignore_errors=True)
            raise _refusal(str(error)) from error
        return batch

    # Following them.

    def _follow(self, parent: Path, batches: list[Batch], unfinished: dict[str, Job], watch: Watch) -> None:
        """Tells what becomes of jobs until all have ended; submits those again whose workers are all gone."""
        told: set[tuple[str, str, int]] = set()
        before: dict[str, dict[str, _State]] = {}
        answered = clock.monotonic()
        while True:
            clock.sleep(self.poll_seconds)
            try:
                states = self._states(batches)
                answered = clock.monotonic()
            except ExecutorError:
                if clock.monotonic() - answered > 60 * _PATIENCE:
                    raise
                continue
            for batch in list(batches):
                now, earlier = states[batch.name], before.get(batch.name)
                alive = {worker for worker, state in now.items() if state.is_alive}
                if earlier is not None:  # files may arrive later than what Slurm says
                    alive |= {worker for worker, state in earlier.items() if state.is_alive}
                self._listen(batch, now, alive if earlier is not None else None, unfinished, told, watch)
                mine = [job for job in batch.jobs if job.name in unfinished]
                if not mine:
                    self._dismiss(batch, now)
                elif earlier is not None and not alive:
                    batches.remove(batch)
                    _check_abandoned(batch, now)
                    batches += self._submit(parent, mine, batches)
                elif earlier is not None:
                    self._refuse_hopeless(batch, now)
            before = states
            if not unfinished:
                batches[:] = [batch for batch in batches if any(s.is_alive for s in states[batch.name].values())]
                if not batches:
                    return

    def _listen(
        self,
        batch: Batch,
        states: Mapping[str, _State],
        alive: set[str] | None,
        unfinished: dict[str, Job],
        told: set[tuple[str, str, int]],
        watch: Watch,
    ) -> None:
        """Reads what workers wrote; one that is not alive any more cannot write that its job has ended."""
        for name, (number, again) in batch.latest().items():
            if name not in unfinished:
                continue
            if (batch.name, name, number) not in told:
                told.add((batch.name, name, number))
                watch.started(name)
            if again:
                continue
            turn = batch.turn(name, number)
            why = turn.why
            if turn.ended is None:
                if alive is None or turn.worker in alive or not turn.worker:
                    continue
                state = states.get(turn.worker)
                how = f"ended as {state.name}" if state else "is not known to Slurm any more"
                why = f"Slurm job {turn.slurm_job} {how}, log {_log(batch, turn.slurm_job)}"
            if watch.ended(name, why):
                batch.open_again(name, number)
            else:
                del unfinished[name]

    def _refuse_hopeless(self, batch: Batch, states: Mapping[str, _State]) -> None:
        """Slurm takes jobs, too, that it can never start."""
        alive = [state for state in states.values() if state.is_alive]
        if alive and all(state.name == "PENDING" and _HOPELESS.fullmatch(state.reason) for state in alive):
            _cancel(alive)
            raise _refusal(f"the jobs would wait for ever: {alive[0].reason}")

    def _dismiss(self, batch: Batch, states: Mapping[str, _State]) -> None:
        """Takes workers out of the queue for which nothing is left; those that run end themselves."""
        _cancel([state for state in states.values() if state.name == "PENDING"])


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ExecutorError(
            f"cannot be imported: {error}",
            where="slurm",
            expected="the package submitit",
            hint="pip install 'invreg[slurm]'",
        ) from error
    return submitit


def _call(*command: str) -> str:
    """What a command of Slurm prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExecutorError(f"{command[0]} does not answer: {error}", where="slurm") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise ExecutorError(f"{command[0]} says: {said}", where="slurm", hint="`sinfo` shows whether Slurm answers")
    return done.stdout


def _cancel(states: Sequence[_State]) -> None:
    if states:
        with suppress(ExecutorError):  # it ends itself, only later
            _call("scancel", "--state=PENDING", *_arrays({"": {str(n): state for n, state in enumerate(states)}}))


def _arrays(states: Mapping[str, Mapping[str, _State]]) -> list[str]:
    """Slurm's numbers of the arrays that have not ended."""
    alive = {state.slurm_job.partition("_")[0] for of in states.values() for state in of.values() if state.is_alive}
    return sorted(alive, key=int)


def _log(batch: Batch, slurm_job: str) -> Path:
    """Where the output of a worker is, as submitit names it."""
    return batch.folder / f"{slurm_job}_0_log.out"


def _refusal(said: str) -> ExecutorError:
    lines = [line.removeprefix("sbatch: error: ") for line in said.splitlines() if "sbatch: error" in line]
    what = "; ".join(dict.fromkeys(lines)) or said.strip()
    hint = next((hint for word, hint in _HINTS.items() if word in what), None)
    return ExecutorError(f"Slurm does not take the jobs: {what}", where="slurm", hint=hint)


def _check_abandoned(batch: Batch, states: Mapping[str, _State]) -> None:
    """Whether to submit again what is left of a batch that nobody works at any more.

    Raises:
        ExecutorError: if somebody has cancelled it, or its workers could not begin with anything.
    """
    ended = {state.name for state in states.values()}
    if "CANCELLED" in ended and ended <= {"CANCELLED", "COMPLETED"}:
        number = next(iter(states.values())).slurm_job.partition("_")[0]
        raise ExecutorError(
            f"the Slurm jobs {number} were cancelled",
            where="slurm",
            hint="the same command, which submits what is left; what was done is kept",
        )
    if batch.latest():
        return
    what = f"all Slurm jobs have ended ({', '.join(sorted(ended)) or 'no longer known'})"
    logs = sorted(batch.folder.glob("*_log.out"), key=lambda path: path.stat().st_mtime)
    if not logs:
        raise ExecutorError(
            f"{what} and left no log in {batch.folder}",
            where="slurm",
            expected="an --output folder on a file system that the nodes see under the same path",
            hint=f"`srun ls {batch.folder}`",
        )
    said = logs[-1].read_text(encoding="utf-8", errors="replace").strip()[-800:]
    raise ExecutorError(
        f"{what} before they began with a cell; the last one says:\n{said}",
        where="slurm",
        expected="nodes on which this Python runs, after the lines of `set_up`",
        hint=f"the logs in {batch.folder}",
    )


def _check_words(**given: str | int | bool | None) -> None:
    """Each becomes part of one line of a script: what holds another line would be run there."""
    for where, value in given.items():
        if not str(value).isprintable() or not where.removeprefix("options.").replace("-", "").isalnum():
            raise SpecError(repr(value), where=where, expected="one line, for an option of `sbatch` such as `qos`")


def _minutes(time: str | int) -> int:
    found = _TIME.fullmatch(str(time).strip())
    if found is None:
        raise SpecError(
            repr(time),
            where="time",
            expected="minutes, minutes:seconds, hours:minutes:seconds, days-hours or days-hours:minutes",
        )
    part = {key: int(value or 0) for key, value in found.groupdict().items()}
    return (part["days"] * 24 + part["hours"] + part["h"]) * 60 + part["minutes"] + part["m"] + part["only"]
