"""A cluster of Dask: at an address, or workers of this machine."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from invreg import Executor, ExecutorError, Job, Watch, available_cores
from invreg_executors.processes import GRACE, end, ready, start, why

if TYPE_CHECKING:
    from distributed import Client

_TOPIC = "invreg"

#: Seconds between two looks: of a worker, whether its job is still wanted; at the scheduler, whether it is there.
_LOOK = 1.0


class Dask(Executor):
    """The workers of a Dask cluster: of a scheduler at an address, or workers that are started on this machine.

    Each job is a process that a worker starts and waits for. The study folder has to be there, under the same path, on
    all machines, and so has this installation of invreg.
    """

    def __init__(
        self,
        address: Annotated[
            str | None,
            Field(description="of the scheduler, as in tcp://10.0.0.1:8786; this machine if None"),
        ] = None,
        jobs: Annotated[
            int | None,
            Field(ge=1, description="jobs at a time; as many as there are workers, or cores of this machine, if None"),
        ] = None,
        threads: Annotated[
            int | None,
            Field(ge=1, description="threads of each job; as the environment of the workers says if None"),
        ] = None,
        resources: Annotated[
            dict[str, float], Field(description="what a worker has to have for a job, as in {GPU: 1}")
        ] = {},  # noqa: B006 (it is not changed)
        timeout: Annotated[float, Field(gt=0, description="for the scheduler to answer, in s")] = 10.0,
    ) -> None:
        self.address, self.jobs, self.threads = address, jobs, threads
        self.resources, self.timeout = resources, timeout

    def check(self) -> None:
        if self.address is None:
            _package()
        else:
            with self._client(1):
                pass

    def execute(self, jobs: Sequence[Job], watch: Watch) -> None:
        waiting, running, ended = list(jobs), dict[Any, Job](), Queue[Any]()
        stop = jobs[0].log.parent / f"stop-{uuid.uuid4().hex}"
        most = self.jobs or len(jobs)
        with self._client(len(jobs)) as client:
            self._check_folder(client, jobs[0].study)
            client.subscribe_topic(_TOPIC, lambda event: watch.started(event[1]))
            try:
                while waiting or running:
                    for job in ready(waiting, running.values(), watch, most - len(running)):
                        future = self._submit(client, job, stop)
                        running[future] = job
                        future.add_done_callback(ended.put)
                    while running and (future := _next(ended)) is None:
                        self._check_alive(client)
                    if running:
                        job = running.pop(future)
                        if watch.ended(job.name, _outcome(future)):
                            waiting.append(job)
            except BaseException:
                stop.parent.mkdir(exist_ok=True)
                stop.touch()  # workers end what they are at, which saves checkpoints
                last = time.monotonic() + GRACE
                while running and time.monotonic() < last and client.status == "running":
                    running.pop(_next(ended), None)
                raise
            finally:
                stop.unlink(missing_ok=True)

    def _submit(self, client: Client, job: Job, stop: Path) -> Any:
        threads = {} if self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}
        key = f"{job.name}-{uuid.uuid4().hex[:8]}"
        return client.submit(
            _carry_out, job, threads, stop, Path.cwd(), key=key, resources=self.resources or None, pure=False
        )

    @contextmanager
    def _client(self, most: int) -> Iterator[Client]:
        distributed = _package()
        if self.address is not None:
            try:
                distributed.comm.resolve_address(self.address)
                client = distributed.Client(self.address, timeout=self.timeout, set_as_default=False)
            except (OSError, ValueError, TimeoutError) as error:
                raise ExecutorError(
                    f"no Dask scheduler answers at {self.address!r} within {self.timeout:g} s: {_first_line(error)}",
                    where="executor.address",
                    expected="the address that `dask scheduler` prints, as in tcp://10.0.0.1:8786",
                ) from None
            with client:
                yield client
            return
        # Workers in threads of this process: each job is a process anyway.
        with (
            distributed.LocalCluster(
                n_workers=min(most, self.jobs or available_cores()),
                threads_per_worker=1,
                processes=False,
                dashboard_address=None,
                resources={**self.resources} or None,
                silence_logs=logging.ERROR,
            ) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            yield client

    def _check_alive(self, client: Client) -> None:
        if client.status not in ("running", "connecting"):
            raise ExecutorError(
                f"the Dask scheduler at {self.address} is gone",
                where="executor",
                hint="start it again; the same command goes on, and jobs that still run end their cells",
            )

    def _check_folder(self, client: Client, study: Path) -> None:
        """Whether the workers that are there now see the study folder."""
        try:
            seen = client.run(_sees, str(study))
        except Exception as error:
            raise ExecutorError(
                f"the workers of {self.address} cannot do anything for invreg: {_first_line(error)}",
                where="executor",
                expected="workers in an environment where invreg is installed, in the same version",
            ) from error
        if blind := sorted({host for host, there in seen.values() if not there}):
            raise ExecutorError(
                f"the workers on {', '.join(blind)} do not see {study}",
                where="executor",
                expected="a folder that all machines of the cluster share, under the same path",
                hint="--output with a folder on a shared file system",
            )


def _package() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ExecutorError(
            f"dask.distributed cannot be imported: {error}",
            where="executor",
            expected="the package distributed",
            hint='pip install "invreg[dask]"',
        ) from None
    return distributed


def _sees(study: str) -> tuple[str, bool]:
    return socket.gethostname(), os.path.isdir(study)  # noqa: PTH112 (it runs on workers, and needs nothing else)


def _carry_out(job: Job, environment: Mapping[str, str], stop: Path, folder: Path) -> str | None:
    """What a worker does: it starts a job and waits for its end; says how the process died, if it did."""
    from distributed import get_worker

    if not job.study.is_dir():
        return f"{socket.gethostname()} does not see {job.study}"
    get_worker().log_event(_TOPIC, job.name)
    # Paths of images may be relative to where the command was started.
    process = start(job, environment, folder if folder.is_dir() else None)
    while True:
        try:
            process.wait(_LOOK)
        except subprocess.TimeoutExpired:
            if stop.exists():
                end([process])
            continue
        return why(job, process)


def _outcome(future: Any) -> str | None:
    try:
        outcome: str | None = future.result()
        return outcome
    except Exception as error:  # noqa: BLE001 (a worker that was lost, a function that could not be sent)
        return f"{type(error).__name__}: {_first_line(error)}"


def _next(ended: Queue[Any]) -> Any:
    """The next future that has ended; None if none does for a while."""
    try:
        return ended.get(timeout=_LOOK)
    except Empty:
        return None


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
