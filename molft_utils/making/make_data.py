"""Make ``data/lipophilicity.csv`` and ``data/secondary.csv``: ``make data``, or ``python -m`` with this module.

The secondary set is made so that a selection can be graded: 300 ChEMBL molecules that are not in Lipophilicity. An
ensemble labels them that was trained on the training split alone, so that nothing of the test split leaks through the
labels. Then 100 of the labels are shuffled among themselves.
"""

import io

import numpy as np
import pandas as pd

from ..data import canonicalise, check_table, ecfp4_counts, flat_key, random_forest, split, svr
from ..files import DATA_FOLDER, write_atomically
from . import sources

SECONDARY_SEED = 7
N_SECONDARY, N_CORRUPTED = 300, 100


def lipophilicity() -> pd.DataFrame:
    """The source's 4,200 rows with their values unchanged: ``chembl_id``, ``smiles``, ``label`` (logD)."""
    source = sources.lipophilicity_source()
    return source.rename(columns={"CMPD_CHEMBLID": "chembl_id", "exp": "label"})[["chembl_id", "smiles", "label"]]


def lipophilicity_keys() -> set[str]:
    """Keys of all Lipophilicity molecules, without stereochemistry."""
    return {flat_key(s) for s in sources.lipophilicity_source()["smiles"]}


def secondary_pool(n: int = N_SECONDARY) -> list[str]:
    """Draw ``n`` canonical SMILES of MoleculeACE that are not in Lipophilicity, compared without stereochemistry."""
    known = lipophilicity_keys()
    pool: dict[str, str] = {}
    for smiles in sources.moleculeace_smiles():
        pool.setdefault(flat_key(smiles), canonicalise(smiles))
    keys = sorted(set(pool) - known)
    chosen = np.random.default_rng(SECONDARY_SEED).choice(len(keys), size=n, replace=False)
    return [pool[keys[i]] for i in sorted(chosen)]


def ensemble_labels(train: pd.DataFrame, smiles: list[str]) -> np.ndarray:
    """Mean prediction [n] of a support vector regression and a random forest trained on ``train``, in logD, rounded to
    three decimals."""
    features, queries = ecfp4_counts(train["smiles"]), ecfp4_counts(smiles)
    models = (svr(), random_forest(seed=SECONDARY_SEED, n_trees=300))
    return np.mean([model.fit(features, train["label"]).predict(queries) for model in models], axis=0).round(3)


def shuffled(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same labels in another order, such that no position keeps its value."""
    while True:
        permuted = rng.permutation(labels)
        if (permuted != labels).all():
            return permuted


def secondary(train: pd.DataFrame) -> pd.DataFrame:
    """The secondary set, in random order: ``smiles``, ``label`` (logD), and whether the label is ``corrupted``.

    Parameters
    ----------
    train
        The training split, from which the labels are learned: ``smiles`` and ``label`` (logD).
    """
    rng = np.random.default_rng(SECONDARY_SEED)
    smiles = secondary_pool()
    labels = ensemble_labels(train, smiles)
    corrupted = np.zeros(len(smiles), dtype=bool)
    corrupted[rng.choice(len(smiles), size=N_CORRUPTED, replace=False)] = True
    labels[corrupted] = shuffled(labels[corrupted], rng)
    table = pd.DataFrame({"smiles": smiles, "label": labels, "corrupted": corrupted})
    return table.iloc[rng.permutation(len(table))]


def write(table: pd.DataFrame, name: str) -> None:
    """Write a table to ``data/`` in one step."""
    buffer = io.StringIO()
    table.to_csv(buffer, index=False, lineterminator="\n")
    write_atomically(DATA_FOLDER / name, buffer.getvalue())
    print(f"data/{name}: {len(table):,} rows")


def main() -> None:
    """Write both files."""
    table = lipophilicity()
    write(table, "lipophilicity.csv")
    write(secondary(split(check_table(table)).train), "secondary.csv")


if __name__ == "__main__":
    main()
