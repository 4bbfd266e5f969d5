"""Convergence of reconstructions to the truth as the noise goes to zero, along a choice L(δ)."""

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
from invreg.text import count, plural
from invreg_analyses.convergence.figures import draw_approximation, draw_bounds, draw_inversion
from invreg_analyses.convergence.measures import inverse_bound, measure, space_of
from invreg_analyses.convergence.parameter_choice import Curve, LeftOut, Pair, find_curves, ordered_choice
from invreg_analyses.convergence.rates import KEY, MISFITS, falls, mean_table, rate_table, trend_table
from invreg_analyses.shared.study_choice import At, methods_in

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_PAPER = ((0.01, 0.999), (0.025, 0.99), (0.05, 0.95))


@dataclass(frozen=True)
class _Point:
    """One network at one pair: values by image, values common to all images, and the size of the test set."""

    values: pd.DataFrame
    constants: dict[str, Any]
    rule: dict[str, Any]
    total: int


class Convergence(StudyAnalyzer):
    """The quantities of the convergence theorem for the networks of a study, along a choice of parameters L(δ).

    For every operator and every method with a learned forward map phi and a parameter `lipschitz`, each pair of δ and L
    selects the network that was trained with them. On the test images x, with F the operator, R the reconstruction and
    z the noisy data, in Euclidean norms:

    - `errors`: ||R(F x) - x||, condition (2.6), and ||R(z) - x||, with the bound Lip ||z - F(x)|| + ||R(F x) - x|| from
      the proof of the theorem. Lip is that of the certificate in the cell's run folder (see the analysis
      `certificate`), or else 1 / (1 - L), which `nominal_term` has in any case.
    - `approximation`: the distance of phi from F, the local approximation property (2.4): of lifted states,
      ||phi(s P x) - s P F(x)|| / sqrt(copies), where a network acts on them; else of images.
    - `rates`: the exponent p of that distance ~ (1 - L)^p, and of ||R(F x) - x||. Property (2.4) needs p > 1. The
      `verdict` is `seen` or `not seen` if |p - 1| exceeds one standard error; otherwise `not decided`.
    - `rule`: δ / (1 - L), which has to go to zero by (2.5), per pixel and as a norm, δ = std * sqrt(values of F(x)).
    - `trends`: whether both errors, and the term Lip ||z - F(x)|| of the bound, fall at every step.

    Means have standard errors over the images, not over trainings. A few values of L cannot prove a limit.

    Raises:
        SpecError: if the pairs are not such a choice, or no method has a cell for each of them.
        DataError: if the data set no longer has the images that the study was run with.

    Source: Arndt & Nickel 2024, theorem 2.1, equations (2.4) to (2.6), figure 8.
    """

    needs_operator = True
    takes_volumes = True

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
        means = keys.merge(mean_table(long))
        misfits = [column for name in MISFITS for column in (name, f"{name}_se")]
        rule = pd.DataFrame([point.rule for point in points]).drop_duplicates(ignore_index=True)
        tables = {
            "errors": means.drop(columns=["space", *misfits]),
            "approximation": means[[*KEY, "space", "images", *misfits]],
            "rates": rate_table(means, long),
            "trends": trend_table(means),
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
            "rule_falls": falls(rule.loc[rule["operator"] == rule["operator"].iloc[0], "per_pixel"]),
        }
        return Findings(scalars, tables, text=" ".join(filter(None, [_text(scalars, tables), found.fixed])))

    def _points(self, curves: Sequence[Curve], left_out: list[LeftOut], messages: list[str]) -> list[_Point]:
        """The measurements along the curves; networks that do not suit are added to `left_out`."""
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
            values=table.assign(**key)[[*KEY, *table.columns]],
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
    """Why the theorem does not apply to a method; empty if it does."""
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


def _text(scalars: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> str:
    """How many networks have falling errors and the approximation property, and whether the theorem can explain it."""
    trends, rates, errors, rule = (tables[name] for name in ("trends", "rates", "errors", "rule"))
    rule = rule[rule["operator"] == rule["operator"].iloc[0]]
    choice = ", ".join(f"{std:g}: {value:g}" for std, value in zip(rule["noise_std"], rule["lipschitz"], strict=True))
    images, total = scalars["images"], scalars["test_images"]
    which = plural(total, "test image") if images == total else f"the first {images} of {total} test images"
    found = rates.loc[rates["quantity"] == "misfit", "verdict"].value_counts()
    verdicts = ", ".join(f"{name} for {found[name]}" for name in ("seen", "not decided", "not seen") if name in found)
    sentences = [
        f"Along the choice L(δ) with {choice}, over {which}, the mean error falls at every step for "
        f"{trends['inversion'].sum()} of {plural(len(trends), 'network')} with exact data and for "
        f"{trends['error'].sum()} with noisy data; the local approximation property (2.4) is {verdicts}; per pixel, "
        f"δ/(1 − L), which (2.5) wants to go to zero, is {', '.join(f'{value:.3g}' for value in rule['per_pixel'])}.",
        "A few values of L cannot prove a limit.",
    ]
    if not scalars["rule_falls"]:
        sentences.append(
            "On these levels the choice does not satisfy (2.5), so the theorem cannot explain what the errors do here."
        )
    if errors["exceeds"].any():
        exceeding = f"{count(int(errors['exceeds'].sum()))} of {count(int(errors['images'].sum()))}"
        sentences.append(f"The bound of the proof does not hold for {exceeding} reconstructions.")
    if len(tables["left_out"]):
        sentences.append(f"Left out: {plural(len(tables['left_out']), 'network')}, see the table `left_out`.")
    if len(tables["warnings"]):
        sentences.append("Warnings: " + " ".join(map(str, tables["warnings"]["warning"])))
    return " ".join(sentences)
