"""Mutated run and study folders through load, report, certify, verify and resume.

    python tests/long/folders.py --count 5000

Every trial changes one thing in a copy of a run that is finished, of a run that was interrupted in its training, or of
a study, and hands it to one command. It must end in a readable error, or with the same results as the folder that was
not changed; `verify` must name what was changed. One trial in four also makes all seals anew over the change: then
results may differ, but no bound is called proven except of the weights that were certified. Nothing outside is written.

Figures are saved as a stub here, which saves most of the time: what is tested is folders.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["INVREG_CACHE"] = tempfile.mkdtemp(prefix="invreg-folders-")

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))
from seals import reseal

import invreg
from invreg.errors import InvregError
from invreg.plugins.registry import Registry
from invreg.storage.seal import digest
from invreg.storage.verification import GOOD

SPEC: dict[str, Any] = {
    "title": "Mutated",
    "data": {"name": "phantoms", "image_size": 16, "train": 4, "val": 2, "test": 2},
    "operator": {"name": "gaussian_blur", "kernel_size": 3, "std": 1.0},
    "noise": {"name": "gaussian", "std": 0.01},
    "methods": {
        "observation": "observation",
        "iresnet": {
            "reconstructor": {"name": "iresnet", "subnetworks": 2, "channels": 1, "hidden": 2},
            "trainer": {
                "name": "approximation",
                "steps": 6,
                "batch_size": 2,
                "validations": 3,
                "checkpoint_minutes": 1e-6,
            },
        },
        "tv": {"reconstructor": "tv", "trainer": {"name": "parameter_search", "trials": 3}},
    },
    "analyses": ["certificate"],
}
STUDY = {
    **SPEC,
    "title": "Mutated study",
    "matrix": {"noise.std": [0.01, 0.02]},
    "study_analyses": ["method_comparison"],
}
STUDY["methods"] = {key: SPEC["methods"][key] for key in ("observation", "iresnet")}

REGISTRY = Registry.installed()

#: Files that nothing is concluded from.
HARMLESS = {".lock", "progress.csv", "failure.json"}
PROVEN = re.compile(r"Proven: [^<]*")


# -- the folders


def make(root: Path) -> dict[str, Path]:
    """A finished run, an interrupted one, and a study."""
    finished = invreg.run(SPEC, root / "run", "cpu", progress=False, registry=REGISTRY).folder
    study = invreg.run(STUDY, root / "study", "cpu", progress=False, registry=REGISTRY).folder
    # As it is when a process dies in the middle: the training of iresnet has begun, and that of tv.
    interrupted = root / "interrupted" / finished.name
    from invreg_training.gradient.loop import TrainingLoop

    kept, count = TrainingLoop._guarded_step, 0

    def dying(self: TrainingLoop, *arguments: Any) -> None:
        nonlocal count
        count += 1
        if count > 3:
            raise KeyboardInterrupt
        kept(self, *arguments)

    TrainingLoop._guarded_step = dying  # type: ignore[method-assign]
    try:
        invreg.run(SPEC, interrupted.parent, "cpu", progress=False, registry=REGISTRY)
    except KeyboardInterrupt:
        pass
    finally:
        TrainingLoop._guarded_step = kept  # type: ignore[method-assign]
    assert list(interrupted.rglob("checkpoint.safetensors")), "no checkpoint was left"
    return {"finished": finished, "interrupted": interrupted, "study": study}


# -- mutations; each gives a word for what it did, or None if it cannot do that here


def mutations() -> dict[str, Callable[[Path, random.Random], bool]]:
    return {
        "bit": _bit,
        "cut": _cut,
        "emptied": lambda path, rng: _write(path, b""),
        "longer": lambda path, rng: _write(path, path.read_bytes() + rng.randbytes(rng.randint(1, 40))),
        "deleted": _delete,
        "nonsense": lambda path, rng: _write(path, rng.randbytes(rng.randint(1, 3000))),
        "swapped": _swap,
        "folder": _folder,
        "number": _number,
        "key": _key,
        "link": _link,
        "renamed": _rename,
        "line": _line,
    }


def _write(path: Path, content: bytes) -> bool:
    changed = content != path.read_bytes()
    path.write_bytes(content)
    return changed


def _bit(path: Path, rng: random.Random) -> bool:
    content = bytearray(path.read_bytes())
    if not content:
        return False
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return _write(path, bytes(content))


def _cut(path: Path, rng: random.Random) -> bool:
    content = path.read_bytes()
    return bool(content) and _write(path, content[: rng.randrange(len(content))])


def _delete(path: Path, rng: random.Random) -> bool:
    path.unlink()
    return True


def _swap(path: Path, rng: random.Random) -> bool:
    root = next(parent for parent in path.parents if parent.name == "copy")
    others = [other for other in sorted(root.rglob(f"*{path.suffix}")) if other.is_file() and other != path]
    return bool(others) and _write(path, rng.choice(others).read_bytes())


def _folder(path: Path, rng: random.Random) -> bool:
    path.unlink()
    path.mkdir()
    return True


def _number(path: Path, rng: random.Random) -> bool:
    if path.suffix not in {".json", ".csv", ".yaml"}:
        return False
    text = path.read_text(errors="replace")
    found = list(re.finditer(r"\d+(\.\d+)?", text))
    if not found:
        return False
    match = rng.choice(found)
    other = rng.choice(["1e400", "-1", "0", "nan", "null", str(rng.random()), "9" * 400, "1.5"])
    return _write(path, (text[: match.start()] + other + text[match.end() :]).encode())


def _key(path: Path, rng: random.Random) -> bool:
    if path.suffix != ".json":
        return False
    content = json.loads(path.read_text())
    spots: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            spots.append((value, key))
            walk(value[key])

    walk(content)
    if not spots:
        return False
    holder, key = rng.choice(spots)
    if rng.random() < 0.4:
        del holder[key]
    else:
        holder[key] = rng.choice([None, [], {}, "../../outside", -1, 1e300, "x" * 5000, [[[]]], True])
    return _write(path, json.dumps(content).encode())


def _link(path: Path, rng: random.Random) -> bool:
    """The file, or its folder, moves outside and is linked."""
    outside = next(parent for parent in path.parents if parent.name == "copy").parent / "outside"
    target = path if rng.random() < 0.5 or path.parent.parent.name == "copy" else path.parent
    shutil.move(target, outside / "moved")
    target.symlink_to(outside / "moved")
    return True


def _rename(path: Path, rng: random.Random) -> bool:
    path.rename(path.with_name(f"x{path.name}"))
    return True


def _line(path: Path, rng: random.Random) -> bool:
    lines = path.read_bytes().split(b"\n")
    number = rng.randrange(len(lines))
    if rng.random() < 0.5:
        del lines[number]
    else:
        lines.insert(number, lines[rng.randrange(len(lines))])
    return _write(path, b"\n".join(lines))


# -- what a folder says


def results(folder: Path) -> Iterator[str]:
    """Everything that is concluded from a folder, as hashes."""
    found = invreg.load(folder, "cpu", REGISTRY)
    runs = [found] if isinstance(found, invreg.Result) else [cell.result for cell in found.cells]
    yield digest(found.summary.drop(columns=_seconds(found.summary)).to_csv().encode())
    for run in runs:
        yield digest(run.metrics.drop(columns=_seconds(run.metrics)).to_csv().encode())
        for label, method in run.methods.items():
            tensors = [*method.reconstructor.state_dict().values(), method.reconstructions]
            yield label + hashlib.sha256(b"".join(t.contiguous().numpy().tobytes() for t in tensors)).hexdigest()
            yield str(sorted(method.warnings))
        yield str([(key, value.text, value.scalars) for key, value in run.findings.items()])


def _seconds(table: Any) -> list[str]:
    return [name for name in table.columns if "seconds" in name]


def _state(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): digest(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# -- one trial


class Violation(AssertionError):
    """Something passed in silence, or ended in a traceback."""


def trial(base: Path, kind: str, scratch: Path, expected: list[str], proven: set[str], rng: random.Random) -> str:
    """Changes one thing in a copy and hands it to one command; gives what happened in a word."""
    shutil.rmtree(scratch, ignore_errors=True)
    outside = scratch / "outside"
    outside.mkdir(parents=True)
    (outside / "precious.txt").write_text("precious")
    copy = scratch / "copy" / base.name
    shutil.copytree(base, copy)
    files = [path for path in sorted(copy.rglob("*")) if path.is_file() and path.name != ".lock"]
    path = rng.choice(files)
    name = path.relative_to(copy).as_posix()
    how, mutate = rng.choice(list(mutations().items()))
    if not mutate(path, rng):
        return "no change"
    forged = rng.random() < 0.25
    if forged:
        reseal(copy)
    command = rng.choices(["load", "verify", "resume", "certify", "report"], [6, 6, 3, 2, 1])[0]
    if kind == "interrupted":
        command = rng.choice(["resume", "resume", "verify", "load"])
    before, start = _state(outside), time.perf_counter()
    label = f"{kind} {command} {how}{' forged' if forged else ''}: {name}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = _command(command, copy, kind, name, how, forged, expected, label)
    except InvregError as error:
        if len(str(error)) > 4000:
            raise Violation(f"{label}: a message of {len(str(error))} characters") from None
        outcome = "named"
    if time.perf_counter() - start > 120:
        raise Violation(f"{label}: took {time.perf_counter() - start:.0f} s")
    if _state(outside) != before and how != "link":
        raise Violation(f"{label}: wrote outside")
    if how == "link" and any(_state(outside).get(key) != value for key, value in before.items()):
        raise Violation(f"{label}: wrote through a link")
    for report in filter(Path.is_file, copy.rglob("report.html")):
        said = set(PROVEN.findall(report.read_text(errors="replace")))
        if command == "report" and outcome != "named" and not said <= proven:
            raise Violation(f"{label}: the report calls proven: {said - proven}")
    return f"{command}: {outcome}"


def _command(
    command: str, copy: Path, kind: str, name: str, how: str, forged: bool, expected: list[str], label: str
) -> str:
    harmless = Path(name).name in HARMLESS
    if command == "verify":
        table = invreg.verify(copy, REGISTRY)
        bad = table[~table["state"].isin(GOOD)]
        if len(bad) or how in {"link", "folder"} or forged or harmless or kind == "interrupted":
            return "named" if len(bad) else "holds"
        raise Violation(f"{label}: verify names nothing")
    if command == "report":
        invreg.redraw(copy, REGISTRY)
        return "done"
    if command == "certify" and kind != "study":
        invreg.certify(copy, REGISTRY)
        return "done"
    if command == "resume":
        spec: Mapping[str, Any] = STUDY if kind == "study" else SPEC
        found = invreg.run(spec, copy.parent, "cpu", progress=False, registry=REGISTRY)
        if found.failures:  # a cell says what is wrong with it, and does not stop the others
            return "named"
        folder = found.folder
    else:
        folder = copy
    same = list(results(folder)) == expected
    if not same and not forged:
        raise Violation(f"{label}: other results, in silence")
    return "same" if same else "other (forged)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    outcomes, violations = run(given.count, given.seed, progress=True)
    for outcome, number in sorted(outcomes.items()):
        print(f"{number:6d}  {outcome}")
    print(f"{given.count} changed folders, {len(violations)} violations")
    for violation in violations[:50]:
        print(violation[:700])
    sys.exit(bool(violations))


@contextmanager
def _stub_figures() -> Iterator[None]:
    kept = Figure.savefig
    Figure.savefig = lambda self, file, format, **_: file.write(f"<{format}/>".encode())  # type: ignore[assignment]
    try:
        yield
    finally:
        Figure.savefig = kept  # type: ignore[method-assign]


def run(count: int, seed: int, progress: bool = False) -> tuple[Counter[str], list[str]]:
    """So many trials: how often each outcome was seen, and what must not be."""
    outcomes: Counter[str] = Counter()
    violations: list[str] = []
    with _stub_figures(), tempfile.TemporaryDirectory(prefix="invreg-folders-") as root:
        bases = make(Path(root))
        expected = {
            "finished": list(results(bases["finished"])),
            "study": list(results(bases["study"])),
        }
        expected["interrupted"] = expected["finished"]
        proven = {
            text
            for base in bases.values()
            for report in base.rglob("report.html")
            for text in PROVEN.findall(report.read_text())
        }
        for number in range(count):
            rng = random.Random(f"{seed} {number}")
            kind = rng.choices(list(bases), [5, 2, 2])[0]
            try:
                outcomes[trial(bases[kind], kind, Path(root) / "scratch", expected[kind], proven, rng)] += 1
            except Violation as violation:
                violations.append(f"trial {number}: {violation}")
            except Exception as error:  # noqa: BLE001 (that is what is looked for)
                where = traceback.format_exc().splitlines()[-4:-1]
                violations.append(f"trial {number}: {type(error).__name__}: {error} {where}")
            if progress and (number + 1) % 100 == 0:
                print(f"{number + 1} changed folders, {len(violations)} violations", file=sys.stderr, flush=True)
    return outcomes, violations


if __name__ == "__main__":
    main()
