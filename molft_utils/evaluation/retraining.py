"""Grading scores of training molecules by real retraining: the bank of retrained models, and the LDS.

The linear datamodelling score (Park et al. 2023, arXiv:2303.14186, section 2) retrains a model on many random halves of
its training data. A query molecule's loss after such a retraining is predicted by the sum of the scores of the
molecules that were in the half; the LDS is the rank correlation of the two over the halves, averaged over queries.
"""

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from safetensors import safe_open
from scipy.stats import rankdata

from ..errors import DataError
from ..files import DATA_FOLDER, data_file, file_hash
from .intervals import N_BOOTSTRAP, percentile_interval

#: The banks that the repository carries; `make bank` makes them.
BANK, GROUPS = "retraining/halves.safetensors", "retraining/groups.safetensors"


@dataclasses.dataclass(frozen=True)
class Bank:
    """Retrained models: what each was trained on, and what it predicts.

    Attributes
    ----------
    members : bool [n_subsets, n_train]
        Which molecules each subset holds: of the training split, followed by the secondary set, where rows 2k and
        2k + 1 are complementary; or, in the bank of groups, which others are added to all of these.
    predictions : float [n_subsets, n_seeds, n_queries]
        logD of the query molecules, by the models retrained on each subset with several seeds.
    labels : float [n_queries]
        Their measured logD.
    """

    members: np.ndarray
    predictions: np.ndarray
    labels: np.ndarray

    def losses(self) -> np.ndarray:
        """Squared errors [n_subsets, n_seeds, n_queries] in logD²."""
        return (self.predictions - self.labels) ** 2

    def some(self, n_queries: int) -> tuple[np.ndarray, "Bank"]:
        """Rows [n_queries] of queries at even distances, and the bank of these alone: for scores that cost much."""
        rows = np.linspace(0, len(self.labels) - 1, n_queries).round().astype(int)
        return rows, Bank(self.members, self.predictions[:, :, rows], self.labels[rows])


@dataclasses.dataclass(frozen=True)
class LDS:
    """A linear datamodelling score: 1 ranks all retrainings rightly, 0 is chance.

    Attributes
    ----------
    value
        Mean over the queries.
    interval
        Its 95 % bootstrap interval over queries and complementary pairs of subsets.
    ceiling
        What retraining says of itself: the same correlation, with the loss of half of the seeds in place of the
        prediction, against the other half's; nan if there is one seed only.
    per_query : float [n_queries]
        The score of each query.
    """

    value: float
    interval: tuple[float, float]
    ceiling: float
    per_query: np.ndarray

    def __str__(self) -> str:
        low, high = self.interval
        return f"LDS {self.value:.3f} [{low:.3f}, {high:.3f}]; retraining itself reaches {self.ceiling:.3f}"


def load_bank(queries: str = "test", path: str | Path = BANK, limit: int | None = None) -> Bank:
    """The bank of models retrained on random halves, with the predictions for one split.

    Parameters
    ----------
    queries : {"test", "validation"}
        Settings are chosen on the validation molecules; results are shown on the test molecules.
    path
        Another bank than that of halves: a file of ``data/`` (``GROUPS``), or an absolute path.
    limit
        Only the first molecules of the training split, of the secondary set and of the queries, as the setting of that
        name has it (for tests).

    Raises
    ------
    DataError
        If the bank was made from other data than the repository now holds, is damaged, or has no finished seed.
    """
    if queries not in ("test", "validation"):
        raise DataError(f"queries is {queries!r}; choose 'test' or 'validation'")
    place = Path(path) if Path(path).is_absolute() else data_file(str(path))
    try:
        metadata, tensors = read_bank(place)
        _require_same_data(metadata["data"])
        members, predictions, labels = (
            tensors[name] for name in ("members", f"{queries}_predictions", f"{queries}_labels")
        )
        _require_shapes(members, predictions, labels, metadata["parts"])
    except (KeyError, TypeError, AttributeError, _Damaged) as error:
        raise _damaged_bank(place, error) from error
    finished = np.isfinite(predictions).all(axis=(0, 2))
    if not finished.any():
        raise DataError("no seed of the bank is finished; `make bank` goes on with it")
    columns = np.concatenate([np.arange(n)[:limit] + start for start, n in metadata["parts"]])
    predictions, labels = predictions[:, finished, :limit].astype(float), labels[:limit].astype(float)
    return Bank(members.astype(bool)[:, columns], predictions, labels)


