"""Marginal contributions along orders of the training molecules, and their sums.

One Cholesky factorisation of an order's kernel gives the utility of every prefix, and so all marginal contributions
of the order at once.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np
from scipy.linalg import solve_triangular

from ..errors import DataError


def prefix_utilities(
    kernel: np.ndarray, kernel_val: np.ndarray, y: np.ndarray, y_val: np.ndarray, order: np.ndarray, alpha: float
) -> np.ndarray:
    """Utilities [m] of the first 1, 2, ..., m points of an order, from one Cholesky factorisation.

    Parameters
    ----------
    kernel [m, m], kernel_val [m, q]
        X X^T, and X X_val^T.
    order [m]
        The points in the order of joining.

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


class Tally:
    """Sums of marginal contributions and of their squares, and counts, for n molecules."""

    def __init__(self, n: int):
        self.sums, self.squares, self.counts = np.zeros(n), np.zeros(n), np.zeros(n, dtype=int)

    @classmethod
    def of_orders(
        cls,
        X: np.ndarray,
        y: np.ndarray,
        X_val: np.ndarray,
        y_val: np.ndarray,
        orders: Iterable[np.ndarray],
        alpha: float,
        truncation: float,
        skip: float,
        mean: float,
    ) -> "Tally":
        """Walk through the orders; ``mean`` is what the empty set predicts."""
        tally, kernel, kernel_val = cls(len(y)), X @ X.T, X @ X_val.T
        empty = -float(np.mean((y_val - mean) ** 2))
        first = math.ceil(skip * len(y))
        for order in orders:
            path = np.append(empty, prefix_utilities(kernel, kernel_val, y, y_val, order, alpha))
            marginals = np.diff(path)
            if truncation:
                near = np.abs(path[-1] - path[:-1]) <= truncation * abs(path[-1] - path[0])
                marginals[np.maximum.accumulate(near)] = 0.0  # everything after the first prefix that is near enough
            counted, worth = order[first:], marginals[first:]
            tally.sums[counted] += worth
            tally.squares[counted] += worth**2
            tally.counts[counted] += 1
        return tally

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
        """Nan where nothing was counted."""
        return np.divide(self.sums, self.counts, out=np.full(len(self.sums), np.nan), where=self.counts > 0)

    def standard_errors(self) -> np.ndarray:
        counts = np.maximum(self.counts, 1)
        variance = np.maximum(self.squares / counts - (self.sums / counts) ** 2, 0)
        return np.where(self.counts > 1, np.sqrt(variance / np.maximum(counts - 1, 1)), np.nan)


def draw_orders(n: int, n_permutations: int, sampling: str, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Random orders of n points; "antithetic": every one followed by its reverse."""
    if sampling not in ("antithetic", "plain"):
        raise DataError(f"sampling is {sampling!r}; choose 'antithetic' or 'plain'")
    if n_permutations < 1:
        raise DataError(f"n_permutations is {n_permutations}; at least one is needed")
    for k in range(n_permutations):
        if sampling == "plain" or k % 2 == 0:
            order = rng.permutation(n)
            yield order
        else:
            yield order[::-1]


def require_problem(X: np.ndarray, y: np.ndarray, X_val: np.ndarray, y_val: np.ndarray) -> None:
    for name, features, labels in (("training", X, y), ("validation", X_val, y_val)):
        if np.ndim(features) != 2 or np.shape(labels) != (len(features),) or not len(labels):
            raise DataError(f"{name} representations {np.shape(features)} do not fit the labels {np.shape(labels)}")
        bad = np.flatnonzero(~(np.isfinite(features).all(axis=1) & np.isfinite(labels)))
        if len(bad):
            raise DataError(
                f"{name} molecule {bad[0]} has a representation or label that is not finite ({len(bad)} in all)"
            )
    if X.shape[1] != X_val.shape[1]:
        raise DataError(f"representations of {X.shape[1]} and {X_val.shape[1]} features")
    if np.ptp(y) == 0:
        raise DataError(
            f"all {len(y)} training labels are {y[0]}: there is nothing to learn, and no value to tell apart"
        )
