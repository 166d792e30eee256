"""What a training step reads: molecules as token ids, in batches of like lengths."""

from collections.abc import Iterator, Sequence

import pandas as pd
import torch
from torch.utils.data import Dataset, Sampler

from .predict import randomised, tokenise
from .settings import Settings


class RandomisedSmiles(Dataset):
    """Molecules as token ids with their labels; a share of them anew as a random SMILES each time they are read."""

    def __init__(self, table: pd.DataFrame, settings: Settings):
        self.smiles = list(table["smiles"])
        self.labels = [float(y) for y in table["label"]]
        self.ids = tokenise(self.smiles, settings.max_tokens)
        self.share, self.max_tokens = settings.randomise, settings.max_tokens

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict:
        ids = self.ids[i]
        if self.share and torch.rand(()) < self.share:  # torch's generator: the Trainer seeds it and restores it
            seed = int(torch.randint(2**31 - 2, ()))
            ids = tokenise([randomised(self.smiles[i], seed)], self.max_tokens)[0]
        return {"input_ids": ids, "labels": self.labels[i]}


class LikeLengths(Sampler):
    """An epoch's order: batch by batch molecules of like length, so that little is padded; the batches shuffled.

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
