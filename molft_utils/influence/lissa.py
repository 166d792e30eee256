"""Inverse Hessian-vector products: s = (H + damping I)^-1 v, without ever forming H.

:func:`lissa` (Agarwal et al. 2017, JMLR 18:116; for influence functions: Koh & Liang 2017, arXiv:1703.04730) needs one
product on one batch per step; :func:`conjugate_gradient` on all batches is the reference to compare it with.

*Batches* are a list of whatever the loss understands. H is the curvature of the mean loss over all molecules: its
Gauss-Newton matrix (the loss must then be a squared error) or its Hessian. The Hessian of a network that is not at a
minimum has negative eigenvalues, and only a large damping makes it invertible. The Gauss-Newton matrix leaves out the
curvature of the network itself (Schraudolph 2002, Neural Computation 14:1723) and has none.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.func import grad, jvp, vjp
from tqdm.auto import tqdm

from ..errors import DataError, DivergenceError

Params = dict[str, Tensor]  # tensors by name: parameters, or a direction among them
Loss = Callable[[Params, Any], Tensor]  # loss(params, batch) -> Tensor [n], one value per molecule


def gradient(loss: Loss, params: Params, batches: Sequence) -> Params:
    """Gradient of the mean loss over all molecules of the batches."""
    params = {name: p.detach().requires_grad_() for name, p in params.items()}
    total, n = [torch.zeros_like(p) for p in params.values()], 0
    for i, batch in enumerate(batches):
        values = checked_losses(loss(params, batch), i)
        grads = torch.autograd.grad(values.sum(), list(params.values()), materialize_grads=True)
        total = [t + g for t, g in zip(total, grads, strict=True)]
        n += len(values)
    return {name: t / n for name, t in zip(params, total, strict=True)}


@torch.no_grad()  # torch.func sees through it; parameters that are not asked for need no graph
def hvp(loss: Loss, params: Params, batch: Any, vector: Params) -> Params:
    """Hessian of the batch's mean loss times a vector, exact, at the cost of three to four gradients.

    The Hessian is the derivative of the gradient, and symmetric: its product is the vjp of the gradient, reverse over
    reverse mode. Reverse over forward mode would be wrong through LayerNorm on torch 2.13.
    """

    def mean_loss(p: Params) -> Tensor:
        return loss(p, batch).mean()

    hessian_times = vjp(grad(mean_loss), params)[1]
    return hessian_times(aligned(vector, params))[0]


@torch.no_grad()
def gauss_newton_product(outputs: Loss, params: Params, batch: Any, vector: Params) -> Params:
    """Gauss-Newton matrix of the batch's mean squared error times a vector: (2 / n) J^T (J v).

    ``outputs(params, batch)`` [n] are the standardised predictions; J [n, p] is their derivative. J v takes one pass in
    forward mode, J^T one in reverse mode: together two to three gradients, and no second derivative.
    """
    along = jvp(lambda p: outputs(p, batch), (params,), (aligned(vector, params),))[1]  # J v [n]
    transposed = vjp(lambda p: outputs(p, batch), params)[1]  # u -> J^T u
    return transposed(2 / len(along) * along)[0]


def root(loss: Loss) -> Loss:
    """Square root of a squared error: |residual|. Its Gauss-Newton matrix is that of the predictions: signs cancel."""

    def size(params: Params, batch: Any) -> Tensor:
        values = loss(params, batch)
        positive = values > 0
        return torch.where(positive, torch.where(positive, values, 1.0).sqrt(), 0.0)  # no nan where the error is 0

    return size


@dataclasses.dataclass(frozen=True)
class InverseHVP:
    """An estimate of s = (H + damping I)^-1 v.

    ``direction`` is s; ``residual`` ||(H + damping I) s - v|| / ||v|| on all batches (0: solved; 1: no better than
    s = 0); ``scale`` LiSSA's, else nan; ``n_products`` and ``n_overhead`` the products on single batches for the
    solution, and for scale and residual. ``history`` has the columns ``n_products`` and ``residual``; from LiSSA also
    ``drift``, and the residual in its last row alone.
    """

    direction: Params
    residual: float
    scale: float
    n_products: int
    history: pd.DataFrame
    n_overhead: int = 0
    damping: float = math.nan


def lissa(
    loss: Loss, params: Params, batches: Sequence, vector: Params, *, damping: float, scale: float | None = None,
    depth: int = 1000, average: float = 0.5, tolerance: float | None = None, seed: int = 0,
    curvature: str = "gauss-newton", relative: bool = False,
) -> InverseHVP:  # fmt: skip
    """Solve (H + damping I) s = vector by the recursion h <- v + h - (H_B + damping I) h / scale, with s = h / scale.

    The batches B come in shuffled epochs, and the last iterates are averaged: at an equal number of products both
    together bring the error down about eightfold against batches drawn at random and the last iterate. A
    DivergenceError says that the iterates grow beyond what a contraction allows, or that the residual at the end is 1
    or more: s is then no better than zero.

    Parameters
    ----------
    damping
        Added to the curvature as it is, never multiplied by the scale; with ``relative``, as a share of the curvature's
        largest eigenvalue. For the Hessian it must exceed the size of the most negative eigenvalue.
    scale
        Must exceed half the largest eigenvalue. None: one and a half times that eigenvalue, estimated, printed.
    depth, average
        Number of products, and the share of the iterates, the last ones, that is averaged. What is left of the start
        decays as (1 - smallest eigenvalue / scale)^depth.
    tolerance
        Stop once the drift is at most this: the residual without the chance of which batches came more often. It is
        known after depth, depth (1 - average), depth (1 - average)^2 ... products, at no cost.
    curvature : {"gauss-newton", "hessian"}
    """
    if not 0 < average < 1:
        raise DataError(f"average is {average}; it is a share of the iterates, above 0 and below 1")
    v = _right_hand_side(vector, params, batches, damping, depth)
    matrix = _Curvature(loss, params, batches, curvature)
    largest = matrix.largest_eigenvalue(v, budget=depth, seed=seed) if scale is None or relative else math.nan
    damping = damping * largest if relative else damping
    if scale is None:
        scale = 1.5 * (largest + damping)
        print(f"LiSSA: scale {scale:.3g}, one and a half times the largest eigenvalue")

    ends = {round(n) for k in range(100) if (n := depth * (1 - average) ** k) >= 1}  # ..., depth (1 - average), depth
    # Where the recursion contracts and H has no negative eigenvalue, h never exceeds scale / damping * v.
    bound = float(v.norm()) * (min(10 * scale / damping, 1e6) if damping > 0 else 1e6)
    h, order, rows = v.clone(), _epochs(len(batches), seed), []
    start, h_start, total = 0, h, torch.zeros_like(v)  # of the iterates that are averaged
    for t in tqdm(range(1, depth + 1), desc="LiSSA", unit="product", leave=False):
        h = v + h - (matrix.on_batch(next(order), h) + damping * h) / scale  # v + (I - (H_B + damping I) / scale) h
        if not float(h.norm()) <= bound:
            raise DivergenceError(
                f"LiSSA diverged after {t} products: leave scale=None ({scale:.3g} may be below half the largest "
                f"eigenvalue), or raise the damping ({damping:.3g}) above the size of the most negative one"
            )
        total += h
        if t in ends:
            s = total / (t - start) / scale
            # Summed from the start the recursion telescopes: v - (H_B + damping I) s, averaged over these steps, is
            drift = (h - h_start) / (t - start)
            rows.append((t, float(drift.norm() / v.norm())))
            start, h_start, total = t, h, torch.zeros_like(v)
            if tolerance is not None and rows[-1][1] <= tolerance:
                break
    return matrix.solved(s, v, pd.DataFrame(rows, columns=["n_products", "drift"]), float(scale), damping)


def conjugate_gradient(
    loss: Loss, params: Params, batches: Sequence, vector: Params, *, damping: float, depth: int = 50,
    tolerance: float = 1e-3, curvature: str = "gauss-newton", relative: bool = False,
) -> InverseHVP:  # fmt: skip
    """Solve (H + damping I) s = vector by conjugate gradients (Hestenes & Stiefel 1952).

    Each of at most ``depth`` steps takes a product on every batch; they end at a relative residual of ``tolerance``. A
    DivergenceError says that H + damping I has a negative eigenvalue on these batches, or as in :func:`lissa`.
    """
    v = _right_hand_side(vector, params, batches, damping, depth)
    matrix = _Curvature(loss, params, batches, curvature)
    if relative:
        damping *= matrix.largest_eigenvalue(v, budget=depth * len(batches))
    s, r, rows = torch.zeros_like(v), v.clone(), []
    p = r  # the direction of the step
    for k in tqdm(range(1, depth + 1), desc="conjugate gradients", unit="step", leave=False):
        Ap = matrix.on(range(len(batches)), p) + damping * p
        if not p @ Ap > 0:  # the curvature along p
            raise DivergenceError(
                f"the curvature has an eigenvalue below -{damping:g} on these batches; raise the damping above its size"
            )
        alpha = (r @ r) / (p @ Ap)
        s = s + alpha * p
        r_next = r - alpha * Ap
        beta = (r_next @ r_next) / (r @ r)
        p = r_next + beta * p
        r = r_next
        rows.append((k * len(batches), float(r.norm() / v.norm())))
        if rows[-1][1] <= tolerance:
            break
    return matrix.solved(s, v, pd.DataFrame(rows, columns=["n_products", "residual"]), math.nan, damping)


def largest_eigenvalue(product: Callable[[Tensor], Tensor], start: Tensor, n_steps: int) -> float:
    """Largest size of an eigenvalue of a symmetric matrix, from products with it (Lanczos 1950), plus its error bound.

    k products span the Krylov space of the start, in which the matrix is tridiagonal [k, k]. An eigenvalue of the whole
    matrix lies within the residual of the pair found there, which is added: too few steps give too large a value rather
    than too small a one (Zhou & Li 2011, Linear Algebra Appl. 435:480).
    """
    basis, diagonal, off_diagonal = [start / start.norm()], [], []
    for _ in range(n_steps):
        x = product(basis[-1])
        diagonal.append(float(x @ basis[-1]))
        size = float(x.norm())
        for q in basis + basis:  # orthogonalise twice: rounding would bring found eigenvalues back as copies
            x = x - (q @ x) * q
        off_diagonal.append(float(x.norm()))
        if off_diagonal[-1] <= 1e-6 * size:  # what is left is rounding: the products span no more dimensions
            break
        basis.append(x / x.norm())
    d, b = (torch.tensor(numbers, dtype=torch.float64) for numbers in (diagonal, off_diagonal))
    values, vectors = torch.linalg.eigh(torch.diag(d) + torch.diag(b[:-1], 1) + torch.diag(b[:-1], -1))
    i = int(values.abs().argmax())
    return float(values[i].abs() + b[-1] * vectors[-1, i].abs())


class _Curvature:
    """Products with the curvature of the mean loss over all batches, on flat vectors [p]."""

    def __init__(self, loss: Loss, params: Params, batches: Sequence, kind: str):
        if kind not in ("gauss-newton", "hessian"):
            raise DataError(f"curvature is {kind!r}; choose 'gauss-newton' or 'hessian'")
        self.params, self.batches, self.n_products = params, batches, 0
        self.function = loss if kind == "hessian" else root(loss)
        self.product = hvp if kind == "hessian" else gauss_newton_product
        with torch.no_grad():
            numbers = [len(checked_losses(loss(params, batch), i)) for i, batch in enumerate(batches)]
        sizes = torch.tensor(numbers, dtype=torch.float64)
        self.weights = (sizes / sizes.mean()).tolist()  # the last batch is smaller, and counts for less

    def on_batch(self, i: int, x: Tensor) -> Tensor:
        self.n_products += 1
        return self.weights[i] * _flat(self.product(self.function, self.params, self.batches[i], self.named(x)))

    def on(self, indices: Sequence[int], x: Tensor) -> Tensor:
        """The mean over some batches."""
        return sum((self.on_batch(i, x) for i in indices), torch.zeros_like(x)) / len(indices)

    def largest_eigenvalue(self, v: Tensor, budget: int, seed: int = 0) -> float:
        """By Lanczos steps on a few batches, for a fifth of the budget of products (at least 4, at most 40).

        They start from v, as gradients lean towards the leading eigenvectors, plus noise, in case that v does not.
        """
        n = max(1, min(4, len(self.batches), budget // 25))
        indices = [(2 * i + 1) * len(self.batches) // (2 * n) for i in range(n)]  # at even distances
        # Drawn in float64 on the CPU, so that the start does not depend on device or precision.
        noise = torch.randn(len(v), generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(v)
        start, n_steps = v / v.norm() + noise / noise.norm(), max(4, min(10, budget // (5 * n)))
        return largest_eigenvalue(lambda x: self.on(indices, x), start, n_steps)

    def solved(self, s: Tensor, v: Tensor, history: pd.DataFrame, scale: float, damping: float) -> InverseHVP:
        """The solution with its residual, measured on all batches."""
        n, product = int(history["n_products"].iloc[-1]), self.on(range(len(self.batches)), s) + damping * s
        residual = float((product - v).norm() / v.norm())
        history.loc[history.index[-1], "residual"] = residual
        if not residual < 1:
            raise DivergenceError(
                f"no solution: the residual after {n} products is {residual:.3g}, where s = 0 has 1; raise the damping "
                f"({damping:.3g}), or the depth"
            )
        return InverseHVP(self.named(s), residual, scale, n, history, self.n_products - n, damping)

    def named(self, flat: Tensor) -> Params:
        parts = flat.split([p.numel() for p in self.params.values()])
        return {name: part.view_as(p) for (name, p), part in zip(self.params.items(), parts, strict=True)}


def aligned(vector: Params, params: Params) -> Params:
    """The vector in the order of the parameters, by name, on their device and in their precision."""
    given, wanted = ({(name, tuple(p.shape)) for name, p in some.items()} for some in (vector, params))
    if given != wanted:
        missing, unknown = sorted(wanted - given), sorted(given - wanted)
        raise DataError(f"the vector must have the parameters' names and shapes: it lacks {missing}, and has {unknown}")
    return {name: vector[name].detach().to(p) for name, p in params.items()}


def _right_hand_side(vector: Params, params: Params, batches: Sequence, damping: float, depth: int) -> Tensor:
    """The vector, flat [p], after a look at what else has to make sense."""
    v = _flat(aligned(vector, params))
    if not len(batches):
        raise DataError("no batches to take the curvature on")
    if not (math.isfinite(damping) and damping >= 0):
        raise DataError(f"damping is {damping}; it must be zero or more")
    if depth < 1:
        raise DataError(f"depth is {depth}; at least one product is needed")
    if not 0 < float(v.norm()) < math.inf:
        raise DataError("the target's gradient is zero or not finite: there is no direction to solve for")
    return v


def checked_losses(values: Tensor, i: int) -> Tensor:
    """The losses [n] of batch i, if they are one finite number per molecule."""
    if values.dim() != 1:
        raise DataError(f"batch {i}: the loss has the shape {[*values.shape]}; it must be [n], one value per molecule")
    if not values.isfinite().all():
        j = int(values.isfinite().logical_not().nonzero()[0])
        raise DataError(f"batch {i}: the loss of molecule {j} is {values[j]:g} (counted from 0); correct or drop it")
    return values


def _epochs(n_batches: int, seed: int) -> Iterator[int]:
    """Numbers of batches, each once per epoch, in a new order each time."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(n_batches, generator=generator).tolist()


def _flat(params: Params) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in params.values()])
