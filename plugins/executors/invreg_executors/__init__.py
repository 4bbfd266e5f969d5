"""Executors: processes of this machine, a Slurm queue, a Dask cluster."""
