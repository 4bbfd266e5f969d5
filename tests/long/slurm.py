"""A study on a real Slurm whose jobs are killed and requeued at random; its table is compared with that of one process.

    . start-slurm.sh     # any Slurm whose nodes see this folder; one node on this machine is enough
    python tests/long/slurm.py --cells 300 --kills 30 --requeues 10

1. `invreg run STUDY --executor slurm`, as a command of its own. Meanwhile, at random moments, the process of a cell or,
   every third time, all of a Slurm job gets SIGKILL, and running Slurm jobs are requeued by `scontrol requeue`. The
   command itself is interrupted once, with Ctrl-C, and called again.
2. `invreg run STUDY --executor local --jobs 1`, in another folder; with `--reference none`, without an executor, which
   takes less time, because nothing is imported 300 times.
3. The tables have to be equal, bit by bit, but for seconds. How busy the workers were is printed: of the time of all
   places between the first start and the last end, the part in which cells were computed, and the part in which Slurm
   had given the place to a job.

Both studies go on where they stopped when `--place` names a folder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def study(cells: int, steps: int) -> dict[str, Any]:
    """Three levels of noise, each with one tv that its cells share."""
    return {
        "title": "Disturbed on Slurm",
        "data": {"name": "phantoms", "image_size": 12, "train": 4, "val": 2, "test": 2},
        "operator": {"name": "gaussian_blur", "kernel_size": 3},
        "noise": {"name": "gaussian", "std": 0.01},
        "methods": {
            "tv": {
                "reconstructor": {"name": "tv", "max_iterations": 50},
                "trainer": {"name": "parameter_search", "trials": 2},
            },
            "unet": {
                "reconstructor": {"name": "unet", "channels": [2, 4]},
                "trainer": {"name": "reconstruction", "steps": steps, "batch_size": 2, "validations": 3},
            },
        },
        "metrics": ["psnr"],
        "analyses": [],
        "matrix": {
            "noise.std": [0.01, 0.02, 0.05],
            "methods.unet.trainer.lr": [round(1e-4 * (1 + index), 6) for index in range(-(-cells // 3))],
        },
    }


@dataclass
class Turns:
    """What the folders of a study say of all attempts so far."""

    folder: Path
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)

    def read(self) -> None:
        for path in self.folder.glob("*/jobs/slurm/*/turns/*.jsonl"):
            known = self.seen.setdefault(str(path), {})
            if "ended" not in known:
                for line in path.read_text().splitlines():
                    known.update(json.loads(line))

    @property
    def running(self) -> list[dict[str, Any]]:
        return [turn for turn in self.seen.values() if turn and "ended" not in turn]


class Disturbance(threading.Thread):
    """Kills and requeues at random moments, as often as asked, while cells are running."""

    def __init__(self, turns: Turns, kills: int, requeues: int, seed: int, pause: float) -> None:
        super().__init__(daemon=True)
        self.turns, self.random, self.pause = turns, random.Random(seed), pause
        self.left = ["job"] * (kills // 3) + ["cell"] * (kills - kills // 3) + ["requeue"] * requeues
        self.random.shuffle(self.left)
        self.done: list[str] = []
        self.is_over = threading.Event()
        self.places: dict[str, tuple[float, float]] = {}

    def run(self) -> None:
        next_one = time.monotonic() + self.pause
        while not self.is_over.wait(0.5):
            self.turns.read()
            self.note_places()
            if self.left and time.monotonic() >= next_one and self.disturb(self.left[-1]):
                self.done.append(self.left.pop())
                next_one = time.monotonic() + self.random.uniform(0.5, 1.5) * self.pause

    def note_places(self) -> None:
        """When each Slurm job was first and last seen to run, under each number of restarts."""
        now = time.time()
        for line in called("squeue", "--noheader", "--states=R", "--format=%A %S").splitlines():
            first, _ = self.places.get(line, (now, now))
            self.places[line] = first, now

    def disturb(self, how: str) -> bool:
        running = self.turns.running
        if not running:
            return False
        turn = self.random.choice(running)
        job = turn["slurm_job"]
        if how == "requeue":
            return not called("scontrol", "requeue", job)  # it says only what is wrong
        workers = processes_of(job)
        cells = [process for process, parent in workers.items() if parent in workers]
        if not cells:
            return False
        for process in cells if how == "cell" else workers:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                return how == "job"
        turn["killed"] = time.time()
        return True


def processes_of(slurm_job: str) -> dict[int, int]:
    """The Python processes of a Slurm job on this machine and their parents."""
    array, _, task = slurm_job.partition("_")
    wanted = {f"SLURM_ARRAY_JOB_ID={array}".encode(), f"SLURM_ARRAY_TASK_ID={task}".encode()}
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"submitit.core._submit" in (folder / "cmdline").read_bytes().split(b"\0"):
                if (folder / "cmdline").read_bytes().startswith(b"srun"):
                    continue
                if wanted <= set((folder / "environ").read_bytes().split(b"\0")):
                    found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
    return found


def called(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout


def command(place: Path, output: str, *options: str) -> subprocess.Popen[bytes]:
    """`invreg run` in a process of its own."""
    with (place / f"{output}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "invreg", "run", "study.json", "--output", output, "--device", "cpu", *options],
            cwd=place,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def disturbed(place: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The study on Slurm; what was done to it, and how busy its workers were."""
    turns = Turns(place / "slurm")
    disturbance = Disturbance(turns, arguments.kills, arguments.requeues, arguments.seed, arguments.pause)
    options = ("--executor", "slurm", "--retries", "20", "--set", "executor.poll_seconds=1")
    process = command(place, "slurm", *options)
    disturbance.start()
    while len([turn for turn in list(turns.seen.values()) if "ended" in turn]) < arguments.cells // 4:
        if process.poll() is not None:
            break
        time.sleep(0.5)
    process.send_signal(signal.SIGINT)  # the jobs go on
    left = process.wait()
    process = command(place, "slurm", *options)
    status = process.wait()
    disturbance.is_over.set()
    disturbance.join()
    if status != 0:
        raise SystemExit(f"invreg run ends with {status}: see {place / 'slurm.log'}")
    finished = [turn for turn in turns.seen.values() if turn]
    ends = [turn.get("killed") or turn.get("ended") for turn in finished]
    spans = [(turn["started"], end) for turn, end in zip(finished, ends, strict=True) if end]
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    places = arguments.workers or len(os.sched_getaffinity(0))
    given = sum(max(0.0, min(end, last) - max(start, first)) for start, end in disturbance.places.values())
    how = {name: disturbance.done.count(name) for name in ("cell", "job", "requeue")}
    return {
        "cells killed": how["cell"],
        "Slurm jobs killed": how["job"],
        "Slurm jobs requeued": how["requeue"],
        "status of the command that left": left,
        "attempts": len(finished),
        "attempts that ended early": sum(bool(turn.get("why") or turn.get("killed")) for turn in finished),
        "minutes": round((last - first) / 60, 1),
        "seconds of a cell (median)": round(sorted(end - start for start, end in spans)[len(spans) // 2], 1),
        "workers at a time": places,
        "busy with cells": round(sum(end - start for start, end in spans) / (places * (last - first)), 3),
        "busy as Slurm sees it": round(given / (places * (last - first)), 3),
    }


def tables(place: Path) -> list[list[list[str]]]:
    """The tables of both studies without the columns of seconds."""
    import csv

    found = []
    for output in ("slurm", "reference"):
        [path] = (place / output).glob("*/study.csv")
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        kept = [index for index, name in enumerate(rows[0]) if "seconds" not in name]
        found.append([[row[index] for index in kept] for row in rows])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--steps", type=int, default=400, help="training steps of each cell")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--requeues", type=int, default=10)
    parser.add_argument("--pause", type=float, default=15.0, help="mean seconds between two disturbances")
    parser.add_argument("--workers", type=int, default=0, help="Slurm jobs at a time; the cores of this machine if 0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--place", type=Path, default=None, help="folder to work in; a temporary one if not given")
    parser.add_argument("--reference", choices=["local", "none"], default="local", help="executor of the other run")
    parser.add_argument("--part", choices=["slurm", "reference", "both"], default="both")
    arguments = parser.parse_args()
    if shutil.which("sbatch") is None or not called("sinfo", "--noheader"):
        raise SystemExit("no Slurm answers here (sinfo)")
    place = (arguments.place or Path(tempfile.mkdtemp(prefix="invreg-slurm-", dir=Path.cwd()))).resolve()
    place.mkdir(parents=True, exist_ok=True)
    (place / "study.json").write_text(json.dumps(study(arguments.cells, arguments.steps)))
    if arguments.part != "reference":
        found = disturbed(place, arguments)
        (place / "slurm.json").write_text(json.dumps(found, indent=1))
        for name, value in found.items():
            print(f"{name}: {value}", flush=True)
    if arguments.part != "slurm":
        start = time.monotonic()
        options = ("--executor", "local", "--jobs", "1") if arguments.reference == "local" else ()
        status = command(place, "reference", *options).wait()
        print(f"reference ({arguments.reference}): {(time.monotonic() - start) / 60:.1f} minutes, status {status}")
    if all(list((place / name).glob("*/study.csv")) for name in ("slurm", "reference")):
        ours, theirs = tables(place)
        print(f"tables of {len(ours) - 1} rows: {'equal' if ours == theirs else 'DIFFERENT'}")
        sys.exit(ours != theirs)


if __name__ == "__main__":
    main()
