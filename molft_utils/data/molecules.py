"""Molecules as SMILES: read, made canonical, written in another order, and turned into token ids."""

from collections.abc import Iterable
from functools import lru_cache

from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds import MurckoScaffold

from ..errors import DataError
from ..molformer import MAX_TOKENS, smiles_list, tokenise

#: Characters of the longest SMILES that is handed to RDKit: one of 30,000 ends the whole process.
LONGEST_SMILES = 5_000

#: Molecules of more than 128 tokens that the check of a table has listed: what cuts them need not name them again.
LISTED_AS_LONG: set[str] = set()


def token_ids(smiles: Iterable[str], canonical: bool, max_tokens: int = MAX_TOKENS) -> list[list[int]]:
    """Token ids of molecules in the form that a model reads: canonical SMILES, or each SMILES as it is written.

    Every path from a molecule to a model leads through here. What has more than ``max_tokens``, <bos> and <eos>
    included, is cut. A DataError names a SMILES that RDKit cannot read, or of which the tokeniser does not know a part,
    as it is written or in the canonical form where that is used.
    """
    written = [s.strip() for s in smiles_list(smiles)]
    canonical_forms = [canonicalise(s) for s in written]
    ids = tokenise(written, max_tokens)
    return tokenise(canonical_forms, max_tokens) if canonical else ids


def parse(smiles: str) -> Chem.Mol | None:
    """RDKit's molecule, or None; RDKit's own messages are kept off the page."""
    if not isinstance(smiles, str) or not smiles.isascii() or not smiles.strip() or len(smiles) > LONGEST_SMILES:
        return None
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(smiles)


def parse_or_raise(smiles: str) -> Chem.Mol:
    """RDKit's molecule; raises a DataError that says what to do if there is none."""
    molecule = parse(smiles)
    if molecule is None:
        raise DataError(f"RDKit cannot read the SMILES {shortened(smiles)}; correct it or take the molecule out")
    return molecule


@lru_cache(maxsize=50_000)  # the same molecules come by many times in a notebook
def canonical_or_none(smiles: str) -> str | None:
    """As :func:`canonicalise`; None where RDKit cannot read the SMILES."""
    molecule = parse(smiles)
    return None if molecule is None else Chem.MolToSmiles(molecule)


def canonicalise(smiles: str) -> str:
    """RDKit's canonical SMILES, with stereochemistry: one string for each molecule; a DataError if there is none."""
    return canonical_or_none(smiles) or Chem.MolToSmiles(parse_or_raise(smiles))


@lru_cache(maxsize=50_000)
def flat_key(smiles: str) -> str:
    """Canonical SMILES without stereochemistry: equal for mirror images and for E and Z."""
    return Chem.MolToSmiles(parse_or_raise(smiles), isomericSmiles=False)


def randomised(smiles: str, seed: int) -> str:
    """Another SMILES of the same molecule, its atoms visited in a random order."""
    return Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles), 1, randomSeed=seed + 1)[0]


@lru_cache(maxsize=50_000)
def scaffold(smiles: str) -> str:
    """Bemis-Murcko scaffold as SMILES without stereochemistry; the molecule's own key where there is no ring."""
    core = MurckoScaffold.GetScaffoldForMol(Chem.MolFromSmiles(flat_key(smiles)))
    return Chem.MolToSmiles(core) or flat_key(smiles)


def shortened(value: object, limit: int = 200) -> str:
    """The value as Python writes it; of a long one only the beginning, so that a message stays readable."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text):,} characters)"
