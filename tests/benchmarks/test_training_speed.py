"""`make bench`: this pipeline against the usual recipe, in one run, on the same molecules and the same model.

The usual recipe pads every molecule to 128 tokens and draws Omega anew at every step; this pipeline groups molecules
by length, pads to the longest of the batch, and keeps the mini checkpoint's constant Omega. Both in fp32, with AdamW.
"""

import numpy as np
import pytest
import torch
from transformers import DataCollatorWithPadding
from transformers.trainer_pt_utils import LengthGroupedSampler

from molft_utils import load_lipophilicity, load_model, load_tokenizer
from molft_utils.predict import tokenise
from molft_utils.tables import canonicalise

N_MOLECULES, BATCH_SIZE = 512, 32
SECONDS: dict[str, float] = {}


@pytest.fixture(scope="module")
def molecules():
    table = load_lipophilicity().sample(N_MOLECULES, random_state=0)
    ids = tokenise([canonicalise(s) for s in table["smiles"]])
    return [{"input_ids": i, "labels": float(y)} for i, y in zip(ids, table["label"], strict=True)]


def batches_by_length(molecules):
    lengths = [len(m["input_ids"]) for m in molecules]
    order = list(LengthGroupedSampler(BATCH_SIZE, lengths=lengths, generator=torch.Generator().manual_seed(0)))
    collate = DataCollatorWithPadding(load_tokenizer())
    return [collate([molecules[i] for i in order[k : k + BATCH_SIZE]]) for k in range(0, len(order), BATCH_SIZE)]


def batches_of_128(molecules):
    collate = DataCollatorWithPadding(load_tokenizer(), padding="max_length", max_length=128)
    return [collate(molecules[k : k + BATCH_SIZE]) for k in range(0, len(molecules), BATCH_SIZE)]


def train_an_epoch(batches, **config):
    model = load_model("mini", **config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def epoch():
        for batch in batches:
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    return epoch


@pytest.mark.parametrize("recipe", ["usual", "molft"])
def test_training(benchmark, molecules, recipe):
    if recipe == "usual":
        epoch = train_an_epoch(batches_of_128(molecules), redraw_in_training=True)
    else:
        epoch = train_an_epoch(batches_by_length(molecules))
    benchmark.pedantic(epoch, rounds=3, warmup_rounds=1)
    SECONDS[recipe] = benchmark.stats.stats.min
    print(f"\n{recipe}: {N_MOLECULES / SECONDS[recipe]:.0f} molecules/s")


def test_at_least_2_2_times_as_fast_and_little_padding(molecules):
    ratio = SECONDS["usual"] / SECONDS["molft"]
    padding = 1 - np.concatenate([b["attention_mask"].flatten() for b in batches_by_length(molecules)]).mean()
    print(f"\nmolft trains {ratio:.2f} times as many molecules per second; {padding:.1%} of its tokens are padding")
    assert ratio >= 2.2
    assert padding < 0.05
