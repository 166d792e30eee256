"""Models that know nothing of language, and set the bar: zero, the mean, and two regressions on ECFP4 counts."""

from collections.abc import Sequence

import numpy as np
from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator
from sklearn.ensemble import RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVR

from .molecules import parse_or_raise
from .splits import Split

N_BITS = 2048


def _generator() -> rdFingerprintGenerator.FingerprintGenerator64:
    return rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=N_BITS)


def ecfp4_counts(smiles: Sequence[str]) -> np.ndarray:
    """ECFP4 counts (Morgan fingerprint, radius 2; Rogers & Hahn 2010): float32 array [n, 2048]."""
    generator = _generator()
    return np.stack([generator.GetCountFingerprintAsNumPy(parse_or_raise(s)) for s in smiles]).astype(np.float32)


def nearest_similarity(smiles: Sequence[str], among: Sequence[str]) -> np.ndarray:
    """Tanimoto similarity (ECFP4 bits) of each molecule to the most similar one of ``among``: array [n] in [0, 1]."""
    return similarities(smiles, among).max(axis=1)


def similarities(smiles: Sequence[str], among: Sequence[str]) -> np.ndarray:
    """Tanimoto similarity (ECFP4 bits) of each molecule to each one of ``among``: array [n, m] in [0, 1]."""
    generator = _generator()
    known = [generator.GetFingerprint(parse_or_raise(s)) for s in among]
    queries = (generator.GetFingerprint(parse_or_raise(s)) for s in smiles)
    return np.array([DataStructs.BulkTanimotoSimilarity(query, known) for query in queries])


def svr(C: float = 3.0, gamma: float | str = "scale", epsilon: float = 0.1):
    """Support vector regression (RBF kernel) on the logarithm of ECFP4 counts."""
    return make_pipeline(FunctionTransformer(np.log1p), SVR(C=C, gamma=gamma, epsilon=epsilon))


def random_forest(seed: int = 0, n_trees: int = 100):
    """Random forest on ECFP4 counts."""
    return RandomForestRegressor(n_trees, max_features=0.2, n_jobs=2, random_state=seed)


def baseline_predictions(parts: Split, seed: int = 0) -> dict[str, np.ndarray]:
    """Test predictions [n], in the labels' unit, of the four models that every results table shows.

    All are trained on the training split alone; the settings were chosen on the validation split.
    """
    train, test = parts.train, parts.test
    features, queries = ecfp4_counts(train["smiles"]), ecfp4_counts(test["smiles"])
    fitted = {"random forest on ECFP4": random_forest(seed), "SVR on ECFP4": svr()}
    return {
        "predict zero": np.zeros(len(test)),
        "predict the mean": np.full(len(test), train["label"].mean()),
        **{name: model.fit(features, train["label"]).predict(queries) for name, model in fitted.items()},
    }
