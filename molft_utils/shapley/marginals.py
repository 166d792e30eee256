"""Marginal contributions along orders of the training molecules, and their sums.

One Cholesky factorisation of an order's kernel gives the utility of every prefix, and so all marginal contributions
of the order at once.
"""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
from scipy.linalg import solve_triangular


def prefix_utilities(
    kernel: np.ndarray, kernel_val: np.ndarray, y: np.ndarray, y_val: np.ndarray, order: np.ndarray, alpha: float
) -> np.ndarray:
    """Utilities [m] of the first 1, 2, ..., m points of an order, from one Cholesky factorisation.

    Parameters
    ----------
    kernel [n, n], kernel_val [n, q]
        X X^T, and X X_val^T.
    y [n], y_val [q]
        Labels of the training and the validation points.
    order [m]
        Points in the order of joining: all n, or the head of an order.
    alpha
        The ridge's penalty, larger than 0.

    Notes
    -----
    With K + alpha I = L L^T in that order, V = L^-1 K_val, z = L^-1 y and u = L^-1 1, a prefix of k points has the
    intercept b = sum u z / sum u^2 and the predictions sum V z + b (1 - sum V u), all sums over the first k rows: L of
    a prefix is the corner of the whole L. It equals scikit-learn's Ridge with an unpenalised intercept.
    """
    m = len(order)
    factor = np.linalg.cholesky(kernel[np.ix_(order, order)] + alpha * np.eye(m))
    right = np.column_stack([kernel_val[order], y[order], np.ones(m)])
    solved = solve_triangular(factor, right, lower=True, check_finite=False, overwrite_b=True)
    v, z, u = solved[:, :-2], solved[:, -2:-1], solved[:, -1:]
    intercept = np.cumsum(u * z, axis=0) / np.cumsum(u * u, axis=0)
    predictions = np.cumsum(v * z, axis=0) + intercept * (1 - np.cumsum(v * u, axis=0))
    return -((predictions - y_val) ** 2).mean(axis=1)


@dataclasses.dataclass(frozen=True)
class RidgeGame:
    """The game whose players are n molecules: ``kernel`` [n, n], ``kernel_val`` [n, q], ``y`` [n], ``y_val`` [q], the
    ridge's penalty ``alpha``, and the utility ``empty`` of the empty set."""

    kernel: np.ndarray
    kernel_val: np.ndarray
    y: np.ndarray
    y_val: np.ndarray
    alpha: float
    empty: float

    @classmethod
    def from_features(
        cls, X: np.ndarray, y: np.ndarray, X_val: np.ndarray, y_val: np.ndarray, alpha: float, constant: float
    ) -> "RidgeGame":
        """The game of molecules X [n, d]; ``constant`` is what the empty set predicts."""
        return cls(X @ X.T, X @ X_val.T, y, y_val, alpha, -float(np.mean((y_val - constant) ** 2)))

    def path(self, order: np.ndarray) -> np.ndarray:
        """Utilities [m + 1] of the empty set and of every prefix of an order [m]."""
        prefixes = prefix_utilities(self.kernel, self.kernel_val, self.y, self.y_val, order, self.alpha)
        return np.append(self.empty, prefixes)

    def whole(self) -> float:
        """Utility of all n molecules together."""
        return float(self.path(np.arange(len(self.y)))[-1])

    def path_until(self, order: np.ndarray, whole: float, tolerance: float) -> np.ndarray:
        """The path up to the first prefix whose utility is within ``tolerance`` of ``whole``.

        Computed for growing heads of the order, a quarter, a half and all of it: a factorisation costs the cube of its
        rows, so that a quarter is nearly free, and all three together cost 1.14 times the last one.
        """
        for n_rows in (math.ceil(len(order) / 4), math.ceil(len(order) / 2), len(order)):
            path = self.path(order[:n_rows])
            near = np.flatnonzero(np.abs(whole - path) <= tolerance)
            if len(near):
                return path[: near[0] + 1]
        return path  # a tolerance smaller than rounding: even the whole order is not "near"


class Tally:
    """Sums of marginal contributions and of their squares, and counts, for n molecules."""

    def __init__(self, n: int):
        self.sums, self.squares = np.zeros(n), np.zeros(n)
        self.counts: np.ndarray = np.zeros(n, dtype=int)

    @classmethod
    def of_orders(cls, game: RidgeGame, orders: Iterable[np.ndarray], truncation: float, skip: float) -> "Tally":
        """Walk through the orders; what follows the stop of a truncated order counts as zero."""
        tally, n = cls(len(game.y)), len(game.y)
        whole = game.whole() if truncation else math.nan  # once for all orders
        n_skipped = math.ceil(skip * n)
        for order in orders:
            marginals = np.zeros(n)
            if truncation:
                path = game.path_until(order, whole, truncation * abs(whole - game.empty))
            else:
                path = game.path(order)
            marginals[: len(path) - 1] = np.diff(path)
            tally.count(order[n_skipped:], marginals[n_skipped:])
        return tally

    def count(self, molecules: np.ndarray, marginals: np.ndarray) -> None:
        """Count one contribution of each of these molecules, all different."""
        self.sums[molecules] += marginals
        self.squares[molecules] += marginals**2
        self.counts[molecules] += 1

    def add(self, other: "Tally", members: np.ndarray) -> None:
        """Add the tally of a subset, whose k-th molecule is ``members[k]`` here."""
        self.sums[members] += other.sums
        self.squares[members] += other.squares
        self.counts[members] += other.counts

    def __add__(self, other: "Tally") -> "Tally":
        both = Tally(len(self.sums))
        for part in (self, other):
            both.add(part, np.arange(len(self.sums)))
        return both

    def means(self) -> np.ndarray:
        """Mean contributions [n], nan where nothing was counted."""
        return np.divide(self.sums, self.counts, out=np.full(len(self.sums), np.nan), where=self.counts > 0)

    def standard_errors(self) -> np.ndarray:
        """Standard errors [n] of the means, nan where fewer than two contributions were counted."""
        counts = np.maximum(self.counts, 1)
        variance = np.maximum(self.squares / counts - (self.sums / counts) ** 2, 0)
        return np.where(self.counts > 1, np.sqrt(variance / np.maximum(counts - 1, 1)), np.nan)