def group_gains(bank: Bank) -> tuple[np.ndarray, np.ndarray, float]:
    """What each added group of molecules did to the mean loss of the queries.

    Parameters
    ----------
    bank
        ``load_bank(queries, GROUPS)``: subsets that are groups, and some that add nothing.

    Returns
    -------
    members : bool [n_groups, n_pool]
    gains : float [n_groups]
        By how much the loss fell, in logD², averaged over seeds; positive means helpful.
    noise : float
        Standard deviation of a gain by the seeds alone, from the subsets that add nothing.

    Raises
    ------
    DataError
        If no subset adds nothing, or only one model does.
    """
    losses, adds = bank.losses().mean(axis=2), bank.members.any(axis=1)
    nothing = losses[~adds]
    if nothing.size < 2:
        raise DataError("a bank of groups needs two models or more that were trained without a group")
    sd = nothing.std(ddof=1)
    noise = sd * math.sqrt(1 / losses.shape[1] + 1 / nothing.size)
    return bank.members[adds], nothing.mean() - losses[adds].mean(axis=1), float(noise)


def bank_checksum(tensors: Mapping[str, np.ndarray]) -> str:
    """Sha256 of a bank's tensors, which its file keeps beside them."""
    parts = (f"{name} {tensors[name].shape}".encode() + tensors[name].tobytes() for name in sorted(tensors))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def read_bank(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """A bank's metadata and tensors.

    Raises
    ------
    DataError
        If the file is no bank, or not as it was written.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = {name: json.loads(value) for name, value in file.metadata().items()}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
        if (known := metadata.get("sha256")) and known != bank_checksum(tensors):  # older banks have none
            raise _Damaged("its content is not as it was written")
    except Exception as error:  # safetensors has an exception of its own
        raise _damaged_bank(path, error) from error
    return metadata, tensors


class _Damaged(Exception):
    """Something about a bank that no bank has."""


def _damaged_bank(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is damaged, or no bank ({type(error).__name__}: {error}); `git checkout` brings the repository's own "
        "back, or delete it, and `make bank` makes another"
    )


def _require_shapes(members: np.ndarray, predictions: np.ndarray, labels: np.ndarray, parts: list) -> None:
    if members.ndim != 2:
        raise _Damaged(f"members of shape {members.shape}")
    n_subsets, n_train = members.shape
    if predictions.ndim != 3 or (len(predictions), predictions.shape[2]) != (n_subsets, len(labels)):
        raise _Damaged(f"predictions of shape {predictions.shape} for {n_subsets} subsets and {len(labels)} queries")
    if sum(n for _, n in parts) != n_train:
        raise _Damaged(f"{n_train} training molecules in parts of {[n for _, n in parts]}")


def data_hashes() -> dict[str, str]:
    """The data that a bank depends on."""
    return {name: file_hash(DATA_FOLDER / name) for name in ("lipophilicity.csv", "secondary.csv", "logp.csv")}


def _require_same_data(made_with: dict[str, str]) -> None:
    for name, content in data_hashes().items():
        if made_with.get(name) != content:
            raise DataError(f"data/{name} is not the file that the bank was made from; `make bank` makes another bank")


def lds(scores: ArrayLike, bank: Bank, seed: int = 0) -> LDS:
    """Grade scores by the retrained models of a bank.

    Parameters
    ----------
    scores : array [n_queries, n_train]
        Positive where having that training molecule lowers that query's loss, in the bank's order.
    bank
        Real retrainings.
    seed
        Fixes the resamples.

    Raises
    ------
    DataError
        If the shape does not fit the bank, or a score is not finite.
    """
    per_query, resampled = _graded(scores, bank, seed)
    return LDS(float(per_query.mean()), percentile_interval(resampled), ceiling(bank.losses()), per_query)


def lds_difference(a: ArrayLike, b: ArrayLike, bank: Bank, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """LDS of scores a minus that of scores b, and its 95 % interval over the same resamples of queries and subsets.

    Paired: most of what makes one LDS uncertain, which subsets were drawn, is common to both. Otherwise as
    :func:`lds`.

    Raises
    ------
    DataError
        As :func:`lds`.
    """
    (per_query_a, resampled_a), (per_query_b, resampled_b) = (_graded(scores, bank, seed) for scores in (a, b))
    return float((per_query_a - per_query_b).mean()), percentile_interval(resampled_a - resampled_b)


def _graded(scores: ArrayLike, bank: Bank, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The score of each query, and the mean over queries for each resample."""
    values = np.asarray(scores, dtype=float)
    expected = (len(bank.labels), bank.members.shape[1])
    if values.shape != expected:
        raise DataError(f"scores have shape {values.shape}; this bank needs {expected}: queries, training molecules")
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise DataError(f"the score of training molecule {column} for query {row} is not finite")
    predicted = -values @ bank.members.T.astype(float)
    return _rank_correlations(predicted, bank.losses().mean(axis=1).T, seed)


def ceiling(losses: np.ndarray) -> float:
    """Rank correlation of half of the seeds with the others, for losses [n_subsets, n_seeds, n_queries].

    Averaged over queries and over the ways to halve the seeds; of an odd number, one half has one more.
    """
    n_seeds = losses.shape[1]
    if n_seeds < 2:
        return float("nan")
    found = []
    for chosen in itertools.combinations(range(n_seeds), n_seeds // 2):
        others = [s for s in range(n_seeds) if s not in chosen]
        one, other = (_centred_ranks(losses[:, list(part)].mean(axis=1).T) for part in (chosen, others))
        found.append(_weighted_correlation(one, other, np.ones((1, len(losses)))).mean())
    return float(np.mean(found))


def _rank_correlations(a: np.ndarray, b: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rank correlation of each row of a and b [n_queries, n_subsets], and the mean over rows for each resample.

    Resamples draw rows, and pairs of neighbouring columns. Ranks are those among all columns.
    """
    ranks = _centred_ranks(a), _centred_ranks(b)
    n_rows, n_columns = a.shape
    rng = np.random.default_rng(seed)
    n_pairs = -(-n_columns // 2)
    pairs = rng.multinomial(n_pairs, np.full(n_pairs, 1 / n_pairs), size=N_BOOTSTRAP)
    rows = rng.multinomial(n_rows, np.full(n_rows, 1 / n_rows), size=N_BOOTSTRAP)
    weights = np.repeat(pairs, 2, axis=1)[:, :n_columns].astype(float)
    resampled = (_weighted_correlation(*ranks, weights) * rows).sum(axis=1) / n_rows
    return _weighted_correlation(*ranks, np.ones((1, n_columns)))[0], resampled


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks within each row, with mean zero; equal values share theirs."""
    return rankdata(values, axis=1) - (values.shape[1] + 1) / 2


def _weighted_correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Correlation of the rows of x and y [n, m] under each row of weights [k, m]: [k, n], 0 where a row is constant."""
    total = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y, mean_xy, mean_xx, mean_yy = (weights @ v.T / total for v in (x, y, x * y, x * x, y * y))
    spread = np.sqrt(np.maximum(mean_xx - mean_x**2, 0) * np.maximum(mean_yy - mean_y**2, 0))
    return np.divide(mean_xy - mean_x * mean_y, spread, out=np.zeros_like(spread), where=spread > 1e-9)
