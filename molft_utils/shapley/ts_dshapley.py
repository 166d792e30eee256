"""TS-DShapley: Shapley values of molecules for a cheap source model (Schoch, Mishra & Ji 2023, arXiv:2306.10165).

The source model is a ridge regression with intercept on the language model's pooled vectors. The utility U(S) of a
coalition S of training molecules is -MSE on a validation split of the ridge trained on S; U of the empty coalition is
that of predicting the mean training label. The Shapley value of molecule i is the mean, over all permutations of the
molecules, of its marginal contribution U(P and i) - U(P), where P are the molecules before i.
**A high value means: helpful.**

:func:`sum_marginals` is the loop of Algorithm 1 of Ghorbani & Zou (2019, arXiv:1904.02868); :func:`ts_dshapley` runs it
in several chains, each on a random subset. :func:`prefix_utilities` replaces the retraining for every prefix of a
permutation by one Cholesky factor. Bad input raises a DataError that names the molecule or the parameter.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from joblib import Parallel, delayed
from scipy.linalg import solve_triangular
from scipy.stats import spearmanr
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from ..errors import DataError


@dataclasses.dataclass(frozen=True)
class Values:
    """Data values of n molecules, in the utility's unit (squared standard deviations of the labels).

    ``values`` [n], nan where no permutation counted a molecule; ``standard_error`` [n] of the sampling, 0 where all
    permutations were enumerated; ``counts`` [n], the number of marginal contributions behind each value;
    ``split_half``, the rank correlation between the values of two halves of the rounds; ``kind``, "Shapley value" or
    which semivalue it is; ``stopped``, why sampling ended.
    """

    values: np.ndarray
    standard_error: np.ndarray
    counts: np.ndarray
    split_half: float
    kind: str
    stopped: str

    def __str__(self) -> str:
        agreement = "" if math.isnan(self.split_half) else f"split-half rank correlation {self.split_half:.2f}, "
        counts = f"{self.counts.mean():.0f} marginal contributions per molecule"
        return f"{self.kind}: {counts}, {agreement}{self.stopped}"


def exact_values(utility: Callable[[tuple[int, ...]], float], n: int) -> np.ndarray:
    """Shapley values [n] of any game of n players, by enumeration of its 2^n coalitions (Shapley 1953).

    ``utility`` takes a sorted tuple of players.
    """
    utilities = {s: utility(s) for size in range(n + 1) for s in itertools.combinations(range(n), size)}
    values = np.zeros(n)
    for coalition, before in utilities.items():
        for i in set(range(n)) - set(coalition):
            # |S|! (n - |S| - 1)! / n! is the share of permutations in which exactly S comes before i.
            weight = math.factorial(len(coalition)) * math.factorial(n - len(coalition) - 1) / math.factorial(n)
            values[i] += weight * (utilities[tuple(sorted((*coalition, i)))] - before)
    return values


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
) -> Values:
    """Shapley values from random permutations of all molecules (Ghorbani & Zou 2019, Algorithm 1).

    Parameters
    ----------
    X [n, d], y [n]
        Representations and labels of the training molecules.
    X_val [q, d], y_val [q]
        The same of the validation molecules, on which the utility is measured.
    alpha
        The ridge's penalty, as scikit-learn's; larger than 0.
    n_permutations
        None: every permutation, for up to nine molecules; the values are then exact, and their standard error is 0.
    truncation
        In [0, 1). Once a prefix is within this share of ``|U(all) - U(empty)|`` of U(all), the rest of its
        permutation counts as zero. The values then add up to U(all) - U(empty) only within this share.
    skip
        In [0, 1): share of each permutation, from its start, whose marginal contributions are not counted. They are the
        noisiest; but the mean of the others is a clipped semivalue and no Shapley value: efficiency fails, and ``kind``
        says so.
    """
    check_problem(X, y, X_val, y_val, alpha)
    weights = counted_places(truncation, skip, len(y))
    permutations = draw_permutations(len(y), n_permutations, np.random.default_rng(seed))
    u_empty = utility_of_empty(y, y_val)
    sums = sum_marginals(X, y, X_val, y_val, permutations, alpha, u_empty, truncation, weights)
    values, errors = means_and_errors(sums)
    if n_permutations is None:
        errors = np.zeros(len(y))
    return Values(values, errors, sums[2].astype(int), math.nan, kind_of(skip), "all permutations done")


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
    target: float | None = None,
) -> Values:
    """Values from several chains, each on a random subset; a value is the mean over the chains with that molecule.

    A round is n / subset_size chains, rounded up, that together hold every molecule (a few of them twice). The values
    depend on the seed alone and are equal to rounding on any number of workers.

    Parameters
    ----------
    X, y, X_val, y_val, alpha, truncation, skip
        As :func:`permutation_values`.
    n_chains
        The budget; at least one round.
    subset_size
        Molecules in a chain, from 2 to n.
    n_permutations
        Permutations in a chain.
    n_jobs
        Chains that run at the same time (joblib).
    target
        Stop after a round once the split-half rank correlation (odd rounds against even ones) reaches this.
    """
    n = len(y)
    check_problem(X, y, X_val, y_val, alpha)
    round_size = chains_per_round(n, subset_size, n_chains)
    weights = counted_places(truncation, skip, subset_size)
    u_empty = utility_of_empty(y, y_val)
    halves = np.zeros((2, 3, n))  # what sum_marginals gives, added up over the even and over the odd rounds
    stopped = "the budget of chains is spent"
    # BLAS is fastest with one thread on matrices this small. It has one limit for all threads of a process, which is
    # set here, around all chains: the first chain to end cannot lift it for the others.
    with threadpool_limits(1), tqdm(total=n_chains, desc="TS-DShapley", unit="chain", leave=False) as bar:
        for round_number, first_chain in enumerate(range(0, n_chains, round_size)):
            # Draw the subsets of a round of chains; the budget may end within the last round.
            subsets = draw_subsets(n, subset_size, np.random.default_rng([seed, n_chains + first_chain]))
            subsets = subsets[: n_chains - first_chain]
            # Draw permutations within each subset, and walk along them.
            chains = []
            for chain, subset in enumerate(subsets, first_chain):
                rng = np.random.default_rng([seed, chain])
                permutations = list(draw_permutations(subset_size, n_permutations, rng))
                problem = X[subset], y[subset], X_val, y_val
                chains.append(delayed(sum_marginals)(*problem, permutations, alpha, u_empty, truncation, weights))
            # Add up each molecule's marginal contributions over all chains with it; their mean is its value.
            for subset, sums in zip(subsets, Parallel(n_jobs, return_as="generator")(chains), strict=True):
                halves[round_number % 2][:, subset] += sums
                bar.update()
            split_half = rank_correlation(*(means_and_errors(half)[0] for half in halves))
            bar.set_postfix(split_half=f"{split_half:.2f}")
            if target is not None and split_half >= target:
                stopped = f"the target of {target} is reached"
                break
    sums = halves[0] + halves[1]
    kind = kind_of(skip, subset_size if subset_size < n else None)
    return Values(*means_and_errors(sums), sums[2].astype(int), split_half, kind, stopped)


def sum_marginals(
    X: np.ndarray,
    y: np.ndarray,
    X_val: np.ndarray,
    y_val: np.ndarray,
    permutations: Iterable[np.ndarray],
    alpha: float,
    u_empty: float,
    truncation: float,
    weights: np.ndarray,
) -> np.ndarray:
    """The loop of Algorithm 1 of Ghorbani & Zou (2019), along permutations of n molecules or the first m of each.

    ``weights`` [m] are those of the places in a permutation: 1 for a Shapley value, 0 for what is skipped. Returns
    [3, n]: for each molecule the sum of its weighted marginal contributions, of their squares, and of the weights.
    """
    n = len(y)
    kernel, kernel_val = X @ X.T, X @ X_val.T  # [n, n], [n, q]

    def prefixes(head: np.ndarray) -> np.ndarray:
        """Utilities v_0, v_1, ..., v_m of the first 0, 1, ..., m molecules, from one Cholesky factor."""
        return np.append(u_empty, prefix_utilities(kernel, kernel_val, y, y_val, head, alpha))

    utility_of_all = prefixes(np.arange(n))[-1] if truncation else math.nan
    tolerance = truncation * abs(utility_of_all - u_empty)
    sums = np.zeros((3, n))
    for permutation in permutations:
        v = truncated(prefixes, permutation, utility_of_all, tolerance) if truncation else prefixes(permutation)
        marginals = np.diff(v)  # v_j - v_(j-1) = U(P and i) - U(P), with i the j-th molecule
        sums[0, permutation] += weights * marginals
        sums[1, permutation] += weights * marginals**2
        sums[2, permutation] += weights
    return sums


def truncated(
    prefixes: Callable[[np.ndarray], np.ndarray], permutation: np.ndarray, utility_of_all: float, tolerance: float
) -> np.ndarray:
    """Utilities v [n + 1] with Algorithm 1's truncation: v_j = v_(j-1) once v_(j-1) is near the utility of all."""
    n = len(permutation)
    # A factorisation costs the cube of its rows: the tries with a quarter and a half add 14 % to one with all rows.
    for n_rows in (math.ceil(n / 4), math.ceil(n / 2), n):
        v = prefixes(permutation[:n_rows])
        near = np.flatnonzero(np.abs(utility_of_all - v) <= tolerance)
        if len(near):
            return np.pad(v[: near[0] + 1], (0, n - near[0]), mode="edge")
    return v  # the tolerance is smaller than rounding


