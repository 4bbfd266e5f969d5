# %% [markdown]
# # Certify a network
#
# Prove how strongly an error of the measurement can change the reconstruction, read the certificate, and try to break it.
#
# We need a trained network. With `target_bound`, the training keeps what can be proven below a number of our choice. 150
# steps are enough to see how it works; a network that is to be used has 1000 or more.

# %%
import invreg

spec = {
    "title": "Certified deblurring",
    "data": {"name": "photos", "image_size": 48, "train_size": 32},
    "operator": "gaussian_blur",
    "noise": {"name": "gaussian", "std": 0.02},
    "methods": {
        "net": {
            "reconstructor": {
                "name": "explicit_iresnet",
                "subnetworks": 7,
                "channels": 4,
                "hidden": 8,
                "lipschitz": 0.99,
                "border": "tapered",
                "target_bound": 12,
            },
            "trainer": {
                "name": "reconstruction",
                "steps": 150,
                "batch_size": 8,
                "validations": 3,
            },
        },
    },
    "analyses": [
        "certificate",
        {"name": "stability", "images": 1, "iterations": 10, "draws": 2, "radii": [0.5]},
    ],
}
result = invreg.run(spec, progress=False)
result.summary[["method", "psnr", "ssim"]].round(3)

# %% [markdown]
# ## Read the certificate

# %%
model = invreg.load_model(result.folder, "net")
certificate = model.certificate
certificate

# %% [markdown]
# - **Lip(R)** is the number that counts: two measurements that differ by d have reconstructions that differ by at most so
#   many times d, in the Euclidean norm over all pixels. It holds for all measurements, not only for those of a test set.
# - **Lip(φ⁻¹)** and **Lip(φ)** are bounds of the network in both directions. Each was proven in several ways; the smallest
#   one counts. R may have a smaller bound than φ⁻¹, because it starts from equal copies of one image and ends with their
#   mean.
# - From the construction alone, before any training, follows 1 / (1 − L) = 100 for L = 0.99. What is proven of the trained
#   weights is much less.

# %% alt="Bounds of the inverse and the forward pass by the way in which they were proven"
certificate.plot()

# %% [markdown]
# ## Try to break it
#
# A proof says that nothing larger is possible, not that something so large happens. The analysis `stability` searches for
# the worst pair of measurements it can find. What it finds is a lower bound, the certificate an upper one, and the truth is
# between them.

# %% alt="The strongest attack that was found on the network, and the proven bound above it" thumbnail=true
print(result.findings["stability"].text)
result.plot("stability")

# %% [markdown]
# ## Verify it
#
# Whoever gets the folder need not believe it. `verify` compares every file with its seal and proves every bound again
# from the stored weights, with all rounding accounted for; it does not search, so it is quick.

# %%
report = invreg.verify(result.folder)
report[report["state"] == "proven"][["part", "what", "state"]]

# %% [markdown]
# A certificate that claims too much is refused.

# %%
import json

claim = json.loads(json.dumps(certificate.content))
claim["reconstruction_lipschitz"] = 1.5
try:
    model.reconstructor.verify(invreg.StabilityCertificate(claim))
except invreg.CertificateError as error:
    print(error)

# %% [markdown]
# ## What it does not say
#
# A small bound is stability, not accuracy: a method that always returns grey has the bound 0. The certificate is about how
# errors grow, not about how far the image is from the truth. For that, [error bars](error-bars.md) make a statement that
# holds with a probability. [What is guaranteed and what is not](../theory/guarantees.md) draws the line,
# [proven bounds](../theory/certificates.md) has the proofs.
#
# On the command line, `certify` proves what the analysis `certificate` proves, and keeps it in the same file of the run. One
# of them suffices: a run that had the analysis, as ours, is certified already, and `certify` then verifies its proofs.
#
# ```bash
# invreg certify runs/certified-deblurring-1a2b3c4d
# invreg verify runs/certified-deblurring-1a2b3c4d
# ```
