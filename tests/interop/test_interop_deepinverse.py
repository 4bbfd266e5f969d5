from __future__ import annotations

import copy
import re
import sys
import warnings
from typing import Any

import pytest
import torch

import invreg
from invreg import InvregWarning, Registry
from invreg.interop import (
    noise_from_deepinverse,
    operator_from_physics,
    physics_from_operator,
    problem_from_physics,
    reconstructor_from_deepinverse,
    to_deepinverse,
)

REGISTRY = Registry.installed()
SHAPE = (1, 24, 20)


def random(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def blur(boundary: str = "symmetric") -> Any:
    return REGISTRY.build("operator", {"name": "gaussian_blur", "boundary": boundary, "kernel_size": 7, "std": 1.2})


def gaussian(std: float = 0.05) -> Any:
    return REGISTRY.build("noise", {"name": "gaussian", "std": std})


def their_blur(dinv: Any, dtype: torch.dtype = torch.float64) -> Any:
    line = torch.exp(-0.5 * ((torch.arange(7, dtype=dtype) - 3) / 1.2) ** 2)
    kernel = (line[:, None] * line / (line[:, None] * line).sum())[None, None]
    # double() leaves complex buffers as they are; to(dtype) would take their imaginary part away.
    physics = dinv.physics.BlurFFT(img_size=SHAPE, filter=kernel)
    return physics.double() if dtype == torch.float64 else physics.float()


# -- operators


@pytest.mark.slow
def test_their_blur_is_our_blur(dinv: Any) -> None:
    operator = operator_from_physics(their_blur(dinv), SHAPE)
    assert isinstance(operator, invreg.LinearOperator)
    x, y = random(1, 2, *SHAPE), random(2, 2, *SHAPE)
    torch.testing.assert_close(operator(x), blur("circular")(x), rtol=1e-7, atol=1e-9)
    assert float((operator(x) * y).sum()) == pytest.approx(float((x * operator.adjoint(y)).sum()), rel=1e-10)
    assert operator.norm(SHAPE).value == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
def test_the_norm_is_computed_in_float64_and_leaves_the_physics_alone(dinv: Any) -> None:
    physics = their_blur(dinv, torch.float32)
    physics.noise_model = dinv.physics.GaussianNoise(0.1, rng=torch.Generator().manual_seed(0))
    operator = operator_from_physics(physics, SHAPE)
    assert operator.norm(SHAPE).value == pytest.approx(1.0, abs=1e-5)
    assert next(physics.buffers()).dtype == torch.float32
    x = random(1, 1, *SHAPE, dtype=torch.float32)
    torch.testing.assert_close(copy.deepcopy(operator)(x), physics.A(x))
    assert operator.double()(x.double()).dtype == torch.float64


def test_our_blur_is_their_physics(dinv: Any) -> None:
    ours = blur()
    physics = physics_from_operator(ours, SHAPE, gaussian(0.0))
    assert isinstance(physics, dinv.physics.LinearPhysics)
    x = random(1, 2, *SHAPE)
    torch.testing.assert_close(physics.A(x), ours(x))
    torch.testing.assert_close(physics(x), ours(x))
    torch.testing.assert_close(physics.A_adjoint(x), ours.adjoint(x))
    torch.testing.assert_close(physics.A_vjp(x, x), ours.adjoint(x))
    assert abs(float(physics.adjointness_test(x))) < 1e-8
    smooth = ours.adjoint(ours(ours.adjoint(x)))
    torch.testing.assert_close(ours(physics.A_dagger(ours(smooth))), ours(smooth), rtol=0, atol=1e-3)
    again = operator_from_physics(physics, SHAPE)
    torch.testing.assert_close(again(x), ours(x))
    assert again.range_shape(SHAPE) == SHAPE


def test_nonlinear_operators_cross_as_well(dinv: Any) -> None:
    ours = REGISTRY.build("operator", {"name": "perona_malik", "steps": 2})
    physics = physics_from_operator(ours, SHAPE)
    assert not isinstance(physics, dinv.physics.LinearPhysics)
    again = operator_from_physics(physics, SHAPE)
    assert not isinstance(again, invreg.LinearOperator)
    x, h = random(1, 2, *SHAPE), random(2, 2, *SHAPE)
    torch.testing.assert_close(again(x), ours(x))
    torch.testing.assert_close(again.jvp(x, h), ours.jvp(x, h))
    torch.testing.assert_close(physics.A_vjp(x, h), ours.vjp(x, h))


def test_another_range_is_found_by_measuring(dinv: Any) -> None:
    physics = dinv.physics.Downsampling(img_size=(1, 16, 16), factor=2, filter=None).double()
    operator = operator_from_physics(physics, (1, 16, 16))
    assert operator.range_shape((1, 16, 16)) == (1, 8, 8)
    assert operator.domain_shape((1, 8, 8)) == (1, 16, 16)  # type: ignore[attr-defined]
    x, y = random(1, 2, 1, 16, 16), random(2, 2, 1, 8, 8)
    left, right = (operator(x) * y).sum(), (x * operator.adjoint(y)).sum()  # type: ignore[attr-defined]
    assert float(left) == pytest.approx(float(right), rel=1e-10)


def test_gradients_are_those_of_the_dense_matrix(dinv: Any) -> None:
    physics = dinv.physics.Downsampling(img_size=(1, 6, 6), factor=2, filter=None).double()
    operator = operator_from_physics(physics, (1, 6, 6))
    x = random(1, 1, 1, 6, 6).requires_grad_()
    dense = torch.func.jacrev(operator)(x.detach()).reshape(9, 36)
    (gradient,) = torch.autograd.grad(operator(x).square().sum(), x)
    torch.testing.assert_close(gradient, (2 * x.flatten(1) @ dense.T @ dense).view_as(x))


@pytest.mark.slow
def test_tv_on_their_blur_is_tv_on_ours(dinv: Any) -> None:
    z = invreg.Problem(blur("circular"), gaussian(0.02)).measure(random(1, 2, *SHAPE), seed=0)
    found = []
    for operator in (blur("circular"), operator_from_physics(their_blur(dinv), SHAPE)):
        tv = REGISTRY.build("reconstructor", {"name": "tv", "weight": 0.01, "tolerance": 1e-6})
        tv.setup(invreg.Problem(operator), SHAPE)
        found.append(tv(z))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=2e-3)


