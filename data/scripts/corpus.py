"""What the small checkpoints are pretrained on: molecules of ChEMBL (through MoleculeACE) and MOSES, as batches.

A *reading* is one visit to a molecule; a corpus of many tokens reads a molecule several times.
"""

import dataclasses

import numpy as np
import torch

import sources
import tables
from molft_utils.data import canonicalise, flat_key
from molft_utils.molformer import MAX_TOKENS, load_tokenizer

#: Fixes which molecules the first checkpoint left out.
FIRST_SEED = 7

#: Tokens of a MOSES molecule, on average.
MOSES_TOKENS = 37


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Distinct molecules as ``smiles`` and token ``ids`` [L], and for each of the ``readings`` its molecule's index."""

    smiles: list[str]
    ids: list[np.ndarray]
    readings: np.ndarray

    @property
    def n_tokens(self) -> int:
        """Number of tokens of all readings."""
        return int(np.array([len(i) for i in self.ids])[self.readings].sum())


def draw_corpus(
    n_tokens: int, chembl_share: float, excluded: set[str], seed: int, n_moses: int | None = None
) -> Corpus:
    """Draw a corpus of about ``n_tokens`` tokens.

    A share of them is from MoleculeACE, whose molecules are read as often as this needs; the others are from MOSES:
    ``n_moses`` molecules, read repeatedly as well, or a new one for each reading. ``excluded`` are keys of molecules to
    leave out.
    """
    rng = np.random.default_rng(seed)
    all_chembl = map(canonicalise, sources.moleculeace_smiles())
    chembl, chembl_ids = encoded([s for s in all_chembl if flat_key(s) not in excluded])
    readings = repeated(len(chembl), chembl_share * n_tokens / sum(map(len, chembl_ids)), rng)
    pool = sources.moses_smiles("train")
    if n_moses:  # the same molecules however long a run is, so that their descriptors are computed once
        rng = np.random.default_rng(seed)
    wanted = int((1 - chembl_share) * n_tokens / MOSES_TOKENS)
    drawn = [pool[i] for i in rng.permutation(len(pool))[: n_moses or wanted]]
    # MOSES is stored in RDKit's canonical form and without stereochemistry, so its strings are their own keys.
    moses, moses_ids = encoded([s for s in drawn if s not in excluded])
    more = repeated(len(moses), wanted / len(drawn), rng)
    return Corpus(chembl + moses, chembl_ids + moses_ids, np.concatenate([readings, len(chembl) + more]))


def first_secondary_pool() -> list[str]:
    """300 molecules of MoleculeACE that the first checkpoint left out: they were the secondary set when it was made."""
    known = tables.lipophilicity_keys()
    pool: dict[str, str] = {}
    for smiles in sources.moleculeace_smiles():
        pool.setdefault(flat_key(smiles), canonicalise(smiles))
    keys = sorted(set(pool) - known)
    chosen = np.random.default_rng(FIRST_SEED).choice(len(keys), size=300, replace=False)
    return [pool[keys[i]] for i in sorted(chosen)]


def encoded(smiles: list[str]) -> tuple[list[str], list[np.ndarray]]:
    """The molecules whose symbols the tokeniser knows and that have at most 128 tokens, and their token ids (int16)."""
    tokenizer = load_tokenizer()
    kept, ids = [], []
    for start in range(0, len(smiles), 50_000):
        chunk = smiles[start : start + 50_000]
        for s, tokens in zip(chunk, tokenizer(chunk)["input_ids"], strict=True):
            if len(tokens) <= MAX_TOKENS and tokenizer.unk_token_id not in tokens:
                kept.append(s)
                ids.append(np.array(tokens, dtype=np.int16))
    return kept, ids


def repeated(n: int, times: float, rng: np.random.Generator) -> np.ndarray:
    """Indices of ``n`` molecules, each ``times`` times; of a broken number, the rest goes to molecules at random."""
    whole = np.tile(np.arange(n), int(times))
    return np.concatenate([whole, rng.permutation(n)[: int(times % 1 * n)]])


class TokenBatches(torch.utils.data.Dataset):
    """A data set whose items are batches: molecules of similar lengths.

    Parameters
    ----------
    molecules
        What to read.
    tokens_per_batch
        Largest number of tokens in a batch, padding included.
    seed
        Fixes which molecules of equal length share a batch.
    targets
        Standardised descriptors [n molecules, d], given with each molecule; None for none.
    """

    def __init__(self, molecules: Corpus, tokens_per_batch: int, seed: int, targets: np.ndarray | None = None):
        self.molecules, self.targets = molecules, targets
        lengths = np.array([len(ids) for ids in molecules.ids])[molecules.readings]
        # By length, and at random within one length.
        order = np.lexsort((np.random.default_rng(seed).random(len(lengths)), lengths))
        # A batch ends before the reading with which it would exceed the budget, padded to the longest.
        self.batches: list[np.ndarray] = []
        start = 0
        for stop in range(1, len(order) + 1):
            if stop == len(order) or (stop + 1 - start) * lengths[order[stop]] > tokens_per_batch:
                self.batches.append(order[start:stop])
                start = stop

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, i: int) -> list[dict]:
        return [self._item(molecule) for molecule in self.molecules.readings[self.batches[i]]]

    def _item(self, molecule: int) -> dict:
        target = {} if self.targets is None else {"descriptors": self.targets[molecule]}
        return {"input_ids": self.molecules.ids[molecule].tolist(), **target}


def usable(values: np.ndarray, rare: float = 0.001, equal: float = 0.999) -> np.ndarray:
    """Which descriptors [d] make targets: defined for all molecules, not constant, and no duplicate of an earlier one.

    Constant: fewer molecules than the share ``rare`` differ from the commonest value. Duplicate: correlation above
    ``equal``.
    """
    kept = np.isfinite(values).all(axis=0)
    for column in np.flatnonzero(kept):
        _, counts = np.unique(values[:, column], return_counts=True)
        kept[column] = 1 - counts.max() / len(values) >= rare
    chosen: list[int] = []
    candidates = np.flatnonzero(kept)
    correlation = np.abs(np.corrcoef(values[:, candidates], rowvar=False))
    for place in range(len(candidates)):
        if not (correlation[place, chosen] > equal).any():
            chosen.append(place)
    mask = np.zeros(values.shape[1], dtype=bool)
    mask[candidates[chosen]] = True
    return mask


def standardised(values: np.ndarray, limit: float = 6.0) -> np.ndarray:
    """Values [n, d] with mean zero and standard deviation one, cut at ``limit`` of these: float32."""
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    return scaled.clip(-limit, limit).astype(np.float32)
