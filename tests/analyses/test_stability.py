"""The search for instability on maps whose Lipschitz constants are known, and on real methods."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from analysis_helpers import Learner, Stand, draw_svgs, make_run, texts, through_files, with_learners
from torch import Tensor

from invreg.components.analyzer import CompletedRun
from invreg.components.certificate import StabilityCertificate, certificate_content
from invreg.components.operator import LinearOperator, NormalOperator, Shape
from invreg.components.problem import Problem
from invreg.components.reconstructor import Reconstructor
from invreg.errors import CertificateError, ConvergenceWarning, DataError, SpecError
from invreg.plugins.registry import Registry
from invreg_analyses.stability.levels import noise_levels
from invreg_analyses.stability.stability import Stability
from invreg_analyses.stability.text import rounded_down, rounded_up
from invreg_baselines.tikhonov import Tikhonov
from invreg_iresnet.iresnet import IResNet
from invreg_operators.measured import Measured
from invreg_operators.noise.gaussian import GaussianNoise
from invreg_operators.noise.poisson import PoissonNoise
from invreg_tv.reconstructor import TotalVariation
from toy import Halved

NOISE = 0.02


class Given(Stand):
    """Stands for a network that reconstructs by a given function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__(weights=3)
        self.__dict__["_function"] = function

    def forward(self, z: Tensor) -> Tensor:
        result: Tensor = self.__dict__["_function"](z)
        return result


class Matrix(Given):
    """x = A z for a random matrix with given singular values, decreasing ones if left out."""

    def __init__(self, shape: tuple[int, int, int], norm: float) -> None:
        n = math.prod(shape)
        generator = torch.Generator().manual_seed(3)
        left, right = (torch.linalg.qr(torch.randn(n, n, generator=generator).double())[0] for _ in range(2))
        # A gap at the top: 20 iterations of power iteration find it.
        self.singular = norm * torch.cat([torch.ones(1), 0.8 * torch.rand(n - 1, generator=generator)]).double()
        matrix = ((left * self.singular) @ right.T).float()
        super().__init__(lambda z: (z.flatten(1) @ matrix.T).view(z.shape))


def bound_of(value: float | None) -> StabilityCertificate:
    return StabilityCertificate(certificate_content({"certified": value}, {"certified": None}, value, "", "z", {}))


def attacked(
    proven: Mapping[str, float | None] | None = None, size: tuple[int, int] = (8, 10), **methods: Reconstructor
) -> CompletedRun:
    """A run with these methods, in which the noise has the standard deviation NOISE."""
    run = make_run(dict.fromkeys(methods, 0.1), count=3, size=size, metrics=("psnr",))
    noise = NOISE * torch.randn(run.measurements.shape, generator=torch.Generator().manual_seed(2))
    certificates = {label: bound_of(value) for label, value in (proven or {}).items()}
    run = replace(run, measurements=run.measurements + noise, certificates=certificates)
    return with_learners(run, **methods)


def found_by_search(run: CompletedRun, **parameters: Any) -> pd.Series:
    return Stability(**parameters).analyze(run).tables["ratios"].groupby("search")["ratio"].max()


# -- maps whose constants are known


def test_the_norm_of_a_matrix_is_found_and_never_exceeded(tmp_path: Path) -> None:
    net = Matrix((1, 8, 10), 7.0)
    findings = Stability(iterations=30).analyze(attacked({"net": 7.0}, net=net))
    ratios = findings.tables["ratios"]
    assert set(ratios["search"]) == {"random", "power", "moving"}
    assert len(ratios) == 3 * (1 + 2 + 1)
    assert ratios["ratio"].max() <= 7.0 * (1 + 1e-4)
    assert (ratios.loc[ratios["search"] != "random", "ratio"] > 0.99 * 7.0).all()
    assert (ratios.loc[ratios["search"] == "random", "ratio"] < 0.8 * 7.0).all()
    assert findings.scalars["violations"] == 0
    assert findings.scalars["proven_net"] == 7.0
    assert findings.scalars["found_net"] == ratios["ratio"].max()
    assert "VIOLATED" not in findings.text


