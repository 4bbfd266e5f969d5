"""Lifting: there and back, layouts, and the norm of the padding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from invreg.errors import ShapeError
from invreg_iresnet.network.lifting import Lifting


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", [0, 3])
def test_unlift_undoes_lift(channels: int, padding: int) -> None:
    lifting = Lifting(channels, 4, padding, 0.45)
    x = torch.rand(2, channels, 7, 9, dtype=torch.float64)
    state = lifting.lift(x)
    assert state.shape == (2, 4 * channels, 7 + 2 * padding, 9 + 2 * padding)
    assert state.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(lifting.unlift(state), x, rtol=1e-14, atol=1e-14)


def test_states_are_copies_of_the_centred_and_padded_image() -> None:
    x = torch.rand(2, 3, 5, 6)
    state = Lifting(3, 2, 2, 0.25).lift(x)
    padded = F.pad(x - 0.25, (2, 2, 2, 2), mode="reflect")
    torch.testing.assert_close(state, torch.cat([padded, padded], 1))


def test_unlift_averages_copies_of_each_channel() -> None:
    state = torch.rand(1, 6, 4, 4)
    expected = (state[:, :3] + state[:, 3:]) / 2 + 0.5
    torch.testing.assert_close(Lifting(3, 2, 0, 0.5).unlift(state), expected)


@pytest.mark.parametrize(("size", "padding"), [((8, 9), 0), ((8, 9), 2), ((5, 9), 4), ((7, 7), 6), ((3, 4), 1)])
def test_padding_norm_is_that_of_the_matrix(size: tuple[int, int], padding: int) -> None:
    basis = torch.eye(size[0] * size[1], dtype=torch.float64).view(-1, 1, *size)
    matrix = (F.pad(basis, 4 * (padding,), mode="reflect") if padding else basis).flatten(1)
    expected = float(torch.linalg.matrix_norm(matrix, ord=2))
    assert Lifting(1, 1, padding, 0.0).padding_norm(*size) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", [(2, 2, 8, 8), (1, 8, 8), (2, 1, 3, 8), (2, 1, 8, 3)])
def test_lift_refuses_what_is_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="expected"):
        Lifting(1, 4, 3, 0.45).lift(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (4, 8, 8), (2, 4, 6, 8)])
def test_unlift_refuses_what_is_no_state(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"\[B, 4, H \+ 6, W \+ 6\]"):
        Lifting(1, 4, 3, 0.45).unlift(torch.zeros(shape))


@pytest.mark.parametrize(
    ("size", "padding", "multiple"), [((8, 9), 4, 1), ((8, 9), 2, 4), ((7, 12), 3, 2), ((5, 6), 0, 4)]
)
def test_a_tapered_padding_is_an_isometry_whose_adjoint_brings_images_back(
    size: tuple[int, int], padding: int, multiple: int
) -> None:
    lifting = Lifting(1, 1, padding, 0.0, multiple, "tapered")
    basis = torch.eye(size[0] * size[1], dtype=torch.float64).view(-1, 1, *size)
    states = lifting.lift(basis)
    assert states.shape[2:] == lifting.state_size(*size)
    matrix = states.flatten(1)  # row j is P e_j
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(len(matrix), dtype=torch.float64), rtol=0, atol=1e-14)
    assert 1 < lifting.padding_norm(*size) < 1 + 1e-5
    state = torch.rand(1, 1, *lifting.state_size(*size), dtype=torch.float64)
    torch.testing.assert_close(lifting.unlift(state, size).flatten(), matrix @ state.flatten(), rtol=0, atol=1e-14)
    torch.testing.assert_close(lifting.unlift(states, size), basis, rtol=0, atol=1e-14)


def test_a_tapered_border_is_zero_outside_and_the_image_as_it_is_inside() -> None:
    state = Lifting(1, 2, 4, 0.25, border="tapered").lift(torch.full((1, 1, 12, 12), 1.25, dtype=torch.float64))
    profile = state[0, 1, 10]
    assert (profile.diff()[:7] > 0).all()
    assert torch.equal(profile[8:12], torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(profile, profile.flip(0))
    with pytest.raises(ShapeError, match="more than 7 pixels on each side, for the tapered padding"):
        Lifting(1, 2, 4, 0.25, border="tapered").lift(torch.zeros(1, 1, 7, 12))
