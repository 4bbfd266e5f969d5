"""The names under which specs find operators and noise models, with their defaults."""

from __future__ import annotations

import pytest

from invreg.errors import SpecError
from invreg.plugins.registry import Registry

REGISTRY = Registry.installed()


@pytest.mark.parametrize(
    ("kind", "spec", "attributes"),
    [
        ("operator", "identity", {}),
        ("operator", "gaussian_blur", {"kernel_size": 11, "std": 5 / 3, "boundary": "symmetric"}),
        ("operator", {"name": "gaussian_blur", "std": 2, "boundary": "zero"}, {"std": 2, "boundary": "zero"}),
        ("operator", {"name": "convolution", "kernel": [[0, 1, 0]]}, {"kernel": [[0, 1, 0]], "boundary": "zero"}),
        (
            "operator",
            "perona_malik",
            {"contrast": 0.1, "steps": 5, "step_size": 0.15, "stencil": "forward", "boundary": "neumann"},
        ),
        ("operator", {"name": "implicit_diffusion", "time": 2}, {"time": 2, "steps": 1, "boundary": "neumann"}),
        ("noise", "none", {}),
        ("noise", {"name": "gaussian", "std": 0.01}, {"std": 0.01}),
        ("noise", "poisson", {"photons": 1000}),
    ],
)
def test_specs_build_components(kind: str, spec: object, attributes: dict[str, object]) -> None:
    component = REGISTRY.build(kind, spec)
    assert {name: getattr(component, name) for name in attributes} == attributes


@pytest.mark.parametrize(
    ("kind", "spec", "match"),
    [
        ("operator", {"name": "gaussian_blur", "std": -1.0}, "std"),
        ("operator", {"name": "gaussian_blur", "kernel_size": 4}, "odd"),
        ("operator", {"name": "gaussian_blur", "boundary": "neumann"}, "boundary"),
        ("operator", {"name": "gaussian_blur", "sigma": 1.0}, "sigma"),
        ("operator", "convolution", "kernel"),
        ("operator", {"name": "convolution", "kernel": [[1.0, 2.0]]}, "odd"),
        ("operator", {"name": "perona_malik", "step_size": 0.3}, "overshoot"),
        ("operator", {"name": "perona_malik", "stencil": "central"}, "stencil"),
        ("operator", {"name": "perona_malik", "steps": 0}, "steps"),
        ("operator", {"name": "implicit_diffusion", "boundary": "symmetric"}, "boundary"),
        ("noise", "gaussian", "std"),
        ("noise", {"name": "gaussian", "std": -0.1}, "std"),
        ("noise", {"name": "poisson", "photons": 0.0}, "photons"),
    ],
)
def test_wrong_specs_are_refused(kind: str, spec: object, match: str) -> None:
    with pytest.raises(SpecError, match=match):
        REGISTRY.build(kind, spec)
