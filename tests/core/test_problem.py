"""Measuring: operator, noise, and where the randomness comes from."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import Tensor

import invreg
from invreg.components.operator import LinearOperator, Operator
from invreg.components.problem import Problem
from invreg.computing.streams import generator, stream_key
from invreg.errors import InvregWarning, ShapeError, SpecError
from invreg.testing.toys import ToyNoise


class Double(Operator):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor.to(x)


@pytest.fixture
def x() -> Tensor:
    return torch.rand(5, 1, 6, 7, generator=generator(3))


def test_without_noise_the_measurement_is_the_operator(x: Tensor) -> None:
    torch.testing.assert_close(Problem(Double()).measure(x, seed=0), 2 * x)


def test_noise_depends_on_the_seed_only(x: Tensor) -> None:
    problem = Problem(Double(), ToyNoise(1.0))
    torch.testing.assert_close(problem.measure(x, seed=1), problem.measure(x, seed=1), rtol=0, atol=0)
    assert not torch.equal(problem.measure(x, seed=1), problem.measure(x, seed=2))


def test_noise_of_an_image_depends_on_its_key_only(x: Tensor) -> None:
    problem, keys = Problem(Double(), ToyNoise(1.0)), [11, 12, 13, 14, 15]
    z = problem.measure(x, keys=keys)
    alone = torch.cat([problem.measure(x[i : i + 1], keys=[keys[i]]) for i in range(5)])
    backwards = problem.measure(x.flip(0), keys=keys[::-1]).flip(0)
    assert torch.equal(z, alone)
    assert torch.equal(z, backwards)
    assert not torch.equal(z[0] - 2 * x[0], z[1] - 2 * x[1])


def test_seed_gives_the_first_images_the_same_noise(x: Tensor) -> None:
    problem = Problem(Double(), ToyNoise(1.0))
    assert torch.equal(problem.measure(x, seed=4)[:2], problem.measure(x[:2], seed=4))


def test_a_generator_draws_the_whole_batch(x: Tensor) -> None:
    problem = Problem(Double(), ToyNoise(1.0))
    assert torch.equal(problem.measure(x, generator=generator(1)), problem.measure(x, generator=generator(1)))
    one = generator(1)
    assert not torch.equal(problem.measure(x, generator=one), problem.measure(x, generator=one))


@pytest.mark.parametrize("arguments", [{}, {"seed": 0, "keys": [1]}, {"seed": 0, "generator": generator(0)}])
def test_exactly_one_source_of_randomness(x: Tensor, arguments: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="exactly one of seed, keys and generator"):
        Problem(Double(), ToyNoise(1.0)).measure(x, **arguments)  # type: ignore[arg-type]


def test_one_key_per_image(x: Tensor) -> None:
    with pytest.raises(ShapeError, match="4 keys for 5 images"):
        Problem(Double(), ToyNoise(1.0)).measure(x, keys=[1, 2, 3, 4])


def test_an_empty_batch(x: Tensor) -> None:
    assert Problem(Double(), ToyNoise(1.0)).measure(x[:0], seed=0).shape == (0, 1, 6, 7)


def test_noise_keeps_the_dtype_and_agrees_between_dtypes(x: Tensor) -> None:
    problem = Problem(Double(), ToyNoise(1.0))
    double = problem.measure(x.double(), seed=0)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), problem.measure(x, seed=0))


def test_measuring_records_no_gradient_and_leaves_x_alone(x: Tensor) -> None:
    before = x.clone()
    assert not Problem(Double(), ToyNoise(1.0)).measure(x.requires_grad_(), seed=0).requires_grad
    assert torch.equal(x.detach(), before)


def test_to_moves_the_operator() -> None:
    problem = Problem(Double())
    assert problem.to("meta") is problem
    assert problem.operator.factor.device.type == "meta"


def test_stream_keys_are_stable_and_unrelated() -> None:
    assert stream_key(0, "noise", "test", 17) == stream_key(0, "noise", "test", 17)
    keys = {stream_key(0), stream_key(1), stream_key(0, "a"), stream_key(0, "a", 1), stream_key(0, "a", "1")}
    keys |= {stream_key(0, "a1"), stream_key(0, 1, "a"), stream_key(0, "a", 11), stream_key(0, "a", 1, 1)}
    assert len(keys) == 9
    assert all(0 <= key < 2**63 for key in keys)


def test_stream_keys_are_the_same_everywhere() -> None:
    # A change of this number changes the noise and the crops of every stored run.
    assert stream_key(0, "noise", "test", 17) == 2588966718965889216


def test_generators_of_equal_keys_agree() -> None:
    key = stream_key(5, "x")
    assert torch.equal(torch.rand(3, generator=generator(key)), torch.rand(3, generator=generator(key)))
    assert not torch.equal(torch.rand(3, generator=generator(key)), torch.rand(3, generator=generator(key + 1)))


class Keeps(invreg.Reconstructor):
    def setup(self, problem: Problem, image_shape: tuple[int, ...]) -> None:
        super().setup(problem, image_shape)
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z * self.weight


class Buffered(invreg.LinearOperator):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(2.0))
        self.norms = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x

    def norm(self, domain_shape: tuple[int, ...], *, tolerance: float = 1e-6, seed: int = 0) -> invreg.NormEstimate:
        self.norms += 1
        return super().norm(domain_shape, tolerance=tolerance, seed=seed)


def test_a_problem_moves_with_its_reconstructor_and_is_not_part_of_its_state() -> None:
    net, problem = Keeps(), Problem(Buffered())
    net.setup(problem, (1, 4, 4))
    assert net.problem is problem
    assert list(net.state_dict()) == ["weight"]
    assert [name for name, _ in net.named_modules()] == [""]
    net.double()
    assert problem.operator.factor.dtype == torch.float64
    copied = copy.deepcopy(net).float()
    assert copied.problem.operator.factor.dtype == torch.float32
    assert problem.operator.factor.dtype == torch.float64


def test_before_setup_there_is_no_problem() -> None:
    with pytest.raises(invreg.InvregError, match=r"Keeps: not set up\n.*setup\(problem, image_shape\)"):
        Keeps().problem  # noqa: B018


def test_norm_and_normal_operator_are_computed_once_for_a_shape() -> None:
    problem = Problem(Buffered())
    normal = problem.normal_operator((1, 4, 4))
    assert problem.normal_operator([1, 4, 4]) is normal  # type: ignore[arg-type]
    assert problem.norm((1, 4, 4)).value == pytest.approx(2)
    assert problem.operator.norms == 1
    problem.norm((1, 5, 4))
    assert problem.operator.norms == 2


def test_only_linear_operators_have_a_norm() -> None:
    with pytest.raises(invreg.InvregError, match=r"Problem\.norm: Squared is not linear"):
        Problem(Squared()).norm((1, 4, 4))


class Squared(invreg.Operator):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x**2


def test_a_name_is_not_an_operator() -> None:
    with pytest.raises(SpecError) as caught:
        Problem("gaussian_blur")  # type: ignore[arg-type]
    assert str(caught.value) == (
        "Problem.operator: 'gaussian_blur'\n  expected: an instance of Operator\n"
        "  try: invreg.Registry.installed().build('operator', 'gaussian_blur')"
    )
    with pytest.raises(SpecError, match=r"Problem\.noise: an instance of float"):
        Problem(Double(), 0.05)  # type: ignore[arg-type]


class Shift(LinearOperator):
    """Columns moved by 3; an adjoint that moves them the wrong way, is too large, fails or has another shape."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong = wrong

    def forward(self, x: Tensor) -> Tensor:
        return x.roll(3, -1)

    def adjoint(self, y: Tensor) -> Tensor:
        if self.wrong == "direction":
            return y.roll(3, -1)
        if self.wrong == "missing":
            raise NotImplementedError
        if self.wrong == "error":
            raise ValueError("no adjoint today")
        if self.wrong == "shape":
            return y[..., :-1]
        if self.wrong == "in place":
            return y.mul_(0.5).roll(-3, -1)
        return y.roll(-3, -1) * (1.28 if self.wrong == "size" else 1)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 9), (3, 64, 64)])
