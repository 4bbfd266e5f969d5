"""Starts of the fixed points: what is learned, what it saves, and that it never changes an answer."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

import invreg
from invreg_iresnet.inversion.fixed_point import Course, Solution, Stopping, solve
from invreg_iresnet.inversion.starts import LearnedStarts, sample
from invreg_iresnet.iresnet import IResNet


def states(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def network(seed: int = 0) -> IResNet:
    torch.manual_seed(seed)
    registry = invreg.Registry.installed()
    net = IResNet(subnetworks=4, channels=3, hidden=5, kernel_size=3, lipschitz=0.99, padding=2)
    net.setup(invreg.Problem(registry.build("operator", "identity")), (1, 12, 14))
    # Thresholds that let much through: a chain of strong contractions, from which there is something to learn.
    with torch.no_grad():
        assert net.residuals is not None
        net.residuals.kernels.normal_()
        net.residuals.output_biases.normal_(std=0.1)
    return net


def teach(starts: LearnedStarts, chain: list[Tensor]) -> None:
    """One batch, whose iterations have started at the states before and reached the next ones at once."""
    starts.batches.zero_()
    _, lesson = starts.plan(chain[0], Stopping(1e-3, 5))
    assert lesson is not None
    for before, value in pairwise(chain):
        lesson.add(Solution(before, value, value, Course(1, 0.0, "converged"), (before, before), 1))
    starts.learn(lesson)


def train(net: IResNet, steps: int) -> None:
    net.train()
    for step in range(steps):
        z = torch.rand(4, 1, 12, 14, generator=torch.Generator().manual_seed(step))
        net(z).square().sum().backward()
    net.zero_grad()
    net.eval()


def test_untrained_starts_are_the_last_states() -> None:
    path = [states(seed, 2, 3, 4, 5) for seed in range(4)]
    starts = LearnedStarts(4, 3).double()
    assert torch.equal(starts.start(1, path[:1]), path[0])
    assert torch.equal(starts.start(4, path), path[3])


def test_a_linear_law_is_learned() -> None:
    """Steps made by a law of the form that is looked for are predicted after a few batches."""
    law = 0.4 * states(9, 2, 3, 3)
    starts = LearnedStarts(5, 3).double()

    def chain(seed: int) -> list[Tensor]:
        path = [states(seed, 2, 3, 6, 7)]
        steps = [torch.zeros_like(path[0])]
        for _ in range(5):
            features = zip(law, (path[-1], steps[-1]), strict=True)
            step = sum(torch.einsum("bihw,io->bohw", known, matrix) for matrix, known in features)
            path.append(path[-1] + step)
            steps.append(step)
        return path

    for seed in range(30):
        teach(starts, chain(seed))
    path = chain(99)
    for number in range(1, 6):
        torch.testing.assert_close(starts.start(number, path[:number]), path[number], rtol=1e-4, atol=1e-4)


def test_learning_saves_iterations_and_changes_no_answer() -> None:
    net, z = network(), torch.rand(3, 1, 12, 14, generator=torch.Generator().manual_seed(100))
    net.eval()
    before, first_before = (net.invert(net.lift(z), tolerance=1e-6, max_iterations=most) for most in (50, 1))
    train(net, 12)
    after, first_after = (net.invert(net.lift(z), tolerance=1e-6, max_iterations=most) for most in (50, 1))
    assert sum(first_after.residuals) < 0.8 * sum(first_before.residuals)
    assert sum(after.iterations) <= sum(before.iterations)
    torch.testing.assert_close(after.x, before.x, rtol=0, atol=1e-5)


def test_the_answer_for_an_image_does_not_depend_on_its_batch() -> None:
    net, z = network(), torch.rand(3, 1, 12, 14, generator=torch.Generator().manual_seed(100))
    train(net, 5)
    torch.testing.assert_close(net(z)[1:2], net(z[1:2]), rtol=0, atol=2e-6)


def test_only_training_teaches() -> None:
    net, z = network(), torch.rand(2, 1, 12, 14)
    before = {name: value.clone() for name, value in net.state_dict().items() if "starts" in name}
    names = ("coefficients", "corrections", "taps", "counts", "batches")
    assert set(before) == {f"{of}.{name}" for of in ("starts", "gradient_starts") for name in names}
    net.eval()
    net(z.requires_grad_()).square().sum().backward()
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    train(net, 1)
    assert not any(torch.equal(net.state_dict()[name], value) for name, value in before.items())


def test_what_steps_leave_is_learned() -> None:
    """For g(x) = z + J x with a J that mixes channels and neighbours, corrections bring answers closer."""
    mix, taps = 0.2 * states(7, 3, 3), 0.3 * states(8, 3, 1, 5, 5) / 5

    def residual_function(x: Tensor) -> Tensor:
        mixed = torch.einsum("bihw,io->bohw", x, mix)
        return mixed + torch.nn.functional.conv2d(x, taps, padding=2, groups=3)

    def inverted(starts: LearnedStarts, seed: int, evaluations: int, *, learn: bool) -> tuple[Tensor, Tensor]:
        z = states(seed, 2, 3, 12, 14).contiguous(memory_format=torch.channels_last)
        _, lesson = starts.plan(z, Stopping(0, evaluations)) if learn else (None, None)
        (correction,) = starts.predictions("answers")
        rule = Stopping(0, evaluations)
        found = solve(lambda x: (z + residual_function(x), x), z, rule, correction, keep_first=learn)
        if lesson:
            lesson.add(found)
            starts.learn(lesson)
        exact = solve(lambda x: (z + residual_function(x), x), z, Stopping(1e-14, 500)).value
        return found.value, exact

    untaught = LearnedStarts(1, 3).double()
    answer, exact = inverted(untaught, 99, 2, learn=False)
    before = (answer - exact).norm()
    taught = LearnedStarts(1, 3).double()
    for seed in range(16):
        inverted(taught, seed, 3, learn=True)
    answer, exact = inverted(taught, 99, 2, learn=False)
    assert (answer - exact).norm() < 0.5 * before


def test_batches_between_lessons_take_the_evaluations_of_the_last_one() -> None:
    starts, state, rule = LearnedStarts(2, 3), torch.rand(1, 3, 6, 6), Stopping(1e-3, 50)
    for _ in range(16):
        stoppings, lesson = starts.plan(state, rule)
        assert lesson is not None
        assert stoppings == [rule, rule]
        for enough in (4, 0):  # the second has not converged: nobody knows what would be enough
            course = Course(4, 0.0, "converged" if enough else "exhausted")
            lesson.add(Solution(state, state, state, course, (state, state), enough))
        starts.learn(lesson)
    stoppings, lesson = starts.plan(state, rule)
    assert lesson is not None  # one of sixteen
    stoppings, lesson = starts.plan(state, rule)
    assert lesson is None
    assert stoppings == [Stopping(0, 4), rule]
    assert starts.plan(state, Stopping(0, 2))[0] == [Stopping(0, 2)] * 2  # early in a training, counts are fixed


def test_neighbours_are_those_of_the_image_and_zeros_outside() -> None:
    state = states(0, 2, 3, 7, 9)
    rows = sample(state, 5)
    assert rows.shape == (len(sample(state)), 3, 25)
    windows = torch.nn.functional.unfold(state, 5, padding=2).view(2, 3, 25, 63).permute(0, 3, 1, 2).flatten(0, 1)
    assert torch.equal(rows, windows)


def test_starts_of_an_earlier_version_are_kept() -> None:
    net = network()
    train(net, 3)
    new = {"corrections", "taps", "counts", "batches"}
    old = {name: value for name, value in net.state_dict().items() if name.split(".")[-1] not in new}
    other = network(1)
    other.load_state_dict(old)
    assert other.starts is not None
    assert torch.equal(other.starts.coefficients, net.state_dict()["starts.coefficients"])
    assert not other.starts.batches
    assert not other.starts.corrections.any()


def test_numbers_that_overflow_teach_nothing() -> None:
    starts = LearnedStarts(2, 3)
    before = starts.coefficients.clone()
    ones = torch.ones(1, 3, 5, 1)
    teach(starts, [torch.full_like(ones, float("nan")), ones, ones])
    teach(starts, [1e38 * ones, 1e38 * ones, -1e38 * ones])
    assert torch.equal(starts.coefficients, before)


def test_zero_gradients_are_no_trouble() -> None:
    starts = LearnedStarts(2, 3)
    teach(starts, [torch.zeros(1, 3, 5, 1)] * 3)
    assert all(torch.isfinite(buffer).all() for buffer in starts.buffers())


def test_weights_saved_without_starts_can_be_loaded() -> None:
    net, other = network(0), network(1)
    train(net, 3)
    old = {name: value for name, value in net.state_dict().items() if "starts" not in name}
    other.load_state_dict(old)
    z = torch.rand(2, 1, 12, 14)
    torch.testing.assert_close(other.eval()(z), net.eval()(z), rtol=0, atol=1e-4)


def test_saved_weights_give_the_same_bits(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    net, other, z = network(0), network(1), torch.rand(2, 1, 12, 14)
    train(net, 3)
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, tmp_path / "net.safetensors")
    other.load_state_dict(load_file(tmp_path / "net.safetensors"))
    assert torch.equal(other.eval()(z), net.eval()(z))


@pytest.mark.parametrize(("rows", "width"), [(8 * 96 * 96, 96), (3 * 5 * 7, 7), (64 * 128 * 128, 128)])
def test_samples_are_spread_over_all_columns(rows: int, width: int) -> None:
    columns = torch.arange(width).repeat(rows // width).view(1, 1, -1, width)
    seen = sample(columns)
    assert len(seen) >= min(rows, 2048)
    assert len(seen.unique()) == width
