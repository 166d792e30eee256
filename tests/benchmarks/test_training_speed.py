"""`make bench`: this pipeline against the usual recipe, in one run, on the same molecules and the same model.

The usual recipe pads every molecule to 128 tokens and draws another Omega at every step; this pipeline groups molecules
by length, pads to the longest of the batch, and keeps the mini checkpoint's constant Omega. Both in fp32, with AdamW.
The batches are those of an epoch over the training split, as the Trainer makes them; every sixth is timed.

And a whole fit against the bare loop of its steps: what logging, evaluation, saving and collating cost.
"""

import random
import time

import numpy as np
import pytest
import torch
from transformers import DataCollatorWithPadding

from molft_utils import finetune, load_lipophilicity, load_model, load_tokenizer, settings, split
from molft_utils.data import canonicalise
from molft_utils.molformer import tokenise
from molft_utils.training.batches import LengthBatches, pad

BATCH_SIZE, EVERY = 32, 6
SECONDS: dict[str, float] = {}


@pytest.fixture(scope="module")
def molecules():
    table = split(load_lipophilicity()).train
    ids = tokenise([canonicalise(s) for s in table["smiles"]])
    return [{"input_ids": i, "labels": float(y)} for i, y in zip(ids, table["label"], strict=True)]


@pytest.fixture(scope="module")
def by_length(molecules):
    """An epoch's batches, as lists of molecules of similar length."""
    lengths = [len(m["input_ids"]) for m in molecules]
    torch.manual_seed(0)
    order = list(LengthBatches(lengths, BATCH_SIZE))
    return [[molecules[i] for i in order[k : k + BATCH_SIZE]] for k in range(0, len(order), BATCH_SIZE)]


@pytest.fixture(scope="module")
def timed(by_length):
    """Each recipe's batches of the same molecules."""
    chosen = by_length[::EVERY]
    shuffled = [molecule for batch in chosen for molecule in batch]
    random.Random(0).shuffle(shuffled)
    to_128 = DataCollatorWithPadding(load_tokenizer(), padding="max_length", max_length=128)
    return {
        "molft": [pad(batch) for batch in chosen],
        "usual": [to_128(shuffled[k : k + BATCH_SIZE]) for k in range(0, len(shuffled), BATCH_SIZE)],
    }


def train_an_epoch(batches, fused=False, clipped=False, **config):
    model = load_model("mini", **config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=fused)

    def epoch():
        for batch in batches:
            model(**batch).loss.backward()
            if clipped:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return epoch


@pytest.mark.parametrize("recipe", ["usual", "molft"])
def test_training(benchmark, timed, recipe):
    config = {"redraw_in_training": True} if recipe == "usual" else {}
    benchmark.pedantic(train_an_epoch(timed[recipe], **config), rounds=3, warmup_rounds=1)
    SECONDS[recipe] = benchmark.stats.stats.min
    n = sum(len(batch["labels"]) for batch in timed[recipe])
    print(f"\n{recipe}: {n / SECONDS[recipe]:.0f} molecules/s")


def test_at_least_2_2_times_as_fast():
    ratio = SECONDS["usual"] / SECONDS["molft"]
    print(f"\nmolft trains {ratio:.2f} times as many molecules per second")
    assert ratio >= 2.2


def test_little_padding(by_length):
    masks = [pad(batch)["attention_mask"].flatten() for batch in by_length]
    padding = 1 - np.concatenate(masks).mean()
    print(f"\n{padding:.1%} of an epoch's tokens are padding")
    assert padding < 0.05


def test_a_fit_takes_at_most_a_tenth_longer_than_the_loop_of_its_steps(molecules):
    """A fit as in a class. The steps are the Trainer's: its optimiser is fused, and it clips gradients."""
    parts, epochs = split(load_lipophilicity()), 4
    lengths = [len(m["input_ids"]) for m in molecules]

    def loop() -> float:
        torch.manual_seed(0)
        orders = [list(LengthBatches(lengths, BATCH_SIZE)) for _ in range(epochs)]
        chosen = [order[k : k + BATCH_SIZE] for order in orders for k in range(0, len(order), BATCH_SIZE)]
        epoch = train_an_epoch([pad([molecules[i] for i in rows]) for rows in chosen], fused=True, clipped=True)
        began = time.perf_counter()
        epoch()
        return time.perf_counter() - began

    def fit() -> float:
        return finetune(load_model("mini"), parts.train, parts.validation, settings("class", epochs=epochs)).seconds

    rounds = [(loop(), fit()) for _ in range(4)][1:]  # the first warms up
    ratios = [fit_seconds / loop_seconds for loop_seconds, fit_seconds in rounds]
    print(f"\na fit takes {np.median(ratios):.3f} times as long as its steps ({min(ratios):.3f} to {max(ratios):.3f})")
    assert np.median(ratios) <= 1.10
