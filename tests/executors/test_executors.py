"""Executors: a study has the same results wherever its cells are computed, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cluster_plugin
import pandas as pd
import pytest
from processes import Command, call

import invreg
import invreg.testing
from invreg.api import run
from invreg.errors import ExecutorError, InvregError, SpecError, StoreError
from invreg.plugins.registry import Registry
from invreg.storage.result import StudyResult
from invreg.studies.execution import dry_run
from invreg.studies.status import Reached, Record, read_status

pytestmark = pytest.mark.slow

SPEC: dict[str, Any] = {
    "title": "Cells",
    "data": {"name": "phantoms", "image_size": 16, "train": 2, "val": 1, "test": 2},
    "operator": "identity",
    "noise": {"name": "gaussian", "std": 0.1},
    "methods": {
        "observation": "observation",
        "net": {"reconstructor": "dot", "trainer": {"name": "steps", "steps": 6}},
    },
    "metrics": ["psnr"],
    "matrix": {"methods.net.trainer.steps": [5, 6, 7]},
}
STEPS = 5 + 6 + 7
WAIT = 120.0


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    cluster_plugin.install(folder)
    return folder


@pytest.fixture(autouse=True)
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin is installed, here and in processes that are started."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH", "")))))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    cluster_plugin.BEGUN.clear()


@pytest.fixture(scope="module")
def plain(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyResult]:
    """The study without an executor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(site), *sys.path])
        yield run_cells(tmp_path_factory.mktemp("plain"))


def run_cells(output: Path, executor: Any = None, retries: int = 2, **changes: Any) -> StudyResult:
    result = run({**SPEC, **changes}, output, "cpu", progress=False, executor=executor, retries=retries)
    assert isinstance(result, StudyResult)
    return result


def numbers(result: StudyResult) -> pd.DataFrame:
    """The table without what depends on the machine."""
    return result.table[[name for name in result.table if not name.endswith("_seconds")]]


