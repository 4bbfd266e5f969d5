"""The analysis of certificates: what it keeps, draws and says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from analysis_helpers import Stand, make_run, through_files, with_learners

from invreg.components.analyzer import CompletedRun
from invreg.components.certificate import StabilityCertificate, certificate_content
from invreg_analyses.stability.certificate import Certificate


class Certified(Stand):
    """Stands for a network that certifies its stability."""

    def certificate(self) -> StabilityCertificate:
        raise AssertionError("the run has it")

    def verify(self, certificate: StabilityCertificate) -> None:
        raise AssertionError("the run has done it")


def certificate(inverse: dict[str, Any], whole: float | None, **further: Any) -> StabilityCertificate:
    forward = {"product": 3.0, "schur": 2.0, "certified": 2.0}
    return StabilityCertificate(certificate_content(inverse, forward, whole, "", "z", further))


@pytest.fixture
def run() -> CompletedRun:
    stands = {"proven": Certified(weights=3), "unproven": Certified(weights=3)}
    made = with_learners(make_run({"raw": 0.1, "proven": 0.05, "unproven": 0.05}), **stands)
    subnetworks = [{"lipschitz": 0.5, "bounds": {"nested": 1}}, {"lipschitz": 0.25}]
    certificates = {
        "proven": certificate(
            {"product": 1000.0, "mu": 10.0, "certified": 10.0}, 20.0, subnetworks=subnetworks, role="forward"
        ),
        "unproven": certificate({"product": None, "mu": None, "certified": None}, None),
    }
    return replace(made, certificates=certificates)


def test_bounds_are_kept_by_proof(run: CompletedRun, tmp_path: Path) -> None:
    findings = through_files(Certificate().analyze(run), tmp_path)
    bounds = findings.tables["bounds"].set_index(["method", "of", "proof"])["bound"]
    assert bounds["proven", "inverse", "product"] == 1000
    assert bounds["proven", "inverse", "mu"] == 10
    assert bounds["proven", "forward", "schur"] == 2
    assert bounds["proven", "reconstruction", "certified"] == 20
    assert bounds.isna()["unproven", "inverse", "mu"]
    assert findings.tables["subnetworks"]["lipschitz"].tolist() == [0.5, 0.25]
    assert "bounds" not in findings.tables["subnetworks"]
    assert findings.scalars == {
        "reconstruction_lipschitz_proven": 20.0,
        "reconstruction_lipschitz_unproven": "not proven",
    }
    assert "at most 20 d" in findings.text
    assert "unproven, as certified for this analysis: no bound could be proven" in findings.text
    figure = Certificate().draw(findings)["bounds"]
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert {"1000", "10", "20", "2", "3"} == set(texts)
    # The sentence and the bars are joined: what the reconstruction has, and the inverse alone.
    assert "The inverse of the network alone has the bound 10;" in findings.text
    assert "makes it 20." in findings.text
    labels = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert "proven: reconstruction" in labels


def test_nothing_proven_is_nothing_drawn(run: CompletedRun, tmp_path: Path) -> None:
    only = replace(run, methods={"unproven": run.methods["unproven"]})
    only = replace(only, certificates={"unproven": certificate({"certified": None}, None)})
    for found in [Certificate().analyze(only), through_files(Certificate().analyze(only), tmp_path)]:
        found.tables["bounds"] = found.tables["bounds"][found.tables["bounds"]["of"] == "inverse"]
        assert Certificate().draw(found) == {}
