"""Volumes of random ellipsoids, the phantoms of three dimensions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from invreg import generator

_Array = NDArray[np.float64]


def draw_volume(key: int, sides: tuple[int, int, int], ellipsoids: int) -> NDArray[np.float32]:
    """One volume `[1, D, H, W]`, float32 in [0, 1], determined by `key`: a body with small ellipsoids in it.

    With the cube [-1, 1]^3 as its domain, whatever its sides,

        x = min(1, max(0, 1_{E_0} (a_0 + sum_k a_k 1_{E_k}))),

    where E_0 is the body, a large ellipsoid near the middle, and E_1 ... E_K are small ones whose centres lie in it;
    all are turned at random. Everything lies in the unit ball. Faces are smoothed over one voxel, as if each voxel were
    the mean over its volume.

    Args:
        key: of the random numbers.
        sides: (D, H, W).
        ellipsoids: K.
    """
    random = torch.rand(ellipsoids + 1, 10, generator=generator(key), dtype=torch.float64).numpy()
    # Uniform in a ball: the cube root of the radius, and a direction; likewise for rotations, by quaternions.
    centres = 0.6 * np.cbrt(random[:, :1]) * _directions(random[:, 1], random[:, 2])
    radii = 0.08 + 0.27 * random[:, 3:6] ** 2
    value = random[:, 9]
    amplitudes = np.where(value < 0.5, -1, 1) * (0.1 + 0.6 * np.abs(value - 0.5))
    # The first is the body: its distance from the middle and its largest radius add up to one at most.
    centres[0] *= 0.1 / 0.6
    radii[0] = 0.6 + 0.3 * random[0, 3:6]
    amplitudes[0] = 0.2 + 0.4 * value[0]

    body, volume = np.zeros(sides), np.zeros(sides)
    for number in range(ellipsoids + 1):
        axes = _rotation(random[number, 6:9]) / radii[number][:, None]
        window, coverage = _ellipsoid(centres[number], axes, float(radii[number].max()), sides)
        if number == 0:
            body[window] = coverage
        volume[window] += amplitudes[number] * body[window] * (coverage if number else 1)
    return np.clip(volume, 0, 1).astype(np.float32)[None]


def _directions(height: _Array, turn: _Array) -> _Array:
    """Unit vectors, uniform on the sphere for uniform numbers in [0, 1]."""
    z = 2 * height - 1
    flat = np.sqrt(1 - z * z)
    return np.stack([z, flat * np.cos(2 * np.pi * turn), flat * np.sin(2 * np.pi * turn)], axis=1)


def _rotation(uniform: _Array) -> _Array:
    """A rotation, uniform for uniform numbers in [0, 1].

    Source: Shoemake 1992, Uniform random rotations, Graphics Gems III.
    """
    first, second, third = uniform
    a, b = np.sqrt(1 - first), np.sqrt(first)
    x, y = a * np.sin(2 * np.pi * second), a * np.cos(2 * np.pi * second)
    z, w = b * np.sin(2 * np.pi * third), b * np.cos(2 * np.pi * third)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _ellipsoid(
    centre: _Array, axes: _Array, reach: float, sides: tuple[int, int, int]
) -> tuple[tuple[slice, ...], _Array]:
    """The part of the volume that an ellipsoid lies in, and the share of each voxel there that it covers.

    The shares are right to first order in the width of a voxel.

    Args:
        centre: of the ellipsoid.
        axes: its points are those with |axes (point - centre)| <= 1.
        reach: its largest radius.
        sides: of the volume.
    """
    voxels = [2 / side for side in sides]
    window = tuple(
        slice(max(0, int((c - reach + 1) / voxel - 1)), max(0, int((c + reach + 1) / voxel + 2)))
        for c, voxel in zip(centre, voxels, strict=True)
    )
    grid = np.meshgrid(
        *(
            ((np.arange(side) + 0.5) * voxel - 1)[part] - c
            for side, voxel, part, c in zip(sides, voxels, window, centre, strict=True)
        ),
        indexing="ij",
        sparse=True,
    )
    turned = [sum(entry * offsets for entry, offsets in zip(row, grid, strict=True)) for row in axes]
    level = np.sqrt(sum(one * one for one in turned))
    # The face is where level = 1; its distance in voxels is (1 - level) / |grad level| to first order, with the
    # gradient axesᵀ turned / level taken in steps of voxels.
    steps = [
        voxel * sum(entry * one for entry, one in zip(column, turned, strict=True))
        for voxel, column in zip(voxels, axes.T, strict=True)
    ]
    slope = np.sqrt(sum(step * step for step in steps))
    distance = (1 - level) * level / np.maximum(slope, 1e-9)
    # In the very centre level and slope vanish together; it lies inside.
    return window, np.where(level < 0.5, 1, np.clip(distance + 0.5, 0, 1))