def test_every_ratio_is_one_of_evaluated_reconstructions() -> None:
    given: list[tuple[Tensor, Tensor]] = []

    def watched(z: Tensor) -> Tensor:
        x = torch.tanh(3 * z) + z.roll(1, -1) ** 2
        given.extend(zip(z.detach().double(), x.detach().double(), strict=True))
        return x

    ratios = Stability(images=1, iterations=3, draws=2, radii=(1.0,)).analyze(attacked(net=Given(watched)))
    pairs = [
        float((b[1] - a[1]).norm() / (b[0] - a[0]).norm()) for a in given for b in given if not torch.equal(a[0], b[0])
    ]
    for ratio in ratios.tables["ratios"]["ratio"]:
        assert min(abs(ratio - pair) for pair in pairs) < 1e-9 * ratio


def test_a_nonexpansive_map_stays_below_one() -> None:
    def soft(z: Tensor) -> Tensor:
        return z - z.clamp(-0.2, 0.2)

    findings = Stability().analyze(attacked({"net": 1.0}, net=Given(soft)))
    ratios = findings.tables["ratios"]["ratio"]
    assert 0.999 < ratios.max() <= 1 + 1e-4
    assert findings.scalars["violations"] == 0


def test_a_moving_measurement_finds_what_is_not_at_the_measurement() -> None:
    def steeper_away_from_zero(z: Tensor) -> Tensor:
        return z + z.square() / NOISE

    run = attacked(net=Given(steeper_away_from_zero))
    run = replace(run, measurements=1e-3 * run.measurements)  # the derivative at a measurement is almost that of z
    found = found_by_search(run, radii=(0.01,), reach=0.2, accuracy=1e-7)
    assert found["moving"] > 2 * found["power"]


def test_moving_stays_within_its_reach() -> None:
    run = attacked(net=Given(lambda z: z))
    z, furthest = run.measurements, [0.0]
    noise = (z - 0.5 * run.images.test.images).flatten(1).norm(dim=1)

    def pushing(x: Tensor) -> Tensor:
        away = torch.cdist(x.detach().flatten(1), z.flatten(1)) / noise
        furthest.append(float(away.min(dim=1).values.max()))
        return 30 * x.square()

    with_pusher = with_learners(run, net=Given(pushing))
    Stability(reach=0.5, radii=(0.25,)).analyze(with_pusher)
    assert 1.0 <= max(furthest) <= 1.0 + 1e-4  # random draws have the norm of the noise
    furthest.clear()
    Stability(reach=3.0, radii=(0.25,)).analyze(with_pusher)
    assert 3.0 <= max(furthest) <= 3.25 + 1e-4


# -- what contradicts a proof


@pytest.mark.slow
def test_a_wrong_bound_is_violated_in_plain_words(tmp_path: Path) -> None:
    run = attacked({"net": 2.0, "right": 7.1}, net=Matrix((1, 8, 10), 7.0), right=Matrix((1, 8, 10), 7.0))
    findings = Stability(iterations=30).analyze(run)
    ratios = findings.tables["ratios"].set_index("method").loc["net"]
    above = int((ratios["ratio"] > 2.0 + ratios["floor"]).sum())
    assert above > 0
    assert findings.scalars["violations"] == above
    sentences = findings.text.split(". ")
    assert sentences[0].startswith("net: the bound is VIOLATED: proven at most 2, found 7.00 at least")
    assert f"{above} of 12 ratios" in sentences[0]
    assert sentences[1].startswith("right: proven at most 7.1")
    drawn = draw_svgs(Stability(), through_files(findings, tmp_path))
    assert any(text.startswith("VIOLATED: proven ≤ 2,") for text in texts(drawn["found"]))
    assert any(text.endswith("times what was found") for text in texts(drawn["found"]))


def test_what_inexact_computation_explains_is_no_violation_and_said() -> None:
    findings = Stability(iterations=30).analyze(attacked({"net": 6.99}, net=Matrix((1, 8, 10), 7.0)))
    row = findings.tables["summary"].iloc[0]
    assert findings.scalars["violations"] == 0
    assert row["within_floor"] > 0
    assert "not a contradiction" in findings.text
    assert "VIOLATED" not in findings.text
    assert 0 < row["floor"] <= 0.05 * 7


