# %% [markdown]
# # Compare methods fairly
#
# Which method is better, by how much, and is the difference more than chance? Four rules, and a run that keeps them.
#
# 1. **Everybody sees the same.** All methods reconstruct the same measurements, and networks learn from the same crops
#    with the same noise in the same order.
# 2. **Nobody is tuned on the test.** Parameters and the best step of a training are chosen on validation images. Here,
#    the three parts come from different photographs.
# 3. **Equal effort.** Trainings get the same time (`max_minutes`) or the same number of steps, and a classical method
#    gets a search for its parameter.
# 4. **Compare image by image.** Images differ far more from each other than methods do.

# %%
import invreg

training = {"name": "reconstruction", "steps": 150, "batch_size": 8, "validations": 5}
spec = {
    "title": "Three methods",
    "seed": 0,
    "data": {"name": "photos", "image_size": 48, "train_size": 32},
    "operator": "gaussian_blur",
    "noise": {"name": "gaussian", "std": 0.025},
    "methods": {
        "observation": "observation",
        "tv": {
            "reconstructor": {"name": "tv", "tolerance": 0.02},
            "trainer": {"name": "parameter_search", "trials": 5},
        },
        "explicit_iresnet": {
            "reconstructor": {
                "name": "explicit_iresnet",
                "subnetworks": 7,
                "channels": 6,
                "hidden": 12,
                "lipschitz": 0.99,
            },
            "trainer": training,
        },
        "conv_resnet": {
            "reconstructor": {"name": "conv_resnet", "subnetworks": 7, "channels": 6, "hidden": 12},
            "trainer": training,
        },
    },
    "analyses": ["quality", "training_curves"],
}
result = invreg.run(spec, progress=False)
result.summary[["method", "psnr", "ssim", "parameters"]].round(3)

# %% [markdown]
# A table of means is where most comparisons end. It does not say whether the order would be the same on other images.

# %% alt="PSNR and SSIM of each test image for each method, with means and intervals" thumbnail=true
print(result.findings["quality"].text)
result.plot("quality")

# %% [markdown]
# ## Pairs
#
# The intervals of the means overlap widely, and yet one method can be better on nearly every image. The differences, image
# by image, decide. `wins` counts the images on which the first is better.

# %%
differences = result.findings["quality"].tables["differences"]
differences[differences["metric"] == "psnr"].round(3)

# %% [markdown]
# Here, total variation has the best mean, but wins on little more than half of the images: it is far ahead on the smooth
# ones, and behind on many with texture. Between the two networks the difference is smaller and much surer.
#
# An interval that includes zero means that these images do not decide. One that does not still says nothing about another
# training of the same network, nor about another kind of images: 61 pieces of three photographs are not 61 photographs.
#
# ## Was the training enough?
#
# A method whose validation curve still rises at the end was stopped too early, and a comparison says little about it.
# These trainings are brief on purpose; the [quickstart](../quickstart.md) has 700 steps, and
# [methods at equal time](../studies.md#methods-at-equal-time) have a minute or more each.

# %% alt="Loss and validation PSNR of each training, and the trials of the search"
result.plot("training_curves")

# %% [markdown]
# ## Another training
#
# What a seed decides (weights, crops, noise) has to vary, too. One line makes the run a [study](../studies.md) of three
# seeds, here from a file:
#
# ```bash
# invreg run my.yaml --set "matrix={seed: [0, 1, 2]}"
# ```
