"""How a table is split into training, validation and test, and what another table shares with the parts."""

import dataclasses
import hashlib

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from ..errors import DataError
from .molecules import canonicalise, flat_key, scaffold

#: Share of the table that becomes the test split, and share of the rest that becomes the validation split.
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1


@dataclasses.dataclass(frozen=True)
class Split:
    """Three tables without a common molecule; each keeps the row numbers (index) of the table it was cut from, and
    ``attrs["target"]``."""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame


def split(table: pd.DataFrame, method: str = "random", seed: int = 42) -> Split:
    """Cut 20 % off as the test split, then 10 % of the rest as the validation split.

    Equal molecules (by canonical SMILES) stay together. Lipophilicity has none, so its random split is scikit-learn's
    ``train_test_split``, twice, with the same seed: 3,024, 336 and 840 molecules.

    Parameters
    ----------
    method : {"random", "scaffold"}
        "scaffold" keeps all molecules with the same Bemis-Murcko scaffold (Bemis & Murcko 1996) on one side; a
        molecule without a ring is its own scaffold.
    seed
        Fixes the order in which molecules or scaffolds are dealt out.
    """
    if method not in ("random", "scaffold"):
        raise DataError(f"unknown split method {method!r}; choose 'random' or 'scaffold'")
    if len(table) < 10:
        raise DataError(f"{len(table)} rows are too few to split 80/20 and 90/10; give at least ten molecules")
    cut = _cut_molecules if method == "random" else _cut_scaffolds
    rest, test = cut(table, TEST_SHARE, seed)
    train, validation = cut(rest, VALIDATION_SHARE, seed)
    if not (len(train) and len(validation) and len(test)):
        raise DataError("too few groups of molecules for three splits; give more molecules, or split at random")
    for part in (train, validation, test):
        part.attrs.pop("warnings", None)  # they speak of the whole table's lines
    return Split(train, validation, test)


def _cut_molecules(table: pd.DataFrame, share: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut at random; equal molecules stay together."""
    molecule = pd.factorize(pd.Series([canonicalise(s) for s in table["smiles"]]))[0]
    first, second = train_test_split(np.arange(molecule.max() + 1), test_size=share, random_state=seed)
    # In the order that was drawn; without equal molecules this is train_test_split of the rows themselves.
    rows = pd.Series(np.arange(len(table))).groupby(molecule).apply(list)
    return tuple(table.iloc[np.concatenate(rows[part].tolist())].copy() for part in (first, second))


def _cut_scaffolds(table: pd.DataFrame, share: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Deal whole scaffolds out in random order until the share is full; one that would overflow it is passed over."""
    rows = (
        pd.Series(np.arange(len(table))).groupby(pd.factorize(pd.Series(map(scaffold, table["smiles"])))[0]).apply(list)
    )
    size = round(share * len(table))
    taken: list[int] = []
    for i in np.random.default_rng(seed).permutation(len(rows)):
        if len(taken) + len(rows[i]) <= size:
            taken += rows[i]
    kept = np.setdiff1d(np.arange(len(table)), taken)
    return table.iloc[kept].copy(), table.iloc[sorted(taken)].copy()


def overlap(secondary: pd.DataFrame, parts: Split, stereochemistry: bool = True) -> pd.DataFrame:
    """Find molecules of the secondary set that are also in a split; those in the test split leak.

    Parameters
    ----------
    stereochemistry
        False also finds molecules that differ by stereo marks alone.

    Returns
    -------
    DataFrame
        ``row`` (of the secondary table), ``smiles``, ``label``, ``split``, ``label_there``; a line for each pair.
    """
    key = canonicalise if stereochemistry else flat_key
    candidates = secondary[["smiles", "label"]].assign(row=secondary.index, key=[key(s) for s in secondary["smiles"]])
    there = pd.concat(
        part.assign(split=name, key=[key(s) for s in part["smiles"]]).rename(columns={"label": "label_there"})
        for name, part in dataclasses.asdict(parts).items()
    )
    pairs = candidates.merge(there[["key", "split", "label_there"]], on="key")
    return pairs[["row", "smiles", "label", "split", "label_there"]]


def table_hash(table: pd.DataFrame) -> str:
    """Sha256 of a table's molecules and labels, in their order."""
    return hashlib.sha256(table[["smiles", "label"]].to_csv(index=False).encode()).hexdigest()
