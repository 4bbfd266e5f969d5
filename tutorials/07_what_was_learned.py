# %% [markdown]
# # What did it learn?
#
# An invertible network holds a model of the operator in its forward pass. Look at it: where it agrees with the operator, and
# where it departs from it in order to suppress noise.
#
# We train a small network for nonlinear diffusion, briefly. [What the networks have learned](../findings.md) asks the same
# of networks that were trained ten times as long, with intervals, beside what the paper saw.

# %%
import invreg

spec = {
    "title": "What did it learn",
    "data": {"name": "photos", "image_size": 48, "train_size": 32},
    "operator": "perona_malik",
    "noise": {"name": "gaussian", "std": 0.05},
    "methods": {
        "net": {
            "reconstructor": {
                "name": "iresnet",
                "subnetworks": 5,
                "channels": 4,
                "hidden": 8,
                "lipschitz": 0.95,
            },
            "trainer": {
                "name": "reconstruction",
                "steps": 120,
                "batch_size": 8,
                "validations": 3,
            },
        },
    },
    "analyses": [
        "forward_map",
        {"name": "radial_transfer", "images": 2, "directions": 1},
        {"name": "regularization_map", "images": 2, "probes": 24},
        {"name": "local_ill_posedness", "images": 1, "directions": 1, "ascent_steps": 0},
    ],
}
result = invreg.run(spec, progress=False)
result.summary[["method", "psnr", "ssim"]].round(3)

# %% [markdown]
# ## The learned operator
#
# An image, what the operator makes of it, and what the network takes the operator to be. At this much noise, it is farther
# from the operator than the image itself is: where the operator smooths, the network sharpens. The paper saw the same
# (figure 10).

# %% alt="A test image, the operator applied to it, the learned forward map, and their difference" thumbnail=true
print(result.findings["forward_map"].text)
result.plot("forward_map", "picture_1")

# %% [markdown]
# ## By frequency
#
# Diffusion damps high frequencies. A network that damped them as much would have to amplify them again, noise included. So
# it learns to pass them on: it leaves detail to the measurement that the operator takes away.

# %% alt="Gain by frequency of the operator and of the network"
print(result.findings["radial_transfer"].text)
result.plot("radial_transfer")

# %% [markdown]
# ## By place
#
# Above, red where the network reacts more strongly to a change of a single pixel than the operator does.

# %% alt="Where the network reacts more strongly than the operator"
print(result.findings["regularization_map"].text)
result.plot("regularization_map")

# %% [markdown]
# ## The strongest regularisation
#
# The direction in which the network reacts most although the operator hardly does. In the paper (figure 11) it is a
# checkerboard, which diffusion wipes out.

# %% alt="The direction of strongest regularisation, in colour on the image"
print(result.findings["local_ill_posedness"].text)
result.plot("local_ill_posedness")

# %% [markdown]
# Findings are tables and arrays, too, for figures of your own:

# %%
result.findings["radial_transfer"].tables["transfer"].head(6).round(3)

# %% [markdown]
# [Analyses](../analyses.md) explains each of them and how to read it, and shows how to write one.
