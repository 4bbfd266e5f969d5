"""How a report says that invreg is cited."""

from __future__ import annotations

_BIBTEX = """\
@software{invreg,
  author  = {{The invreg developers}},
  title   = {invreg: inverse problems with learned reconstruction that can be trusted},
  version = {VERSION},
  license = {MIT}
}
@misc{arndt2024invertible,
  author        = {Arndt, Clemens and Nickel, Judith},
  title         = {Invertible {ResNets} for Inverse Imaging Problems: Competitive Performance with Provable Regularization Properties},
  year          = {2024},
  eprint        = {2409.13482},
  archivePrefix = {arXiv}
}"""  # noqa: E501 (as it is copied)


def bibtex(version: str) -> str:
    """The entries of a version of invreg, and of the paper that it began with."""
    return _BIBTEX.replace("VERSION", version)
