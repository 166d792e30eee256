"""Make the tables of ``data/`` from their sources: ``make data``, or ``python data/scripts/tables.py``.

``lipophilicity.csv`` is the source as it stands. ``logp.csv`` holds measured logP values of other molecules, and
``logp_and_logd.csv`` the molecules of which both were measured. ``secondary.csv`` is drawn from ``logp.csv`` so that a
selection can be graded: the logP of a neutral molecule is a logD, that of a charged one is not.

Which molecules carry a charge in water at pH 7.4 is read off their groups (``RULES``). A charged molecule
stays in the water, so its logD lies below its logP. The rules are coarse: they see a group and not what its neighbours
do to it. ``data/README.md`` checks them on molecules of which both logP and logD were measured.
"""

import numpy as np
import pandas as pd
from rdkit import Chem
from rdkit.Chem.Descriptors import MolWt  # type: ignore[attr-defined]  # rdkit's stubs miss it

import sources
from molft_utils.data import canonicalise, flat_key, parse_or_raise
from molft_utils.data.molecules import parse
from molft_utils.files import DATA_FOLDER, write_atomically
from molft_utils.molformer import MAX_TOKENS, token_lengths, unknown_parts

SECONDARY_SEED = 7
N_NEUTRAL, N_IONISABLE = 200, 100
LIGHTEST, HEAVIEST = 150, 600  # g/mol: the size of drugs
LOWEST, HIGHEST = -1.5, 4.5  # the range of Lipophilicity's labels

#: Groups: name -> (SMARTS, why it is charged, at least in part).
RULES = {
    # acids
    "carboxylic acid": ("[CX3](=O)[OX2H1,OX1-]", "pKa 3 to 5, so it has lost its proton"),
    "sulfonic or phosphorus acid": ("[S,P](=O)[OX2H1,OX1-]", "pKa below 3"),
    "nitrophenol": ("[OX2H1]c1c([N+](=O)[O-])cccc1", "pKa 7, as the nitro group takes up the charge"),
    "nitrophenol, para": ("[OX2H1]c1ccc([N+](=O)[O-])cc1", "pKa 7; a phenol without this group has 10 and is neutral"),
    "enol of a diketone": (
        "[$([OX2H1]C=CC=O),$([OX2H1][#6]1=,:[#6][#6](=O)~*~*~*1)]",
        "pKa 4 to 8, as two oxygens share the charge",
    ),
    "C-H between two amides": ("[CX4;H1,H2;R](C(=O)[#7])C(=O)[#7]", "pKa 4 to 8, for the same reason"),
    "tetrazole": ("[$([nH]1nnnc1),$([nH]1nncn1)]", "pKa 5, as a carboxylic acid"),
    "imide": ("[#6,S](=O)[NX3H1,nH1][#6,S]=O", "pKa 5 to 10, the N-H between two groups that draw electrons"),
    "N-aryl or N-acyl sulfonamide": ("[NX3H1]([c,$(C=O)])S(=O)=O", "pKa 5 to 9; a plain sulfonamide has 10: neutral"),
    # bases
    "aliphatic amine": (
        "[NX3;!$(N[#6,S,P]=[O,S,N]);!$(N-a);!$(N[!#6;!#1]);!$(NC#N);!$(N-[#6]=[#6])][CX4]",
        "pKa 8 to 11, so it has taken up a proton; not next to C=O, an arene, a double bond or another hetero atom",
    ),
    "amidine or guanidine": ("[NX3;!$(N[#6,S]=O)][CX3]=[NX2;!$(N[O,N,S]);!$(N[#6]=O)]", "pKa 9 to 13"),
    "4-aminopyridine": ("[nX2]1ccc([NX3;!$(N[#6,S]=O)])cc1", "pKa 9, the ring's nitrogen an amidine's"),
    "imidazole": ("[nX2]1[c;R1][nX3][c;R1][c;R1]1", "pKa 7; fused to another ring it has 6 or less and is neutral"),
    "quaternary nitrogen": ("[N,n;+;!$(*~[O-])]", "always charged; not a nitro group or an N-oxide"),
}

PATTERNS = {group: Chem.MolFromSmarts(smarts) for group, (smarts, _) in RULES.items()}


def ionisable_groups(smiles: str) -> list[str]:
    """The groups of ``RULES`` that a molecule has, in their order; an empty list for a neutral molecule."""
    molecule = parse_or_raise(smiles)
    return [group for group, pattern in PATTERNS.items() if molecule.HasSubstructMatch(pattern)]


def lipophilicity() -> pd.DataFrame:
    """The source's 4,200 rows with their values unchanged: ``chembl_id``, ``smiles``, ``label`` (logD)."""
    source = sources.lipophilicity_source()
    return source.rename(columns={"CMPD_CHEMBLID": "chembl_id", "exp": "label"})[["chembl_id", "smiles", "label"]]


def lipophilicity_keys() -> set[str]:
    """Keys of all Lipophilicity molecules, without stereochemistry."""
    return {flat_key(s) for s in sources.lipophilicity_source()["smiles"]}


def all_logp() -> pd.DataFrame:
    """Every molecule of the source that the models can read: one row each, stereochemistry ignored, by CAS number.

    ``smiles`` (canonical), ``label`` (logP), ``cas``, ``name``, ``groups`` (those that make it ionisable, with
    semicolons between them), ``ionisable``, ``source``. Salts and mixtures are left out.
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


def readable(smiles: pd.Series) -> np.ndarray:
    """Whether the models can read each SMILES whole, as it is written: bool [n]."""
    known = np.array([not parts for parts in unknown_parts(smiles)])
    return np.array([parse(s) is not None for s in smiles]) & known & (token_lengths(smiles) <= MAX_TOKENS)


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
    """The secondary set, drawn from a pool, in random order: ``smiles``, ``label`` (logP) and ``corrupted``.

    A label is ``corrupted`` where the molecule is ionisable: its logP is no logD.
    """
    rng = np.random.default_rng(SECONDARY_SEED)
    drawn = []
    for ionisable, n in ((False, N_NEUTRAL), (True, N_IONISABLE)):
        group = pool[pool["ionisable"] == ionisable]
        drawn.append(group.iloc[rng.choice(len(group), size=n, replace=False)])
    table = pd.concat(drawn).rename(columns={"ionisable": "corrupted"})[["smiles", "label", "corrupted"]]
    return table.iloc[rng.permutation(len(table))]


def write(name: str, table: pd.DataFrame) -> None:
    write_atomically(DATA_FOLDER / name, table.to_csv(index=False, lineterminator="\n"))
    print(f"data/{name}: {len(table):,} rows")


if __name__ == "__main__":
    logp = all_logp()
    pool = measured_logp(logp)
    write("lipophilicity.csv", lipophilicity())
    write("logp_and_logd.csv", logp_and_logd(logp))
    write("logp.csv", pool)
    write("secondary.csv", secondary(pool))
