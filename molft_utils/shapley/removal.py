"""What happens to the source model as molecules are removed by their values."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from ..errors import DataError
from .checks import require_penalty, require_problem

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
    """The source model's RMSE as molecules are removed, the lowest values first, and two controls.

    The split (``X_choice``, ``y_choice``) chooses how many to drop; it must be neither the one that made the values
    nor the one that results are reported on.

    Parameters
    ----------
    X [n, d], y [n], values [n]
        Representations, labels and values of the training molecules.
    X_choice [q, d], y_choice [q]
        The molecules on which the RMSE is measured.
    alpha
        The ridge's penalty, larger than 0.
    n_steps, most
        The curve has this number of equal steps, from nothing removed to this share of the molecules, in [0, 1).
    seed
        Decides the order of the removals at random.

    Returns
    -------
    DataFrame
        ``n_removed``, and the RMSE (in the labels' unit) after removing the ``lowest``, the ``highest``, and molecules
        at ``random`` (mean of five draws). ``attrs["optimum"]`` is the ``n_removed`` with the lowest error.

    Raises
    ------
    DataError
        As :func:`permutation_values`, and if a value is not finite or shapes disagree.
    """
    require_problem(X, y, X_choice, y_choice)
    require_penalty(alpha)
    if np.shape(values) != np.shape(y) or not np.isfinite(values).all():
        raise DataError("removal needs one finite value a molecule; use more chains")
    steps = _steps(len(y), n_steps, most)
    rng, lowest = np.random.default_rng(seed), np.argsort(values, kind="stable")
    random_orders = [rng.permutation(len(y)) for _ in range(N_RANDOM)]

    def rmses(order: np.ndarray) -> np.ndarray:
        """RMSE at each step of a removal in this order."""
        return np.array([_rmse(X[kept], y[kept], X_choice, y_choice, alpha) for kept in (order[n:] for n in steps)])

    random = np.mean([rmses(order) for order in random_orders], axis=0)
    curve = pd.DataFrame(
        {"n_removed": steps, "lowest": rmses(lowest), "highest": rmses(lowest[::-1]), "random": random}
    )
    curve.attrs["optimum"] = int(curve["n_removed"][curve["lowest"].idxmin()])
    return curve


def _steps(n: int, n_steps: int, most: float) -> np.ndarray:
    """Numbers of molecules to remove, ascending from 0, none twice."""
    if not 0 <= most < 1:
        raise DataError(f"most is {most}; it must be in [0, 1): at least one molecule has to remain")
    if n_steps < 1:
        raise DataError(f"n_steps is {n_steps}; at least one is needed")
    return np.unique(np.linspace(0, most * n, n_steps + 1).astype(int))


def _rmse(X: np.ndarray, y: np.ndarray, X_choice: np.ndarray, y_choice: np.ndarray, alpha: float) -> float:
    model = Ridge(alpha=alpha).fit(X, y)
    return float(np.sqrt(np.mean((model.predict(X_choice) - y_choice) ** 2)))
