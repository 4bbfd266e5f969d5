"""Starts of the fixed points: what is learned, what it saves, and that it never changes an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import invreg
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
        starts.learn([sample(state) for state in chain(seed)])
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
    assert set(before) == {"starts.coefficients", "gradient_starts.coefficients"}
    net.eval()
    net(z.requires_grad_()).square().sum().backward()
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    train(net, 1)
    assert not any(torch.equal(net.state_dict()[name], value) for name, value in before.items())


def test_numbers_that_overflow_teach_nothing() -> None:
    starts = LearnedStarts(2, 3)
    before = starts.coefficients.clone()
    bad = [torch.full((5, 3), float("nan")), torch.ones(5, 3), torch.ones(5, 3)]
    starts.learn(bad)
    starts.learn([1e38 * rows for rows in (torch.ones(5, 3), torch.ones(5, 3), -torch.ones(5, 3))])
    assert torch.equal(starts.coefficients, before)


def test_zero_gradients_are_no_trouble() -> None:
    starts = LearnedStarts(2, 3)
    starts.learn([torch.zeros(5, 3)] * 3)
    assert torch.isfinite(starts.coefficients).all()


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
