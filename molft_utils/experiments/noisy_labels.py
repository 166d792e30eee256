"""A few clean molecules, and a large pool of which some labels are wrong: which of the pool to train on?

The pool is the rest of the training split with errors put in, or measured logP, whose labels are wrong as logD where a
molecule is ionisable. The rules are those of :mod:`molft_utils.experiments.rules`; they see the labels that a model
may train on, and those of the validation split.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from ..data import load_logp
from ..errors import DataError
from ..settings import Settings
from . import pipeline
from .selection import joined

#: Number of clean molecules.
N_CLEAN = 300

#: Kind of error -> what becomes of the labels [n] that it meets.
ERRORS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "natural logarithm": lambda labels, rng: labels * math.log(10),
    "lost sign": lambda labels, rng: -labels,
    "permuted": lambda labels, rng: rng.permutation(labels),
}

MEASURED = "measured logP"


@dataclasses.dataclass(frozen=True)
class NoisyPool:
    """Clean molecules, and a ``pool`` whose column ``corrupted`` says which labels are wrong; models never see it."""

    clean: pd.DataFrame
    pool: pd.DataFrame

    @property
    def everything(self) -> pd.DataFrame:
        """The clean molecules, followed by the pool."""
        return joined(self.clean, self.pool)

    def with_pool(self, kept: np.ndarray) -> pd.DataFrame:
        """The clean molecules, followed by those of the pool that are kept (bool [n_pool])."""
        return joined(self.clean, self.pool[kept])


def draw_pool(settings: Settings, kind: str, share: float) -> NoisyPool:
    """Draw the clean molecules and make the pool; the seed of the settings decides both.

    Parameters
    ----------
    kind
        A key of ``ERRORS``, or ``MEASURED``.
    share
        Share of the pool's labels that are wrong; the measured pool comes as it is.

    Raises
    ------
    DataError
        For an unknown kind, or a share outside [0, 1].
    """
    if kind != MEASURED and kind not in ERRORS:
        raise DataError(f"unknown kind of error {kind!r}; choose one of {', '.join([*ERRORS, MEASURED])}")
    if not 0 <= share <= 1:
        raise DataError(f"share is {share}; it must be from 0 to 1")
    rng = np.random.default_rng(settings.seed)
    train = pipeline.tables(settings).train
    order = rng.permutation(len(train))
    n_clean = min(N_CLEAN, len(train) // 3)
    clean, rest = (train.iloc[rows].reset_index(drop=True) for rows in (order[:n_clean], order[n_clean:]))
    if kind == MEASURED:
        pool = load_logp().head(settings.limit)
        return NoisyPool(clean, pool.assign(corrupted=pool["ionisable"])[["smiles", "label", "corrupted"]])
    labels, wrong = with_errors(rest["label"].to_numpy(), kind, share, rng)
    return NoisyPool(clean, rest.assign(label=labels, corrupted=wrong))


def with_errors(labels: np.ndarray, kind: str, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels [n] with an error of this kind in a share of them, drawn at random; and which are wrong (bool [n])."""
    wrong = np.zeros(len(labels), dtype=bool)
    wrong[rng.permutation(len(labels))[: round(share * len(labels))]] = True
    given = np.array(labels, dtype=float)
    given[wrong] = ERRORS[kind](given[wrong], rng)
    return given, wrong
