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
from .checks import require_penalty, require_problem, require_shares
from .marginals import RidgeGame, Tally


@dataclasses.dataclass(frozen=True)
class Values:
    """Data values of n molecules, in the utility's unit (squared standard deviations of the labels).

    ``values`` [n], nan where no permutation counted a molecule; ``standard_error`` [n] of the sampling, 0 where all
    orders were enumerated; ``counts`` [n] marginal contributions a value is the mean of; ``split_half`` the rank
    correlation between the values of two halves of the work; ``kind`` "Shapley value", or the name of what else it is;
    ``stopped`` why sampling ended.
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
        Representations and labels of the training and the validation points.
    alpha
        The ridge's penalty, as scikit-learn's; larger than 0.
    n_permutations
        None: every order, for up to nine points; the values are then exact, and their standard error is 0.
    truncation
        In [0, 1). Once a prefix has come within this share of |U(all) - U(empty)| of U(all), the rest of its order
        counts as zero, and is not computed where the first quarter or half of the order holds that prefix. The values
        then add up to U(all) - U(empty) only within this share.
    skip
        In [0, 1): share of each order, from its start, whose contributions are not counted. They are the noisiest; but
        the mean of the others is a clipped semivalue and no Shapley value: efficiency fails, and ``kind`` says so.
    sampling : {"plain", "antithetic"}
        Independent orders, or every order followed by its reverse. For ridge utilities we saw no gain in the latter.

    Raises
    ------
    DataError
        If shapes disagree, a value is not finite, all labels are equal, or a parameter is outside its range.
    """
    require_problem(X, y, X_val, y_val)
    require_penalty(alpha)
    require_shares(truncation, skip, len(y))
    exact = n_permutations is None
    if n_permutations is None:
        orders = all_orders(len(y))
    else:
        orders = draw_orders(len(y), n_permutations, sampling, np.random.default_rng(seed))
    game = RidgeGame.from_features(X, y, X_val, y_val, alpha, float(np.mean(y)))
    tally = Tally.of_orders(game, orders, truncation, skip)
    errors = np.zeros(len(y)) if exact else tally.standard_errors()
    return Values(tally.means(), errors, tally.counts, math.nan, kind_of(skip), "all permutations done")


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
    Chains run through joblib, so ``joblib.parallel_config("dask")`` carries them to a cluster. The values depend on the
    seed alone: they are equal to rounding on any number of workers, threads or processes.
    As :func:`permutation_values` otherwise.

    Parameters
    ----------
    n_chains
        The budget.
    subset_size
        Molecules in a chain, from 2 to n.
    n_permutations
        Orders in a chain.
    target
        Stop after a round once the split-half rank correlation (odd rounds against even ones) reaches this.

    Raises
    ------
    DataError
        Also if there are fewer points than a subset holds, or the chains cannot cover all points.
    """
    n = len(y)
    require_problem(X, y, X_val, y_val)
    require_penalty(alpha)
    round_size = chains_of_a_round(n, subset_size, n_chains)
    require_shares(truncation, skip, subset_size)
    mean = float(np.mean(y))

    def chain(number: int, members: np.ndarray) -> Tally:
        orders = draw_orders(len(members), n_permutations, sampling, np.random.default_rng([seed, number]))
        with threadpool_limits(1):  # reaches worker processes; in a thread of this process it finds 1 and leaves 1
            game = RidgeGame.from_features(X[members], y[members], X_val, y_val, alpha, mean)
            return Tally.of_orders(game, orders, truncation, skip)

    starts = range(0, n_chains, round_size)  # the number of each round's first chain
    rounds = [deal(n, subset_size, np.random.default_rng([seed, n_chains + start])) for start in starts]
    rounds[-1] = rounds[-1][: n_chains - starts[-1]]
    tally, split_half = run_rounds(chain, rounds, n, n_jobs, target)
    reached = target is not None and split_half >= target
    stopped = f"the target of {target} is reached" if reached else "the budget of chains is spent"
    kind = kind_of(skip, subset_size if subset_size < n else None)
    return Values(tally.means(), tally.standard_errors(), tally.counts, split_half, kind, stopped)


def run_rounds(
    chain: Callable[[int, np.ndarray], Tally],
    rounds: list[list[np.ndarray]],
    n: int,
    n_jobs: int,
    target: float | None,
) -> tuple[Tally, float]:
    """Sum of the chains' tallies for n molecules, and the split-half rank correlation, which can end the work.

    ``chain`` takes its number and its subset; ``rounds`` holds the subsets of each round.
    """
    halves, first, n_chains = (Tally(n), Tally(n)), 0, sum(map(len, rounds))
    # BLAS has one limit for all threads of a process: set here, around all chains, no chain that ends can undo it.
    with threadpool_limits(1), tqdm(total=n_chains, desc="TS-DShapley", unit="chain", leave=False) as bar:
        for half, subsets in zip(itertools.cycle(halves), rounds, strict=False):
            jobs = (delayed(chain)(number, members) for number, members in enumerate(subsets, first))
            for members, tally in zip(subsets, Parallel(n_jobs, return_as="generator")(jobs), strict=True):
                half.add(tally, members)
                bar.update()
            first += len(subsets)
            split_half = rank_correlation(halves[0].means(), halves[1].means())
            bar.set_postfix(split_half=f"{split_half:.2f}")
            if target is not None and split_half >= target:
                break
    return halves[0] + halves[1], split_half


def chains_of_a_round(n: int, subset_size: int, n_chains: int) -> int:
    """Number of chains that hold each of n points at least once.

    Raises
    ------
    DataError
        If no subset can have this size, or ``n_chains`` are fewer than a round.
    """
    if not 2 <= subset_size <= n:
        raise DataError(f"subset_size is {subset_size}; it must be between 2 and the number of points, {n}")
    round_size = math.ceil(n / subset_size)
    if n_chains < round_size:
        raise DataError(f"{n_chains} chains of {subset_size} leave some of {n} points out; use at least {round_size}")
    return round_size


def deal(n: int, subset_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """A random order of n points cut into subsets of one size; the last is filled up from the order's start."""
    order = rng.permutation(n)
    starts = range(0, n, subset_size)
    return [np.take(order, range(start, start + subset_size), mode="wrap") for start in starts]


def all_orders(n: int) -> Iterator[np.ndarray]:
    """Every order of n points.

    Raises
    ------
    DataError
        If there are more than nine points.
    """
    if n > 9:
        raise DataError(f"{n} points have {n}! orders; give n_permutations")
    return (np.array(order) for order in itertools.permutations(range(n)))


def draw_orders(n: int, n_permutations: int, sampling: str, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Random orders of n points; "antithetic": every one followed by its reverse.

    Raises
    ------
    DataError
        At the first order, if ``sampling`` is unknown or no order is asked for.
    """
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


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, over the entries that are finite in both; nan if there are fewer than three."""
    known = np.isfinite(a) & np.isfinite(b)
    return float(spearmanr(a[known], b[known])[0]) if known.sum() > 2 else math.nan


def kind_of(skip: float, subset_size: int | None = None) -> str:
    """Name of the values: a subset or a clipped start weighs the sizes of coalitions in another way than Shapley's
    formula does, and efficiency fails."""
    company = f", in subsets of {subset_size}" if subset_size else ""
    clipped = f", the first {skip:.0%} of each order not counted" if skip else ""
    return f"semivalue{company}{clipped}" if company or clipped else "Shapley value"
