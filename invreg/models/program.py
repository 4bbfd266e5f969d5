"""Models as programs for other runtimes: `program.pt2` of torch.export, and `model.onnx`."""

from __future__ import annotations

import io
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from invreg.errors import InvregError, message_of

if TYPE_CHECKING:
    from invreg.models.model import Model

TORCH, ONNX = "program.pt2", "model.onnx"

#: How far a program may be from the method, in any pixel.
_TOLERANCE = 1e-5


class _Forward(nn.Module):
    """R without the look at the measurements, which a program cannot have."""

    def __init__(self, reconstructor: nn.Module) -> None:
        super().__init__()
        self.reconstructor = reconstructor

    def forward(self, z: Tensor) -> Tensor:
        result: Tensor = self.reconstructor.forward(z)
        return result


def programs(model: Model, *, as_torch: bool, as_onnx: bool) -> dict[str, bytes]:
    """The method of a model as programs by file name, each compared with the method itself.

    They take float32 measurements `[N, ...range]` for any N, and of any size where measurements are images.

    Raises:
        InvregError: if the method iterates until its values say that it is done, which no program can, or has sparse
            matrices; if a package is missing or torch too old; or if the program does not give the same images.
    """
    if not (as_torch or as_onnx):
        return {}
    where = f"model {model.name!r}"
    if not hasattr(torch.export.Dim, "DYNAMIC"):
        raise InvregError(f"torch {torch.__version__} makes no programs", where=where, expected="torch 2.6 or newer")
    missing = [name for name in ("onnx", "onnxscript") if as_onnx and find_spec(name) is None]
    if missing:
        raise InvregError(f"ONNX needs {' and '.join(missing)}", where=where, hint="pip install 'invreg[onnx]'")
    exported, z = _exported(model, where)
    found = {}
    if as_torch:
        content = io.BytesIO()
        torch.export.save(exported, content)
        _compare(torch.export.load(io.BytesIO(content.getvalue())).module()(z), model, z, where)
        found[TORCH] = content.getvalue()
    if as_onnx:
        found[ONNX] = content_of_onnx = _onnx(exported, where)
        if find_spec("onnxruntime") is not None:
            import onnxruntime

            session = onnxruntime.InferenceSession(content_of_onnx)
            (image,) = session.run(None, {session.get_inputs()[0].name: z.numpy()})
            _compare(torch.from_numpy(image), model, z, where)
    return found


def _exported(model: Model, where: str) -> tuple[Any, Tensor]:
    """The exported program, and measurements to compare on: another number, and another size where that is possible."""
    shape = tuple(model.problem.operator.range_shape(model.image_shape))
    is_image = shape == model.image_shape
    dynamic = torch.export.Dim.DYNAMIC
    sizes = dict.fromkeys([0, *range(2, len(shape) + 1)] if is_image else [0], dynamic)
    start = torch.Generator().manual_seed(0)
    z = torch.rand((2, *shape), generator=start)
    with torch.no_grad():
        model.reconstructor(z)  # what a method prepares at its first call is prepared
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exported = torch.export.export(_Forward(model.reconstructor), (z,), dynamic_shapes=(sizes,))
        except Exception as error:
            raise InvregError(
                f"{type(model.reconstructor).__name__} cannot become a program: {_first_line(error)}",
                where=where,
                expected="dense tensors and no iterations, as in explicit_iresnet or unet: how often others iterate "
                "depends on the values, which a program does not look at",
                hint="export it without a program",
            ) from error
    step = 8 if len(shape) == 3 else 2
    other = (3, shape[0], shape[1] + step, *shape[2:-1], shape[-1] - step) if is_image else (3, *shape)
    return exported, torch.rand(other, generator=start)


def _onnx(exported: Any, where: str) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(exported, dynamo=True, verbose=False)
        content: bytes = program.model_proto.SerializeToString()
    except Exception as error:
        raise InvregError(f"cannot become ONNX: {_first_line(error)}", where=where, hint="`torch_export`") from error
    return content


def _first_line(error: Exception) -> str:
    return message_of(error).splitlines()[0][:300]


def _compare(image: Tensor, model: Model, z: Tensor, where: str) -> None:
    with torch.no_grad():
        difference = float((image - model.reconstructor(z)).abs().max())
    if not difference <= _TOLERANCE:
        raise InvregError(
            f"the program gives other images than the method: they differ by {difference:.2g}",
            where=where,
            expected=f"at most {_TOLERANCE:g}",
            hint="export it without a program",
        )
