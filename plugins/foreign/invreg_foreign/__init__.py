"""Operators and methods of other packages, by name: DeepInverse, PyLops, and matrices of SciPy and NumPy."""
