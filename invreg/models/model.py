"""A trained method as a thing of its own: give it a measurement, get an image and what is proven of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invreg.components.certificate import StabilityCertificate, rounded_up
from invreg.components.operator import Shape, UnknownOperator
from invreg.components.problem import Problem
from invreg.components.reconstructor import (
    BoundedReconstruction,
    CertifiesStability,
    Reconstructor,
    ReconstructsWithBound,
)
from invreg.components.tiles import MOST_MEMORY, is_too_large, reconstruct_within
from invreg.components.trainer import TrainingLog
from invreg.computing.streams import stream_key
from invreg.computing.waiting import said
from invreg.errors import CertificateError, ShapeError, SpecError, recorded_warnings
from invreg.files import usable_path
from invreg.models.arrays import Batch, as_batch
from invreg.summaries import Summary, brief

#: What is asked of a proven reconstruction: an error of a quarter of a step of 8 bits, as a root mean square.
_TOLERANCE = 1e-3

#: A residual of more than so many times the expected one says that the measurement is of another problem.
_FOREIGN = 2.0

#: A proof computes in float64, and keeps more than the reconstruction does.
_MEMORY_OF_PROOF = 2


@dataclass(frozen=True)
class Reconstruction:
    """What a model makes of a measurement.

    Attributes:
        image: as the measurement was given: NumPy or torch, the same layout; floating point, for images in [0, 1].
        residual: root mean square of F(x) - z; None where F cannot be computed.
        expected_residual: what it would be if x were the true image: the noise of the problem, and what its operator
            draws.
        distance: proven: the Euclidean distance between x and the exact reconstruction R(z) is at most this; the
            largest one of a batch. None for methods that prove nothing.
        data_distance: proven, where a data error was given: the distance between x and the exact reconstruction of
            every measurement so near; the largest one of a batch.
        notes: what was done to the measurement, and the warnings.
    """

    image: Any = field(repr=False)
    residual: float | None
    expected_residual: float | None
    distance: float | None
    data_distance: float | None
    notes: tuple[str, ...]


class Model:
    """A trained method, ready for measurements.

    Args:
        name: of the model, or the label of the method in its run.
        reconstructor: set up.
        problem: operator and noise for which it was trained.
        image_shape: (C, H, W) of the images, or (C, D, H, W) of the volumes, that it was set up for.
        certificate: what is proven of its weights, verified; None if nothing is.
        folder: where it was loaded from.
        log: what happened in its training, where that is known.
    """

    def __init__(
        self,
        name: str,
        reconstructor: Reconstructor,
        problem: Problem,
        image_shape: Shape,
        certificate: StabilityCertificate | None = None,
        folder: Path | None = None,
        log: TrainingLog | None = None,
    ) -> None:
        self.name = name
        self.reconstructor = reconstructor.eval().requires_grad_(False)
        self.problem = problem
        self.image_shape = tuple(image_shape)
        self.certificate = certificate
        self.folder = folder
        self.log = log or TrainingLog()

    def __repr__(self) -> str:
        proven = None if self.certificate is None else self.certificate.reconstruction_lipschitz
        bound = "" if proven is None else f", Lip(R) <= {rounded_up(proven)}"
        operator, noise = type(self.problem.operator).__name__, type(self.problem.noise).__name__
        return f"Model({self.name!r}: {type(self.reconstructor).__name__} for {operator} and {noise}{bound})"

    def _repr_html_(self) -> str:
        proven = None if self.certificate is None else f"{self.certificate.statement}."
        parts = {
            "reconstructor": self.reconstructor,
            "operator": self.problem.operator,
            "noise": self.problem.noise,
            "images": f"{list(self.image_shape)}, for which it was set up",
        }
        rows = [(name, part if isinstance(part, str) else brief(part)) for name, part in parts.items()]
        return Summary(f"Model {self.name!r}", (), rows, [proven] if proven else []).html()

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        state = [*self.reconstructor.parameters(), *self.reconstructor.buffers()]
        state += [*self.problem.operator.parameters(), *self.problem.operator.buffers()]
        return state[0].device if state else torch.device("cpu")

    def reconstruct(
        self, measurement: Any, data_error: float | None = None, *, prove: bool = True, tolerance: float | None = None
    ) -> Reconstruction:
        """The image of a measurement, with its residual and, for methods that can, its proven error.

        Where measurements have the shape of images, they may have any size, and channels last; colours are
        reconstructed one by one where the method is for grey images. 8 and 16 bits are divided by the value of white.
        An image that would take too much memory is reconstructed in tiles, without a proof.

        Args:
            measurement: NumPy or torch: `[H, W]`, `[C, H, W]`, `[N, C, H, W]` (for volumes with D in front of H), or
                the shape of one measurement or a batch of them.
            data_error: the Euclidean distance between the measurement, on the scale of images in [0, 1], and the exact
                one, for methods with proofs.
            prove: whether to prove the distance, which takes several times as long as the reconstruction.
            tolerance: the Euclidean distance to reach; one of 0.001 in each value if None.

        Raises:
            SpecError: for a data error or a tolerance that is not a distance, or a data error without proofs.
            DataError: for values that are not numbers on the scale of the problem.
            ShapeError: for a shape that is not one of a measurement.
            CertificateError: if a data error is given and the method cannot prove anything.
        """
        self.check(data_error, prove, tolerance)
        can_prove = isinstance(self.reconstructor, ReconstructsWithBound)
        batch = as_batch(measurement, self.problem, self.image_shape, f"model {self.name!r}")
        z = batch.z.to(self.device)
        notes = list(batch.notes)
        if prove and can_prove:
            self.certify()
        with torch.no_grad(), recorded_warnings(notes):
            try:
                found = self._reconstruct(z, data_error, tolerance, prove and can_prove, notes)
            except ShapeError as error:  # to a trained method, another padding is not advice
                error.where, error.hint = f"model {self.name!r}", None
                raise
            x = torch.cat([one.image for one in found])
            residual, expected = self._residuals(x, z)
        if residual is not None and expected and residual > _FOREIGN * expected:
            notes.append(
                f"the residual is {residual / expected:.1f} times that of the noise, so this does not look like a "
                f"measurement by {type(self.problem.operator).__name__} with such noise; "
                "what is proven is the distance to R(z), not to the truth"
            )
        distance, data_distance = _largest(batch, found)
        return Reconstruction(batch.back(x), residual, expected, distance, data_distance, tuple(notes))

    def certify(self, *, progress: bool = True) -> StabilityCertificate | None:
        """The certificate of a method that can certify its stability; it is made now if there is none yet.

        That takes seconds for small networks, and minutes for large ones. `reconstruct` needs it for its proofs.

        Args:
            progress: whether standard error says so, if it takes more than a second.

        Returns:
            None for methods that cannot certify anything.

        Raises:
            CertificateError: if the weights cannot be certified.
        """
        if self.certificate is None and isinstance(self.reconstructor, CertifiesStability):
            with said(f"{self.name}: proving the stability of the network, once", progress=progress):
                self.certificate = self.reconstructor.certificate()
        return self.certificate

    def save(self, to: str | Path) -> Path:
        """Writes the model as a folder, from which `invreg.load_model` makes it again, see `invreg.export_model`.

        Args:
            to: a folder that does not exist yet.

        Raises:
            StoreError: if it cannot be written, or holds files already.
            SpecError: if a component is not registered by a plugin, so that the model could not be loaded again.
            CertificateError: if its weights cannot be certified.
        """
        from invreg.models.model_folder import save_model
        from invreg.plugins.registry import Registry

        return save_model(self, usable_path(to, "to"), Registry.installed())

    def check(self, data_error: float | None = None, prove: bool = True, tolerance: float | None = None) -> None:
        """Refuses what `reconstruct` cannot be asked for; see there."""
        for name, value, least in (("data_error", data_error, "0 or more"), ("tolerance", tolerance, "more than 0")):
            if value is None:
                continue
            if not isinstance(value, Real) or not 0 <= value < math.inf or (value == 0 and name == "tolerance"):
                raise SpecError(repr(value), where=name, expected=f"a Euclidean distance, {least}")
        if data_error is not None and not prove:
            raise SpecError("a data error without proofs", where="prove", expected="proofs, or no `data_error`")
        if data_error is not None and not isinstance(self.reconstructor, ReconstructsWithBound):
            raise CertificateError(
                f"a data error of {data_error:g} for {type(self.reconstructor).__name__}, which proves nothing",
                where=f"model {self.name!r}",
                expected="a method with proofs, as iresnet and explicit_iresnet",
                hint="leave out `data_error`",
            )

    def _reconstruct(
        self, z: Tensor, data_error: float | None, tolerance: float | None, prove: bool, notes: list[str]
    ) -> list[BoundedReconstruction]:
        net = self.reconstructor
        if prove and is_too_large(net, z, MOST_MEMORY / _MEMORY_OF_PROOF):
            notes.append("nothing is proven of this image: a proof would take too much memory")
            prove = False
        found: list[BoundedReconstruction] = []
        for part in z.split(self._batch_size(z, prove)):
            if prove and isinstance(net, ReconstructsWithBound):
                within = tolerance or _TOLERANCE * math.sqrt(part[0].numel())
                found.append(net.reconstruct(part, within, True, data_error or 0.0))
            else:
                found.append(_Unproven(reconstruct_within(net, part, MOST_MEMORY)))
        return found

    def _batch_size(self, z: Tensor, prove: bool) -> int:
        """How many measurements at once: as many as the memory is for, 16 at most."""
        per_pixel = self.reconstructor.memory_per_pixel
        if per_pixel is None:
            return 1
        is_image = z.ndim == len(self.image_shape) + 1
        pixels = math.prod(z.shape[2:] if is_image else self.image_shape[1:])
        return max(1, min(16, int(MOST_MEMORY / (_MEMORY_OF_PROOF if prove else 1) / (per_pixel * pixels))))

    def _residuals(self, x: Tensor, z: Tensor) -> tuple[float | None, float | None]:
        """Those of x, and of a measurement of x: with noise that depends on the signal, and what an operator draws."""
        if isinstance(self.problem.operator, UnknownOperator):
            return None, None
        sums = torch.zeros(2, dtype=torch.float64)
        for index in range(len(x)):
            clean = self.problem.operator(x[index : index + 1])
            sums[0] += float((clean.double() - z[index : index + 1].double()).square().sum())
            measured = self.problem.measure(x[index : index + 1], keys=[stream_key(0, "expected residual", index)])
            sums[1] += float((measured.double() - clean.double()).square().sum())
        residual, expected = (sums / z.numel()).sqrt().tolist()
        return residual, expected


@dataclass(frozen=True)
class _Unproven:
    image: Tensor
    error_bound: Tensor | None = None
    data_error_bound: Tensor | None = None


def _largest(batch: Batch, found: list[BoundedReconstruction]) -> tuple[float | None, float | None]:
    """The largest proven distances of a batch. Those of colours that were taken apart add up as squares.

    What a data error adds to the distance of one channel is proportional to its share of the data error, so it adds up
    to what it is for all of it.
    """
    if any(one.error_bound is None for one in found):
        return None, None
    bounds = torch.cat([one.error_bound for one in found if one.error_bound is not None]).double().cpu()
    together = batch.per_measurement(bounds.square()).sqrt() * (1 + 1e-12)
    distance = float(together.max())
    with_data = [one.data_error_bound for one in found if one.data_error_bound is not None]
    if len(with_data) < len(found):
        return distance, None
    added = float((torch.cat(with_data).double().cpu() - bounds).max())
    return distance, (distance + added) * (1 + 1e-9)
