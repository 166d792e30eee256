"""From SMILES to predictions."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from rdkit import Chem
from transformers import DataCollatorWithPadding, PreTrainedModel

from .checkpoints import load_tokenizer
from .tables import canonicalise


def tokenise(smiles: Sequence[str], max_tokens: int = 128) -> list[list[int]]:
    """Token ids of each SMILES, <bos> and <eos> included; longer ones are cut to ``max_tokens``."""
    return load_tokenizer()(list(smiles), truncation=True, max_length=max_tokens)["input_ids"]


def randomised(smiles: str, seed: int) -> str:
    """Another SMILES of the same molecule, its atoms visited in a random order."""
    return Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles), 1, randomSeed=seed + 1)[0]


def length_batches(ids: Sequence[Sequence[int]], batch_size: int) -> Iterator[np.ndarray]:
    """Indices of batches in which the molecules have like lengths, so that little is padded."""
    order = np.argsort([len(i) for i in ids], kind="stable")
    yield from (order[start : start + batch_size] for start in range(0, len(order), batch_size))


@torch.inference_mode()
def predict(
    model: PreTrainedModel, smiles: Sequence[str], batch_size: int = 64, n_random: int | None = None
) -> np.ndarray:
    """Predict labels in their own unit (logD), in eval mode and full precision.

    A model remembers in its configuration whether it was trained on canonical SMILES and how many random SMILES of
    a molecule it averages over; ``n_random`` overrides the latter.

    Returns
    -------
    np.ndarray [n], float64.
    """
    config = model.config
    forms = [[canonicalise(s) for s in smiles] if getattr(config, "canonical_smiles", False) else list(smiles)]
    n_random = getattr(config, "n_random", 0) if n_random is None else n_random
    forms += [[randomised(s, seed) for s in smiles] for seed in range(n_random)]
    was_training = model.training
    model.eval()
    predictions = [_predict_once(model, form, batch_size) for form in forms]
    model.train(was_training)
    return np.mean(predictions, axis=0)


def _predict_once(model: PreTrainedModel, smiles: list[str], batch_size: int) -> np.ndarray:
    pad = DataCollatorWithPadding(load_tokenizer())
    ids = tokenise(smiles, getattr(model.config, "max_tokens", 128))
    result = np.empty(len(ids))
    for batch in length_batches(ids, batch_size):
        logits = model(**pad([{"input_ids": ids[i]} for i in batch]).to(model.device)).logits
        result[batch] = logits.squeeze(-1).double().cpu().numpy()
    return result
