"""Gradients, exact Hessian products, and the damped Hessian of a mean loss."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Params = dict[str, Tensor]


Loss = Callable[[Params, Any], Tensor]


#: Power iterations for the largest eigenvalue; they stop earlier once it moves by less than 1 %.
POWER_ITERATIONS = 30


#: Batches on which the largest eigenvalue is found.
SUBSET = 4


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
    along = sum((g * vector[name]).sum() for name, g in zip(params, grads, strict=True))
    if not along.requires_grad:  # a loss that is linear in the parameters has no curvature
        return {name: torch.zeros_like(p) for name, p in params.items()}
    return dict(zip(params, torch.autograd.grad(along, tensors, materialize_grads=True), strict=True))


class _Hessian:
    """Products with H + damping I on flat vectors [p]; H is that of the mean loss over the molecules of all batches."""

    def __init__(self, loss: Loss, params: Params, batches: Sequence, damping: float):
        self.loss, self.params, self.batches, self.damping = loss, params, batches, damping
        with torch.no_grad():
            sizes = torch.tensor([len(loss(params, batch)) for batch in batches], dtype=torch.float64)
        self.weights = (sizes / sizes.mean()).tolist()  # the last batch is smaller, and counts for less

    def undamped(self, i: int, x: Tensor) -> Tensor:
        return self.weights[i] * _flatten(hvp(self.loss, self.params, self.batches[i], _like(x, self.params)))

    def on_batch(self, i: int, x: Tensor) -> Tensor:
        return self.undamped(i, x) + self.damping * x

    def on(self, indices: Sequence[int], x: Tensor) -> Tensor:
        """Averaged over some batches."""
        return sum(self.undamped(i, x) for i in indices) / len(indices) + self.damping * x

    def largest_eigenvalue(self, seed: int) -> float:
        """Of H + damping I in size, on ``SUBSET`` batches, by power iteration.

        The iteration runs on H alone: a random start in a million dimensions is so nearly orthogonal to the leading
        eigenvectors that the damping would hide them, and the iteration would seem to have converged at once.
        """
        # Drawn in float64 on the CPU, so that the start does not depend on device or precision.
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(sum(p.numel() for p in self.params.values()), generator=generator, dtype=torch.float64)
        x, value = x.to(next(iter(self.params.values()))), 0.0
        for _ in range(POWER_ITERATIONS):
            x = x / x.norm()
            x = self.on(self._spread(SUBSET), x) - self.damping * x
            previous, value = value, float(x.norm())
            if abs(value - previous) <= 0.01 * value:
                break
        return value + self.damping

    def residual(self, s: Tensor, v: Tensor) -> float:
        """||(H + damping I) s - v|| / ||v||, on all batches: a few would mostly show how these differ from the rest."""
        return float((self.on(range(len(self.batches)), s) - v).norm() / v.norm())

    def _spread(self, at_most: int) -> range:
        return range(0, len(self.batches), math.ceil(len(self.batches) / at_most))


def _tracked(params: Params) -> Params:
    return {name: p.detach().requires_grad_() for name, p in params.items()}


def _flatten(params: Params) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in params.values()])


def _like(flat: Tensor, params: Params) -> Params:
    parts = flat.split([p.numel() for p in params.values()])
    return {name: part.view_as(p) for (name, p), part in zip(params.items(), parts, strict=True)}
