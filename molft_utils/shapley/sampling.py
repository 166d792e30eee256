"""Data values by TS-DShapley (Schoch, Mishra & Ji 2023, arXiv:2306.10165): Shapley values from a cheap source model.

The source model is a ridge regression with intercept on the language model's pooled vectors. The utility of a set S of
training molecules is U(S) = -MSE on a validation split of the ridge trained on S; U of the empty set is that of
predicting a constant, the mean training label. The Shapley value of molecule i is the mean, over all orders, of the
marginal contribution U(those before i, and i) - U(those before i). **A high value means: helpful.**

One Cholesky factorisation gives the utilities of *all* prefixes of an order (:mod:`molft_utils.shapley.marginals`).
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import spearmanr
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from ..errors import DataError
from .marginals import Tally, draw_orders, require_problem


@dataclasses.dataclass(frozen=True)
class Values:
    """Data values of n molecules, in the utility's unit (squared standard deviations of the labels).

    ``values`` [n], nan where no permutation counted a molecule; ``standard_error`` [n]; ``counts`` [n] marginal
    contributions a value is the mean of; ``split_half`` the rank correlation between the values of two halves of the
    work; ``kind`` "Shapley value", or the name of what else it is; ``stopped`` why sampling ended.
    """

    values: np.ndarray
    standard_error: np.ndarray
    counts: np.ndarray
    split_half: float
    kind: str
    stopped: str

    def __str__(self) -> str:
        agreement = "" if math.isnan(self.split_half) else f"split-half rank correlation {self.split_half:.2f}, "
        return f"{self.kind}: {self.counts.mean():.0f} contributions a molecule, {agreement}{self.stopped}"


def permutation_values(
    X: np.ndarray,
    y: np.ndarray,
    X_val: np.ndarray,
    y_val: np.ndarray,
    *,
    alpha: float = 1.0,
    n_permutations: int | None,
    truncation: float = 0.0,
    skip: float = 0.0,
    seed: int = 0,
    sampling: str = "plain",
) -> Values:
    """Values of all points from random orders of the whole set.

    Parameters
    ----------
    X [n, d], y [n], X_val [q, d], y_val [q]
    alpha
        The ridge's penalty, as scikit-learn's.
    n_permutations
        None: every order, for up to nine points; the values are then exact.
    truncation
        Marginal contributions count as zero once the prefix has come within this share of U(all) - U(empty) of U(all).
    skip
        Share of each order, from its start, whose contributions are not counted. They are the noisiest; but the mean
        of the others is a clipped semivalue and no Shapley value: efficiency fails, and ``kind`` says so.
    sampling : {"plain", "antithetic"}
        Independent orders, or every order followed by its reverse. For ridge utilities we saw no gain in the latter.

    Raises
    ------
    DataError
        If shapes disagree, a value is not finite, or all labels are equal.
    """
    require_problem(X, y, X_val, y_val)
    rng, n = np.random.default_rng(seed), len(y)
    if n_permutations is None:
        if n > 9:
            raise DataError(f"{n} points have {n}! orders; give n_permutations")
        orders: Iterator = (np.array(order) for order in itertools.permutations(range(n)))
    else:
        orders = draw_orders(n, n_permutations, sampling, rng)
    tally = Tally.of_orders(X, y, X_val, y_val, orders, alpha, truncation, skip, float(np.mean(y)))
    return _values(tally, skip, "all permutations done", math.nan)


def ts_dshapley(
    X: np.ndarray,
    y: np.ndarray,
    X_val: np.ndarray,
    y_val: np.ndarray,
    *,
    n_chains: int,
    subset_size: int,
    n_permutations: int,
    alpha: float = 1.0,
    truncation: float = 0.0,
    skip: float = 0.0,
    seed: int = 0,
    n_jobs: int = 1,
    sampling: str = "plain",
    target: float | None = None,
) -> Values:
    """Values from several chains, each with its own random subset; a value is the mean over the chains that hold it.

    The subsets are dealt: every molecule is in a chain of each round of n / subset_size chains (a few are in two).
    Chains run through joblib, so ``joblib.parallel_config("dask")`` carries them to a cluster; the values depend on the
    seed, not on the number of workers. As :func:`permutation_values` otherwise.

    Parameters
    ----------
    n_chains
        The budget.
    target
        Stop after a round once the split-half rank correlation (odd rounds against even ones) reaches this.

    Raises
    ------
    DataError
        Also if there are fewer points than a subset holds, or the chains cannot cover all points.
    """
    require_problem(X, y, X_val, y_val)
    n = len(y)
    if not 2 <= subset_size <= n:
        raise DataError(f"subset_size is {subset_size}; it must be between 2 and the number of points, {n}")
    round_size = math.ceil(n / subset_size)
    if n_chains < round_size:
        raise DataError(f"{n_chains} chains of {subset_size} leave some of {n} points out; use at least {round_size}")
    mean, halves, stopped = float(np.mean(y)), (Tally(n), Tally(n)), "the budget of chains is spent"

    def chain(number: int, members: np.ndarray) -> "Tally":
        rng = np.random.default_rng([seed, number])
        orders = draw_orders(len(members), n_permutations, sampling, rng)
        with threadpool_limits(1):  # the same sums in the same order, wherever a chain runs
            return Tally.of_orders(X[members], y[members], X_val, y_val, orders, alpha, truncation, skip, mean)

    with tqdm(total=n_chains, desc="TS-DShapley", unit="chain", leave=False) as bar:
        for start in range(0, n_chains, round_size):
            numbers = range(start, min(start + round_size, n_chains))
            order = np.random.default_rng([seed, n_chains + start]).permutation(n)
            dealt = [
                np.take(order, range(i * subset_size, (i + 1) * subset_size), mode="wrap") for i in range(round_size)
            ]
            jobs = (delayed(chain)(number, dealt[number - start]) for number in numbers)
            for number, tally in zip(numbers, Parallel(n_jobs, return_as="generator")(jobs), strict=True):
                halves[start // round_size % 2].add(tally, dealt[number - start])
                bar.update()
            reached = rank_correlation(*(half.means() for half in halves))
            bar.set_postfix(split_half=f"{reached:.2f}")
            if target is not None and reached >= target:
                stopped = f"the target of {target} is reached"
                break
    both = halves[0] + halves[1]
    return _values(both, skip, stopped, reached, subset_size if subset_size < n else None)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, over the entries that both know; nan if there are none."""
    known = np.isfinite(a) & np.isfinite(b)
    return float(spearmanr(a[known], b[known])[0]) if known.sum() > 2 else math.nan


def exact_values(utility: Callable[[tuple[int, ...]], float], n: int) -> np.ndarray:
    """Shapley values [n] of any game by enumeration of its 2^n coalitions (Shapley 1953).

    ``utility`` takes a sorted tuple of players.
    """
    worth = {s: utility(s) for k in range(n + 1) for s in itertools.combinations(range(n), k)}
    values = np.zeros(n)
    for s, u in worth.items():
        weight = math.factorial(len(s)) * math.factorial(n - len(s) - 1) / math.factorial(n) if len(s) < n else 0
        for i in set(range(n)) - set(s):
            values[i] += weight * (worth[tuple(sorted((*s, i)))] - u)
    return values


def _values(tally: Tally, skip: float, stopped: str, split_half: float, subset_size: int | None = None) -> Values:
    """A subset or a clipped start weighs the sizes of coalitions in another way than Shapley: efficiency fails."""
    company = f", in subsets of {subset_size}" if subset_size else ""
    clipped = f", the first {skip:.0%} of each order not counted" if skip else ""
    kind = f"semivalue{company}{clipped}" if company or clipped else "Shapley value"
    return Values(tally.means(), tally.standard_errors(), tally.counts, split_half, kind, stopped)