def test_no_spec_can_name_them(dinv: Any) -> None:
    for wrapped in (
        operator_from_physics(their_blur(dinv), SHAPE),
        noise_from_deepinverse(dinv.physics.UniformNoise(0.1)),
        reconstructor_from_deepinverse(dinv.models.MedianFilter(), sigma=0.1),
    ):
        with pytest.raises(invreg.SpecError, match="no spec can name it"):
            invreg.spec_of(wrapped)


def test_physics_that_have_no_place_are_refused(dinv: Any) -> None:
    with pytest.raises(invreg.InvregError, match="not a physics"):
        operator_from_physics(torch.nn.Identity(), SHAPE)
    clipping = dinv.physics.LinearPhysics(sensor_model=lambda y: y.clamp(0, 1))
    with pytest.raises(invreg.InvregError, match="sensor model"):
        operator_from_physics(clipping, SHAPE)
    with pytest.raises(invreg.InvregError, match="measured as NoneType"):
        operator_from_physics(dinv.physics.Physics(A=lambda x: None), SHAPE)
    with pytest.raises(invreg.InvregError, match="measured as Tensor"):
        operator_from_physics(dinv.physics.Physics(A=lambda x: x.long()), SHAPE)
    with pytest.raises(invreg.ShapeError, match="cannot measure images"):
        operator_from_physics(their_blur(dinv), (1, 7, 5)).range_shape((1, 7, 5))


# -- complex and stacked measurements


def inner(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() * b.double()).sum())


def test_complex_measurements_come_as_real_and_imaginary_channels(dinv: Any) -> None:
    physics = dinv.physics.LinearPhysics(A=torch.fft.fft2, A_adjoint=lambda y: torch.fft.ifft2(y, norm="forward"))
    operator = operator_from_physics(physics, (2, 6, 5))
    assert operator.range_shape((2, 6, 5)) == (4, 6, 5)
    x, y = random(1, 3, 2, 6, 5), random(2, 3, 4, 6, 5)
    torch.testing.assert_close(operator(x)[:, 2:], torch.view_as_real(torch.fft.fft2(x[:, 1])).moveaxis(-1, 1))
    assert inner(operator(x), y) == pytest.approx(inner(x, operator.adjoint(y)), rel=1e-12)  # type: ignore[attr-defined]
    assert inner(operator(x), operator(x)) == pytest.approx(float(torch.fft.fft2(x).abs().square().sum()), rel=1e-12)


