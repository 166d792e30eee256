"""Which molecules carry a charge in water at pH 7.4, by the groups that a chemist reads off their structure.

A charged molecule stays in the water, so its logD lies below its logP. The rules are coarse: they see a group and not
what its neighbours do to it. The data card checks them on molecules of which both logP and logD were measured.
"""

from functools import cache

from rdkit import Chem

from ..data import parse_or_raise

#: Acids: group -> (SMARTS, why it is charged, at least in part).
ACIDS = {
    "carboxylic acid": ("[CX3](=O)[OX2H1,OX1-]", "pKa 3 to 5, so it has lost its proton"),
    "sulfonic or phosphorus acid": ("[S,P](=O)[OX2H1,OX1-]", "pKa below 3"),
    "nitrophenol": ("[OX2H1]c1c([N+](=O)[O-])cccc1", "pKa 7, as the nitro group takes up the charge"),
    "nitrophenol, para": (
        "[OX2H1]c1ccc([N+](=O)[O-])cc1",
        "pKa 7; a phenol without such a group has 10 and is neutral",
    ),
    "enol of a diketone": (
        "[$([OX2H1]C=CC=O),$([OX2H1][#6]1=,:[#6][#6](=O)~*~*~*1)]",
        "pKa 4 to 8, as two oxygens share the charge",
    ),
    "C-H between two amides": ("[CX4;H1,H2;R](C(=O)[#7])C(=O)[#7]", "pKa 4 to 8, for the same reason"),
    "tetrazole": ("[$([nH]1nnnc1),$([nH]1nncn1)]", "pKa 5, as a carboxylic acid"),
    "imide": ("[#6,S](=O)[NX3H1,nH1][#6,S]=O", "pKa 5 to 10, the N-H between two groups that draw electrons"),
    "N-aryl or N-acyl sulfonamide": (
        "[NX3H1]([c,$(C=O)])S(=O)=O",
        "pKa 5 to 9; a plain sulfonamide has 10 and is neutral",
    ),
}

#: Bases: group -> (SMARTS, why it is charged, at least in part).
BASES = {
    "aliphatic amine": (
        "[NX3;!$(N[#6,S,P]=[O,S,N]);!$(N-a);!$(N[!#6;!#1]);!$(NC#N);!$(N-[#6]=[#6])][CX4]",
        "pKa 8 to 11, so it has taken up a proton; not beside C=O, an arene, a double bond or another hetero atom",
    ),
    "amidine or guanidine": ("[NX3;!$(N[#6,S]=O)][CX3]=[NX2;!$(N[O,N,S]);!$(N[#6]=O)]", "pKa 9 to 13"),
    "4-aminopyridine": ("[nX2]1ccc([NX3;!$(N[#6,S]=O)])cc1", "pKa 9, the ring's nitrogen an amidine's"),
    "imidazole": ("[nX2]1[c;R1][nX3][c;R1][c;R1]1", "pKa 7; fused to another ring it has 6 or less and is neutral"),
    "quaternary nitrogen": ("[N,n;+;!$(*~[O-])]", "always charged; not a nitro group or an N-oxide"),
}

RULES = {**ACIDS, **BASES}


@cache
def _patterns() -> dict[str, Chem.Mol]:
    return {group: Chem.MolFromSmarts(smarts) for group, (smarts, _) in RULES.items()}


def ionisable_groups(smiles: str) -> list[str]:
    """The groups of ``RULES`` that a molecule has, in their order; an empty list for a neutral molecule."""
    molecule = parse_or_raise(smiles)
    return [group for group, pattern in _patterns().items() if molecule.HasSubstructMatch(pattern)]
