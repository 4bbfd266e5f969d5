# %% [markdown]
# # The paper, figure by figure
#
# The study of [Arndt & Nickel (2024)](https://arxiv.org/abs/2409.13482) in one minute: the same operator, methods and
# questions, with networks of five thousand weights and images from scikit-image.
#
# Numbers of such trainings mean little. What this page shows is which line makes which figure.
# [The paper's page](../paper.md) sets longer trainings beside what the paper says; `specs/paper/` has the study in four
# sizes, from minutes to the paper's own.
#
# ## Table 1: networks and parameters
#
# The paper's counts fix the architectures. The defaults here are those networks, to the last parameter.

# %%
import pandas as pd

import invreg

registry = invreg.Registry.installed()
blur = registry.build("operator", {"name": "gaussian_blur", "kernel_size": 11, "std": 5 / 3})
problem = invreg.Problem(blur, registry.build("noise", {"name": "gaussian", "std": 0.01}))
paper = {"iresnet": 4263700, "conv_resnet": 4263873, "unet": 5468705, "diffnet": 101310}
rows = []
for name, count in paper.items():
    net = registry.build("reconstructor", name)
    net.setup(problem, (1, 96, 96))
    ours = sum(parameter.numel() for parameter in net.parameters())
    rows.append({"network": name, "paper": count, "here": ours, "equal": ours == count})
pd.DataFrame(rows)

# %% [markdown]
# ## The study
#
# Two noise levels, two Lipschitz parameters L: four cells. Methods that do not depend on L are trained once for both.

# %%
brief = {"name": "reconstruction", "steps": 60, "batch_size": 8, "validations": 2}
small = {"subnetworks": 6, "channels": 4, "hidden": 8}
spec = {
    "title": "Paper, one minute",
    "data": {"name": "photos", "image_size": 64, "train_size": 32},
    "operator": {"name": "gaussian_blur", "kernel_size": 11, "std": 1.6667},
    "noise": {"name": "gaussian", "std": 0.01},
    "methods": {
        "tv": {
            "reconstructor": {"name": "tv", "tolerance": 0.05},
            "trainer": {"name": "parameter_search", "trials": 3},
        },
        "iresnet": {
            "reconstructor": {"name": "iresnet", **small, "lipschitz": 0.99},
            "trainer": brief,
        },
        "conv_resnet": {"reconstructor": {"name": "conv_resnet", **small}, "trainer": brief},
    },
    "matrix": {
        "noise.std": [0.01, 0.05],
        "methods.iresnet.reconstructor.lipschitz": [0.8, 0.99],
    },
    "study_analyses": [
        "method_comparison",
        "lipschitz_sweep",
        "example_grid",
        {"name": "convergence", "choice": [[0.05, 0.8], [0.01, 0.99]]},
        "forward_map_accuracy",
    ],
}
study = invreg.run(spec, progress=False)
print(len(study.cells), "cells; made:", *study.findings)

# %% [markdown]
# ## Figures 2 and 3: quality over L
#
# In the paper, reconstructions get better as L approaches 1, at every noise level.

# %% alt="PSNR and SSIM over the Lipschitz parameter at two noise levels"
print(study.findings["lipschitz_sweep"].text)
study.plot("lipschitz_sweep")

# %% [markdown]
# ## Figures 4 and 5: the methods
#
# In the paper, all networks are clearly better than total variation, and ConvResNet, which nothing constrains, is best.
# With 60 steps it is still the other way round.

# %% alt="PSNR and SSIM of each method at two noise levels" thumbnail=true
print(study.findings["method_comparison"].text)
study.plot("method_comparison")

# %% [markdown]
# ## Figures 6 and 7: examples

# %% alt="A test image, its measurement and the reconstructions of all methods"
study.plot("example_grid")

# %% [markdown]
# ## Figure 8: convergence
#
# The error of inverting without noise, along a choice of L for each noise level. It has to fall as the noise does for the
# method to be a convergent regularisation.

# %% alt="Inversion error along the choice of the Lipschitz parameter by the noise"
print(study.findings["convergence"].text)
study.plot("convergence")

# %% [markdown]
# ## Figure 9: how well the operator was learned

# %% alt="Distance of the learned forward map from the operator over the noise"
print(study.findings["forward_map_accuracy"].text)
study.plot("forward_map_accuracy")

# %% [markdown]
# ## Figures 10 to 17: what was learned
#
# They look into single networks: [What did it learn?](what-was-learned.md) makes figures 10 and 11 for a small one, and
# [What the networks have learned](../findings.md) all of them for two that were trained longer.
#
# | figure | made by |
# |---|---|
# | 1 | the analysis [`architecture`](../analyses.md#architecture) |
# | 10 | [`forward_map`](../analyses.md#forward_map) |
# | 11, 12 | [`local_ill_posedness`](../analyses.md#local_ill_posedness), `ill_posedness_by_noise` |
# | 13, 14, 16, 17 | [`saliency_clusters`](../analyses.md#saliency_clusters), `saliency_by_noise` |
# | 15 | [`edge_saliency`](../analyses.md#edge_saliency), `saliency_by_noise` |
#
# The whole study, in about an hour on two cores:
#
# ```bash
# invreg run specs/paper/tiny.yaml
# ```
