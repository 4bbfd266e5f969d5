import pytest
import torch
from tv_helpers import shapes

from invreg_tv.differences import (
    add_adjoint,
    add_gradient,
    gradient,
    gradient_norm_squared,
    project_,
    total_variation,
)


@pytest.mark.parametrize("shape", [(2, 3, 7, 5), (1, 1, 1, 6), (1, 1, 6, 1), (1, 1, 1, 1)])
def test_adjoint_is_the_transpose_of_the_gradient(shape):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    v = torch.randn(shape, generator=rng, dtype=torch.float64)
    p = gradient(v)
    adjoint = add_adjoint(torch.zeros_like(x), p, 1.0, out=torch.empty_like(x))
    torch.testing.assert_close((gradient(x) * p).sum(), (x * adjoint).sum())


def test_scales_and_bases_are_respected():
    x, v = shapes(2, 9)
    x, v = x[None], v[None]
    p = gradient(v)
    torch.testing.assert_close(add_gradient(p, x, -0.3, out=p.clone()), p - 0.3 * gradient(x))
    plain = add_adjoint(torch.zeros_like(x), p, 1.0, out=torch.empty_like(x))
    torch.testing.assert_close(add_adjoint(x, p, 0.7, out=torch.empty_like(x)), x + 0.7 * plain)


def test_norm_bound_is_nearly_attained_by_a_chessboard():
    board = torch.ones(60, 60, dtype=torch.float64)
    board[::2, 1::2] = board[1::2, ::2] = -1
    ratio = float(gradient(board[None, None]).square().sum() / board.square().sum())
    assert 0.95 * gradient_norm_squared(2) < ratio < gradient_norm_squared(2)


def test_projection_onto_unit_vectors():
    p = 2 * torch.randn(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    length = p.norm(dim=1, keepdim=True)
    expected = torch.where(length > 1, p / length, p)
    assert (length > 1).any()
    assert (length < 1).any()
    torch.testing.assert_close(project_(p.clone(), torch.empty(3, 1, 8, 8, dtype=torch.float64)), expected)


def test_total_variation_of_simple_images():
    step = torch.zeros(1, 1, 8, 6)
    step[..., 3:] = 0.5
    assert float(total_variation(step)) == pytest.approx(8 * 0.5)
    # One bright pixel: its own two differences make sqrt(2), its left and upper neighbours 1 each.
    pixel = torch.zeros(1, 1, 5, 5)
    pixel[..., 2, 2] = 1
    assert float(total_variation(pixel)) == pytest.approx(2 + 2**0.5)
    assert float(total_variation(torch.full((1, 2, 4, 4), 0.3))) == 0


def test_channels_are_added_and_images_kept_apart():
    x = shapes(4, 10).view(2, 2, 10, 10)
    each = torch.stack([total_variation(x[:, c : c + 1]) for c in range(2)]).sum(0)
    torch.testing.assert_close(total_variation(x), each)
    torch.testing.assert_close(total_variation(x)[1:], total_variation(x[1:]))
