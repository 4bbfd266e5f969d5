"""Do reconstructions converge to the truth as the noise goes to zero, along a choice L(δ)?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field

from invreg import (
    CompletedStudy,
    Findings,
    LearnsForwardMap,
    SpecError,
    StudyAnalyzer,
    StudyCell,
    recorded_warnings,
    spec_of,
)
from invreg_analyses.convergence.figures import draw_approximation, draw_bounds, draw_inversion
from invreg_analyses.convergence.measures import inverse_bound, measure, space_of
from invreg_analyses.convergence.parameter_choice import Curve, LeftOut, Pair, find_curves, ordered_choice
from invreg_analyses.convergence.rates import Rate, fit_rate
from invreg_analyses.convergence.text import convergence_text
from invreg_analyses.shared.study_choice import At, methods_in

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_PAPER = ((0.01, 0.999), (0.025, 0.99), (0.05, 0.95))
#: What is averaged over the images, with a standard error.
_ERRORS = (
    "inversion",
    "inversion_rmse",
    "error",
    "error_rmse",
    "amplified",
    "noise",
    "data_error",
    "data_term",
    "nominal_term",
    "total",
)
_MISFITS = ("misfit", "misfit_rmse")
_KEY = ["operator", "method", "noise_std", "lipschitz"]


@dataclass(frozen=True)
class _Point:
    """One network at one pair: its values by image, what is the same for all of them, and the size of the test set."""

    values: pd.DataFrame
    constants: dict[str, Any]
    rule: dict[str, Any]
    total: int


class Convergence(StudyAnalyzer):
    """The theorem of convergence, asked of the networks of a study along a choice of parameters L(δ).

    For every operator and every method that has learned a forward map and has a parameter `lipschitz`, each pair of δ
    and L belongs to the network that was trained with them. On the test images x, with F the operator, R the
    reconstruction and z the noisy data, in Euclidean norms:

    - `errors`: ||R(F x) - x||, condition (2.6), and ||R(z) - x||, with the bound Lip ||z - F(x)|| + ||R(F x) - x|| from
      the proof of the theorem. Lip is that of the certificate in the cell's run folder (see the analysis
      `certificate`), or else 1 / (1 - L), which `nominal_term` has in any case.
    - `approximation`: how far phi is from F, the local approximation property (2.4). It is about lifted states,
      ||phi(s P x) - s P F(x)|| / sqrt(copies), where a network acts on them; else about images.
    - `rates`: the exponent p of that distance ~ (1 - L)^p, and of ||R(F x) - x||. Property (2.4) needs p > 1. The
      `verdict` is `seen` or `not seen` if one standard error leaves no doubt; otherwise `not decided`.
    - `rule`: δ / (1 - L), which (2.5) wants to go to zero, per pixel and as a norm, δ = std * sqrt(values of F(x)).
    - `trends`: whether both errors, and the term Lip ||z - F(x)|| of the bound, fall at every step.

    Means come with standard errors over the images; they know nothing of other trainings. A few values of L cannot
    prove a limit.

    Raises:
        SpecError: if the pairs are not such a choice, or no method has a cell for each of them.
        DataError: if the data set no longer has the images that the study was run with.

    Source: Arndt & Nickel 2024, theorem 2.1, equations (2.4) to (2.6), figure 8.
    """

    def __init__(
        self,
        choice: Annotated[
            tuple[tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0, lt=1)]], ...],
            Field(description="pairs [noise.std, lipschitz]; L has to rise as the noise falls", min_length=2),
        ] = _PAPER,
        images: Annotated[int, Field(ge=1, description="number of test images, the first ones")] = 32,
        at: At = None,
    ) -> None:
        self.pairs = ordered_choice(choice)
        self.choice = tuple((pair.noise_std, pair.lipschitz) for pair in self.pairs)
        self.images = images
        self.at = at

    def analyze(self, study: CompletedStudy) -> Findings:
        import pandas as pd

        found = find_curves(study, self.pairs, self.at)
        left_out, messages = list(found.left_out), list[str]()
        points = self._points(found.curves, left_out, messages)
        long = pd.concat([point.values for point in points], ignore_index=True)
        keys = pd.DataFrame([point.constants for point in points])
        means = keys.merge(_means(long))
        rule = pd.DataFrame([point.rule for point in points]).drop_duplicates(ignore_index=True)
        tables = {
            "errors": means.drop(columns=["space", *_MISFITS, *(f"{name}_se" for name in _MISFITS)]),
            "approximation": means[[*_KEY, "space", "images", *_with_errors(_MISFITS)]],
            "rates": _rates(means, long),
            "trends": _trends(means),
            "rule": rule,
            "values": long,
            "left_out": pd.DataFrame([one.__dict__ for one in left_out], columns=["operator", "method", "reason"]),
            "warnings": pd.DataFrame({"warning": messages}, dtype=object),
            "methods": methods_in(study),
            "operators": keys[["operator"]].drop_duplicates(ignore_index=True),
        }
        scalars: dict[str, float | int | str | bool] = {
            "images": int(means["images"].max()),
            "test_images": max(point.total for point in points),
            "rule_falls": _falls(rule.loc[rule["operator"] == rule["operator"].iloc[0], "per_pixel"]),
        }
        return Findings(scalars, tables, text=" ".join(filter(None, [convergence_text(scalars, tables), found.fixed])))

    def _points(self, curves: Sequence[Curve], left_out: list[LeftOut], messages: list[str]) -> list[_Point]:
        """What is measured along the curves; networks that are not suited join those that are left out."""
        points: list[_Point] = []
        for curve in curves:
            reason = _unsuited(curve, self.pairs)
            if reason:
                left_out.append(LeftOut(curve.operator, curve.method, reason))
            else:
                points += [self._measured(curve, *one, messages) for one in zip(self.pairs, curve.cells, strict=True)]
        if not points:
            reasons = "; ".join(f"{one.method} under {one.operator}: {one.reason}" for one in left_out)
            raise SpecError(reasons, expected="a method that has learned a forward map and has a parameter `lipschitz`")
        return points

    def _measured(self, curve: Curve, pair: Pair, cell: StudyCell, messages: list[str]) -> _Point:
        bound = inverse_bound(cell, curve.method, pair.lipschitz)
        with recorded_warnings(messages):
            table = measure(cell, curve.method, self.images, bound)
        if bound.failure and bound.failure not in messages:
            messages.append(bound.failure)
        key = {"operator": curve.operator, "method": curve.method, **pair._asdict()}
        space = space_of(cell.result.methods[curve.method].reconstructor)
        shape = cell.problem.operator.range_shape(tuple(cell.identity.image_shape))
        return _Point(
            values=table.assign(**key)[[*_KEY, *table.columns]],
            constants=key | {"space": space, "inverse_bound": bound.value, "is_proven": bound.is_proven},
            rule={"operator": curve.operator, **_rule(pair, torch.Size(shape).numel())},
            total=len(cell.identity.test),
        )

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {
            "inversion_error": draw_inversion(findings),
            "approximation": draw_approximation(findings),
            "error_and_bound": draw_bounds(findings),
        }


def _unsuited(curve: Curve, pairs: Sequence[Pair]) -> str:
    """Why a method is not what the theorem is about; empty if it is."""
    for pair, cell in zip(pairs, curve.cells, strict=True):
        net = cell.result.methods[curve.method].reconstructor
        if not isinstance(net, LearnsForwardMap):
            return "it has no forward map"
        used = spec_of(net, cell.registry)["lipschitz"]
        if not math.isclose(1 - used, 1 - pair.lipschitz, rel_tol=1e-6):
            return f"its training has changed lipschitz from {pair.lipschitz:g} to {used:g}"
    return ""


def _rule(pair: Pair, values: int) -> dict[str, float]:
    delta = pair.noise_std * math.sqrt(values)
    room = 1 - pair.lipschitz
    return {**pair._asdict(), "delta": delta, "per_pixel": pair.noise_std / room, "norm": delta / room}


def _with_errors(names: Sequence[str]) -> list[str]:
    return [column for name in names for column in (name, f"{name}_se")]


def _means(values: pd.DataFrame) -> pd.DataFrame:
    """Means over the images with their standard errors; NaN for a single image."""
    import pandas as pd

    rows = []
    for key, group in values.groupby(_KEY, sort=False):
        row = dict(zip(_KEY, key, strict=True)) | {"images": len(group), "exceeds": int(group["exceeds"].sum())}
        for name in (*_ERRORS, *_MISFITS):
            row[name] = group[name].mean()
            row[f"{name}_se"] = group[name].std(ddof=1) / math.sqrt(len(group))
        rows.append(row)
    return pd.DataFrame(rows)


def _rates(means: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """The exponents of both quantities for each network, and how many single images have one above 1."""
    import pandas as pd

    rows = []
    for (operator, method), group in means.groupby(["operator", "method"], sort=False):
        own = values[(values["operator"] == operator) & (values["method"] == method)]
        for quantity in ("misfit", "inversion"):
            rate = fit_rate(1 - group["lipschitz"], group[quantity])
            single = [fit_rate(1 - one["lipschitz"], one[quantity]).exponent for _, one in own.groupby("image")]
            rows.append(
                {
                    "operator": operator,
                    "method": method,
                    "quantity": quantity,
                    "space": group["space"].iloc[0] if quantity == "misfit" else "X",
                    **rate.__dict__,
                    "verdict": _verdict(rate) if quantity == "misfit" else "",
                    "images": len(single),
                    "images_above_1": sum(exponent > 1 for exponent in single),
                }
            )
    return pd.DataFrame(rows)


def _trends(means: pd.DataFrame) -> pd.DataFrame:
    """Whether the mean errors, and the term Lip * data_error of the bound, fall at every step, for each network."""
    import pandas as pd

    rows = []
    for (operator, method), group in means.groupby(["operator", "method"], sort=False):
        falls = {name: _falls(group[name]) for name in ("inversion", "error", "data_term")}
        rows.append({"operator": operator, "method": method, **falls})
    return pd.DataFrame(rows)


def _falls(values: pd.Series) -> bool:
    """Whether each value is below the one before, by more than rounding."""
    return bool((values.pct_change().iloc[1:] < -1e-9).all())


def _verdict(rate: Rate) -> str:
    """Whether p > 1, as (2.4) needs."""
    if math.isnan(rate.exponent):
        return "not decided"
    doubt = 0.0 if math.isnan(rate.standard_error) else rate.standard_error
    if abs(rate.exponent - 1) <= doubt:
        return "not decided"
    return "seen" if rate.exponent > 1 else "not seen"
