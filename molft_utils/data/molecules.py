"""Molecules as SMILES: read, made canonical, written in another order."""

from functools import lru_cache

from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds import MurckoScaffold

from ..errors import DataError

#: Characters of the longest SMILES that is handed to RDKit: one of 30,000 ends the whole process.
LONGEST_SMILES = 5_000


def parse(smiles: str) -> Chem.Mol | None:
    """RDKit's molecule, or None; RDKit's own messages are kept off the page."""
    if not isinstance(smiles, str) or not smiles.isascii() or len(smiles) > LONGEST_SMILES:
        return None
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(smiles)


@lru_cache(maxsize=50_000)  # the same molecules come by many times in a notebook
def canonicalise(smiles: str) -> str:
    """RDKit's canonical SMILES, with stereochemistry: one string for each molecule.

    Raises
    ------
    DataError
        If RDKit cannot read the SMILES.
    """
    return Chem.MolToSmiles(parse_or_raise(smiles))


@lru_cache(maxsize=50_000)
def flat_key(smiles: str) -> str:
    """Canonical SMILES without stereochemistry: equal for mirror images and for E and Z.

    Raises
    ------
    DataError
        If RDKit cannot read the SMILES.
    """
    return Chem.MolToSmiles(parse_or_raise(smiles), isomericSmiles=False)


def parse_or_raise(smiles: str) -> Chem.Mol:
    """RDKit's molecule; raises a DataError that says what to do if there is none."""
    molecule = parse(smiles)
    if molecule is None or not smiles.strip():
        raise DataError(f"RDKit cannot read the SMILES {shortened(smiles)}; correct it or take the molecule out")
    return molecule


def shortened(value: object, limit: int = 200) -> str:
    """The value as Python writes it; of a long one only the beginning, so that a message stays readable."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text):,} characters)"


def randomised(smiles: str, seed: int) -> str:
    """Another SMILES of the same molecule, its atoms visited in a random order."""
    return Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles), 1, randomSeed=seed + 1)[0]


def scaffold(smiles: str) -> str:
    """Bemis-Murcko scaffold as SMILES without stereochemistry; the molecule's own key where there is no ring."""
    core = MurckoScaffold.GetScaffoldForMol(Chem.MolFromSmiles(flat_key(smiles)))
    return Chem.MolToSmiles(core) or flat_key(smiles)
