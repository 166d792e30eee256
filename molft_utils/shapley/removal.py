"""What happens to the source model as molecules are removed by their values."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from ..errors import DataError
from .ts_dshapley import check_problem

N_RANDOM = 5  # random orders of removal, the control


def removal_curve(
    X: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    X_choice: np.ndarray,
    y_choice: np.ndarray,
    *,
    alpha: float = 1.0,
    n_steps: int = 40,
    most: float = 0.8,
    seed: int = 0,
) -> pd.DataFrame:
    """RMSE of the source model as molecules are removed, the lowest values first, and two controls.

    Parameters
    ----------
    X [n, d], y [n], values [n], alpha
        Representations, labels and values of the training molecules; the ridge's penalty.
    X_choice [q, d], y_choice [q]
        The molecules on which the RMSE is measured, to choose how many to drop: neither those that made the values nor
        those that results are reported on.
    n_steps, most
        Number of equal steps from nothing removed to this share of the molecules, in [0, 1).
    seed
        Of the random removals.

    Returns
    -------
    DataFrame
        ``n_removed``, and the RMSE (in the labels' unit) after removing the ``lowest``, the ``highest``, and molecules
        at ``random`` (mean of five draws). ``attrs["optimum"]`` is the ``n_removed`` with the lowest error.
    """
    check_problem(X, y, X_choice, y_choice, alpha)
    if np.shape(values) != np.shape(y) or not np.isfinite(values).all():
        raise DataError("removal needs one finite value per molecule; use more chains")
    if not 0 <= most < 1:
        raise DataError(f"most is {most}; it must be in [0, 1): at least one molecule has to remain")
    if n_steps < 1:
        raise DataError(f"n_steps is {n_steps}; at least one is needed")
    n_removed = np.unique(np.linspace(0, most * len(y), n_steps + 1).astype(int))

    def rmses(order: np.ndarray) -> np.ndarray:
        """RMSE after each step of a removal in this order."""
        models = (Ridge(alpha=alpha).fit(X[order[n:]], y[order[n:]]) for n in n_removed)
        return np.array([np.sqrt(np.mean((model.predict(X_choice) - y_choice) ** 2)) for model in models])

    lowest_first, rng = np.argsort(values, kind="stable"), np.random.default_rng(seed)
    random = np.mean([rmses(rng.permutation(len(y))) for _ in range(N_RANDOM)], axis=0)
    curve = pd.DataFrame(
        {"n_removed": n_removed, "lowest": rmses(lowest_first), "highest": rmses(lowest_first[::-1]), "random": random}
    )
    curve.attrs["optimum"] = int(curve["n_removed"][curve["lowest"].idxmin()])
    return curve
