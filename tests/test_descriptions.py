"""What `invreg describe` says of the built-in components."""

from __future__ import annotations

import pytest

from invreg.plugins.registry import Registry
from invreg.schema.kinds import KINDS

REGISTRY = Registry.installed()
COMPONENTS = [(kind, name) for kind in KINDS for name in REGISTRY.names(kind)]


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_every_parameter_is_described(kind: str, name: str) -> None:
    fields = REGISTRY.parameters(kind, name).model_fields
    assert [label for label, field in fields.items() if not field.description] == []