def wait_for(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + WAIT
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def steps_in(log: Path) -> list[str]:
    """Cell, method and step of each step that was made."""
    return [" ".join(line.split()[:3]) for line in log.read_text().splitlines()]


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return "State:\tZ" not in Path(f"/proc/{process}/status").read_text() if Path("/proc").is_dir() else True


# -- the same results


def test_two_processes_give_the_same_table_though_each_training_is_killed(
    plain: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.txt"
    monkeypatch.setenv("TOY_DIES", "3")
    monkeypatch.setenv("TOY_LOG", str(log))
    result = run_cells(tmp_path, {"name": "local", "jobs": 2})
    assert result.failures == {}
    assert result.folder.name == plain.folder.name
    pd.testing.assert_frame_equal(numbers(result), numbers(plain))
    assert len(steps_in(log)) == len(set(steps_in(log))) == STEPS  # they go on where they were
    assert {line.split()[-1] for line in log.read_text().splitlines()} == {"1"}
    assert not (result.folder / "jobs").exists()
    assert set(invreg.verify(result.folder)["state"]) <= {"holds", "foreign"}
    # A finished study starts no process.
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    pd.testing.assert_frame_equal(run_cells(tmp_path, "local").table, result.table)


def test_several_processes_carry_out_a_cell_though_they_are_killed(
    plain: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_DIES", "3")
    monkeypatch.setenv("TOY_LOG", str(log := tmp_path / "log.txt"))
    only = {"methods.net.trainer.steps": [5]}
    result = run_cells(tmp_path, {"name": "local", "jobs": 1, "processes": 2}, matrix=only)
    assert result.failures == {}
    expected = numbers(plain)
    expected = expected[expected["methods.net.trainer.steps"] == 5].reset_index(drop=True)
    pd.testing.assert_frame_equal(numbers(result), expected)
    assert len(steps_in(log)) == len(set(steps_in(log))) == 5  # by the first process, in two sessions
    assert len({line.split()[3] for line in log.read_text().splitlines()}) == 2


def test_jobs_end_with_the_command_and_the_same_command_goes_on(plain: StudyResult, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps({**SPEC, "executor": {"name": "local", "jobs": 2}}))
    log, slow = tmp_path / "log.txt", {**os.environ, "TOY_SECONDS": "0.4", "TOY_LOG": str(tmp_path / "log.txt")}
    arguments = ("run", "spec.json", "--output", "runs", "--device", "cpu")
    command = Command("invreg", *arguments, cwd=tmp_path, env=slow)
    wait_for(lambda: log.exists() and len({line.split()[3] for line in log.read_text().splitlines()}) == 2)
    (study,) = (tmp_path / "runs").iterdir()
    text = call("invreg", "status", study).stdout
    assert "Cells: 3 cells, " in text
    assert "2 running" in text
    turned_away = call("invreg", *arguments, "--quiet", cwd=tmp_path)
    assert turned_away.returncode == 1
    assert "is being written by another process" in turned_away.stderr
    children = {int(line.split()[3]) for line in log.read_text().splitlines()}
    command.send_signal(signal.SIGKILL)
    command.finish()
    wait_for(lambda: not any(map(is_alive, children)))
    done = call("invreg", *arguments, cwd=tmp_path, env={**slow, "TOY_SECONDS": "0"})
    assert done.returncode == 0, done.stderr
    assert "cells  finished 3/3  running 0  failed 0" in done.stderr
    assert len(steps_in(log)) == len(set(steps_in(log))) == STEPS
    result = invreg.load(study)
    assert isinstance(result, StudyResult)
    pd.testing.assert_frame_equal(numbers(result), numbers(plain))


def test_sigterm_to_the_command_ends_its_jobs_which_are_kept(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    log = tmp_path / "log.txt"
    environment = {**os.environ, "TOY_SECONDS": "0.4", "TOY_LOG": str(log)}
    command = Command("invreg", "run", "spec.json", "--executor", "local", "--jobs", "1", cwd=tmp_path, env=environment)
    wait_for(log.exists)
    command.send_signal(signal.SIGTERM)
    done = command.finish()
    assert done.returncode == 143
    assert "the same command goes on" in done.stderr
    assert not any(is_alive(int(line.split()[3])) for line in log.read_text().splitlines())
    assert list(tmp_path.glob("runs/*/cells/*/methods/net/training/kept.json"))


def test_a_dask_cluster_gives_the_same_table_though_a_worker_is_killed(
    plain: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    log = tmp_path / "log.txt"
    monkeypatch.setenv("TOY_LOG", str(log))
    monkeypatch.setenv("TOY_SECONDS", "0.3")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        executor = {"name": "dask", "address": cluster.scheduler_address}

        def kill() -> None:
            wait_for(log.exists)
            os.kill(cluster.workers[0].pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        result = run_cells(tmp_path, executor)
        killer.join()
        assert result.failures == {}
        pd.testing.assert_frame_equal(numbers(result), numbers(plain))
        assert len(steps_in(log)) == len(set(steps_in(log))) == STEPS
        built: invreg.Executor = Registry.installed().build("executor", executor)
        with pytest.raises(ExecutorError, match=r"do not see .*elsewhere(.|\n)*share"):
            built.execute([invreg.Job(tmp_path / "elsewhere", "x")], None)  # type: ignore[arg-type]


def test_a_dask_cluster_of_this_machine_gives_the_same_table(plain: StudyResult, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed")
    pd.testing.assert_frame_equal(numbers(run_cells(tmp_path, {"name": "dask", "jobs": 2})), numbers(plain))


def test_any_engine_gives_the_same_table(plain: StudyResult, tmp_path: Path) -> None:
    result = run_cells(tmp_path, "inline")
    pd.testing.assert_frame_equal(numbers(result), numbers(plain))
    shared, *cells = cluster_plugin.BEGUN
    assert shared.startswith("shared-")  # what the cells share is done once, and first
    assert set(cells) == {cell.folder.name for cell in plain.cells}
    assert len(list((result.folder / "shared").iterdir())) == 1


# -- what dies, and what fails


def test_jobs_that_die_are_tried_as_often_as_asked(tmp_path: Path) -> None:
    spec = {"methods": {"net": SPEC["methods"]["net"]}}
    result = run_cells(tmp_path / "some", {"name": "inline", "dies": 2}, **spec)
    assert result.failures == {}
    assert len(cluster_plugin.BEGUN) == 3 + 2
    cluster_plugin.BEGUN.clear()
    result = run_cells(tmp_path / "all", {"name": "inline", "dies": 100}, retries=1, **spec)
    assert len(cluster_plugin.BEGUN) == 2 * 3
    assert len(result.failures) == 3
    assert all("killed by SIGKILL (2 times)" in text for text in result.failures.values())
    assert "killed by SIGKILL" in result.report.read_text()
    again = run_cells(tmp_path / "all", "inline", **spec)
    assert again.failures == {}


def test_a_failing_cell_is_named_and_costs_nothing_but_itself(tmp_path: Path) -> None:
    matrix = {"methods.net.trainer.fails": ["", "the loss is NaN"]}
    result = run_cells(tmp_path, "inline", retries=1, matrix=matrix)
    ((name, failure),) = result.failures.items()
    assert "the loss is NaN" in failure
    assert cluster_plugin.BEGUN.count(name) == 2
    assert len(result.table) == 2
    log = json.loads((result.folder / "cells" / name / "failure.json").read_text())
    assert any("TrainingError" in line for line in log["traceback"])


def test_what_is_refused_is_not_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    data = {"name": "image_folder", "path": str(folder)}
    result = run_cells(tmp_path, "inline", data=data, methods={"net": SPEC["methods"]["net"]})
    assert len(result.failures) == len(cluster_plugin.BEGUN) == 3


def test_shared_work_that_fails_is_the_failure_of_its_cells(tmp_path: Path) -> None:
    methods = {
        "net": {"reconstructor": "dot", "trainer": {"name": "steps", "fails": "no luck"}},
        "other": {"reconstructor": "dot", "trainer": "steps"},
    }
    matrix = {"methods.other.trainer.steps": [1, 2]}
    result = run_cells(tmp_path, "inline", retries=0, methods=methods, matrix=matrix)
    assert len(result.failures) == 2
    assert all("methods.net: shared work failed: " in text and "no luck" in text for text in result.failures.values())


def test_an_engine_that_breaks_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="Inline raised ZeroDivisionError: a bug in the engine"):
        run_cells(tmp_path, {"name": "inline", "mode": "breaks"})
    assert len(run_cells(tmp_path, {"name": "inline", "mode": "nothing"}).failures) == 3
    with pytest.raises(ExecutorError, match="out of order") as caught:
        run_cells(tmp_path / "unusable", {"name": "inline", "mode": "unusable"})
    assert caught.value.exit_status == 2
    assert not (tmp_path / "unusable").exists()


def test_a_job_whose_spec_was_changed_is_refused(plain: StudyResult, tmp_path: Path) -> None:
    result = run_cells(tmp_path, {"name": "inline", "dies": 100}, retries=0)
    name = result.cells[0].folder.name
    path = result.cells[0].folder / "spec.yaml"
    path.write_text(path.read_text().replace("std: 0.1", "std: 0.2"))
    assert not invreg.run_job(result.folder, result.cells[1].folder.name)  # what it needs is not there
    assert result.cells[1].folder.joinpath("failure.json").exists()
    for shared in (result.folder / "jobs").glob("shared-*/"):
        assert invreg.run_job(result.folder, shared.name)
    assert not invreg.run_job(result.folder, name)
    assert "the spec is not the one" in str(json.loads((path.parent / "failure.json").read_text())["message"])
    again = run_cells(tmp_path, "inline")  # which writes it as it was
    pd.testing.assert_frame_equal(numbers(again), numbers(plain))
    with pytest.raises(StoreError, match="no such folder on this machine"):
        invreg.run_job(tmp_path / "elsewhere", name)
    with pytest.raises(InvregError, match="no job 'nonsense'"):
        invreg.run_job(result.folder, "nonsense")


# -- plans and status


def test_a_plan_names_cells_and_shared_work(plain: StudyResult, tmp_path: Path) -> None:
    text = str(dry_run(SPEC, tmp_path, ["executor.jobs=3"]))
    assert not list(tmp_path.iterdir())
    assert text.startswith(f"Cells: 3 cells in {tmp_path / plain.folder.name}\n")
    assert all(f"open      {cell.folder.name}" in text for cell in plain.cells)
    assert "observation, by 3 cells" in text
    assert "\n4 jobs to do (3 cells, 1 shared method), 0 cells finished; computed by Local(" in text
    assert text.endswith("Local(jobs=3, threads=None, processes=1)")
    again = str(dry_run(SPEC, plain.folder.parent))
    assert again.endswith(
        "0 jobs to do (0 cells, 0 shared methods), 3 cells finished; computed by this process, one after the other"
    )
    single = {key: value for key, value in SPEC.items() if key != "matrix"}
    assert "one run, open, in" in str(dry_run(single, tmp_path))


def test_a_thousand_cells_are_planned_soon(tmp_path: Path) -> None:
    matrix = {"seed": list(range(500)), "methods.net.trainer.steps": [5, 6]}
    start = time.process_time()
    text = str(dry_run({**SPEC, "matrix": matrix}, tmp_path, executor="local"))
    assert time.process_time() - start < 5.0
    assert "1,000 cells, 500 shared methods" in text


def test_the_executor_changes_neither_digest_nor_spec_of_a_cell(plain: StudyResult, tmp_path: Path) -> None:
    for given in ({"name": "local", "jobs": 7}, "dask"):
        assert plain.folder.name in str(dry_run({**SPEC, "executor": given}, tmp_path)).splitlines()[0]
    kept = str(dry_run({**SPEC, "executor": {"name": "local", "jobs": 7}}, tmp_path, executor="local"))
    assert "Local(jobs=7" in kept
    assert "Dask(" in str(dry_run({**SPEC, "executor": {"name": "local", "jobs": 7}}, tmp_path, executor="dask"))
    changed = str(dry_run(SPEC, tmp_path, ["executor.jobs=3"], executor="dask"))
    assert "jobs=3" in changed


def test_the_status_says_what_each_process_has_reached(plain: StudyResult, tmp_path: Path) -> None:
    assert str(read_status(plain.folder)) == "Cells: 3 cells, 3 finished, 0 running, 0 failed, 0 waiting"
    result = run_cells(tmp_path, {"name": "inline", "dies": 100}, retries=0)
    jobs, (first, second, _) = result.folder / "jobs", [cell.folder.name for cell in result.cells]
    status = read_status(result.folder)
    assert (status.finished, len(status.failed), status.running) == (0, 3, {})
    with Record(jobs / f"{first}.json") as record:
        values = {"loss": 0.123456}
        record.invreg_progress(label="net", stage="steps", done=3, total=6, values=values)
        text = wait_for(lambda: (found := str(read_status(result.folder))) and "3/6" in found and found)
        assert "1 running, 2 failed" in text
        assert f"running  {first}  net steps  ############------------ 3/6  loss 0.1235" in text
        assert f"failed   {second}: methods.observation: shared work failed: killed by SIGKILL" in text
    assert read_status(result.folder).running == {}
    gone = Reached(process=2**22 - 3).__dict__
    (jobs / f"{first}.json").write_text(json.dumps(gone))  # killed, without a chance to remove it
    assert read_status(result.folder).running == {}
    (jobs / f"{first}.json").write_text(json.dumps({**gone, "host": "elsewhere"}))
    assert list(read_status(result.folder).running) == [first]
    os.utime(jobs / f"{first}.json", (0, 0))
    assert read_status(result.folder).running == {}
    (jobs / f"{first}.json").write_text("nonsense")
    assert read_status(result.folder).running == {}
    with pytest.raises(StoreError, match="holds a single run"):
        read_status(result.cells[0].folder)
    with pytest.raises(StoreError, match="holds no study"):
        read_status(tmp_path)


# -- bad input


@pytest.mark.parametrize(
    ("executor", "error", "parts"),
    [
        ("locl", SpecError, ["executor: ", "did you mean 'local'"]),
        ({"name": "local", "jobs": 0}, SpecError, ["executor.jobs", "greater than or equal to 1"]),
        ({"name": "local", "job": 2}, SpecError, ["executor.job", "did you mean 'jobs'"]),
        ({"name": "dask", "address": "nonsense"}, ExecutorError, ["'nonsense'", "tcp://"]),
        (
            {"name": "dask", "address": "tcp://127.0.0.1:9", "timeout": 1},
            ExecutorError,
            ["no Dask scheduler answers at 'tcp://127.0.0.1:9' within 1 s"],
        ),
        (7, SpecError, ["executor"]),
    ],
)
def test_nothing_is_written_with_an_executor_that_cannot_be_used(
    tmp_path: Path, executor: Any, error: type[InvregError], parts: list[str]
) -> None:
    with pytest.raises(error) as caught:
        run_cells(tmp_path / "runs", executor)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert caught.value.exit_status == 2
    assert not (tmp_path / "runs").exists()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ExecutorError, match=r"package distributed(.|\n)*pip install"):
        run_cells(tmp_path / "runs", "dask")
    assert not (tmp_path / "runs").exists()


def test_a_single_run_has_no_executor(tmp_path: Path) -> None:
    single = {key: value for key, value in SPEC.items() if key != "matrix"}
    with pytest.raises(SpecError, match=r"this spec is a single run(.|\n)*matrix"):
        run(single, tmp_path / "runs", executor="local")


def test_a_method_larger_than_this_machine_is_refused_first(tmp_path: Path) -> None:
    methods = {"net": {"reconstructor": {"name": "unet", "channels": [2**19, 2**19]}, "trainer": "reconstruction"}}
    with pytest.raises(SpecError, match=r"cell seed 1(.|\n)*GiB"):
        run_cells(tmp_path / "runs", "local", methods=methods, matrix={"seed": [1, 2]})
    assert not (tmp_path / "runs").exists()


def test_a_plugin_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    registry = Registry.installed({"mine": cluster_plugin.Inline})
    with pytest.raises(SpecError, match=r"do not know mine"):
        run(SPEC, tmp_path / "runs", progress=False, registry=registry, executor="local")


# -- engines of others


def test_the_engines_keep_what_executors_promise() -> None:
    invreg.testing.check_executor(cluster_plugin.Inline)


@pytest.mark.parametrize(
    ("mode", "check"), [("nothing", "finished"), ("silent", "ended"), ("cells first", "needs"), ("breaks", "finished")]
)
def test_engines_that_do_not_are_found(mode: str, check: str) -> None:
    with pytest.raises(invreg.testing.CheckFailure) as caught:
        invreg.testing.check_executor(cluster_plugin.Inline(mode=mode))
    assert check in caught.value.checks
