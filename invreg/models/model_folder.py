"""Models as files: weights, constructor parameters, the problem, the certificate, a card, and their hashes.

```text
config.json          what it is: components with all parameters, where they come from, training and results
model.safetensors    its weights
certificate.json     what is proven of them, if anything is
program.pt2, model.onnx   programs for other runtimes, if they were asked for
README.md            the card, for people; the only file that may be edited
model.sha256         the seal of the others
```

This is the layout of a model on the Hugging Face Hub. Nothing in it is executed: weights are numbers, and components
are named, and built by the plugins that are installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from invreg.components.certificate import StabilityCertificate
from invreg.components.foreign import blamed
from invreg.components.operator import UnknownOperator
from invreg.components.problem import Problem
from invreg.components.reconstructor import CertifiesStability, ReconstructsWithBound
from invreg.computing.memory import within_memory
from invreg.computing.waiting import said
from invreg.errors import CertificateError, InvregError, SpecError, StoreError
from invreg.files import cannot_write, whole_folder
from invreg.models.card import card
from invreg.models.model import Model
from invreg.plugins.registry import Registry, spec_of
from invreg.storage import proofs
from invreg.storage.folder import Folder, Stage, json_bytes, tensor_bytes
from invreg.storage.method_folder import fit_weights
from invreg.storage.seal import digest

if TYPE_CHECKING:
    from invreg.components.reconstructor import Reconstructor

CONFIG, CARD = "config.json", "README.md"
_WEIGHTS, _CERTIFICATE = "model.safetensors", "certificate.json"
#: What a certificate is about: a file that was changed has another hash.
_PROVEN = (_CERTIFICATE, _WEIGHTS, CONFIG)
_FORMAT: Literal["invreg-model-1"] = "invreg-model-1"


@dataclass(frozen=True)
class History:
    """Where a model comes from, as plain values for its card.

    Attributes:
        data: the spec of the images, without paths.
        images: how many there were for `train`, `val` and `test`.
        trainer: the spec of the trainer.
        summary: single values of the training: steps, seconds, why it ended.
        warnings: of the training and the evaluation.
        results: one row per method, measured on the test images of the run: method, and one column per metric.
        further: results on other images, by what they are: rows as in `results`.
        units: of metrics that have one.
    """

    data: dict[str, Any] | None = None
    images: dict[str, int] = field(default_factory=dict)
    trainer: dict[str, Any] | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    further: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelConfig:
    """What a model is, besides its weights.

    Attributes:
        format: of these files.
        name: of the model.
        reconstructor: its spec, `name` and all parameters; so are the next two.
        operator: F.
        noise: on F(x).
        image_shape: (C, H, W) of the images, or (C, D, H, W) of the volumes, that it was set up for.
        parameters: number of weights.
        packages: the distribution and its version that each of the three components comes from.
        measured_range: the smallest and the largest value of the measurements in training, where these were measured.
        history: how it was made.
    """

    format: Literal["invreg-model-1"]
    name: str
    reconstructor: dict[str, Any]
    operator: dict[str, Any]
    noise: dict[str, Any]
    image_shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=4)]
    parameters: int
    packages: dict[str, list[str]]
    history: History = field(default_factory=History)
    measured_range: tuple[float, float] | None = None


class ModelFolder(Folder):
    """The folder of a model. Every property reads its file when it is asked for, and compares it with its seal."""

    stages: ClassVar[Mapping[str, Stage]] = {
        "model": Stage(CONFIG, "the files as they were exported: `invreg export` again, or another copy of the model")
    }

    def __init__(self, path: Path) -> None:
        super().__init__(path, is_sealed=True)

    @property
    def config(self) -> ModelConfig:
        """What it is.

        Raises:
            StoreError: if it cannot be read, was changed, or was made by a later version.
        """
        found = self.read_json(CONFIG)
        given = found.get("format") if isinstance(found, dict) else None
        if given != _FORMAT:
            raise StoreError(
                f"a model of format {given!r}",
                where=str(self.path / CONFIG),
                expected=repr(_FORMAT),
                hint="the version of invreg that wrote it, or `invreg export` with this one",
            )
        return self.read_as(CONFIG, ModelConfig)

    @property
    def certificate(self) -> StabilityCertificate | None:
        """As it is written there, not verified; None if there is none."""
        if _CERTIFICATE not in self.seals.get("model", {}) and not self.has(_CERTIFICATE):
            return None
        try:
            return StabilityCertificate(self.read_json(_CERTIFICATE))
        except CertificateError as error:
            raise error.at(str(self.path / _CERTIFICATE)) from None

    def load(
        self, device: torch.device, registry: Registry, *, is_proven: bool = False, progress: bool = False
    ) -> Model:
        """The model, ready for measurements.

        Args:
            device: where it is put.
            registry: where its components come from.
            is_proven: whether its certificate is known to hold; otherwise it is verified, once on each machine.
            progress: whether standard error says so, if that takes more than a second.

        Raises:
            StoreError: if a file is missing or was changed, or the weights do not fit.
            SpecError: if a plugin is missing, or refuses the parameters.
            CertificateError: if the certificate does not hold for the weights.
        """
        config = self.config
        built = {
            kind: self._build(kind, spec, config, registry)
            for kind, spec in (
                ("operator", config.operator),
                ("noise", config.noise),
                ("reconstructor", config.reconstructor),
            )
        }
        problem = Problem(built["operator"], built["noise"])
        problem.measured_range = config.measured_range
        reconstructor: Reconstructor = built["reconstructor"]
        shape = tuple(config.image_shape)
        with torch.random.fork_rng(devices=[]):
            try:
                with within_memory(), blamed(reconstructor, ""):
                    reconstructor.setup(problem, shape)
            except InvregError as error:
                raise error.at(f"{self.path / CONFIG}, reconstructor", of=reconstructor) from None
        fit_weights(reconstructor, self.read_tensors(_WEIGHTS), self.path / _WEIGHTS)
        reconstructor = reconstructor.to(device).eval()
        certificate = self._verified(reconstructor, is_proven, progress)
        return Model(config.name, reconstructor, problem, shape, certificate, self.path)

    def _build(self, kind: str, spec: Mapping[str, Any], config: ModelConfig, registry: Registry) -> Any:
        where = f"{self.path / CONFIG}, {kind}"
        name = str(spec.get("name"))
        try:
            registry.entry(kind, name)
        except SpecError as error:
            package, version = [*config.packages.get(kind, []), "", ""][:2]
            raise SpecError(
                f"there is no {kind} {name!r}, which this model needs",
                where=where,
                expected=f"the plugin of {package} {version}" if package else "a plugin that registers it",
                hint=f"pip install {package}; `invreg plugins` shows what is installed"
                if package not in ("", "invreg")
                else error.hint,
            ) from None
        return registry.build(kind, dict(spec), where)

    def _verified(self, reconstructor: Reconstructor, is_proven: bool, progress: bool) -> StabilityCertificate | None:
        certificate = self.certificate
        if certificate is None:
            return None
        digests = [self.read(name, digest) for name in _PROVEN]
        is_proven = is_proven or proofs.is_proven(*digests)
        what = f"{self.path}: verifying the certificate against the weights, once on this machine"
        with said(what, progress=progress and not is_proven):
            holds = verify(reconstructor, certificate, is_proven, str(self.path / _CERTIFICATE))
        if not holds:
            return None
        if not is_proven:
            proofs.note_proof(*digests)
        return certificate


def verify(reconstructor: Reconstructor, certificate: StabilityCertificate, is_proven: bool, where: str) -> bool:
    """Verifies a certificate against the weights; one that is proven is only given to a method that can take it.

    Returns:
        False for a method that cannot certify anything, so that nothing is known of the certificate.

    Raises:
        CertificateError: if it does not hold.
    """
    try:
        if is_proven and isinstance(reconstructor, ReconstructsWithBound):
            reconstructor.accept(certificate)
        elif isinstance(reconstructor, CertifiesStability):
            reconstructor.verify(certificate)
        else:
            return False
    except CertificateError as error:
        raise error.at(where) from None
    return True


def save_model(
    model: Model,
    to: Path,
    registry: Registry,
    history: History | None = None,
    programs: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes a model as a folder, whole or not at all.

    A certificate is made if the method can make one and there is none yet.

    Args:
        model: the model.
        to: a folder that does not exist yet, or is empty.
        registry: where its components come from.
        history: what its card says of its making.
        programs: further files, see `programs`.

    Returns:
        The folder.

    Raises:
        StoreError: if it cannot be written, or holds files already.
        SpecError: if a component has no spec, so that the model could not be loaded again.
        CertificateError: if its weights cannot be certified.
    """
    if to.is_symlink() or (to.exists() and not (to.is_dir() and not any(to.iterdir()))):
        raise StoreError(
            "exists already", where=str(to), expected="a folder that does not exist yet", hint="another `to`"
        )
    certificate = model.certify()
    config = _config(model, registry, history or History())
    files = {
        **(programs or {}),
        _WEIGHTS: tensor_bytes(model.reconstructor.state_dict()),
        CONFIG: json_bytes(asdict(config)),
    }
    if certificate is not None:
        files[_CERTIFICATE] = json_bytes(certificate.content, indent=None)
    try:
        with whole_folder(to) as made:
            folder = ModelFolder(made)
            has_residuals = not isinstance(model.problem.operator, UnknownOperator)
            folder.write_text(CARD, card(config, certificate, has_residuals=has_residuals))
            folder.write_stage("model", files)
    except OSError as error:
        raise cannot_write(to, error, "a folder that can be made", "free space, or another `to`") from None
    if certificate is not None:
        proofs.note_proof(*(digest(files[name]) for name in _PROVEN))
    return to


def _config(model: Model, registry: Registry, history: History) -> ModelConfig:
    noise = model.problem.noise
    parts = {
        "reconstructor": spec_of(model.reconstructor, registry),
        "operator": spec_of(model.problem.operator, registry),
        "noise": spec_of(noise, registry) if noise is not None else {"name": "none"},
    }
    packages = {}
    for kind, spec in parts.items():
        plugin = registry.entry(kind, spec["name"]).plugin
        packages[kind] = [plugin.distribution, plugin.version]
    return ModelConfig(
        format=_FORMAT,
        name=model.name,
        image_shape=list(model.image_shape),
        parameters=sum(weight.numel() for weight in model.reconstructor.parameters()),
        packages=packages,
        history=history,
        measured_range=model.problem.measured_range,
        **parts,
    )