def test_scattered_reconstructions_raise_the_floor() -> None:
    generator = torch.Generator().manual_seed(0)

    def rough(z: Tensor) -> Tensor:
        return z + 0.01 * torch.randn(z.shape, generator=generator)

    findings = Stability(iterations=2).analyze(attacked({"net": 1.0}, net=Given(rough)))
    assert findings.tables["ratios"]["ratio"].max() > 1.05
    assert findings.scalars["violations"] == 0
    assert "inexact computation may account for" in findings.text


def test_a_certificate_that_proves_nothing_or_does_not_hold() -> None:
    class Failing(dict[str, StabilityCertificate]):
        def __missing__(self, label: str) -> StabilityCertificate:
            if label == "stale":
                raise CertificateError("belongs to other weights", where="certificate.weights")
            raise KeyError(label)

    methods = {label: Given(lambda z: 2 * z) for label in ("unproven", "stale", "plain")}
    run = replace(attacked(**methods), certificates=Failing(unproven=bound_of(None)))
    findings = Stability(iterations=2).analyze(run)
    assert findings.scalars["proven_unproven"] == "not proven"
    assert findings.scalars["proven_stale"] == "not proven"
    assert "proven_plain" not in findings.scalars
    assert "stale: nothing proven, found 2 at least; no valid certificate (belongs to other weights)." in findings.text
    assert "plain: nothing proven, found 2 at least." in findings.text


# -- reconstructors without gradients, and broken ones


