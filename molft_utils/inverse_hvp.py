"""Inverse Hessian-vector products: s = (H + damping I)^-1 v, without ever forming H.

:func:`lissa` (Agarwal et al. 2017, JMLR 18:116) needs one Hessian product on one batch a step;
:func:`conjugate_gradient` on fixed batches is the reference to hold it against.

A *loss* is a function ``loss(params, batch) -> Tensor [n]``, one value a molecule; *params* a dictionary of tensors;
*batches* a list of whatever the loss understands. H is the Hessian of the mean loss over all molecules of the batches.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .errors import DataError, DivergenceError

Params = dict[str, Tensor]
Loss = Callable[[Params, Any], Tensor]

#: Power iterations for the largest eigenvalue; they stop earlier once it moves by less than 1 %.
POWER_ITERATIONS = 30
#: Batches on which the largest eigenvalue is found.
SUBSET = 4


@dataclasses.dataclass(frozen=True)
class InverseHVP:
    """An estimate of s = (H + damping I)^-1 v.

    ``residual`` is ||(H + damping I) s - v|| / ||v|| on all batches (0: solved; 1: no better than s = 0); ``scale`` is
    LiSSA's (nan for conjugate gradients); ``n_products`` counts Hessian products on single batches, those for the
    scale and the residual left out; ``history`` has the columns ``n_products`` and ``residual``.
    """

    direction: Params
    residual: float
    scale: float
    n_products: int
    history: pd.DataFrame


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


def lissa(
    loss: Loss,
    params: Params,
    batches: Sequence,
    vector: Params,
    *,
    damping: float,
    scale: float | None = None,
    depth: int = 1000,
    average: float = 0.5,
    tolerance: float | None = None,
    seed: int = 0,
) -> InverseHVP:
    """Solve (H + damping I) s = vector by the recursion h <- v + h - (H_B + damping I) h / scale, with s = h / scale.

    The batches come in shuffled epochs, and the last iterates are averaged: at an equal number of products both
    together bring the error down about eightfold against batches drawn at random and the last iterate.

    Parameters
    ----------
    damping
        Added to the Hessian as it is, never multiplied by the scale. It must exceed the size of the most negative
        eigenvalue.
    scale
        Must exceed half the largest eigenvalue. None: one and a half times that, by power iteration on a fixed
        subset, printed.
    depth
        Number of Hessian products. What is left of the start decays as (1 - smallest eigenvalue / scale)^depth.
    average
        Share of the iterates, the last ones, that is averaged.
    tolerance
        Stop once the residual is below. It is looked at after depth, depth (1 - average), depth (1 - average)^2 ...
        products, as far as half of the depth pays for it.
    seed
        Of the order of the batches and the start of the power iteration: the same seed gives the same bits.

    Raises
    ------
    DivergenceError
        If the iterates grow beyond what a contraction allows, with the remedy.
    DataError
        If there are no batches, or damping, depth or average make no sense.
    """
    _check(batches, vector, damping, depth)
    if not 0 < average < 1:
        raise DataError(f"average is {average}; it is a share of the iterates, above 0 and below 1")
    hessian = _Hessian(loss, params, batches, damping)
    if scale is None:
        scale = 1.5 * hessian.largest_eigenvalue(seed)
        print(f"LiSSA: scale {scale:.3g}, one and a half times the largest eigenvalue")
    v = _flatten(vector)
    h, total, start, rows = v.clone(), torch.zeros_like(v), 0, []
    windows, order = _windows(depth, average), _epochs(len(batches), seed)
    # A residual costs a product on every batch: look as often as half of the depth pays for, and at the end.
    looks = windows[-max(1, depth // (2 * len(batches))) :]
    for t in tqdm(range(1, depth + 1), desc="LiSSA", unit="product", leave=False):
        h = v + h - hessian.on_batch(next(order), h) / scale
        _require_bounded(h, v, scale, damping, t)
        total += h
        if t in windows:
            s = total / (t - start) / scale
            total, start = torch.zeros_like(v), t
        if t in looks:
            rows.append((t, hessian.residual(s, v)))
            if tolerance is not None and rows[-1][1] <= tolerance:
                break
    return _result(s, params, rows, float(scale), t)


def conjugate_gradient(
    loss: Loss,
    params: Params,
    batches: Sequence,
    vector: Params,
    *,
    damping: float,
    depth: int = 50,
    tolerance: float = 1e-3,
) -> InverseHVP:
    """Solve (H + damping I) s = vector on a fixed set of batches by conjugate gradients (Hestenes & Stiefel 1952).

    Each of at most ``depth`` steps takes a product on every batch. It stops at ``tolerance`` (relative residual).

    Raises
    ------
    DivergenceError
        If H + damping I has a negative eigenvalue on these batches.
    DataError
        As :func:`lissa`.
    """
    _check(batches, vector, damping, depth)
    hessian, every = _Hessian(loss, params, batches, damping), range(len(batches))
    v = _flatten(vector)
    s, r = torch.zeros_like(v), v.clone()
    p, rows = r.clone(), []
    for t in tqdm(range(1, depth + 1), desc="conjugate gradients", unit="step", leave=False):
        ap = hessian.on(every, p)
        curvature = p @ ap
        if not curvature > 0:
            raise DivergenceError(
                f"the Hessian has an eigenvalue below -{damping:g} on these batches; raise the damping above its size"
            )
        step = (r @ r) / curvature
        s, smaller = s + step * p, r - step * ap
        p, r = smaller + (smaller @ smaller) / (r @ r) * p, smaller
        rows.append((t * len(batches), float(r.norm() / v.norm())))
        if rows[-1][1] <= tolerance:
            break
    rows[-1] = rows[-1][0], hessian.residual(s, v)  # the recurrence's own drifts with rounding
    return _result(s, params, rows, math.nan, t * len(batches))


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


def _epochs(n_batches: int, seed: int) -> Iterator[int]:
    """Numbers of batches, every one once in each epoch, in a new order each time."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(n_batches, generator=generator).tolist()


