"""Measurements without truth: what can be said of their reconstructions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from invreg import (
    Analyzer,
    CompletedRun,
    DataError,
    Findings,
    InvregError,
    Model,
    Noise,
    ReconstructsWithBound,
    UnknownOperator,
    find_images,
    read_image,
    recorded_warnings,
    stream_key,
)
from invreg.text import number, plural
from invreg_analyses.measurements.figures import draw_measurement, draw_residuals
from invreg_analyses.measurements.whiteness import correlation
from invreg_analyses.shared.evaluated import as_evaluated
from invreg_analyses.shared.progress import Progress
from invreg_analyses.shared.tables import methods_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_COLUMNS = ("method", "file", "residual", "expected", "correlation", "p", "distance", "noise_distance")
#: Residuals count as correlated below this p-value.
_LEVEL = 0.05


class NewMeasurements(Analyzer):
    """Measurements from files, of which no truth is known: residuals, whether they look like noise, and proven errors.

    With F the operator, z a measurement and x its reconstruction R(z), for each method and file:

    - `residual` = ||F(x) - z|| / sqrt(n), n the number of values, and `expected`, what the noise model alone gives. A
      residual far above it: the method, or the model of F, does not explain z. Far below: x explains the noise, too.
    - `correlation` = Σ ρ², over all lags of at most three rows and columns, of the autocorrelation ρ of F(x) - z: 0 for
      white noise. `p` is the share of draws of the noise model, on F(x), that are at least as correlated. A small one:
      there is structure in the residual, which the noise does not have.
    - `distance`, proven, of methods that can: ||x - R(z)||_2 with R computed exactly is at most this.
    - `noise_distance`, proven: x is at most this far from the exact reconstruction of every measurement that is as near
      to z as the noise makes it, in norm; where measurements lie in X.

    The first four need an operator that is known, the expectations a noise model. Files may have any size where
    measurements have the shape of images; of colours, each is reconstructed alone by a method of grey images.

    Source: the whiteness of residuals, Almeida & Figueiredo 2013.
    """

    def __init__(
        self,
        path: Annotated[
            Path,
            Field(
                description="a file, or a folder that is searched at any depth: images, and arrays (NPY, NPZ)",
                examples=["scans/"],
            ),
        ],
        white: Annotated[
            float | None,
            Field(gt=0, description="the stored value that a measurement of 1 has; none: 255, 65535 or 1, by the type"),
        ] = None,
        count: Annotated[int, Field(ge=0, le=24, description="number of files that are shown, the first ones")] = 4,
        draws: Annotated[
            int, Field(ge=9, le=10_000, description="of the noise; p-values are multiples of 1 / (draws + 1)")
        ] = 39,
    ) -> None:
        self.path, self.white, self.count, self.draws = path, white, count, draws

    def analyze(self, run: CompletedRun) -> Findings:
        import pandas as pd

        files = self._files()
        rows: list[dict[str, Any]] = []
        arrays: dict[str, Any] = {}
        progress = Progress(run.events, "new_measurements", "files", len(files) * len(run.methods))
        messages: list[str] = []
        for index, (name, path) in enumerate(files):
            z = read_image(path, self.white).pixels
            measurement = z / np.float32(255) if z.dtype == np.uint8 else z
            images, residuals = [], []
            for label in run.methods:
                with recorded_warnings(messages):
                    try:
                        row, image, residual = self._one(run, label, measurement, stream_key(run.seed, "new", name))
                    except InvregError as error:
                        error.where = f"{path}, {label}"
                        raise
                rows.append({"method": label, "file": name, **row})
                images.append(image)
                residuals.append(residual)
                progress.advance(1)
            if index < self.count:
                arrays[f"images_{index}"] = np.stack(images)
                if measurement.shape == images[0].shape:
                    arrays[f"measurement_{index}"] = measurement
                if all(one is not None and one.shape == images[0].shape for one in residuals):
                    arrays[f"residuals_{index}"] = np.stack([one for one in residuals if one is not None])
        table = pd.DataFrame(rows, columns=list(_COLUMNS))
        return Findings(
            scalars={"files": len(files), "draws": self.draws},
            tables={"measurements": table, "methods": methods_table(run)},
            arrays={key: np.asarray(values, np.float32) for key, values in arrays.items()},
            text=_sentence(table, len(files)),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        table = findings.tables["measurements"]
        figures = {"residuals": draw_residuals(findings)} if table["residual"].notna().any() else {}
        shown = sum(key.startswith("images_") for key in findings.arrays)
        return figures | {f"measurement_{i + 1}": draw_measurement(findings, i) for i in range(shown)}

    def _files(self) -> list[tuple[str, Path]]:
        try:
            path = self.path.expanduser()
        except RuntimeError as error:  # ~name of a user that does not exist
            raise DataError(str(error), where=str(self.path), expected="a file or a folder") from error
        if path.is_file():
            return [(path.name, path)]
        return [(name, path / name) for name in find_images(path, arrays=True)]

    def _one(self, run: CompletedRun, label: str, z: Any, key: int) -> tuple[dict[str, float], Any, Any]:
        """The row of a method and a file, the reconstruction and F(x) - z, both as z is."""
        net, noise = run.methods[label].reconstructor, run.problem.noise
        shape = run.images.test.image_shape
        size = None if noise is None else _noise_norm(noise, torch.from_numpy(np.ascontiguousarray(z))[None], key)
        can_prove = isinstance(net, ReconstructsWithBound)
        certificate = run.certificates.get(label) if can_prove else None  # made once, not for each file
        # A distance among measurements says nothing of one in X, where they lie elsewhere.
        is_in_x = tuple(run.problem.operator.range_shape(shape)) == tuple(shape)
        with as_evaluated(net):
            found = Model(label, net, run.problem, shape, certificate).reconstruct(
                z, size or None if can_prove and is_in_x else None
            )
        row = {
            "residual": _or_nan(found.residual),
            "expected": _or_nan(found.expected_residual) or math.nan,
            "correlation": math.nan,
            "p": math.nan,
            "distance": _or_nan(found.distance),
            "noise_distance": _or_nan(found.data_distance),
        }
        residual = None
        if not isinstance(run.problem.operator, UnknownOperator):
            x = torch.from_numpy(np.ascontiguousarray(found.image)).reshape(-1, *_image(found.image.shape, shape))
            with torch.no_grad():
                clean = run.problem.operator(x.to(run.device)).cpu()
            difference = clean.reshape(z.shape) - torch.from_numpy(np.ascontiguousarray(z))
            row["correlation"] = correlation(difference)
            row["p"] = self._p(noise, clean, row["correlation"], key)
            residual = difference.numpy()
        return row, found.image, residual

    def _p(self, noise: Noise | None, clean: Tensor, found: float, key: int) -> float:
        if noise is None or math.isnan(found):
            return math.nan
        drawn = []
        for one in range(self.draws):
            keys = [stream_key(key, "whiteness", one, part) for part in range(len(clean))]
            drawn.append(correlation(noise.sample(clean, keys) - clean))
        if not any(map(math.isfinite, drawn)):  # no noise
            return math.nan
        return (1 + sum(one >= found for one in drawn)) / (1 + self.draws)


def _noise_norm(noise: Noise, z: Tensor, key: int) -> float:
    """The norm of what the noise model adds to measurements like z; negative values are none that F gives to images."""
    like = z.clamp(min=0)
    return float((noise.sample(like, [key]).double() - like.double()).norm())


def _image(found: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one image for the operator: colours are images of their own for a problem of grey images."""
    return (shape[0], *found[-2:])


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _sentence(table: pd.DataFrame, files: int) -> str:
    parts = []
    for label, own in table.groupby("method", sort=False):
        said = []
        if own["residual"].notna().any():
            text = f"a residual of {number(own['residual'].mean())} on average"
            expected = own["expected"].mean()
            said.append(text if math.isnan(expected) else f"{text} (noise alone: {number(expected)})")
        if own["p"].notna().any():
            said.append(f"{plural(int((own['p'] < _LEVEL).sum()), 'residual')} more correlated than noise")
        if own["distance"].notna().any():
            said.append(f"at most {number(own['distance'].max())} from the exact reconstruction, proven")
        if said:
            parts.append(f"{label}: {', '.join(said)}")
    return f"{plural(files, 'measurement')} without truth. " + ("; ".join(parts) + "." if parts else "")
