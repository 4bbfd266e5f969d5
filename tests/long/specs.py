"""Mutated specs: each is validated or refused with one readable message; some of the valid ones are run.

    python tests/long/specs.py --count 100000 --run 1000

No traceback, no message over 4,000 characters, nothing over 10 s, nothing written outside the output folder. It prints
a table of the refusals by kind, and ends with status 1 if anything else has happened.
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import invreg
from invreg.errors import InvregError
from invreg.specs.plan import check_sizes, make_plan
from invreg.specs.reading import read_content
from invreg.specs.spec import parse_spec
from invreg.specs.yaml import dump_yaml
from invreg.studies.plan import plan_study

SPECS = [
    path
    for path in sorted((Path(__file__).parents[2] / "specs").rglob("*.yaml"))
    if path.name != "references.yaml"  # values from the literature, which specs name
]
LONGEST, SLOWEST = 4000, 10.0
_ADDRESSES = 12 * 2**30

#: What a run takes a few seconds for.
MICRO: dict[str, Any] = {
    "title": "Micro",
    "seed": 0,
    "data": {"name": "phantoms", "image_size": 16, "train": 2, "val": 1, "test": 2},
    "operator": {"name": "gaussian_blur", "kernel_size": 3, "std": 1.0, "boundary": "symmetric"},
    "noise": {"name": "gaussian", "std": 0.01},
    "methods": {
        "observation": "observation",
        "tv": {"reconstructor": {"name": "tv", "weight": 0.01}},
        "net": {
            "reconstructor": {"name": "iresnet", "subnetworks": 1, "channels": 1, "hidden": 2, "kernel_size": 3},
            "trainer": {"name": "reconstruction", "steps": 1, "batch_size": 1},
        },
        "unet": {
            "reconstructor": {"name": "unet", "channels": [2, 2], "kernel_size": 3},
            "trainer": {"name": "reconstruction", "steps": 1, "batch_size": 1},
        },
    },
    "metrics": ["psnr", "ssim"],
    "analyses": ["quality"],
}

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 1e-3, -0.5, 0.5, 1e300, -1e300, 1e-300, float("inf"), float("nan")),
    *(2**31, 2**63, -(2**63), 10**4, 10**7, 10**9, 10**12, 10**30, "", " ", "x", "x" * 300, "x" * 100_000, "../x"),
    *("/etc/passwd", "a\0b", "\ud800", "\x1b[31m", "1e-3", "yes", "~", "null", "2001-99-99", "con", "photos", "tv"),
    *("😀", "<script>", "a\nb", "%s", "{x}", [], {}, [[]], [1, 2], [1e9] * 9, {"name": "tv"}, {"name": "identity"}),
    *({"name": "radon", "angles": 5}, {"name": None}, {"x": {"x": {"x": 1}}}, [{"name": "quality"}], "fbp", "none"),
]
TEXTS = [
    *("!!timestamp x", "!!float x", "!!int x", "0x_", "1" * 5000, "!!bool x", "!!binary x", "!!set {a}", "<<", "="),
    *(
        "&a",
        "*a",
        "[" * 200,
        "{",
        "]",
        "}",
        ": ",
        "- ",
        "\n",
        "\t",
        "#",
        "'",
        '"',
        "\\",
        "\0",
        "\x1b",
        "\ufeff",
        "\ud800",
    ),
    *("|", ">", "%", "@", "`", "---\n", "...\n", "? ", "!!python/name:os.system", "1e999", ".inf", "2001-99-99"),
    *("é", "\u2028", "\ufeff", "\ud800"),
]


def with_few_cells(content: dict[str, Any]) -> dict[str, Any]:
    """A study with one value on each axis but the first: many specs are validated in the time of one large study."""
    if "matrix" in content:
        first, *_ = content["matrix"]
        content["matrix"] = {path: axis[: 2 if path == first else 1] for path, axis in content["matrix"].items()}
    return content


def paths_of(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values in a spec."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths_of(item, (*path, key))


def mutated(content: Any, chance: random.Random) -> Any:
    """A copy in which one to three values are replaced, removed, renamed, scaled, or copied from elsewhere."""
    content = copy.deepcopy(content)
    for _ in range(chance.choice((1, 1, 2, 3))):
        paths = list(paths_of(content))
        if not paths:
            break
        *parents, key = chance.choice(paths)
        node = content
        for part in parents:
            node = node[part]
        how = chance.randrange(6)
        if how == 0:
            node[key] = copy.deepcopy(chance.choice(VALUES))
        elif how == 1:
            del node[key]
        elif how == 2 and isinstance(node, dict):
            node[chance.choice(["x", f"{key}x", str(key)[:-1], "name", "\ud800", "x" * 300, "1e-3"])] = node.pop(key)
        elif how == 3 and isinstance(node[key], int | float) and not isinstance(node[key], bool):
            node[key] = node[key] * chance.choice((-1, 0, 0.5, 2, 10, 1000, 10**6, 10**12))
        elif how == 4:
            other: Any = content
            for part in chance.choice(paths):
                other = other[part] if not isinstance(other, dict) or part in other else {}
                if not isinstance(other, dict | list):
                    break
            node[key] = copy.deepcopy(other)
        else:
            node[key] = [node[key]] if chance.random() < 0.5 else {str(key): node[key]}
    return content


def scrambled(text: str, chance: random.Random) -> str:
    """A text in which a few pieces are inserted, removed or repeated."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice((0, 0, 1, 5, 50)))
        text = text[:start] + chance.choice([*TEXTS, "", text[start:end] * 2]) + text[end:]
    return text


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Ends what takes longer."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"over {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Record:
    """What became of the specs."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []
        self.slowest = self.longest = 0.0

    def attempt(self, kind: str, act: Any, source: Any, seconds: float) -> bool:
        """Whether the spec was accepted; everything that must not happen is kept."""
        start = time.process_time()
        try:
            with alarm(6 * seconds):  # other programs take their share of the processor
                act()
            self.outcomes[f"{kind}: accepted"] += 1
            return True
        except InvregError as error:
            message = str(error)
            self.longest = max(self.longest, len(message))
            self.outcomes[f"{kind}: {kind_of(message)}"] += 1
            if len(message) > LONGEST or not message.replace("\n", "").replace("\t", "").isprintable():
                self.faults.append(f"message of {len(message)} characters: {message[:200]!r} for {source!r:.500}")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            self.faults.append(f"{traceback.format_exc()[-1500:]}\nfor {source!r:.1500}")
            self.outcomes[f"{kind}: {type(error).__name__}"] += 1
        finally:
            taken = time.process_time() - start
            self.slowest = max(self.slowest, taken)
            if taken > seconds:
                self.faults.append(f"{taken:.1f} s for {source!r:.1500}")
        return False


def kind_of(message: str) -> str:
    """The kind of a refusal: its message without places, names and numbers."""
    first = message.splitlines()[0]
    first = first.partition(": ")[2] or first
    first = re.sub(r"\(given: .*|'[^']*'|\"[^\"]*\"|[-+]?\d[\d,.e+x]*", "…", first)
    return first[:60]


def validate(source: Any, registry: invreg.Registry) -> None:
    """What `invreg validate` does."""
    content = read_content(source)
    if "matrix" in content:
        for cell in plan_study(content, registry).cells:
            check_sizes(cell.plan)
            cell.plan.spec.to_yaml()
        return
    plan = make_plan(parse_spec(content), registry)
    check_sizes(plan)
    plan.spec.to_yaml()


def small(node: Any) -> Any:
    """The spec with numbers that a micro run can have: nothing takes long because it was asked to."""
    if isinstance(node, dict):
        made = {key: small(item) for key, item in node.items()}
        if node.get("name") in ("reconstruction", "approximation", "parameter_search"):
            made.setdefault("trials" if node["name"] == "parameter_search" else "steps", 1)
        return made
    if isinstance(node, list):
        return [small(item) for item in node]
    return node % 17 if isinstance(node, int) and not isinstance(node, bool) and abs(node) > 64 else node


def everything_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def check(count: int, runs: int, seed: int = 0, progress: bool = False) -> Record:
    """Validates `count` mutated specs, and runs `runs` valid ones; in a folder of its own."""
    chance, record, registry = random.Random(seed), Record(), invreg.Registry.installed()
    contents = [*(with_few_cells(read_content(path)) for path in SPECS), *[MICRO] * 5]
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch, Path(os.devnull).open("w") as silence, redirect_stderr(silence):
        work = Path(scratch, "work")
        work.mkdir()
        os.chdir(work)
        try:
            for number in range(count):
                content = mutated(chance.choice(contents), chance)
                if chance.random() < 0.4:  # as a file
                    source: Any = work.parent / "spec.yaml"
                    try:
                        text = dump_yaml(content)
                    except InvregError:
                        text = dump_yaml(MICRO)
                    text = scrambled(text, chance)
                    source.write_text(text, encoding="utf-8", errors="surrogatepass")
                    given: Any = text
                else:
                    source = given = content
                record.attempt("validate", lambda source=source: validate(source, registry), given, SLOWEST)
                if progress and number % 1000 == 999:
                    print(f"{number + 1} validated, {len(record.faults)} faults", file=sys.__stderr__, flush=True)
            done = 0
            while done < runs:
                content = small(mutated(MICRO, chance))
                try:
                    validate(content, registry)
                except InvregError:
                    continue
                done += 1
                output = work.parent / f"runs{done}"
                act = lambda: invreg.run(content, output, "cpu", progress=False, registry=registry)  # noqa: E731, B023
                record.attempt("run", act, content, 6 * SLOWEST)
                if progress and done % 50 == 0:
                    print(f"{done} run, {len(record.faults)} faults", file=sys.__stderr__, flush=True)
            if left := everything_in(work):
                record.faults.append(f"written outside the output folder: {sorted(left)[:20]}")
        finally:
            os.chdir(home)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="specs to validate")
    parser.add_argument("--run", type=int, default=1_000, help="valid specs to run")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # What takes more is a `MemoryError`, which is a fault, and not the end of the machine.
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    record = check(options.count, options.run, options.seed, progress=True)
    for outcome, number in sorted(record.outcomes.items(), key=lambda item: (item[0].split(":")[0], -item[1])):
        print(f"{number:8} {outcome}")
    print(f"slowest {record.slowest:.1f} s of CPU time, longest message {record.longest:.0f} characters")
    for fault in record.faults[:50]:
        print(f"FAULT {fault!a}\n")
    print(f"{len(record.faults)} faults")
    sys.exit(1 if record.faults else 0)


if __name__ == "__main__":
    main()
