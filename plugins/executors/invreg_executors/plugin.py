"""Registration of this plugin's components."""

from __future__ import annotations

from collections.abc import Mapping

from invreg import hookimpl
from invreg_executors.dask import Dask
from invreg_executors.local import Local
from invreg_executors.slurm import Slurm


@hookimpl
def invreg_components() -> Mapping[str, type]:
    return {"local": Local, "slurm": Slurm, "dask": Dask}
