"""Solvers of other packages for total variation, as contestants of tv.py; packages that are missing are left out."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invreg import LinearOperator


class Run(ABC):
    """A solver that makes as many iterations as it is told to."""

    #: Whether it works on one image at a time, each with its own number of iterations.
    alone = False

    def __init__(self, operator: LinearOperator, z: Tensor, weight: float) -> None:
        self.operator, self.z, self.weight = operator, z, weight
        self.prepare()

    def prepare(self) -> None:
        """What a user would do once."""

    @abstractmethod
    def __call__(self, iterations: int, rows: slice) -> Tensor:
        """The images that so many iterations lead to, from the measurements `rows`."""

    def parts(self, size: int) -> list[slice]:
        return [slice(i, i + 1) for i in range(size)] if self.alone else [slice(0, size)]


def rivals(operator: LinearOperator, z: Tensor, weight: float) -> dict[str, Run]:
    """Those that take any linear operator."""
    made: dict[str, Callable[..., Run]] = {
        # The inner iterations of the proximal map: its default, and fewer of them, which start where the last ended.
        "DeepInverse, FISTA with TVPrior": DeepInverse,
        "DeepInverse, at most 100 inner iterations": partial(DeepInverse, inner=100),
        "DeepInverse, at most 20 inner iterations": partial(DeepInverse, inner=20),
        # Dual steps: the package's choice, and that of the same order as the library's.
        "ODL, pdhg": Odl,
        "ODL, pdhg, dual step √weight": partial(Odl, sigma=math.sqrt(weight)),
        "ODL, pdhg, dual step √weight / 3": partial(Odl, sigma=math.sqrt(weight) / 3),
        "SCICO, PDHG": Scico,
        "SCICO, PDHG, dual step √weight": partial(Scico, sigma=math.sqrt(weight)),
        "SCICO, PDHG, dual step √weight / 3": partial(Scico, sigma=math.sqrt(weight) / 3),
    }
    return _installed(made, operator, z, weight)


def denoising_rivals(operator: LinearOperator, z: Tensor, weight: float) -> dict[str, Run]:
    """Those for denoising alone."""
    made = {"scikit-image, denoise_tv_chambolle": ScikitImage, "DeepInverse, TVDenoiser": DeepInverseDenoiser}
    return _installed(made, operator, z, weight)


def _installed(made: dict[str, Callable[..., Run]], *problem: Any) -> dict[str, Run]:
    found, missing = {}, set()
    for name, make in made.items():
        try:
            found[name] = make(*problem)
        except (ImportError, RuntimeError) as error:  # torchvision of another torch raises the latter
            missing.add(f"{name.split(',')[0]} is left out, as it cannot be imported: {error}")
    for line in sorted(missing):
        print(f"{line}\n")
    return found


class DeepInverse(Run):
    """Its accelerated proximal gradient method with its prior, whose proximal map is another iteration."""

    def __init__(self, operator: LinearOperator, z: Tensor, weight: float, inner: int = 1000) -> None:
        self.inner = inner
        super().__init__(operator, z, weight)

    def prepare(self) -> None:
        from deepinv.physics import LinearPhysics

        class Physics(LinearPhysics):
            def A(physics, x: Tensor, **settings: Any) -> Tensor:
                return self.operator(x)

            def A_adjoint(physics, y: Tensor, **settings: Any) -> Tensor:
                return self.operator.adjoint(y)

        self.physics = Physics().to(self.z.device)

    def __call__(self, iterations: int, rows: slice) -> Tensor:
        from deepinv.optim import FISTA, L2, TVPrior

        prior = TVPrior(n_it_max=self.inner)
        fista = FISTA(L2(), prior, lambda_reg=self.weight, stepsize=1.0, max_iter=iterations, early_stop=False)
        with torch.no_grad():
            x: Tensor = fista(self.z[rows], self.physics)
        return x


class DeepInverseDenoiser(Run):
    def prepare(self) -> None:
        import deepinv.models  # noqa: F401

    def __call__(self, iterations: int, rows: slice) -> Tensor:
        from deepinv.models import TVDenoiser

        with torch.no_grad():
            x: Tensor = TVDenoiser(n_it_max=iterations, crit=0.0)(self.z[rows], self.weight)
        return x


class Odl(Run):
    """Its primal-dual hybrid gradient method on K = (A, gradient), image by image, in float32."""

    alone = True

    def __init__(self, operator: LinearOperator, z: Tensor, weight: float, sigma: float | None = None) -> None:
        self.sigma = sigma
        super().__init__(operator, z, weight)

    def prepare(self) -> None:
        import odl

        left, right = (matrix.numpy() for matrix in axis_matrices(self.operator, self.z))
        height, width = self.z.shape[-2:]
        space = odl.uniform_discr([0, 0], [height, width], (height, width), dtype="float32")

        class Blur(odl.Operator):
            def __init__(self, left: np.ndarray, right: np.ndarray) -> None:
                super().__init__(domain=space, range=space, linear=True)
                self.left, self.right = left, right

            def _call(self, x: Any) -> np.ndarray:
                return self.left @ x.asarray() @ self.right.T

            @property
            def adjoint(self) -> Blur:
                return Blur(self.left.T, self.right.T)

        gradient = odl.Gradient(space, method="forward", pad_mode="symmetric")
        self.k = odl.BroadcastOperator(Blur(left, right), gradient)
        self.space, self.norms = space, self.weight * odl.functionals.GroupL1Norm(gradient.range)
        self.data = self.z[:, 0].cpu().numpy()
        # ||K||² <= ||A||² + ||gradient||², which is faster and safer than the package's estimate.
        self.length = math.sqrt(self.operator.norm(tuple(self.z.shape[1:])).value ** 2 + 8)

    def __call__(self, iterations: int, rows: slice) -> Tensor:
        import odl

        z = self.space.element(self.data[rows][0])
        fit = 0.5 * odl.functionals.L2NormSquared(self.space).translated(z)
        tau, sigma = odl.solvers.pdhg_stepsize(self.length, sigma=self.sigma)
        x = z.copy()
        goal = odl.functionals.SeparableSum(fit, self.norms)
        odl.solvers.pdhg(
            x, odl.functionals.ZeroFunctional(self.space), goal, self.k, niter=iterations, tau=tau, sigma=sigma
        )
        return torch.from_numpy(x.asarray().copy())[None, None].to(self.z.device)


class Scico(Run):
    """Its primal-dual hybrid gradient method on K = (A, gradient) for the whole batch, on the CPU, in float32."""

    def __init__(self, operator: LinearOperator, z: Tensor, weight: float, sigma: float | None = None) -> None:
        self.sigma = sigma
        super().__init__(operator, z, weight)

    def prepare(self) -> None:
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        if torch.get_num_threads() == 1:
            os.environ.setdefault("XLA_FLAGS", flags)
        import jax.numpy as jnp
        from scico import functional, linop, loss

        left, right = (jnp.asarray(matrix.numpy()) for matrix in axis_matrices(self.operator, self.z))
        self.data = jnp.asarray(self.z[:, 0].cpu().numpy())
        shape = self.data.shape
        blur = linop.LinearOperator(
            input_shape=shape,
            output_shape=shape,
            eval_fn=lambda x: left @ x @ right.T,
            adj_fn=lambda y: left.T @ y @ right,
            input_dtype=np.float32,
            jit=True,
        )
        gradient = linop.FiniteDifference(shape, input_dtype=np.float32, axes=(1, 2), append=0, jit=True)
        self.k = linop.VerticalStack((blur, gradient), collapse_output=False, jit=True)
        self.f = functional.ZeroFunctional()
        self.g = functional.SeparableFunctional((loss.SquaredL2Loss(self.data), self.weight * functional.L21Norm()))
        norm_squared = self.operator.norm(tuple(self.z.shape[1:])).value ** 2 + 8
        self.sigma = self.sigma or math.sqrt(0.9 / norm_squared)
        self.tau = 0.9 / (norm_squared * self.sigma)

    def __call__(self, iterations: int, rows: slice) -> Tensor:
        from scico.optimize import PDHG

        solver = PDHG(self.f, self.g, self.k, self.tau, self.sigma, x0=self.data[rows], maxiter=iterations)
        return torch.from_numpy(np.array(solver.solve()))[:, None].to(self.z.device)


class ScikitImage(Run):
    """Chambolle's denoiser, image by image."""

    alone = True

    def prepare(self) -> None:
        self.data = self.z[:, 0].cpu().numpy()

    def __call__(self, iterations: int, rows: slice) -> Tensor:
        from skimage.restoration import denoise_tv_chambolle

        x = denoise_tv_chambolle(self.data[rows][0], weight=self.weight, eps=0.0, max_num_iter=iterations)
        return torch.from_numpy(x)[None, None].to(self.z.device)


def axis_matrices(operator: LinearOperator, like: Tensor) -> tuple[Tensor, Tensor]:
    """left and right with A x = left x rightᵀ, for a separable operator whose rows sum to 1."""
    height, width = like.shape[-2:]
    columns = operator(
        torch.eye(height, dtype=torch.float64, device=like.device)[:, None, :, None].expand(-1, 1, -1, width)
    )
    rows = operator(
        torch.eye(width, dtype=torch.float64, device=like.device)[:, None, None, :].expand(-1, 1, height, -1)
    )
    return columns[:, 0, :, 0].T.float().cpu().contiguous(), rows[:, 0, 0].T.float().cpu().contiguous()
