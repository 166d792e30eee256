"""Descriptors: numbers that RDKit computes from a molecule's graph, such as its mass, its polar surface or a logP.

They are what ``molformer-mini-descriptors`` learned to predict in pretraining, and what the study of labels compares
the language models with.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from rdkit import rdBase
from rdkit.Chem import Descriptors
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVR

from molft_utils.cache import Kind, cached
from molft_utils.data import parse_or_raise

DESCRIBED = Kind("described", 1)

#: Left out of RDKit's list, with the reason.
LEFT_OUT = {
    "Ipc": "grows exponentially with the molecule; AvgIpc, its average over atoms, stays",
    "qed": "a fitted mixture of eight others in the list",
}

#: Descriptors that are a computed logP, or its parts by surface area (Wildman & Crippen 1999).
COMPUTED_LOGP = ("MolLogP", *(name for name, _ in Descriptors.descList if name.startswith("SlogP_VSA")))

#: Name -> function of a molecule, in RDKit's order.
DESCRIPTORS = {name: compute for name, compute in Descriptors.descList if name not in LEFT_OUT}


def describe(smiles: Sequence[str]) -> np.ndarray:
    """All descriptors of ``DESCRIPTORS``: float64 [n, len(DESCRIPTORS)], about 13 ms per molecule.

    Some are not defined for every molecule; they are then NaN or infinite.
    """
    with rdBase.BlockLogs():
        molecules = map(parse_or_raise, smiles)
        return np.array([[compute(m) for compute in DESCRIPTORS.values()] for m in molecules], dtype=float)


def described(smiles: Sequence[str], n_jobs: int = 2, chunk: int = 500) -> np.ndarray:
    """As :func:`describe`, computed once, by ``n_jobs`` processes."""

    def compute(folder: Path) -> dict:
        chunks = [smiles[start : start + chunk] for start in range(0, len(smiles), chunk)]
        values = Parallel(min(n_jobs, len(chunks)))(delayed(describe)(part) for part in chunks)
        np.save(folder / "values.npy", np.concatenate(values))
        return {}

    smiles = list(smiles)
    key = {"smiles": hashlib.sha256("\n".join(smiles).encode()).hexdigest(), "names": list(DESCRIPTORS)}
    return np.load(cached(DESCRIBED, None, key, compute).folder / "values.npy", allow_pickle=False)


def _scaled(regression):
    """A regression on standardised descriptors, cut at six standard deviations; an undefined one counts as the mean."""
    cut = FunctionTransformer(np.clip, kw_args={"a_min": -6, "a_max": 6})
    return make_pipeline(FunctionTransformer(_defined), StandardScaler(), cut, SimpleImputer(), regression)


def _defined(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def descriptor_svr(C: float = 10.0, epsilon: float = 0.05):
    """Support vector regression (RBF kernel) on standardised descriptors."""
    return _scaled(SVR(C=C, epsilon=epsilon))


def descriptor_ridge(alpha: float = 300.0):
    """Ridge regression on standardised descriptors."""
    return _scaled(Ridge(alpha))