@pytest.mark.parametrize("equal", [True, False], ids=["channels", "rows"])
def test_stacked_measurements_come_as_one(dinv: Any, equal: bool) -> None:
    identity, fourier = (
        dinv.physics.Denoising(),
        dinv.physics.LinearPhysics(
            A=lambda x: torch.fft.fft2(x)[..., : None if equal else 3],
            A_adjoint=lambda y: torch.fft.ifft2(torch.nn.functional.pad(y, (0, 5 - y.shape[-1])), norm="forward"),
        ),
    )
    physics = identity.stack(identity.stack(fourier))
    operator = operator_from_physics(physics, (1, 4, 5))
    measured = operator.range_shape((1, 4, 5))
    assert measured == ((4, 4, 5) if equal else (1, 1, 20 + 20 + 24))
    x, y = random(1, 2, 1, 4, 5), random(2, 2, *measured)
    assert inner(operator(x), y) == pytest.approx(inner(x, operator.adjoint(y)), rel=1e-12)  # type: ignore[attr-defined]
    theirs = operator.theirs(operator(x))
    torch.testing.assert_close(theirs[2], physics.A(x)[2])
    assert type(theirs).__name__ == "TensorList"
    with pytest.raises(invreg.ShapeError, match="measurements of shape"):
        operator.theirs(x[..., :2])


def test_physics_that_want_complex_images_get_real_ones_as_such(dinv: Any) -> None:
    physics = dinv.physics.CompressedSensing(m=12, img_size=(1, 4, 5), dtype=torch.cfloat)
    operator = operator_from_physics(physics, (1, 4, 5))
    assert operator.range_shape((1, 4, 5)) == (24,)
    x, y = random(1, 2, 1, 4, 5).float(), random(2, 2, 24).float()
    assert inner(operator(x), y) == pytest.approx(inner(x, operator.adjoint(y)), rel=1e-4)  # type: ignore[attr-defined]


def test_mri_takes_grey_images_as_their_real_part(dinv: Any) -> None:
    mask = (random(3, 6, 5) > 0.5).float()
    operator = operator_from_physics(dinv.physics.MRI(mask=mask, img_size=(6, 5)), (1, 6, 5))
    assert operator.range_shape((1, 6, 5)) == (2, 6, 5)
    x, y = random(1, 2, 1, 6, 5).float(), random(2, 2, 2, 6, 5).float()
    assert inner(operator(x), y) == pytest.approx(inner(x, operator.adjoint(y)), rel=1e-4)  # type: ignore[attr-defined]
    assert operator_from_physics(dinv.physics.MRI(mask=mask, img_size=(6, 5)), (2, 6, 5)).range_shape((2, 6, 5)) == (
        2,
        6,
        5,
    )


def test_their_methods_get_their_own_measurements(dinv: Any) -> None:
    physics = dinv.physics.Denoising().stack(dinv.physics.Denoising())
    problem = problem_from_physics(physics, SHAPE)

    class Mean(torch.nn.Module):
        def forward(self, y: Any, physics: Any) -> torch.Tensor:
            return (y[0] + y[1]) / 2 + 0 * physics.A_adjoint(y)

    method = reconstructor_from_deepinverse(Mean())
    method.setup(problem, SHAPE)
    x = random(1, 2, *SHAPE)
    torch.testing.assert_close(method(problem.operator(x)), x)


@pytest.mark.parametrize(("slope", "said"), [(1.0, None), (0.5, "relative defect 0\\.[0-9]")])
def test_a_wrong_derivative_of_theirs_is_said(dinv: Any, slope: float, said: str | None) -> None:
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(x: torch.Tensor) -> torch.Tensor:
            return x * x

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return 2 * slope * ctx.saved_tensors[0] * gradient

        @staticmethod
        def jvp(ctx: Any, tangent: torch.Tensor) -> torch.Tensor:
            return 2 * slope * ctx.saved_tensors[0] * tangent

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        operator_from_physics(dinv.physics.Physics(A=Square.apply), SHAPE)
    messages = [str(one.message) for one in found if issubclass(one.category, InvregWarning)]
    assert bool(messages) == (said is not None)
    assert all(re.search(str(said), message) and "derivative" in message for message in messages)


# -- noise


@pytest.mark.parametrize("mode", ["ss", "sd"])
def test_a_wrong_adjoint_of_theirs_is_said(dinv: Any, mode: str) -> None:
    physics = dinv.physics.CompressiveSpectralImaging((5, 16, 16), mode=mode)
    with pytest.warns(InvregWarning, match="relative defect 0\\.[1-9]"):
        operator_from_physics(physics, (5, 16, 16))


