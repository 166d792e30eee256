"""Gradients, and products with the curvature of a mean loss: its Gauss-Newton matrix or its Hessian.

The Hessian of a network that is not at a minimum has negative eigenvalues, and only a large damping makes it
invertible. The Gauss-Newton matrix leaves out the curvature of the network itself (Schraudolph 2002, Neural Computation
14:1723): it is positive semi-definite, and equals the Hessian where the predictions are linear in the parameters or the
residuals are zero.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import DataError
from .lanczos import largest_eigenvalue

#: Tensors by name: parameters, or a direction among them.
Params = dict[str, Tensor]


#: ``loss(params, batch) -> Tensor [n]``: one value a molecule.
Loss = Callable[[Params, Any], Tensor]

#: ``outputs(params, batch) -> Tensor [n]``: one prediction a molecule, standardised.
Outputs = Callable[[Params, Any], Tensor]

#: Kinds of curvature.
CURVATURES = ("gauss-newton", "hessian")


def gradient(loss: Loss, params: Params, batches: Sequence) -> Params:
    """Gradient of the mean loss over all molecules of the batches."""
    params = _tracked(params)
    total, n = [torch.zeros_like(p) for p in params.values()], 0
    for batch in batches:
        values = loss(params, batch)
        grads = torch.autograd.grad(values.sum(), list(params.values()), materialize_grads=True)
        total, n = [t + g for t, g in zip(total, grads, strict=True)], n + len(values)
    return {name: t / n for name, t in zip(params, total, strict=True)}


def hvp(loss: Loss, params: Params, batch: Any, vector: Params) -> Params:
    """Hessian of the batch's mean loss times a vector, exact: the gradient of gradient . vector.

    Reverse over reverse mode, at the cost of three to four gradients. (Reverse over forward mode would be wrong
    through LayerNorm on torch 2.13.)
    """
    params = _tracked(params)
    tensors = list(params.values())
    grads = torch.autograd.grad(loss(params, batch).mean(), tensors, create_graph=True, materialize_grads=True)
    along = torch.stack([(g * vector[name]).sum() for name, g in zip(params, grads, strict=True)]).sum()
    if not along.requires_grad:  # a loss that is linear in the parameters has no curvature
        return {name: torch.zeros_like(p) for name, p in params.items()}
    return dict(zip(params, torch.autograd.grad(along, tensors, materialize_grads=True), strict=True))


def gauss_newton_product(outputs: Outputs, params: Params, batch: Any, vector: Params) -> Params:
    """Gauss-Newton matrix of the batch's mean squared error times a vector: (2 / n) J^T (J v).

    J [n, p] is the derivative of the outputs. J v takes one forward-mode pass, J^T one reverse-mode pass: together two
    to three gradients, and no second derivative.
    """
    tracked = _tracked(params)
    fixed = {name: p.detach() for name, p in params.items()}
    along = torch.func.jvp(lambda p: outputs(p, batch), (fixed,), (vector,))[1]
    values = outputs(tracked, batch)
    grads = torch.autograd.grad(values, list(tracked.values()), 2 / len(along) * along, materialize_grads=True)
    return dict(zip(params, grads, strict=True))


def residual_size(loss: Loss) -> Outputs:
    """The root of a squared error: the residual's size. Where it is zero, the derivative counts as zero.

    The Gauss-Newton matrix of the residuals is that of the predictions, as their signs cancel.
    """

    def root(params: Params, batch: Any) -> Tensor:
        values = loss(params, batch)
        positive = values > 0
        return torch.where(positive, torch.where(positive, values, 1.0).sqrt(), 0.0)

    return root


class _Curvature:
    """Products with C + damping I on flat vectors [p]; C is the curvature of the mean loss over all batches.

    ``n_products`` counts the products on single batches.
    """

    def __init__(self, loss: Loss, params: Params, batches: Sequence, kind: str):
        if kind not in CURVATURES:
            raise DataError(f"curvature is {kind!r}; choose 'gauss-newton' or 'hessian'")
        self.params, self.batches, self.damping = params, batches, 0.0
        root = residual_size(loss)
        self.product = partial(hvp, loss) if kind == "hessian" else partial(gauss_newton_product, root)
        with torch.no_grad():
            sizes = torch.tensor([len(loss(params, batch)) for batch in batches], dtype=torch.float64)
        self.weights = (sizes / sizes.mean()).tolist()  # the last batch is smaller, and counts for less
        self.n_products = 0

    def undamped(self, i: int, x: Tensor) -> Tensor:
        self.n_products += 1
        return self.weights[i] * _flatten(self.product(self.params, self.batches[i], _like(x, self.params)))

    def on_batch(self, i: int, x: Tensor) -> Tensor:
        return self.undamped(i, x) + self.damping * x

    def on(self, indices: Sequence[int], x: Tensor) -> Tensor:
        """Averaged over some batches."""
        total = torch.zeros_like(x)
        for i in indices:
            total += self.undamped(i, x)
        return total / len(indices) + self.damping * x

    def largest_eigenvalue(self, v: Tensor, n_steps: int, n_batches: int, seed: int) -> float:
        """Size of the largest eigenvalue of C by ``n_steps`` Lanczos steps on ``n_batches``.

        The steps are taken with C alone: the damping would hide its eigenvalues. They start from v, which leans
        towards the leading eigenvectors as gradients do, plus a random vector, in case that v does not.
        """
        # Drawn in float64 on the CPU, so that the start does not depend on device or precision.
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(v), generator=generator, dtype=torch.float64).to(v)
        indices, start = self._spread(n_batches), v / v.norm() + noise / noise.norm()
        return largest_eigenvalue(lambda x: self.on(indices, x) - self.damping * x, start, n_steps)

    def _spread(self, n_batches: int) -> list[int]:
        """Numbers of batches at even distances: the middle of each of ``n_batches`` parts."""
        return [(2 * i + 1) * len(self.batches) // (2 * n_batches) for i in range(n_batches)]


def _tracked(params: Params) -> Params:
    return {name: p.detach().requires_grad_() for name, p in params.items()}


def _flatten(params: Params) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in params.values()])


def _like(flat: Tensor, params: Params) -> Params:
    parts = flat.split([p.numel() for p in params.values()])
    return {name: part.view_as(p) for (name, p), part in zip(params.items(), parts, strict=True)}
