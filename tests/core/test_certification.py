"""Certificates in a run: finalised weights, files that are verified when read, the command line and the report."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from matplotlib.figure import Figure
from seals import reseal

import invreg
import toy
from invreg import api, cli
from invreg.api import certify, run
from invreg.components.analyzer import Analyzer, CompletedRun, Findings
from invreg.components.certificate import StabilityCertificate, certificate_content, rounded_up, smallest
from invreg.components.reconstructor import CertifiesStability
from invreg.errors import CertificateError, InvregError, StoreError
from invreg.plugins.registry import Registry

MADE: list[float] = []


class CertifiedGain(toy.Gain):
    """Multiplies by a gain of at most 2, which `finalise` sees to; Lip(R) is the gain."""

    def finalise(self) -> None:
        with torch.no_grad():
            self.gain.clamp_(max=1.5)

    def certificate(self) -> StabilityCertificate:
        gain = float(self.gain.detach())
        MADE.append(gain)
        bounds = {"product": gain, "better": None}
        inverse = {**bounds, "certified": smallest(bounds)}
        return StabilityCertificate(certificate_content(inverse, {"certified": None}, gain, str(gain), "z", {}))

    def verify(self, certificate: StabilityCertificate) -> None:
        if certificate.reconstruction_lipschitz != float(self.gain.detach()):
            raise CertificateError("another gain", where="certificate")


class Prove(Analyzer):
    requires: ClassVar = (CertifiesStability,)

    def analyze(self, run: CompletedRun) -> Findings:
        return Findings({f"{k}": v.reconstruction_lipschitz or 0.0 for k, v in run.certificates.items()})

    def draw(self, findings: Findings) -> Mapping[str, Figure]:
        return {}


class Plugin:
    @staticmethod
    @invreg.hookimpl
    def invreg_components() -> Mapping[str, type]:
        return {"certified_gain": CertifiedGain, "prove": Prove}


@pytest.fixture
def registry() -> Registry:
    MADE.clear()
    return Registry({**toy.plugins(), "proofs": Plugin()})


def spec(**changes: Any) -> dict[str, Any]:
    given = copy.deepcopy(toy.SPEC)
    method = {"reconstructor": "certified_gain", "trainer": "least_squares"}
    return {**given, "methods": {"raw": "raw", "sure": method}, "analyses": ["prove"], **changes}


def test_weights_are_finalised_before_anything_is_saved(registry: Registry, tmp_path: Path) -> None:
    result = run(spec(), tmp_path, "cpu", progress=False, registry=registry)
    assert float(result.methods["sure"].reconstructor.gain) == 1.5  # least squares finds 2
    loaded = invreg.load(result.folder, registry=registry)
    assert float(loaded.methods["sure"].reconstructor.gain) == 1.5
    assert result.findings["prove"].scalars == {"sure": 1.5}


@pytest.mark.slow
def test_a_certificate_is_made_once_and_verified_when_read(registry: Registry, tmp_path: Path) -> None:
    folder = run(spec(), tmp_path, "cpu", progress=False, registry=registry).folder
    file = folder / "methods/sure/certificate.json"
    assert json.loads(file.read_text())["reconstruction_lipschitz"] == 1.5
    assert MADE == [1.5]
    found = certify(folder, registry)
    assert set(found) == {"sure"}
    assert found["sure"].inverse_lipschitz == {"product": 1.5, "better": None, "certified": 1.5}
    assert MADE == [1.5]
    file.unlink()
    certify(folder, registry)
    assert MADE == [1.5, 1.5]
    assert "at most 1.5" in (folder / "report.html").read_text()


def test_the_report_does_not_say_what_was_not_verified(registry: Registry, tmp_path: Path) -> None:
    folder = run(spec(), tmp_path, "cpu", progress=False, registry=registry).folder
    file = folder / "methods/sure/certificate.json"
    assert "have exact reconstructions that differ by at most 1.5" in (folder / "report.html").read_text()
    file.write_text(file.read_text().replace('"reconstruction_lipschitz": 1.5', '"reconstruction_lipschitz": 1.25'))
    with pytest.raises(StoreError, match=r"certificate\.json: was changed[\s\S]*invreg certify"):
        api.redraw(folder, registry)
    reseal(folder)
    report = api.redraw(folder, registry).read_text()
    assert "at most 1.25" not in report
    assert "has not been verified as it is now" in report


def test_a_certificate_of_other_weights_stops_the_command(registry: Registry, tmp_path: Path) -> None:
    folder = run(spec(), tmp_path, "cpu", progress=False, registry=registry).folder
    file = folder / "methods/sure/certificate.json"
    file.write_text(file.read_text().replace("1.5", "1.4"))
    with pytest.raises(StoreError, match=r"certificate\.json: was changed[\s\S]*invreg certify"):
        certify(folder, registry)
    reseal(folder)
    with pytest.raises(CertificateError, match=r"certificate.json[\s\S]*another gain"):
        certify(folder, registry)
    file.write_text("{}")
    reseal(folder)
    with pytest.raises(CertificateError, match=r"certificate.json[\s\S]*format"):
        certify(folder, registry)
    file.write_text("{")
    reseal(folder)
    with pytest.raises(InvregError, match=r"certificate.json[\s\S]*cannot be read"):
        certify(folder, registry)


def test_weights_that_cannot_be_finalised_name_their_method(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: CertifiedGain) -> None:
        raise CertificateError("weights that are not finite")

    monkeypatch.setattr(CertifiedGain, "finalise", broken)
    with pytest.raises(InvregError, match=r"methods\.sure[\s\S]*not finite"):
        run(spec(), tmp_path, "cpu", progress=False, registry=registry)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["invreg", *arguments])
    with pytest.raises(SystemExit) as done:
        cli.main()
    return int(done.value.code or 0)


def test_command_prints_the_sentence(
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = run(spec(), tmp_path, "cpu", progress=False, registry=registry).folder
    real = api.certify
    monkeypatch.setattr(api, "certify", lambda folder: real(folder, registry))
    assert command(monkeypatch, "certify", str(folder)) == 0
    assert "sure: Proven: two measurements that differ by d" in capsys.readouterr().out
    monkeypatch.setattr(CertifiedGain, "verify", lambda self, certificate: None)
    file = folder / "methods/sure/certificate.json"
    file.write_text(file.read_text().replace('"reconstruction_lipschitz": 1.5', '"reconstruction_lipschitz": null'))
    reseal(folder)
    assert command(monkeypatch, "certify", str(folder)) == 1
    printed = capsys.readouterr().out
    assert "No bound could be proven" in printed
    assert "1.5" not in printed


def test_command_says_where_nothing_can_be_certified(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(spec(methods={"raw": "raw"}, analyses=[]), tmp_path, "cpu", progress=False, registry=registry).folder
    real = api.certify
    monkeypatch.setattr(api, "certify", lambda folder: real(folder, registry))
    assert command(monkeypatch, "certify", str(folder)) == 1
    assert "no method of this run can certify" in capsys.readouterr().err
    assert command(monkeypatch, "certify", str(tmp_path / "nowhere")) == 2


@pytest.mark.parametrize(("bound", "text"), [(10.7, "10.70"), (1000.4999, "1001"), (1.23456e5, "123500"), (2.0, "2")])
def test_bounds_are_rounded_up(bound: float, text: str) -> None:
    content = certificate_content({"certified": bound}, {"certified": None}, bound, "", "z", {})
    sentence = StabilityCertificate(content).sentence
    assert f"at most {text} d" in sentence
    assert float(text) >= bound


@pytest.mark.parametrize(
    ("bound", "text"),
    [(1.23456e24, "1.235e+24"), (9.9999e8, "1.000e+9"), (2e12, "2.000e+12"), (1.00001e-9, "1.001e-9")],
)
def test_bounds_of_many_digits_have_an_exponent(bound: float, text: str) -> None:
    assert rounded_up(bound) == text
    assert float(text) >= bound
