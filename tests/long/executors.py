"""A study on a Dask cluster of two workers, of which some are killed: the table is that of one process.

    python tests/long/executors.py --cells 60 --kills 1

Each cell has a method that is computed and a training with checkpoints; the kills come when a part of the cells is
finished, without notice (SIGKILL). `tests/executors/test_executors.py` has the short form.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import distributed
import pandas as pd

import invreg


def study(cells: int, steps: int) -> dict[str, Any]:
    trainer = {"name": "reconstruction", "steps": steps, "batch_size": 2, "validations": 1, "checkpoint_minutes": 0}
    net = {"reconstructor": {"name": "unet", "channels": [2, 4]}, "trainer": trainer}
    return {
        "title": "Many cells",
        "data": {"name": "phantoms", "image_size": 16, "train": 4, "val": 2, "test": 2},
        "operator": "gaussian_blur",
        "noise": {"name": "gaussian", "std": 0.01},
        "methods": {"tv": {"name": "tv", "weight": 0.01}, **({"net": net} if steps else {})},
        "metrics": ["psnr"],
        "matrix": {"seed": list(range(cells))},
    }


def table_of(spec: dict[str, Any], output: Path, **options: Any) -> pd.DataFrame:
    result = invreg.run(spec, output, "cpu", progress=False, **options)
    if result.failures:
        sys.exit(f"failed: {result.failures}")
    table: pd.DataFrame = result.summary
    return table[[name for name in table if not name.endswith("_seconds")]]


def kill(cluster: Any, output: Path, cells: int, kills: int) -> None:
    """Kills one of the workers each time that a further part of the cells is finished."""
    for number in range(kills):
        while len(list(output.glob("*/cells/*/run.sha256"))) < cells * (number + 1) / (kills + 1):
            time.sleep(0.2)
        worker = random.choice(list(cluster.workers.values()))
        os.kill(worker.pid, signal.SIGKILL)
        print(f"killed worker {worker.pid}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--kills", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20, help="of the trainings; 0 for none")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    spec = study(options.cells, options.steps)
    with tempfile.TemporaryDirectory(prefix="invreg-dask-") as place:
        expected = table_of(spec, Path(place) / "one-process")
        output = Path(place) / "dask"
        start = time.monotonic()
        with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            arguments = (cluster, output, options.cells, options.kills)
            killer = threading.Thread(target=kill, args=arguments, daemon=True)
            killer.start()
            found = table_of(spec, output, executor={"name": "dask", "address": cluster.scheduler_address})
            killer.join(0)
            if killer.is_alive():
                sys.exit("not all kills came before the end")
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
        seconds = time.monotonic() - start
    print(f"{options.cells} cells, {options.kills} workers killed, 0 wrong, {seconds:.0f} s")


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    main()
