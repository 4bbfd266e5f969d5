"""Operators and reconstructors of other packages in invreg, and those of invreg in other packages.

A wrapper holds an object of another package, which no spec can name: wrappers are for Python. The other package
is imported when one of these functions is called, and never before. The names stand in `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
