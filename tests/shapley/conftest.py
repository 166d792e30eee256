"""Games for the tests of Shapley values: a ridge regression on random molecules, refitted by scikit-learn."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import Ridge


@pytest.fixture(scope="session")
def problem() -> Callable:
    """A function: n training molecules of d features and q validation molecules, labels linear with noise."""

    def make(n: int, d: int = 8, q: int = 40, noise: float = 0.3, seed: int = 0) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(seed)
        w = rng.normal(size=d)
        X, X_val = rng.normal(size=(n, d)), rng.normal(size=(q, d))
        return X, X @ w + noise * rng.normal(size=n), X_val, X_val @ w + noise * rng.normal(size=q)

    return make


@pytest.fixture(scope="session")
def ridge_utility() -> Callable:
    """A function: of X, y, X_val, y_val it makes the utility of a tuple of players, by scikit-learn."""

    def make(X, y, X_val, y_val, alpha=1.0) -> Callable[[tuple[int, ...]], float]:
        def utility(players: tuple[int, ...]) -> float:
            if not players:
                return -np.mean((y_val - y.mean()) ** 2)
            model = Ridge(alpha=alpha).fit(X[list(players)], y[list(players)])
            return -np.mean((model.predict(X_val) - y_val) ** 2)

        return utility

    return make
