"""Checks of what the functions of this folder are given."""

import math

import numpy as np

from ..errors import DataError


def require_problem(X: np.ndarray, y: np.ndarray, X_val: np.ndarray, y_val: np.ndarray) -> None:
    """Refuse molecules on which no source model can be trained or judged.

    Parameters
    ----------
    X [n, d], y [n]
        Representations and labels of the training molecules.
    X_val [q, d], y_val [q]
        The same of the validation molecules.

    Raises
    ------
    DataError
        If there are no molecules, shapes disagree, a number is not finite, or all training labels are equal.
    """
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


def require_penalty(alpha: float) -> None:
    """Refuse a penalty at which the matrix K + alpha I can be singular.

    Raises
    ------
    DataError
        Unless ``alpha`` is finite and larger than 0.
    """
    if not 0 < alpha < math.inf:
        raise DataError(f"alpha is {alpha}; the ridge needs a finite penalty larger than 0 (1.0 is scikit-learn's)")


def require_shares(truncation: float, skip: float, size: int) -> None:
    """Refuse shares of an order of ``size`` molecules that leave no contribution to count.

    Raises
    ------
    DataError
        Unless ``truncation`` and ``skip`` are in [0, 1), and some of an order remains after what is skipped.
    """
    if not 0 <= truncation < 1:
        raise DataError(f"truncation is {truncation}; it must be in [0, 1), and 0 turns it off")
    if not 0 <= skip < 1:
        raise DataError(f"skip is {skip}; it must be in [0, 1), and 0 counts every contribution")
    if math.ceil(skip * size) >= size:
        raise DataError(f"skip is {skip}; that leaves nothing of an order of {size} molecules: choose a smaller one")
