# %% [markdown]
# # Measured pairs
#
# Nobody has a formula for the operator, but there are pairs: what was measured, and what it should have been.
#
# Here, a microscope is played by a blur and a tone curve, whose formulas we do not use again. What counts is the folder:
# a file in `truth` belongs to the file of the same name in `measurement`.

# %% alt="Three measurements, and below each the true image"
from pathlib import Path

import matplotlib.pyplot as plt
import skimage
import torch

import invreg

registry = invreg.Registry.installed()
camera = invreg.Problem(
    registry.build(
        "operator",
        {
            "name": "composition",
            "operators": [
                {"name": "gaussian_blur", "std": 1.2},
                {"name": "gamma", "exponent": 1.6},
            ],
        },
    ),
    registry.build("noise", {"name": "gaussian", "std": 0.01}),
)
truths, names = [], []
for name in ("brick", "grass", "gravel", "coins", "camera", "page", "text", "moon"):
    image = torch.from_numpy(skimage.util.img_as_float(getattr(skimage.data, name)())).float()[
        ::2, ::2
    ]
    for place in range(4):
        row, column = divmod(place, 2)
        piece = image[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
        if piece.shape == (64, 64):
            truths.append(piece[None, None])
            names.append(f"{name}-{place}.png")
for number, (x, name) in enumerate(zip(truths, names, strict=True)):
    z = camera.measure(x, seed=number)
    for part, image in (("truth", x), ("measurement", z)):
        path = Path("pairs", part, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        invreg.write_image(path, image[0].clamp(0, 1).numpy())
print(len(names), "pairs")

figure, panels = plt.subplots(2, 3, figsize=(6.4, 4.4), layout="constrained")
for row, part in enumerate(("measurement", "truth")):
    for axes, name in zip(panels[row], names[::9], strict=False):
        axes.imshow(
            invreg.read_image(Path("pairs", part, name)).pixels[0], cmap="gray", vmin=0, vmax=255
        )
        axes.set_title(f"{part}/{name}", fontsize=8)
        axes.set_axis_off()
plt.show()

# %% [markdown]
# ## One spec
#
# The operator is called `measured`: it is known by the pairs alone. The network learns it, and its inverse is the
# reconstruction. `specs/measured_pairs.yaml` is this spec with 700 steps, which take about two minutes of one core; 150 are
# enough to see that it works.

# %%
spec = {
    "title": "Measured pairs",
    "data": {"name": "measured_pairs", "path": "pairs", "train_size": 48, "val": 3, "test": 3},
    "operator": "measured",
    "methods": {
        "observation": "observation",
        "net": {
            "reconstructor": {
                "name": "explicit_iresnet",
                "subnetworks": 7,
                "channels": 8,
                "hidden": 16,
                "lipschitz": 0.99,
            },
            "trainer": {"name": "reconstruction", "steps": 150, "batch_size": 8, "validations": 4},
        },
    },
    "analyses": ["quality", "forward_map"],
}
result = invreg.run(spec, progress=False)
result.summary[["method", "psnr", "ssim", "parameters"]].round(3)

# %% alt="Test pairs: truth, measurement and reconstructions" thumbnail=true
result.plot(count=2)

# %% [markdown]
# Pairs with the same truth, or from the same scene, must not be in two splits. Here, pieces of one photograph are, and the
# numbers flatter the network a little. Folders called `train`, `val` and `test`, or a column `scene` in a table of files,
# [keep them apart](../measured-data.md#splits).
#
# ## What it takes the operator to be
#
# The forward pass of the network is its model of the microscope. Compared with the measurements of test images:

# %% alt="A test image, its measurement, the forward pass of the network, and their difference"
print(result.findings["forward_map"].text)
result.plot("forward_map", "picture_1")

# %% [markdown]
# ## A new measurement
#
# It has no truth. The residual cannot be computed, because F is not known; what is proven of the network still holds.

# %% alt="A new measurement and its reconstruction"
x = torch.from_numpy(skimage.util.img_as_float(skimage.data.chelsea()).mean(-1)).float()[
    60:220:2, 120:300:2
]
z = camera.measure(x[None, None], seed=99)[0, 0].clamp(0, 1).numpy()
model = invreg.load_model(result.folder, "net")
found = model.reconstruct(z)
print(
    f"residual: {found.residual}; distance to the exact reconstruction: at most {found.distance:.4f}"
)
figure, panels = plt.subplots(1, 3, figsize=(8, 2.8), layout="constrained")
for axes, title, image in zip(
    panels, ("measurement", "reconstruction", "truth"), (z, found.image, x), strict=True
):
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    axes.set_title(title)
    axes.set_axis_off()
plt.show()

# %% [markdown]
# On the command line:
#
# ```bash
# invreg run measured_pairs.yaml --set data.path=pairs
# invreg reconstruct runs/measured-pairs-1a2b3c4d new.png --method net
# ```
#
# [Measured data](../measured-data.md) has the rest: tables of files, arrays, 12-bit cameras, measurements of another shape.
