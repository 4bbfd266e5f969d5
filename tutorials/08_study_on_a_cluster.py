# %% [markdown]
# # A study on a cluster
#
# Many runs from one spec, several at a time: on this machine now, and with one word changed on a cluster.
#
# The question: how much does total variation gain at little and at much noise, and does the seed matter? A `matrix` makes
# a study of it, with a *cell* for each combination. In each, the weight of total variation is searched anew.

# %%
from pathlib import Path

import invreg

study_file = Path("noise.yaml")
spec = """
title: Noise levels
data: {name: phantoms, image_size: 32, train: 4, val: 6, test: 12}
operator: gaussian_blur
noise: {name: gaussian, std: 0.01}
methods:
  observation: observation
  tv:
    reconstructor: {name: tv, tolerance: 0.03}
    trainer: {name: parameter_search, trials: 6}
matrix:
  noise.std: [0.01, 0.1]
  seed: [0, 1]
study_analyses: [method_comparison]
"""
_ = study_file.write_text(spec)

# %% [markdown]
# ## Look before it runs
#
# `--dry-run` prints the plan and computes nothing.

# %%
import subprocess
import sys


def shell(command):
    done = subprocess.run([sys.executable, "-m", *command.split()], capture_output=True, text=True)
    print(f"$ {command}\n{done.stdout}{done.stderr}")


shell("invreg run noise.yaml --executor local --jobs 2 --dry-run")

# %% [markdown]
# ## Run it
#
# The executor `local` starts processes of its own, here two. Each computes one cell after the other.

# %%
study = invreg.run(study_file, executor={"name": "local", "jobs": 2, "threads": 1}, progress=False)
study.table[["noise.std", "seed", "method", "psnr", "ssim"]].round(3)

# %% [markdown]
# How far a study is can be asked from any terminal that sees its folder, also while it runs:

# %%
shell(f"invreg status {study.folder}")

# %% alt="PSNR and SSIM by method and noise level" thumbnail=true
study.plot("method_comparison")

# %% [markdown]
# Run again, it computes nothing: what is finished is read. After Ctrl-C, a crash or a power cut, the same call goes on
# where it was.
#
# ## On Slurm
#
# The spec stays as it is. Another executor takes the same cells, in one job array, from the same command:
#
# ```bash
# pip install "invreg[slurm]"
# invreg run noise.yaml --output /shared/runs --executor slurm
# ```
#
# Its parameters can stand in the spec. They change neither results nor the name of the folder, so what was begun on a
# laptop goes on on the cluster.
#
# ```yaml
# executor:
#   name: slurm
#   partition: gpu
#   time: 12:00:00
#   memory: 16G
#   gpus: 1
#   jobs: 20
# ```
#
# Jobs may be preempted, requeued or killed: a training goes on from its last checkpoint, in any other job. The command may
# leave and come back. These lines are shown, not executed, on this page; `python tests/long/slurm.py` executes them on a
# Slurm of one node. [From laptop to cluster](../cluster.md) has the rest, with Dask and an engine of your own.
