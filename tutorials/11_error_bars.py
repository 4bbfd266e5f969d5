# %% [markdown]
# # Error bars
#
# How good is the reconstruction of an image that nobody has the truth of? A bound that holds with the probability you ask
# for, for any method, without assumptions about it.
#
# The idea is *split conformal prediction*. Images with a known truth calibrate. If the new image comes from the same source,
# its quality is just one more in the row: with probability 0.9 it is not among the worst tenth.
#
# We take phantoms, because each is drawn independently of the others; that is what the proof needs. 59 of them calibrate.

# %%
import invreg

spec = {
    "title": "Error bars",
    "data": {"name": "phantoms", "image_size": 48, "train": 4, "val": 16, "test": 59},
    "operator": {"name": "gaussian_blur", "std": 1.2},
    "noise": {"name": "gaussian", "std": 0.03},
    "methods": {
        "tikhonov": {"name": "tikhonov", "alpha": 0.03},
        "tv": {"name": "tv", "weight": 0.01, "tolerance": 0.03},
    },
    "analyses": [
        {"name": "conformal", "coverage": 0.9},
        {"name": "conformal", "coverage": 0.9, "two_sided": True},
    ],
}
result = invreg.run(spec, progress=False)
print(list(result.findings))
result.summary[["method", "psnr", "ssim"]].round(3)

# %% [markdown]
# ## The bound

# %% alt="PSNR of the calibration images of each method, and the bound for an unseen one" thumbnail=true
first = next(iter(result.findings))
print(result.findings[first].text)
result.plot(first)

# %%
bounds = result.findings[first].tables["bounds"]
bounds.round(3)

# %% [markdown]
# One row for each method and each way to predict from what is known without the truth: one number for all images; from the
# detail in the reconstruction; from the residual. A prediction that knows hard images from easy ones bounds them better.
#
# ## Does it hold?
#
# New phantoms of the same kind, which nothing has seen. The bound promises at least 90 % of them.

# %%
registry = invreg.Registry.installed()
fresh = registry.build(
    "dataset", {"name": "phantoms", "image_size": 48, "train": 1, "val": 1, "test": 200, "seed": 5}
)
x = fresh.splits().test.images
z = result.problem.measure(x, seed=7)
tikhonov = result.methods["tikhonov"].reconstructor
quality = invreg.peak_signal_to_noise_ratio(tikhonov(z), x)
low = bounds[(bounds["method"] == "tikhonov")].iloc[0]["low"]
print(
    f"bound: {low:.2f} dB; above it: {100 * float((quality >= low).float().mean()):.0f} % of 200 new images"
)

# %% [markdown]
# ## What it does not say
#
# - It is about images from the same source, measured in the same way. Photographs are no phantoms.
# - 90 % is an average over images; a rare kind of image may be covered less often.
# - It needs images with a known truth, and enough of them: 9 at least for 90 %, 19 for 95 %.
#
# A [certificate](certify.md) is the other kind of guarantee: for every image, but about how errors of the data grow.
# [`conformal`](../analyses.md#conformal) explains the columns.
