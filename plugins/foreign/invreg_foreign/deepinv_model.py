"""Reconstructors, denoisers and algorithms of DeepInverse as methods."""

from __future__ import annotations

from typing import Annotated, Any, cast

import torch
from pydantic import Field
from torch import Tensor

from invreg import (
    InvregError,
    LinearOperator,
    NamedClass,
    Operator,
    Problem,
    Reconstructor,
    Shape,
    SpecError,
    require_known,
    search_range,
)
from invreg.interop import physics_from_operator, reconstructor_from_deepinverse
from invreg_foreign.deepinv_catalogues import maker
from invreg_foreign.deepinv_physics import DeepInversePhysics, LinearDeepInversePhysics
from invreg_foreign.packages import package
from invreg_foreign.signatures import parameters_of
from invreg_foreign.weights import give_weights, read_weights


class DeepInverseModel(Reconstructor):
    """A reconstructor, a denoiser or an algorithm of DeepInverse by the name of its class.

    Classes of `deepinv.models` are called as model(z, physics), denoisers as model(z, sigma), and those of
    `deepinv.optim` (PGD, FISTA, ADMM, ...) minimise data fidelity + lambda_reg * prior. Parameters are those of the
    class, written as for the operator deepinv; `{prior: WaveletPrior, parameters: {...}}`, `{data_fidelity: L2}` and
    `{denoiser: MedianFilter}` are further objects. Of an algorithm, a data fidelity that is left out is L2, and a step
    size that is left out 1 / ||A||² for linear A: with the 1 of DeepInverse, PGD diverges where ||A||² > 2.

    A model without weights treats each image alone, with state of its own, so that a result does not depend on the
    batch. One with weights has them from a file, and is then not trained, or is trained by a trainer; a denoiser inside
    an algorithm has them by `{denoiser: DRUNet, parameters: {...}, weights: drunet.pth}`. Nothing is downloaded.
    """

    name_parameter = "model"

    def __init__(
        self,
        model: Annotated[
            str, Field(description="the name of a class in deepinv.models or deepinv.optim", examples=["MedianFilter"])
        ],
        parameters: Annotated[
            dict[str, Any] | None, Field(description="of its constructor; none: its defaults")
        ] = None,
        weights: Annotated[
            str | None,
            Field(
                min_length=1,
                description="a file of weights, .safetensors or one of torch that holds tensors only; they are not "
                "trained any further",
            ),
        ] = None,
        sigma: Annotated[
            float | None,
            Field(
                ge=0,
                description="noise level that a denoiser is told; none: that of the Gaussian noise",
                json_schema_extra=search_range(0.005, 0.5, log=True),
            ),
        ] = None,
        lambda_reg: Annotated[
            float | None,
            Field(
                gt=0,
                description="weight of the prior of an algorithm; none: its default",
                json_schema_extra=search_range(1e-4, 1, log=True),
            ),
        ] = None,
    ) -> None:
        super().__init__()
        self.model, self.parameters_of_model, self.weights = model, parameters, weights
        self.sigma, self.lambda_reg = sigma, lambda_reg
        # Names and values are looked at now: what is wrong is found when the spec is checked.
        made = self._made(None, None)
        if sigma is not None and isinstance(made, package("deepinv").models.Reconstructor):
            raise SpecError(
                f"{model} is not a denoiser", where="sigma", expected="nothing: it has the noise of the problem"
            )
        if weights is not None:
            read_weights(weights, "weights")

    @classmethod
    def class_names(cls) -> list[str]:
        return sorted(maker(None, 0).catalogues["model"].entries)

    @classmethod
    def class_named(cls, name: str) -> NamedClass:
        return maker(None, 0).described("model", name)

    def check_operator(self, operator: Operator) -> None:
        """Refuses an operator that cannot be evaluated."""
        require_known(operator, self.model)

    def setup(self, problem: Problem, image_shape: Shape) -> None:
        """Makes the model, and the physics that it is given.

        Raises:
            SpecError: if a denoiser has no noise level, or measurements that are not images; if weights do not fit.
        """
        super().setup(problem, image_shape)
        shape = tuple(image_shape)
        theirs = problem
        if isinstance(problem.operator, DeepInversePhysics):
            theirs = Problem(problem.operator.wrapped(shape), problem.noise)
            # Some models ask the physics for the level of the noise.
            noisy = physics_from_operator(problem.operator, shape, problem.noise)
            problem.operator.wrapped(shape).physics.noise_model = noisy.noise_model
        self._measured = tuple(problem.operator.range_shape(shape))
        made = self._made(problem, shape)
        if self.weights is not None:
            give_weights(made, self.weights, self.model, "weights")
        try:
            self.inner = reconstructor_from_deepinverse(made, self.sigma)
            self.inner.setup(theirs, shape)
        except SpecError as error:
            error.where = None
            raise
        self._has_weights = any(True for _ in made.parameters())
        if self.weights is not None:
            made.requires_grad_(False)
        self._try(theirs, shape)

    def forward(self, z: Tensor) -> Tensor:
        """Reconstructions `[B, C, H, W]`.

        Raises:
            InvregError: before `setup`, or if the model gives something else than an image.
        """
        if self._problem is None or self._setup_shape is None:
            raise InvregError("not set up", where=type(self).__name__, hint="setup(problem, image_shape) first")
        if self._has_weights:
            images = self._called(z)
        else:
            images = (
                torch.cat([self._alone(one[None]) for one in z]) if len(z) else z.new_zeros((0, *self._setup_shape))
            )
        if not isinstance(images, Tensor) or len(images) != len(z) or images.dim() != 1 + len(self._setup_shape):
            shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise InvregError(
                f"{self.model} returns {shape}", expected=f"images [B, {', '.join(map(str, self._setup_shape))}]"
            )
        return images.to(z.dtype)

    def _try(self, problem: Problem, shape: Shape) -> None:
        """Calls it once, on the measurement of an image of zeros: what it cannot do is known before a run begins.

        Raises:
            SpecError: with what it says, or gives instead of an image.
        """
        operator = problem.operator
        if any(one.is_cuda for one in (*operator.parameters(), *operator.buffers())):
            return  # where this method only comes after its setup
        like = next(self.inner.parameters(), torch.zeros(()))
        training = self.training
        try:
            with torch.no_grad():
                found = self.eval()(operator(like.new_zeros((1, *shape))))
        except InvregError:
            raise
        except Exception as error:
            raise SpecError(
                f"{self.model} does not reconstruct images of shape {shape} from measurements of shape "
                f"{operator.range_shape(shape)}: {type(error).__name__}: {error}"[:600],
                expected="a model for such images and measurements, and the packages that it needs",
            ) from error
        finally:
            self.train(training)
        if tuple(found.shape[1:]) != shape:
            raise SpecError(
                f"{self.model} gives {tuple(found.shape)}", expected=f"images [1, {', '.join(map(str, shape))}]"
            )

    def extra_repr(self) -> str:
        return self.model

    def _alone(self, z: Tensor) -> Tensor:
        """One image by a model of its own: several keep state from one call to the next, to start from."""
        with torch.no_grad():
            inner = self.inner
            inner.model = self._made(self.problem, self._setup_shape).to(z.device)
            return self._called(z).detach()

    def _called(self, z: Tensor) -> Tensor:
        """The model with the physics of images of this size, such as crops in training."""
        operator, inner = self.problem.operator, self.inner
        measured = tuple(z.shape[1:])
        if inner.denoises or not isinstance(operator, LinearDeepInversePhysics) or measured == self._measured:
            return inner(z)
        sized = operator.wrapped(operator.domain_shape(measured))
        sized.physics.noise_model = operator.wrapped(cast(Shape, self._setup_shape)).physics.noise_model
        return sized.image_of(inner.model(sized.theirs(z), sized.physics))

    def _made(self, problem: Problem | None, shape: Shape | None) -> Any:
        """The model; `PENDING` without a shape, where it needs one."""
        making = maker(shape, 0)
        known = parameters_of(making.catalogues["model"].find(self.model, "model"))
        given = dict(self.parameters_of_model or {})
        if self.lambda_reg is not None:
            if "lambda_reg" not in known:
                raise SpecError(
                    f"{self.model} has no lambda_reg", where="lambda_reg", expected="an algorithm of deepinv.optim"
                )
            if "lambda_reg" in given:
                raise SpecError(
                    "lambda_reg twice", where="parameters.lambda_reg", expected="it once, beside parameters"
                )
            given["lambda_reg"] = self.lambda_reg
        if "data_fidelity" in known and "data_fidelity" not in given:
            given["data_fidelity"] = {"data_fidelity": "L2"}
        linear = problem is not None and isinstance(problem.operator, LinearOperator)
        if problem is not None and shape is not None and linear and "stepsize" in known:
            given.setdefault("stepsize", 1 / problem.norm(shape).value ** 2)
        return making.make("model", self.model, given)
