# %% [markdown]
# # Computed tomography
#
# Few projections, some noise: filtered back-projection, Tikhonov regularisation, total variation, and what the residual says
# about each.
#
# The measurement is a *sinogram*: a row for each angle. It has another shape than the image, which no method minds.

# %% alt="A phantom and its sinogram" thumbnail=true
import matplotlib.pyplot as plt

import invreg

registry = invreg.Registry.installed()
radon = registry.build("operator", {"name": "radon", "angles": 24})
noise = registry.build("noise", {"name": "gaussian", "std": 0.01})
problem = invreg.Problem(radon, noise)
phantoms = registry.build(
    "dataset", {"name": "phantoms", "image_size": 64, "train": 1, "val": 1, "test": 2}
)
x = phantoms.splits().test.images
z = problem.measure(x, seed=0)
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
left.imshow(x[0, 0], cmap="gray", vmin=0, vmax=1)
left.set_title(f"image {tuple(x.shape[1:])}")
right.imshow(z[0, 0], cmap="gray", aspect="auto")
right.set(title=f"sinogram {tuple(z.shape[1:])}", xlabel="detector", ylabel="angle")
left.set_axis_off()
plt.show()

# %% [markdown]
# ## Three methods
#
# - `fbp` undoes the blur of back-projection exactly, for many angles and no noise. With few angles it leaves streaks.
# - `tikhonov` weighs the fit to the data against the size of the image.
# - `tv` weighs it against the total length of edges: flat regions and sharp edges are what it likes.

# %% alt="The phantom and its reconstructions by three methods"
methods = {
    "fbp": {"name": "fbp"},
    "tikhonov": {"name": "tikhonov", "alpha": 0.02},
    "tv": {"name": "tv", "weight": 0.001, "tolerance": 0.03},
}
figure, panels = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
panels[0].imshow(x[0, 0], cmap="gray", vmin=0, vmax=1)
panels[0].set_title("truth")
print("expected residual 0.010")
for axes, (name, spec) in zip(panels[1:], methods.items(), strict=True):
    method = registry.build("reconstructor", spec)
    method.setup(problem, (1, 64, 64))
    x_hat = method(z)
    residual = float((radon(x_hat) - z).square().mean().sqrt())
    quality = float(invreg.peak_signal_to_noise_ratio(x_hat, x)[0])
    print(f"{name:9} residual {residual:.3f}   PSNR {quality:.2f} dB")
    axes.imshow(x_hat[0, 0].clamp(0, 1), cmap="gray", vmin=0, vmax=1)
    axes.set_title(f"{name}, {quality:.2f} dB")
for axes in panels:
    axes.set_axis_off()
plt.show()

# %% [markdown]
# A residual far above the noise means that the image does not explain the data. One far below means that it explains the
# noise as well.
#
# ## Learned
#
# A network starts from a first image, which a *pull-back* makes of the sinogram, and learns what is missing. Any of the
# linear methods above can be it. This spec trains one with a guarantee in a few minutes; the bound of the pull-back is part
# of its certificate.
#
# ```yaml
# data: {name: phantoms, image_size: 64}
# operator: {name: radon, angles: 24}
# noise: {name: gaussian, std: 0.01}
# methods:
#   fbp: fbp
#   net:
#     reconstructor: {name: explicit_iresnet, subnetworks: 10, channels: 8, hidden: 16, lipschitz: 0.99, pull_back: {name: tikhonov, alpha: 0.02}}
#     trainer: {name: reconstruction, steps: 700, batch_size: 8}
# ```
#
# [Tomography](../methods/tomography.md) has fan beams and numbers, [pull-backs](../theory/pull-backs.md) the theory.
