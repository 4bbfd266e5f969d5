# %% [markdown]
# # Your operator as a plugin
#
# Write a forward operator of your own, have it checked, and use it by its name like the built-in ones.
#
# Our camera has a ghost: its lens adds a weaker copy of the scene, a few pixels to the right,
#
# ```math
# (A x)_{ij} = \frac{x_{ij} + s\, x_{i,\,j-d}}{1 + s}\,, \qquad (A^{*} y)_{ij} = \frac{y_{ij} + s\, y_{i,\,j+d}}{1 + s}\,,
# ```
#
# with zeros beyond the edges. The adjoint moves the copy back.

# %%
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

import invreg

Shift = Annotated[int, Field(ge=1, description="from the scene to its ghost, in pixels")]
Strength = Annotated[float, Field(ge=0, le=1, description="of the ghost, relative to the scene")]


class Ghost(invreg.LinearOperator):
    """A scene and a weaker copy of it, shifted to the right."""

    def __init__(self, shift: Shift = 6, strength: Strength = 0.6) -> None:
        super().__init__()
        self.shift, self.strength = shift, strength

    def forward(self, x: Tensor) -> Tensor:
        ghost = pad(x, (self.shift, 0))[..., : x.shape[-1]]
        return (x + self.strength * ghost) / (1 + self.strength)

    def adjoint(self, y: Tensor) -> Tensor:
        back = pad(y, (0, self.shift))[..., self.shift :]
        return (y + self.strength * back) / (1 + self.strength)


# %% [markdown]
# The constructor is the schema: types, ranges and descriptions stand there and nowhere else. A value out of range is
# refused in Python as in a spec.

# %%
try:
    Ghost(strength=1.5)
except invreg.SpecError as error:
    print(error)

# %% [markdown]
# ## Have it checked
#
# Total variation, pull-backs and norms rely on the adjoint. `check_operator` compares it with `forward` on random images
# of several sizes and types, and checks all else that an operator promises.

# %%
from invreg.testing import CheckFailure, check_operator

check_operator(Ghost(), (1, 24, 31))
print("all checks passed")


class WrongGhost(Ghost):
    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)  # forgets that the ghost has to go back


try:
    check_operator(WrongGhost(), (1, 24, 31))
except CheckFailure as failure:
    print(str(failure)[:900])

# %% [markdown]
# ## Give it a name
#
# A plugin is a module with one function. In a package, an entry point names the module; here, an object in its place
# does.

# %%
from types import SimpleNamespace


@invreg.hookimpl
def invreg_components():
    return {"ghost": Ghost}


lens = SimpleNamespace(invreg_components=invreg_components)
registry = invreg.Registry.installed({"lens": lens})
registry.build("operator", {"name": "ghost", "shift": 4})

# %% [markdown]
# ## Use it in a spec
#
# Everything that works with linear operators works with this one: total variation with a search for its weight, Tikhonov
# regularisation, networks, the comparison.

# %% alt="Test images with their ghosts, and two reconstructions of each" thumbnail=true
spec = {
    "title": "Ghosts",
    "data": {"name": "photos", "image_size": 96, "train_size": 48},
    "operator": {"name": "ghost", "shift": 6, "strength": 0.6},
    "noise": {"name": "gaussian", "std": 0.01},
    "methods": {
        "observation": "observation",
        "tikhonov": {"name": "tikhonov", "alpha": 0.01},
        "tv": {"name": "tv", "weight": 0.002, "tolerance": 0.02},
    },
    "analyses": ["quality"],
}
result = invreg.run(spec, registry=registry, progress=False)
result.plot(count=2)

# %%
result.summary[["method", "psnr", "ssim"]].round(3)

# %% [markdown]
# ## As a package
#
# Other people install it with pip, and the name works in their specs. One command writes such a package, with tests that
# pass, to be changed piece by piece:
#
# ```bash
# invreg new-plugin invreg-lens --kind operator
# pip install -e "invreg-lens[test]"
# pytest invreg-lens
# ```
#
# [Write a plugin](../plugins.md) builds one by hand: an operator, a method and an analysis, with all that they promise.
