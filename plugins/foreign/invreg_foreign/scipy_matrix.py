"""A matrix in a file as an operator."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from invreg import Operator, Shape, ShapeError, SpecError
from invreg.interop import operator_from_scipy
from invreg_foreign.per_shape import LinearPerShape


class ScipyMatrix(LinearPerShape):
    """A x for a sparse or dense matrix A in a file; an image is the vector of its values, row by row, (C, H, W).

    Files are those of `scipy.sparse.save_npz` and of `numpy.save`; pickled objects are never read. A complex matrix
    gives real and imaginary parts of each channel. It computes on the CPU, image by image.
    """

    def __init__(
        self,
        path: Annotated[
            str,
            Field(min_length=1, description="of a .npz file of scipy.sparse, or a .npy file", examples=["matrix.npz"]),
        ],
        range_shape: Annotated[
            tuple[Annotated[int, Field(ge=1)], ...] | None,
            Field(
                min_length=1,
                description="of one measurement, as in [1, 60, 45]; none: that of the images if A is square, "
                "otherwise one row [1, 1, M]",
            ),
        ] = None,
    ) -> None:
        super().__init__()
        self.path, self._wanted = path, range_shape
        self._matrix = _Shared(_read(path))
        rows = self._matrix.value.shape[0]
        if range_shape is not None and math.prod(range_shape) != rows:
            raise SpecError(
                f"{list(range_shape)} has {math.prod(range_shape)} values, and the matrix {rows} rows",
                where="range_shape",
                expected=f"{rows} values",
            )

    def make(self, image_shape: Shape) -> Operator:
        matrix = self._matrix.value
        rows, columns = matrix.shape
        if math.prod(image_shape) != columns:
            raise ShapeError(
                f"the matrix of {self.path} is {rows} x {columns}, and images of shape {image_shape} have "
                f"{math.prod(image_shape)} values",
                expected=f"images of {columns} values",
            )
        default = image_shape if rows == columns else (1, 1, rows)
        return operator_from_scipy(matrix, image_shape, self._wanted or default)

    def extra_repr(self) -> str:
        return f"{self.path}, {' x '.join(map(str, self._matrix.value.shape))}"


class _Shared:
    """A value that copies of its owner share."""

    is_shared = True

    def __init__(self, value: Any) -> None:
        self.value = value


def _read(path: str) -> Any:
    """The matrix in a file.

    Raises:
        SpecError: if there is none.
    """
    import scipy.sparse

    file = Path(path).expanduser()
    if not file.is_file():
        raise SpecError(
            f"{path!r:.200}: no such file", where="path", expected="a .npz file of scipy.sparse, or a .npy file"
        )
    try:
        with file.open("rb") as stream:
            if zipfile.is_zipfile(stream):
                stream.seek(0)
                matrix = scipy.sparse.load_npz(stream)  # it reads no pickled objects
            else:
                stream.seek(0)
                matrix = np.load(stream, allow_pickle=False)
    except Exception as error:  # noqa: BLE001 (a file of someone else can be broken in any way)
        raise SpecError(
            f"{path!r:.200} holds no matrix: {error}",
            where="path",
            expected="what scipy.sparse.save_npz or numpy.save has written, without objects",
        ) from None
    values = matrix.data if scipy.sparse.issparse(matrix) else matrix
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "fciub":
        raise SpecError(
            f"{path!r:.200} holds {matrix.dtype} of shape {matrix.shape}", where="path", expected="a matrix of numbers"
        )
    if not np.isfinite(values).all():
        raise SpecError(f"{path!r:.200} holds NaN or infinite values", where="path", expected="finite numbers")
    wide = np.result_type(matrix.dtype, np.float32)
    matrix = matrix.astype(wide)
    return matrix.tocsr() if scipy.sparse.issparse(matrix) else matrix
