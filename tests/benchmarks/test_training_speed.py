"""Batches of similar lengths against the usual recipe; and a whole fit against the bare loop of its steps.

The usual recipe pads every molecule to 128 tokens and draws another Omega at every step; this pipeline groups molecules
by length, pads to the longest of the batch, and keeps the mini checkpoint's constant Omega. Both in fp32, with AdamW.
"""

import random

import pytest
import torch
from transformers import DataCollatorWithPadding

from molft_utils import finetune, load_lipophilicity, load_model, load_tokenizer, settings, split
from molft_utils.training import LengthBatches, model_tokens, pad

SIZE = 32


@pytest.fixture(scope="module")
def batches():
    """An epoch's batches, as lists of molecules of similar length."""
    table, model = split(load_lipophilicity()).train, load_model("mini")
    model.config.canonical_smiles = True
    ids = model_tokens(model, table["smiles"])
    molecules = [{"input_ids": i, "labels": float(y)} for i, y in zip(ids, table["label"], strict=True)]
    torch.manual_seed(0)
    order = list(LengthBatches([len(i) for i in ids], SIZE))
    return [[molecules[i] for i in order[k : k + SIZE]] for k in range(0, len(order), SIZE)]


def epoch(batches, **config):
    """A function that trains an epoch; the optimiser is the Trainer's, and gradients are clipped."""
    model = load_model("mini", **config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def train():
        for batch in batches:
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return train


def test_training_is_2_2_times_as_fast_as_the_usual_recipe(batches, fastest):
    chosen = batches[::6]
    shuffled = [molecule for batch in chosen for molecule in batch]
    random.Random(0).shuffle(shuffled)
    to_128 = DataCollatorWithPadding(load_tokenizer(), padding="max_length", max_length=128)
    padded = [to_128(shuffled[k : k + SIZE]) for k in range(0, len(shuffled), SIZE)]
    seconds = fastest(4, ours=epoch([pad(b) for b in chosen]), usual=epoch(padded, redraw_in_training=True))
    assert seconds["usual"] >= 2.2 * seconds["ours"]


def test_little_padding(batches):
    mask = torch.cat([pad(batch)["attention_mask"].flatten() for batch in batches])
    assert 1 - mask.float().mean() < 0.05


def test_a_fit_takes_at_most_a_tenth_longer_than_the_loop_of_its_steps(batches, fastest):
    parts, padded = split(load_lipophilicity()), [pad(batch) for batch in batches]

    def fit():
        finetune(load_model("mini"), parts.train, parts.validation, settings("class", epochs=4))

    seconds = fastest(3, steps=epoch(4 * padded), fit=fit)
    assert seconds["fit"] <= 1.10 * seconds["steps"]
