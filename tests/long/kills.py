"""Ends runs and studies at any moment, resumes them, and compares every file with those of an undisturbed run.

    python tests/long/kills.py --count 1000

Sessions are the command line itself, `invreg run`, forked from one process in which everything is imported, so that
each takes a second or two and not ten. Their clock stands still, so that files that hold times are equal byte for byte,
too; figures are made, but not drawn.

- SIGKILL before and after each replacement of a file, one after the other;
- SIGKILL at random moments, several times in one folder;
- SIGTERM and SIGINT at random moments, after which nothing half may lie there even before the next session.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RUN: dict[str, Any] = {
    "title": "Killed",
    "data": {"name": "phantoms", "image_size": 12, "train": 4, "val": 2, "test": 2},
    "operator": {"name": "gaussian_blur", "kernel_size": 3},
    "noise": {"name": "gaussian", "std": 0.01},
    "methods": {
        "unet": {
            "reconstructor": {"name": "unet", "channels": [2, 4]},
            "trainer": {
                "name": "reconstruction",
                "steps": 6,
                "batch_size": 2,
                "validations": 3,
                "checkpoint_minutes": 0,
            },
        },
        "iresnet": {
            "reconstructor": {"name": "iresnet", "subnetworks": 2, "channels": 4, "hidden": 4, "kernel_size": 3},
            "trainer": {
                "name": "parameter_search",
                "trials": 2,
                "parameters": {"lipschitz": {"choices": [0.8, 0.9]}},
                "trainer": {
                    "name": "reconstruction",
                    "steps": 3,
                    "batch_size": 2,
                    "validations": 3,
                    "checkpoint_minutes": 0,
                },
            },
        },
        "tv": {
            "reconstructor": {"name": "tv", "max_iterations": 50},
            "trainer": {"name": "parameter_search", "trials": 2},
        },
    },
    "metrics": ["psnr"],
    "analyses": ["training_curves", "certificate"],
}
STUDY: dict[str, Any] = {
    **RUN,
    "title": "Killed study",
    "methods": {"observation": "observation", "unet": RUN["methods"]["unet"]},
    "analyses": [],
    "matrix": {"noise.std": [0.01, 0.05]},
    "study_analyses": ["method_comparison"],
}
SPECS = {"run": RUN, "study": STUDY}


@dataclass
class Row:
    """What happened to the commands that were ended in one way."""

    ended: int = 0
    folders: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Harness:
    """Runs, ends and compares.

    Args:
        place: a folder to work in.
        seed: of the moments.
    """

    def __init__(self, place: Path, seed: int) -> None:
        self.place, self.random = place, random.Random(seed)
        self.count = 0
        self.expected: dict[str, dict[str, str]] = {}
        self.replacements: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        for name, spec in SPECS.items():
            (place / f"{name}.json").write_text(json.dumps(spec))
            folder = self.new_folder()
            counter = place / "replacements"
            start = time.monotonic()
            status = self.session(name, folder, lambda path=counter: count_replacements(path))
            self.seconds[name] = time.monotonic() - start
            if status != 0:
                raise RuntimeError(f"the undisturbed {name} fails: {(folder / 'output').read_text()}")
            self.expected[name] = contents(folder)
            self.replacements[name] = len(counter.read_text())
            counter.unlink()

    def new_folder(self) -> Path:
        self.count += 1
        folder = self.place / str(self.count)
        folder.mkdir()
        return folder

    def session(
        self, name: str, folder: Path, prepare: Callable[[], None] | None = None, end: tuple[int, float] | None = None
    ) -> int:
        """`invreg run` in a process of its own, to which a signal is sent after a while, and its exit status."""
        child = os.fork()
        if child == 0:
            run_command(name, self.place, folder, prepare)
        if end is not None:
            time.sleep(end[1])
            os.kill(child, end[0])
        _, status = os.waitpid(child, 0)
        return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def finish(self, row: Row, name: str, folder: Path, what: str) -> None:
        """Lets a run go on to its end and compares it with the undisturbed one."""
        row.folders += 1
        status = self.session(name, folder)
        found, expected = contents(folder), self.expected[name]
        if status != 0:
            output = (folder / "output").read_text()[-2000:]
            row.wrong.append(f"{what}: exit status {status}\n{output}")
        elif found != expected:
            other = sorted(key for key in found.keys() & expected.keys() if found[key] != expected[key])
            row.wrong.append(
                f"{what}: other content {other}, left behind {sorted(found.keys() - expected.keys())}, "
                f"missing {sorted(expected.keys() - found.keys())}"
            )
        shutil.rmtree(folder)

    def kill_at_replacements(self, row: Row, name: str, count: int) -> None:
        """SIGKILL directly before and after replacements, evenly spread over all of a run, or each of them."""
        moments = [(number, side) for number in range(self.replacements[name]) for side in ("before", "after")]
        for index in range(min(count, len(moments))):
            number, side = moments[index * len(moments) // min(count, len(moments))]
            folder = self.new_folder()
            status = self.session(name, folder, lambda: kill_at_replacement(number, side))  # noqa: B023 (used at once)
            what = f"{name} killed {side} replacement {number}"
            if status != 128 + signal.SIGKILL:
                row.wrong.append(f"{what}: exit status {status}, not killed")
            row.ended += 1
            row.stages[stage(folder)] += 1
            self.finish(row, name, folder, what)

    def end_at_random(self, row: Row, number: signal.Signals, count: int) -> None:
        """Signals at random moments, one to four in each folder."""
        while row.ended < count:
            if row.folders > 10 * count + 20:
                row.wrong.append(f"only {row.ended} of {row.folders} runs could be ended by {number.name}")
                return
            name = "study" if self.random.random() < 0.25 else "run"
            folder, what = self.new_folder(), f"{name} ended by {number.name}"
            for _ in range(min(self.random.randint(1, 4), count - row.ended)):
                moment = self.random.uniform(0.05, self.seconds[name])
                status = self.session(name, folder, end=(number, moment))
                what += f" after {moment:.3f} s ({status})"
                if status == 0:
                    break
                if status != 128 + number:
                    row.wrong.append(f"{what}\n{(folder / 'output').read_text()[-2000:]}")
                    break
                row.ended += 1
                row.stages[stage(folder)] += 1
                if number != signal.SIGKILL and (left := [name for name in contents(folder) if is_unfinished(name)]):
                    row.wrong.append(f"{what}: has left {left}")
            self.finish(row, name, folder, what)


def run_command(name: str, place: Path, folder: Path, prepare: Callable[[], None] | None) -> None:
    """The command line, in a child; it does not return."""
    status: Any = 99
    try:
        output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        os.chdir(folder)
        if prepare is not None:
            prepare()
        from invreg.__main__ import main

        sys.argv = ["invreg", "run", str(place / f"{name}.json"), "--device", "cpu", "--quiet"]
        main()
    except SystemExit as done:
        status = done.code or 0
    except BaseException:  # noqa: BLE001 (the traceback is what the parent shows)
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def patch_replace(around: Callable[[Callable[[], Any]], Any]) -> None:
    """Puts something around each `os.replace`, by which all files and folders get their names."""
    replace = os.replace

    def patched(source: Any, target: Any, **named: Any) -> None:
        around(lambda: replace(source, target, **named))

    os.replace = patched


def count_replacements(path: Path) -> None:
    def around(replace: Callable[[], Any]) -> None:
        replace()
        with path.open("a") as file:
            file.write("x")

    patch_replace(around)


def kill_at_replacement(number: int, side: str) -> None:
    done = 0

    def around(replace: Callable[[], Any]) -> None:
        nonlocal done
        if done == number and side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replace()
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1

    patch_replace(around)


def contents(folder: Path) -> dict[str, str]:
    """The hashes of all files of a run, and its folders."""
    found = {}
    for path in sorted((folder / "runs").rglob("*")):
        name = str(path.relative_to(folder))
        if path.name != ".lock":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


def is_unfinished(name: str) -> bool:
    return Path(name).name.startswith(".")


def stage(folder: Path) -> str:
    """How far a run has come that was ended."""
    marks = {
        "report": "runs/*/report.html",
        "analyses": "runs/*/analyses/*/*",
        "evaluation": "runs/**/evaluation.json",
        "training": "runs/**/methods/*/*",
    }
    return next((name for name, pattern in marks.items() if any(folder.glob(pattern))), "before training")


def warm_up(place: Path) -> None:
    """Does all once, so that everything is imported; the clock stops, figures are not drawn."""
    os.environ["OMP_NUM_THREADS"] = "1"
    time.perf_counter = lambda: 0.0
    import torch
    from matplotlib.figure import Figure

    torch.set_num_threads(1)
    Figure.savefig = lambda figure, file, **named: file.write(f"{named}".encode())  # type: ignore[method-assign]
    import invreg

    registry = invreg.Registry.installed()
    for spec in SPECS.values():
        invreg.run(spec, place / "warm", "cpu", progress=False, registry=registry)
    invreg.Registry.installed = staticmethod(lambda: registry)  # type: ignore[method-assign, assignment]


def parts_of(count: int, replacements: dict[str, int]) -> dict[str, int]:
    """How many of the kills are of which kind."""
    at_run = min(2 * replacements["run"], count * 3 // 10)
    at_study = min(2 * replacements["study"], count * 2 // 10)
    stops = max(1, count // 10)
    return {
        "SIGKILL at replacements in a run": at_run,
        "SIGKILL at replacements in a study": at_study,
        "SIGTERM at random": stops,
        "SIGINT at random": stops,
        "SIGKILL at random": max(1, count - at_run - at_study - 2 * stops),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="how many sessions are ended")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    start = time.monotonic()
    # Shells start commands in the background with SIGINT ignored, which sessions would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
        place = Path(temporary)
        os.environ["INVREG_CACHE"] = str(place / "cache")
        warm_up(place)
        harness = Harness(place, arguments.seed)
        for name, expected in harness.expected.items():
            replacements, seconds = harness.replacements[name], harness.seconds[name]
            print(
                f"{name}: {len(expected)} files and folders, {replacements} replacements, {seconds:.1f} s", flush=True
            )
        rows = {}
        print("| ended by | sessions ended | where | folders resumed | wrong or left behind |")
        print("|---|---|---|---|---|", flush=True)
        for kind, count in parts_of(arguments.count, harness.replacements).items():
            row = rows[kind] = Row()
            number, _, where = kind.partition(" at ")
            if where == "random":
                harness.end_at_random(row, signal.Signals[number], count)
            else:
                harness.kill_at_replacements(row, where.split()[-1], count)
            stages = ", ".join(f"{name} {number}" for name, number in row.stages.most_common())
            print(f"| {kind} | {row.ended} | {stages} | {row.folders} | {len(row.wrong)} |", flush=True)
            for problem in row.wrong[:5]:
                print(problem, file=sys.stderr, flush=True)
    ended, wrong = sum(row.ended for row in rows.values()), sum(len(row.wrong) for row in rows.values())
    print(f"\n{ended} sessions ended, {wrong} wrong, {(time.monotonic() - start) / 60:.1f} minutes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
