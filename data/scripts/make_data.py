"""Make the tables of ``data/`` from their sources: ``make data``, or ``python -m`` with this module.

``lipophilicity.csv`` is taken over as it stands. ``logp.csv`` holds measured logP values of other molecules, and
``logp_and_logd.csv`` the molecules of which both were measured. ``secondary.csv`` is drawn from ``logp.csv`` so that a
selection can be graded: the logP of a neutral molecule is a logD, that of a charged one is not.
"""

import io

import numpy as np
import pandas as pd
from rdkit.Chem.Descriptors import MolWt  # type: ignore[attr-defined]  # rdkit's stubs miss it

from ..data import canonicalise, flat_key, parse_or_raise, readable
from ..files import DATA_FOLDER, write_atomically
from . import sources
from .ionisable import ionisable_groups

SECONDARY_SEED = 7
N_NEUTRAL, N_IONISABLE = 200, 100

#: Drug-sized molecules, g/mol, whose logP lies in the range of Lipophilicity's labels.
LIGHTEST, HEAVIEST = 150, 600
LOWEST, HIGHEST = -1.5, 4.5


def lipophilicity() -> pd.DataFrame:
    """The source's 4,200 rows with their values unchanged: ``chembl_id``, ``smiles``, ``label`` (logD)."""
    source = sources.lipophilicity_source()
    return source.rename(columns={"CMPD_CHEMBLID": "chembl_id", "exp": "label"})[["chembl_id", "smiles", "label"]]


def lipophilicity_keys() -> set[str]:
    """Keys of all Lipophilicity molecules, without stereochemistry."""
    return {flat_key(s) for s in sources.lipophilicity_source()["smiles"]}


def all_logp() -> pd.DataFrame:
    """Every molecule of the source with a structure that the models can read.

    Returns
    -------
    DataFrame
        ``smiles`` (canonical), ``label`` (logP), ``cas``, ``name``, ``groups`` (those that make it ionisable, with
        semicolons between them), ``ionisable``, ``source``; one row for each molecule, stereochemistry aside, in the
        order of the CAS numbers. Salts and mixtures are left out.
    """
    table = sources.logp_source().rename(columns={"logP": "label", "CAS": "cas", "Chemical": "name"})
    table["smiles"] = table["cas"].map(sources.smiles_of_cas())
    table = table.dropna(subset="smiles").sort_values("cas", key=lambda cas: cas.str.zfill(12))
    table = table[readable(table["smiles"]) & ~table["smiles"].str.contains(".", regex=False)]
    table["smiles"] = [canonicalise(s) for s in table["smiles"]]
    table = table[~table["smiles"].map(flat_key).duplicated()]
    groups = [ionisable_groups(s) for s in table["smiles"]]
    table["groups"], table["ionisable"] = ["; ".join(g) for g in groups], [bool(g) for g in groups]
    return table.assign(source="syrres")[["smiles", "label", "cas", "name", "groups", "ionisable", "source"]]


def measured_logp(table: pd.DataFrame) -> pd.DataFrame:
    """The drug-sized molecules of :func:`all_logp` that are not in Lipophilicity."""
    known = lipophilicity_keys()
    weight = np.array([MolWt(parse_or_raise(s)) for s in table["smiles"]])
    is_new = np.array([flat_key(s) not in known for s in table["smiles"]])
    return table[is_new & (weight >= LIGHTEST) & (weight <= HEAVIEST) & table["label"].between(LOWEST, HIGHEST)]


def logp_and_logd(table: pd.DataFrame) -> pd.DataFrame:
    """The molecules of :func:`all_logp` that are in Lipophilicity: ``smiles``, ``logp``, ``logd``, and the rest.

    Where Lipophilicity has several forms of a molecule, ``logd`` is their mean.
    """
    source = sources.lipophilicity_source()
    logd = source["exp"].groupby(source["smiles"].map(flat_key)).mean().round(3)
    table = table.rename(columns={"label": "logp"})
    table.insert(2, "logd", table["smiles"].map(flat_key).map(logd))
    return table.dropna(subset="logd")


def secondary(pool: pd.DataFrame) -> pd.DataFrame:
    """The secondary set, in random order: ``smiles``, ``label`` (logP), and whether the label is ``corrupted`` as a
    logD, because the molecule is ionisable.

    Parameters
    ----------
    pool
        What to draw from: ``smiles``, ``label``, ``ionisable``.
    """
    rng = np.random.default_rng(SECONDARY_SEED)
    drawn = []
    for ionisable, n in ((False, N_NEUTRAL), (True, N_IONISABLE)):
        group = pool[pool["ionisable"] == ionisable]
        drawn.append(group.iloc[rng.choice(len(group), size=n, replace=False)])
    table = pd.concat(drawn).rename(columns={"ionisable": "corrupted"})[["smiles", "label", "corrupted"]]
    return table.iloc[rng.permutation(len(table))]


def write(table: pd.DataFrame, name: str) -> None:
    """Write a table to ``data/`` in one step."""
    buffer = io.StringIO()
    table.to_csv(buffer, index=False, lineterminator="\n")
    write_atomically(DATA_FOLDER / name, buffer.getvalue())
    print(f"data/{name}: {len(table):,} rows")


def main() -> None:
    """Write the four files."""
    write(lipophilicity(), "lipophilicity.csv")
    logp = all_logp()
    write(logp_and_logd(logp), "logp_and_logd.csv")
    pool = measured_logp(logp)
    write(pool, "logp.csv")
    write(secondary(pool), "secondary.csv")


if __name__ == "__main__":
    main()