@pytest.mark.parametrize("std", [0.0, 0.01, 0.1])
def test_gaussian_noise_keeps_its_level(dinv: Any, std: float) -> None:
    physics = physics_from_operator(blur(), SHAPE, gaussian(std))
    assert float(physics.noise_model.sigma) == pytest.approx(std)
    problem = problem_from_physics(physics, SHAPE)
    assert invreg.spec_of(problem.noise) == {"name": "gaussian", "std": std}  # type: ignore[arg-type]
    torch.manual_seed(0)
    x = random(1, 8, *SHAPE)
    theirs, ours = physics(x) - physics.A(x), problem.measure(x, seed=0) - problem.operator(x)
    assert float(theirs.std()) == pytest.approx(std, rel=0.05)
    assert float(ours.std()) == pytest.approx(std, rel=0.05)


def test_poisson_noise_keeps_its_level(dinv: Any) -> None:
    noise = REGISTRY.build("noise", {"name": "poisson", "photons": 250.0})
    physics = physics_from_operator(blur(), SHAPE, noise)
    assert float(physics.noise_model.gain) == pytest.approx(1 / 250)
    assert invreg.spec_of(problem_from_physics(physics, SHAPE).noise) == invreg.spec_of(noise)  # type: ignore[arg-type]
    torch.manual_seed(0)
    x = torch.full((8, *SHAPE), 0.5)
    assert float(physics(x).std()) == pytest.approx((0.5 / 250) ** 0.5, rel=0.05)


def test_no_noise_is_no_noise(dinv: Any) -> None:
    assert noise_from_deepinverse(dinv.physics.ZeroNoise()) is None
    for noise in (None, REGISTRY.build("noise", "none")):
        assert type(physics_from_operator(blur(), SHAPE, noise).noise_model) is dinv.physics.ZeroNoise


@pytest.mark.parametrize("rng", [None, 3])
def test_other_noise_is_reproducible_by_its_key(dinv: Any, rng: int | None) -> None:
    generator = None if rng is None else torch.Generator().manual_seed(rng)
    physics = dinv.physics.Denoising(dinv.physics.UniformNoise(0.1, rng=generator))
    problem = problem_from_physics(physics, SHAPE)
    x = random(1, 3, *SHAPE, dtype=torch.float32)
    state = torch.get_rng_state()
    first = problem.measure(x, keys=[1, 2, 3])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, problem.measure(x, keys=[1, 2, 3]))
    assert torch.equal(first[1:2], problem.measure(x[1:2], keys=[2]))
    assert not torch.equal(first, x)
    assert float((first - x).abs().max()) <= 0.1 + 1e-6
    assert physics.noise_model.rng is generator