def _windows(depth: int, average: float) -> list[int]:
    """Where an average over the last share of the iterates ends: ..., depth (1 - average), depth."""
    ends, t = [], float(depth)
    while t >= 1:
        ends.append(round(t))
        t *= 1 - average
    return sorted(set(ends))


def _require_bounded(h: Tensor, v: Tensor, scale: float, damping: float, t: int) -> None:
    # Where the recursion contracts and H has no negative eigenvalue, h never exceeds scale / damping * v.
    limit = min(10 * scale / damping, 1e6) if damping > 0 else 1e6
    if not float(h.norm()) <= limit * float(v.norm()):
        raise DivergenceError(
            f"LiSSA diverged after {t} products: the scale {scale:.3g} is below half the largest eigenvalue, or the "
            f"damping {damping:.3g} below the size of the most negative one; leave scale=None, or raise the damping"
        )


def _check(batches: Sequence, vector: Params, damping: float, depth: int) -> None:
    if not len(batches):
        raise DataError("no batches to take the Hessian on")
    if not (math.isfinite(damping) and damping >= 0):
        raise DataError(f"damping is {damping}; it must be zero or more")
    if depth < 1:
        raise DataError(f"depth is {depth}; at least one product is needed")
    if not 0 < float(_flatten(vector).norm()) < math.inf:
        raise DataError("the target's gradient is zero or not finite: there is no direction to solve for")


def _result(s: Tensor, params: Params, rows: list[tuple], scale: float, n_products: int) -> InverseHVP:
    history = pd.DataFrame(rows, columns=["n_products", "residual"])
    return InverseHVP(_like(s, params), rows[-1][1], scale, n_products, history)


def _tracked(params: Params) -> Params:
    return {name: p.detach().requires_grad_() for name, p in params.items()}


def _flatten(params: Params) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in params.values()])


def _like(flat: Tensor, params: Params) -> Params:
    parts = flat.split([p.numel() for p in params.values()])
    return {name: part.view_as(p) for (name, p), part in zip(params.items(), parts, strict=True)}
