"""What a training step reads: molecules as token ids, in batches of similar lengths."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedModel

from ..data import canonicalise, randomised
from ..errors import DataError
from ..molformer import PAD, tokenise, unknown_parts


class RandomisedSmiles(Dataset):
    """Molecules as token ids with their labels; a share of them as a random SMILES, a new one at each reading."""

    def __init__(self, table: pd.DataFrame, max_tokens: int, share: float = 0.0):
        self.smiles = list(table["smiles"])
        self.labels = [float(y) for y in table["label"]]
        self.ids = tokenise(self.smiles, max_tokens)
        self.share, self.max_tokens = share, max_tokens

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict:
        ids = self.ids[i]
        if self.share and torch.rand(()) < self.share:  # torch's generator: the Trainer seeds it and restores it
            seed = int(torch.randint(2**31 - 2, ()))
            ids = tokenise([randomised(self.smiles[i], seed)], self.max_tokens)[0]
        return {"input_ids": ids, "labels": self.labels[i]}


class LengthBatches(Sampler[int]):
    """An epoch's order: batches of molecules of similar lengths, so that little is padded, the batches shuffled.

    transformers' own grouping by length leaves 6.7 % padding on the training split, and walks from long molecules to
    short ones four times an epoch. ``jitter`` stretches each length at random, so that batches differ between epochs.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, jitter: float = 0.05):
        self.lengths = torch.tensor(lengths)
        self.batch_size, self.jitter = batch_size, jitter

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self))
        order, rest = order.tensor_split([len(self) // self.batch_size * self.batch_size])
        stretched = self.lengths[order] * (1 + self.jitter * torch.rand(len(order)))
        batches = order[stretched.argsort()].view(-1, self.batch_size)
        yield from batches[torch.randperm(len(batches))].flatten().tolist()
        yield from rest.tolist()  # what fills no batch comes last, of any length


def pad(molecules: Sequence[dict]) -> dict[str, Tensor]:
    """Pad molecules to the longest of the batch.

    transformers' own collators do the same through Python lists, which costs a twentieth of a training step.

    Parameters
    ----------
    molecules
        Each with ``input_ids``, a sequence of token ids, and perhaps ``labels``, a number.

    Returns
    -------
    dict
        ``input_ids`` and ``attention_mask`` (1 at tokens, 0 at padding) [B, L], int64; ``labels`` [B], float32, if
        given.
    """
    rows = [torch.tensor(m["input_ids"]) for m in molecules]
    ids = pad_sequence(rows, batch_first=True, padding_value=PAD)
    lengths = torch.tensor([len(row) for row in rows])
    batch = {"input_ids": ids, "attention_mask": (torch.arange(ids.shape[1]) < lengths[:, None]).long()}
    if "labels" in molecules[0]:
        batch["labels"] = torch.tensor([m["labels"] for m in molecules], dtype=torch.float32)
    return batch


def model_tokens(model: PreTrainedModel | PeftModel, smiles: Sequence[str]) -> list[list[int]]:
    """Token ids as the model was trained on them: its configuration knows whether canonical, and how long at most.

    Raises
    ------
    DataError
        If a SMILES cannot be read, or holds what the tokeniser does not know and would leave out.
    """
    if isinstance(smiles, str):
        raise DataError(f"{smiles[:50]!r} is one text, not a list of SMILES; put it in a list")
    rewrite = canonicalise if model.config.canonical_smiles else str
    texts = [rewrite(s) for s in smiles]
    for text, unknown in zip(texts, unknown_parts(texts), strict=True):
        if unknown:
            raise DataError(f"the tokeniser does not know {unknown[0]!r} in {text[:200]!r}; take the molecule out")
    return tokenise(texts, model.config.max_tokens)


def length_batches(ids: Sequence[Sequence[int]], batch_size: int) -> Iterator[np.ndarray]:
    """Indices of batches in which the molecules have similar lengths, so that little is padded."""
    order = np.argsort([len(i) for i in ids], kind="stable")
    yield from (order[start : start + batch_size] for start in range(0, len(order), batch_size))


def molecule_batches(model: PreTrainedModel, table: pd.DataFrame, batch_size: int) -> tuple[list[dict], list[int]]:
    """Batches of molecules of similar lengths, and the table's row number of each molecule in their order.

    Parameters
    ----------
    table
        ``smiles`` and ``label``, n rows.

    Returns
    -------
    batches
        Each with ``input_ids`` and ``attention_mask`` [B, L] and ``labels`` [B], on the model's device.
    rows
        n row numbers, counted from 0.

    Raises
    ------
    DataError
        If the table has no rows.
    """
    if not len(table):
        raise DataError("the table has no rows to make batches from; give at least one molecule")
    p = next(model.parameters())
    ids = model_tokens(model, table["smiles"])
    labels = torch.tensor(table["label"].to_numpy(), dtype=p.dtype)
    batches, rows = [], []
    for chosen in length_batches(ids, batch_size):
        batch = pad([{"input_ids": ids[i]} for i in chosen])
        batches.append({**batch, "labels": labels[chosen]})
        rows += chosen.tolist()
    return [{name: value.to(p.device) for name, value in batch.items()} for batch in batches], rows
