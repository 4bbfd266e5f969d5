# %% [markdown]
# # Train from Python
#
# Your own torch network, trained for your problem in a few lines, without a spec and without a loop.
#
# The training makes crops, measures them with new noise in each step, validates, keeps the best weights, and can go on after
# an interruption. The network is any `torch.nn.Module` from images to images.

# %%
import torch
from torch import nn

import invreg
from invreg.interop import reconstructor_from_torch


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 1, 3, padding=1),
        )

    def forward(self, z):
        return z + self.layers(z)


# %% [markdown]
# ## A problem, images, a trainer
#
# Components are names with parameters, or instances. `photos` are photographs that are installed with scikit-image; arrays
# of your own do as well ([your images](your-images.md)).

# %% alt="Loss and validation PSNR of the training"
registry = invreg.Registry.installed()
problem = invreg.Problem(
    registry.build("operator", "identity"),
    registry.build("noise", {"name": "gaussian", "std": 0.1}),
)
trainer = {"name": "reconstruction", "steps": 200, "batch_size": 8, "validations": 8}
photos = {"name": "photos", "image_size": 48, "train_size": 32}
torch.manual_seed(
    0
)  # the weights that it starts from; all else is drawn from the seed of the training
model = invreg.train(
    reconstructor_from_torch(Denoiser()), problem, photos, trainer=trainer, progress=False
)
model.log.plot()

# %% [markdown]
# ## Use it
#
# A model takes NumPy or torch, in the layout in which you have it.

# %% alt="A noisy photograph, and what the network makes of it" thumbnail=true
import matplotlib.pyplot as plt
import numpy as np
import skimage

truth = skimage.data.camera()[60:260:2, 150:370:2] / 255
noisy = truth + 0.1 * np.random.default_rng(0).standard_normal(truth.shape)
denoised = model.reconstruct(noisy).image
figure, panels = plt.subplots(1, 3, figsize=(9, 2.9), layout="constrained")
images = {"truth": truth, "measurement": noisy, "reconstruction": denoised}
for axes, (title, image) in zip(panels, images.items(), strict=True):
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    axes.set_title(f"{title}, {-10 * np.log10(max(np.mean((image - truth) ** 2), 1e-9)):.2f} dB")
    axes.set_axis_off()
panels[0].set_title("truth")
plt.show()

# %% [markdown]
# ## Go on
#
# A reconstructor that is already set up for the problem keeps its weights. With a `folder`, the same call also goes on after
# Ctrl-C or a kill, with the same weights in the end as if nothing had happened.

# %%
before = model.log.rows[-1]
longer = invreg.train(
    model.reconstructor,
    model.problem,
    photos,
    trainer={"name": "reconstruction", "steps": 100, "batch_size": 8, "validations": 2},
    folder="training",
    progress=False,
)
print("after 200 steps:", f"{model.log.rows[-1]['val_psnr']:.2f} dB on the validation images")
print("after 300 steps:", f"{longer.log.rows[-1]['val_psnr']:.2f} dB")

# %% [markdown]
# ## The same, certified
#
# Only the network changes. Of this one, [bounds can be proven](certify.md).
#
# ```python
# network = {"name": "explicit_iresnet", "subnetworks": 10, "channels": 8, "hidden": 16, "lipschitz": 0.98}
# model = invreg.train(network, problem, "photos", trainer={"name": "reconstruction", "steps": 1000})
# print(model.reconstructor.certificate())
# ```
#
# [From Python and in notebooks](../python.md) has the rest, and how a network becomes a plugin for specs.