def prefix_utilities(
    kernel: np.ndarray, kernel_val: np.ndarray, y: np.ndarray, y_val: np.ndarray, permutation: np.ndarray, alpha: float
) -> np.ndarray:
    """Utilities [m] of the first 1, 2, ..., m molecules of a permutation, from one Cholesky factor.

    ``permutation`` [m] holds all n molecules, or is the head of a permutation; ``kernel`` [n, n] is K = X X^T, and
    ``kernel_val`` [n, q] is K_val = X X_val^T.

    Notes
    -----
    Ridge regression in its dual form, with an unpenalised intercept b as scikit-learn's: with A = K + alpha I, the
    predictions are K_val^T A^-1 (y - b 1) + b, and b = 1^T A^-1 y / 1^T A^-1 1. With A = L L^T, every A^-1 between two
    vectors becomes an inner product, such as K_val^T A^-1 y = (L^-1 K_val)^T (L^-1 y) = V^T z. The factor of the first
    k molecules is the upper left corner of L, and so their inner products are the sums over the first k rows.
    """
    m = len(permutation)
    L = np.linalg.cholesky(kernel[np.ix_(permutation, permutation)] + alpha * np.eye(m))  # K + alpha I = L L^T
    right = np.column_stack([kernel_val[permutation], y[permutation], np.ones(m)])
    solved = solve_triangular(L, right, lower=True, check_finite=False, overwrite_b=True)
    V, z, u = solved[:, :-2], solved[:, -2:-1], solved[:, -1:]  # L^-1 K_val [m, q], L^-1 y [m, 1], L^-1 1 [m, 1]
    # Row k: the intercept b_k = sum u_i z_i / sum u_i^2, the predictions p_k = sum V_i z_i + b_k (1 - sum V_i u_i),
    # sums over i <= k.
    intercepts = np.cumsum(u * z, axis=0) / np.cumsum(u * u, axis=0)
    predictions = np.cumsum(V * z, axis=0) + intercepts * (1 - np.cumsum(V * u, axis=0))
    return -((predictions - y_val) ** 2).mean(axis=1)


