# %% [markdown]
# # First reconstruction
#
# Blur a photograph, take the sharp one back with a model that comes with invreg, and read what is proven of the result.
#
# We need a photograph that the model has never seen. scikit-image brings one along; [your own](your-images.md) does as
# well.

# %%
import matplotlib.pyplot as plt
import skimage

import invreg

photograph = skimage.transform.downscale_local_mean(
    skimage.util.img_as_float(skimage.data.camera()), (2, 2)
)
truth = photograph[20:180, 40:230]


def show(**images):
    figure, panels = plt.subplots(
        1, len(images), figsize=(3.2 * len(images), 3), layout="constrained"
    )
    for axes, (title, image) in zip(panels, images.items(), strict=True):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_title(title.replace("_", " "))
        axes.set_axis_off()
    plt.show()


# %% [markdown]
# ## The measurement
#
# A *problem* is an operator F and a noise: $`z = F(x) + \mathrm{noise}`$. This one is a Gaussian blur of about 1.7 pixels
# with a little noise. Components are made by their names, as in a [spec](../spec.md).

# %% alt="The photograph, and the same blurred and with a little noise"
import torch

registry = invreg.Registry.installed()
blur = registry.build("operator", {"name": "gaussian_blur", "kernel_size": 11, "std": 5 / 3})
noise = registry.build("noise", {"name": "gaussian", "std": 0.01})
problem = invreg.Problem(blur, noise)

# Images are [batch, channels, height, width], between 0 and 1.
x = torch.from_numpy(truth).float()[None, None]
z = problem.measure(x, seed=0)
measured = z[0, 0].numpy()
show(truth=truth, measurement=measured)

# %% [markdown]
# ## The reconstruction
#
# The model `gaussian-deblur` was trained for this blur and this noise. Quality is measured as
# [PSNR](../glossary.md#psnr-and-ssim), in decibels: more is better.

# %% alt="The photograph, the measurement and its reconstruction" thumbnail=true
model = invreg.load_model("gaussian-deblur")
found = model.reconstruct(measured)
show(truth=truth, measurement=measured, reconstruction=found.image)


def psnr(image):
    return float(
        invreg.peak_signal_to_noise_ratio(torch.from_numpy(image).float()[None, None], x)[0]
    )


print(f"PSNR of the measurement    {psnr(measured):.2f} dB")
print(f"PSNR of the reconstruction {psnr(found.image):.2f} dB")

# %% [markdown]
# ## What is known without the truth
#
# Outside of a tutorial nobody has the truth. Two numbers can be had all the same.

# %%
print(
    f"residual of F(x) - z: {found.residual:.4f}; the noise alone would leave {found.expected_residual:.4f}"
)
print(f"distance to the exact reconstruction: at most {found.distance:.4f}")

# %% [markdown]
# - The **residual** says whether the image explains the measurement. It should be about as large as the noise.
# - The **distance** is proven. The network defines one exact reconstruction for each measurement, and what was computed
#   is no farther from it than this, over all pixels together, rounding included. It is not the distance to the truth:
#   [what is guaranteed and what is not](../theory/guarantees.md).
#
# The network also bounds what an error of the measurement can do.

# %%
print(model.certificate.sentence)

# %% [markdown]
# That is the worst case over all images and all errors. Here are two measurements with different noise:

# %%
other = problem.measure(x, seed=1)
changed = model.reconstruct(other[0, 0].numpy())
in_data = float((other - z).norm())
in_image = float(((changed.image - found.image) ** 2).sum() ** 0.5)
print(
    f"the measurements differ by {in_data:.2f}, the reconstructions by {in_image:.2f}: {in_image / in_data:.2f} times as much"
)

# %% [markdown]
# ## Where it goes wrong
#
# A model is for one operator. Given a sharp photograph, it sharpens what was sharp already, and lines appear along its
# edges (ringing). The residual shows it: no image that this blur could have made looks like that. In the note, z is the
# measurement and R(z) its exact reconstruction.

# %% alt="A sharp photograph, and what the model makes of it: edges ring"
wrong = model.reconstruct(truth)
show(sharp_photograph=truth, what_the_model_makes_of_it=wrong.image)
print(f"residual {wrong.residual:.4f}, expected {wrong.expected_residual:.4f}")
for note in wrong.notes:
    print(note)

# %% [markdown]
# ## On the command line
#
# The same for a file, or a folder of them, with a page of before and after:
#
# ```bash
# invreg reconstruct gaussian-deblur my.png
# ```
#
# Next: [a model for your own images](your-images.md).
