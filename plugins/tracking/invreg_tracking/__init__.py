"""Experiment trackers that write what happens in a run to TensorBoard and MLflow, on demand."""
