"""What happens to the source model as molecules are removed by their values."""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from ..errors import DataError
from .marginals import require_problem


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

    Returns
    -------
    DataFrame
        ``n_removed``, and the RMSE (in the labels' unit) after removing the ``lowest``, the ``highest``, and molecules
        at ``random`` (mean of five draws). ``attrs["optimum"]`` is the ``n_removed`` with the lowest error.

    Raises
    ------
    DataError
        As :func:`permutation_values`, and if a value is not finite or the lengths disagree.
    """
    require_problem(X, y, X_choice, y_choice)
    if np.shape(values) != np.shape(y) or not np.isfinite(values).all():
        raise DataError("removal needs one finite value a molecule; use more chains")
    rng, lowest = np.random.default_rng(seed), np.argsort(values, kind="stable")
    draws = [rng.permutation(len(y)) for _ in range(5)]

    def error(order: np.ndarray, n_removed: int) -> float:
        kept = order[n_removed:]
        model = Ridge(alpha=alpha).fit(X[kept], y[kept])
        return float(np.sqrt(np.mean((model.predict(X_choice) - y_choice) ** 2)))

    rows = [
        {
            "n_removed": n,
            "lowest": error(lowest, n),
            "highest": error(lowest[::-1], n),
            "random": float(np.mean([error(order, n) for order in draws])),
        }
        for n in np.unique(np.linspace(0, most * len(y), n_steps + 1).astype(int))
    ]
    curve = pd.DataFrame(rows)
    curve.attrs["optimum"] = int(curve["n_removed"][curve["lowest"].idxmin()])
    return curve
