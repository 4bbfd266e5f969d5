"""Where models come from: a run, a folder, or invreg itself."""

from __future__ import annotations

from pathlib import Path

import torch

from invreg.components.problem import Problem
from invreg.computing.device import choose_device
from invreg.computing.waiting import said
from invreg.errors import SpecError, StoreError, did_you_mean, near_name, nothing_computed
from invreg.files import usable_path
from invreg.models.bundled import bundled_model, bundled_models
from invreg.models.model import Model
from invreg.models.model_folder import CONFIG, ModelFolder, verify
from invreg.plugins.registry import Registry
from invreg.specs.methods import ReconstructorBuilder
from invreg.specs.plan import Plan, make_plan
from invreg.storage.run_folder import RunFolder


def load_model(
    source: str | Path,
    method: str | None = None,
    device: str = "auto",
    registry: Registry | None = None,
    progress: bool = True,
) -> Model:
    """A trained method, ready to reconstruct; neither images nor the rest of the run are needed.

    Args:
        source: the folder of a run or of a model, or the name of a model that comes with invreg.
        method: the label of a method of the run; not needed if only one was trained.
        device: `auto`, `cpu`, `cuda`, ...
        registry: where components come from; all installed plugins if None.
        progress: whether standard error says so if a certificate is verified for long.

    Raises:
        StoreError: if there is no such model, or a file is missing or was changed.
        SpecError: if the method is not named where there are several, or a plugin is missing.
        CertificateError: if there is a certificate that does not hold for the weights.
    """
    path, registry = usable_path(source, "source"), registry or Registry.installed()
    is_bundled = not path.exists() and str(source) in bundled_models()
    if is_bundled:
        path = bundled_model(str(source))
    if not (path / CONFIG).is_file():
        return model_of_run(_run_at(path), method, choose_device(device), registry, progress=progress)[0]
    # Who could change a model that comes with invreg, could change invreg; a test has verified its certificate.
    model = ModelFolder(path).load(choose_device(device), registry, is_proven=is_bundled, progress=progress)
    if method not in (None, model.name):
        raise nothing_computed(
            StoreError(
                f"no method {method!r} in this model", where=str(source), expected=f"{model.name}, or no method at all"
            )
        )
    return model


def _run_at(path: Path) -> RunFolder:
    try:
        return RunFolder.existing(path)
    except StoreError as error:
        if path.exists():
            error.expected = "the folder of a run or of a model (config.json)"
        else:
            names = bundled_models()
            error.expected = f"the folder of a run or of a model, or one of {', '.join(names)}"
            error.hint = did_you_mean(str(path), names) if near_name(str(path), names) else None
        raise


def model_of_run(
    run: RunFolder, label: str | None, device: torch.device, registry: Registry, *, progress: bool = False
) -> tuple[Model, Plan]:
    """A trained method of a run, and the plan of the run; see `load_model`."""
    plan = make_plan(run.spec, registry)
    trained = [name for name, method in plan.methods.items() if method.trainer is not None]
    if label is None:
        if len(trained) != 1:
            raise SpecError(
                f"a run with {len(trained)} trained methods",
                where=str(run.path),
                expected=f"the name of one: {', '.join(trained or plan.methods)}",
                hint="`method`",
            )
        label = trained[0]
    if label not in plan.methods:
        raise run.no_method(label, plan.methods)
    folder = run.method(label)
    if not (run.is_begun and folder.is_trained):
        raise StoreError(
            f"the method {label!r} is not trained yet",
            where=str(run.path),
            hint="run the same spec again: what is done is kept",
        )
    problem, shape = Problem(plan.operator, plan.noise).to(device), tuple(run.identity.image_shape)
    loaded = folder.load(ReconstructorBuilder(plan, label, problem, shape, device))
    reconstructor = loaded.reconstructor
    certificate = folder.certificate
    if certificate is not None:
        is_proven = folder.certificate_is_proven
        what = f"{label}: verifying its certificate against the weights, once on this machine"
        with said(what, progress=progress and not is_proven):
            holds = verify(reconstructor, certificate, is_proven, str(folder.certificate_file))
        if holds and not is_proven:
            folder.mark_certificate_verified()
    return Model(label, reconstructor, problem, shape, certificate, run.path, loaded.log), plan
