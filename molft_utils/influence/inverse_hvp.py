"""Inverse products: s = (H + damping I)^-1 v, without ever forming H.

:func:`lissa` (Agarwal et al. 2017, JMLR 18:116) needs one product on one batch a step; :func:`conjugate_gradient` on
fixed batches is the reference to hold it against.

A *loss* is a function ``loss(params, batch) -> Tensor [n]``, one value a molecule; *params* a dictionary of tensors;
*batches* a list of whatever the loss understands. H is the curvature of the mean loss over all molecules of the
batches: with ``curvature="gauss-newton"`` the Gauss-Newton matrix, for which the loss must be a squared error; with
"hessian" the Hessian.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..errors import DataError, DivergenceError
from .curvature import Loss, Params, _Curvature, _flatten, _like
from .overhead import SCALE_BATCHES, SCALE_STEPS, plan_overhead, windows
from .residual import Window, estimated_residual, residual


@dataclasses.dataclass(frozen=True)
class InverseHVP:
    """An estimate of s = (H + damping I)^-1 v.

    Attributes
    ----------
    direction
        The solution s, by the parameters' names.
    residual
        ||(H + damping I) s - v|| / ||v|| (0: solved; 1: no better than s = 0). From conjugate gradients it is exact.
        From LiSSA it is an estimate where the depth does not pay for a product on every batch, and one that errs
        towards too large (:func:`~molft_utils.influence.residual.estimated_residual` has the measured error).
    scale
        LiSSA's scale; nan from conjugate gradients.
    n_products
        Products on single batches that went into the solution.
    history
        Columns ``n_products`` and ``residual``: what each look at the residual showed.
    n_overhead
        Further products on single batches, for the scale and the looks.
    damping
        What was added to the curvature's diagonal.
    """

    direction: Params
    residual: float
    scale: float
    n_products: int
    history: pd.DataFrame
    n_overhead: int = 0
    damping: float = math.nan


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
    curvature: str = "gauss-newton",
    relative: bool = False,
) -> InverseHVP:
    """Solve (H + damping I) s = vector by the recursion h <- v + h - (H_B + damping I) h / scale, with s = h / scale.

    The batches come in shuffled epochs, and the last iterates are averaged: at an equal number of products both
    together bring the error down about eightfold against batches drawn at random and the last iterate.

    Scale and residual are estimated, with at most half as many products as go into the solution (for a depth of 20
    or more): see :mod:`~molft_utils.influence.overhead`.

    Parameters
    ----------
    damping
        Added to the curvature as it is, never multiplied by the scale. Any above zero will do for the Gauss-Newton
        matrix; for the Hessian it must exceed the size of the most negative eigenvalue.
    scale
        Must exceed half the largest eigenvalue. None: one and a half times the largest eigenvalue, found by Lanczos
        steps on up to four batches, printed.
    depth
        Number of products. What is left of the start decays as (1 - smallest eigenvalue / scale)^depth.
    average
        Share of the iterates, the last ones, that is averaged.
    tolerance
        Stop once a look shows a residual of at most this. The looks come after depth, depth (1 - average),
        depth (1 - average)^2 ... products: three of them or more, from a depth of 40 on. Most are estimates, as
        ``residual`` is, and so is where the run stops.
    seed
        Fixes the order of the batches, which of them a look sees, and the start of the Lanczos steps: the same seed
        gives the same bits.
    curvature : {"gauss-newton", "hessian"}
    relative
        The damping is given as a share of the curvature's largest eigenvalue, which is estimated for the scale anyway.

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
    matrix, v = _Curvature(loss, params, batches, curvature), _flatten(vector)
    estimates = scale is None or relative
    overhead = plan_overhead(depth, average, len(batches), estimates)
    if estimates:
        largest = matrix.largest_eigenvalue(v, overhead.scale_steps, overhead.scale_batches, seed)
    matrix.damping = damping * largest if relative else damping
    if scale is None:
        scale = 1.5 * (largest + matrix.damping)
        print(f"LiSSA: scale {scale:.3g}, one and a half times the largest eigenvalue")
    rows, samples = [], torch.Generator().manual_seed(seed + 1)  # seed itself makes the order of the batches
    for window in _averages(matrix, v, scale, windows(depth, average), seed):
        n_seen = overhead.looks.get(window.end)
        if n_seen is None:
            continue
        rows.append((window.end, _look(matrix, window, v, n_seen, samples)))
        if tolerance is not None and rows[-1][1] <= tolerance:
            break
    return _result(window.s, params, rows, float(scale), window.end, matrix)


