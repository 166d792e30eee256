"""How far LiSSA's average still is from the solution: exactly, or estimated from a few products.

The recursion telescopes. Let A_t be H_B + damping I on the batch of step t, and s_t = h_t / scale. Summed over a
window of W steps, h_{t+1} - h_t = v - A_t s_t gives

    mean of A_t s_t - v = -(h_end - h_start) / W,    so    A s - v = -(h_end - h_start) / W - mean of (A_t - A) s_t.

The first part, the drift, costs nothing. The second is chance: the window saw some batches more often than others. Its
size follows from how much A_t s differs from batch to batch, which a few fresh products tell well; whole epochs cancel.
The residual on the same few batches would mostly show how these differ from the rest, by far more than the residual.
"""

import dataclasses
import math
from collections.abc import Sequence

from torch import Tensor

from .curvature import _Curvature


@dataclasses.dataclass(frozen=True)
class Window:
    """Steps start + 1 to end of the recursion: their average s [p], and the drift (h_end - h_start) / (end - start)."""

    start: int
    end: int
    s: Tensor
    drift: Tensor


def residual(curvature: _Curvature, s: Tensor, v: Tensor) -> float:
    """||(H + damping I) s - v|| / ||v||, at the cost of a product on every batch."""
    return float((curvature.on(range(len(curvature.batches)), s) - v).norm() / v.norm())


def estimated_residual(curvature: _Curvature, window: Window, v: Tensor, sample: Sequence[int]) -> float:
    """The residual of a window's average from products on a few batches: the root of drift² + variance.

    It errs towards too large a residual, as it leaves out that in directions of small curvature the drift makes up for
    part of the chance. Measured against the exact one on a ridge regression (65 parameters, 47 or 104 batches, 20 to
    200 steps, 40 orders): .66 to 1.72 times as large, 1.1 on average. On all parameters of the mini checkpoint after
    100 steps on 95 batches: .144 where .049 is exact.
    """
    length = window.end - window.start
    chance = _variance(curvature, window.s, sample) * _unevenness(window.start, window.end, len(curvature.batches))
    return math.sqrt(float(window.drift @ window.drift) + chance / length**2) / float(v.norm())


def _variance(curvature: _Curvature, s: Tensor, sample: Sequence[int]) -> float:
    """Mean squared distance of the batches' products with s from their mean, free of bias."""
    products = [curvature.undamped(i, s) for i in sample]
    mean = sum(products[1:], products[0]) / len(products)
    return sum(float((x - mean) @ (x - mean)) for x in products) / (len(products) - 1)


def _unevenness(start: int, end: int, n: int) -> float:
    """Variance of a sum over the steps of shuffled epochs of n batches, in units of one batch's variance.

    k batches drawn without replacement have k (1 - k / n): whole epochs have none.
    """
    first, last = (end - start, 0) if start // n == (end - 1) // n else (-start % n, end % n)
    return first * (1 - first / n) + last * (1 - last / n)