def test_without_a_gradient_a_subspace_is_searched() -> None:
    def blocks(z: Tensor) -> Tensor:
        """Amplifies the checkerboard by 5, what is flat by 1; outside autograd."""
        values = z.detach().numpy().copy()
        rows, columns = np.indices(values.shape[-2:])
        board = np.where((rows + columns) % 2, -1.0, 1.0).astype(values.dtype)
        share = (values * board).mean((-2, -1), keepdims=True)
        return torch.from_numpy(values + 4 * share * board)

    findings = Stability().analyze(attacked({"net": 5.0, "wrong": 3.0}, net=Given(blocks), wrong=Given(blocks)))
    ratios = findings.tables["ratios"]
    assert set(ratios["search"]) == {"random", "subspace"}
    assert 4.99 < ratios["ratio"].max() < 5.0001
    assert ratios.loc[ratios["search"] == "random", "ratio"].max() < 3
    assert "net: proven at most 5, found" in findings.text
    assert findings.text.count("without gradients") == 2
    assert "wrong: the bound is VIOLATED" in findings.text


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    [
        lambda z: (40 * z).round() / 40,  # a gradient that is zero
        lambda z: z * torch.sign(z) ** 2 + 0 * (z - z).sqrt(),  # one that is NaN
        lambda z: torch.from_numpy(z.numpy() * 2),  # raises where a gradient is asked for
        lambda z: torch.zeros_like(z),
    ],
    ids=["rounded", "nan", "numpy", "constant"],
)
def test_useless_gradients_are_noticed(broken: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    findings = Stability(iterations=5).analyze(attacked(net=Given(broken)))
    assert set(findings.tables["ratios"]["search"]) == {"random", "subspace"}
    draw_svgs(Stability(), through_files(findings, tmp_path))


def test_a_symmetric_map_without_a_gradient_is_nearly_solved() -> None:
    factors = torch.linspace(0.1, 1, 80).view(8, 10) ** 2
    factors[3, 4] = 2
    symmetric = Given(lambda z: z.detach() * factors)
    assert found_by_search(attacked(net=symmetric), iterations=60)["subspace"] > 1.8


@pytest.mark.slow
def test_values_that_are_not_finite_cost_nothing_else(tmp_path: Path) -> None:
    findings = Stability(iterations=3).analyze(
        attacked({"bad": 3.0}, good=Given(lambda z: 3 * z), bad=Given(lambda z: z * math.nan))
    )
    assert findings.scalars["found_bad"] == "nothing"
    assert findings.scalars["found_good"] == pytest.approx(3.0, rel=1e-4)
    assert "bad: proven at most 3, nothing found; no reconstruction was finite." in findings.text
    drawn = draw_svgs(Stability(), through_files(findings, tmp_path))
    assert "proven ≤ 3, nothing found" in texts(drawn["found"])


def test_an_error_of_a_method_ends_only_its_own_search_and_hides_nothing() -> None:
    class Tired(Given):
        calls = 0

        def forward(self, z: Tensor) -> Tensor:
            self.calls += 1
            if self.calls > 40:
                raise DataError("tired", where="tired")
            return super().forward(z)

    run = attacked({"tired": 1.0}, tired=Tired(lambda z: 4 * z), fine=Given(lambda z: z))
    findings = Stability(iterations=5).analyze(replace(run, batch_size=2))
    assert "tired: the bound is VIOLATED" in findings.text
    assert "the search ended early: tired" in findings.text
    assert findings.scalars["violations"] != 0
    assert findings.scalars["found_fine"] == pytest.approx(1.0, rel=1e-4)


def test_reconstructions_that_do_not_converge_are_told() -> None:
    def short(z: Tensor) -> Tensor:
        warnings.warn("stopped early", ConvergenceWarning, stacklevel=2)
        return 2 * z

    findings = Stability(iterations=2).analyze(attacked({"net": 1.0}, net=Given(short), fine=Given(lambda z: z)))
    told, fine, *_ = findings.text.split(". ")
    assert "VIOLATED" in told
    assert "did not reach their tolerance" in told
    assert "tolerance" not in fine


# -- sizes, shapes, repeatability


def test_nothing_is_changed_about_a_method() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Dropout(0.5), torch.nn.Conv2d(2, 1, 1))

    class Net(Reconstructor):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, z: Tensor) -> Tensor:
            assert not self.training
            assert not any(parameter.requires_grad for parameter in self.parameters())
            result: Tensor = self.net(z)
            return result

    method = Net().train()
    net[2].bias.requires_grad_(False)
    net[1].eval()
    Stability(iterations=2).analyze(attacked(net=method))
    assert method.training
    assert not net[1].training
    assert [parameter.requires_grad for parameter in method.parameters()] == [True, True, True, False]
    assert all(parameter.grad is None for parameter in method.parameters())


def test_neither_batches_nor_other_methods_nor_repetition_change_a_ratio() -> None:
    def curved(z: Tensor) -> Tensor:
        return torch.sin(5 * z)

    analyzer = Stability(iterations=4, draws=2)
    alone = attacked(net=Given(curved))
    tables = [
        analyzer.analyze(run).tables["ratios"]
        for run in (alone, alone, replace(alone, batch_size=1), attacked(other=Given(lambda z: z), net=Given(curved)))
    ]
    own = [t[t["method"] == "net"].sort_values(["image", "search", "radius"]).reset_index(drop=True) for t in tables]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    for other in own[2:]:
        pd.testing.assert_frame_equal(own[0], other, rtol=1e-3)
    seeded = analyzer.analyze(replace(alone, seed=1)).tables["ratios"]
    assert not seeded.equals(tables[0])


def test_memory_is_bounded_by_the_batch_size() -> None:
    largest = [0]

    def watched(z: Tensor) -> Tensor:
        largest.append(len(z))
        return 2 * z

    run = replace(attacked(net=Given(watched)), batch_size=4)
    Stability(iterations=2).analyze(run)
    assert max(largest) == 2


