"""What a training step reads: checked token ids, in batches of molecules of similar lengths."""

import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from peft import PeftModel
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import DataCollatorWithPadding, PreTrainedModel

from ..data import canonicalise, randomised, token_ids
from ..data.molecules import LONGEST_SMILES
from ..errors import DataError, DataWarning
from ..molformer import load_tokenizer, tokenise


def cut_ids(smiles: Sequence[str], canonical: bool, max_tokens: int) -> list[list[int]]:
    """As ``data.token_ids``, with a DataWarning that names the molecules of which the model does not see the end."""
    whole = token_ids(smiles, canonical, LONGEST_SMILES + 2)
    too_long = [i for i, ids in enumerate(whole) if len(ids) > max_tokens]
    if too_long:
        named = "; ".join(f"{list(smiles)[i]} has {len(whole[i])}" for i in too_long[:3])
        more = f"; and {len(too_long) - 3} more" if len(too_long) > 3 else ""
        message = f"molecules of more than {max_tokens} tokens are cut, and the model does not see the rest: "
        warnings.warn(message + named + more, DataWarning, stacklevel=3)
    return [ids if len(ids) <= max_tokens else [*ids[: max_tokens - 1], ids[-1]] for ids in whole]  # <eos> stays


def model_tokens(model: PreTrainedModel | PeftModel, smiles: Sequence[str]) -> list[list[int]]:
    """Token ids as the model was trained on them: its configuration knows whether canonical, and how long at most."""
    return cut_ids(smiles, model.config.canonical_smiles, model.config.max_tokens)


class RandomisedSmiles(Dataset):
    """Molecules as token ids with their labels; a share of them as a random SMILES, a new one at each reading."""

    def __init__(self, table: pd.DataFrame, canonical: bool, max_tokens: int, share: float = 0.0):
        self.ids = cut_ids(table["smiles"], canonical, max_tokens)
        self.smiles = [canonicalise(s) if canonical else s for s in table["smiles"]]
        self.labels = [float(y) for y in table["label"]]
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

    transformers' own grouping by length leaves 6.7 % padding on the training split, and goes from long molecules to
    short ones four times per epoch. ``jitter`` stretches each length at random, so that batches differ between epochs.
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


@lru_cache(maxsize=1)
def _padding() -> DataCollatorWithPadding:
    return DataCollatorWithPadding(load_tokenizer())


def pad(molecules: Sequence[dict]) -> dict[str, Tensor]:
    """Pad molecules to the longest of the batch: ``input_ids`` and ``attention_mask`` [B, L], ``labels`` [B] if given.

    The mask is 1 at tokens and 0 at padding.
    """
    return dict(_padding()(list(molecules)))


def length_batches(ids: Sequence[Sequence[int]], batch_size: int) -> Iterator[np.ndarray]:
    """Indices of batches in which the molecules have similar lengths, so that little is padded."""
    order = np.argsort([len(i) for i in ids], kind="stable")
    yield from (order[start : start + batch_size] for start in range(0, len(order), batch_size))


def molecule_batches(model: PreTrainedModel, table: pd.DataFrame, batch_size: int) -> tuple[list[dict], list[int]]:
    """Batches of molecules of similar lengths, and the table's row number, from 0, of each molecule in their order.

    A batch has ``input_ids`` and ``attention_mask`` [B, L] and ``labels`` [B], on the model's device.
    """
    if not len(table):
        raise DataError("the table has no rows to make batches from; give at least one molecule")
    p = next(model.parameters())
    ids = model_tokens(model, table["smiles"])
    labels = torch.tensor(table["label"].to_numpy(), dtype=p.dtype)
    batches, rows = [], []
    for chosen in length_batches(ids, batch_size):
        batch = {**pad([{"input_ids": ids[i]} for i in chosen]), "labels": labels[chosen]}
        batches.append({name: value.to(p.device) for name, value in batch.items()})
        rows += chosen.tolist()
    return batches, rows
