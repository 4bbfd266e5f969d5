"""Experiment trackers that write what happens in a run to TensorBoard and MLflow, when they are asked to."""