def test_our_other_noise_is_called_as_it_is(dinv: Any) -> None:
    class Sign(invreg.Noise):
        def draw(self, z: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return z + torch.randint(2, z.shape, generator=generator)

    physics = physics_from_operator(blur(), SHAPE, Sign())
    x = random(1, 2, *SHAPE)
    torch.manual_seed(0)
    first = physics(x)
    torch.manual_seed(0)
    assert torch.equal(first, physics(x))
    assert not torch.equal(first, physics(x))
    assert set((first - physics.A(x)).round().unique().tolist()) == {0.0, 1.0}


# -- reconstructors


@pytest.mark.slow
def test_their_reconstructor_is_called_with_the_physics(dinv: Any) -> None:
    class Adjoint(dinv.models.Reconstructor):  # type: ignore[misc]
        def forward(self, y: torch.Tensor, physics: Any) -> torch.Tensor:
            assert float(physics.noise_model.sigma) == pytest.approx(0.05)
            return physics.A_adjoint(y)

    problem = invreg.Problem(blur(), gaussian())
    reconstructor = reconstructor_from_deepinverse(Adjoint())
    with pytest.raises(invreg.InvregError, match="not set up"):
        reconstructor(random(1, 1, *SHAPE))
    reconstructor.setup(problem, SHAPE)
    z = problem.measure(random(1, 2, *SHAPE), seed=0)
    torch.testing.assert_close(reconstructor(z), problem.operator.adjoint(z))  # type: ignore[attr-defined]
    assert reconstructor.state_dict() == {}
    assert copy.deepcopy(reconstructor).double()(z).dtype == torch.float64


def test_their_own_physics_is_used_as_it_is(dinv: Any) -> None:
    class Asks(dinv.models.Reconstructor):  # type: ignore[misc]
        def forward(self, y: torch.Tensor, physics: Any) -> torch.Tensor:
            assert physics is mine
            return physics.A_dagger(y)

    mine = their_blur(dinv)
    reconstructor = reconstructor_from_deepinverse(Asks())
    reconstructor.setup(problem_from_physics(mine, SHAPE), SHAPE)
    assert reconstructor(random(1, 2, *SHAPE)).shape == (2, *SHAPE)


def test_their_network_is_trained_and_saved(dinv: Any) -> None:
    net = torch.nn.Conv2d(1, 1, 3, padding=1)

    class Removal(dinv.models.Reconstructor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, y: torch.Tensor, physics: Any) -> torch.Tensor:
            return self.net(physics.A_adjoint(y))

    problem = invreg.Problem(blur(), gaussian())
    reconstructor = reconstructor_from_deepinverse(Removal())
    reconstructor.setup(problem, SHAPE)
    x = random(1, 2, *SHAPE, dtype=torch.float32)
    reconstructor(problem.measure(x, seed=0)).sub(x).square().mean().backward()
    assert net.weight.grad is not None
    assert set(reconstructor.state_dict()) == {"model.net.weight", "model.net.bias"}


def test_a_denoiser_is_told_the_level_of_the_noise(dinv: Any) -> None:
    class Shrink(dinv.models.Denoiser):  # type: ignore[misc]
        def forward(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
            return x * (1 - sigma)

    z = random(1, 2, *SHAPE)
    denoiser = reconstructor_from_deepinverse(Shrink())
    denoiser.setup(invreg.Problem(REGISTRY.build("operator", "identity"), gaussian(0.25)), SHAPE)
    torch.testing.assert_close(denoiser(z), 0.75 * z)
    told = reconstructor_from_deepinverse(Shrink(), sigma=0.5)
    told.setup(invreg.Problem(blur()), SHAPE)
    torch.testing.assert_close(told(z), 0.5 * z)
    with pytest.raises(invreg.SpecError, match="Gaussian noise"):
        denoiser.setup(invreg.Problem(blur()), SHAPE)
    small = operator_from_physics(dinv.physics.Downsampling(img_size=SHAPE, factor=2, filter=None), SHAPE)
    with pytest.raises(invreg.SpecError, match="ArtifactRemoval"):
        denoiser.setup(invreg.Problem(small, gaussian()), SHAPE)


@pytest.mark.slow
def test_their_tv_denoiser_is_our_tv(dinv: Any) -> None:
    """Two implementations of one minimiser; theirs has no box, and its weight is the threshold."""
    x = 0.3 + 0.4 * (random(1, 1, 1, 3, 3) > 0.5).double().repeat_interleave(8, 2).repeat_interleave(8, 3)
    problem = invreg.Problem(REGISTRY.build("operator", "identity"), gaussian(0.02))
    z = problem.measure(x, seed=0)
    theirs = reconstructor_from_deepinverse(dinv.models.TVDenoiser(n_it_max=3000, crit=1e-9), sigma=0.05)
    ours = REGISTRY.build("reconstructor", {"name": "tv", "weight": 0.05, "tolerance": 5e-5})
    for method in (theirs, ours):
        method.setup(problem, (1, 24, 24))
    torch.testing.assert_close(theirs(z), ours(z), rtol=0, atol=2e-3)


def test_ours_is_a_reconstructor_of_theirs(dinv: Any) -> None:
    problem = invreg.Problem(blur(), gaussian())
    tv = REGISTRY.build("reconstructor", {"name": "tv", "weight": 0.01})
    tv.setup(problem, SHAPE)
    model = to_deepinverse(tv, problem, SHAPE)
    assert isinstance(model, dinv.models.Reconstructor)
    z = problem.measure(random(1, 2, *SHAPE), seed=0)
    torch.testing.assert_close(model(z, physics_from_operator(blur(), SHAPE)), tv(z))
    torch.testing.assert_close(model(z), tv(z))
    with pytest.raises(invreg.InvregError, match="is not the operator"):
        model(z, physics_from_operator(blur("circular"), SHAPE))
    with pytest.raises(invreg.InvregError, match="is not the operator"):
        model(z, physics_from_operator(REGISTRY.build("operator", "identity"), SHAPE))


def test_bad_models_are_refused(dinv: Any) -> None:
    with pytest.raises(invreg.InvregError, match="not a torch module"):
        reconstructor_from_deepinverse("dncnn")  # type: ignore[arg-type]
    with pytest.raises(invreg.InvregError, match="not a denoiser"):
        reconstructor_from_deepinverse(dinv.models.ArtifactRemoval(dinv.models.MedianFilter()), sigma=0.1)
    with pytest.raises(invreg.InvregError, match="not a noise model"):
        noise_from_deepinverse(0.1)


def test_without_deepinverse_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepinv", None)
    with pytest.raises(invreg.InvregError, match="pip install deepinv"):
        physics_from_operator(blur(), SHAPE)
    with pytest.raises(invreg.InvregError, match="pip install deepinv"):
        reconstructor_from_deepinverse(torch.nn.Identity())