def _averages(matrix: _Curvature, v: Tensor, scale: float, ends: list[int], seed: int) -> Iterator[Window]:
    """The recursion, told at the end of each window."""
    h, order, start = v.clone(), _epochs(len(matrix.batches), seed), 0
    total, h_start = torch.zeros_like(v), h
    for t in tqdm(range(1, ends[-1] + 1), desc="LiSSA", unit="product", leave=False):
        h = v + h - matrix.on_batch(next(order), h) / scale
        _require_bounded(h, v, scale, matrix.damping, t)
        total += h
        if t in ends:
            yield Window(start, t, total / (t - start) / scale, (h - h_start) / (t - start))
            total, h_start, start = torch.zeros_like(v), h, t


def _look(matrix: _Curvature, window: Window, v: Tensor, n_seen: int, samples: torch.Generator) -> float:
    """The residual: exact where all batches are to be seen, else estimated on some that are drawn for this look."""
    n = len(matrix.batches)
    if n_seen == n:
        return residual(matrix, window.s, v)
    return estimated_residual(matrix, window, v, torch.randperm(n, generator=samples)[:n_seen].tolist())


def conjugate_gradient(
    loss: Loss,
    params: Params,
    batches: Sequence,
    vector: Params,
    *,
    damping: float,
    depth: int = 50,
    tolerance: float = 1e-3,
    curvature: str = "gauss-newton",
    relative: bool = False,
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
    matrix, every = _Curvature(loss, params, batches, curvature), range(len(batches))
    v = _flatten(vector)
    if relative:
        damping *= matrix.largest_eigenvalue(v, SCALE_STEPS, min(SCALE_BATCHES, len(batches)), seed=0)
    matrix.damping = damping
    s, r = torch.zeros_like(v), v.clone()
    p, rows = r.clone(), []
    for t in tqdm(range(1, depth + 1), desc="conjugate gradients", unit="step", leave=False):
        ap = matrix.on(every, p)
        bend = p @ ap
        if not bend > 0:
            raise DivergenceError(
                f"the curvature has an eigenvalue below -{damping:g} on these batches; raise the damping above its size"
            )
        step = (r @ r) / bend
        s, smaller = s + step * p, r - step * ap
        p, r = smaller + (smaller @ smaller) / (r @ r) * p, smaller
        rows.append((t * len(batches), float(r.norm() / v.norm())))
        if rows[-1][1] <= tolerance:
            break
    rows[-1] = rows[-1][0], residual(matrix, s, v)  # the recurrence's own drifts with rounding
    return _result(s, params, rows, math.nan, t * len(batches), matrix)


def _epochs(n_batches: int, seed: int) -> Iterator[int]:
    """Numbers of batches, each once an epoch, in a new order each time."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(n_batches, generator=generator).tolist()


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
        raise DataError("no batches to take the curvature on")
    if not (math.isfinite(damping) and damping >= 0):
        raise DataError(f"damping is {damping}; it must be zero or more")
    if depth < 1:
        raise DataError(f"depth is {depth}; at least one product is needed")
    if not 0 < float(_flatten(vector).norm()) < math.inf:
        raise DataError("the target's gradient is zero or not finite: there is no direction to solve for")


def _result(
    s: Tensor, params: Params, rows: list[tuple], scale: float, n_products: int, matrix: _Curvature
) -> InverseHVP:
    history = pd.DataFrame(rows, columns=["n_products", "residual"])
    n_overhead = matrix.n_products - n_products
    return InverseHVP(_like(s, params), rows[-1][1], scale, n_products, history, n_overhead, matrix.damping)