@pytest.mark.slow
@pytest.mark.parametrize("empty", [False, True])
def test_problems_without_noise_and_black_images(empty: bool, tmp_path: Path) -> None:
    run = make_run({"net": 0.1}, operator=Halved(), count=1, metrics=("psnr",))
    run = with_learners(run, net=Given(lambda z: 3 * z))
    if empty:
        run.images.test.images.zero_()
        run = replace(run, measurements=torch.zeros_like(run.measurements))
    findings = Stability(iterations=2).analyze(run)
    ratios = findings.tables["ratios"]
    assert ratios["ratio"].to_numpy() == pytest.approx(3.0, rel=1e-4)
    assert (ratios["radius"] > 0).all()
    assert "from 1 image;" in findings.text
    draw_svgs(Stability(), through_files(findings, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_measurements_of_any_shape(gradient: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    class Rows(LinearOperator):
        def forward(self, x: Tensor) -> Tensor:
            return 0.5 * x.sum(-1)

        def range_shape(self, domain_shape: Shape) -> Shape:
            return tuple(domain_shape[:2])

        def domain_shape(self, range_shape: Shape) -> Shape:
            return (*range_shape, 10)

    def back(z: Tensor) -> Tensor:
        x = 2 * z[..., None].expand(*z.shape, 10) / math.sqrt(10)
        return x if gradient else x.detach()

    run = make_run({"net": 0.1}, count=2, size=(8, 10), operator=Rows(), metrics=("psnr",))
    run = with_learners(replace(run, measurements=run.measurements.to(dtype)), net=Given(back))
    findings = Stability(iterations=6).analyze(run)
    assert findings.scalars["found_net"] == pytest.approx(2.0, rel=1e-4)
    assert set(draw_svgs(Stability(), through_files(findings, tmp_path))) == {"found", "worst"}


class Doubled(LinearOperator):
    def forward(self, x: Tensor) -> Tensor:
        return 0.25 * torch.cat([x, x], dim=-1)

    def range_shape(self, domain_shape: Shape) -> Shape:
        return (*domain_shape[:2], 2 * domain_shape[2])

    def domain_shape(self, range_shape: Shape) -> Shape:
        return (*range_shape[:2], range_shape[2] // 2)


def test_linear_methods_have_the_bound_of_their_norm() -> None:
    run = make_run({"tikhonov": 0.1}, count=2, size=(8, 10), operator=Doubled(), metrics=("psnr",))
    method = Tikhonov(alpha=0.04)
    method.setup(Problem(Doubled()), (1, 8, 10))
    run = replace(with_learners(run, tikhonov=method), certificates={})
    findings = Stability(iterations=3).analyze(run)
    norm = 0.25 * math.sqrt(2)  # all singular values are this
    assert findings.scalars["found_tikhonov"] == pytest.approx(1 / (1.04 * norm), rel=1e-3)
    assert findings.scalars["proven_tikhonov"] == pytest.approx(1 / (2 * math.sqrt(0.04) * norm), rel=1e-4)
    assert findings.scalars["violations"] == 0
    assert findings.text.startswith("tikhonov: proven at most ")


def test_a_bound_for_pulled_back_measurements_is_carried_over() -> None:
    normal = NormalOperator(Doubled(), (1, 8, 10))
    net = Learner(normal, lambda x: x)
    net.__dict__["forward"] = lambda z: 5 * normal.pull_back(z)  # Lip 5 with respect to A* z / ||A||²
    run = make_run({"net": 0.1}, count=2, size=(8, 10), operator=Doubled(), metrics=("psnr",))
    run = replace(with_learners(run, net=net), certificates={"net": bound_of(5.0)})
    findings = Stability(iterations=10).analyze(run)
    norm = 0.25 * math.sqrt(2)
    assert findings.scalars["proven_net"] == pytest.approx(5 / norm, rel=1e-6)
    assert findings.scalars["found_net"] == pytest.approx(5 / norm, rel=1e-3)
    assert findings.scalars["violations"] == 0
    assert "for A*z/‖A‖², times 1/‖A‖ = 2.83, which is computed and not proven" in findings.text


@pytest.mark.parametrize(
    ("parameter", "value"), [("images", 0), ("radii", []), ("radii", [-1.0]), ("accuracy", 0.0), ("reach", 0.0)]
)
def test_nonsense_is_refused(parameter: str, value: object) -> None:
    with pytest.raises(SpecError):
        Registry.installed().build("analyzer", {"name": "stability", parameter: value})


def test_numbers_are_rounded_to_the_safe_side() -> None:
    assert (rounded_up(2.00001), rounded_down(1.9999)) == ("2.001", "1.99")
    assert float(rounded_up(123456.7)) >= 123456.7
    assert rounded_down(0.0012345) == "0.00123"
    assert (rounded_up(1.23456e24), rounded_down(1.23456e24)) == ("1.235e+24", "1.23e+24")


# -- real methods


@pytest.fixture
def network() -> IResNet:
    """A small network with strong random weights, set up for the blur of the run."""
    torch.manual_seed(0)
    net = IResNet(subnetworks=3, channels=4, hidden=6, kernel_size=3, padding=2, lipschitz=0.9)
    net.setup(Problem(Halved()), (1, 16, 20))
    assert net.residuals is not None
    with torch.no_grad():
        net.residuals.kernels.normal_()
        net.residuals.mixings.normal_()
    return net.eval()


@pytest.mark.slow
@pytest.mark.parametrize("final", [False, True])
def test_a_real_network_stays_below_its_bounds(network: IResNet, final: bool) -> None:
    net = network
    if final:
        net.finalise()
    certificate = net.certificate()
    run = replace(attacked(size=(16, 20), net=net), certificates={"net": certificate})
    findings = Stability(iterations=15).analyze(run)
    ratios = findings.tables["ratios"]
    assert set(ratios["search"]) == {"random", "power", "moving"}
    product = 2 / (1 - 0.9)
    assert 1 < ratios["ratio"].max() < certificate.reconstruction_lipschitz <= product * 1.05  # type: ignore[operator]
    best = ratios.groupby("search")["ratio"].max()
    assert best["power"] > 1.2 * best["random"]
    assert best["moving"] >= best["power"]
    assert findings.scalars["violations"] == 0
    assert findings.text.startswith("net: proven at most ")
    assert all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.slow
def test_total_variation_has_no_gradient(tmp_path: Path) -> None:
    tv = TotalVariation(weight=0.01)
    run = attacked(size=(16, 20), tv=tv, raw=Stand())
    tv.setup(Problem(Halved()), (1, 16, 20))
    findings = Stability(images=2, iterations=5, draws=2).analyze(run)
    own = findings.tables["ratios"][findings.tables["ratios"]["method"] == "tv"]
    assert set(own["search"]) == {"random", "subspace"}
    assert 0 < own["ratio"].max() < 2.5  # at most 1 / 0.5, up to its tolerance
    assert "tv: nothing proven, found" in findings.text
    assert "raw: nothing proven, found" in findings.text
    drawn = draw_svgs(Stability(), through_files(findings, tmp_path))
    assert drawn == draw_svgs(Stability(), findings)
    assert {"random noise", "search without gradients"} <= set(texts(drawn["found"]))
    assert {"z", "R(z)"} <= set(texts(drawn["worst"]))


@pytest.mark.parametrize("shift", [0.0, -0.4])
def test_the_noise_model_gives_the_level_where_the_operator_is_not_known(shift: float) -> None:
    run = make_run({"net": 0.0})
    size = math.sqrt(run.measurements[0].numel())
    run = replace(run, measurements=run.measurements + shift)
    levels = noise_levels(replace(run, problem=Problem(Measured(), GaussianNoise(NOISE))), 8)
    assert levels.numpy() == pytest.approx(NOISE * size, rel=0.2)
    assert torch.equal(levels, noise_levels(replace(run, problem=Problem(Measured(), GaussianNoise(NOISE))), 8))
    bright = run.measurements.clamp(min=0).flatten(1).sum(1)
    photons = noise_levels(replace(run, problem=Problem(Measured(), PoissonNoise(1000.0))), 8)
    assert photons.numpy() == pytest.approx((bright / 1000).sqrt().numpy(), rel=0.2)
    nothing = noise_levels(replace(run, problem=Problem(Measured())), 8)
    assert nothing.numpy() == pytest.approx(0.01 * run.measurements.flatten(1).norm(dim=1).numpy(), rel=1e-5)
