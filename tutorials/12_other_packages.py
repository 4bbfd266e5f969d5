# %% [markdown]
# # Operators of other packages
#
# Your operator exists already, in SciPy, PyLops or DeepInverse? It becomes an operator here, with its adjoint checked, and
# works with every method.
#
# ```bash
# pip install "invreg[interop]"
# ```

# %%
import numpy as np
import skimage
import torch

import invreg

x = torch.from_numpy(skimage.data.camera()[60:220:2, 180:340:2] / 255).float()[None, None]
registry = invreg.Registry.installed()
noise = registry.build("noise", {"name": "gaussian", "std": 0.01})
x.shape

# %% [markdown]
# ## SciPy: a sparse matrix
#
# A detector that averages blocks of 2 × 2 pixels and forgets every fifth column. As a matrix, it acts on the image as one long
# vector, row by row.

# %%
import scipy.sparse as sparse

from invreg.interop import operator_from_scipy

side = 80
half = sparse.kron(sparse.eye(side // 2), np.full((1, 2), 0.5))
columns = sparse.eye(side // 2).tocsr()[np.arange(side // 2) % 5 != 4]
matrix = sparse.kron(half, columns @ half).tocsr()
detector = operator_from_scipy(matrix, (1, side, side), (1, side // 2, columns.shape[0]))
z = detector(x)
print(matrix.shape, "->", tuple(z.shape))

# %% [markdown]
# ## PyLops: a blur from its catalogue

# %%
import pylops

from invreg.interop import operator_from_pylops

kernel = np.outer(np.hanning(9), np.hanning(9))
kernel /= kernel.sum()
smear = operator_from_pylops(
    pylops.signalprocessing.Convolve2D((side, side), kernel, offset=(4, 4))
)
smear

# %% [markdown]
# ## DeepInverse: a physics
#
# A physics is an operator with its noise, so it becomes a problem.

# %%
import deepinv

from invreg.interop import problem_from_physics

torch.manual_seed(0)
physics = deepinv.physics.Inpainting(
    img_size=(1, side, side), mask=0.4, noise_model=deepinv.physics.GaussianNoise(sigma=0.01)
)
holes = problem_from_physics(physics, (1, side, side))
holes

# %% [markdown]
# ## One method for all of them
#
# Total variation needs an operator and its adjoint, and nothing else.

# %% alt="What each operator measures, and the reconstruction by total variation" thumbnail=true
import matplotlib.pyplot as plt

problems = {
    "SciPy: matrix": invreg.Problem(detector, noise),
    "PyLops: blur": invreg.Problem(smear, noise),
    "DeepInverse: inpainting": holes,
}
figure, panels = plt.subplots(2, 3, figsize=(8.4, 5.6), layout="constrained")
for (above, below), (title, problem) in zip(panels.T, problems.items(), strict=True):
    tv = registry.build("reconstructor", {"name": "tv", "weight": 0.002, "tolerance": 0.03})
    tv.setup(problem, (1, side, side))
    z = problem.measure(x, seed=0)
    x_hat = tv(z)
    above.imshow(z[0, 0], cmap="gray", vmin=0, vmax=1)
    above.set_title(title)
    below.imshow(x_hat[0, 0], cmap="gray", vmin=0, vmax=1)
    below.set_title(f"tv: {float(invreg.peak_signal_to_noise_ratio(x_hat, x)[0]):.2f} dB")
    above.set_axis_off()
    below.set_axis_off()
plt.show()

# %% [markdown]
# ## In a spec
#
# Many of them can be named in a spec, without any Python: `operator: {name: pylops, ...}`, `{name: deepinv, ...}`,
# `{name: scipy_matrix, ...}`. [Their operators in specs](../foreign.md) lists them, and
# [With DeepInverse, SciPy and PyLops](../interop.md) has the way back: methods of invreg in those packages.
