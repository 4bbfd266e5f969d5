"""invreg: inverse problems with learned reconstruction that can be trusted.

The public names stand in `__init__.pyi`. Each is imported when it is first used, so that `import invreg` stays light.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __dir__() -> list[str]:
    return sorted(__all__)
