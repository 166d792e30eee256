"""Gradients, exact Hessian products, and the damped Hessian of a mean loss."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .lanczos import largest_eigenvalue

#: Tensors by name: parameters, or a direction among them.
Params = dict[str, Tensor]


#: ``loss(params, batch) -> Tensor [n]``: one value a molecule.
Loss = Callable[[Params, Any], Tensor]


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


class _Hessian:
    """Products with H + damping I on flat vectors [p]; H is that of the mean loss over the molecules of all batches.

    ``n_products`` counts the products on single batches.
    """

    def __init__(self, loss: Loss, params: Params, batches: Sequence, damping: float):
        self.loss, self.params, self.batches, self.damping = loss, params, batches, damping
        with torch.no_grad():
            sizes = torch.tensor([len(loss(params, batch)) for batch in batches], dtype=torch.float64)
        self.weights = (sizes / sizes.mean()).tolist()  # the last batch is smaller, and counts for less
        self.n_products = 0

    def undamped(self, i: int, x: Tensor) -> Tensor:
        self.n_products += 1
        return self.weights[i] * _flatten(hvp(self.loss, self.params, self.batches[i], _like(x, self.params)))

    def on_batch(self, i: int, x: Tensor) -> Tensor:
        return self.undamped(i, x) + self.damping * x

    def on(self, indices: Sequence[int], x: Tensor) -> Tensor:
        """Averaged over some batches."""
        total = torch.zeros_like(x)
        for i in indices:
            total += self.undamped(i, x)
        return total / len(indices) + self.damping * x

    def largest_eigenvalue(self, v: Tensor, n_steps: int, n_batches: int, seed: int) -> float:
        """Size of the largest eigenvalue of H, plus the damping, by ``n_steps`` Lanczos steps on ``n_batches``.

        The steps are taken with H alone: the damping would hide its eigenvalues. They start from v, which leans
        towards the leading eigenvectors as gradients do, plus a random vector, in case that v does not.
        """
        # Drawn in float64 on the CPU, so that the start does not depend on device or precision.
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(v), generator=generator, dtype=torch.float64).to(v)
        indices, start = self._spread(n_batches), v / v.norm() + noise / noise.norm()
        found = largest_eigenvalue(lambda x: self.on(indices, x) - self.damping * x, start, n_steps)
        return found + self.damping

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