def utility_of_empty(y: np.ndarray, y_val: np.ndarray) -> float:
    """U of the empty coalition: -MSE of predicting the mean of all training labels, in every chain."""
    return -float(np.mean((y_val - np.mean(y)) ** 2))


def draw_permutations(n: int, n_permutations: int | None, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Random permutations of n molecules; None: each of the n! once."""
    if n_permutations is None:
        if n > 9:
            raise DataError(f"{n} molecules have {n}! permutations; give n_permutations")
        return (np.array(permutation) for permutation in itertools.permutations(range(n)))
    if n_permutations < 1:
        raise DataError(f"n_permutations is {n_permutations}; at least one is needed")
    return (rng.permutation(n) for _ in range(n_permutations))


def draw_subsets(n: int, subset_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The subsets of a round: a permutation cut into equal pieces, the last one filled up from its start."""
    permutation = rng.permutation(n)
    starts = range(0, n, subset_size)
    return [np.take(permutation, range(start, start + subset_size), mode="wrap") for start in starts]


def chains_per_round(n: int, subset_size: int, n_chains: int) -> int:
    """Number of chains that together hold each of n molecules at least once."""
    if not 2 <= subset_size <= n:
        raise DataError(f"subset_size is {subset_size}; it must be between 2 and the number of molecules, {n}")
    round_size = math.ceil(n / subset_size)
    if n_chains < round_size:
        raise DataError(f"{n_chains} chains of {subset_size} miss some of {n} molecules; use at least {round_size}")
    return round_size


def means_and_errors(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means [n] of the marginal contributions and their standard errors [n], from what :func:`sum_marginals` gives.

    A mean is nan where nothing was counted, its standard error where fewer than two marginal contributions were.
    """
    total, squares, counts = sums
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan
        mean = total / counts
        variance = np.maximum(squares / counts - mean**2, 0)
        return mean, np.sqrt(variance / (counts - 1))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, over the entries that are finite in both; nan if there are fewer than three."""
    known = np.isfinite(a) & np.isfinite(b)
    return float(spearmanr(a[known], b[known])[0]) if known.sum() > 2 else math.nan


def kind_of(skip: float, subset_size: int | None = None) -> str:
    """Name of the values: subsets and skipped starts weigh coalitions by size otherwise than Shapley's formula does."""
    coalitions = f", in subsets of {subset_size}" if subset_size else ""
    clipped = f", the first {skip:.0%} of each permutation not counted" if skip else ""
    return f"semivalue{coalitions}{clipped}" if coalitions or clipped else "Shapley value"


def check_problem(X: np.ndarray, y: np.ndarray, X_val: np.ndarray, y_val: np.ndarray, alpha: float = 1.0) -> None:
    """Refuse molecules on which no source model can be trained or judged."""
    check_alpha(alpha)
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
        raise DataError(f"all {len(y)} training labels are {y[0]}; there is nothing to learn from equal labels")


def check_alpha(alpha: float) -> None:
    """Refuse a penalty at which K + alpha I can be singular."""
    if not 0 < alpha < math.inf:
        raise DataError(f"alpha is {alpha}; the ridge needs a finite penalty larger than 0 (1.0 is scikit-learn's)")


def counted_places(truncation: float, skip: float, size: int) -> np.ndarray:
    """Weights [size] of the places in a permutation: 0 for the share ``skip`` at its start, then 1.

    Refused are shares that leave no marginal contribution to count.
    """
    for name, share in (("truncation", truncation), ("skip", skip)):
        if not 0 <= share < 1:
            raise DataError(f"{name} is {share}; it must be in [0, 1), and 0 turns it off")
    n_skipped = math.ceil(skip * size)
    if n_skipped >= size:
        raise DataError(f"skip is {skip}; it leaves nothing of a permutation of {size} molecules: choose a smaller one")
    return (np.arange(size) >= n_skipped).astype(float)
