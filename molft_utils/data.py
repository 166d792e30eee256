"""The data sets, and how they are split into training, validation and test."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold
from sklearn.model_selection import train_test_split

from .errors import DataError
from .tables import MAX_TOKENS, canonicalise, check_table, flat_key, read_table, token_lengths

DATA_FOLDER = Path(__file__).resolve().parents[1] / "data"

HUB_DATASET = "scikit-fingerprints/MoleculeNet_Lipophilicity"

#: Share of the table that is the test split, and share of the rest that is the validation split.
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1


def load_lipophilicity(source: str = "local") -> pd.DataFrame:
    """The 4,200 molecules of MoleculeNet Lipophilicity, checked.

    Parameters
    ----------
    source : {"local", "hub"}
        The repository's copy, or the hub's data set ``scikit-fingerprints/MoleculeNet_Lipophilicity`` through
        ``datasets`` (untested where the hub cannot be reached).

    Returns
    -------
    DataFrame
        ``smiles``, ``label`` (logD), and from the local copy ``chembl_id``.

    Raises
    ------
    DataError
        If the file is missing or a row cannot be used.
    """
    if source == "local":
        return read_table(DATA_FOLDER / "lipophilicity.csv")
    if source != "hub":
        raise DataError(f"unknown source {source!r}; choose 'local' or 'hub'")
    import datasets  # only here: it takes seconds to import

    return check_table(datasets.load_dataset(HUB_DATASET, split="train").to_pandas(), HUB_DATASET)


def load_secondary(path: str | Path | None = None) -> pd.DataFrame:
    """The secondary set, or any CSV with SMILES and label columns under their usual names, checked.

    The repository's own set has a third column, ``corrupted``: True where the label was shuffled. It is there to grade
    selection methods; models read ``smiles`` and ``label`` alone.

    Raises
    ------
    DataError
        If the file is missing, its columns are not found, or a row cannot be used.
    """
    return read_table(Path(path) if path is not None else DATA_FOLDER / "secondary.csv")


@dataclasses.dataclass(frozen=True)
class Split:
    """Three tables without a common molecule; each keeps the row numbers (index) of the table it was cut from."""

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
        Of the order in which molecules or scaffolds are dealt out.

    Raises
    ------
    DataError
        If the method is unknown, or a part would be empty.
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
        part.attrs = {}  # the warnings speak of the whole table's lines
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
    size, taken = round(share * len(table)), []
    for i in np.random.default_rng(seed).permutation(len(rows)):
        if len(taken) + len(rows[i]) <= size:
            taken += rows[i]
    kept = np.setdiff1d(np.arange(len(table)), taken)
    return table.iloc[kept].copy(), table.iloc[sorted(taken)].copy()


def scaffold(smiles: str) -> str:
    """Bemis-Murcko scaffold as SMILES without stereochemistry; the molecule's own key where there is no ring."""
    core = MurckoScaffold.GetScaffoldForMol(Chem.MolFromSmiles(flat_key(smiles)))
    return Chem.MolToSmiles(core) or flat_key(smiles)


def overlap(secondary: pd.DataFrame, parts: Split, stereochemistry: bool = True) -> pd.DataFrame:
    """Molecules of the secondary set that are also in a split; those in the test split leak.

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
    extra = secondary[["smiles", "label"]].assign(row=secondary.index, key=[key(s) for s in secondary["smiles"]])
    there = pd.concat(
        part.assign(split=name, key=[key(s) for s in part["smiles"]]).rename(columns={"label": "label_there"})
        for name, part in dataclasses.asdict(parts).items()
    )
    pairs = extra.merge(there[["key", "split", "label_there"]], on="key")
    return pairs[["row", "smiles", "label", "split", "label_there"]]


@dataclasses.dataclass(frozen=True)
class LengthStudy:
    """The report's study of lengths, in tokens."""

    n_sample: int
    longest_of_sample: int
    longest: int
    n_cut: int
    n: int

    def __str__(self) -> str:
        return (
            f"longest of {self.n_sample:,} random SMILES: {self.longest_of_sample} tokens; "
            f"longest of all {self.n:,}: {self.longest}; longer than {MAX_TOKENS}: {self.n_cut}"
        )


def length_study(table: pd.DataFrame, n: int = 1000, seed: int = 42) -> LengthStudy:
    """Longest of ``n`` random SMILES, and what a limit of 128 tokens cuts in the whole table."""
    lengths = token_lengths(table["smiles"])
    n = min(n, len(lengths))
    sample = np.random.default_rng(seed).choice(lengths, size=n, replace=False)
    return LengthStudy(n, int(sample.max()), int(lengths.max()), int((lengths > MAX_TOKENS).sum()), len(lengths))
