"""Shapley values of a ridge's training molecules: molft's prefixes, pyDVL's permutation sampling, plain refits.

The same utility (minus the mean squared error on validation molecules) along the same permutations: pyDVL draws them
with numpy's default generator as molft does, and the values must agree to rounding.
"""

import warnings

import numpy as np
from pydvl.valuation import MinUpdates, ModelUtility, PermutationSampler, ShapleyValuation, SupervisedScorer
from pydvl.valuation.dataset import Dataset
from sklearn.linear_model import Ridge

from molft_utils.data import load_lipophilicity, split
from molft_utils.molformer import load_model
from molft_utils.shapley import permutation_values
from molft_utils.training import embed
from rows import Row, agreement, in_turns, timing_rows, write

MOLECULES, VALIDATION, PERMUTATIONS, ALPHA, SEED, ROUNDS = 200, 168, 10, 100.0, 0, 3

#: What is compared -> library.
REFITS = "refits along the same permutations"
LIBRARIES = {"prefix Cholesky": "molft", "permutation sampling": "pydvl", REFITS: "scikit-learn"}


class Game:
    """Pooled vectors of the mini checkpoint and labels, both standardised."""

    def __init__(self) -> None:
        parts, model = split(load_lipophilicity()), load_model("mini")
        model.config.canonical_smiles = True
        train, validation = parts.train.head(MOLECULES), parts.validation.head(VALIDATION)
        self.X, self.X_val = (embed(model, table["smiles"]).astype(float) for table in (train, validation))
        self.y, self.y_val = (table["label"].to_numpy() for table in (train, validation))
        mean, std = self.X.mean(axis=0), self.X.std(axis=0) + 1e-9
        self.X, self.X_val = (self.X - mean) / std, (self.X_val - mean) / std
        mean, std = self.y.mean(), self.y.std()
        self.y, self.y_val = (self.y - mean) / std, (self.y_val - mean) / std

    @property
    def empty(self) -> float:
        """Utility of no molecule: the training mean is predicted."""
        return -float(np.mean((self.y_val - self.y.mean()) ** 2))

    def molft(self) -> np.ndarray:
        given = self.X, self.y, self.X_val, self.y_val
        return permutation_values(*given, alpha=ALPHA, n_permutations=PERMUTATIONS, seed=SEED).values

    def pydvl(self) -> np.ndarray:
        train, validation = (Dataset(X, y) for X, y in ((self.X, self.y), (self.X_val, self.y_val)))
        scorer = SupervisedScorer("neg_mean_squared_error", validation, default=self.empty)
        utility = ModelUtility(Ridge(alpha=ALPHA), scorer, catch_errors=False)
        stop = MinUpdates(PERMUTATIONS)
        valuation = ShapleyValuation(utility, PermutationSampler(seed=SEED), stop, progress=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            valuation.fit(train)
        return np.asarray(valuation.result.sort(key="index").values)

    def refits(self) -> np.ndarray:
        rng, sums = np.random.default_rng(SEED), np.zeros(len(self.y))
        for _ in range(PERMUTATIONS):
            before = self.empty
            order = rng.permutation(len(self.y))
            for k, molecule in enumerate(order, 1):
                fit = Ridge(alpha=ALPHA).fit(self.X[order[:k]], self.y[order[:k]])
                after = -float(np.mean((fit.predict(self.X_val) - self.y_val) ** 2))
                sums[molecule], before = sums[molecule] + after - before, after
        return sums / PERMUTATIONS


def compare() -> list[Row]:
    game = Game()
    runs = dict(zip(LIBRARIES, (game.molft, game.pydvl, game.refits), strict=True))
    contributions = MOLECULES * PERMUTATIONS
    rows = timing_rows(
        "a marginal contribution", in_turns(runs, ROUNDS), LIBRARIES, "prefix Cholesky", 1e6 / contributions, "µs"
    )
    ours, more = game.molft(), f"; {contributions} contributions"
    others = list(runs.items())[1:]
    return rows + [agreement("Shapley values", LIBRARIES[name], name, run(), ours, more) for name, run in others]


if __name__ == "__main__":
    write("shapley", compare())
