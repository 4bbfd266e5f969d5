# %% [markdown]
# # Your images
#
# From a folder of photographs to a network that deblurs them, and to a file that it has reconstructed.
#
# A folder with a few dozen images is enough. To have one here, we cut photographs of scikit-image into pieces and write
# them as PNG; take the path of your folder instead.

# %%
from pathlib import Path

import skimage

import invreg

folder = Path("photographs")
folder.mkdir()
for name in ("astronaut", "coffee", "chelsea", "rocket"):
    pixels = getattr(skimage.data, name)()[::2, ::2]
    for row in range(2):
        for column in range(3):
            piece = pixels[row * 74 : row * 74 + 74, column * 74 : column * 74 + 74]
            invreg.write_image(folder / f"{name}-{row}{column}.png", piece.transpose(2, 0, 1) / 255)
print(
    len(list(folder.iterdir())), "files, such as", sorted(path.name for path in folder.iterdir())[0]
)

# %% [markdown]
# ## The data set
#
# `image_folder` finds the images at any depth, makes them grey unless it is asked for colours, and splits them at random.
# The same folder always gives the same split, and no image is in two parts.

# %%
registry = invreg.Registry.installed()
images = registry.build(
    "dataset",
    {
        "name": "image_folder",
        "path": str(folder),
        "image_size": 72,
        "train_size": 48,
        "val": 3,
        "test": 4,
    },
)
splits = images.splits()
splits

# %% [markdown]
# ## Training
#
# One call trains a network for a problem. Each step cuts random crops, blurs them, and draws new noise. 250 steps take
# half a minute and make a beginning; 1000 to 2000 steps take minutes and are what the
# [models that come along](../models.md#models-that-come-with-invreg) have had.

# %% alt="Loss and validation PSNR over the steps of the training"
blur = registry.build("operator", "gaussian_blur")
noise = registry.build("noise", {"name": "gaussian", "std": 0.01})
problem = invreg.Problem(blur, noise)
network = {
    "name": "explicit_iresnet",
    "subnetworks": 7,
    "channels": 8,
    "hidden": 16,
    "lipschitz": 0.99,
}
training = {"name": "reconstruction", "steps": 250, "batch_size": 8, "validations": 6}
model = invreg.train(network, problem, images, trainer=training, progress=False)
model.log.plot()

# %% [markdown]
# ## On images that it has not seen
#
# The test images were used for nothing so far.

# %% alt="Two test images: truth, measurement and reconstruction" thumbnail=true
import matplotlib.pyplot as plt

x = splits.test.images
z = problem.measure(x, seed=0)
found = model.reconstruct(z, prove=False)
figure, panels = plt.subplots(2, 3, figsize=(7.2, 5), layout="constrained")
for row, axes in enumerate(panels):
    for panel, (title, stack) in zip(
        axes, {"truth": x, "measurement": z, "reconstruction": found.image}.items(), strict=True
    ):
        panel.imshow(stack[row, 0], cmap="gray", vmin=0, vmax=1)
        panel.set_axis_off()
        if row == 0:
            panel.set_title(title)
plt.show()
before, after = (invreg.peak_signal_to_noise_ratio(stack, x) for stack in (z, found.image))
for name, low, high in zip(splits.test.names, before, after, strict=True):
    print(f"{name:20} {low:.2f} dB -> {high:.2f} dB")

# %% [markdown]
# ## A file
#
# `read_image` and `write_image` keep the depth: 8 bits stay 8, 16 stay 16. Colours are reconstructed one by one by a
# network for grey images, and a note says so.

# %% alt="A colour photograph, blurred and reconstructed"
import numpy as np
import torch

colour = skimage.data.astronaut()[0:180:2, 300:500:2].transpose(2, 0, 1) / 255
blurred = problem.measure(torch.from_numpy(colour).float()[:, None], seed=1)[:, 0].numpy()
invreg.write_image("blurred.png", np.clip(blurred, 0, 1))

measured = invreg.read_image("blurred.png")
found = model.reconstruct(measured.pixels)
invreg.write_image("sharp.png", found.image, measured.depth, measured.white)
print(*found.notes, sep="\n")

figure, panels = plt.subplots(1, 2, figsize=(6.4, 2.9), layout="constrained")
for axes, name in zip(panels, ("blurred.png", "sharp.png"), strict=True):
    axes.imshow(invreg.read_image(name).pixels.transpose(1, 2, 0))
    axes.set_title(name)
    axes.set_axis_off()
plt.show()

# %% [markdown]
# ## Keep it
#
# A saved model is a folder without pickle. It reconstructs files on any machine that has invreg.

# %%
model.save("my-model")
print(*sorted(path.name for path in Path("my-model").iterdir()), sep="\n")

# %% [markdown]
# ```bash
# invreg reconstruct my-model blurred.png
# ```
#
# The same with a comparison and a report, from a [spec](../spec.md):
#
# ```bash
# invreg run --set data.name=image_folder --set data.path=~/pictures
# ```
#
# Next: [compare it with other methods](compare-fairly.md), or [prove how stable it is](certify.md).