def test_the_defect_of_an_adjoint_is_its_relative_error(shape: tuple[int, ...]) -> None:
    assert Shift().adjoint_defect(shape) < 1e-6
    assert Shift("size").adjoint_defect(shape) == pytest.approx(0.28, rel=0.3 if shape[-1] > 1 else 3)
    assert Shift("size").adjoint_defect(shape) == Shift("size").adjoint_defect(shape)
    assert Shift("in place").adjoint_defect((3, 64, 64)) == pytest.approx(0.5, rel=0.05)
    assert Shift("direction").adjoint_defect((3, 64, 64)) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("direction", r"operator Shift: the adjoint is not the transpose .*: relative defect (0\.9|1)"),
        ("size", r"relative defect 0\.2[78](.|\n)*check_operator"),
        ("error", "cannot be compared with the forward map: ValueError: no adjoint today"),
        ("shape", r"adjoint\(\) returns \(1, 1, 32, 31\) for an image \(1, 1, 32, 32\)"),
    ],
)
def test_a_wrong_adjoint_is_a_warning_with_its_size(wrong: str, said: str) -> None:
    problem = Problem(Shift(wrong))
    with pytest.warns(InvregWarning, match=said):
        problem.check_adjoint((1, 32, 32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        problem.check_adjoint((1, 32, 32))  # said once
    with pytest.warns(InvregWarning, match=said):
        invreg.Registry.installed().build("reconstructor", "observation").setup(Problem(Shift(wrong)), (1, 32, 32))


def test_the_check_of_an_adjoint_leaves_random_numbers_and_other_operators_alone(
    recwarn: pytest.WarningsRecorder,
) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    for operator in (Shift(), Shift("missing"), Double()):
        Problem(operator).check_adjoint((1, 32, 32))
    assert torch.equal(torch.rand(3), expected)
    assert not recwarn.list
